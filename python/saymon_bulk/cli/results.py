"""How a result is printed, in words or in JSON, and which exit code it has."""

from __future__ import annotations

from ..errors import AuthError, SaymonError, StartUncertainError, WaitTimeoutError
from .streams import emit, note

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._types import BulkStatus
    from .options import Options

FINISHED, ERROR, USAGE, NOT_AUTHORISED, RUNNING, UNCERTAIN = 0, 1, 2, 4, 8, 9
BY_SIGNAL = 128  # plus the signal's number, as shells count


def report(id: str | None, outcome: BulkStatus | SaymonError, options: Options) -> int:
    """Print how it stands with one operation, and return the exit code of that; a failed start has no id."""
    if options.json:
        print_json(id, outcome, options)
    elif not isinstance(outcome, SaymonError):
        emit(f"{id} {'finished' if outcome['finished'] else 'running'}")
    elif isinstance(outcome, WaitTimeoutError) and id:
        emit(f"{id} {'running' if is_running(id, outcome) else 'unknown'}")
        if not is_running(id, outcome):
            note(_text(outcome, options))
    else:
        note(_text(outcome, options))
    return code(outcome)


def fatal(error: Exception, options: Options) -> int:
    """Print an error that ends the command, and return its exit code."""
    if options.json:
        try:
            print_json(getattr(error, "id", None), error, options)
            return code(error)
        except OSError as trouble:
            if isinstance(trouble, BrokenPipeError):
                raise
    note(_text(error, options))
    return code(error)


def print_json(id: str | None, outcome: Mapping[str, object] | Exception, options: Options) -> None:
    from .objects import of_error, of_status

    if isinstance(outcome, Exception):
        emit(_json(of_error(id, outcome, _text(outcome, options))))
    else:
        emit(_json(of_status(id, outcome)))


def _json(value: object) -> str:
    import json
    import sys

    try:
        return json.dumps(value)
    except ValueError:
        if sys.version_info < (3, 11):
            raise
        # An integer of the server's is longer than PYTHONINTMAXSTRDIGITS lets Python write.
        limit = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(0)
        try:
            return json.dumps(value)
        finally:
            sys.set_int_max_str_digits(limit)


def _text(error: Exception, options: Options) -> str:
    from .words import in_words

    return in_words(error, options)


def is_running(id: str, late: WaitTimeoutError) -> bool:
    """Whether an operation ran when it was last asked for; a poll that failed tells nothing."""
    return bool(late.pending.get(id)) and id not in late.failures


def code(outcome: BulkStatus | Exception) -> int:
    if isinstance(outcome, AuthError):
        return NOT_AUTHORISED
    if isinstance(outcome, WaitTimeoutError):
        return RUNNING if all(is_running(id, outcome) for id in outcome.pending) else ERROR
    if isinstance(outcome, StartUncertainError):
        return UNCERTAIN
    if isinstance(outcome, (SaymonError, OSError, RuntimeError)):
        return ERROR
    if isinstance(outcome, Exception):  # a warning, if PYTHONWARNINGS makes it an error
        return USAGE
    return FINISHED if outcome["finished"] else RUNNING


def worst(codes: list[int]) -> int:
    return next((code for code in (NOT_AUTHORISED, ERROR, RUNNING) if code in codes), FINISHED)
