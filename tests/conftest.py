"""What every test stands on: the fixtures, and an environment that says nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["peer", "processes", "commands", "servers", "busy", "pages"]

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_CLEARED = {"SSL_CERT_FILE", "SSL_CERT_DIR"}
_PACKAGE = Path(__file__).parent / "package"

# Each test of the command line starts a process or more. Those that stay quick are for the loop of a contributor.
_COMMAND_LINE = Path(__file__).parent / "cli"
_QUICK_ONES = {"test_cli.py", "test_cli_help.py"}

# A test with a `count` from here on is slow.
MANY = 200


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower() in _PROXIES or name in _CLEARED or name.startswith("SAYMON_"):
            monkeypatch.delenv(name)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is left out anyway is not imported: pandas, Dask and Jupyter take a second or more in each worker."""
    return True if collection_path == _PACKAGE and "not package" in config.option.markexpr else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests and those of the package begin first, so that none is left alone at the end."""
    for item in items:
        if _PACKAGE in item.path.parents:
            item.add_marker("package")
        if _COMMAND_LINE in item.path.parents and item.path.name not in _QUICK_ONES:
            item.add_marker("slow")
        count = (
            item.callspec.params.get("count") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
        )
        if isinstance(count, int) and count >= MANY:
            item.add_marker("slow")
    items.sort(key=lambda item: not any(item.get_closest_marker(name) for name in ("slow", "package")))
