"""The logger saymon_bulk: what it is told, when it says nothing, and that no secret is in any record."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import (
    END,
    ID,
    LOGIN,
    PASSWORD,
    QUICK,
    RUN,
    Answer,
    Peer,
    Wire,
    at,
    collected,
    headers,
    no_hanging,
    response,
    token,
)
from processes import run_script
from saymon_bulk import SaymonError, WaitTimeoutError

BUSY = response('{"code": "Busy", "message": "later"}', 503)
BASIC = token()

_no_hanging = no_hanging()


class Records(logging.Handler):
    """Keeps all records, and may do something at each."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[logging.LogRecord] = []
        self.at_each: Callable[[logging.LogRecord], object] = lambda record: None

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(record)
        self.at_each(record)

    def of(self, level: int) -> list[str]:
        return [record.getMessage() for record in self.all if record.levelno == level]

    @property
    def debug(self) -> list[str]:
        return self.of(logging.DEBUG)

    @property
    def warnings(self) -> list[str]:
        return self.of(logging.WARNING)


@pytest.fixture
def records() -> Iterator[Records]:
    """At level DEBUG; afterwards everything is as it was."""
    logger, handler = logging.getLogger("saymon_bulk"), Records()
    level, disabled = logger.level, logger.manager.disable
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logging.disable(disabled)


ONE: dict[str, Callable[..., Any]] = {
    "get_bulk_status": lambda client: client.get_bulk_status(ID),
    "get_bulk_statuses": lambda client: client.get_bulk_statuses([ID]),
    "wait_for_bulk": lambda client, **more: client.wait_for_bulk(ID, **more),
    "wait_for_bulks": lambda client, **more: dict(client.wait_for_bulks([ID], **more)),
    "get_bulk_status_async": lambda client: asyncio.run(client.get_bulk_status_async(ID)),
    "get_bulk_statuses_async": lambda client: asyncio.run(client.get_bulk_statuses_async([ID])),
    "wait_for_bulk_async": lambda client, **more: asyncio.run(client.wait_for_bulk_async(ID, **more)),
    "wait_for_bulks_async": lambda client, **more: asyncio.run(collected(client, [ID], **more)),
}
WAITS = {name: use for name, use in ONE.items() if name.startswith("wait")}
each = pytest.mark.parametrize("use", ONE.values(), ids=ONE)
each_wait = pytest.mark.parametrize("use", WAITS.values(), ids=WAITS)


# What is told


@each
def test_an_exchange_is_one_line(peer: Peer, records: Records, use: Callable[..., Any]) -> None:
    use(at(peer))
    [line] = records.debug
    assert peer.host in line
    assert ID in line
    assert re.search(r"\b200\b", line)
    milliseconds = re.search(r"([\d.]+) ?ms\b", line)
    assert milliseconds
    assert 0 < float(milliseconds[1]) < 20_000
    [record] = records.all
    assert (record.name, record.levelname) == ("saymon_bulk", "DEBUG")


def test_the_plain_functions_tell_as_well(peer: Peer, records: Records) -> None:
    four = (peer.host, ID, LOGIN, PASSWORD)
    saymon_bulk.get_bulk_status(*four)
    saymon_bulk.wait_for_bulk(*four)
    asyncio.run(saymon_bulk.get_bulk_status_async(*four))
    asyncio.run(saymon_bulk.wait_for_bulk_async(*four))
    assert len(records.debug) == len(records.all) == 4


def test_the_milliseconds_are_those_of_the_exchange(peer: Peer, records: Records) -> None:
    def slowly(wire: Wire) -> None:
        wire.stopping.wait(0.2)
        wire.send(END)

    peer.answer(slowly)
    at(peer).get_bulk_status(ID)
    found = re.search(r"([\d.]+) ?ms\b", records.debug[0])
    assert found
    assert 200 <= float(found[1]) < 20_000


OUTCOMES: dict[str, tuple[Answer, str]] = {
    "401": (response("{}", 401), r"\b401\b"),
    "404": (response("{}", 404), r"\b404\b"),
    "503": (BUSY, r"\b503\b"),
    "302": (response("", 302, "Location: https://elsewhere.example/secret-path"), r"\b302\b"),
    "bad": (response("[]"), "."),
    "cut": (Wire.reset, "."),
    "hung": (Wire.hold, r"0\.3"),
}


@pytest.mark.parametrize("use", [ONE["get_bulk_status"], ONE["get_bulk_statuses"], ONE["get_bulk_status_async"]])
@pytest.mark.parametrize(("answer", "told"), OUTCOMES.values(), ids=OUTCOMES)
def test_a_failed_exchange_is_one_line(
    peer: Peer, records: Records, use: Callable[..., Any], answer: Answer, told: str
) -> None:
    peer.answer(answer)
    with pytest.raises(SaymonError):
        use(at(peer, request_timeout=0.3))
    [line] = records.debug
    assert peer.host in line
    assert ID in line
    assert re.search(told, line.split(ID)[1])
    assert re.search(r"[\d.]+ ?ms\b", line)
    # It is raised; that is warning enough.
    assert records.warnings == []


def test_many_exchanges_are_many_lines(peer: Peer, records: Records) -> None:
    ids = [f"op-{n}" for n in range(30)]
    peer.answer(*[END, response("{}", 404)] * 15)
    at(peer).get_bulk_statuses(ids, return_exceptions=True)
    asyncio.run(at(peer).get_bulk_statuses_async(ids, return_exceptions=True))
    assert len(records.debug) == len(peer.requests) == 60
    for id in ids:
        assert len([line for line in records.debug if re.search(rf"\b{id}\b", line)]) == 2


@each_wait
def test_a_tolerated_failure_is_a_warning(peer: Peer, records: Records, use: Callable[..., Any]) -> None:
    peer.answer(BUSY, RUN, lambda wire: wire.send(END[:-4]), response("{}", 502), END)
    use(at(peer), **QUICK)
    assert len(records.debug) == 5
    busy, cut, bad = records.warnings
    for line in (busy, cut, bad):
        assert peer.host in line
        assert ID in line
    assert "503" in busy
    assert "Busy" in busy
    assert "502" in bad
    names = {(record.name, record.levelname) for record in records.all}
    assert names == {("saymon_bulk", "DEBUG"), ("saymon_bulk", "WARNING")}


@each_wait
def test_the_failure_that_ends_it_is_no_warning(peer: Peer, records: Records, use: Callable[..., Any]) -> None:
    peer.answer(BUSY, response("{}", 404))
    with pytest.raises(SaymonError):
        use(at(peer), **QUICK)
    assert (len(records.debug), len(records.warnings)) == (2, 1)
    peer.answer(BUSY)
    with pytest.raises(SaymonError):
        use(at(peer), retries=2, **QUICK)
    assert (len(records.debug), len(records.warnings)) == (5, 3)


@pytest.mark.slow
@each_wait
def test_the_poll_that_the_deadline_cuts_is_a_line_too(peer: Peer, records: Records, use: Callable[..., Any]) -> None:
    peer.answer(RUN, Wire.hold)
    with pytest.raises(WaitTimeoutError):
        use(at(peer), timeout=0.2, **QUICK)
    assert len(records.debug) == len(peer.requests) == 2


def test_a_warning_comes_before_the_next_poll(peer: Peer, records: Records) -> None:
    seen: list[int] = []
    records.at_each = lambda record: seen.append(len(peer.requests))
    peer.answer(BUSY, RUN, END)
    at(peer).wait_for_bulk(ID, interval=0.2)
    assert seen == [1, 1, 2, 3]


# What a record has besides its text


def facts(record: logging.LogRecord, *more: str) -> dict[str, Any]:
    """The attributes that are this package's."""
    names = {*vars(record)} - {*vars(logging.makeLogRecord({}))} - {"message"}
    assert names == {"host", "id", "status_code", "elapsed", *more}
    return {name: getattr(record, name) for name in names}


@each
def test_an_exchange_has_attributes(peer: Peer, records: Records, use: Callable[..., Any]) -> None:
    use(at(peer))
    found = facts(records.all[0])
    assert 0 < found.pop("elapsed") < 20
    assert found == {"host": peer.host, "id": ID, "status_code": 200}


CODES: dict[str, tuple[Answer, int | None]] = {
    "401": (response("{}", 401), 401),
    "503": (BUSY, 503),
    "bad": (response("[]"), 200),
    "cut": (Wire.reset, None),
    "hung": (Wire.hold, None),
}


@pytest.mark.parametrize("use", [ONE["get_bulk_status"], ONE["get_bulk_status_async"]])
@pytest.mark.parametrize(("answer", "code"), CODES.values(), ids=CODES)
def test_a_failed_exchange_has_attributes(
    peer: Peer, records: Records, use: Callable[..., Any], answer: Answer, code: object
) -> None:
    peer.answer(answer)
    with pytest.raises(SaymonError):
        use(at(peer, request_timeout=0.3))
    found = facts(records.all[0])
    assert 0 < found.pop("elapsed") < 20
    assert found == {"host": peer.host, "id": ID, "status_code": code}


@each_wait
def test_a_warning_has_those_of_its_exchange(peer: Peer, records: Records, use: Callable[..., Any]) -> None:
    peer.answer(BUSY, END)
    use(at(peer), **QUICK)
    exchange, warning, _ = records.all
    assert (warning.levelname, facts(warning)) == ("WARNING", facts(exchange))
    assert facts(warning)["status_code"] == 503


STARTS: dict[str, Callable[[saymon_bulk.Client], Any]] = {
    "bulk": lambda client: client.start_bulk({"name": "CPU"}, [{"modify": {}}]),
    "clone": lambda client: client.start_clone("an object"),
    "bulk async": lambda client: asyncio.run(client.start_bulk_async({"name": "CPU"}, [{"modify": {}}])),
    "clone async": lambda client: asyncio.run(client.start_clone_async("an object")),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_start_has_its_request_id(peer: Peer, records: Records, start: Callable[[saymon_bulk.Client], Any]) -> None:
    peer.answer(response('{"bulkId": "new", "finished": false}'))
    start(at(peer))
    exchange, started = (facts(record, "request_id") for record in records.all)
    request_id = dict(headers(peer.requests[0]))["x-request-id"]
    assert (exchange["request_id"], exchange["id"], exchange["status_code"]) == (request_id, None, 200)
    assert started == {**exchange, "id": "new"}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_so_has_an_uncertain_start(peer: Peer, records: Records, start: Callable[[saymon_bulk.Client], Any]) -> None:
    peer.answer(BUSY)
    with pytest.raises(saymon_bulk.StartUncertainError) as caught:
        start(at(peer))
    exchange, warning = (facts(record, "request_id") for record in records.all)
    assert exchange == warning
    assert (warning["request_id"], warning["status_code"], warning["id"]) == (caught.value.request_id, 503, None)


def test_so_has_an_interrupted_start(peer: Peer, records: Records) -> None:
    peer.answer(Wire.hold)

    async def main() -> None:
        task = asyncio.create_task(at(peer).start_clone_async("an object"))
        await asyncio.to_thread(peer.wait_for, lambda: len(peer.requests) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    found = facts(records.all[-1], "request_id")
    request_id = dict(headers(peer.requests[0]))["x-request-id"]
    assert found == {"host": peer.host, "id": None, "status_code": None, "elapsed": None, "request_id": request_id}


def test_the_attributes_of_a_programs_own_records_stay(peer: Peer, records: Records) -> None:
    """logging itself refuses to overwrite them, with a KeyError."""
    factory = logging.getLogRecordFactory()

    def own(*arguments: Any, **more: Any) -> logging.LogRecord:
        record = factory(*arguments, **more)
        record.host, record.request_id = "of the program", "of the web request"
        return record

    peer.answer(response('{"bulkId": "new", "finished": false}'))
    logging.setLogRecordFactory(own)
    try:
        at(peer).start_clone("an object")
    finally:
        logging.setLogRecordFactory(factory)
    for record in records.all:
        found = facts(record, "request_id")
        assert (found["host"], found["request_id"], found["status_code"]) == ("of the program", "of the web request", 200)
    assert len(records.all) == 2


def test_another_key_error_of_the_programs_comes_out(peer: Peer, records: Records) -> None:
    def fail(record: logging.LogRecord) -> None:
        raise KeyError("host")

    records.at_each = fail
    with pytest.raises(KeyError, match="host"):
        at(peer).get_bulk_status(ID)
    assert len(records.all) == 1


# When nothing is said


@each
def test_no_records_below_the_level(peer: Peer, records: Records, use: Callable[..., Any]) -> None:
    logger = logging.getLogger("saymon_bulk")
    logger.setLevel(logging.WARNING)
    use(at(peer))
    assert records.all == []
    logger.setLevel(logging.DEBUG)
    logging.disable(logging.DEBUG)
    use(at(peer))
    assert records.all == []
    logging.disable(logging.NOTSET)
    use(at(peer))
    assert len(records.all) == 1


@each_wait
def test_no_warnings_above_their_level(peer: Peer, records: Records, use: Callable[..., Any]) -> None:
    logging.getLogger("saymon_bulk").setLevel(logging.ERROR)
    peer.answer(BUSY, END)
    use(at(peer), **QUICK)
    assert records.all == []


SILENT = """
import sys, {imports} saymon_bulk
client = saymon_bulk.Client(sys.argv[1], "login", "password")
{calls}
"""
BLOCKING = """
client.wait_for_bulk("op", interval=0.01)
list(client.wait_for_bulks(["op"]))
"""
AWAITED = """
import asyncio
asyncio.run(client.wait_for_bulk_async("op", interval=0.01))
"""


@pytest.mark.slow
@pytest.mark.parametrize("calls", [BLOCKING, AWAITED], ids=["blocking", "awaited"])
@pytest.mark.parametrize("imports", ["", "logging,"])
def test_silent_by_default(peer: Peer, imports: str, calls: str) -> None:
    """Tolerated failures among them: nobody has set up logging, so nothing is to be written anywhere."""
    peer.answer(BUSY, BUSY, RUN, BUSY, END)
    done = run_script(SILENT.format(imports=imports, calls=calls), peer.host)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("calls", [BLOCKING, AWAITED], ids=["blocking", "awaited"])
def test_told_to_whoever_set_up_logging(peer: Peer, calls: str) -> None:
    peer.answer(BUSY, END)
    setup = 'logging.basicConfig(format="%(levelname)s %(name)s %(message)s")\n'
    done = run_script(SILENT.format(imports="logging,", calls=setup + calls), peer.host)
    [line] = done.stderr.splitlines()
    assert line.startswith("WARNING saymon_bulk ")
    assert peer.host in line


def test_logging_is_not_imported(peer: Peer) -> None:
    peer.answer(END, BUSY, RUN, END)
    code = """
import sys
before = "logging" in sys.modules
import saymon_bulk
client = saymon_bulk.Client(sys.argv[1], "login", "password")
client.get_bulk_status("op")
client.wait_for_bulk("op", interval=0.01)
client.get_bulk_statuses(["op"])
list(client.wait_for_bulks(["op"]))
print(before, sorted({"logging", "asyncio", "typing"} & {*sys.modules}))
"""
    done = run_script(code, peer.host, flags=["-S"], PYTHONPATH=os.pathsep.join(sys.path))
    assert (done.stdout, done.stderr) == ("False []\n", "")


def test_logging_that_is_imported_later(peer: Peer) -> None:
    code = """
import sys, saymon_bulk
client = saymon_bulk.Client(sys.argv[1], "login", "password")
client.get_bulk_status("op")
import logging
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(name)s %(message)s")
client.get_bulk_status("op")
"""
    done = run_script(code, peer.host)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"saymon_bulk {peer.host}")
    assert len(done.stdout.splitlines()) == 1


# No secret


@pytest.mark.slow
def test_no_secret_in_any_record(peer: Peer, records: Records) -> None:
    """Not even where the server sends back what it was sent."""

    def echo(status: int) -> Callable[[Wire], None]:
        def act(wire: Wire) -> None:
            request = wire.request.decode("latin-1").replace("\r\n", " ")
            wire.send(response(f'{{"code": "{BASIC}", "message": "{PASSWORD} {request}"}}', status))

        return act

    for use in ONE.values():
        peer.answer(echo(503), RUN, echo(429), echo(200), echo(401))
        for _ in range(5):
            with contextlib.suppress(SaymonError):
                use(at(peer), **(QUICK if use in WAITS.values() else {}))
    assert len(records.warnings) >= 4
    for record in records.all:
        error = record.exc_info[1] if record.exc_info else None
        shown = [record.getMessage(), repr(record.args), repr(vars(record)), repr(error)]
        for argument in record.args if isinstance(record.args, tuple) else ():
            shown += [repr(argument), repr(getattr(argument, "__dict__", None))]
        for text in shown:
            assert PASSWORD not in text
            assert BASIC not in text
            assert "Basic " + BASIC[:12] not in text


@pytest.mark.parametrize("id", ["a\u2028b", "caf\u00e9", "%s %d %(x)s", "{}", "a\u202eb"], ids=ascii)
def test_a_line_is_one_line_whatever_the_id(peer: Peer, records: Records, id: str) -> None:
    peer.answer(BUSY, END)
    at(peer).wait_for_bulk(id, **QUICK)
    for line in records.debug + records.warnings:
        assert len(line.splitlines()) == 1
        assert line.isprintable()


# Handlers with a life of their own


@each
def test_a_handler_may_use_the_package(peer: Peer, other: Peer, records: Records, use: Callable[..., Any]) -> None:
    answers: list[object] = []

    def ask(record: logging.LogRecord) -> None:
        if other.host not in record.getMessage():
            answers.append(saymon_bulk.get_bulk_status(other.host, ID, LOGIN, PASSWORD))

    records.at_each = ask
    use(at(peer))
    assert answers == [{"finished": True}]


@each
def test_a_handler_that_fails_harms_nobody(
    peer: Peer, records: Records, use: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    def emit(record: logging.LogRecord) -> None:
        try:
            raise LookupError("of the handler")
        except LookupError:
            records.handleError(record)

    records.at_each = emit
    for _ in range(3):
        use(at(peer))
    assert len(records.all) == 3


MANY: list[Callable[..., Any]] = [
    lambda client, **more: client.get_bulk_statuses(["a", "b", "c"], **more),
    lambda client, **more: asyncio.run(client.get_bulk_statuses_async(["a", "b", "c"], **more)),
]


@pytest.mark.parametrize("error", [KeyboardInterrupt, LookupError])
@pytest.mark.parametrize("use", MANY)
def test_what_a_handler_raises_is_no_outcome_of_an_operation(
    peer: Peer, records: Records, use: Callable[..., Any], error: type[BaseException]
) -> None:
    def fail(record: logging.LogRecord) -> None:
        if len(records.all) == 2:
            raise error("of the handler")

    records.at_each = fail
    with pytest.raises(error, match="of the handler"):
        use(at(peer), return_exceptions=True)


@pytest.mark.parametrize("use", MANY)
def test_what_interrupts_the_making_of_an_exception_is_no_outcome_either(
    peer: Peer, use: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    peer.answer(END, BUSY)
    monkeypatch.setattr(saymon_bulk.HTTPStatusError, "__init__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        use(at(peer), return_exceptions=True)


@each
@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
def test_no_handler_ends_a_call_in_silence(
    peer: Peer, records: Records, use: Callable[..., Any], error: type[BaseException]
) -> None:
    def stop(record: logging.LogRecord) -> None:
        raise error

    records.at_each = stop
    # Waits and coroutines cannot raise each of them (PEP 479).
    with pytest.raises((error, RuntimeError)):
        use(at(peer))


def test_a_handler_may_cancel_the_task(peer: Peer, records: Records) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(at(peer).get_bulk_status_async(ID))
        records.at_each = lambda record: task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
