"""The completion scripts of shells, made by `tools/shell_files.py` from the parser."""

from __future__ import annotations

import os


def script(shell: str) -> str:
    path = os.path.join(os.path.dirname(__file__), f"saymon-bulk.{shell}")
    with open(path, encoding="utf-8") as file:
        return file.read().rstrip("\n")
