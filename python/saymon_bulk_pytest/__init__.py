"""The pytest plugin of saymon-bulk: the fixture `saymon_practice_server`.

Outside of the package saymon_bulk, which a test run without this fixture does not import.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from saymon_bulk.testing import PracticeServer

__all__ = ["saymon_practice_server"]


@pytest.fixture
def saymon_practice_server() -> Iterator[PracticeServer]:
    """A running `saymon_bulk.testing.PracticeServer`, new for each test.

    def test_my_job(saymon_practice_server, monkeypatch):
        monkeypatch.setenv("SAYMON_HOST", saymon_practice_server.host)
        monkeypatch.setenv("SAYMON_LOGIN", "login")
        monkeypatch.setenv("SAYMON_PASSWORD", "password")
        my_job()  # calls saymon_bulk.Client.from_env()
        assert len(saymon_practice_server.starts) == 1

    The login is "login", the password "password". An operation has finished
    when a client first asks for it. Another value of `finishes_after`, in
    seconds, changes that. `fail_next` and `lose_next` rehearse failures.
    """
    from saymon_bulk.testing import PracticeServer

    with PracticeServer("login", "password", finishes_after=0) as server:
        yield server
