"""The pytest plugin: its fixture works in a run of its own, and costs a run without it nothing."""

from __future__ import annotations

import inspect
import re
import textwrap

import pytest
import saymon_bulk_pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow  # each test is a run of pytest


def passed(pytester: pytest.Pytester, code: str) -> int:
    """How many tests passed, in a process of its own; all must."""
    pytester.makepyfile(code)
    outcomes = pytester.runpytest_subprocess("-p", "no:cacheprovider").parseoutcomes()
    assert set(outcomes) == {"passed"}
    return outcomes["passed"]


def test_the_fixture(pytester: pytest.Pytester) -> None:
    code = """
        import pytest
        import saymon_bulk

        hosts = []

        @pytest.mark.parametrize("number", [1, 2])
        def test_wait(saymon_practice_server, number):
            assert type(saymon_practice_server) is saymon_bulk.testing.PracticeServer
            assert saymon_practice_server.requests == []
            hosts.append(saymon_practice_server.host)
            client = saymon_bulk.Client(saymon_practice_server.host, "login", "password")
            assert client.wait_for_bulk(client.start_clone("an object")["bulkId"]) == {"finished": True}
            assert len(saymon_practice_server.requests) == 2

        def test_stopped():
            assert len(set(hosts)) == 2
            for host in hosts:
                with pytest.raises(saymon_bulk.TransportError):
                    saymon_bulk.get_bulk_status(host, "op", "login", "password")
    """
    assert passed(pytester, code) == 3


def test_the_fixture_needs_no_no_proxy(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.invalid:3128")
    code = """
        import saymon_bulk

        def test_wait(saymon_practice_server):
            client = saymon_bulk.Client(saymon_practice_server.host, "login", "password")
            assert client.wait_for_bulk(client.start_clone("an object")["bulkId"]) == {"finished": True}
    """
    assert passed(pytester, code) == 1


def test_the_example_of_its_docstring(pytester: pytest.Pytester) -> None:
    text = inspect.getdoc(saymon_bulk_pytest.saymon_practice_server.__wrapped__) or ""  # type: ignore[attr-defined]
    example = re.search(r"^def test_.*?(?=^\S|^$)", text, re.MULTILINE | re.DOTALL)
    assert example, text
    job = """
    import saymon_bulk

    def my_job():
        saymon_bulk.Client.from_env().start_clone("an object")
    """
    assert passed(pytester, textwrap.dedent(job) + "\n" + example[0]) == 1


def test_a_run_without_it_imports_nothing_of_the_package(pytester: pytest.Pytester) -> None:
    code = """
        import sys

        def test_modules():
            assert "saymon_bulk_pytest" in sys.modules
            assert [name for name in sys.modules if name.split(".")[0] == "saymon_bulk"] == []
    """
    assert passed(pytester, code) == 1


def test_the_list_of_fixtures_tells_of_it(pytester: pytest.Pytester) -> None:
    listed = pytester.runpytest_subprocess("--fixtures")
    listed.stdout.fnmatch_lines(["saymon_practice_server*", "*PracticeServer*"])
