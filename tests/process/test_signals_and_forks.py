"""The process around a call: signals, threads, forks, pools and the end, each in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from peer import ID, LOGIN, PASSWORD, Desk, Peer, Wire, response, saying, when
from processes import AT_ONCE, FINISHED, RUNNING, Start, asked, needs_fork, needs_signals
from saymon_bulk.testing import PracticeServer
from servers import ANSWER, Certificates, Site, StartNginx, wait_until

# Every script begins so. Started in the background, Python would leave SIGINT ignored.
BEGINNING = f"""
import os, signal, sys, threading, time, warnings
import saymon_bulk

HOST, CA = sys.argv[1], sys.argv[2] or True

def ask(host=HOST, id={ID!r}, password={PASSWORD!r}, verify=CA, **more):
    return saymon_bulk.get_bulk_status(host, id, {LOGIN!r}, password, verify=verify, **more)

def say(*words):
    # In one write: others may be printing too.
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

signal.signal(signal.SIGINT, signal.default_int_handler)
# Python 3.12 and later warn at a fork with threads about; here it is on purpose.
warnings.simplefilter("ignore", DeprecationWarning)
"""


@pytest.fixture
def start(start: Start) -> Start:
    return lambda code, host, ca="": start(BEGINNING + code, host, str(ca))


# Ctrl-C

INTERRUPTED = """
say("calling")
try:
    say(ask(request_timeout=60))
except KeyboardInterrupt:
    say(time.monotonic())
sys.stdin.read()  # alive until the test is done with it
"""


def test_ctrl_c_before_the_answer(start: Start, peer: Peer) -> None:
    peer.answer(Wire.hold)
    script = start(INTERRUPTED, peer.host)
    assert script.line() == "calling"
    asked(peer, 1)
    assert script.seconds_to_interrupt() < AT_ONCE
    peer.wait_for(lambda: peer.open == 0)
    assert script.finish() == []
    assert len(peer.requests) == 1


WAITING = {
    "call": "ask(request_timeout=60)",
    "batch": "client.get_bulk_statuses(ids, return_exceptions=True)",
    "wait": "dict(client.wait_for_bulks(ids))",
    "start": f"client.start_clone({ID!r})",
}


@pytest.mark.clock
@pytest.mark.parametrize("call", WAITING.values(), ids=WAITING)
def test_ctrl_c_ends_it_at_once(start: Start, peer: Peer, call: str) -> None:
    """README promises 0.1 s; Python's own end takes some of the rest."""
    peer.answer(Wire.hold)
    made = (
        f"client = saymon_bulk.Client(HOST, {LOGIN!r}, {PASSWORD!r}, request_timeout=60)\nids = list(map(str, range(20)))\n"
    )
    script = start(made + INTERRUPTED.replace("ask(request_timeout=60)", call), peer.host)
    assert script.line() == "calling"
    asked(peer, 1)
    assert script.seconds_to_interrupt() < 0.5
    script.outcome()  # an interrupted start says so


def test_ctrl_c_in_the_middle_of_the_body(start: Start, peer: Peer) -> None:
    several = threading.Event()

    def drip(wire: Wire) -> None:
        wire.send(response(b" " * 60_000).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        wire.drip([b" "] * 10, 0.01)
        several.set()
        wire.drip([b" "] * 50_000, 0.01)

    peer.answer(drip)
    script = start(INTERRUPTED, peer.host)
    assert script.line() == "calling"
    assert several.wait(60)
    assert script.seconds_to_interrupt() < AT_ONCE
    peer.wait_for(lambda: peer.open == 0)
    assert script.finish() == []


@pytest.fixture
def full() -> Iterator[int]:
    """A port at which connections are neither taken nor refused: the queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(16):
            client = stack.enter_context(socket.socket())
            client.settimeout(0.2)
            try:
                client.connect(("127.0.0.1", port))
            except socket.timeout:  # in Python 3.9 this is no TimeoutError
                client.close()
                break
        else:
            pytest.skip("this system takes connections for a port whose queue is full")
        if not Path("/proc/net/tcp").exists():
            pytest.skip("no /proc/net/tcp to see a connection in the making by")
        wait_until(lambda: not connecting(port), "the fixture's own attempts")
        yield port


def connecting(port: int) -> bool:
    """Whether somebody waits for that port's answer to a SYN."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = [line.split()[2:4] for line in lines]
    return [f"0100007F:{port:04X}", "02"] in ends


@pytest.mark.slow
def test_ctrl_c_while_connecting(start: Start, full: int) -> None:
    script = start(INTERRUPTED, f"http://127.0.0.1:{full}")
    assert script.line() == "calling"
    wait_until(lambda: connecting(full), "a connection in the making")
    assert script.seconds_to_interrupt() < AT_ONCE
    wait_until(lambda: not connecting(full), "its end", 5)
    assert script.finish() == []


def test_ctrl_c_in_the_middle_of_the_tls_handshake(start: Start, peer: Peer) -> None:
    greeted = threading.Event()

    def mute(wire: Wire) -> None:
        wire.socket.recv(65536)
        greeted.set()
        wire.hold()

    peer.greeting = mute
    code = INTERRUPTED.replace("ask(", "ask(verify=False, ")
    script = start("warnings.simplefilter('ignore')" + code, f"https://{peer.authority}")
    assert script.line() == "calling"
    assert greeted.wait(60)
    assert script.seconds_to_interrupt() < AT_ONCE
    peer.wait_for(lambda: peer.open == 0)
    assert script.finish() == []


@needs_signals
def test_after_ctrl_c_calls_go_on(start: Start, peer: Peer) -> None:
    peer.answer(response(), Wire.hold, response('{"finished": false}'), Wire.hold, response())
    code = """
say(ask())
for _ in range(2):
    try:
        ask(request_timeout=60)
    except KeyboardInterrupt:
        say(ask())
"""
    script = start(code, peer.host)
    assert script.line() == FINISHED
    asked(peer, 2)
    script.signal()
    assert script.line() == RUNNING
    asked(peer, 4)
    script.signal()
    assert script.finish() == [FINISHED]
    assert len(peer.requests) == 5


def test_ctrl_c_while_a_worker_thread_asks(start: Start, peer: Peer) -> None:
    told = threading.Event()
    peer.answer(when(told, saying(response(), Wire.hold)))
    code = """
answered = threading.Event()

def work():
    say(ask(request_timeout=60))
    answered.set()

threading.Thread(target=work).start()
try:
    say("started")
    answered.wait()
except KeyboardInterrupt:
    say(time.monotonic())
answered.wait()
"""
    script = start(code, peer.host)
    assert script.line() == "started"
    asked(peer, 1)
    assert script.seconds_to_interrupt() < AT_ONCE
    assert peer.open == 1
    told.set()
    assert script.finish() == [FINISHED]


# Other signals


@needs_signals
def test_a_handler_that_asks_itself(start: Start, peer: Peer) -> None:
    told = threading.Event()
    peer.answer(when(told, saying(response(), Wire.hold)), response('{"finished": false}'))
    code = """
signal.signal(signal.SIGUSR1, lambda *_: say("handler", ask(request_timeout=60)))
say(ask(request_timeout=60))
"""
    script = start(code, peer.host)
    for count in (1, 2):
        asked(peer, count)
        script.signal(signal.SIGUSR1)
        assert script.line() == f"handler {RUNNING}"
    told.set()
    assert script.finish() == [FINISHED]
    assert len(peer.requests) == 3


# What a handler may call while another call is under way, each with what it gets of an operation that runs.
OWN_CALLS = [
    "client.get_bulk_status('x')['finished']",
    "set(map(str, client.get_bulk_statuses(ids, concurrency=64).values())) == {str({'finished': False})}",
    "client.start_clone('x')['finished']",
    "asyncio.run(client.get_bulk_status_async('x'))['finished']",
    "len(dict(client.wait_for_bulks(ids, timeout=0, return_exceptions=True))) == 200",
]


@pytest.mark.slow
@needs_signals
@pytest.mark.parametrize("outer", ["client.get_bulk_status('hung')", "client.wait_for_bulk('hung', timeout=60)"])
@pytest.mark.parametrize("own", OWN_CALLS)
@pytest.mark.parametrize("first", ["client.get_bulk_status('first')", ""], ids=["proved", "new"])
def test_a_handler_that_calls_anything(start: Start, own: str, outer: str, first: str) -> None:
    """Also where the interrupted call is the one whose answer the others wait for."""
    told = threading.Event()
    code = f"""
import asyncio
client = saymon_bulk.Client(HOST, {LOGIN!r}, {PASSWORD!r}, request_timeout=60)
{first}
ids = [str(number) for number in range(200)]
signal.signal(signal.SIGUSR1, lambda *_: say("handler", {own}))
say({outer})
"""
    with Desk() as desk:
        desk.answer(response('{"bulkId": "x", "finished": false}'))
        desk.of = {"hung": when(told, saying(response(), Wire.hold))}
        script = start(code.replace("str({'finished': False})", "str(client.get_bulk_status('y'))"), desk.host)
        for _ in range(2):
            asked(desk, 2 if first else 1)
            begun = time.monotonic()
            script.signal(signal.SIGUSR1)
            assert script.line() in ("handler False", "handler True")
            # A wait goes on meanwhile, and for ten seconds the others wait for the answer to its first poll.
            assert time.monotonic() - begun < (9 if first or "wait" not in outer else 60)
        told.set()
        assert script.finish() == [FINISHED]


@needs_signals
def test_a_handler_that_raises(start: Start, peer: Peer) -> None:
    peer.answer(Wire.hold, response())
    code = """
class Enough(Exception):
    pass

def handler(*_):
    raise Enough("of it")

signal.signal(signal.SIGTERM, handler)
try:
    ask(request_timeout=60)
except Enough as error:
    say(repr(error))
say(ask())
sys.stdin.read()
"""
    script = start(code, peer.host)
    asked(peer, 1)
    script.signal(signal.SIGTERM)
    assert script.line() == "Enough('of it')"
    assert script.line() == FINISHED
    # The answered connection is kept, the other one is gone.
    peer.wait_for(lambda: (peer.connections, peer.open) == (2, 1))
    assert script.finish() == []


@needs_signals
def test_a_handler_that_only_looks(start: Start, peer: Peer) -> None:
    told = threading.Event()
    peer.answer(when(told, saying(response(), Wire.hold)))
    code = """
signal.signal(signal.SIGUSR1, lambda *_: say("seen"))
say(ask(request_timeout=60))
"""
    script = start(code, peer.host)
    asked(peer, 1)
    for _ in range(3):
        sent = script.signal(signal.SIGUSR1)
        assert script.line() == "seen"
        assert time.monotonic() - sent < AT_ONCE
    told.set()
    assert script.finish() == [FINISHED]
    assert (peer.connections, len(peer.requests)) == (1, 1)


# Threads


def test_the_other_threads_run_on(start: Start, peer: Peer) -> None:
    told = threading.Event()
    peer.answer(when(told, saying(response(), Wire.hold)))
    code = """
def ticking():
    while True:
        say("tick")
        time.sleep(0.01)

call = threading.Thread(target=lambda: say(ask(request_timeout=60)))
call.start()
sys.stdin.readline()  # once the call is in the middle of it
threading.Thread(target=ticking, daemon=True).start()
call.join()
os._exit(0)
"""
    script = start(code, peer.host)
    asked(peer, 1)
    script.go_on()
    assert [script.line() for _ in range(10)] == ["tick"] * 10
    told.set()
    assert FINISHED in script.finish()


# Forks

FORKED = """
def forked(work, leave):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        work()
        leave(0)
    _, status = os.waitpid(child, 0)
    say("child", status)
"""

LEAVES = ["os._exit", "sys.exit"]


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("work", ["lambda: say(ask())", "lambda: None"], ids=["asks", "idles"])
@pytest.mark.parametrize("certificate", [None, "good"], ids=["http", "https"])
def test_a_fork_after_use(
    start: Start,
    start_nginx: StartNginx,
    certificates: Certificates,
    certificate: str | None,
    work: str,
    leave: str,
) -> None:
    nginx = start_nginx({"shop": Site(ANSWER, certificate)})
    code = f"""{FORKED}
say(ask())
forked({work}, {leave})
say(ask())
forked({work}, {leave})
say(ask())
"""
    child = [FINISHED, "child 0"] if "ask" in work else ["child 0"]
    expected = [FINISHED, *child, FINISHED, *child, FINISHED]
    assert start(code, nginx.url("shop"), certificates.ca).finish() == expected
    requests = nginx.requests("shop", expected.count(FINISHED))
    used = [request.connection for request in requests]
    if "ask" in work:
        # The parent goes on with its own connection, each child has another.
        assert used[0] == used[2] == used[4]
        assert len(set(used)) == 3
    else:
        assert len(set(used)) == 1


@pytest.mark.slow
@needs_fork
def test_a_fork_of_a_fork(start: Start, peer: Peer) -> None:
    code = f"""{FORKED}
def child():
    say(ask())
    forked(lambda: say(ask()), os._exit)
    say(ask())

say(ask())
forked(child, sys.exit)
say(ask())
"""
    lines = [FINISHED, FINISHED, FINISHED, "child 0", FINISHED, "child 0", FINISHED]
    assert start(code, peer.host).finish() == lines
    assert (peer.connections, len(peer.requests)) == (3, 5)


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("site", ["http", "https"])
@pytest.mark.parametrize("leave", LEAVES)
def test_forks_while_threads_are_asking(
    start: Start,
    start_nginx: StartNginx,
    certificates: Certificates,
    site: str,
    leave: str,
) -> None:
    answer = f"keepalive_requests 5; {ANSWER}"
    nginx = start_nginx({"http": Site(answer), "https": Site(answer, "good")})
    code = f"""{FORKED}
done, failures = threading.Event(), []

def asking():
    while not done.is_set():
        try:
            assert ask() == {FINISHED}
        except BaseException as error:
            failures.append(error)

threads = [threading.Thread(target=asking) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(15):
    forked(lambda: say(ask()), {leave})
done.set()
for thread in threads:
    thread.join()
say(failures)
"""
    # By address: the C library's resolver may hang in a child forked while another thread
    # is inside it, whoever calls it (socket.getaddrinfo does just the same).
    script = start(code, nginx.url(site), certificates.ca)
    assert script.finish() == [FINISHED, "child 0"] * 15 + ["[]"]


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("leave", LEAVES)
def test_a_child_forked_in_the_middle_of_a_call(start: Start, peer: Peer, leave: str) -> None:
    told = threading.Event()
    peer.answer(when(told, saying(response(), Wire.hold)), response('{"finished": false}'))
    code = f"""{FORKED}
worker = threading.Thread(target=lambda: say(ask(request_timeout=60)))
worker.start()
sys.stdin.readline()  # once the call is in the middle of it
forked(lambda: None, {leave})
forked(lambda: say(ask()), {leave})
worker.join()
"""
    script = start(code, peer.host)
    asked(peer, 1)
    script.go_on()
    assert [script.line() for _ in range(3)] == ["child 0", RUNNING, "child 0"]
    assert peer.open >= 1
    told.set()
    assert script.finish() == [FINISHED]


USES = {
    "_start_body": "client.start_clone('1')",
    "_warnings": "saymon_bulk.Client('http://192.0.2.1', 'l', 'p')",
    "_credentials": "saymon_bulk.Client.from_env()",
    "_types": "saymon_bulk.BulkStatus",
    "_iterators": "client.wait_for_bulks([])",
}


# importlib locks a module before it looks for the file, and knows the module only afterwards.
SLOWLY = {
    "searched": """
from importlib.machinery import FileFinder as Kind
step, name = "find_spec", lambda self, name, *more: name
""",
    "run": """
from importlib.machinery import SourceFileLoader as Kind
step, name = "exec_module", lambda self, module: module.__name__
""",
}


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("phase", SLOWLY)
@pytest.mark.parametrize("module", USES)
def test_a_child_forked_while_another_thread_imports(start: Start, peer: Peer, module: str, phase: str) -> None:
    peer.answer(response('{"bulkId": "7", "finished": false}'))
    code = f"""{FORKED}{SLOWLY[phase]}
begun, quickly = threading.Event(), getattr(Kind, step)

def slowly(*arguments):
    if name(*arguments) == "saymon_bulk.{module}":
        begun.set()
        time.sleep(0.3)
    return quickly(*arguments)

setattr(Kind, step, slowly)
warnings.simplefilter("ignore")
os.environ.update(SAYMON_HOST=HOST, SAYMON_LOGIN="l", SAYMON_PASSWORD="p")
client = saymon_bulk.Client(HOST, "l", "p")
use = lambda: {USES[module]}
importing = threading.Thread(target=use)
importing.start()
begun.wait()
forked(lambda: say(use() is not None), os._exit)
importing.join()
"""
    assert start(code, peer.host).finish() == ["True", "child 0"]


@pytest.mark.slow
@needs_fork
def test_a_fork_in_the_middle_of_its_own_import(start: Start, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("import os\nif os.fork() == 0:\n    os._exit(0)\nos.wait()\n")
    code = f"sys.path.insert(0, {str(tmp_path)!r})\nsys.modules.pop('json', None)\nimport json\nsay(ask())"
    assert start(code, peer.host).finish() == [FINISHED]


# Pools

POOLED = f"""
from concurrent.futures import ProcessPoolExecutor
from functools import partial
import multiprocessing

call = partial(saymon_bulk.get_bulk_status, verify=CA, request_timeout=20)

def arguments(host=HOST, id={ID!r}, password={PASSWORD!r}):
    return (host, id, {LOGIN!r}, password)
"""


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("used_before", [False, True])
def test_multiprocessing(start: Start, practice: PracticeServer, method: str, used_before: bool) -> None:
    code = f"""{POOLED}
if {used_before}:
    say(ask())
with multiprocessing.get_context({method!r}).Pool(2) as pool:
    say(pool.starmap(call, [arguments()] * 8))
    pool.close()
    pool.join()
say(ask())
"""
    lines = start(code, practice.host).finish()
    assert lines == [FINISHED] * used_before + [f"[{', '.join([FINISHED] * 8)}]", FINISHED]


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_concurrent_futures(start: Start, practice: PracticeServer, method: str) -> None:
    code = f"""{POOLED}
say(ask())
context = multiprocessing.get_context({method!r})
with ProcessPoolExecutor(2, mp_context=context) as pool:
    futures = [pool.submit(call, *arguments()) for _ in range(8)]
    say([future.result(60) for future in futures])
say(ask())
"""
    lines = start(code, practice.host).finish()
    assert lines == [FINISHED, f"[{', '.join([FINISHED] * 8)}]", FINISHED]


@pytest.mark.slow
@needs_fork
def test_errors_come_back_from_a_pool(start: Start, practice: PracticeServer, nobody: str, peer: Peer, other: Peer) -> None:
    peer.answer(response("[true]"))
    other.answer(Wire.hold)
    code = f"""{POOLED}
cases = [
    (call, arguments(password="wrong-Password")),
    (call, arguments(id="no-such-operation")),
    (call, arguments("http://{nobody}")),
    (call, arguments("{peer.host}")),
    (partial(call, request_timeout=0.1), arguments("{other.host}")),
    (call, arguments(id="..")),
]
with multiprocessing.get_context("fork").Pool(1) as pool:
    for function, case in cases:
        try:
            say("answered", pool.apply(function, case))
        except Exception as error:
            try:
                function(*case)
            except Exception as ours:
                assert vars(error) == vars(ours), (vars(error), vars(ours))
                assert error.args == ours.args
            known = [getattr(error, name, None) for name in ("status_code", "code")]
            say(type(error).__name__, *known)
    pool.close()
    pool.join()
"""
    assert start(code, practice.host).finish() == [
        "AuthError 401 InvalidCredentials",
        "NotFoundError 404 NotFound",
        "TransportError None None",
        "ResponseError None None",
        "RequestTimeoutError None None",
        "ValueError None None",
    ]


# The end


@pytest.mark.parametrize("attempt", range(4))
def test_the_end_with_daemon_threads_in_the_middle_of_calls(start: Start, peer: Peer, attempt: int) -> None:
    peer.answer(response(), Wire.hold)
    code = """
say(ask())
for _ in range(4):
    threading.Thread(target=ask, daemon=True).start()
sys.stdin.readline()
"""
    script = start(code, peer.host)
    assert script.line() == FINISHED
    asked(peer, 5)
    assert script.finish() == []
    peer.wait_for(lambda: peer.open == 0)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(4))
def test_the_end_with_daemon_threads_that_ask_and_ask(
    start: Start, front_host: str, certificates: Certificates, attempt: int
) -> None:
    code = """
many = threading.Event()

def asking():
    for count in range(1_000_000):
        ask()
        if count == 20:
            many.set()

for _ in range(4):
    threading.Thread(target=asking, daemon=True).start()
many.wait()
"""
    assert start(code, front_host, certificates.ca).finish() == []


@pytest.fixture(params=["http", "https"])
def front_host(request: pytest.FixtureRequest, start_nginx: StartNginx) -> str:
    certificate = "good" if request.param == "https" else None
    return start_nginx({"shop": Site(ANSWER, certificate)}).url("shop")


def test_the_end_with_threads_still_to_be_joined(start: Start, peer: Peer) -> None:
    told = threading.Event()
    peer.answer(when(told, saying(response(), Wire.hold)))
    script = start("threading.Thread(target=lambda: say(ask(request_timeout=60))).start()", peer.host)
    asked(peer, 1)
    told.set()
    assert script.finish() == [FINISHED]


def test_a_call_at_the_very_end(start: Start, peer: Peer) -> None:
    code = """
import atexit
atexit.register(lambda: say(ask()))
say(ask())
"""
    assert start(code, peer.host).finish() == [FINISHED, FINISHED]


def test_an_end_by_an_unhandled_error(start: Start, peer: Peer) -> None:
    peer.answer(response("{}", 404))
    script = start("ask()", peer.host)
    code, out, err = script.outcome()
    assert (code, out) == (1, "")
    assert "NotFoundError: " in err.splitlines()[-1]
    assert PASSWORD not in err
