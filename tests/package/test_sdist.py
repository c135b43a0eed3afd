"""The source distribution: what it holds, and that it builds with no network."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
import tarfile
from pathlib import Path

import pytest
from processes import output_of
from saymon_bulk.testing import PracticeServer

run = functools.partial(output_of, timeout=1800)
ROOT = Path(__file__).parents[2]
# Completion scripts and the man page.
MADE = ("python/saymon_bulk/cli/completion/saymon-bulk.*", "saymon_bulk.data/**/*.1")
LABELS = {
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "PKG-INFO",
    "README.md",
    "SECURITY.md",
}
CALL = """
import sys, saymon_bulk
print(saymon_bulk._core.__file__)
print(saymon_bulk.get_bulk_status(*sys.argv[1:], "login", "password"))
"""


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of a copy that also holds what work leaves behind."""
    if importlib.util.find_spec("maturin") is None:
        pytest.skip("maturin from PyPI is not installed")
    if shutil.which("cargo") is None:
        pytest.skip("there is no cargo")
    tree = tmp_path_factory.mktemp("tree") / "tree"
    shutil.copytree(
        ROOT, tree, ignore=shutil.ignore_patterns("target", ".git", ".venv*", ".*_cache", ".hypothesis", "corpus")
    )
    for name in (".env", "notes.txt", "target/a.rs", "fuzz/artifacts/id/crash", "python/saymon_bulk/_core.abi3.so"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("secret")
    run(sys.executable, "-m", "maturin", "sdist", "--manifest-path", tree / "Cargo.toml", "--out", tree / "dist")
    (made,) = (tree / "dist").iterdir()
    return made


def test_what_builds_it_and_nothing_else(sdist: Path) -> None:
    wanted = LABELS | {"pyproject.toml"}
    for pattern in ("src/**/*.rs", "python/**/*.py", "python/**/*.pyi", "python/**/py.typed", "docs/**/*.md", *MADE):
        wanted |= {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)}
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert held == wanted


def test_its_label_is_in_order(sdist: Path) -> None:
    if importlib.util.find_spec("twine") is None:
        pytest.skip("twine from PyPI is not installed")
    assert "PASSED" in run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", sdist)


def test_it_builds_offline(sdist: Path, tmp_path: Path) -> None:
    # Neither optimised nor with symbols, in a target folder that is kept: half a minute at first, seconds afterwards.
    target = ROOT / "target" / "sdist"
    for ours in target.glob("*/.fingerprint/saymon-bulk-*"):  # else cargo goes by the times in the archive, which are fixed
        shutil.rmtree(ours)
    run(
        *(sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", "--no-deps"),
        *("--no-build-isolation", "--config-settings=build-args=--profile dev --locked --offline"),
        *("--target", tmp_path, sdist),
        CARGO_NET_OFFLINE="true",
        CARGO_PROFILE_DEV_DEBUG="0",
        CARGO_TARGET_DIR=str(target),
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    )
    with PracticeServer("login", "password") as server:
        where, answer = run(
            sys.executable, "-c", CALL, server.host, server.add_bulk(0.0), PYTHONPATH=str(tmp_path)
        ).splitlines()
    assert where.startswith(str(tmp_path))
    assert answer == "{'finished': True}"
