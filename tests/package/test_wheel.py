"""The wheel alone, in a fresh virtual environment of each other CPython at hand; what its tags and labels promise."""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import platform
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from processes import output_of, pythons
from saymon_bulk.testing import PracticeServer

run = functools.partial(output_of, timeout=120)
WHEELS = Path(__file__).parents[2] / "target" / "wheels"
CALL = """
import sys, saymon_bulk
host, id, never = sys.argv[1:]
print(saymon_bulk.get_bulk_status(host, never, "login", "password"))
print(saymon_bulk.Client(host, "login", "password").wait_for_bulk(id, interval=0.1))
import asyncio
print(asyncio.run(saymon_bulk.get_bulk_status_async(host, id, "login", "password")))
"""


@pytest.fixture(scope="module")
def wheel() -> Path:
    found = sorted(WHEELS.glob("*.whl"))
    if not found:
        pytest.skip("no wheel in target/wheels; `make test` builds it")
    return found[-1]


def test_other_pythons_are_at_hand() -> None:
    if not pythons():
        pytest.skip("no other CPython from 3.9 on is installed here")


@pytest.mark.parametrize("version", sorted(pythons()))
def test_installed_alone_and_called(version: str, wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    run(pythons()[version], "-m", "venv", "--without-pip", home)  # a pip of its own would take most of the time
    python = home / "bin" / "python"
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--no-index", wheel)
    with PracticeServer("login", "password", finishes_after=0.3) as server:
        answers = run(python, "-c", CALL, server.host, server.add_bulk(), server.add_bulk(3600)).splitlines()
    assert answers == ["{'finished': False}", "{'finished': True}", "{'finished': True}"]
    shutil.rmtree(home)


def test_needs_nothing_but_python(wheel: Path) -> None:
    assert "-cp39-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        needs = [line for line in archive.read(metadata).decode().splitlines() if line.startswith("Requires-Dist")]
    assert [line for line in needs if "extra ==" not in line] == []
    folders = {name.split("/")[0] for name in names if ".dist-info" not in name}
    (data,) = [folder for folder in folders if folder.endswith(".data")]
    assert folders == {"saymon_bulk", "saymon_bulk_pytest", data}
    assert [name for name in names if name.startswith(data)] == [f"{data}/data/share/man/man1/saymon-bulk.1"]
    scripts = {f"saymon_bulk/cli/completion/saymon-bulk.{shell}" for shell in ("bash", "zsh", "fish")}
    assert {"saymon_bulk/py.typed", "saymon_bulk/_core.pyi", *scripts} <= set(names)


def test_its_label_is_in_order(wheel: Path) -> None:
    if importlib.util.find_spec("twine") is None:
        pytest.skip("twine from PyPI is not installed")
    assert "PASSED" in run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", wheel)


def test_auditwheel_agrees_with_the_tag(wheel: Path) -> None:
    if sys.platform != "linux" or importlib.util.find_spec("auditwheel") is None:
        pytest.skip("auditwheel from PyPI is not installed")
    tags = wheel.stem.rpartition("-")[2].split(".")
    if platform.libc_ver()[0] == "glibc":
        # pip before 20.3 knows the first of the two names alone.
        assert tags == [f"manylinux2014_{platform.machine()}", f"manylinux_2_17_{platform.machine()}"]
    said = " ".join(run(sys.executable, "-m", "auditwheel", "show", wheel).split())  # it breaks its lines
    assert f'is consistent with the following platform tag: "{tags[-1]}"' in said


def test_the_unwinder_is_libgcc(wheel: Path) -> None:
    # glibc ends a thread with the unwinder of libgcc_s; with another one in the module, daemon threads end in SIGSEGV.
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the unwinder of musl and of other systems is another one")
    elf = pytest.importorskip("elftools.elf.elffile")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".so")]
        sections = elf.ELFFile(io.BytesIO(archive.read(name)))
    dynamic = sections.get_section_by_name(".dynamic")
    needed = {entry.needed for entry in dynamic.iter_tags("DT_NEEDED")}
    assert "libgcc_s.so.1" in needed


def test_it_names_its_parts(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [name for name in archive.namelist() if ".dist-info/sboms/" in name]
        named = {f"{part['name']} {part['version']}" for part in json.loads(archive.read(path))["components"]}
    lock = (WHEELS.parent.parent / "Cargo.lock").read_text(encoding="utf-8")
    locked = {" ".join(pair) for pair in re.findall(r'name = "(.+)"\nversion = "(.+)"\nsource', lock)}
    assert {name.split()[0] for name in named} >= {"pyo3", "reqwest", "ring", "rustls", "tokio"}
    assert named <= locked
