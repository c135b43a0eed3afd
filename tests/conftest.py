"""What every test stands on: the fixtures, and an environment that says nothing."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["peer", "processes", "commands", "servers"]

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_CLEARED = {"SSL_CERT_FILE", "SSL_CERT_DIR"}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower() in _PROXIES or name in _CLEARED or name.startswith("SAYMON_"):
            monkeypatch.delenv(name)
