"""Plan, apply, verify, step by step. An apply names the objects of the plan by id, and reads them again right before."""

from __future__ import annotations

import contextlib
import math
import sys
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _start_body
from .._text import cut, object_count, one_line
from ..errors import HTTPStatusError, NotFoundError, PlanRefusedError, ResponseError, SaymonError, StartUncertainError
from . import compare
from .compare import FieldChange, ObjectChange, compared, name_of
from .journal import Journal, LockedError, Part
from .model import BulkPlan, BulkReport
from .steps import Blocking

if TYPE_CHECKING:
    from .._types import Event, Reason, Refusal

# Seconds between the reads of objects that are not as asked, since reads may come from a cache: 1, 2, 4, 8, 8 and so on.
_LONGEST_PAUSE = 8


async def plan(server: Blocking, search: Any, bulk: Any, every_object: Any) -> BulkPlan:
    """Reads what the search finds, and compares."""
    criteria, changes = _start_body.checked(search, bulk, every_object)
    wishes = compare.wanted(changes)
    found = await server.search(criteria, compare.fields_to_read(wishes))
    to_change: list[ObjectChange] = []
    already: list[str] = []
    lacking: Counter[str] = Counter()
    read_write: set[str] = set()
    for place, one in enumerate(found):
        fields, untold = compared(one, wishes)
        lacking.update(untold)
        if not fields and not untold:
            already.append(one["id"])
        else:
            to_change.append(ObjectChange(one["id"], name_of(one), fields))
            read_write.update(wish.name for wish in wishes if compare.is_read_write(one, wish))
        found[place] = None  # a hundred thousand objects take much memory
    return BulkPlan(
        id=str(uuid.uuid4()),
        host=server.client.host,
        search=criteria,
        bulk=changes,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        matched=len(found),
        changes=tuple(to_change),
        already=tuple(already),
        notes=_notes(wishes, read_write, {name for name in lacking if lacking[name] == len(found)}) if to_change else (),
    )


def _notes(wishes: Sequence[compare.Wanted], read_write: set[str], missing: set[str]) -> tuple[str, ...]:
    notes = [f"a change of the ReadWrite property {name!r} may run operations on the server" for name in sorted(read_write)]
    notes += [f"the list {name!r} is probably replaced as a whole" for name in compare.replaced_lists(wishes)]
    names = [wish.name for wish in wishes if wish.part is None and wish.field in missing]
    return (*notes, *(f"no object that was found has the field {name!r} in the answer; is it misspelt?" for name in names))


async def verify(server: Blocking, plan: BulkPlan, settle: float, part_size: int) -> BulkReport:
    """Reads the objects of a plan again, and compares."""
    _check_seconds("settle", settle)
    check, host = _Check(server, plan, part_size), server.client.host
    _check_host(plan, host)
    try:
        await check.verify(check.ids, settle)
    except _CriterionIgnoredError as error:
        raise ResponseError(f"{host}: {error}", host=host) from None
    return check.report()


def _check_host(plan: BulkPlan, host: str) -> None:
    if plan.host != host:
        raise _refused(host, "other-server", f"the plan is for {one_line(plan.host)}")


def _refused(host: str, reason: Refusal, text: str, objects: Sequence[str] = ()) -> PlanRefusedError:
    return PlanRefusedError(f"{host}: {text}. This call started nothing", host=host, reason=reason, objects=objects)


def _check_count(argument: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{argument} must be an int, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{argument} must be at least {least}")


def _check_seconds(argument: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{argument} must be a number of seconds, not {type(value).__name__}")
    if not 0 <= value <= sys.float_info.max:
        raise ValueError(f"{argument} must be a finite number of seconds, 0 or more")


async def apply(
    server: Blocking,
    plan: BulkPlan,
    at_most: int | None,
    skip_stale: bool,
    part_size: int,
    path: str | PathLike[str] | None,
    settle: float,
) -> BulkReport:
    """Starts the operations of a plan, part by part, and checks each. Whatever ends it carries the report so far."""
    if at_most is not None:
        _check_count("at_most", at_most, 0)
    if not isinstance(skip_stale, bool):
        raise TypeError(f"skip_stale must be a bool, not {type(skip_stale).__name__}")
    _check_count("part_size", part_size, 1)
    if not isinstance(path, (str, PathLike, type(None))):
        raise TypeError(f"journal must be a path or None, not {type(path).__name__}")
    _check_seconds("settle", settle)
    check, host = _Check(server, plan, part_size), server.client.host
    journal = Journal(plan.id)
    try:
        _check_host(plan, host)
        if at_most is not None and len(check.ids) > at_most:
            raise _refused(host, "too-many", f"the plan changes {object_count(len(check.ids))}, more than {at_most:,}")
        try:
            journal.open(path)
        except LockedError:
            check.set_unknown(check.ids)
            raise _refused(host, "running", "another apply holds the journal") from None
        await _Apply(server, journal, check, skip_stale, settle).run()
        return check.report(journal.parts)
    except BaseException as error:
        with contextlib.suppress(Exception):  # of a class that takes no attributes
            error.report = check.report(journal.parts)  # type: ignore[attr-defined]
        raise
    finally:
        journal.close()


class _Apply:
    def __init__(self, server: Blocking, journal: Journal, check: _Check, skip_stale: bool, settle: float) -> None:
        self.server, self.journal, self.check = server, journal, check
        self.skip_stale, self.settle = skip_stale, settle
        self.host = server.client.host
        self.earlier = journal.parts
        for part in self.earlier:
            check.set_unknown(part.ids)

    async def run(self) -> None:
        if self.journal.is_done_with(self.check.ids):
            self.check.set_unknown(self.check.ids)
            text = (
                "the plan was applied already, as the journal says; a verify tells whether its objects are as asked, and a"
                " new plan changes those that are not"
            )
            raise _refused(self.host, "already-applied", text)
        try:
            is_over = await self.all_parts()
        except _CriterionIgnoredError as error:
            if len(self.journal.parts) > len(self.earlier):
                raise ResponseError(f"{self.host}: {error}", host=self.host) from None
            raise _refused(self.host, "criterion-ignored", str(error)) from None
        if is_over:
            named = self.journal.named
            self.note("done", left_out=[id for id in self.check.ids if id not in named])

    async def all_parts(self) -> bool:
        """Whether nothing is left to start."""
        is_clean = await self.follow(self.earlier)
        named = self.journal.named
        ids = [id for id in self.check.ids if id not in named]
        if not is_clean:
            return not ids
        others = self.journal.unverified_elsewhere(ids)
        # With its reads, since a read right after the end may come from a cache.
        await self.follow([part for part in others if part.bulk_id is not None])
        ids = [id for id in ids if not self.check.is_as_asked(id)]
        self.check.set_unsent(ids)
        send, stale = await self.check.compare_with_plan(ids)
        self.refuse_doubts([*send, *stale], [part for part in others if not part.is_verified])
        if stale and not self.skip_stale:
            text = f"{object_count(len(stale))} changed since the plan was made, or gone: {_named(stale)}"
            raise _refused(self.host, "stale", text, stale)
        left = deque(send)
        while left:
            ids = [left.popleft() for _ in range(min(self.check.reader.most, len(left)))]
            # Once more: the parts before may have taken hours.
            send, stale = await self.check.compare_with_plan(ids)
            if stale and not self.skip_stale:
                return False
            # An empty list of ids is never sent.
            if send and not (await self.carry_out(send, left)):
                return not left
        return True

    def refuse_doubts(self, ids: Sequence[str], uncertain: Sequence[Part]) -> None:
        """Refuses a plan of which an operation of an earlier plan may still change objects."""
        named = {id: part.request_id for part in uncertain for id in part.ids}
        doubtful = [id for id in ids if id in named]
        if doubtful:
            self.check.set_unknown(doubtful)
            text = (
                f"an operation of an earlier plan in this journal (X-Request-Id {named[doubtful[0]]}) perhaps runs, and"
                f" changes {object_count(len(doubtful))} of this plan: {_named(doubtful)}. If the server runs no such"
                " operation, give another journal"
            )
            raise _refused(self.host, "running", text, doubtful)

    async def carry_out(self, ids: list[str], left: deque[str]) -> bool:
        """One part: start, wait, verify. Whether it is clean. If it is too long, its ids go back to those that are left."""
        body = _start_body.body({"id": {"$in": ids}}, self.check.bulk, False)
        part = self.journal.starting(ids, _start_body.request_id())
        try:
            await self.server.pause(0)
        except BaseException:
            with contextlib.suppress(OSError):
                self.journal.tell("not-started", part)
            raise
        self.check.set_unknown(ids)
        try:
            answer = await self.server.start(body, part.request_id)
        except SaymonError as error:
            if error._request_id != part.request_id:  # a signal's handler has raised it after the start
                raise
            if isinstance(error, StartUncertainError):
                if error.id is not None:  # the answer had come
                    with contextlib.suppress(OSError):
                        self.journal.tell("started", part, bulkId=error.id)
                raise
            self.check.set_unsent(ids)
            self.note_not_started(part, error)
            if not _is_too_long(error) or len(ids) == 1:
                raise
            self.check.reader.most = (len(ids) + 1) // 2
            left.extendleft(reversed(ids))
            return True
        self.note("started", part, bulkId=answer["bulkId"])
        if answer["finished"]:
            self.note("finished", part)
        return await self.follow([part])

    async def follow(self, parts: Sequence[Part]) -> bool:
        """Waits for the operations of parts, if need be, and tells what became of their objects. Whether all are clean."""
        for part in parts:
            self.check.set_unknown(part.ids)
        unknown = await self.wait(parts)
        # Objects whose lines were deleted from the plan do not count, unless their operation may still run.
        ids = {part.request_id: [id for id in part.ids if not part.is_finished or id in self.check] for part in parts}
        every = [id for part in parts for id in ids[part.request_id]]
        await self.check.verify(every, self.settle)
        is_clean, lost = True, None
        for part in parts:
            outcomes = self.check.outcomes(ids[part.request_id])
            is_as_asked = all(outcome is True for outcome in outcomes)
            if part.bulk_id is None and not (is_as_asked or part.is_verified):
                text = (
                    f"{self.host}: start of a bulk operation (X-Request-Id {part.request_id}): perhaps started by an earlier"
                    " apply; its objects are not all as asked yet; this apply started nothing. If the server runs no such"
                    " operation, make a new plan, and apply it with another journal"
                )
                raise StartUncertainError(text, host=self.host, request_id=part.request_id)
            is_own = part.plan == self.journal.plan
            if part.request_id in unknown and not (is_own and is_as_asked):
                # Another node of the server may know it. So it stays open, as an uncertain start does. What this plan asks
                # for tells nothing of the start of another one.
                if is_own:
                    lost = unknown[part.request_id]
                continue
            if not part.is_verified:
                self.note("verified", part, as_asked=outcomes.count(True))
            is_clean &= is_as_asked or (part.is_finished and False not in outcomes)
        if lost is not None:
            raise lost
        return is_clean

    async def wait(self, parts: Sequence[Part]) -> dict[str, NotFoundError]:
        """Waits for the operations that may still run. Returns those that the server does not know, by their starts."""
        unknown = {}
        for part in parts:
            # Without an id there is nothing to wait for.
            if part.bulk_id is None or part.is_finished or part.is_verified:
                continue
            try:
                await self.server.wait(part.bulk_id)
            except NotFoundError as error:
                if error.id != part.bulk_id:  # an on_poll has asked for something else
                    raise
                unknown[part.request_id] = error
            else:
                self.note("finished", part)
        return unknown

    def note(self, event: Event, part: Part | None = None, **more: Any) -> None:
        """Writes a line of the journal after a start that was made."""
        try:
            self.journal.tell(event, part, **more)
        except OSError as error:
            made = self.journal.parts if part is None else [part]
            if not made:
                raise
            id = made[-1].bulk_id
            text = f"{self.host}: bulk operation {one_line(str(id))} was started, and the journal cannot be written: {error}"
            raise SaymonError(text, host=self.host, id=id) from error

    def note_not_started(self, part: Part, start: SaymonError) -> None:
        try:
            self.journal.tell("not-started", part)
        except OSError as error:
            text = f"{start}; and the journal cannot be written, so that the next apply will not be sure: {error}"
            raise SaymonError(text, host=self.host) from start


class _CriterionIgnoredError(Exception):
    """A search for ids has found others. A start by the same search would change everything."""


class _Reader:
    """Reads objects by their ids, in spite of some failures."""

    def __init__(self, server: Blocking, fields: set[str], most: int) -> None:
        self._server, self._fields = server, fields
        polling = server.polling
        self._retries: int = polling["retries"]
        self._interval = float(polling["interval"])
        self._max_interval = max(float(polling["max_interval"]), self._interval)
        self._timeout = math.inf if polling["timeout"] is None else float(polling["timeout"])
        self._has_answered = False
        self.most = most
        """The most ids of one body. It is halved when one was too long."""

    async def read(self, ids: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        start = 0
        while start < len(ids):
            part = list(ids[start : start + self.most])
            try:
                found.update(await self._part(part))
            except HTTPStatusError as error:
                if not _is_too_long(error) or len(part) == 1:
                    raise
                self.most = (len(part) + 1) // 2
            else:
                start += len(part)
        return found

    async def _part(self, ids: list[str]) -> dict[str, Any]:
        failures, pause, spent = 0, self._interval, 0.0
        while True:
            try:
                objects = await self._server.search({"id": {"$in": ids}}, self._fields)
                break
            except SaymonError as error:
                longer = max(pause, getattr(error, "retry_after", None) or 0)
                if failures >= self._retries or spent + longer > self._timeout or not self._tolerates(error):
                    raise
                failures += 1
                await self._server.pause(longer, "the server has not answered a read, which is tried again")
                spent, pause = spent + longer, min(1.5 * pause, self._max_interval)
        self._has_answered = True
        found = {one["id"]: one for one in objects}
        others = found.keys() - set(ids)
        if others:
            which = f"{object_count(len(ids))} by id has found {len(others):,} others"
            raise _CriterionIgnoredError(f"a search for {which}: the server ignores the search")
        return found

    def _tolerates(self, error: SaymonError) -> bool:
        # As a wait: before the first good answer the name or the protocol may be wrong.
        return error.transient and (self._has_answered or getattr(error, "kind", None) not in ("dns", "tls"))


class _Check:
    """What is known of each object of a plan."""

    def __init__(self, server: Blocking, plan: Any, part_size: int) -> None:
        if not isinstance(plan, BulkPlan):
            raise TypeError(f"plan must be a BulkPlan, not {type(plan).__name__}")
        # A copy: what is compared is what is sent, whatever becomes of the dicts of the plan.
        _, self.bulk = _start_body.checked(plan.search, plan.bulk, not plan.search)
        self._wishes = compare.wanted(self.bulk)
        self._changes = {change.id: change for change in plan.changes}
        if len(self._changes) != len(plan.changes):
            raise ValueError("plan has an object twice")
        self._wish_of = {wish.field: wish for wish in self._wishes}
        for change in plan.changes:
            for one in change.fields:
                if one.field not in self._wish_of or not self._wish_of[one.field].is_met_by(one.after):
                    raise ValueError(
                        f"the plan's change of {one.field!r} of {_named([change.id])} is not what its bulk asks for"
                    )
        self._server = server
        self.reader = _Reader(server, compare.fields_to_read(self._wishes), part_size)
        self._outcomes: dict[str, _Outcome] = {}
        self.set_unsent(self._changes)

    @property
    def ids(self) -> list[str]:
        return list(self._changes)

    def __contains__(self, id: str) -> bool:
        return id in self._changes

    def report(self, parts: Iterable[Part] = ()) -> BulkReport:
        outcomes = [self._outcomes[id] for id in self._changes]
        return BulkReport(
            as_asked=tuple(one.change.id for one in outcomes if one.is_met),
            not_as_asked=tuple(one.change for one in outcomes if one.is_met is False),
            unknown=tuple(one.change for one in outcomes if one.is_met is None),
            starts=tuple(part.to_dict() for part in parts),
        )

    def set_unsent(self, ids: Iterable[str]) -> None:
        for id in ids:
            planned = self._planned(id)
            self._outcomes[id] = _Outcome(False, ObjectChange(id, planned.name, planned.fields, "not-sent"))

    def set_unknown(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._outcomes[id] = _Outcome(None, ObjectChange(id, self._planned(id).name))

    def is_as_asked(self, id: str) -> bool:
        return self._outcomes[id].is_met is True

    def outcomes(self, ids: Iterable[str]) -> list[bool | None]:
        return [self._outcomes[id].is_met for id in ids]

    async def verify(self, ids: Sequence[str], settle: float) -> None:
        """Reads objects until they are as asked, or the time to settle is over."""
        pause, spent, left = 1, 0, list(ids)
        while left:
            found = await self.reader.read(left)
            for id in left:
                self._outcomes[id] = self._outcome(self._planned(id), found.get(id))
            left = [id for id in left if self._outcomes[id].is_met is False]
            if not left or spent + pause > settle:
                break
            await self._server.pause(pause, f"objects that are not as asked are read again, for {settle:g} s at most")
            spent, pause = spent + pause, min(2 * pause, _LONGEST_PAUSE)

    async def compare_with_plan(self, ids: Sequence[str]) -> tuple[list[str], list[str]]:
        """Reads objects again: those to send, and those that have changed since. What is as asked already is left out."""
        found = await self.reader.read(ids)
        send, stale = [], []
        for id in ids:
            planned, now = self._planned(id), found.get(id)
            outcome = self._outcome(planned, now)
            if outcome.is_met:
                self._outcomes[id] = outcome
            elif now is not None and self._is_as_planned(planned, now):
                send.append(id)
            else:
                reason: Reason = "gone" if now is None else "other-value"
                change = ObjectChange(id, outcome.change.name, outcome.change.fields, reason)
                self._outcomes[id] = _Outcome(False, change)
                stale.append(id)
        return send, stale

    def _planned(self, id: str) -> ObjectChange:
        # The journal may name objects whose lines were deleted from the plan.
        return self._changes.get(id) or ObjectChange(id, None)

    def _is_as_planned(self, planned: ObjectChange, now: Mapping[str, Any]) -> bool:
        fields = {one.field: one for one in planned.fields}
        for wish in self._wishes:
            found, before = wish.found_in(now), fields.get(wish.field)
            if before is not None:
                if not wish.as_before(found, before.before, before.created):
                    return False
            # What the plan does not name was as asked, or could not be told.
            elif found is not compare.Absent.UNKNOWN and not wish.is_met_by(found):
                return False
        return True

    def _is_as_before(self, found: FieldChange, seen: FieldChange | None) -> bool:
        return seen is not None and self._wish_of[found.field].as_before(found.before, seen.before, seen.created)

    def _outcome(self, planned: ObjectChange, now: Mapping[str, Any] | None) -> _Outcome:
        if now is None:
            return _Outcome(False, ObjectChange(planned.id, planned.name, (), "gone"))
        fields, untold = compared(now, self._wishes)
        name = name_of(now) or planned.name
        if fields:
            before = {one.field: one for one in planned.fields}
            is_unchanged = all(self._is_as_before(one, before.get(one.field)) for one in fields)
            reason: Reason = "unchanged" if is_unchanged else "other-value"
            return _Outcome(False, ObjectChange(planned.id, name, fields, reason))
        if untold:
            return _Outcome(None, ObjectChange(planned.id, name, (), "not-in-answer"))
        return _Outcome(True, ObjectChange(planned.id, name))


class _Outcome(NamedTuple):
    """Whether an object is as asked, None if it cannot be told; and how it is."""

    is_met: bool | None
    change: ObjectChange


def _is_too_long(error: SaymonError) -> bool:
    return isinstance(error, HTTPStatusError) and error.status_code == 413


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 1:,} more" if len(ids) > 1 else ""
    return f"{cut(repr(ids[0]), 80)}{more}"
