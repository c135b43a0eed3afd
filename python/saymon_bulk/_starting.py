"""The body and the request id of a start: search and bulk as JSON, checked before anything is sent."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from math import isfinite

from .errors import SaymonError

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import TracebackType

    from typing_extensions import Self

    from ._client import Client
    from ._types import BulkStart

# What a whole request body has, as the vendor's page shows it. Criteria have neither.
_BODY = {"search", "bulk"}

# Bits of an int whose digits Python writes in any case: 4300 digits (sys.get_int_max_str_digits).
_LONGEST_INT = 14_000


def request_id() -> str:
    """A random UUID for X-Request-Id."""
    return str(uuid.uuid4())


class Interruptible:
    """An awaited start. What ends it otherwise than by its outcome tells that the start may have happened."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._is_begun = False
        self.request_id = request_id()

    def begun(self, start: Awaitable[BulkStart]) -> Awaitable[BulkStart]:
        """From here on the request may be sent. What a call refuses before is "not started"."""
        self._is_begun = True
        return start

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None or isinstance(error, SaymonError):
            return
        if isinstance(error, Exception) and not self._is_begun:
            return
        raised = self._client._start_interrupted(error, self.request_id)
        if raised is not error:
            raise raised from error


def body(search: object, bulk: object, every_object: object) -> bytes:
    """The JSON body of `POST /node/api/bulk/objects`."""
    return joined(criteria(search, every_object), changes(bulk))


def joined(criteria: bytes, changes: bytes) -> bytes:
    return b'{"search":' + criteria + b',"bulk":' + changes + b"}"


def criteria(search: object, every_object: object) -> bytes:
    if not isinstance(every_object, bool):
        raise TypeError(f"every_object must be a bool, not {type(every_object).__name__}")
    if not isinstance(search, Mapping):
        raise TypeError(f"search must be a mapping, not {type(search).__name__}")
    if search and every_object:
        raise ValueError("every_object=True goes with an empty search: it means every object of the installation")
    if not search and not every_object:
        raise ValueError("search is empty, which means every object of the installation; if so, add every_object=True")
    if search and (set(search) <= _BODY or set(search) >= _BODY):
        raise ValueError(f"search must be the criteria alone, not an object with {' and '.join(map(repr, search))}")
    return _json("search", search)


def changes(bulk: object) -> bytes:
    if not isinstance(bulk, (list, tuple)):
        raise TypeError(f"bulk must be a list or a tuple of mappings, not {type(bulk).__name__}")
    if not bulk:
        raise ValueError("bulk must not be empty")
    for place, change in enumerate(bulk):
        if not isinstance(change, Mapping):
            raise TypeError(f"bulk[{place}] must be a mapping, not {type(change).__name__}")
        if not change:
            raise ValueError(f"bulk[{place}] must not be empty")
    return _json("bulk", bulk)


def _json(argument: str, value: object) -> bytes:
    import json  # which a clone does without

    try:
        _check(argument, value, ())
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=dict)
    except RecursionError:
        raise ValueError(f"{argument} is nested too deeply") from None
    return text.encode()


def _check(place: str, value: object, outer: tuple[int, ...]) -> None:
    """Refuse what JSON cannot hold, by its place. `json` itself turns a name 1 into "1" and tells no place."""
    if isinstance(value, str):
        _check_text(place, value)
    elif isinstance(value, (Mapping, list, tuple)):
        if id(value) in outer:
            raise ValueError(f"{place} holds itself")
        outer = (*outer, id(value))
        if isinstance(value, Mapping):
            for name, inner in value.items():
                if not isinstance(name, str):
                    raise TypeError(f"{place} has a name that is not a str: {type(name).__name__}")
                _check_text(f"a name in {place}", name)
                _check(f"{place}[{name!r}]", inner, outer)
        else:
            for number, inner in enumerate(value):
                _check(f"{place}[{number}]", inner, outer)
    elif isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{place} is {value}, which JSON does not have")
    elif not (value is None or isinstance(value, int)):
        raise TypeError(f"{place} must be a value that JSON has, not {type(value).__name__}")
    elif value is not None and value.bit_length() > _LONGEST_INT:
        raise ValueError(f"{place} is an integer of too many digits")


def _check_text(place: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{place} holds a lone surrogate, which UTF-8 does not have") from None
