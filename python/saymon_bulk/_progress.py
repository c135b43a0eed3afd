"""How far a wait on the command line is: on a terminal only, by tqdm where it is installed."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from typing import Any


def progress(total: int, *, wanted: bool) -> Any:
    """A tqdm bar, or what has as much of one as the command line uses."""
    if not (wanted and sys.stderr.isatty()):
        return _Nothing()
    try:
        from importlib import import_module  # tqdm has no types of its own

        tqdm = import_module("tqdm").tqdm
    except ImportError:
        return _Line(total)
    shape = "{n_fmt} of {total_fmt} done |{bar:40}| {elapsed}{postfix}"
    return tqdm(total=total, bar_format=shape, leave=False, dynamic_ncols=True, file=sys.stderr)


class _Nothing:
    leave = False  # whether the bar stays on the screen when it is closed

    def update(self, n: int) -> None: ...
    def set_postfix_str(self, text: str, refresh: bool) -> None: ...
    def refresh(self) -> None: ...
    def clear(self) -> None: ...
    def close(self) -> None: ...


class _Line(_Nothing):
    """One line of text that is written over and over."""

    def __init__(self, total: int) -> None:
        import time

        self._now, self._start = time.monotonic, time.monotonic()
        self._done, self._total, self._width, self._postfix = 0, total, 0, ""
        self.refresh()

    def update(self, n: int) -> None:
        self._done += n

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        self._postfix = f", {text}" if text else ""

    def refresh(self) -> None:
        text = f"{self._done} of {self._total} done, {self._now() - self._start:.0f} s{self._postfix}"
        print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)
        self._width = len(text)

    def clear(self) -> None:
        print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.leave:
            print(file=sys.stderr)
        else:
            self.clear()
