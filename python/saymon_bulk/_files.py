"""The JSON files of the command line. What is wrong with one is a ValueError that names the file."""

from __future__ import annotations

import sys
from codecs import BOM_UTF8

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from typing import Any, Callable

_KINDS: dict[type, str] = {dict: "object", list: "list"}


def encoded(path: str, kind: type, encode: Callable[[Any], bytes]) -> bytes:
    """What `encode` makes of the value in a file; "-" is stdin."""
    import json

    name = "stdin" if path == "-" else path
    text = _text(path, name)
    try:
        value = json.loads(text, object_pairs_hook=_object)
        if not isinstance(value, kind):
            raise ValueError(f"must hold a JSON {_KINDS[kind]}")
        return encode(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}, line {error.lineno}, column {error.colno}: no JSON: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{name}: nested too deeply") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from None


def _text(path: str, name: str) -> str:
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror or error}") from None
    data = data.removeprefix(BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{name}, line {line}: not UTF-8") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name!r} stands twice in one object")
        found[name] = value
    return found
