"""The bodies of starts and searches as JSON, checked before anything is sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from math import isfinite

from .errors import SaymonError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any, Callable

    from ._core import Client
    from ._types import BulkStart

# The names in a request body, as the vendor's pages show it. Criteria have none of them.
_BODY_NAMES = {"search", "bulk", "options"}

# An int of so many bits has fewer digits than the 4300 that Python writes by default (sys.get_int_max_str_digits).
_MAX_INT_BITS = 14_000

# Deeper values could be sent, and not be read again: an answer may have 128 levels.
_MAX_DEPTH = 120

# As a search it means every object, as a change nothing.
_EMPTY_OBJECT = b"{}"


def request_id() -> str:
    """A random UUID for X-Request-Id."""
    return str(uuid.uuid4())


async def awaited(
    client: Client, start: Callable[[Any, str], Awaitable[BulkStart]], what: object, id: str | None = None
) -> BulkStart:
    """An awaited start. An exception that ends it before its outcome is known says "perhaps started"."""
    id = id or request_id()
    begun: list[Awaitable[BulkStart]] = []
    try:
        # One step of the interpreter: a signal's handler can raise between two, after the request has begun.
        begun.extend(map(start, [what], [id]))
        return await begun[0]
    except BaseException as error:
        is_begun = bool(begun)
        begun.clear()  # which drops the request, also while a traceback keeps this frame
        if isinstance(error, SaymonError) and error._request_id == id:  # its outcome
            raise
        if isinstance(error, Exception) and not is_begun:  # of `start` itself, which has sent nothing
            raise
        raised = client._start_interrupted(error, id)
        if raised is error:
            raise
        raise raised from error


def checked(search: object, bulk: object, every_object: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The arguments of a start as plain dicts and lists. What is checked is this copy, not what a mapping gives later."""
    return start_criteria(search, every_object), changes(bulk)


def body(search: object, bulk: object, every_object: object) -> bytes:
    """The JSON body of `POST /node/api/bulk/objects`."""
    criteria, changes = checked(search, bulk, every_object)
    return joined(_encoded(criteria), list(map(_encoded, changes)), every_object is True)


def search_body(search: object, fields: object, include_client_data: object) -> tuple[bytes, set[str] | None]:
    """The JSON body of `POST /node/api/objects/search`, and the fields to keep of each object."""
    if not isinstance(include_client_data, bool):
        raise TypeError(f"include_client_data must be a bool, not {type(include_client_data).__name__}")
    options = b',"options":{"includeClientData":true}' if include_client_data else b""
    return b'{"search":' + _encoded(criteria(search)) + options + b"}", _fields(fields)


def _fields(fields: Any) -> set[str] | None:
    if fields is None:
        return None
    if isinstance(fields, (str, bytes)) or not isinstance(fields, Iterable):
        raise TypeError(f"fields must be an iterable of str, not {type(fields).__name__}")
    names = set()
    for place, name in enumerate(fields):
        if not isinstance(name, str):
            raise TypeError(f"fields: item {place} must be a str, not {type(name).__name__}")
        names.add(_text(f"fields: item {place}", name))
    return names


def joined(criteria: bytes, changes: list[bytes], every_object: bool) -> bytes:
    # The last check, of the bytes that are sent: only `every_object` may send an empty search.
    if (criteria == _EMPTY_OBJECT) is not every_object:
        raise ValueError(f"search changed while it was read: it would be sent as {criteria[:40].decode(errors='replace')}")
    if not changes or _EMPTY_OBJECT in changes:
        raise ValueError("bulk would be sent with an empty change, or without any")
    return b'{"search":' + criteria + b',"bulk":[' + b",".join(changes) + b"]}"


def start_criteria(search: object, every_object: object) -> dict[str, Any]:
    if not isinstance(every_object, bool):
        raise TypeError(f"every_object must be a bool, not {type(every_object).__name__}")
    found = criteria(search)
    if found and every_object:
        raise ValueError("every_object=True goes with an empty search: it means every object of the installation")
    if not found and not every_object:
        raise ValueError("search is empty, which means every object of the installation; if so, add every_object=True")
    return found


def criteria(search: object) -> dict[str, Any]:
    """The criteria as plain dicts and lists. An empty search is allowed here."""
    if not isinstance(search, Mapping):
        raise TypeError(f"search must be a mapping, not {type(search).__name__}")
    found: dict[str, Any] = _copy("search", search)
    if found and (found.keys() <= _BODY_NAMES or found.keys() >= {"search", "bulk"}):
        raise ValueError(f"search must be the criteria alone, not an object with {' and '.join(map(repr, found))}")
    return found


def changes(bulk: object) -> list[dict[str, Any]]:
    if not isinstance(bulk, (list, tuple)):
        raise TypeError(f"bulk must be a list or a tuple of mappings, not {type(bulk).__name__}")
    found: list[dict[str, Any]] = _copy("bulk", bulk)
    if not found:
        raise ValueError("bulk must not be empty")
    for place, change in enumerate(found):
        if not isinstance(change, dict):
            raise TypeError(f"bulk[{place}] must be a mapping, not {type(change).__name__}")
        if not change:
            raise ValueError(f"bulk[{place}] must not be empty")
    return found


def _encoded(value: dict[str, Any]) -> bytes:
    import json  # which a clone does without

    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _copy(place: str, value: Any, outer: tuple[int, ...] = ()) -> Any:
    """The value in dict, list, str, int, float, bool and None alone. What JSON cannot hold is refused by its place.

    The copy is what is encoded. `json` itself turns a name 1 into "1" and tells no place. Of a subclass it
    reads what the base class stores, which need not be what the methods of the subclass give.
    """
    # The type decides, not isinstance: a proxy object only pretends to be a str.
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        return _text(place, value)
    if issubclass(kind, int):
        number = int.__int__(value)
        if number.bit_length() > _MAX_INT_BITS:
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
    if len(outer) == _MAX_DEPTH:
        raise ValueError(f"{place.partition('[')[0]} is nested too deeply")
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
