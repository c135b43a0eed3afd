"""apply_plan and verify_plan: what is started is what was seen, and a report says what is so."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import dataclasses
import math
import pickle
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from peer import END, LOGIN, PASSWORD, PATIENCE, Answer, Peer, Wire, at, closing, no_hanging, response, when
from planning import (
    COUNTS,
    FAST,
    ROOM,
    SECRET,
    STARTED,
    WEIGHT,
    Call,
    a_plan,
    an_object,
    blocking,
    body_of,
    both_ways,
    check_lists,
    client,
    kinds,
    objects,
    park,
    reasons,
    room_of,
    sent,
    server,
)
from saymon_bulk import (
    BulkPlan,
    Client,
    ClosedError,
    HTTPStatusError,
    NotFoundError,
    PlanRefusedError,
    RequestTimeoutError,
    ResponseError,
    SaymonError,
    StartUncertainError,
    TransportError,
    WaitTimeoutError,
)
from saymon_bulk.testing import PracticeServer

__all__ = ["client", "server"]

never_hangs = no_hanging()

ONE, TWO, THREE = an_object(1), an_object(2), an_object(3)
DONE = {number: an_object(number, room="7") for number in (1, 2, 3)}


# Unlike a connection that ends without a byte, it is no kept one that has died.
CUT = closing(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[")


def set_room(server: PracticeServer, id: str, value: str) -> None:
    server.objects[id]["properties"][0]["value"] = value


def refused(call: Call, client: Client, plan: BulkPlan, **more: Any) -> PlanRefusedError:
    with pytest.raises(PlanRefusedError, match="This call started nothing") as caught:
        call(client, "apply_plan", plan, **{**FAST, **more})
    check_lists(caught.value.report, plan)
    return caught.value


@both_ways
@pytest.mark.parametrize("bulk", [ROOM, WEIGHT, [*ROOM, *WEIGHT]])
def test_what_is_sent(peer: Peer, call: Call, bulk: Any) -> None:
    done = [one | {"weight": 7} for one in (DONE[1], DONE[2])]
    peer.answer(*[objects(ONE, TWO)] * 3, STARTED, END, objects(*done))
    client = at(peer)
    plan = a_plan(client, bulk)
    report = check_lists(call(client, "apply_plan", plan, **FAST), plan)
    assert report.as_asked == (ONE["id"], TWO["id"])
    assert kinds(peer) == ["search", "search", "search", "start", "status", "search"]
    by_ids = {"id": {"$in": [ONE["id"], TWO["id"]]}}
    assert body_of(peer.requests[3]) == {"search": by_ids, "bulk": bulk}
    for number in (1, 2, 5):
        assert body_of(peer.requests[number]) == {"search": by_ids}


@both_ways
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("share", [0, 1, 3])
def test_each_object_is_sent_once_and_told(
    server: PracticeServer, client: Client, call: Call, count: int, share: int
) -> None:
    """A share of the objects is skipped in silence."""
    server.objects.update(park(count))
    plan = a_plan(client)
    skipped = -(-count // share) if share else 0
    server.skip_next(skipped)
    report = check_lists(call(client, "apply_plan", plan, **FAST), plan)
    assert sorted(sent(server)) == sorted(server.objects)
    assert len(report.not_as_asked) == skipped
    assert set(reasons(report.not_as_asked).values()) == ({"unchanged"} if skipped else set())
    for one in server.objects.values():
        assert (room_of(one) == "7") is (one["id"] in report.as_asked)
    assert check_lists(call(client, "verify_plan", plan, settle=0), plan).not_as_asked == report.not_as_asked


@both_ways
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("how", ["other-value", "gone"])
def test_stale(server: PracticeServer, client: Client, call: Call, count: int, how: str) -> None:
    server.objects.update(park(count))
    plan = a_plan(client)
    stale = [one.id for one in plan.changes[:: 3 if count > 1 else 1]]
    for id in stale:
        if how == "gone":
            del server.objects[id]
        else:
            set_room(server, id, SECRET)
    error = refused(call, client, plan, part_size=50)
    assert error.reason == "stale"
    assert error.objects == stale
    assert SECRET not in str(error) + repr(error)
    report = check_lists(error.report, plan)
    assert {id: reason for id, reason in reasons(report.not_as_asked).items() if id in stale} == dict.fromkeys(stale, how)
    assert server.starts == []
    report = check_lists(call(client, "apply_plan", plan, skip_stale=True, **FAST), plan)
    assert reasons(report.not_as_asked) == dict.fromkeys(stale, how)
    assert sent(server) == [one.id for one in plan.changes if one.id not in stale] == list(report.as_asked)
    if how == "other-value":
        assert all(room_of(server.objects[id]) == SECRET for id in stale)


@both_ways
@pytest.mark.parametrize("count", COUNTS)
def test_too_many(server: PracticeServer, client: Client, call: Call, count: int) -> None:
    server.objects.update(park(count))
    plan, before = a_plan(client), len(server.requests)
    assert refused(call, client, plan, at_most=count - 1).reason == "too-many"
    assert len(server.requests) == before
    assert call(client, "apply_plan", plan, at_most=count, **FAST).ok


@both_ways
def test_another_server(server: PracticeServer, client: Client, peer: Peer, call: Call) -> None:
    server.objects.update(park(1))
    plan = a_plan(client)
    assert refused(call, at(peer), plan).reason == "other-server"
    with pytest.raises(PlanRefusedError) as caught:
        call(at(peer), "verify_plan", plan)
    assert caught.value.reason == "other-server"
    assert peer.connections == 0


@both_ways
@pytest.mark.parametrize("count", COUNTS)
def test_a_server_that_ignores_the_criterion(server: PracticeServer, client: Client, call: Call, count: int) -> None:
    server.objects.update(park(count) | {"Disk": {"id": "Disk", "name": "Disk", "properties": []}})
    plan = a_plan(client)
    server.ignore_criteria()
    for more in ({}, {"skip_stale": True}, {"part_size": 7}):
        assert refused(call, client, plan, **more).reason == "criterion-ignored"
    assert server.starts == []
    with pytest.raises(ResponseError, match="ignores the search"):
        call(client, "verify_plan", plan, settle=0)


@both_ways
def test_a_criterion_that_is_ignored_at_the_second_read(peer: Peer, call: Call) -> None:
    peer.answer(objects(ONE), objects(ONE), objects(ONE, TWO))
    client = at(peer)
    assert refused(call, client, a_plan(client)).reason == "criterion-ignored"
    assert kinds(peer) == ["search"] * 3


@both_ways
def test_a_criterion_that_is_ignored_for_a_later_part(peer: Peer, call: Call) -> None:
    peer.answer(
        objects(ONE, TWO), objects(ONE), objects(TWO), objects(ONE), STARTED, END, objects(DONE[1]), objects(TWO, THREE)
    )
    client = at(peer)
    plan = a_plan(client)
    with pytest.raises(ResponseError, match="ignores the search") as caught:
        call(client, "apply_plan", plan, part_size=1, **FAST)
    report = check_lists(caught.value.report, plan)
    assert report.as_asked == (ONE["id"],)
    assert reasons(report.not_as_asked) == {TWO["id"]: "not-sent"}
    assert kinds(peer).count("start") == 1


@both_ways
def test_a_criterion_that_is_ignored_when_the_outcome_is_read(peer: Peer, call: Call) -> None:
    peer.answer(*[objects(ONE)] * 3, STARTED, END, objects(DONE[1], TWO))
    client = at(peer)
    plan = a_plan(client)
    with pytest.raises(ResponseError, match="ignores the search") as caught:
        call(client, "apply_plan", plan, **FAST)
    assert reasons(check_lists(caught.value.report, plan).unknown) == {ONE["id"]: None}


@both_ways
@pytest.mark.parametrize("count", COUNTS)
def test_what_is_as_asked_already_is_left_out(server: PracticeServer, client: Client, call: Call, count: int) -> None:
    server.objects.update(park(count))
    plan = a_plan(client)
    ready = [one.id for one in plan.changes[::2]]
    for id in ready:
        set_room(server, id, "7")
    assert check_lists(call(client, "apply_plan", plan, **FAST), plan).ok
    assert sent(server) == [one.id for one in plan.changes if one.id not in ready]
    before = len(server.starts)
    assert check_lists(call(client, "apply_plan", plan, **FAST), plan).ok
    assert len(server.starts) == before
    assert a_plan(client).changes == ()


@both_ways
def test_only_touched_fields_decide(server: PracticeServer, client: Client, call: Call) -> None:
    server.objects.update(park(3))
    plan = a_plan(client)
    for one in server.objects.values():
        one.update(state_id=7, updated=1, name="another", weight=99, tags=["new"])
        one["properties"].append({"name": "Other", "value": "x"})
    assert call(client, "apply_plan", plan, **FAST).ok


@both_ways
@pytest.mark.parametrize(
    ("before", "now", "is_sent"),
    [
        ([], [], True),
        ([], [{"name": "room", "value": "5"}], True),
        ([], [{"name": "Room", "value": None}], True),
        ([], [{"name": "Room", "value": "6"}], False),
        ([], [{"name": "Room", "value": "5"}, {"name": "Room", "value": "5"}], False),
        ([], None, False),
        ([{"name": "Room", "value": None}], [], True),
        ([{"name": "Room", "value": "5"}], [], False),
        ([{"name": "Room", "value": "5"}], [{"name": "Room"}], False),
        ([{"name": "Room", "value": "5"}], [{"name": "Room", "value": 5}], True),
        (None, None, True),
        (None, [{"name": "Room", "value": "5"}], False),
    ],
    ids=range(12),
)
def test_whether_a_property_is_as_planned(peer: Peer, call: Call, before: Any, now: Any, is_sent: bool) -> None:
    def having(properties: Any) -> dict[str, Any]:
        return {"id": "a", "name": "CPU"} | ({} if properties is None else {"properties": properties})

    peer.answer(objects(having(before)), *[objects(having(now))] * 2, STARTED, END, objects(having(now)))
    client = at(peer)
    plan = a_plan(client)
    if is_sent:
        call(client, "apply_plan", plan, **FAST)
    else:
        assert refused(call, client, plan).reason == "stale"
    assert ("start" in kinds(peer)) is is_sent


@both_ways
@pytest.mark.parametrize(
    ("before", "now", "is_sent"),
    [
        ({"weight": 5}, {"weight": "5"}, True),
        ({"weight": 5}, {"weight": 6}, False),
        ({"weight": 5}, {}, False),
        ({"weight": None}, {}, True),
        ({"weight": None}, {"weight": 5}, False),
        ({}, {}, True),
        ({}, {"weight": None}, False),
        ({}, {"weight": 5}, False),
    ],
    ids=range(8),
)
def test_whether_a_field_is_as_planned(peer: Peer, call: Call, before: Any, now: Any, is_sent: bool) -> None:
    peer.answer(
        objects({"id": "a", **before}), *[objects({"id": "a", **now})] * 2, STARTED, END, objects({"id": "a", **now})
    )
    client = at(peer)
    plan = a_plan(client, WEIGHT)
    if is_sent:
        call(client, "apply_plan", plan, **FAST)
    else:
        assert refused(call, client, plan).reason == "stale"
    assert ("start" in kinds(peer)) is is_sent


@both_ways
def test_a_field_that_was_as_asked_and_is_not_any_more(server: PracticeServer, client: Client, call: Call) -> None:
    """The whole bulk is sent, so the fields that the plan does not name decide too."""
    server.objects["a"] = {"id": "a", "name": "CPU", "weight": 7, "properties": []}
    plan = a_plan(client, [*ROOM, *WEIGHT])
    assert [field.field for field in plan.changes[0].fields] == ["properties.Room"]
    server.objects["a"]["weight"] = 6
    assert refused(call, client, plan).objects == ["a"]
    assert server.starts == []


@both_ways
@pytest.mark.parametrize("skip_stale", [False, True])
@pytest.mark.parametrize("how", ["other-value", "gone", "ready"])
def test_each_part_is_read_again_before_its_own_start(
    server: PracticeServer, client: Client, call: Call, how: str, skip_stale: bool
) -> None:
    server.objects.update(park(6))
    plan = a_plan(client)
    ids = [one.id for one in plan.changes]

    def meanwhile(*_: object) -> None:
        if len(server.starts) == 1 and ids[3] in server.objects:
            set_room(server, ids[3], "7" if how == "ready" else "9")
            if how == "gone":
                del server.objects[ids[3]]

    report = call(client, "apply_plan", plan, part_size=2, skip_stale=skip_stale, on_poll=meanwhile, **FAST)
    check_lists(report, plan)
    if how == "ready":
        assert report.ok
        assert sent(server) == [id for id in ids if id != ids[3]]
    elif skip_stale:
        assert reasons(report.not_as_asked) == {ids[3]: how}
        assert sent(server) == [id for id in ids if id != ids[3]]
    else:
        assert reasons(report.not_as_asked) == {ids[2]: "not-sent", ids[3]: how, ids[4]: "not-sent", ids[5]: "not-sent"}
        assert sent(server) == ids[:2]


def test_stale_by_the_second_read_is_not_done(peer: Peer, tmp_path: Path) -> None:
    """The next apply is not told that the plan was applied."""
    peer.answer(objects(ONE), objects(ONE), objects(an_object(1, "6")))
    client = at(peer)
    plan = a_plan(client)
    report = check_lists(client.apply_plan(plan, journal=tmp_path / "log", **FAST), plan)
    assert reasons(report.not_as_asked) == {ONE["id"]: "other-value"}
    assert refused(blocking, client, plan, journal=tmp_path / "log").reason == "stale"
    assert "start" not in kinds(peer)


@both_ways
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("limit", [600, 5000])
def test_too_long_a_body_halves_the_part(server: PracticeServer, client: Client, call: Call, count: int, limit: int) -> None:
    server.objects.update(park(count))
    plan = a_plan(client)
    server.max_body = limit * (10 if count == 5000 else 1)
    report = check_lists(call(client, "apply_plan", plan, part_size=4000, **FAST), plan)
    assert report.ok
    assert sent(server) == [one.id for one in plan.changes]


@both_ways
def test_a_start_that_is_too_long_with_one_object(peer: Peer, call: Call) -> None:
    peer.answer(*[objects(ONE, TWO)] * 3, response("", 413), objects(ONE), response("", 413))
    client = at(peer)
    plan = a_plan(client)
    with pytest.raises(HTTPStatusError) as caught:
        call(client, "apply_plan", plan, **FAST)
    assert caught.value.status_code == 413
    assert set(reasons(check_lists(caught.value.report, plan).not_as_asked).values()) == {"not-sent"}
    assert [len(body_of(r)["search"]["id"]["$in"]) for r, kind in zip(peer.requests, kinds(peer)) if kind == "start"] == [
        2,
        1,
    ]


@both_ways
def test_a_search_that_is_too_long_with_one_object(peer: Peer, call: Call) -> None:
    peer.answer(objects(ONE, TWO), response("", 413))
    client = at(peer)
    plan = a_plan(client)
    with pytest.raises(HTTPStatusError) as caught:
        call(client, "apply_plan", plan, **FAST)
    assert caught.value.status_code == 413
    check_lists(caught.value.report, plan)
    assert kinds(peer) == ["search"] * 3


@both_ways
@pytest.mark.parametrize("count", [16, 17, 200, 5000])
def test_the_first_part_that_is_not_clean_is_the_last(
    server: PracticeServer, client: Client, call: Call, count: int
) -> None:
    server.objects.update(park(count))
    plan = a_plan(client)
    size = max(count // 4, 1)

    def skip(*_: object) -> None:
        if len(server.starts) == 1 and server.objects:  # what is due has been done now
            server.skip_next()

    report = check_lists(call(client, "apply_plan", plan, part_size=size, on_poll=skip, **FAST), plan)
    assert len(server.starts) == 2
    assert list(reasons(report.not_as_asked).values()) == ["unchanged", *["not-sent"] * (count - 2 * size)]
    assert len(report.as_asked) == 2 * size - 1


@both_ways
def test_what_cannot_be_told_does_not_stop_the_apply(peer: Peer, call: Call) -> None:
    blind = {"id": ONE["id"], "name": "CPU 1"}
    peer.answer(
        objects(ONE, TWO), objects(ONE), objects(TWO), objects(ONE), STARTED, END, objects(blind),
        objects(TWO), STARTED, END, objects(DONE[2]),
    )  # fmt: skip
    client = at(peer)
    plan = a_plan(client)
    report = check_lists(call(client, "apply_plan", plan, part_size=1, **FAST), plan)
    assert reasons(report.unknown) == {ONE["id"]: "not-in-answer"}
    assert report.as_asked == (TWO["id"],)
    assert not report.ok
    assert kinds(peer).count("start") == 2


@both_ways
@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([ONE], "unchanged"),
        ([an_object(1, "8")], "other-value"),
        ([an_object(1, None)], "other-value"),
        ([], "gone"),
    ],
)
def test_the_reasons_of_what_is_not_as_asked(peer: Peer, call: Call, found: Any, reason: str) -> None:
    peer.answer(*[objects(ONE)] * 3, STARTED, END, objects(*found))
    client = at(peer)
    plan = a_plan(client)
    report = check_lists(call(client, "apply_plan", plan, **FAST), plan)
    assert reasons(report.not_as_asked) == {ONE["id"]: reason}
    if found:
        (field,) = report.not_as_asked[0].fields
        assert (field.before, field.after) == (room_of(found[0]), "7")
        assert field.created is (room_of(found[0]) is None)


# Each request of an apply of two parts, and each of one that halves: the plan's own search is the first.
TWO_PARTS: list[Answer] = [
    objects(ONE, TWO), objects(ONE), objects(TWO),
    objects(ONE), STARTED, END, objects(DONE[1]),
    objects(TWO), STARTED, END, objects(DONE[2]),
]  # fmt: skip
OF_TWO_PARTS = ["search"] * 3 + ["search", "start", "status", "search"] * 2


def check_where_it_ended(report: Any, plan: BulkPlan, step: int) -> None:
    check_lists(report, plan)
    first, second = (one.id for one in plan.changes)
    expected: dict[str, str] = {}
    for id, start in ((first, 4), (second, 8)):
        expected[id] = "not-sent" if step < start else "unknown" if step <= start + 2 else "as-asked"
    told = {**dict.fromkeys(report.as_asked, "as-asked"), **reasons(report.not_as_asked)}
    assert {**told, **dict.fromkeys(reasons(report.unknown), "unknown")} == expected
    assert len(report.starts) == (step >= 4) + (step >= 8)


@both_ways
@pytest.mark.parametrize("step", range(1, 11))
@pytest.mark.parametrize(
    "failure",
    [response("{}", 500), CUT, response("{}", 401), response("no JSON")],
    ids=["500", "cut", "401", "no JSON"],
)
def test_an_error_at_each_step(peer: Peer, call: Call, tmp_path: Path, step: int, failure: Answer) -> None:
    peer.answer(*TWO_PARTS[:step], failure)
    client = at(peer)
    plan = a_plan(client)
    with pytest.raises(SaymonError) as caught:
        call(client, "apply_plan", plan, part_size=1, **{**FAST, "retries": 0})
    is_uncertain = isinstance(caught.value, StartUncertainError)
    is_start = OF_TWO_PARTS[step] == "start"
    if is_start and not is_uncertain:
        assert isinstance(caught.value, HTTPStatusError)
        assert caught.value.status_code == 401
        check_where_it_ended(caught.value.report, plan, step - 1)
    else:
        assert is_uncertain is is_start
        check_where_it_ended(caught.value.report, plan, step)
    assert kinds(peer) == OF_TWO_PARTS[: step + 1]


@pytest.mark.parametrize("step", range(1, 11))
def test_ctrl_c_at_each_step(peer: Peer, tmp_path: Path, step: int) -> None:
    def interrupt(wire: Wire) -> None:
        _thread.interrupt_main()
        wire.hold()

    peer.answer(*TWO_PARTS[:step], interrupt)
    client = at(peer)
    plan = a_plan(client)
    with pytest.raises(KeyboardInterrupt) as caught:
        client.apply_plan(plan, part_size=1, journal=tmp_path / "log", **FAST)
    check_where_it_ended(getattr(caught.value, "report", None), plan, step)
    # The traceback is still there, and the journal is free.
    peer.answer(objects(DONE[1], DONE[2]))
    assert caught.tb
    check_the_lock(client, plan, tmp_path)


def test_ctrl_c_that_comes_with_the_answer_to_a_start(peer: Peer, tmp_path: Path) -> None:
    def both(wire: Wire) -> None:
        _thread.interrupt_main()
        wire.send(STARTED)

    peer.answer(*[objects(ONE)] * 3, both, objects(ONE))
    client = at(peer)
    plan = a_plan(client)
    with pytest.raises(KeyboardInterrupt) as caught:
        client.apply_plan(plan, journal=tmp_path / "log", **FAST)
    assert reasons(check_lists(getattr(caught.value, "report", None), plan).unknown) == {ONE["id"]: None}
    with pytest.raises(SaymonError):
        client.apply_plan(plan, journal=tmp_path / "log", **FAST)
    assert kinds(peer).count("start") == 1


def check_the_lock(client: Client, plan: BulkPlan, folder: Path) -> None:
    try:
        client.apply_plan(plan, journal=folder / "log", **{**FAST, "retries": 0})
    except SaymonError as error:
        if getattr(error, "reason", "") == "running":
            raise


@pytest.mark.parametrize("step", range(1, 11))
def test_cancelled_at_each_step(peer: Peer, tmp_path: Path, step: int) -> None:
    peer.answer(*TWO_PARTS[:step], Wire.hold)
    client = at(peer)
    plan = a_plan(client)

    async def cancel() -> Any:
        task = asyncio.ensure_future(client.apply_plan_async(plan, part_size=1, journal=tmp_path / "log", **FAST))
        await asyncio.to_thread(peer.wait_for, lambda: len(peer.requests) == step + 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return getattr(caught.value, "report", None)

    check_where_it_ended(asyncio.run(cancel()), plan, step)


@pytest.mark.parametrize("step", [1, 4, 5])
def test_a_coroutine_that_is_closed(peer: Peer, tmp_path: Path, step: int) -> None:
    peer.answer(*TWO_PARTS[:step], Wire.hold)
    client = at(peer)
    plan = a_plan(client)

    async def close() -> None:
        apply = client.apply_plan_async(plan, part_size=1, journal=tmp_path / "log", **FAST)
        task = asyncio.ensure_future(apply)
        await asyncio.to_thread(peer.wait_for, lambda: len(peer.requests) == step + 1)
        apply.close()
        task.cancel()
        with contextlib.suppress(BaseException):
            await task

    asyncio.run(close())
    assert kinds(peer).count("start") == (step >= 4)
    peer.answer(objects(DONE[1], DONE[2]))
    check_the_lock(client, plan, tmp_path)


@both_ways
def test_an_exception_of_on_poll(server: PracticeServer, client: Client, call: Call, tmp_path: Path) -> None:
    server.objects.update(park(2))
    plan = a_plan(client)

    def fail(*_: object) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as caught:
        call(client, "apply_plan", plan, on_poll=fail, journal=tmp_path / "log", **FAST)
    report = check_lists(getattr(caught.value, "report", None), plan)
    assert len(report.unknown) == 2
    assert call(client, "apply_plan", plan, journal=tmp_path / "log", **FAST).ok
    assert len(server.starts) == 1


@pytest.mark.slow
@both_ways
def test_reads_that_lag(server: PracticeServer, client: Client, call: Call) -> None:
    server.objects.update(park(17))
    server.lag_reads(0.5)
    plan = a_plan(client)
    report = check_lists(call(client, "apply_plan", plan, **FAST), plan)
    assert set(reasons(report.not_as_asked).values()) == {"unchanged"}
    assert call(client, "verify_plan", plan, settle=3).ok


@pytest.mark.slow
@both_ways
def test_settle_reads_what_is_not_as_asked_alone(peer: Peer, call: Call) -> None:
    peer.answer(*[objects(ONE, TWO)] * 3, STARTED, END, objects(ONE, DONE[2]), objects(DONE[1]))
    client = at(peer)
    plan = a_plan(client)
    assert call(client, "apply_plan", plan, **{**FAST, "settle": 1}).ok
    assert body_of(peer.requests[-1]) == {"search": {"id": {"$in": [ONE["id"]]}}}
    assert len(peer.requests) == 7


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize("failure", [response("{}", 503), CUT, Wire.hold], ids=["503", "cut", "silent"])
def test_reads_are_tried_again(peer: Peer, call: Call, step: int, failure: Answer) -> None:
    whole = [*[objects(ONE)] * 3, STARTED, END, objects(DONE[1])]
    client = at(peer, request_timeout=0.5)
    for retries in (1, 2):
        peer.requests.clear()
        peer.answer(*whole[:step], failure, failure, *whole[step:])
        plan = a_plan(client)
        if retries == 2:
            assert call(client, "apply_plan", plan, **{**FAST, "retries": 2}).ok
            assert len(peer.requests) == 8
        else:
            with pytest.raises((HTTPStatusError, TransportError, RequestTimeoutError)) as caught:
                call(client, "apply_plan", plan, **{**FAST, "retries": 1})
            check_lists(caught.value.report, plan)
            assert kinds(peer).count("start") == (step == 5)


@both_ways
@pytest.mark.parametrize("seconds", ["100000", "3"])
def test_a_retry_after_longer_than_the_timeout(peer: Peer, call: Call, seconds: str) -> None:
    peer.answer(objects(ONE), response("{}", 503, f"Retry-After: {seconds}"))
    client = at(peer)
    plan = a_plan(client)
    began = time.monotonic()
    with pytest.raises(HTTPStatusError) as caught:
        call(client, "apply_plan", plan, timeout=2, **FAST)
    assert time.monotonic() - began < PATIENCE
    assert caught.value.retry_after == int(seconds)
    if seconds == "100000":
        with pytest.raises(HTTPStatusError):
            call(client, "verify_plan", plan, settle=0)


@both_ways
def test_a_deadline(server: PracticeServer, client: Client, call: Call, tmp_path: Path) -> None:
    server.objects.update(park(3))
    server.finishes_after = math.inf
    plan = a_plan(client)
    with pytest.raises(WaitTimeoutError) as caught:
        call(client, "apply_plan", plan, part_size=2, timeout=0, journal=tmp_path / "log", **FAST)
    report = check_lists(caught.value.report, plan)
    assert len(report.unknown) == 2
    assert reasons(report.not_as_asked) == {plan.changes[2].id: "not-sent"}
    assert report.starts[0]["bulkId"] == server.starts[0].id
    assert report.starts[0]["finished"] is False
    assert pickle.loads(pickle.dumps(caught.value)).report == report


@both_ways
def test_an_operation_that_the_server_does_not_know(peer: Peer, call: Call) -> None:
    gone = response('{"code":"NotFound","message":"x"}', 404)
    for after in (DONE[1], ONE):
        peer.answer(*[objects(ONE)] * 3, STARTED, gone, objects(after))
        client = at(peer)
        plan = a_plan(client)
        if after is ONE:  # it may still run
            with pytest.raises(NotFoundError) as caught:
                call(client, "apply_plan", plan, **FAST)
            found = caught.value.report
        else:
            found = call(client, "apply_plan", plan, **FAST)
        report = check_lists(found, plan)
        assert report.ok is (after is not ONE)
        assert report.starts[0]["finished"] is False


@both_ways
@pytest.mark.parametrize("count", COUNTS)
def test_a_start_whose_answer_is_lost(server: PracticeServer, client: Client, call: Call, count: int) -> None:
    server.objects.update(park(count))
    plan = a_plan(client)
    lose_start(server)
    with pytest.raises(StartUncertainError) as caught:
        call(client, "apply_plan", plan, **FAST)
    report = check_lists(caught.value.report, plan)
    assert len(report.unknown) == count
    assert report.starts[0]["request_id"] == caught.value.request_id == server.starts[0].request_id
    assert "perhaps started" in str(report)
    assert call(client, "verify_plan", plan, settle=0).ok
    assert call(client, "apply_plan", plan, **FAST).ok
    assert len(server.starts) == 1


def lose_start(server: PracticeServer) -> None:
    """Do the next start, and lose its answer."""
    # `lose_next` is for the next request, whatever it is: it is called when the start's request comes.
    perform = server._answer

    def answer(request: Any, content: bytes) -> Any:
        if request.path.endswith("/bulk/objects"):
            server._answer = perform  # type: ignore[method-assign]
            server.lose_next()
        return perform(request, content)

    server._answer = answer  # type: ignore[method-assign]


@both_ways
def test_close_in_the_middle(server: PracticeServer, call: Call) -> None:
    server.objects.update(park(3))
    client = Client(server.host, LOGIN, PASSWORD)
    plan = a_plan(client)
    with pytest.raises(ClosedError) as caught:
        call(client, "apply_plan", plan, part_size=1, on_poll=lambda *_: client.close(), **FAST)
    report = check_lists(caught.value.report, plan)
    assert len(report.unknown) == 1
    assert len(server.starts) == 1
    for name in ("apply_plan", "verify_plan"):
        with pytest.raises(ClosedError):
            call(client, name, plan)
    assert len(server.starts) == 1


@pytest.mark.slow
@both_ways
@pytest.mark.parametrize("name", ["apply_plan", "verify_plan"])
def test_close_in_a_pause(server: PracticeServer, call: Call, name: str) -> None:
    server.objects.update(park(2))
    client = Client(server.host, LOGIN, PASSWORD)
    plan = a_plan(client)
    server.skip_next(2)

    def close() -> None:
        wait_until_quiet(server)
        client.close()

    closer = threading.Thread(target=close)
    closer.start()
    more = {**FAST, "settle": 3600} if name == "apply_plan" else {"settle": 3600}
    begin = time.monotonic()
    with pytest.raises(ClosedError):
        call(client, name, plan, **more)
    assert time.monotonic() - begin < PATIENCE
    closer.join()


def wait_until_quiet(server: PracticeServer) -> None:
    """Until nothing was asked for in a while: the pauses between reads are 1, 2, 4 and 8 s."""
    known = -1
    while known != (known := len(server.requests)) or known < 2:
        time.sleep(0.5)


@both_ways
def test_verify_does_not_wait_for_a_long_retry_after(peer: Peer, call: Call) -> None:
    peer.answer(objects(an_object(1)), response("{}", 429, "Retry-After: 1000"))
    client = at(peer)
    plan = a_plan(client)
    with pytest.raises(HTTPStatusError) as caught:
        call(client, "verify_plan", plan, settle=0)
    assert (caught.value.status_code, len(peer.requests)) == (429, 2)


@both_ways
def test_close_during_a_start(peer: Peer, call: Call) -> None:
    told = threading.Event()
    peer.answer(*[objects(ONE)] * 3, when(told, lambda wire: None))
    client = at(peer)
    plan = a_plan(client)

    def close() -> None:
        peer.wait_for(lambda: len(peer.requests) == 4)
        client.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(StartUncertainError) as caught:
        call(client, "apply_plan", plan, **FAST)
    closing.join()
    told.set()
    assert len(check_lists(caught.value.report, plan).unknown) == 1


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"plan": None}, TypeError, "plan must be a BulkPlan, not NoneType"),
    ({"plan": {"id": 1}}, TypeError, "plan must be a BulkPlan, not dict"),
    ({"at_most": 1.0}, TypeError, "at_most must be an int, not float"),
    ({"at_most": True}, TypeError, "at_most must be an int, not bool"),
    ({"at_most": -1}, ValueError, "at_most must be at least 0"),
    ({"skip_stale": 1}, TypeError, "skip_stale must be a bool, not int"),
    ({"part_size": 0}, ValueError, "part_size must be at least 1"),
    ({"part_size": "7"}, TypeError, "part_size must be an int, not str"),
    ({"journal": 7}, TypeError, "journal must be a path or None, not int"),
    ({"journal": b"log"}, TypeError, "journal must be a path or None, not bytes"),
    ({"settle": -1}, ValueError, "settle must be a finite number of seconds, 0 or more"),
    ({"settle": math.inf}, ValueError, "settle must be a finite"),
    ({"settle": math.nan}, ValueError, "settle must be a finite"),
    ({"settle": "1"}, TypeError, "settle must be a number of seconds, not str"),
    ({"settle": True}, TypeError, "settle must be a number of seconds, not bool"),
    ({"timeout": -1}, ValueError, "timeout"),
    ({"timeout": "1"}, TypeError, "timeout"),
    ({"interval": -1}, ValueError, "interval"),
    ({"max_interval": math.nan}, ValueError, "max_interval"),
    ({"retries": -1}, (ValueError, OverflowError), "retries"),  # type: ignore[list-item]
    ({"retries": 1.5}, TypeError, "retries"),
    ({"on_poll": 7}, TypeError, "on_poll"),
]


@both_ways
@pytest.mark.parametrize(("arguments", "kind", "words"), BAD, ids=range(len(BAD)))
def test_bad_arguments(
    server: PracticeServer, client: Client, call: Call, arguments: Mapping[str, Any], kind: Any, words: str
) -> None:
    server.objects.update(park(1))
    before = {"plan": a_plan(client), **arguments}
    plan = before.pop("plan")
    requests = len(server.requests)
    with pytest.raises(kind, match=words):
        call(client, "apply_plan", plan, **before)
    if set(arguments) <= {"plan", "settle"}:
        with pytest.raises(kind, match=words):
            call(client, "verify_plan", plan, **before)
    assert len(server.requests) == requests


@both_ways
@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.bulk[0]["properties.createOrModify"].update(value="8"),
        lambda plan: plan.bulk.append({"modify": {"weight": 9}}),
        lambda plan: plan.bulk.clear(),
        lambda plan: plan.bulk.append({"stateConditions": {"x": 1}}),
        lambda plan: plan.bulk.append({"modify": {"weight": math.nan}}),
    ],
    ids=range(5),
)
def test_a_plan_whose_dicts_are_changed(server: PracticeServer, client: Client, call: Call, change: Any) -> None:
    """What is sent was seen by nobody, so it is an error or stale."""
    server.objects.update(park(2))
    plan = a_plan(client)
    change(plan)
    with pytest.raises((ValueError, PlanRefusedError)):
        call(client, "apply_plan", plan, **FAST)
    assert server.starts == []


@both_ways
@pytest.mark.parametrize("is_loaded", [False, True], ids=["made", "loaded"])
def test_a_change_has_a_value_of_its_own(
    server: PracticeServer, client: Client, tmp_path: Path, call: Call, is_loaded: bool
) -> None:
    server.objects.update(park(2))
    plan = a_plan(client, [{"modify": {"weight": {"a": 2}}}])
    if is_loaded:
        plan.save(tmp_path / "plan.json")
        plan = BulkPlan.load(tmp_path / "plan.json")
    plan.changes[0].fields[0].after["a"] = 666
    assert plan.bulk == [{"modify": {"weight": {"a": 2}}}]
    assert plan.changes[1].fields[0].after == {"a": 2}
    with pytest.raises(ValueError, match="is not what its bulk asks for"):
        call(client, "apply_plan", plan, **FAST)
    assert server.starts == []


def test_a_plan_whose_bulk_is_changed_meanwhile(server: PracticeServer, client: Client) -> None:
    server.objects.update(park(2))
    plan = a_plan(client)

    def change(*_: object) -> None:
        plan.bulk[0]["properties.createOrModify"]["value"] = "8"

    assert client.apply_plan(plan, part_size=1, on_poll=change, **FAST).ok
    assert {room_of(one) for one in server.objects.values()} == {"7"}


@both_ways
def test_a_plan_made_by_hand(server: PracticeServer, client: Client, call: Call) -> None:
    server.objects.update(park(3))
    plan = a_plan(client)
    twice = dataclasses.replace(plan, changes=plan.changes[:1] * 2)
    other = dataclasses.replace(plan, bulk=[{"properties.createOrModify": {"name": "Room", "value": "8"}}])
    for bad in (twice, other):
        for name in ("apply_plan", "verify_plan"):
            with pytest.raises(ValueError, match="plan"):
                call(client, name, bad, settle=0)
    assert server.starts == []
    few = dataclasses.replace(plan, changes=plan.changes[:2])
    assert check_lists(call(client, "apply_plan", few, **FAST), few).ok
    assert sent(server) == [one.id for one in few.changes]


HOSTILE = ["a\n\x1b[2J", "$in", "--help", "\u202eabc", '"', "\\", "\0", "é" * 500, "1", "Ж", "😀", " "]


@both_ways
def test_ids_that_are_hostile(server: PracticeServer, client: Client, call: Call, tmp_path: Path) -> None:
    for id in HOSTILE:
        server.objects[id] = an_object(1) | {"id": id, "name": f"CPU {id}"}
    plan = a_plan(client)
    plan.save(tmp_path / "plan.json")
    assert BulkPlan.load(tmp_path / "plan.json") == plan
    set_room(server, HOSTILE[0], "6")
    set_room(server, HOSTILE[7], "6")
    error = refused(call, client, plan)
    assert str(error).isprintable()
    assert len(str(error)) < 300
    for id in (HOSTILE[0], HOSTILE[7]):
        set_room(server, id, "5")
    server.skip_next()
    report = check_lists(call(client, "apply_plan", plan, journal=tmp_path / "log", **FAST), plan)
    assert sent(server) == HOSTILE
    assert reasons(report.not_as_asked) == {HOSTILE[0]: "unchanged"}
    for text in (str(plan), str(report), repr(plan), repr(report), repr(plan.changes), repr(report.not_as_asked)):
        assert text.replace("\n", "").isprintable()


@both_ways
def test_the_objects_of_another_login(server: PracticeServer, client: Client, peer: Peer, call: Call) -> None:
    """Objects that the login cannot see are gone, so nothing is started."""
    server.objects.update(park(3))
    plan = dataclasses.replace(a_plan(client), host=at(peer).host)
    peer.answer(response("[]"))
    error = refused(call, at(peer), plan)
    assert error.reason == "stale"
    assert set(reasons(check_lists(error.report, plan).not_as_asked).values()) == {"gone"}
    report = call(at(peer), "verify_plan", plan, settle=0)
    assert set(reasons(report.not_as_asked).values()) == {"gone"}
    assert "start" not in kinds(peer)


def test_threads_that_share_a_plan(server: PracticeServer, client: Client, tmp_path: Path) -> None:
    """With a journal, one of them applies it."""
    server.objects.update(park(17))
    server.finishes_after = 0.3
    plan = a_plan(client)
    ends: list[Any] = []

    def apply() -> None:
        try:
            ends.append(client.apply_plan(plan, journal=tmp_path / "log", **FAST).ok)
        except PlanRefusedError as error:
            ends.append(error.reason)

    threads = [threading.Thread(target=apply) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert ends.count(True) == 1
    assert set(ends) <= {True, "running", "already-applied"}
    assert sorted(sent(server)) == sorted(server.objects)


def test_no_value_stands_in_an_error_or_the_log(peer: Peer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    secret = an_object(1, room=SECRET)
    bulk = [{"properties.createOrModify": {"name": "Room", "value": SECRET + "2"}}]
    for step in range(1, 6):
        whole = [*[objects(secret)] * 3, STARTED, END, objects(secret)]
        peer.answer(*whole[:step], response('[{"id": 7}]'))
        client = at(peer)
        plan = a_plan(client, bulk)
        with pytest.raises(SaymonError) as caught:
            client.apply_plan(plan, journal=tmp_path / f"log-{step}", **FAST)
        error = caught.value
        assert SECRET not in f"{error}{error!r}{error.to_dict()}{error.args}"
        assert SECRET not in (tmp_path / f"log-{step}").read_text()
    assert SECRET not in caplog.text
    for text in (repr(plan), repr(plan.changes), repr(plan.changes[0].fields)):
        assert SECRET not in text
