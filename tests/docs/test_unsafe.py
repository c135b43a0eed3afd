"""`unsafe` stands in one file, and each time with its reason; the compiler refuses it elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALLOWED = "src/bindings/engine/process.rs"
UNSAFE = re.compile(r"\bunsafe\b(?!_code)")


def sources() -> dict[str, list[str]]:
    """The lines of each Rust file."""
    paths = sorted((ROOT / "src").rglob("*.rs"))
    found = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").splitlines() for path in paths}
    assert ALLOWED in found
    return found


def code(line: str) -> str:
    return re.sub(r'"(\\.|[^"\\])*"', '""', line).split("//")[0]


def test_unsafe_stands_in_one_file() -> None:
    files = {name for name, lines in sources().items() if any(UNSAFE.search(code(line)) for line in lines)}
    assert files <= {ALLOWED}


def test_each_has_its_reason_above_it() -> None:
    lines = sources()[ALLOWED]
    for number, line in enumerate(lines):
        if UNSAFE.search(code(line)):
            above = number - 1
            while lines[above].strip().startswith("//") and "// SAFETY:" not in lines[above]:
                above -= 1
            assert "// SAFETY: " in lines[above], f"{ALLOWED}:{number + 1}"


def test_the_compiler_refuses_it_elsewhere() -> None:
    # Both: the attribute holds for whoever builds the library, the table for the tests beside it too.
    assert "#![deny(unsafe_code)]" in sources()["src/lib.rs"]
    assert re.search(r'^unsafe_code = "(deny|forbid)"$', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)
    allowing = {name for name, lines in sources().items() if any("allow(unsafe_code)" in line for line in lines)}
    assert allowing <= {ALLOWED}
