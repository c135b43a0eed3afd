"""How far a wait is: one line that is written over on a terminal, else a line a minute."""

from __future__ import annotations

import os
import sys
import time

from .streams import is_terminal, note, show

# Seconds between two looks at the clock, between two drawings, and between two lines off a terminal.
TICK, PAUSE, MINUTE = 0.5, 0.1, 60.0

# Columns of the bar: at most, and below which there is none.
_LONGEST, _SHORTEST = 40, 10


def progress(total: int, *, wanted: bool) -> Progress:
    if not wanted:
        return Progress(total)
    return _Bar(total) if is_terminal(sys.stderr) else _Lines(total)


class Progress:
    """Shows nothing."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._trouble = total, 0, ""
        self._start = self._shown = time.monotonic()

    def trouble(self, text: str) -> None:
        """What is wrong with the server, or nothing."""
        self._trouble = text

    def one_is_done(self) -> None:
        self._done += 1

    def tick(self) -> None:
        """Show what is new, if it is time."""

    def clear(self) -> None:
        """Make room for a result."""

    def close(self, *, leave: bool = False) -> None:
        """End it; `leave` keeps what is on the screen."""

    def _is_due(self, pause: float) -> bool:
        now = time.monotonic()
        if now - self._shown < pause:
            return False
        self._shown = now
        return True


class _Lines(Progress):
    def tick(self) -> None:
        if self._is_due(MINUTE):
            text = f"{self._done} of {self._total} done after {clock(self._shown - self._start)}"
            note(f"{text}, {self._trouble}" if self._trouble else text)


class _Bar(Progress):
    def __init__(self, total: int) -> None:
        super().__init__(total)
        self._width = 0
        self._draw()

    def tick(self) -> None:
        if self._is_due(PAUSE):
            self._draw()

    def _draw(self) -> None:
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns
        except OSError:
            columns = 0
        # Some terminals begin a new line behind the last column; before it, there is room for a ^C.
        width = max(1, (columns or 80) - 3)
        text = line(self._done, self._total, clock(time.monotonic() - self._start), self._trouble, width)
        show("\r" + text.ljust(min(self._width, width)))
        self._width = len(text)

    def clear(self) -> None:
        if self._width:
            show("\r" + " " * self._width + "\r")
            self._width = 0

    def close(self, *, leave: bool = False) -> None:
        if leave:
            show("\n")
        else:
            self.clear()


def line(done: int, total: int, elapsed: str, trouble: str, width: int) -> str:
    """The progress in so many columns. What is least needed goes first: the bar, then the end of the trouble."""
    count, trouble = f"{done} of {total} done", f", {trouble}" if trouble else ""
    free = width - len(f"{count} [] {elapsed}{trouble}")
    if free >= _SHORTEST:
        length = min(free, _LONGEST)
        full = length * done // total
        return f"{count} [{'#' * full}{'-' * (length - full)}] {elapsed}{trouble}"
    text = ""
    for text in (f"{count}, {elapsed}", f"{done}/{total} {elapsed}", f"{done}/{total}"):
        if len(text) <= width:
            break
    free = width - len(text)
    if len(trouble) > free:
        trouble = trouble[: free - 3] + "..." if free >= _SHORTEST else ""
    return (text + trouble)[:width]


def clock(seconds: float) -> str:
    """5 is 0:05, 3723 is 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
