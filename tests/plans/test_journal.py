"""The journal: whatever ends an apply, and wherever, no object is sent twice, and the next apply goes on."""

from __future__ import annotations

import asyncio
import errno
import functools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import END, LOGIN, PASSWORD, Peer, at, response
from planning import (
    FAST,
    SECRET,
    STARTED,
    WEIGHT,
    Call,
    a_plan,
    an_object,
    awaited,
    blocking,
    both_ways,
    check_lists,
    client,
    kinds,
    objects,
    park,
    reasons,
    sent,
    server,
)
from processes import POSIX, needs_signals
from saymon_bulk import (
    BulkPlan,
    Client,
    ClosedError,
    HTTPStatusError,
    NotFoundError,
    PlanRefusedError,
    SaymonError,
    StartUncertainError,
)
from saymon_bulk.testing import PracticeServer

__all__ = ["client", "server"]

Lines = list[dict[str, Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.json.log"


def lines(path: Path) -> Lines:
    content = path.read_bytes()
    assert content.endswith(b"\n") or not content
    return [json.loads(line) for line in content.splitlines()]


def events(path: Path) -> list[str]:
    return [line["event"] for line in lines(path)]


def line(plan: BulkPlan, event: str, **more: Any) -> str:
    entry = {"format": "saymon-bulk-journal", "version": 1, "plan": plan.id, "event": event, "time": "2026-01-01"}
    return json.dumps({**entry, **more}) + "\n"


def started(plan: BulkPlan, request_id: str, objects: list[str], id: str) -> str:
    """The lines of a start that was made."""
    begun = line(plan, "starting", request_id=request_id, objects=objects)
    return begun + line(plan, "started", request_id=request_id, bulkId=id)


def apply(client: Client, plan: BulkPlan, path: Path, **more: Any) -> Any:
    return client.apply_plan(plan, journal=path, **{**FAST, **more})


def none_twice(server: PracticeServer) -> None:
    twice = [id for id, count in Counter(sent(server)).items() if count > 1]
    assert not twice


@both_ways
@pytest.mark.parametrize("count", [1, 16, 17, 200])
def test_the_lines(server: PracticeServer, client: Client, path: Path, call: Call, count: int) -> None:
    server.objects.update(park(count))
    plan = a_plan(client)
    assert call(client, "apply_plan", plan, journal=path, part_size=16, **FAST).ok
    parts = -(-count // 16)
    assert events(path) == ["starting", "started", "finished", "verified"] * parts + ["done"]
    assert [id for one in lines(path) for id in one.get("objects", ())] == [one.id for one in plan.changes] == sent(server)
    for one in lines(path):
        assert (one["format"], one["version"], one["plan"]) == ("saymon-bulk-journal", 1, plan.id)
    begun = [one["request_id"] for one in lines(path) if one["event"] == "starting"]
    assert begun == [start.request_id for start in server.starts]
    ended = [one["bulkId"] for one in lines(path) if one["event"] == "started"]
    assert ended == [start.id for start in server.starts]
    if POSIX:
        assert path.stat().st_mode & 0o777 == 0o600


def test_no_value_stands_in_the_journal(server: PracticeServer, client: Client, path: Path) -> None:
    server.objects["a"] = an_object(1, room=SECRET) | {"id": "a"}
    plan = a_plan(client, [{"properties.createOrModify": {"name": "Room", "value": SECRET + "2"}}])
    server.skip_next()
    assert not apply(client, plan, path).ok
    text = path.read_text(encoding="utf-8")
    for secret in (SECRET, "CPU", LOGIN, PASSWORD):
        assert secret not in text


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("size", [1, 3, 100])
def test_cut_after_every_line_and_in_the_last_one(
    server: PracticeServer, client: Client, path: Path, call: Call, size: int
) -> None:
    """What a process leaves that is killed: the lines so far, and a piece of the next one."""
    everything = park(5)
    server.objects.update(everything)
    plan = a_plan(client)
    assert apply(client, plan, path, part_size=size).ok
    written = path.read_bytes().splitlines(keepends=True)
    already = len(server.starts)
    for number in range(len(written) + 1):
        # Either the lines' starts have happened, or the process died before the last one was sent.
        begun = [one for one in map(json.loads, written[:number]) if one["event"] == "starting"]
        for is_changed in (True, False):
            if not is_changed and (number == 0 or json.loads(written[number - 1])["event"] != "starting"):
                continue
            done = {id for one in (begun if is_changed else begun[:-1]) for id in one["objects"]}
            server.objects.update({id: an_object(n, "7" if id in done else "5") for n, id in enumerate(everything)})
            tails = {b"", written[number][:20], written[number][:-1], b"\0" * 9} if number < len(written) else {b""}
            for tail in tails:
                path.write_bytes(b"".join(written[:number]) + tail)
                server.objects.update({id: an_object(n, "7" if id in done else "5") for n, id in enumerate(everything)})
                before = len(server.starts)
                named = {id for one in begun for id in one["objects"]}
                if number == len(written):
                    with pytest.raises(PlanRefusedError) as refused:
                        call(client, "apply_plan", plan, journal=path, part_size=size, **FAST)
                    assert refused.value.reason == "already-applied"
                elif is_changed:
                    report = call(client, "apply_plan", plan, journal=path, part_size=size, **FAST)
                    assert check_lists(report, plan).ok
                    assert len(report.starts) == -(-5 // size)
                else:
                    with pytest.raises(StartUncertainError) as caught:
                        call(client, "apply_plan", plan, journal=path, part_size=size, **FAST)
                    assert caught.value.request_id == begun[-1]["request_id"]
                    check_lists(caught.value.report, plan)
                now = [id for start in server.starts[before:] for id in (start.body or {})["search"]["id"]["$in"]]
                assert not named & set(now)
                assert len(now) == len(set(now))
    assert len(server.starts) > already


@pytest.mark.slow
def test_the_last_line_cut_at_every_byte(server: PracticeServer, client: Client, path: Path) -> None:
    server.objects.update(park(2))
    plan = a_plan(client)
    assert apply(client, plan, path, part_size=1).ok
    written = path.read_bytes().splitlines(keepends=True)
    for number, step in ((1, 25), (2, 25), (5, 25), (len(written), 1)):
        whole = b"".join(written[: number - 1])
        for end in range(0, len(written[number - 1]), step):
            path.write_bytes(whole + written[number - 1][:end])
            before = len(server.starts)
            report = apply(client, plan, path, part_size=1)
            assert report.ok
            assert len(server.starts) == before  # all objects are as asked, so nothing is sent
            assert events(path)[-1] == "done"


KILLED = """
import json, os, sys
import saymon_bulk
from saymon_bulk._plans import journal, steps
host, plan, path, size, kill_at, where = sys.argv[1:]
left = [int(kill_at)]
write = journal.Journal._write
def killed():
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), 9)
def hooked(self, *arguments, **more):
    if where == "before": killed()
    write(self, *arguments, **more)
    if where == "after": killed()
journal.Journal._write = hooked
client = saymon_bulk.Client(host, "LOGIN", "PASSWORD")
plan = saymon_bulk.BulkPlan.load(plan)
client.apply_plan(plan, journal=path, part_size=int(size), settle=0, interval=0.02, max_interval=0.05)
""".replace("LOGIN", LOGIN).replace("PASSWORD", PASSWORD)


@pytest.mark.slow
@pytest.mark.skipif(not POSIX, reason="no kill -9 on this system")
@pytest.mark.parametrize("size", [2, 1, 9])
def test_killed_between_any_two_lines(server: PracticeServer, client: Client, tmp_path: Path, size: int) -> None:
    everything = park(4)
    server.objects.update(everything)
    plan = a_plan(client)
    plan.save(tmp_path / "plan.json")
    ends = {}
    for where in ("before", "after"):
        for kill_at in range(1, 4 * -(-4 // size) + 2):
            path = tmp_path / f"{where}-{kill_at}.log"
            server.objects.update({id: an_object(n) for n, id in enumerate(everything)})
            begin = len(server.starts)
            words = [server.host, str(tmp_path / "plan.json"), str(path), str(size), str(kill_at), where]
            assert subprocess.run([sys.executable, "-c", KILLED, *words], check=False).returncode == -9
            try:
                report = apply(client, plan, path, part_size=size)
            except StartUncertainError as error:
                ends[where, kill_at] = "uncertain"
                # Only between the line "starting" and the start.
                assert where == "after"
                assert kill_at % 4 == 1
                check_lists(error.report, plan)
            except PlanRefusedError as error:
                ends[where, kill_at] = error.reason or ""
                assert (where, kill_at) == ("after", 4 * -(-4 // size) + 1)
            else:
                ends[where, kill_at] = "ok"
                assert check_lists(report, plan).ok
            found = [id for start in server.starts[begin:] for id in (start.body or {})["search"]["id"]["$in"]]
            assert len(found) == len(set(found)), (where, kill_at)
            if ends[where, kill_at] != "uncertain":
                assert sorted(found) == sorted(everything)
    assert set(ends.values()) == {"ok", "uncertain", "already-applied"}


FILES = {str(Path(saymon_bulk.__file__).parent / "_plans" / f"{name}.py") for name in ("apply", "journal", "steps")}


def interrupted_at(moment: int, call: Callable[[], Any]) -> tuple[BaseException | None, bool]:
    """Calls it, and raises KeyboardInterrupt at a line of the three files, as Ctrl-C does. Whether it came so far."""
    left = [moment]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except BaseException as error:
        return error, left[0] <= 0
    finally:
        sys.settrace(before)
    return None, left[0] <= 0


@pytest.mark.slow
@pytest.mark.parametrize("step", [11, 4])
def test_ctrl_c_at_each_line(server: PracticeServer, client: Client, tmp_path: Path, step: int) -> None:
    """No object is sent twice, and the journal is free while the error and its traceback are still there."""
    everything = park(2)
    ends: Counter[str] = Counter()
    for moment in range(1, 5000, step):
        server.objects.clear()
        server.objects.update(park(2))
        plan, path, before = a_plan(client), tmp_path / f"{moment}.log", len(server.starts)
        error, is_interrupted = interrupted_at(moment, functools.partial(apply, client, plan, path, part_size=1))
        if not is_interrupted:
            assert error is None
            break
        assert isinstance(error, KeyboardInterrupt), repr(error)
        report = getattr(error, "report", None)
        if report is not None:
            check_lists(report, plan)
            assert len(report.starts) >= len(server.starts) - before
            assert not [one for one in report.not_as_asked if one.id in sent(server)[before:]]
        try:
            apply(client, plan, path, part_size=1)
            ends["ok"] += 1
        except PlanRefusedError as refusal:
            ends[refusal.reason or ""] += 1
            if refusal.reason == "running":  # Ctrl-C came while the journal was closed
                where = traceback.extract_tb(error.__traceback__)[-2]
                if where.name != "close" and where.line != "journal.close()":
                    raise
                continue
        except StartUncertainError:
            ends["uncertain"] += 1
            continue
        assert sorted(sent(server)[before:]) == sorted(everything)
        del error
    assert ends["ok"] > ends["uncertain"]


@needs_signals
@pytest.mark.slow
@pytest.mark.parametrize("base", [KeyboardInterrupt, Exception, SaymonError])
def test_interrupted_at_any_moment(
    server: PracticeServer, client: Client, tmp_path: Path, base: type[BaseException]
) -> None:
    """A signal's handler raises between any two steps of the interpreter, also while the journal is written."""

    class Alarm(base):  # type: ignore[valid-type,misc]
        pass

    armed: list[bool] = []

    def ring(*_: object) -> None:
        if armed:
            raise Alarm

    everything = park(3)
    handler = signal.signal(signal.SIGALRM, ring)
    ends: Counter[str] = Counter()
    choice = random.Random(7)
    try:
        for number in range(40):
            server.objects.clear()
            server.objects.update({id: an_object(n) for n, id in enumerate(everything)})
            plan, path, before = a_plan(client), tmp_path / f"{number}.log", len(server.starts)
            for _ in range(20):
                try:
                    try:
                        armed.append(True)
                        signal.setitimer(signal.ITIMER_REAL, choice.uniform(0.0005, 0.03))
                        apply(client, plan, path, part_size=1)
                        end = "ok"
                    except PlanRefusedError as error:
                        end = error.reason or ""
                    except StartUncertainError as error:
                        end = "uncertain"
                        check_lists(error.report, plan)
                    finally:
                        armed.clear()
                except Alarm as error:
                    end = "alarm"
                    report = getattr(error, "report", None)
                    if report is not None:  # else it came before the first step or after the last one
                        check_lists(report, plan)
                ends[end] += 1
                assert end != "running"
                if end != "alarm":
                    break
            found = [id for start in server.starts[before:] for id in (start.body or {})["search"]["id"]["$in"]]
            assert len(found) == len(set(found)), path.read_text()
            if end in ("ok", "already-applied"):
                assert {one["properties"][0]["value"] for one in server.objects.values()} == {"7"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert ends["alarm"] > 10, ends


@pytest.mark.slow
@needs_signals
def test_a_handler_that_raises_when_the_answer_to_a_start_has_come(
    server: PracticeServer, client: Client, tmp_path: Path
) -> None:
    """The error has the id of the operation, and the journal too: the next apply waits for it."""

    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    perform, main = server._answer, threading.main_thread().ident or 0

    def answer(request: Any, content: bytes) -> Any:
        done = perform(request, content)
        if request.path.endswith("/bulk/objects"):
            signal.pthread_kill(main, signal.SIGALRM)
        return done

    server._answer = answer  # type: ignore[method-assign]
    server.objects.update(park(2))
    handler = signal.signal(signal.SIGALRM, ring)
    try:
        for number in range(20):
            path = tmp_path / f"{number}.log"
            server.objects.update(park(2))
            plan = a_plan(client)
            with pytest.raises((StartUncertainError, Alarm)) as caught:
                apply(client, plan, path)
            report = check_lists(getattr(caught.value, "report", None), plan)
            assert len(report.unknown) == 2
            id = getattr(caught.value, "id", None)
            if id is not None:
                assert report.starts[0]["bulkId"] == id == server.starts[-1].id
                assert events(path) == ["starting", "started"]
            assert apply(client, plan, path).ok
            assert len(server.starts) == number + 1
    finally:
        signal.signal(signal.SIGALRM, handler)


@both_ways
def test_an_apply_that_runs_refuses_a_second_one(server: PracticeServer, client: Client, path: Path, call: Call) -> None:
    server.objects.update(park(3))
    plan = a_plan(client)
    refusals: list[PlanRefusedError] = []

    def second(*_: object) -> None:
        if not refusals:
            with pytest.raises(PlanRefusedError, match="This call started nothing") as caught:
                apply(client, plan, path)
            refusals.append(caught.value)

    assert call(client, "apply_plan", plan, journal=path, on_poll=second, **FAST).ok
    assert [refusal.reason for refusal in refusals] == ["running"]
    assert set(reasons(check_lists(refusals[0].report, plan).unknown).values()) == {None}
    assert len(server.starts) == 1
    with pytest.raises(PlanRefusedError, match="applied already"):  # the lock is gone
        apply(client, plan, path)


@pytest.mark.skipif(not POSIX, reason="flock")
def test_the_lock_of_another_process(server: PracticeServer, client: Client, path: Path) -> None:
    server.objects.update(park(1))
    code = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(PlanRefusedError) as caught:
            apply(client, a_plan(client), path)
        holder.communicate(b"\n")
    assert caught.value.reason == "running"
    assert server.starts == []
    assert apply(client, a_plan(client), path).ok


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_forked_meanwhile_does_not_keep_the_lock(server: PracticeServer, client: Client, path: Path) -> None:
    server.objects.update(park(1))
    end, begin = os.pipe()
    children: list[int] = []

    def fork(*_: object) -> None:
        if not children:
            child = os.fork()
            if child == 0:
                os.close(begin)
                os.read(end, 1)
                os._exit(0)
            children.append(child)

    plan = a_plan(client)
    assert apply(client, plan, path, on_poll=fork).ok
    with pytest.raises(PlanRefusedError) as caught:
        apply(client, plan, path)
    os.close(begin)
    os.close(end)
    os.waitpid(children[0], 0)
    assert caught.value.reason == "already-applied"


@both_ways
@pytest.mark.parametrize("count", [0, 1, 17])
def test_done_also_if_nothing_had_to_be_sent(
    server: PracticeServer, client: Client, path: Path, call: Call, count: int
) -> None:
    server.objects.update(park(count))
    plan = a_plan(client)
    for one in server.objects.values():
        one["properties"][0]["value"] = "7"
    assert call(client, "apply_plan", plan, journal=path, **FAST).ok
    assert events(path) == ["done"]
    for one in server.objects.values():
        one["properties"][0]["value"] = "5"
    with pytest.raises(PlanRefusedError) as caught:
        call(client, "apply_plan", plan, journal=path, **FAST)
    assert caught.value.reason == "already-applied"
    # What an earlier apply has made of them is not known.
    assert len(check_lists(caught.value.report, plan).unknown) == count
    assert server.starts == []


@both_ways
def test_lines_of_other_plans_do_not_count(server: PracticeServer, client: Client, path: Path, call: Call) -> None:
    server.objects.update(park(3))
    first, second = a_plan(client), a_plan(client, [{"modify": {"weight": 9}}])
    assert call(client, "apply_plan", first, journal=path, **FAST).ok
    report = call(client, "apply_plan", second, journal=path, **FAST)
    assert report.ok
    assert len(report.starts) == 1
    assert {one["weight"] for one in server.objects.values()} == {9}
    for plan in (first, second):
        with pytest.raises(PlanRefusedError):
            call(client, "apply_plan", plan, journal=path, **FAST)


@both_ways
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
def test_a_new_plan_waits_for_the_operation_of_the_one_before(
    server: PracticeServer, client: Client, path: Path, call: Call, count: int
) -> None:
    """A script that makes a plan and applies it was killed in its wait, and runs again."""
    server.objects.update(park(count))
    first, second = a_plan(client), a_plan(client)
    ids = [one.id for one in first.changes]
    server.finishes_after = 0.5
    running = client.start_bulk({"id": {"$in": ids}}, first.bulk)["bulkId"]
    path.write_text(started(first, "r-1", ids, running))
    report = call(client, "apply_plan", second, journal=path, **FAST)
    assert check_lists(report, second).ok
    assert ([start.id for start in server.starts], report.starts) == ([running], ())
    assert events(path) == ["starting", "started", "finished", "verified", "done"]
    assert [one["plan"] for one in lines(path)] == [first.id] * 4 + [second.id]


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
@pytest.mark.parametrize("is_over", [False, True], ids=["running", "finished"])
def test_a_new_plan_does_not_trust_a_read_right_after_the_end(
    server: PracticeServer, client: Client, path: Path, call: Call, count: int, is_over: bool
) -> None:
    """Reads come from a cache, and the apply before was killed in its wait, or before it had read the objects."""
    server.objects.update(park(count))
    first, second = a_plan(client), a_plan(client)
    ids = [one.id for one in first.changes]
    server.lag_reads(1.0)
    server.finishes_after = 0 if is_over else 0.3
    running = client.start_bulk({"id": {"$in": ids}}, first.bulk)["bulkId"]
    text = started(first, "r-1", ids, running)
    path.write_text(text + (line(first, "finished", request_id="r-1") if is_over else ""))
    report = call(client, "apply_plan", second, journal=path, **{**FAST, "settle": 20})
    assert check_lists(report, second).ok
    assert ([start.id for start in server.starts], report.starts) == ([running], ())


@both_ways
def test_a_new_plan_goes_on_where_the_operation_before_did_nothing(
    server: PracticeServer, client: Client, path: Path, call: Call
) -> None:
    server.objects.update(park(3))
    first, second = a_plan(client), a_plan(client)
    ids = [one.id for one in first.changes]
    path.write_text(started(first, "r", ids[:2], server.add_bulk(0.0)))
    assert call(client, "apply_plan", second, journal=path, **FAST).ok
    assert sent(server) == ids


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("has_journal", [False, True])
@pytest.mark.parametrize("count", [2, 16, 17, 200])
def test_a_child_forked_meanwhile_starts_nothing(
    server: PracticeServer, client: Client, path: Path, count: int, has_journal: bool
) -> None:
    server.objects.update(park(count))
    plan, parent = a_plan(client), os.getpid()
    children: list[int] = []

    def fork(_: str, status: Any, __: float) -> None:
        if status["finished"] and not children:
            children.append(os.fork())

    end = 1
    try:
        report = client.apply_plan(plan, journal=path if has_journal else None, part_size=1, on_poll=fork, **FAST)
        end = 0
    except RuntimeError as error:
        end = 7 if "belongs to the process that forked" in str(error) else 2
    finally:
        if os.getpid() != parent:
            os._exit(end)
    _, status = os.waitpid(children[0], 0)
    # Also well, where the parent had done all before the child read the objects.
    assert os.WEXITSTATUS(status) in (0, 7)
    assert report.ok
    none_twice(server)


@both_ways
@pytest.mark.parametrize("count", [2, 16, 17, 200])
@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_a_journal_that_the_next_apply_would_not_find_ends_it(
    server: PracticeServer, client: Client, path: Path, call: Call, count: int, how: str
) -> None:
    server.objects.update(park(count))
    plan, aside = a_plan(client), path.with_name("aside")

    def lose(*_: Any) -> None:
        if how == "removed":
            path.unlink(missing_ok=True)
        elif not aside.exists():
            path.rename(aside)
            if how == "replaced":
                path.touch()

    with pytest.raises(FileNotFoundError, match="moved or removed") as caught:
        call(client, "apply_plan", plan, journal=path, part_size=1, on_poll=lose, **FAST)
    assert caught.value.filename == str(path)
    assert len(server.starts) == 1
    if how != "removed":
        aside.replace(path)
        assert call(client, "apply_plan", plan, journal=path, **FAST).ok
        none_twice(server)


@both_ways
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
@pytest.mark.parametrize("skip_stale", [False, True])
def test_an_object_in_doubt_that_somebody_changes_is_in_doubt(
    server: PracticeServer, client: Client, path: Path, call: Call, count: int, skip_stale: bool
) -> None:
    """With "stale" or 3 a new plan would be made while the earlier operation may still run."""
    server.objects.update(park(count + 1))
    first, second = a_plan(client), a_plan(client)
    ids = [one.id for one in first.changes]
    path.write_text(line(first, "starting", request_id="r-1", objects=ids[:count]))
    for id in ids[:count]:
        server.objects[id]["properties"][0]["value"] = "6"
    with pytest.raises(PlanRefusedError, match="perhaps runs") as refused:
        call(client, "apply_plan", second, journal=path, skip_stale=skip_stale, **FAST)
    assert (refused.value.reason, list(refused.value.objects)) == ("running", ids[:count])
    assert server.starts == []


@both_ways
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
def test_an_uncertain_start_that_was_verified_is_settled(
    server: PracticeServer, client: Client, path: Path, call: Call, count: int
) -> None:
    """Somebody changes its objects afterwards. The part behind it is told as usual."""
    server.objects.update(park(count + 1))
    plan = a_plan(client)
    ids = [one.id for one in plan.changes]
    running = client.start_bulk({"id": {"$in": ids[count:]}}, plan.bulk)["bulkId"]
    before = line(plan, "starting", request_id="r-1", objects=ids[:count])
    before += line(plan, "verified", request_id="r-1", as_asked=count)
    path.write_text(before + started(plan, "r-2", ids[count:], running))
    report = check_lists(call(client, "apply_plan", plan, journal=path, **FAST), plan)
    assert (report.as_asked, reasons(report.not_as_asked)) == ((ids[-1],), dict.fromkeys(ids[:count], "unchanged"))
    assert events(path)[-1] == "done"
    assert len(server.starts) == 1


@both_ways
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
def test_a_new_plan_sends_nothing_that_is_in_doubt(
    server: PracticeServer, client: Client, path: Path, call: Call, count: int
) -> None:
    server.objects.update(park(count + 1))
    first, second = a_plan(client), a_plan(client)
    ids = [one.id for one in first.changes]
    path.write_text(line(first, "starting", request_id="r-1", objects=ids[:count]))
    with pytest.raises(PlanRefusedError, match=r"earlier plan in this journal \(X-Request-Id r-1\) perhaps runs") as refused:
        call(client, "apply_plan", second, journal=path, **FAST)
    assert (refused.value.reason, list(refused.value.objects)) == ("running", ids[:count])
    assert len(check_lists(refused.value.report, second).unknown) == count
    assert server.starts == []
    # What is as asked meanwhile is in no doubt, and neither is an object of this plan alone.
    for id in ids[:count]:
        server.objects[id]["properties"][0]["value"] = "7"
    assert call(client, "apply_plan", second, journal=path, **FAST).ok
    assert sent(server) == ids[count:]


@pytest.mark.parametrize("how", ["cancelled", pytest.param("ctrl-c", marks=needs_signals)])
def test_what_ends_before_the_start_is_sent_is_not_started(
    server: PracticeServer, client: Client, path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The end comes while the line "starting" is put on the disk."""
    server.objects.update(park(2))
    plan = a_plan(client)
    fsync = os.fsync

    async def cancelled() -> None:
        task = asyncio.current_task()
        assert task is not None
        hooked(task.cancel)
        await client.apply_plan_async(plan, journal=path, **FAST)

    def hooked(end: Callable[[], object]) -> None:
        def synced(descriptor: int) -> None:
            fsync(descriptor)
            if b'"starting"' in path.read_bytes():
                monkeypatch.setattr(os, "fsync", fsync)
                end()

        monkeypatch.setattr(os, "fsync", synced)

    if how == "cancelled":
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(cancelled())
    else:
        hooked(lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            apply(client, plan, path)
    assert server.starts == []
    assert apply(client, plan, path).ok


@both_ways
def test_a_new_plan_with_a_journal_of_its_own_is_the_way_out(
    server: PracticeServer, client: Client, path: Path, call: Call
) -> None:
    server.objects.update(park(2))
    plan = a_plan(client)
    path.write_text(line(plan, "starting", request_id="r-1", objects=[one.id for one in plan.changes]))
    with pytest.raises(StartUncertainError):
        call(client, "apply_plan", plan, journal=path, **FAST)
    assert call(client, "apply_plan", a_plan(client), journal=path.with_name("other.log"), **FAST).ok


@pytest.mark.parametrize(
    "content",
    [
        b"precious notes",
        b"precious notes\nwithout an end",
        b"{}\n",
        b"[]\n",
        b"7\n",
        b"null",
        b"\xff\n",
        b"\0\0\n",
        b"[" * 100_000 + b"\n",
        b'{"format": "saymon-bulk-plan"',
        b'{"format": "saymon-bulk-journal", "version": 2, "plan": "x"}\n',
        b'{"format": "saymon-bulk-journal", "version": 2, "pl',
    ],
    ids=range(12),
)
def test_a_file_that_is_no_journal_is_refused_and_not_changed(
    server: PracticeServer, client: Client, path: Path, content: bytes
) -> None:
    server.objects.update(park(1))
    path.write_bytes(content)
    plan, requests = a_plan(client), len(server.requests)
    with pytest.raises(ValueError, match="not a line of a journal"):
        apply(client, plan, path)
    assert path.read_bytes() == content
    assert len(server.requests) == requests


@pytest.mark.parametrize(
    ("event", "more"),
    [
        ("starting", {"request_id": "r"}),
        ("starting", {"request_id": "r", "objects": "ab"}),
        ("starting", {"request_id": "r", "objects": [7]}),
        ("starting", {"request_id": "r", "objects": [""]}),
        ("starting", {"request_id": 7, "objects": ["a"]}),
        ("started", {"request_id": "nobody", "bulkId": "b"}),
        ("started", {"request_id": "known"}),
        ("started", {"request_id": "known", "bulkId": None}),
        ("started", {"request_id": "known", "bulkId": ""}),
        ("starting", {"request_id": "known", "objects": ["b"]}),
        ("verified", {}),
        ("done", {}),
        ("done", {"left_out": None}),
    ],
    ids=range(13),
)
def test_lines_that_this_package_does_not_write(
    server: PracticeServer, client: Client, path: Path, event: str, more: dict[str, Any]
) -> None:
    server.objects.update(park(1))
    plan = a_plan(client)
    content = line(plan, "starting", request_id="known", objects=["a"]) + line(plan, event, **more)
    path.write_text(content)
    with pytest.raises(ValueError, match="line 2: not a line of a journal"):
        apply(client, plan, path)
    assert path.read_text() == content
    assert server.starts == []


def test_what_cannot_be_a_journal(server: PracticeServer, client: Client, tmp_path: Path) -> None:
    server.objects.update(park(1))
    plan = a_plan(client)
    with pytest.raises(OSError, match="directory"):
        apply(client, plan, tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        apply(client, plan, tmp_path / "nowhere" / "log")
    if POSIX:
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(ValueError, match="no regular file"):
            apply(client, plan, tmp_path / "fifo")
        (tmp_path / "closed").touch(0o400)
        if os.geteuid() != 0:
            with pytest.raises(PermissionError):
                apply(client, plan, tmp_path / "closed")
    assert server.starts == []


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Call it with the number of bytes that files may have from now on."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("event", ["starting", "started", "finished", "verified", "done"])
@pytest.mark.parametrize("room", [0, 30])
def test_a_full_disk(
    server: PracticeServer, client: Client, path: Path, call: Call, full_disk: Any, event: str, part: int, room: int
) -> None:
    """Before a start nothing is started. After it, the error carries the id, and the next apply goes on."""
    server.objects.update(park(4))
    plan = a_plan(client)
    assert apply(client, plan, path, part_size=2).ok
    written = path.read_bytes().splitlines(keepends=True)
    number = 8 if event == "done" else 4 * part + ["starting", "started", "finished", "verified"].index(event)
    path.unlink()
    server.objects.update(park(4))
    before = len(server.starts)
    full_disk(sum(map(len, written[:number])) + room)
    with pytest.raises((OSError, SaymonError)) as caught:
        call(client, "apply_plan", plan, journal=path, part_size=2, **FAST)
    full_disk(2**40)
    report = check_lists(getattr(caught.value, "report", None), plan)
    starts = server.starts[before:]
    if event == "starting":
        assert isinstance(caught.value, OSError)
        assert not isinstance(caught.value, SaymonError)
        assert caught.value.errno in (errno.EFBIG, errno.ENOSPC)
        assert str(path) in str(caught.value)
        assert len(starts) == part == len(report.starts)
    else:
        assert isinstance(caught.value, SaymonError)
        assert caught.value.id == starts[-1].id
        assert starts[-1].id in str(caught.value)
        assert [start["bulkId"] for start in report.starts] == [start.id for start in starts]
    assert len(path.read_bytes().splitlines()) == number  # no half line
    if event == "started":
        # The journal knows of a start alone, and all of its objects are as asked.
        assert events(path)[-1] == "starting"
    assert apply(client, plan, path, part_size=2).ok
    found = [id for start in server.starts[before:] for id in (start.body or {})["search"]["id"]["$in"]]
    assert len(found) == len(set(found)) == 4
    assert events(path)[-1] == "done"


@both_ways
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
def test_an_uncertain_start(server: PracticeServer, client: Client, path: Path, call: Call, count: int) -> None:
    """Uncertain again until all is as asked; meanwhile nothing is started."""
    server.objects.update(park(count + 3))
    plan = a_plan(client)
    # The answers to the two reads of the first part come, the answer to its start does not.
    arguments = {"journal": path, "part_size": count, **FAST}
    reads = -(-(count + 3) // count) + 1
    lose_after(server, reads, 502)
    with pytest.raises(StartUncertainError) as caught:
        call(client, "apply_plan", plan, **arguments)
    assert events(path) == ["starting"]
    request_id = lines(path)[0]["request_id"]
    assert caught.value.request_id == request_id
    report = check_lists(caught.value.report, plan)
    assert set(reasons(report.unknown).values()) == {None}
    assert len(report.unknown) == count
    assert set(reasons(report.not_as_asked).values()) == {"not-sent"}
    assert report.starts == ({"bulkId": None, "request_id": request_id, "objects": count, "finished": None},)
    for _ in range(2):
        with pytest.raises(StartUncertainError, match="this apply started nothing") as again:
            call(client, "apply_plan", plan, **arguments)
        assert again.value.request_id == request_id
        report = check_lists(again.value.report, plan)
        assert sorted(set(reasons(report.not_as_asked).values())) == ["not-sent", "unchanged"]
    assert server.starts == []
    # It had been sent after all, and has ended.
    for one in list(server.objects.values())[:count]:
        one["properties"][0]["value"] = "7"
    assert call(client, "apply_plan", plan, **arguments).ok
    assert len(sent(server)) == 3
    assert events(path)[:2] == ["starting", "verified"]
    assert events(path)[-1] == "done"


def lose_after(server: PracticeServer, requests: int, status: int | None) -> None:
    """Let the request after so many others fail with this status, or lose its answer."""
    perform = server._perform
    left = [requests]

    def counted(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            server.lose_next() if status is None else server.fail_next(status=status)
        return perform(*arguments)

    server._perform = counted  # type: ignore[method-assign,assignment]


@both_ways
def test_an_uncertain_part_that_cannot_be_told_stays_uncertain(peer: Peer, path: Path, call: Call) -> None:
    one, blind = an_object(1), {"id": an_object(1)["id"], "name": "CPU 1"}
    peer.answer(objects(one), objects(one), objects(one), response("{}", 502), objects(blind))
    client = at(peer)
    plan = client.plan_bulk({"name": "CPU 1"}, [{"properties.createOrModify": {"name": "Room", "value": "7"}}])
    for number in range(3):
        with pytest.raises(StartUncertainError) as caught:
            call(client, "apply_plan", plan, journal=path, **FAST)
        report = check_lists(caught.value.report, plan)
        assert reasons(report.unknown) == {one["id"]: "not-in-answer" if number else None}
    assert kinds(peer).count("start") == 1


@both_ways
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5000])
def test_an_operation_that_the_server_does_not_know_stays_open(
    server: PracticeServer, client: Client, path: Path, call: Call, count: int
) -> None:
    """Another node may know it: it is settled only when its objects are as asked."""
    server.objects.update(park(count + 1))
    plan = a_plan(client)
    ids = [one.id for one in plan.changes]
    path.write_text(started(plan, "r", ids[:-1], "forgotten"))
    for _ in range(2):
        with pytest.raises(NotFoundError) as caught:
            call(client, "apply_plan", plan, journal=path, **FAST)
        report = check_lists(caught.value.report, plan)
        assert report.starts == ({"bulkId": "forgotten", "request_id": "r", "objects": count, "finished": False},)
        assert reasons(report.not_as_asked) == {**dict.fromkeys(ids[:-1], "unchanged"), ids[-1]: "not-sent"}
        assert events(path) == ["starting", "started"]
    # Nor does another plan send these objects.
    with pytest.raises(PlanRefusedError, match=r"\(X-Request-Id r\) perhaps runs") as refused:
        call(client, "apply_plan", a_plan(client), journal=path, **FAST)
    assert (refused.value.reason, list(refused.value.objects)) == ("running", ids[:-1])
    assert sent(server) == []
    for id in ids[:-1]:
        server.objects[id]["properties"][0]["value"] = "7"
    assert check_lists(call(client, "apply_plan", plan, journal=path, **FAST), plan).ok
    assert sent(server) == ids[-1:]
    assert events(path)[2] == "verified"
    paths = [path for method, path in server.requests if method == "GET"]
    assert paths[0] == "/node/api/bulk/forgotten/status"


@both_ways
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
def test_a_plan_whose_objects_are_as_asked_settles_no_start_of_another_plan(
    server: PracticeServer, client: Client, path: Path, call: Call, count: int
) -> None:
    """The server does not know the operation, which may be another node's, and may run."""
    server.objects.update(park(count))
    first, third = a_plan(client), a_plan(client, WEIGHT)
    second = a_plan(client, [{"modify": {"name": "X"}}])
    ids = [one.id for one in first.changes]
    path.write_text(started(first, "r", ids, "forgotten"))
    for id in ids:
        server.objects[id]["name"] = "X"
    assert call(client, "apply_plan", second, journal=path, **FAST).ok
    with pytest.raises(PlanRefusedError, match=r"\(X-Request-Id r\) perhaps runs") as refused:
        call(client, "apply_plan", third, journal=path, **FAST)
    assert (refused.value.reason, list(refused.value.objects)) == ("running", ids)
    assert sent(server) == []


@both_ways
def test_an_on_poll_that_asks_for_another_operation_ends_no_wait(
    server: PracticeServer, client: Client, path: Path, call: Call
) -> None:
    server.objects.update(park(3))
    plan = a_plan(client)
    server.finishes_after = 60

    def on_poll(*_: object) -> None:
        for one in server.objects.values():
            one["properties"][0]["value"] = "7"
        client.get_bulk_status("another")

    with pytest.raises(NotFoundError) as caught:
        call(client, "apply_plan", plan, journal=path, on_poll=on_poll, **FAST)
    assert caught.value.id == "another"
    assert events(path) == ["starting", "started"]
    assert len(check_lists(caught.value.report, plan).unknown) == 3


class Struck(Client):
    """A signal's handler raises an error of this package right after the call that starts."""

    error: SaymonError

    def _start_bulk(self, body: bytes, request_id: str) -> Any:
        super()._start_bulk(body, request_id)
        raise self.error

    async def _start_bulk_awaitable(self, body: bytes, request_id: str) -> Any:
        await super()._start_bulk_awaitable(body, request_id)
        raise self.error


@both_ways
@pytest.mark.parametrize("count", [1, 16, 17, 200, 5_000])
@pytest.mark.parametrize(
    "error", [SaymonError("a"), ClosedError("a"), PlanRefusedError("a"), StartUncertainError("a", id="other")], ids=repr
)
def test_the_error_of_a_handler_is_not_that_of_the_start(
    server: PracticeServer, client: Client, path: Path, call: Call, count: int, error: SaymonError
) -> None:
    server.objects.update(park(count))
    plan = a_plan(client)
    struck = Struck(server.host, LOGIN, PASSWORD)
    struck.error = error
    with pytest.raises(SaymonError):
        call(struck, "apply_plan", plan, journal=path, **FAST)
    assert events(path) == ["starting"]
    # Its objects are as asked, so it has ended.
    assert call(client, "apply_plan", plan, journal=path, **FAST).ok
    assert len(server.starts) == 1


class Closing(Client):
    """Another thread closes the client right before the call that starts."""

    def _start_bulk(self, body: bytes, request_id: str) -> Any:
        self.close()
        return super()._start_bulk(body, request_id)

    def _start_bulk_awaitable(self, body: bytes, request_id: str) -> Any:
        self.close()
        return super()._start_bulk_awaitable(body, request_id)


@both_ways
def test_a_start_of_a_closed_client_is_not_started(server: PracticeServer, client: Client, path: Path, call: Call) -> None:
    server.objects.update(park(2))
    plan = a_plan(client)
    with pytest.raises(ClosedError):
        call(Closing(server.host, LOGIN, PASSWORD), "apply_plan", plan, journal=path, **FAST)
    assert events(path) == ["starting", "not-started"]
    assert call(client, "apply_plan", plan, journal=path, **FAST).ok
    assert len(sent(server)) == 2


@both_ways
def test_one_404_starts_nothing_twice(peer: Peer, path: Path, call: Call) -> None:
    """Too early after the start, or from a gateway that reads its configuration again."""
    one, changed = an_object(1), an_object(1, room="7")
    gone = response("<h1>404 Not Found</h1>", 404)
    first, again = [objects(one), objects(one), objects(one), STARTED, gone, objects(one)], [END, objects(changed)]
    new_plan = [objects(one), gone, objects(one), objects(one)]
    peer.answer(*first, *new_plan, *again)
    client = at(peer)
    plan = a_plan(client)
    with pytest.raises(NotFoundError):
        call(client, "apply_plan", plan, journal=path, **FAST)
    with pytest.raises(PlanRefusedError):
        call(client, "apply_plan", a_plan(client), journal=path, **FAST)
    assert check_lists(call(client, "apply_plan", plan, journal=path, **FAST), plan).ok
    assert kinds(peer).count("start") == 1


@both_ways
def test_an_unknown_operation_whose_objects_cannot_be_told_stops_the_apply(peer: Peer, path: Path, call: Call) -> None:
    one, two = an_object(1), an_object(2)
    blind = {"id": one["id"], "name": "CPU 1"}
    gone = response('{"code":"NotFound","message":"gone"}', 404)
    peer.answer(objects(one, two), objects(one), objects(two), objects(one), STARTED, gone, objects(blind))
    client = at(peer)
    plan = a_plan(client)
    with pytest.raises(NotFoundError) as caught:
        call(client, "apply_plan", plan, journal=path, part_size=1, **FAST)
    report = check_lists(caught.value.report, plan)
    assert reasons(report.unknown) == {one["id"]: "not-in-answer"}
    assert reasons(report.not_as_asked) == {two["id"]: "not-sent"}
    assert kinds(peer).count("start") == 1


def test_all_earlier_parts_are_settled_also_after_one_that_is_not_clean(
    server: PracticeServer, client: Client, path: Path
) -> None:
    """An object that was sent is never reported as "not-sent"."""
    server.objects.update(park(5))
    plan = a_plan(client)
    ids = [one.id for one in plan.changes]
    text = ""
    for name, part in (("a", ids[:2]), ("b", ids[2:4])):
        server.add_bulk(0, id=name)
        text += started(plan, name, part, name)
    path.write_text(text)
    for id in ids[1:4]:
        server.objects[id]["properties"][0]["value"] = "7"
    report = check_lists(apply(client, plan, path), plan)
    assert report.as_asked == tuple(ids[1:4])
    assert reasons(report.not_as_asked) == {ids[0]: "unchanged", ids[4]: "not-sent"}
    assert [start["finished"] for start in report.starts] == [True, True]
    assert server.starts == []
    assert "done" not in events(path)


@pytest.mark.parametrize("call", [blocking, awaited])
def test_a_plan_that_was_edited_between_the_runs(
    server: PracticeServer, client: Client, tmp_path: Path, path: Path, call: Call
) -> None:
    """First a few objects, then all: what was sent is not sent again, and what was left out comes now."""
    server.objects.update(park(6))
    a_plan(client).save(tmp_path / "plan.json")
    whole = (tmp_path / "plan.json").read_text(encoding="utf-8")
    few = [text for text in whole.split("\n") if not any(f"CPU {n}" in text for n in (0, 3, 5))]
    (tmp_path / "plan.json").write_text("\n".join(few), encoding="utf-8")
    plan = BulkPlan.load(tmp_path / "plan.json")
    assert len(plan.changes) == 3
    assert call(client, "apply_plan", plan, journal=path, **FAST).ok
    with pytest.raises(PlanRefusedError):
        call(client, "apply_plan", plan, journal=path, **FAST)
    (tmp_path / "plan.json").write_text(whole, encoding="utf-8")
    plan = BulkPlan.load(tmp_path / "plan.json")
    report = check_lists(call(client, "apply_plan", plan, journal=path, **FAST), plan)
    assert report.ok
    assert sorted(sent(server)) == sorted(server.objects)
    none_twice(server)
    with pytest.raises(PlanRefusedError):
        call(client, "apply_plan", plan, journal=path, **FAST)


def test_a_line_deleted_after_its_object_was_skipped(
    server: PracticeServer, client: Client, tmp_path: Path, path: Path
) -> None:
    """The object that stopped the plan is left out by hand, and the rest goes on."""
    server.objects.update(park(4))
    plan = a_plan(client)
    server.skip_next()
    report = check_lists(apply(client, plan, path, part_size=2), plan)
    failed, _, *others = (one.id for one in plan.changes)
    assert reasons(report.not_as_asked) == {failed: "unchanged", **dict.fromkeys(others, "not-sent")}
    assert apply(client, plan, path).not_as_asked == report.not_as_asked
    plan.save(tmp_path / "plan.json")
    text = (tmp_path / "plan.json").read_text(encoding="utf-8").split("\n")
    (tmp_path / "plan.json").write_text("\n".join(one for one in text if failed not in one), encoding="utf-8")
    shorter = BulkPlan.load(tmp_path / "plan.json")
    assert check_lists(apply(client, shorter, path, part_size=2), shorter).ok
    none_twice(server)


@both_ways
def test_a_start_that_was_refused_may_be_sent_again(server: PracticeServer, client: Client, path: Path, call: Call) -> None:
    server.objects.update(park(2))
    plan = a_plan(client)
    lose_after(server, 2, 400)
    with pytest.raises(HTTPStatusError) as caught:
        call(client, "apply_plan", plan, journal=path, **FAST)
    assert events(path) == ["starting", "not-started"]
    report = check_lists(caught.value.report, plan)
    assert set(reasons(report.not_as_asked).values()) == {"not-sent"}
    assert report.starts == ()
    assert call(client, "apply_plan", plan, journal=path, **FAST).ok
    assert events(path)[2:] == ["starting", "started", "finished", "verified", "done"]


@pytest.mark.slow
def test_a_part_for_each_of_5000_objects(server: PracticeServer, client: Client, path: Path) -> None:
    """5,000 lines "starting" are read and settled at once."""
    server.objects.update(park(5000))
    plan = a_plan(client)
    ids = [one.id for one in plan.changes]
    text = []
    for id in ids[:-1]:
        text += [line(plan, "starting", request_id=id, objects=[id]), line(plan, "started", request_id=id, bulkId=id)]
        text += [line(plan, "finished", request_id=id), line(plan, "verified", request_id=id, as_asked=1)]
        server.objects[id]["properties"][0]["value"] = "7"
    path.write_text("".join(text))
    before = len(server.requests)
    report = check_lists(apply(client, plan, path, part_size=1000), plan)
    assert report.ok
    assert sent(server) == [ids[-1]]
    assert len(server.requests) - before < 15
    assert len(str(report).splitlines()) < 20
