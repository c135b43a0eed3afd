"""What can be reached, and how it looks: `saymon_bulk.testing`, dir(), the repr of a Client."""

from __future__ import annotations

import types

import pytest
import saymon_bulk
from peer import Peer, at
from processes import run_script


@pytest.mark.slow
def test_testing_is_reached_by_attribute() -> None:
    code = """
import sys, saymon_bulk
assert "saymon_bulk.testing" not in sys.modules
with saymon_bulk.testing.PracticeServer("login", "password", finishes_after=0) as server:
    print(saymon_bulk.get_bulk_status(server.host, server.add_bulk(), "login", "password"))
"""
    done = run_script(code)
    assert (done.stdout, done.stderr) == ("{'finished': True}\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["from saymon_bulk import testing", "import saymon_bulk.testing as testing"])
def test_and_by_import(how: str) -> None:
    done = run_script(f"{how}\nimport saymon_bulk\nprint(testing is saymon_bulk.testing)")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_star_import_has_the_public_names_and_no_server() -> None:
    done = run_script("from saymon_bulk import *\nimport sys\nprint('http.server' in sys.modules, BulkStatus, Client)")
    assert done.stdout.startswith("False ")
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["nothing", "_nothing", "json", "annotations"])
def test_what_is_not_there_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(saymon_bulk, name)


@pytest.mark.parametrize("module", [saymon_bulk, saymon_bulk.errors, saymon_bulk.testing], ids=lambda one: one.__name__)
def test_dir_shows_public_names_alone(module: types.ModuleType) -> None:
    shown = [name for name in dir(module) if not name.startswith("_")]
    public = set(getattr(module, "__all__", saymon_bulk.__all__))
    assert shown
    assert len(set(dir(module))) == len(dir(module))
    assert set(shown) <= public | ({"testing"} if module is saymon_bulk else set())
    for name in shown:
        value = getattr(module, name)
        assert value is saymon_bulk.testing or value.__module__.startswith("saymon_bulk"), name


def test_dir_shows_every_public_name() -> None:
    assert {*saymon_bulk.__all__, "testing"} <= set(dir(saymon_bulk))
    assert set(saymon_bulk.testing.__all__) <= set(dir(saymon_bulk.testing))


def test_the_repr_of_a_client_says_that_it_is_closed(peer: Peer) -> None:
    client = at(peer)
    before = repr(client)
    assert "closed" not in before
    client.close()
    assert repr(client) == before[:-1] + ", closed>"
