"""The commands `search`, `plan`, `show`, `apply` and `verify`: see, change, check."""

from __future__ import annotations

import contextlib
import os
import sys

from .. import _start_body
from .._client import PART_SIZE, READING
from .._plans import apply as steps_of
from .._plans import compare, file, model, steps, table
from .._text import one_line
from ..errors import NotFoundError, PlanRefusedError, SaymonError
from .inputs import client_of, is_special, job_of, json_of
from .options import OF_A_WAIT
from .output import (
    ERROR,
    FINISHED,
    NOT_AS_ASKED,
    UNCERTAIN,
    code,
    emit,
    emit_json,
    fatal,
    in_words,
    interrupted,
    is_terminal,
    note,
    note_all,
    quoted,
)
from .wait import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .._client import Client
    from .._plans.compare import ObjectChange
    from .options import Options


_NOTHING_FOUND = 'no object matches the search; "name" is the whole name, and a part of it is {"name": {"$regex": "^CPU"}}'


def search(options: Options) -> int:
    assert options.search is not None
    criteria = json_of("--search", options.search, dict, _start_body.criteria)
    fields = [] if options.count else None if options.json else ["name"]
    found = client_of(options).search_objects(criteria, fields=fields)
    if not found and not options.quiet:
        note(_NOTHING_FOUND)
    if options.count:
        emit(str(len(found)))
        return FINISHED
    for one in found:
        if options.json:
            emit_json(one)
        else:
            id, name = one_line(one["id"]), compare.name_of(one)
            emit(id if name is None else f"{id} {one_line(name)}")
    return FINISHED


def plan(options: Options) -> int:
    criteria, bulk = job_of(options)
    if options.out is not None:
        _check_out(options.out)
    compare.wanted(bulk)  # before a password is asked for
    made = client_of(options).plan_bulk(criteria, bulk, every_object=options.every_object)
    is_refused = options.at_most is not None and len(made.changes) > options.at_most
    out = None if is_refused else options.out
    if out is not None:
        made.save(out)
    _show(made, options, out)
    if is_refused:
        unsaved = "" if options.out is None else "; no file was written"
        text = f"refused: {len(made.changes):,} objects to change, and --at-most is {options.at_most:,}{unsaved}"
        return fatal(PlanRefusedError(text, host=made.host, reason="too-many"), options)
    if not options.quiet:
        if not made.matched:
            note(_NOTHING_FOUND)
        elif out is not None and made.changes:
            note(f"nothing has changed yet. To apply the plan: {quoted(['saymon-bulk', 'apply', _word(out)])}")
    return NOT_AS_ASKED if options.exit_code and made.changes else FINISHED


def _check_out(path: str) -> None:
    if path == "-":
        raise ValueError("--out is a file: --json prints the plan")
    if not path:
        raise ValueError("--out: the path is empty")
    if os.path.isdir(path):
        raise ValueError(f"--out: {path} is a folder")
    path = file.target(path)
    if is_special(path):
        raise ValueError(f"--out: {path} is no regular file")
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise ValueError(f"--out: there is no folder {os.path.dirname(path)}")


def show(options: Options) -> int:
    _show(_loaded(options), options, options.plan)
    return FINISHED


def _show(made: model.BulkPlan, options: Options, path: str | None) -> None:
    if not options.json:
        rest = None if path is None else quoted(["saymon-bulk", "show", "--all", _word(path)])
        emit("\n".join(made._lines(_style(options, rest))))
        return
    for change in made.changes:
        emit_json(_masked(change, options))
    emit_json(
        {
            "plan": made.id,
            "host": made.host,
            "created": made.created,
            "matched": made.matched,
            "to_change": len(made.changes),
            "already": len(made.already),
            "notes": made.notes,
        }
    )


def apply(options: Options) -> int:
    if options.journal == "-":
        raise ValueError("--journal is a file: it must outlive the command")
    if options.journal == "":
        raise ValueError("--journal: the path is empty")
    made = _loaded(options)
    journal = options.journal if options.journal is not None else f"{file.target(options.plan)}.log"
    if any(file.is_at(journal, stream) for stream in (sys.stdout, sys.stderr)):
        raise ValueError(f"--journal: the output of this command goes to {journal} too, and would spoil it")
    server = _Shown(client_of(options), options, {name: getattr(options, name) for name in OF_A_WAIT})
    at_most, skip_stale, part_size, settle = options.at_most, options.skip_stale, options.part_size, options.settle
    try:
        report = steps.run(steps_of.apply(server, made, at_most, skip_stale, part_size, journal, settle))
    except PlanRefusedError as error:
        return _refused(error, options, journal)
    except (SaymonError, OSError, KeyboardInterrupt) as error:
        return _stopped(error, journal, options)
    result = _report(report, options)
    if result == NOT_AS_ASKED and not options.quiet:
        note("to try again what is not as asked, make a new plan with the same --search and --bulk")
    return result


def _word(path: str) -> str:
    """A path that no command takes for an option."""
    return f"./{path}" if path.startswith("-") else path


def _stopped(error: SaymonError | OSError | KeyboardInterrupt, journal: str, options: Options) -> int:
    """Print what is known when an error or Ctrl-C ends an apply. The exit code is that of the error alone.

    NOT_AS_ASKED would say that nothing runs any more, and that a new plan is safe.
    """
    known: model.BulkReport | None = getattr(error, "report", None)
    if isinstance(error, KeyboardInterrupt):
        # First: from here on a second signal ends the process, also where nobody reads the report.
        result = interrupted(error)
        _report_known(known, options)
    else:
        _report_known(known, options)
        if known is None:
            raise error
        result = _told(error, options)
    if not options.quiet:
        is_lost = isinstance(error, NotFoundError) and known is not None and not all(one["finished"] for one in known.starts)
        if result == UNCERTAIN or is_lost:
            note("the same command reads the objects again, and goes on once they are as asked")
            note(
                f"if the server runs no such operation: make a new plan, and apply it with another --journal than {journal}"
            )
        elif os.path.isfile(journal):
            note(f"to continue, give the same command again; {journal} remembers what was started")
    return result


def _report_known(known: model.BulkReport | None, options: Options) -> None:
    # Where nothing was read and nothing was started, there is nothing to report.
    if known is not None and (known.starts or any(one.reason != "not-sent" for one in known.not_as_asked)):
        try:
            _report(known, options)
        except OSError:  # nobody reads stdout, or its disk is full
            note_all(table.starts_of(known.starts, _style(options)))


def verify(options: Options) -> int:
    made = _loaded(options)
    server = _Shown(client_of(options), options, READING)
    return _report(steps.run(steps_of.verify(server, made, options.settle, PART_SIZE)), options)


def _loaded(options: Options) -> model.BulkPlan:
    if options.plan == "-":
        raise ValueError("PLAN is a file: a plan on stdin could not be applied again")
    try:
        return model.BulkPlan.load(options.plan)
    except OSError as error:
        raise ValueError(f"PLAN {options.plan}: {error.strerror}") from None


class _Shown(steps.Blocking):
    """Shows each operation that is waited for, for how long, and the reason of each pause."""

    def __init__(self, client: Client, options: Options, polling: Mapping[str, Any]) -> None:
        super().__init__(client, client.wait_for_bulk, {**polling, "on_poll": self._tick})
        self._options = options
        self._told = {""}

    async def pause(self, seconds: float, why: str = "") -> None:
        if why not in self._told and not self._options.quiet:
            self._told.add(why)
            note(why)
        await super().pause(seconds, why)

    async def wait(self, id: str) -> None:
        if not self._options.quiet:
            note(f"waiting for bulk operation {id}")
        with Progress(1, self._options) as self._progress:
            await super().wait(id)

    def _tick(self, *_: object) -> None:
        self._progress.tick()


def _refused(error: PlanRefusedError, options: Options, journal: str) -> int:
    """Why nothing was started, and what to do. Of stale objects it shows how they are now."""
    stale = [] if error.report is None else [one for one in error.report.not_as_asked if one.reason != "not-sent"]
    if options.json:
        with contextlib.suppress(OSError):  # the error says what matters
            for change in stale:
                emit_json({"state": "not-as-asked", **_masked(change, options)})
    else:
        for line in table.states_of(stale, _style(options)):
            note(line)
    result = _told(error, options)
    if not options.quiet and error.reason == "already-applied":
        note(f"to check the objects: {quoted(['saymon-bulk', 'verify', _word(options.plan)])}")
    if not options.quiet and error.reason == "running" and error.objects:
        note(f"this journal is {journal}; --journal names another one")
    return result


def _told(error: Exception, options: Options) -> int:
    """Print an error, also if nobody reads stdout any more: it tells what was started."""
    try:
        return fatal(error, options)
    except BrokenPipeError:
        note(in_words(error, options))
        return code(error)


def _report(report: model.BulkReport, options: Options) -> int:
    if options.json:
        for id in report.as_asked:
            emit_json({"id": id, "state": "as-asked"})
        for state, objects in (("not-as-asked", report.not_as_asked), ("unknown", report.unknown)):
            for one in objects:
                emit_json({"state": state, **_masked(one, options)})
        counts = {"as_asked": len(report.as_asked), "not_as_asked": len(report.not_as_asked), "unknown": len(report.unknown)}
        emit_json({"ok": report.ok, **counts, "starts": list(report.starts)})
    else:
        rest = quoted(["saymon-bulk", "verify", "--all", _word(options.plan)])
        emit("\n".join(report._lines(_style(options, rest))))
    if report.ok:
        return FINISHED
    # NOT_AS_ASKED says that nothing runs any more.
    return NOT_AS_ASKED if report.not_as_asked and all(start["finished"] for start in report.starts) else ERROR


def _masked(one: ObjectChange, options: Options) -> dict[str, Any]:
    found = one.to_dict()
    if not options.show_values:
        for field in found["fields"]:
            field.update(
                {name: table.HIDDEN for name in ("before", "after") if table.is_hidden(field["field"], field[name])}
            )
    return found


def _style(options: Options, rest: str | None = None) -> table.Style:
    width = None
    if is_terminal(sys.stdout):
        with contextlib.suppress(OSError):
            width = os.get_terminal_size(sys.stdout.fileno()).columns or None
    return table.Style(show_values=options.show_values, all_objects=options.all, width=width, rest=rest)
