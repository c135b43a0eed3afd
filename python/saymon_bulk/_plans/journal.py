"""What an apply has done, in a file that outlives it: one JSON object a line, on the disk before and after each start.

An object that a line "starting" names is never sent again by the same plan, unless a line "not-started" follows. Another
plan sends it when that operation has ended and a read has shown what it did.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from os import PathLike
from typing import IO, TYPE_CHECKING, Any

from .file import is_at

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

if TYPE_CHECKING:
    from .._types import Event

_FORMAT = "saymon-bulk-journal"
_VERSION = 1

# How each line begins.
_BEGINNING = json.dumps({"format": _FORMAT, "version": _VERSION})[:-1].encode()


class LockedError(Exception):
    """Another apply holds the journal."""


@dataclass
class Part:
    """One start of a plan, as far as the journal knows."""

    plan: str
    ids: list[str]
    request_id: str
    bulk_id: str | None = None
    """None of a start whose outcome is uncertain."""

    is_finished: bool = False
    is_verified: bool = False
    """Whether a read has told what became of its objects."""

    def to_dict(self) -> dict[str, Any]:
        finished = True if self.is_finished else None if self.bulk_id is None else False
        return {"bulkId": self.bulk_id, "request_id": self.request_id, "objects": len(self.ids), "finished": finished}


@dataclass
class Journal:
    """What a plan has done, and others before it. Without a file it is forgotten at the end."""

    plan: str
    file: IO[bytes] | None = None
    path: str = ""
    by_request: dict[str, Part] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    """The objects that needed no start when the plan was done."""

    is_done: bool = False
    process: int = field(default_factory=os.getpid)

    def open(self, path: str | PathLike[str] | None) -> None:
        """Locks the file, which is made if there is none, and reads it. The caller must call `close`."""
        if path is None:
            return
        self.path = os.fspath(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
        self.file = os.fdopen(os.open(self.path, flags | getattr(os, "O_BINARY", 0), 0o600), "r+b", buffering=0)
        if not stat.S_ISREG(os.fstat(self.file.fileno()).st_mode):
            raise ValueError(f"{self.path!r} is no regular file")
        _lock(self.file, self.path)
        self._read(self.path)
        _sync_folder(self.path)

    def close(self) -> None:
        """Closes the file, and so lets go of its lock."""
        if self.file is None or self.file.closed:
            return
        if fcntl is not None and self.process == os.getpid():
            # Closing alone would leave the lock with a child that was forked meanwhile.
            with contextlib.suppress(OSError, ValueError):
                fcntl.flock(self.file, fcntl.LOCK_UN)
        self.file.close()

    @property
    def parts(self) -> list[Part]:
        """The starts of this plan."""
        return [part for part in self.by_request.values() if part.plan == self.plan]

    def unverified_elsewhere(self, ids: Iterable[str]) -> list[Part]:
        """The starts of other plans whose objects, some of these, nobody has read since their end."""
        wanted = set(ids)
        others = (part for part in self.by_request.values() if part.plan != self.plan)
        return [one for one in others if not one.is_verified and not wanted.isdisjoint(one.ids)]

    @property
    def named(self) -> set[str]:
        """The objects that are never sent again."""
        return {id for part in self.parts for id in part.ids}

    def is_done_with(self, ids: Iterable[str]) -> bool:
        """Whether nothing is left to do for these objects. A line that was deleted from a plan may have come back."""
        return self.is_done and (self.named | self.left_out).issuperset(ids)

    def starting(self, ids: list[str], request_id: str) -> Part:
        if os.getpid() != self.process:  # the parent sends the same parts
            raise RuntimeError("this apply belongs to the process that forked; begin one in each process")
        # The next apply must find what is written.
        if self.file is not None and not is_at(self.path, self.file):
            raise FileNotFoundError(errno.ENOENT, "the journal was moved or removed during the apply", self.path)
        part = Part(self.plan, ids, request_id)
        self._write("starting", part, objects=ids)
        self.by_request[request_id] = part
        return part

    def tell(self, event: Event, part: Part | None = None, **more: Any) -> None:
        """What became of a start; "done" is about the plan."""
        self._take(event, part, more)
        self._write(event, part, **more)

    def _write(self, event: str, part: Part | None, **more: Any) -> None:
        if self.file is None:
            return
        plan, about = (self.plan, {}) if part is None else (part.plan, {"request_id": part.request_id})
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = {"format": _FORMAT, "version": _VERSION, "plan": plan, "event": event, "time": now, **about, **more}
        data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        end = self.file.seek(0, os.SEEK_END)
        try:
            while data:
                data = data[self.file.write(data) :]
            os.fsync(self.file.fileno())
        except BaseException as error:
            if isinstance(error, OSError):
                error.filename = self.path
            # Cuts off half a line; also a whole line "starting", since its start will not be sent.
            if data or event == "starting":
                with contextlib.suppress(OSError):
                    self.file.truncate(end)
            raise

    def _read(self, path: str) -> None:
        assert self.file is not None
        content = self.file.read()
        whole, end, cut = content.rpartition(b"\n")
        for number, line in enumerate(whole.split(b"\n") if whole else [], 1):
            try:
                entry = json.loads(line)
                if entry["format"] != _FORMAT or entry["version"] != _VERSION:
                    raise ValueError
                self._take_line(entry, _text(entry["plan"]))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                raise ValueError(f"{path!r}, line {number}: not a line of a journal") from None
        if cut:  # the process ended in the middle of this line
            # Cuts only what begins as a line of a journal: any other file must stay whole. A power failure may leave zeros.
            written = cut.rstrip(b"\0")
            if written[: len(_BEGINNING)] != _BEGINNING[: len(written)]:
                raise ValueError(f"{path!r}, last line: not a line of a journal")
            self.file.truncate(len(whole) + len(end))

    def _take_line(self, entry: dict[str, Any], plan: str) -> None:
        event = entry["event"]
        if event == "done":
            if plan == self.plan:
                self._take(event, None, entry)
            return
        request_id = _text(entry["request_id"])
        if event == "starting":
            if request_id in self.by_request:
                raise ValueError  # the ids of one of the two would be forgotten
            self.by_request[request_id] = Part(plan, _ids(entry["objects"]), request_id)
        else:
            self._take(event, self.by_request[request_id], entry)

    def _take(self, event: str, part: Part | None, entry: dict[str, Any]) -> None:
        if part is None:
            self.is_done = True
            self.left_out.update(_ids(entry["left_out"]))
        elif event == "not-started":
            del self.by_request[part.request_id]
        elif event == "started":
            part.bulk_id = _text(entry["bulkId"])
        elif event == "finished":
            part.is_finished = True
        elif event == "verified":
            part.is_verified = True


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _ids(values: Any) -> list[str]:
    if not isinstance(values, list):
        raise TypeError
    return [_text(value) for value in values]


def _lock(file: IO[bytes], path: str) -> None:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            # A byte far behind the end: Windows locks bytes against reading too.
            file.seek(2**62)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            file.seek(0)
    except OSError as error:
        if fcntl is not None and not isinstance(error, BlockingIOError):
            error.filename = path  # of a file system without locks
            raise
        raise LockedError from error


def _sync_folder(path: str) -> None:
    """A new file is on the disk when its folder is."""
    # Some file systems have no such thing, and a folder may be written to and not read.
    with contextlib.suppress(OSError):
        descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
