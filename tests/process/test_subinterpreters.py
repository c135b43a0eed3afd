"""A sub-interpreter gets an ImportError on every Python at hand; the main interpreter goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import saymon_bulk
from peer import ID, LOGIN, PASSWORD
from processes import pythons
from saymon_bulk.testing import PracticeServer

PACKAGES = str(Path(saymon_bulk.__file__).parent.parent)
PYTHONS = {f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}
if "abi3" in Path(saymon_bulk._core.__file__).name:  # or else the others cannot import this one
    PYTHONS.update(pythons())

# `in_each(code)` runs code in a sub-interpreter of each kind: isolated and legacy, as mod_wsgi makes them.
BEGINNING = f"""
import sys

sys.path.insert(0, {PACKAGES!r})
BEGINNING = "import sys; sys.path.insert(0, {PACKAGES!r})\\n"

try:
    import _interpreters as interpreters
    kinds = [("isolated",), ("legacy",)]
except ImportError:
    import _xxsubinterpreters as interpreters
    kinds = [True, False]

def make(kind):
    return interpreters.create(isolated=kind) if isinstance(kind, bool) else interpreters.create(*kind)

def in_each(code):
    for kind in kinds:
        one = make(kind)
        interpreters.run_string(one, BEGINNING + code)
        interpreters.destroy(one)

IMPORT = '''
try:
    import saymon_bulk
    print("imported", flush=True)
except ImportError as error:
    print("sub-interpreter" if "interpreter" in str(error) else error, flush=True)
'''

def main():
    import asyncio, saymon_bulk
    client = saymon_bulk.Client(sys.argv[1], {LOGIN!r}, {PASSWORD!r})
    print(client.get_bulk_status({ID!r}))
    print(asyncio.run(client.get_bulk_status_async({ID!r})), flush=True)
"""

SCRIPTS = {
    "before the main": ("in_each(IMPORT); main()", "SSMM"),
    "after the main": ("main(); in_each(IMPORT); main()", "MMSSMM"),
    "again and again": ("in_each(IMPORT * 3); main(); in_each(IMPORT); main()", "SSSSSSMMSSMM"),
    "on a thread": (
        "import threading; main(); thread = threading.Thread(target=in_each, args=(IMPORT,)); "
        "thread.start(); thread.join(); main()",
        "MMSSMM",
    ),
    "alone": ("in_each(IMPORT)", "SS"),
    "alive at the end": ("main(); one = make(kinds[-1]); interpreters.run_string(one, BEGINNING + IMPORT)", "MMS"),
}


@pytest.mark.slow
@pytest.mark.parametrize("version", sorted(PYTHONS))
@pytest.mark.parametrize("script", SCRIPTS)
def test_an_import_error(version: str, script: str) -> None:
    python = PYTHONS[version]
    code, expected = SCRIPTS[script]
    with PracticeServer(LOGIN, PASSWORD) as server:
        server.add_bulk(0, id=ID)
        done = subprocess.run(
            [python, "-W", "ignore", "-c", BEGINNING + code, server.host],
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    said = {"S": "sub-interpreter", "M": "{'finished': True}"}
    assert done.stdout.splitlines() == [said[letter] for letter in expected], done.stderr
    assert done.returncode == 0
    assert "saymon" not in done.stderr
