"""The body and the request id of a start: search and bulk as JSON, checked before anything is sent."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from math import isfinite

from .errors import SaymonError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import TracebackType
    from typing import Any, Callable

    from typing_extensions import Self

    from ._types import BulkStart

# What a whole request body has, as the vendor's page shows it. Criteria have neither.
_BODY = {"search", "bulk"}

# Bits of an int whose digits Python writes in any case: 4300 digits (sys.get_int_max_str_digits).
_LONGEST_INT = 14_000

# A search for every object, and a change of nothing.
_NOTHING = b"{}"


def request_id() -> str:
    """A random UUID for X-Request-Id."""
    return str(uuid.uuid4())


class Interruptible:
    """An awaited start. What ends it otherwise than by its outcome tells that the start may have happened."""

    def __init__(self, interrupted: Callable[[BaseException, str], BaseException]) -> None:
        self._interrupted = interrupted
        self._begun: list[Awaitable[BulkStart]] = []
        self.request_id = request_id()

    def begin(self, start: Callable[[Any, str], Awaitable[BulkStart]], what: object) -> Awaitable[BulkStart]:
        """From here on the request may be sent. What the call refuses is "not started"."""
        # In one step: a signal's handler may raise between two, and the request be sent meanwhile.
        self._begun.extend(map(start, [what], [self.request_id]))
        return self._begun[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        is_begun = bool(self._begun)
        self._begun.clear()  # which drops the request, also while a traceback keeps this object
        if error is None or isinstance(error, SaymonError):
            return
        if isinstance(error, Exception) and not is_begun:
            return
        raised = self._interrupted(error, self.request_id)
        if raised is not error:
            raise raised from error


def body(search: object, bulk: object, every_object: object) -> bytes:
    """The JSON body of `POST /node/api/bulk/objects`."""
    return joined(criteria(search, every_object), changes(bulk), every_object is True)


def joined(criteria: bytes, changes: list[bytes], every_object: bool) -> bytes:
    # The last look, at what goes out: whatever the checks have let through, only `every_object` makes it {}.
    if (criteria == _NOTHING) is not every_object:
        raise ValueError(f"search would be sent as {criteria[:40].decode(errors='replace')}, which is not what was given")
    if not changes or _NOTHING in changes:
        raise ValueError("bulk would be sent with an empty change, or without any")
    return b'{"search":' + criteria + b',"bulk":[' + b",".join(changes) + b"]}"


def criteria(search: object, every_object: object) -> bytes:
    if not isinstance(every_object, bool):
        raise TypeError(f"every_object must be a bool, not {type(every_object).__name__}")
    if not isinstance(search, Mapping):
        raise TypeError(f"search must be a mapping, not {type(search).__name__}")
    found = _copied("search", search)
    if found and every_object:
        raise ValueError("every_object=True goes with an empty search: it means every object of the installation")
    if not found and not every_object:
        raise ValueError("search is empty, which means every object of the installation; if so, add every_object=True")
    if found and (found.keys() <= _BODY or found.keys() >= _BODY):
        raise ValueError(f"search must be the criteria alone, not an object with {' and '.join(map(repr, found))}")
    return _encoded("search", [found])[0]


def changes(bulk: object) -> list[bytes]:
    """Each change in JSON."""
    if not isinstance(bulk, (list, tuple)):
        raise TypeError(f"bulk must be a list or a tuple of mappings, not {type(bulk).__name__}")
    found = _copied("bulk", bulk)
    if not found:
        raise ValueError("bulk must not be empty")
    for place, change in enumerate(found):
        if not isinstance(change, dict):
            raise TypeError(f"bulk[{place}] must be a mapping, not {type(change).__name__}")
        if not change:
            raise ValueError(f"bulk[{place}] must not be empty")
    return _encoded("bulk", found)


def _encoded(argument: str, values: list[Any]) -> list[bytes]:
    import json  # which a clone does without

    encoder = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    try:
        return [encoder.encode(value).encode() for value in values]
    except RecursionError:
        raise _too_deep(argument) from None


def _copied(argument: str, value: object) -> Any:
    """The value in dict, list, str, int, float, bool and None alone, checked.

    The copy is what is encoded. Of a subclass, `json` reads what the base
    class stores, which need not be what the methods of the subclass give.
    """
    try:
        return _copy(argument, value, ())
    except RecursionError:
        raise _too_deep(argument) from None


def _too_deep(argument: str) -> ValueError:
    return ValueError(f"{argument} is nested too deeply")


def _copy(place: str, value: Any, outer: tuple[int, ...]) -> Any:
    """Refuses what JSON cannot hold, by its place. `json` itself turns a name 1 into "1" and tells no place."""
    # Of a scalar the type decides: a proxy only says that it is a str.
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        return _text(place, value)
    if issubclass(kind, int):
        number = int.__int__(value)
        if number.bit_length() > _LONGEST_INT:
            raise ValueError(f"{place} is an integer of too many digits")
        return number
    if issubclass(kind, float):
        fraction = float.__float__(value)
        if not isfinite(fraction):
            raise ValueError(f"{place} is {fraction}, which JSON does not have")
        return fraction
    if not isinstance(value, (Mapping, list, tuple)):
        raise TypeError(f"{place} must be a value that JSON has, not {kind.__name__}")
    if id(value) in outer:
        raise ValueError(f"{place} holds itself")
    outer = (*outer, id(value))
    found: Any = {} if isinstance(value, Mapping) else []
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not issubclass(type(name), str):
                raise TypeError(f"{place} has a name that is not a str: {type(name).__name__}")
            name = _text(f"a name in {place}", name)
            if name in found:
                raise ValueError(f"{place} has the name {name!r} twice")
            found[name] = _copy(f"{place}[{name!r}]", inner, outer)
    else:
        for number, inner in enumerate(value):
            found.append(_copy(f"{place}[{number}]", inner, outer))
    if len(value) != len(found):
        items = "1 item" if len(found) == 1 else f"{len(found)} items"
        raise ValueError(f"{place} gives {items}, and its length is {len(value)}")
    return found


def _text(place: str, value: str) -> str:
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{place} holds a lone surrogate, which UTF-8 does not have") from None
    return text
