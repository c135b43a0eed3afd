"""What ARCHITECTURE.md says of the house holds: who may import whom in Rust and in Python, who fetches the engine."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
FILES = {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.rs"))}

# The ends of a verb, which fetch the engine and hand its parts down.
DOORS = {"bindings/arguments.rs", "bindings/batch.rs", "bindings/twin.rs", "bindings/waiting.rs"}


def module(path: str) -> str:
    """core/api/mod.rs is the module core::api."""
    return re.sub(r"(/mod)?\.rs$", "", path).replace("/", "::")


MODULES = {module(path): text.partition("#[cfg(test)]")[0] for path, text in FILES.items() if path != "lib.rs"}


def paths(text: str) -> set[str]:
    """The paths that `use` declarations name, with braces opened one level."""
    found = set()
    for start, inner in re.findall(r"^(?:pub )?use ([\w:]+?)(?:::\{([^;]*)\})?;", text, re.MULTILINE):
        names = re.findall(r"([\w:]+)(?:::\{[^}]*\})?", inner) if inner else [""]
        found |= {f"{start}::{name}".rstrip(":") for name in names}
    return found


def imported(name: str, text: str) -> set[str]:
    """The modules of this crate that a module imports."""
    found = set()
    for path in paths(text):
        steps = path.split("::")
        base = name.split("::")
        is_package = f"{name.replace('::', '/')}/mod.rs" in FILES
        if steps[0] == "crate":
            target = steps[1:]
        elif steps[0] == "super":
            target = base[:-1] + steps[1:]
        elif is_package and f"{name}::{steps[0]}" in MODULES:
            target = base + steps
        else:
            continue
        while target and "::".join(target) not in MODULES:
            target = target[:-1]
        found.add("::".join(target))
    return found - {name, ""}


GRAPH = {name: imported(name, text) for name, text in MODULES.items()}


def test_the_graph_is_read() -> None:
    assert "core::transport::call" in GRAPH["core::api::status"]
    assert "bindings::engine" in GRAPH["bindings::twin"]
    assert "bindings::engine::completions" in GRAPH["bindings::engine"]
    assert sum(map(len, GRAPH.values())) > 80


PYTHON = {
    ".".join(path.relative_to(ROOT / "python").with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "python").rglob("*.py*"))
    if path.suffix in (".py", ".pyi")
}


def imported_by_python(name: str, path: Path) -> set[str]:
    """The modules of `python/` that a module imports: at its top, in its functions, and for type checkers alone."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            outer = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*outer, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in PYTHON else base for alias in node.names}
    return found & set(PYTHON) - {name}


PYTHON_GRAPH = {name: imported_by_python(name, path) for name, path in PYTHON.items()}


def test_the_python_graph_is_read() -> None:
    assert PYTHON_GRAPH["saymon_bulk.errors"] == {"saymon_bulk._plans.model", "saymon_bulk._types"}  # below TYPE_CHECKING
    assert "saymon_bulk._start_body" in PYTHON_GRAPH["saymon_bulk._client"]  # in a function
    assert "saymon_bulk._core" in PYTHON_GRAPH["saymon_bulk.cli.inputs"]
    assert "saymon_bulk.cli.output" in PYTHON_GRAPH["saymon_bulk.cli"]


@pytest.mark.parametrize("graph", [GRAPH, PYTHON_GRAPH], ids=["Rust", "Python"])
def test_no_circle(graph: dict[str, set[str]]) -> None:
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way, name])
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_command_line_imports_the_package_and_nothing_imports_the_command_line() -> None:
    def is_of_cli(name: str) -> bool:
        return f"{name}.".startswith("saymon_bulk.cli.")

    importers = {name for name, targets in PYTHON_GRAPH.items() if any(map(is_of_cli, targets))}
    assert {name for name in importers if not is_of_cli(name)} == {"saymon_bulk.__main__"}


def test_the_core_knows_no_python() -> None:
    for path, text in FILES.items():
        if path.startswith("core/"):
            assert not re.search(r"\bpyo3\b|\bbindings\b", text), path


def test_transport_knows_no_endpoint() -> None:
    for name, targets in GRAPH.items():
        if name.startswith("core::transport"):
            assert not [target for target in targets if target.startswith("core::api")], name


def test_tls_knows_no_http() -> None:
    for name, targets in GRAPH.items():
        outside = {target for target in targets if not target.startswith("core::tls")}
        if name.startswith("core::tls"):
            assert outside <= {"core::failure", "core::text", "lock"}, name
        elif outside != targets:
            assert name in {"core::transport::pool", "core::transport::error"}


def test_the_engine_is_fetched_at_the_ends_of_a_verb_alone() -> None:
    assert {path for path, text in FILES.items() if "Engine::current()" in text} == DOORS
    for path, text in FILES.items():
        if path.startswith("bindings/engine/") and path != "bindings/engine/mod.rs":
            assert not re.search(r"\bEngine\b", text), path


def test_the_environment_is_read_in_one_place() -> None:
    """With the interpreter held: Python writes its environment so, and no other lock keeps the two apart."""
    for reading, files in {
        r"env::var": {"core::transport::proxy", "core::tls::trust"},
        r"Variables::read\(|SystemStore::from_env\(": {"core::transport::pool"},
        r"Environment::read\(": {"bindings::reading"},
    }.items():
        assert {name for name, text in MODULES.items() if re.search(reading, text)} == files
    _, _, released = MODULES["bindings::reading"].partition("py.detach(")
    assert "Environment::read(" not in released


def test_yields_stand_in_one_file() -> None:
    files = {path for path, text in FILES.items() if re.search(r"yield_now|wake_by_ref", text)}
    assert files == {"core/transport/yields.rs"}


def test_no_process_is_known_by_its_pid() -> None:
    assert not [path for path, text in FILES.items() if re.search(r"process::id\(|getpid", text)]


def test_every_file_says_first_what_it_is() -> None:
    for path, text in FILES.items():
        assert text.startswith("//! "), path


def named_in_the_map() -> set[str]:
    """The first column of the map: files, in the folder that the line above them names."""
    _, _, block = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## The map\n\n```text\n")
    columns = re.findall(r"^ *([^\s,]+(?:, [^\s,]+)*)", block.partition("```")[0], re.MULTILINE)
    return set(re.split(r"[,/ ]+", " ".join(columns)))


def test_the_map_names_every_file() -> None:
    files = {Path(path).stem for path in FILES} | {path.name for path in PYTHON.values()}
    assert files - named_in_the_map() == set()


def later_imports() -> dict[str, set[str]]:
    """The modules that each function of the package imports."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "python" / "saymon_bulk").glob("*.py"):
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        trees = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, functions)]
        for tree in trees:
            names = found.setdefault(tree.name, set())
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level and node.module is None:
                    names |= {f"saymon_bulk.{alias.name}" for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names.add(f"saymon_bulk.{node.module}" if node.level else str(node.module))
    return found


def test_what_is_imported_later_is_imported_before_a_fork() -> None:
    found = later_imports()
    before_fork = found.pop("_before_fork")
    # The practice server is no light module, and no call needs it.
    assert before_fork == set().union(*found.values()) - {"saymon_bulk._core", "saymon_bulk.testing"}


def test_rust_names_two_modules_of_the_package() -> None:
    named = {name for text in MODULES.values() for name in re.findall(r'import\("(saymon_bulk[\w.]*)"\)', text)}
    assert named == {"saymon_bulk.errors", "saymon_bulk._warnings"}
