"""One cause, one line: the errors of many operations that say the same."""

from __future__ import annotations

import json
import math

import pytest
from commands import KEYS, Terminal, run, told_of
from peer import END, Desk, no_hanging, response
from saymon_bulk.cli.output import Errors
from saymon_bulk.testing import PracticeServer

pytestmark = pytest.mark.usefixtures("user")
alarm = no_hanging()

many = pytest.mark.parametrize("count", [1, 16, 17, 200, 5000])
both = pytest.mark.parametrize("command", ["status", "wait"])
# A server that is down is tried again and again.
QUICK = {"status": [], "wait": ["--timeout", "0.5", "--interval", "0.1"]}


def ids_of(count: int) -> list[str]:
    return [f"op-{number}" for number in range(count)]


def group(count: int) -> str:
    return "" if count == 1 else f" (all {count:,} operations)"


@both
@many
def test_a_wrong_password(server: PracticeServer, command: str, count: int) -> None:
    result = run(server, command, "-", stdin="\n".join(ids_of(count)), SAYMON_PASSWORD="wrong")
    operation = ": bulk operation op-0" if count == 1 else ""
    text = f"{server.host}{operation}: HTTP 401 InvalidCredentials: Invalid login or password.{group(count)}"
    assert (result.returncode, result.stdout, result.stderr) == (4, "", f"saymon-bulk: {text}\n")
    assert len(server.requests) == 1


@both
@many
def test_a_dead_server(command: str, count: int) -> None:
    words = [command, "-", *QUICK[command], "--host", "http://127.0.0.1:1"]
    result = run(None, *words, stdin="\n".join(ids_of(count)))
    errors = [line for line in result.stderr.splitlines() if line.startswith("saymon-bulk: http://127.0.0.1:1: ")]
    assert result.returncode == 1
    assert len(told_of("\n".join(errors))) == count
    if count < 5000:
        assert [(line.count("refused"), line.endswith(group(count))) for line in errors] == [(1, True)]
    else:
        # Some may not have been asked for in time.
        assert len(errors) <= 2
    unknown = [f"{id} unknown" for id in ids_of(count)] if command == "wait" else []
    assert sorted(result.stdout.splitlines()) == sorted(unknown)


@both
@pytest.mark.parametrize("count", [16, 17, 200, 5000])
def test_some_of_many(server: PracticeServer, command: str, count: int) -> None:
    ids = ids_of(count)
    unknown = ids[3::7]
    for id in ids:
        if id not in unknown:
            server.add_bulk(0, id=id)
    result = run(server, command, "-", stdin="\n".join(ids))
    assert result.returncode == 1
    assert sorted(result.stdout.splitlines()) == sorted(f"{id} finished" for id in ids if id not in unknown)
    assert len(told_of(result.stderr)) == len(unknown)
    # In one line, unless a busy server pauses.
    assert len(result.stderr.splitlines()) <= 4
    assert f" ({len(unknown):,} operations: op-" in result.stderr or count == 5000


@both
@many
def test_json_has_an_object_for_each(server: PracticeServer, command: str, count: int) -> None:
    result = run(server, command, "--json", "-", stdin="\n".join(ids_of(count)), SAYMON_PASSWORD="wrong")
    assert (result.returncode, result.stderr) == (4, "")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(one["id"] for one in found) == sorted(ids_of(count))
    assert {(tuple(one), one["status_code"]) for one in found} == {(KEYS, 401)}


def test_two_causes_are_two_lines(desk: Desk) -> None:
    desk.answer(response("{}", 404))
    desk.of = {"op-3": response("{}", 403), "op-5": response("{}", 403), "op-0": END}
    result = run(desk, "status", "--concurrency", "1", *ids_of(7))
    assert result.stderr.splitlines() == [
        f"saymon-bulk: {desk.host}: HTTP 404: {{}} (4 operations: op-1, op-2, op-4 and 1 more)",
        f"saymon-bulk: {desk.host}: HTTP 403: {{}} (2 operations: op-3, op-5)",
    ]


def test_errors_before_an_interrupt(server: PracticeServer) -> None:
    server.add_bulk(math.inf, id="never")
    with Terminal(server, "wait", "--interval=0.1", "never", "a", "b", columns=200) as terminal:
        terminal.shows("^2 of 3 done")
        terminal.type("\x03")
        assert terminal.end() == 130
        errors = "\n".join(terminal.screen()).partition("saymon-bulk: interrupted")[0].splitlines()
        told = [line for line in errors if "HTTP 404" in line]
    assert len(told_of("\n".join(told))) == 2


def test_a_server_that_names_the_operation(desk: Desk) -> None:
    ids = ["op-11111", "op-111112", "b49c1b1e-0d7c"]
    desk.of = {id: response(json.dumps({"message": f"No operation {id} ({id})."}), 404) for id in ids}
    text = f"saymon-bulk: {desk.host}: HTTP 404: No operation ID (ID). (all 3 operations)\n"
    assert run(desk, "status", *ids).stderr == text
    # The name of an operation is no status.
    desk.of = {id: response("{}", int(id)) for id in ("403", "404", "410")}
    assert run(desk, "status", *desk.of).stderr.count("\n") == 3


def test_thousands_of_messages_cost_little() -> None:
    """Each step looks at them."""
    errors, count = Errors(20_000), 0
    for number in range(20_000):
        errors.add(f"op-{number}", f"h: bulk operation op-{number}: message {number}")
        count += len(list(errors.lines()))
    assert count + len(list(errors.lines(is_end=True))) == 20_000


def test_the_ids_in_a_line() -> None:
    errors = Errors(5)
    for id in ("a\u202eb", "c", "d", "e"):
        errors.add(id, f"h: bulk operation {id}: HTTP 404")
    errors.add("f", "h: another text")
    assert list(errors.lines()) == []
    assert list(errors.lines(is_end=True)) == [r"h: HTTP 404 (4 operations: 'a\u202eb', c, d and 1 more)", "h: another text"]
    assert list(errors.lines(is_end=True)) == []
