"""The progress of a wait: what fits into a line, a clock that moves, a line a minute off a terminal."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
from commands import Terminal, environment, run
from peer import Peer
from saymon_bulk.cli.wait import clock, line
from saymon_bulk.testing import PracticeServer

pytestmark = pytest.mark.usefixtures("user")

NONE = ("", "")
WORDS, LETTERS = ", server does not answer, 3 of 10", ", down 3/10"
TROUBLE = (WORDS, LETTERS)


@pytest.mark.parametrize(
    ("width", "trouble", "text"),
    [
        (79, NONE, "12 of 50 done [#########-------------------------------] 0:05"),
        (79, TROUBLE, f"12 of 50 done [######-------------------] 0:05{WORDS}"),
        (60, TROUBLE, f"12 of 50 done, 0:05{WORDS}"),
        (40, NONE, "12 of 50 done [####---------------] 0:05"),
        (40, TROUBLE, "12 of 50 done, 0:05, down 3/10"),
        (37, TROUBLE, "12 of 50 done, 0:05, down 3/10"),
        (37, (", server answers 503, 2 of 10", ", 503 2/10"), "12 of 50 done, 0:05, 503 2/10"),
        (25, TROUBLE, "12/50 0:05, down 3/10"),
        (20, NONE, "12 of 50 done, 0:05"),
        (20, TROUBLE, "12/50, down 3/10"),
        (10, NONE, "12/50 0:05"),
        (10, TROUBLE, "12/50"),
        (9, NONE, "12/50"),
        (4, NONE, "12/5"),
    ],
)
def test_what_fits(width: int, trouble: tuple[str, str], text: str) -> None:
    assert line(12, 50, "0:05", trouble, width) == text


@pytest.mark.parametrize("trouble", [NONE, TROUBLE], ids=["none", "trouble"])
def test_no_width_is_passed(trouble: tuple[str, str]) -> None:
    for done, total, elapsed in [(0, 1, "0:00"), (9_999, 10_000, "99:59:59"), (1, 1, "1:02:03")]:
        for width in range(1, 120):
            text = line(done, total, elapsed, trouble, width)
            assert len(text) <= width
            if width >= 40:
                assert f"{done} of {total} done" in text or f"{done}/{total}" in text
                assert elapsed in text
                assert not trouble[0] or "3 of 10" in text or "3/10" in text
    assert re.search(r"\[#{40}\]", line(5, 5, "0:05", NONE, 200))


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0, 5.9, 65, 3599, 3723, 360_000)] == [
        *["0:00", "0:05", "1:05", "59:59", "1:02:03", "100:00:00"]
    ]


@pytest.mark.parametrize("columns", [40, 80])
def test_the_clock_moves_between_polls(server: PracticeServer, columns: int) -> None:
    with Terminal(server, "wait", "--interval=1h", "--max-interval=1h", "never", columns=columns) as terminal:
        for second in (1, 2, 3):
            terminal.shows(rf"^0 of 1 done \[-+\] 0:0{second}$")
        assert len(server.requests) == 1
        terminal.type("\x03")
        assert terminal.end() == 130


def test_the_clock_moves_while_a_server_is_silent(peer: Peer) -> None:
    peer.answer(lambda wire: wire.hold())
    with Terminal(peer, "wait", "x") as terminal:
        terminal.shows(r"^0 of 1 done \[-+\] 0:02$")
        terminal.type("\x03")
        assert terminal.end() == 130


def test_the_trouble_of_the_server(server: PracticeServer) -> None:
    server.fail_next(2, 503)
    words = ["--retries=3", "--interval=0.7", "--max-interval=0.7"]
    with Terminal(server, "wait", *words, "never") as terminal:
        terminal.shows(r"^0 of 1 done .*, server answers 503, 2 of 3$")
        terminal.shows(r"^0 of 1 done \[-+\] 0:0\d$")
        terminal.type("\x03")
        assert terminal.end() == 130


OFTEN = """
import sys
from saymon_bulk.cli import main, wait
wait.LINE_PAUSE = 0.3
sys.exit(main())
"""


@pytest.mark.clock
def test_a_look_at_the_clock_moves_no_deadline(server: PracticeServer) -> None:
    begin = time.monotonic()
    result = run(server, "wait", "--timeout=1.7", "--interval=1h", "--max-interval=1h", "never")
    assert result.returncode == 8
    assert 1.7 <= time.monotonic() - begin < 4
    assert len(server.requests) == 2


def off_a_terminal(server: object, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", OFTEN, "wait", "--timeout=1.6", *words, "never", "unknown"],
        env=environment(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stderr


def test_a_line_a_minute_off_a_terminal(server: PracticeServer) -> None:
    shape = r"^saymon-bulk: 1 of 2 done after 0:0\d$"
    assert len(re.findall(shape, off_a_terminal(server), re.MULTILINE)) >= 2
    for option in ("-q", "-v"):
        assert re.search(shape, off_a_terminal(server, option), re.MULTILINE) is None


def test_the_line_tells_of_trouble() -> None:
    quick = ["--host=http://127.0.0.1:1", "--interval=0.2", "--max-interval=0.2"]
    text = off_a_terminal(None, *quick)
    assert re.search(r"^saymon-bulk: 0 of 2 done after 0:0\d, server does not answer, \d of 10$", text, re.MULTILINE)


def test_trouble_is_told_at_once_and_once(server: PracticeServer) -> None:
    result = run(None, "wait", "--host=http://127.0.0.1:1", "--retries=2", "--interval=0.1", "--max-interval=0.1", "never")
    told = re.findall(r"^saymon-bulk: (0 of 1 done .*)$", result.stderr, re.MULTILINE)
    assert told == ["0 of 1 done after 0:00, server does not answer, 1 of 2"]
    quiet = run(None, "wait", "-q", "--host=http://127.0.0.1:1", "--retries=1", "--interval=0.1", "never")
    assert "0 of 1 done" not in quiet.stderr
