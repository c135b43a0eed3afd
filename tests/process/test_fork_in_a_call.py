"""A fork in the middle of a call, by a signal's handler or in the body of a wait: the answer is the parent's."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import threading

import pytest
from peer import Desk, Peer, Wire, no_hanging, response, saying, when
from processes import Script, asked, needs_fork, needs_signals
from servers import Certificates

pytestmark = [needs_fork, needs_signals]

_no_hanging = no_hanging()

ANSWER = response('{"bulkId": "b", "finished": true}')

CODE = """
import os, signal, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import saymon_bulk

client = saymon_bulk.Client(sys.argv[1], "login", "password", request_timeout=20)
child = None

def handler(*_):
    global child
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        {in_child}

signal.signal(signal.SIGUSR1, handler)
{before}
try:
    outcome = {call}
except BaseException as error:
    outcome = error
if child:
    print("the child ended with", os.waitpid(child, 0)[1], flush=True)
print(outcome, flush=True)
os._exit(0)
"""

CALLS = {
    "client.get_bulk_status('x')['finished']": 1,
    "client.start_clone('x')['finished']": 1,
    "client.wait_for_bulk('x')['finished']": 1,
    "len(client.get_bulk_statuses(['x', 'y']))": 2,
    "len(client.get_bulk_statuses([str(number) for number in range(200)], concurrency=200))": 200,
    "len(dict(client.wait_for_bulks(['x', 'y'])))": 2,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("in_child", "outcome"),
    [
        ("pass", "belongs to the process that forked"),
        ("raise SystemExit(3)", "3"),
        ("os.closerange(3, 4096)", "belongs to the process that forked"),  # as a daemon does
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_a_handler_that_forks(peer: Peer, call: str, in_child: str, outcome: str) -> None:
    at_once = CALLS[call]
    told = threading.Event()
    peer.answer(response('{"finished": false}'), when(told, saying(ANSWER, Wire.hold)))
    code = CODE.format(call=call, in_child=in_child, before="client.get_bulk_status('first')")
    with Script(code, peer.host) as script:
        asked(peer, 1 + at_once)
        script.signal(signal.SIGUSR1)
        line = script.line()
        if "start_clone" in call and "forked" in outcome:
            # The parent has the answer; for the child the start may have happened.
            assert "Perhaps started. " in line
            assert ": interrupted by RuntimeError" in line
        else:
            assert outcome in line
        told.set()
        assert script.line() == "the child ended with 0"
        assert script.line() in ("True", str(at_once))
    assert len(peer.requests) == 1 + at_once


IN_THE_BODY = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import saymon_bulk

client = saymon_bulk.Client(sys.argv[1], "login", "password", request_timeout=10, verify=sys.argv[2] or True)
client.get_bulk_status("first")
parent = os.getpid()
done = []
for id, _ in client.wait_for_bulks(["a", "b"], retries=0):
    done.append(id)
    if len(done) == 1:
        if os.fork() == 0:
            {end}
        print("forked", os.wait()[1], flush=True)
if os.getpid() == parent:
    print(*sorted(done), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["sys.exit()", "break", "os._exit(client.close() or 0)", "continue"])
def test_a_fork_where_the_next_answer_is_there(desk: Desk, end: str) -> None:
    """The answers that the parent has not taken yet are no child's."""
    desk.answer(response('{"finished": true}'))
    code = IN_THE_BODY.replace("len(done) == 1:", "len(done) == 1:\n        import time; time.sleep(0.5)")
    with Script(code.format(end=end), desk.host, "") as script:
        status = 1 if end == "continue" else 0
        assert script.line() == f"forked {status << 8}"
        assert script.line() == "a b"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "status"), [("sys.exit()", 0), ("break", 0), ("os._exit(client.close() or 0)", 0), ("continue", 1)]
)
def test_a_fork_in_the_body_of_a_wait(certificates: Certificates, end: str, status: int) -> None:
    """The child leaves the connection alone that its parent is making."""
    forked = threading.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate("good"), certificates.key("good"))

    def serve(number: int, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            if number == 2:
                forked.wait(60)
            with context.wrap_socket(sock, server_side=True) as secure:
                secure.recv(65536)
                secure.sendall(response('{"finished": true}', 200, "Connection: close"))

    def accept() -> None:
        with contextlib.suppress(OSError):
            for number in range(3):
                threading.Thread(target=serve, args=(number, listener.accept()[0]), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        host = f"https://localhost:{listener.getsockname()[1]}"
        with Script(IN_THE_BODY.format(end=end), host, str(certificates.ca)) as script:
            assert script.line() == f"forked {status << 8}"
            forked.set()
            assert script.line() == "a b"
