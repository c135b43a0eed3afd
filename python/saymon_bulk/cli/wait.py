"""The commands `start`, `clone`, `status` and `wait`, with the progress and the hint how to go on with a wait."""

from __future__ import annotations

import os
import sys
import time

from .._client import INTERVAL, MAX_INTERVAL
from ..errors import ResponseError, SaymonError, WaitTimeoutError
from .inputs import checked, client_of, is_word, job_of
from .options import OF_A_WAIT, Options
from .output import (
    ERROR,
    FINISHED,
    UNCERTAIN,
    Errors,
    code,
    emit,
    in_words,
    interrupted,
    is_terminal,
    listed,
    note,
    note_all,
    print_json,
    quoted,
    report,
    show,
    worst,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable, TextIO

    from .._client import Client
    from .._core import Step
    from .._types import BulkStart

# Seconds between two looks at the clock, between two drawings of the bar, and between two lines off a terminal.
_CLOCK_PAUSE, BAR_PAUSE, LINE_PAUSE = 0.5, 0.1, 60.0

# Columns of the bar: at most, and below which there is none.
_MAX_BAR, _MIN_BAR = 40, 10

_MAX_IDS_IN_HINT = 10

_NONE = ("", "")  # no trouble

# What a hint repeats of a command, besides host, login and ids.
_REPEATED = ("password_stdin", "cacert", "cert", "key", "insecure", "request_timeout", *OF_A_WAIT, "concurrency")


def status(client: Client, ids: list[str], options: Options) -> int:
    """A wait with timeout 0. Its answers come one by one, so a server that is silent about one id delays no other line."""
    left, codes, errors = set(ids), [], Errors(len(ids))

    def tell(id: str, outcome: Any) -> None:
        # A second outcome of an id that is printed only says that the wait has ended: by time, or by a 401.
        if id in left:
            left.remove(id)
            codes.append(report(id, outcome, options, errors))

    def on_step(step: Step | None) -> None:
        if step is not None:
            tell(step.id, step.error or step.status)
        note_all(errors.lines())

    if options.verbose:
        _leave_polling_out_of_the_log()
    waits = client._waits(ids, (0.0, INTERVAL, MAX_INTERVAL, 0, options.concurrency), True, on_step, _CLOCK_PAUSE)
    try:
        for id, outcome in waits:
            tell(id, outcome)
            if not left:
                break
    finally:
        waits.close()
        note_all(errors.lines(is_end=True))
    return worst(codes)


def _leave_polling_out_of_the_log() -> None:
    """A time-out on a kept connection is tolerated even if `retries` is 0, and its line in the log speaks of polling."""
    import logging

    logging.getLogger("saymon_bulk").addFilter(lambda record: "polling goes on" not in str(record.msg))


def wait(client: Client, ids: list[str], options: Options, untold: str | None = None) -> int:
    """`untold` is a line that nobody has seen yet. It is printed if the wait is interrupted."""
    left = dict.fromkeys(ids, False)
    begin, is_interrupted = time.monotonic(), False
    try:
        code = _follow(client, options, left)
    except KeyboardInterrupt as interrupt:
        if untold:
            note(untold)
        code, is_interrupted = interrupted(interrupt), True
    if left and not options.quiet:
        note(f"{_states(left)}. To go on waiting:")
        show(f"  {_command(left, client, options, with_timeout=is_interrupted)}\n")
    elif any(left.values()) and not is_interrupted:
        # For cron, which mails what stands on stderr. What is unknown has its error there.
        running = [id for id, is_known in left.items() if is_known]
        note(f"{len(running):,} of {len(ids):,} still running after {clock(time.monotonic() - begin)}: {listed(running)}")
    return code


def _follow(client: Client, options: Options, left: dict[str, bool]) -> int:
    """Report each operation as its wait ends. `left` keeps those to wait for, and whether each is known to run."""
    codes, errors = [], Errors(len(left))
    polling = (options.timeout, options.interval, options.max_interval, options.retries, options.concurrency)
    bar = Progress(len(left), options)

    def on_step(step: Step | None) -> None:
        if step is not None:
            bar.trouble = _trouble(step, options.retries)
            if not step.is_over:
                left[step.id] = step.error is None
        for text in errors.lines():
            bar.clear()
            note(text)
        bar.tick()

    waits = client._waits(list(left), polling, True, on_step, _CLOCK_PAUSE)
    try:
        with bar:
            for id, outcome in waits:
                bar.clear()
                codes.append(report(id, outcome, options, errors))
                if isinstance(outcome, WaitTimeoutError):
                    left[id] = outcome._is_running(id)
                else:
                    del left[id]
                    bar.done += 1
                bar.tick()
    finally:
        waits.close()
        note_all(errors.lines(is_end=True))
    return worst(codes)


def _trouble(step: Step, retries: int) -> tuple[str, str]:
    """What the progress says after a failure that is tolerated: in a sentence, and in few letters."""
    if step.error is None or step.is_over:
        return _NONE
    status_code = getattr(step.error, "status_code", None)
    what = f"answers {status_code}" if status_code else "does not answer"
    return f", server {what}, {step.failures} of {retries}", f", {status_code or 'down'} {step.failures}/{retries}"


class Progress:
    """How far a wait is: one line that is written over on a terminal, else a line a minute."""

    def __init__(self, total: int, options: Options) -> None:
        is_wanted = not (options.quiet or options.verbose)  # the log's lines would run into it
        self.total, self.done, self.trouble = total, 0, _NONE
        self._is_trouble_told = False
        # A dumb terminal, such as the window of an editor, writes no line over.
        self._is_bar = is_wanted and is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._pause = BAR_PAUSE if self._is_bar else LINE_PAUSE if is_wanted else float("inf")
        self._start = self._shown = time.monotonic()
        self._width = 0
        if self._is_bar:
            self._draw()

    def tick(self) -> None:
        """Show what is new, if it is time. Trouble that begins is told at once."""
        now = time.monotonic()
        is_told, self._is_trouble_told = self._is_trouble_told, self.trouble != _NONE
        is_news = self._is_trouble_told and not is_told and self._pause == LINE_PAUSE
        if now - self._shown < self._pause and not is_news:
            return
        self._shown = now
        if self._is_bar:
            self._draw()
        else:
            text = f"{self.done} of {self.total} done after {clock(now - self._start)}"
            note(text + self.trouble[0])

    def _draw(self) -> None:
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns
        except OSError:
            columns = 0
        # Some terminals begin a new line behind the last column; before it, there is room for a ^C.
        width = max(1, (columns or 80) - 3)
        text = line(self.done, self.total, clock(time.monotonic() - self._start), self.trouble, width)
        show("\r" + text.ljust(min(self._width, width)))
        self._width = len(text)

    def clear(self) -> None:
        """Make room for a result."""
        if self._width:
            show("\r" + " " * self._width + "\r")
            self._width = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt and self._is_bar:
            show("\n")  # the terminal has put its ^C into the bar's line
        else:
            self.clear()


def line(done: int, total: int, elapsed: str, trouble: tuple[str, str], width: int) -> str:
    """The progress in so many columns. What is least needed goes first: the bar, then words, then the clock."""
    count, (words, letters) = f"{done} of {total} done", trouble
    free = width - len(f"{count} [] {elapsed}{words}")
    if free >= _MIN_BAR:
        length = min(free, _MAX_BAR)
        full = length * done // total
        return f"{count} [{'#' * full}{'-' * (length - full)}] {elapsed}{words}"
    text = f"{done}/{total}"
    shorter = [f"{count}, {elapsed}{words}", f"{count}, {elapsed}{letters}", f"{text} {elapsed}{letters}", text + letters]
    return next((text for text in shorter if len(text) <= width), text[:width])


def clock(seconds: float) -> str:
    """5 is 0:05, 3723 is 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _states(left: dict[str, bool]) -> str:
    """`left` has the ids whose wait has not ended, and whether each is known to run."""
    running = sum(left.values())
    counts = [(running, "still running on the server"), (len(left) - running, "not known to have finished")]
    return ", ".join(f"{count} {state}" for count, state in counts if count)


def _command(left: Iterable[str], client: Client, options: Options, *, with_timeout: bool) -> str:
    """The command line that goes on, with what this one had from the environment; without a timeout that was too short."""
    words = [*_program(), "wait", "--host", options.host, "--login", client.login]
    for name in _REPEATED:
        value = getattr(options, name)
        if value != getattr(Options, name) and (with_timeout or name != "timeout"):
            words.append("--" + name.replace("_", "-"))
            if value is not True:
                words.append("none" if value is None else f"{value:.15g}" if isinstance(value, float) else str(value))
    left = list(left)
    if len(left) <= _MAX_IDS_IN_HINT:
        return quoted([*words, "--", *left])
    if options.ids_files and all(map(_can_be_read_again, options.ids_files)) and not options.ids:
        return quoted([*words, *(word for path in options.ids_files for word in ("--ids", path))])
    if options.password_stdin:  # which has taken stdin
        return quoted([*words, "--ids", "FILE"])
    return f"… | {quoted([*words, '-'])}"


def _can_be_read_again(path: str) -> bool:
    """Whether a file of ids is still there for the next command: stdin and pipes are not."""
    return path != "-" and not path.startswith(("/dev/", "/proc/")) and os.path.isfile(path)


def _program() -> list[str]:
    """This program, by its name alone where that finds it."""
    from shutil import which

    path = sys.argv[0]
    if path.endswith("__main__.py"):
        return [sys.executable, "-m", "saymon_bulk"]
    name = os.path.basename(path)
    return [name if which(name) == path else path]


# start and clone. Everything is checked before a password is asked for, where possible


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
    from .. import _start_body  # which a wait does without

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
    from .. import _start_body

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
