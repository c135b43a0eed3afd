"""The commands `start` and `clone`. Everything is checked before a password is asked for, where possible."""

from __future__ import annotations

import os
import sys

from .. import _start_body
from ..errors import ResponseError, SaymonError
from .credentials import client_of
from .inputs import checked, is_word, job_of
from .output import ERROR, FINISHED, UNCERTAIN, code, emit, in_words, is_terminal, note, print_json, quoted, report, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TextIO

    from .._client import Client
    from .._types import BulkStart
    from .options import Options


def start(options: Options) -> int:
    is_clone = options.command == "clone"
    what: Any = checked(options.object_id, "OBJECT_ID") if is_clone else _body(options)
    terminal = _terminal() if options.every_object and not options.yes else None
    client = client_of(options)
    if terminal and not _is_meant(terminal, client):
        note("not started")
        return ERROR
    outcomes: list[BulkStart | SaymonError] = []
    try:
        _send_once(client._start_clone if is_clone else client._start_bulk, what, outcomes)
        return _go_on(outcomes[0], client, options)
    except BaseException as error:
        if not outcomes:
            raise
        return _unread(outcomes[0], error)


def _send_once(send: Callable[[Any, str], BulkStart], what: object, outcomes: list[BulkStart | SaymonError]) -> None:
    try:
        # One step of the interpreter: a Ctrl-C that comes with the answer cannot take it away.
        outcomes.extend(map(send, [what], [_start_body.request_id()]))
    except SaymonError as error:
        outcomes.append(error)


def _unread(outcome: BulkStart | SaymonError, error: BaseException) -> int:
    """Print an outcome that nobody may have read: stdout has failed, or Ctrl-C came with the answer."""
    note(in_words(outcome) if isinstance(outcome, SaymonError) else _started(outcome))
    if not isinstance(error, OSError) or isinstance(error, BrokenPipeError):
        raise error
    note(error)
    return code(outcome) if isinstance(outcome, SaymonError) else UNCERTAIN  # 1 would mean not started


def _go_on(outcome: BulkStart | SaymonError, client: Client, options: Options) -> int:
    """Print what came of a start, then wait if that is wanted."""
    if isinstance(outcome, SaymonError):
        result = report(None, outcome, options)
        if result == UNCERTAIN and options.bulk and not (options.quiet or options.json):
            note(f"to see what is left to change: {_plan(options)}")
        return result
    id = outcome["bulkId"]
    if not is_word(id):
        # A script hands it on as a word, and --ids=FILE would send the lines of a file to the server.
        if options.json:
            print_json(None, ResponseError(_started(outcome)), options)
        else:
            note(_started(outcome))
        return UNCERTAIN
    if (options.wait and not options.quiet) or sys.__stdout__ is None:  # None: closed by the caller
        note(_started(outcome))
    if options.json:
        print_json(id, outcome, options)
    elif not options.wait:
        emit(id)
    if not options.wait:
        return FINISHED
    from .wait import wait

    return wait(client, [id], options, _started(outcome) if options.quiet else None)


def _plan(options: Options) -> str:
    """The plan with the criteria and the changes of a start. stdin is gone by now, and JSON may hold secrets."""
    search = options.search
    if not all(value is None or os.path.isfile(value) for value in (search, options.bulk)):
        return "make a plan with the same --search and --bulk"
    criteria = ["--every-object"] if search is None else ["--search", search]
    return quoted(["saymon-bulk", "plan", *criteria, "--bulk", options.bulk])


def _started(start: BulkStart) -> str:
    id = start["bulkId"]
    if is_word(id):
        return f"started bulk operation {id if id.isprintable() else repr(id)}"
    return f"started a bulk operation with the id {id!r}, which is not safe in a shell: look at the server"


def _body(options: Options) -> bytes:
    """The request body that the two files make, checked."""
    criteria, changes = job_of(options)
    return _start_body.body(criteria, changes, options.every_object)


def _terminal() -> TextIO:
    """The terminal, to read an answer from: stdin may hold a file."""
    if is_terminal(sys.stderr):
        try:
            return open("/dev/tty", errors="replace")
        except OSError:
            if is_terminal(sys.stdin):  # as on Windows
                return sys.stdin
    raise ValueError("--every-object asks on the terminal whether it is meant; without a terminal, add --yes")


def _is_meant(terminal: TextIO, client: Client) -> bool:
    question = f'This changes every object of {client.host}. To start, type "yes": '
    answer = ""
    try:
        show(question)
        with terminal:
            answer = terminal.readline()
    finally:
        if not answer:
            show("\n")  # ends the question's line
    return answer.strip() == "yes"
