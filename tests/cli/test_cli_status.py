"""The command `status`: a line comes when its answer comes, each id has one, and errors read as they do in the library."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from commands import KEYS, run, started, told_of
from peer import END, LOGIN, PASSWORD, RUN, Act, Answer, Desk, at, end, id_of, no_hanging, response, saying, when
from saymon_bulk import SaymonError
from saymon_bulk.testing import PracticeServer

pytestmark = pytest.mark.usefixtures("user")
alarm = no_hanging()

UNKNOWN = response("{}", 404)


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer(LOGIN, PASSWORD) as one:
        yield one


def silent(wire: Any) -> None:
    wire.hold()


def lines_of(stdout: str, stderr: str, is_json: bool) -> list[str]:
    """The id of each line, on both; of errors that share a line, a blank for each."""
    if is_json:
        return [json.loads(line)["id"] for line in stdout.splitlines()]
    return [*(line.split()[0] for line in stdout.splitlines()), *told_of(stderr)]


# When lines come


@pytest.mark.parametrize("words", [[], ["--json"]], ids=["words", "json"])
@pytest.mark.parametrize("answer", [END, RUN, UNKNOWN], ids=["finished", "running", "unknown"])
def test_one_silent_answer_holds_back_no_other(desk: Desk, words: list[str], answer: bytes) -> None:
    told, ids = threading.Event(), [f"op-{number}" for number in range(40)]
    desk.answer(END)
    desk.of = {"op-1": when(told, saying(answer)), "op-7": RUN, "op-20": RUN}
    with started(desk, "status", *words, *ids) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(39)]
        assert process.poll() is None
        told.set()
        out, err = process.communicate(timeout=60)
    assert process.returncode == (1 if answer is UNKNOWN else 8)
    early, late = lines_of("".join(lines), "", bool(words)), lines_of(out, err, bool(words))
    assert (sorted(early), late) == (sorted({*ids} - {"op-1"}), ["op-1"])


def test_nor_one_of_a_thousand(desk: Desk) -> None:
    told, ids = threading.Event(), [f"op-{number}" for number in range(1000)]
    desk.answer(UNKNOWN)
    desk.of = {"op-500": when(told, saying(END)), "op-0": END}
    with started(desk, "status", "--json", *ids) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(999)]
        told.set()
        out, err = process.communicate(timeout=60)
    assert (lines_of(out, err, True), len(set(lines))) == (["op-500"], 999)


def test_an_error_comes_when_it_is_known(desk: Desk) -> None:
    """Soon after it, while another answer is awaited. Three lines of one cause come so; the rest at the end."""
    told = [threading.Event() for _ in range(4)]
    desk.answer(UNKNOWN)
    desk.of = {f"op-{2 * number}": when(event, saying(END)) for number, event in enumerate(told, 1)}
    with started(desk, "status", "--concurrency", "1", *(f"op-{number}" for number in range(1, 10))) as process:
        assert process.stderr is not None
        for number, event in enumerate(told):
            if number < 3:
                assert f"bulk operation op-{2 * number + 1}: HTTP 404" in process.stderr.readline()
            assert process.poll() is None
            event.set()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, len(out.splitlines())) == (1, 4)
    assert err == f"saymon-bulk: {desk.host}: HTTP 404: {{}} (2 operations: op-7, op-9)\n"


def test_one_at_a_time_keeps_the_order(server: PracticeServer) -> None:
    ids = [server.add_bulk(math.inf if number % 3 else 0) for number in range(30)]
    result = run(server, "status", "--concurrency", "1", *ids)
    assert [line.split()[0] for line in result.stdout.splitlines()] == ids


# What is printed


@pytest.mark.parametrize("count", [1, 16, 17, 200, 5000])
@pytest.mark.parametrize("words", [[], ["--json"]], ids=["words", "json"])
def test_each_id_has_one_line(server: PracticeServer, count: int, words: list[str]) -> None:
    kinds = ["unknown" if number % 7 == 3 else "running" if number % 5 == 1 else "finished" for number in range(count)]
    wanted = {f"op-{number}": kind for number, kind in enumerate(kinds)}
    for id, kind in wanted.items():
        if kind != "unknown":
            server.add_bulk(0 if kind == "finished" else math.inf, id=id)
    result = run(server, "status", *words, "-", stdin="\n".join([*wanted, *wanted]))
    assert result.returncode == (1 if "unknown" in kinds else 8 if "running" in kinds else 0)
    if words:
        assert sorted(lines_of(result.stdout, result.stderr, True)) == sorted(wanted)
        found = {line["id"]: line for line in map(json.loads, result.stdout.splitlines())}
        states = {id: {True: "finished", False: "running", None: "unknown"}[line["finished"]] for id, line in found.items()}
        assert {tuple(line) for line in found.values()} == {KEYS}
        assert {line["status_code"] for line in found.values()} <= {None, 404}
    else:
        states = dict(line.split() for line in result.stdout.splitlines())
        assert (len(states), len(told_of(result.stderr))) == (count - kinds.count("unknown"), kinds.count("unknown"))
        assert all("HTTP 404" in line for line in result.stderr.splitlines())
    assert states.items() <= wanted.items()
    assert len(server.requests) == count


CUT: Act = end
ANSWERS: dict[str, Answer | list[Answer]] = {
    "finished": END,
    "running": RUN,
    "running with more": response('{"finished": false, "left": 7}'),
    "400": response('{"code": "Bad", "message": "no such thing"}', 400),
    "403": response("{}", 403),
    "404": UNKNOWN,
    "408": response("{}", 408),
    "429": response("{}", 429, "Retry-After: 60"),
    "503": response("{}", 503, "Retry-After: 60"),
    "302": response("", 302, "Location: https://elsewhere/login"),
    "page": response("<html><title>Log in</title></html>", content_type="text/html"),
    "no object": response("[]"),
    "cut off": CUT,
    "silent": silent,
}


@pytest.mark.parametrize("concurrency", ["1", "16"])
def test_it_reads_as_the_library_says(desk: Desk, concurrency: str) -> None:
    """Each once, with the texts and the objects of one question: nothing is tolerated, nothing is asked again."""
    desk.of = {id.replace(" ", "%20"): answer for id, answer in ANSWERS.items()}
    words = ["--concurrency", concurrency, "--request-timeout", "0.7"]
    said = at(desk, request_timeout=0.7).get_bulk_statuses(ANSWERS, concurrency=int(concurrency), return_exceptions=True)
    desk.requests.clear()
    result = run(desk, "status", *words, *ANSWERS)
    asked = sorted(map(id_of, desk.requests))
    # What is cut off on a kept connection is asked once more, as ever.
    assert asked in (sorted(desk.of), sorted([*desk.of, "cut%20off"]))
    errors = {id: outcome for id, outcome in said.items() if isinstance(outcome, SaymonError)}
    assert sorted(result.stderr.splitlines()) == sorted(f"saymon-bulk: {error}" for error in errors.values())
    good = {id: outcome for id, outcome in said.items() if not isinstance(outcome, SaymonError)}
    states = [f"{id} {'finished' if status['finished'] else 'running'}" for id, status in good.items()]
    assert sorted(result.stdout.splitlines()) == sorted(states)
    assert result.returncode == 4  # for the 403
    in_json = run(desk, "status", "--json", *words, *ANSWERS)
    assert (in_json.returncode, in_json.stderr) == (4, "")
    found = {line["id"]: line for line in map(json.loads, in_json.stdout.splitlines())}
    assert len(found) == in_json.stdout.count("\n") == len(ANSWERS)
    for id, error in errors.items():
        assert found[id] == error.to_dict()
    assert found["running with more"]["left"] == 7


@pytest.mark.parametrize("place", [0, 5, 16])
def test_a_401_ends_it_and_is_the_error_of_the_rest(desk: Desk, place: int) -> None:
    ids = [f"op-{number}" for number in range(40)]
    desk.answer(END)
    desk.of = {ids[place]: response("{}", 401), ids[1]: RUN}
    result = run(desk, "status", "--concurrency", "4", *ids)
    assert result.returncode == 4
    assert len(result.stdout.splitlines()) + len(told_of(result.stderr)) == len(ids)
    assert all("HTTP 401" in line for line in result.stderr.splitlines())
    # What is under way ends without an answer, and what has one keeps it.
    cut_off = len(desk.requests) - len(result.stdout.splitlines())
    assert 1 <= cut_off <= 4
    assert place == 0 or f"{ids[0]} finished" in result.stdout.splitlines()


def test_the_log_says_nothing_of_going_on(desk: Desk) -> None:
    """A request that times out on a kept connection is the error of its id."""
    desk.answer(END)
    desk.of = {"b": silent}
    result = run(desk, "status", "-v", "--concurrency", "1", "--request-timeout", "0.7", "a", "b")
    assert (result.returncode, result.stdout) == (1, "a finished\n")
    assert result.stderr.splitlines()[-1].endswith("bulk operation b: no complete answer within 0.7 s")
    assert "polling" not in result.stderr
