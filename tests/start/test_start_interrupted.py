"""A start that is interrupted while it is under way: the exception and the log say that it may have happened."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from typing import Any

import pytest
from peer import Peer, Wire, at, headers, response
from processes import Start, asked, needs_signals
from saymon_bulk import Client, StartUncertainError
from test_start import STARTED, start_bulk

ANSWER = response(json.dumps(STARTED))

CALL = """
import signal, sys, logging
import saymon_bulk
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
{setup}
client = saymon_bulk.Client(sys.argv[1], "login", "password")
try:
    client.start_bulk({{"name": "CPU"}}, [{{"modify": {{"a": 1}}}}])
except BaseException as error:
    print(type(error).__name__, error.__notes__, flush=True)
"""

# What a handler's own exception tells, which stands in the place of an answer.
ASKED = "error.request_id, type(error.__cause__).__name__"

HANDLER = """
class Alarm({base}):
    pass
def handler(*_):
    raise Alarm("stop")
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.3)
"""


def request_id(peer: Peer) -> str:
    (request,) = peer.requests
    return dict(headers(request))["x-request-id"]


@needs_signals
def test_ctrl_c(peer: Peer, start: Start) -> None:
    peer.answer(Wire.hold)
    script = start(CALL.format(setup=""), peer.host)
    asked(peer, 1)
    script.signal()
    warning, told = script.finish()
    assert warning.startswith("WARNING ")
    for line in (warning, told):
        assert f"(X-Request-Id {request_id(peer)}): interrupted" in line
        assert "Perhaps started" in line
    assert told.startswith("KeyboardInterrupt ")
    peer.wait_for(lambda: peer.open == 0)
    assert peer.connections == 1


@needs_signals
def test_ctrl_c_that_comes_with_the_answer(peer: Peer, start: Start) -> None:
    code = CALL.format(setup="import os")

    def both(wire: Wire) -> None:
        script.signal()
        wire.stopping.wait(0.01)  # the signal must be there first
        wire.send(ANSWER)

    peer.answer(both)
    script = start(code, peer.host)
    told = script.finish()[-1]
    assert told.startswith("KeyboardInterrupt ")
    assert f"started bulk operation {STARTED['bulkId']}" in told or "Perhaps started" in told


@needs_signals
@pytest.mark.parametrize("base", ["Exception", "TimeoutError", "ValueError", "saymon_bulk.SaymonError"])
def test_a_handler_that_raises_any_exception(peer: Peer, start: Start, base: str) -> None:
    peer.answer(Wire.hold)
    code = CALL.format(setup=HANDLER.format(base=base)).replace("error.__notes__", ASKED)
    script = start(code, peer.host)
    warning, told = script.finish()
    assert told == f"StartUncertainError {request_id(peer)} Alarm"
    assert request_id(peer) in warning
    assert "Perhaps started" in warning


def test_an_exception_of_the_call_itself_has_no_such_note(peer: Peer) -> None:
    for status in (403, 500):
        peer.answer(response("", status))
        with pytest.raises(Exception) as caught:  # noqa: PT011 (of either kind)
            start_bulk(at(peer))
        assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize(
    "start",
    [
        lambda client: client.start_clone("x"),
        lambda client: asyncio.run(client.start_clone_async("x")),
    ],
)
@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
@pytest.mark.parametrize(
    ("answer", "known"),
    [
        (ANSWER, f"started bulk operation {STARTED['bulkId']}"),
        (response("", 500), "Perhaps started"),
        (response("", 403), "not started"),
    ],
)
def test_a_log_filter_that_raises(
    peer: Peer, caplog: pytest.LogCaptureFixture, start: Any, error: type[BaseException], answer: bytes, known: str
) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise error("of the filter")

    caplog.set_level(logging.DEBUG, "saymon_bulk")
    logger = logging.getLogger("saymon_bulk")
    logger.addFilter(refuse)
    peer.answer(answer)
    try:
        with pytest.raises((error, StartUncertainError)) as caught:
            start(at(peer))
    finally:
        logger.removeFilter(refuse)
    raised: BaseException | None = caught.value
    # Any other Exception would read as "not started".
    is_uncertain = error is LookupError and known != "not started"
    if is_uncertain:
        assert isinstance(raised, StartUncertainError)
        assert known in str(raised)
        assert raised.request_id == request_id(peer)
        assert raised.id == (STARTED["bulkId"] if answer == ANSWER else None)
        raised = raised.__cause__
    assert isinstance(raised, error)
    assert raised.args == ("of the filter",)
    notes: list[str] = getattr(raised, "__notes__", [])
    (note,) = notes
    assert request_id(peer) in note
    assert known in note


def test_the_cancellation_of_a_task(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "saymon_bulk")
    peer.answer(Wire.hold)

    async def main() -> Any:
        task = asyncio.create_task(at(peer).start_bulk_async({"a": 1}, [{"modify": {}}]))
        await asyncio.to_thread(peer.wait_for, lambda: len(peer.requests) == 1)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            return error

    error = asyncio.run(main())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert request_id(peer) in record.getMessage()
    assert "Perhaps started" in record.getMessage()
    # asyncio raises a CancelledError of its own to whoever awaits the task.
    told = [*getattr(error, "__notes__", []), *getattr(error.__context__, "__notes__", [])]
    assert record.getMessage() in told
    peer.wait_for(lambda: peer.open == 0)
    assert peer.connections == 1


def test_a_limit_of_asyncio(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    peer.answer(Wire.hold)
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(at(peer).start_bulk_async({"a": 1}, [{"modify": {}}]), 0.3))
    assert request_id(peer) in caplog.text


def test_a_coroutine_that_is_closed(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    peer.answer(Wire.hold)

    async def main() -> None:
        coroutine = at(peer).start_clone_async("x")
        coroutine.send(None)
        await asyncio.to_thread(peer.wait_for, lambda: len(peer.requests) == 1)
        coroutine.close()
        await asyncio.to_thread(peer.wait_for, lambda: peer.open == 0)

    asyncio.run(main())
    assert request_id(peer) in caplog.text


@pytest.mark.slow
def test_a_coroutine_that_is_never_awaited_sends_nothing(peer: Peer, recwarn: pytest.WarningsRecorder) -> None:
    coroutine: Any = at(peer).start_clone_async("x")
    del coroutine
    gc.collect()
    assert [one for one in recwarn if "never awaited" in str(one.message)]
    assert peer.connections == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_starts_with_a_connection_of_its_own(peer: Peer) -> None:
    peer.answer(ANSWER)
    client = at(peer)
    assert start_bulk(client) == STARTED
    child = os.fork()
    if child == 0:
        try:
            ended = start_bulk(client) == STARTED and asyncio.run(client.start_clone_async("x")) == STARTED
        finally:
            os._exit(0 if ended else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert start_bulk(client) == STARTED
    assert len(peer.requests) == peer.connections == 4


@needs_signals
def test_a_signal_that_raises_nothing_changes_nothing(peer: Peer) -> None:
    heard = []

    def late(wire: Wire) -> None:
        wire.stopping.wait(0.4)
        wire.send(ANSWER)

    before = signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
    try:
        peer.answer(late)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert start_bulk(at(peer)) == STARTED
    finally:
        signal.signal(signal.SIGALRM, before)
    assert heard == [1]
    assert len(peer.requests) == 1


@pytest.mark.parametrize("verb", ["start_bulk", "start_clone"])
def test_the_twin_is_a_coroutine_function(verb: str) -> None:
    import inspect

    assert inspect.iscoroutinefunction(getattr(Client, f"{verb}_async"))


def test_uuid_and_json_are_imported_by_a_start_alone(start: Start) -> None:
    code = "import sys, saymon_bulk; print(sorted({'uuid', 'json'} & set(sys.modules)))"
    assert start(code).finish() == ["[]"]
    assert sys.modules["uuid"]


FROZEN = """
class Alarm(Exception):
    def __setattr__(self, name, value):
        raise AttributeError("frozen")
def handler(*_):
    raise Alarm("stop")
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.3)
"""

FILTERED = """
def refuse(record):
    raise LookupError("of the filter")
logging.getLogger("saymon_bulk").addFilter(refuse)
"""


@needs_signals
def test_a_handler_whose_exception_takes_no_note(peer: Peer, start: Start) -> None:
    peer.answer(Wire.hold)
    script = start(CALL.format(setup=FROZEN).replace("error.__notes__", ASKED), peer.host)
    assert script.finish()[-1] == f"StartUncertainError {request_id(peer)} Alarm"


@needs_signals
def test_ctrl_c_stays_what_it_is_if_a_log_filter_raises(peer: Peer, start: Start) -> None:
    peer.answer(Wire.hold)
    script = start(CALL.format(setup=FILTERED), peer.host)
    asked(peer, 1)
    script.signal()
    (told,) = script.finish()
    assert told.startswith("KeyboardInterrupt ")
    assert request_id(peer) in told
    assert "Perhaps started" in told


def test_a_cancellation_stays_what_it_is_if_a_log_filter_raises(peer: Peer) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise LookupError("of the filter")

    peer.answer(Wire.hold)

    async def main() -> Any:
        task = asyncio.create_task(at(peer).start_clone_async("x"))
        await asyncio.to_thread(peer.wait_for, lambda: len(peer.requests) == 1)
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled()

    logger = logging.getLogger("saymon_bulk")
    logger.addFilter(refuse)
    try:
        assert asyncio.run(main()) is True
    finally:
        logger.removeFilter(refuse)
