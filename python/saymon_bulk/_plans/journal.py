"""What an apply has done, in a file that outlives it: one JSON object a line, on the disk before and after each start.

An object that a line "starting" names is never sent again by this plan, unless a line "not-started" follows.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import dataclass, field
from datetime import datetime, timezone
from os import PathLike
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

_FORMAT = "saymon-bulk-journal"
_VERSION = 1


class LockedError(Exception):
    """Another apply holds the journal."""


@dataclass
class Part:
    """One start of a plan, as far as the journal knows."""

    ids: list[str]
    request_id: str
    bulk_id: str | None = None
    """None of a start whose outcome is uncertain."""

    is_finished: bool = False
    is_settled: bool = False
    """Whether a read has told what became of its objects."""

    def to_dict(self) -> dict[str, Any]:
        finished = True if self.is_finished else None if self.bulk_id is None else False
        return {"bulkId": self.bulk_id, "request_id": self.request_id, "objects": len(self.ids), "finished": finished}


@dataclass
class Journal:
    """What one plan has done. Without a file it is forgotten at the end."""

    plan: str
    file: IO[bytes] | None = None
    parts: list[Part] = field(default_factory=list)
    is_done: bool = False

    @classmethod
    def open(cls, path: str | PathLike[str] | None, plan: str) -> Journal:
        """Locks the file, which is made if there is none, and reads what it says of the plan."""
        if path is None:
            return cls(plan)
        path = os.fspath(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
        file = os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600), "r+b", buffering=0)
        journal = cls(plan, file)
        try:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{path!r} is no regular file")
            _lock(file)
            journal._read(path)
            _sync_folder(path)
        except BaseException:
            file.close()
            raise
        return journal

    def close(self) -> None:
        """Closes the file, and so lets go of its lock."""
        if self.file is not None:
            self.file.close()

    @property
    def named(self) -> set[str]:
        """The objects that are never sent again."""
        return {id for part in self.parts for id in part.ids}

    def starting(self, ids: list[str], request_id: str) -> Part:
        part = Part(ids, request_id)
        self._write("starting", request_id, objects=ids)
        self.parts.append(part)
        return part

    def not_started(self, part: Part) -> None:
        self._write("not-started", part.request_id)
        self.parts.remove(part)

    def started(self, part: Part, bulk_id: str) -> None:
        part.bulk_id = bulk_id
        self._write("started", part.request_id, bulkId=bulk_id)

    def finished(self, part: Part, *, forgotten: bool = False) -> None:
        """`forgotten`: the server does not know the operation any more."""
        part.is_finished = not forgotten
        self._write("forgotten" if forgotten else "finished", part.request_id)

    def settled(self, part: Part, as_asked: int) -> None:
        part.is_settled = True
        self._write("verified", part.request_id, as_asked=as_asked)

    def done(self) -> None:
        self.is_done = True
        self._write("done", None)

    def _write(self, event: str, request_id: str | None, **more: Any) -> None:
        if self.file is None:
            return
        about = {} if request_id is None else {"request_id": request_id}
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = {"format": _FORMAT, "version": _VERSION, "plan": self.plan, "event": event, "time": now, **about, **more}
        data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        end = self.file.seek(0, os.SEEK_END)
        try:
            while data:
                data = data[self.file.write(data) :]
            os.fsync(self.file.fileno())
        except OSError:
            # Half a line would make the next one unreadable.
            with contextlib.suppress(OSError):
                self.file.truncate(end)
            raise

    def _read(self, path: str) -> None:
        assert self.file is not None
        content = self.file.read()
        whole, end, cut = content.rpartition(b"\n")
        if cut:  # the process ended in the middle of this line
            self.file.truncate(len(whole) + len(end))
        for number, line in enumerate(whole.split(b"\n") if whole else [], 1):
            try:
                entry = json.loads(line)
                if entry["format"] != _FORMAT or entry["version"] != _VERSION:
                    raise ValueError
                if entry["plan"] == self.plan:
                    self._take(entry)
            except (ValueError, TypeError, KeyError, StopIteration):
                raise ValueError(f"{path!r}, line {number}: no line of a journal") from None

    def _take(self, entry: dict[str, Any]) -> None:
        event = entry["event"]
        if event == "done":
            self.is_done = True
        elif event == "starting":
            self.parts.append(Part([str(id) for id in entry["objects"]], str(entry["request_id"])))
        else:
            part = next(part for part in self.parts if part.request_id == entry["request_id"])
            if event == "not-started":
                self.parts.remove(part)
            elif event == "started":
                part.bulk_id = str(entry["bulkId"])
            elif event in ("finished", "forgotten"):
                part.is_finished = event == "finished"
            elif event == "verified":
                part.is_settled = True


def _lock(file: IO[bytes]) -> None:
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
            raise  # a file system without locks
        raise LockedError from error


def _sync_folder(path: str) -> None:
    """A new file is on the disk when its folder is."""
    if os.name == "posix":
        descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError:
            pass  # some file systems have no such thing
        finally:
            os.close(descriptor)
