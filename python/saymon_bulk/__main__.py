"""`python -m saymon_bulk` is `saymon-bulk`."""

from __future__ import annotations

import sys

from .cli import run

if __name__ == "__main__":
    sys.exit(run())
