"""The code blocks of the README, and a shell that runs them against a practice server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from saymon_bulk.testing import PracticeServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
UUID = r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
IDS = sorted(set(re.findall(UUID, README)))


def blocks(language: str) -> list[str]:
    return [text for one, text in BLOCKS if one == language]


def with_host(text: str, server: PracticeServer) -> str:
    return re.sub(r"(https://)?monitor\.example\.com", server.host, text)


def shell(script: str, folder: Path, server: PracticeServer, password: str = "password") -> subprocess.CompletedProcess[str]:
    if os.name != "posix" or shutil.which("bash") is None:
        pytest.skip("there is no POSIX system with bash")
    own = {"SAYMON_HOST": server.host, "SAYMON_LOGIN": "login", "SAYMON_PASSWORD": password, "HOME": str(folder)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-uo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **own, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def fill(folder: Path) -> Path:
    """What the README says that the files hold."""
    (search,) = re.findall(r"`search.json` holds .*?`(.*?)`", README, re.DOTALL)
    (bulk,) = re.findall(r"`bulk.json` holds .*?`(.*?)`", README, re.DOTALL)
    (folder / "search.json").write_text(search)
    (folder / "bulk.json").write_text(bulk)
    (folder / "body.json").write_text(f'{{"search": {search}, "bulk": {bulk}}}')
    (folder / "ids.txt").write_text("\n".join(IDS))
    (folder / ".netrc").write_text("machine 127.0.0.1 login login password password")
    (folder / ".netrc").chmod(0o600)
    return folder
