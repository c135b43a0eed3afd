"""The wheel keeps what its tag promises: only the stable ABI of the CPython that it names."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

WHEELS = Path(__file__).parents[2] / "target" / "wheels"


def test_nothing_but_the_stable_abi() -> None:
    if importlib.util.find_spec("abi3audit") is None:
        pytest.skip("abi3audit from PyPI is not installed")
    wheels = sorted(WHEELS.glob("*-abi3-*.whl"))
    if not wheels:
        pytest.skip("no wheel in target/wheels; `make test` builds it")
    command = [sys.executable, "-m", "abi3audit", "--strict", "--verbose", str(wheels[-1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    said = " ".join((done.stdout + done.stderr).split())  # it breaks its lines
    assert done.returncode == 0, said
    assert "1 extensions scanned; 0 ABI version mismatches and 0 ABI violations found" in said
