"""The files of the command line. What is wrong with one is a ValueError that names the file."""

from __future__ import annotations

import errno
import os
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    _Encoded = TypeVar("_Encoded", bytes, list[bytes])

_KINDS: dict[type, str] = {dict: "object", list: "list"}


def encoded(path: str, kind: type, encode: Callable[[Any], _Encoded]) -> _Encoded:
    """What `encode` makes of the value in a file; "-" is stdin."""
    import json

    name, text = name_of(path), text_of(path)
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


def name_of(path: str) -> str:
    return "stdin" if path == "-" else path


def text_of(path: str) -> str:
    """The text of a file in UTF-8; Windows begins one with a BOM, and its PowerShell 5 writes UTF-16."""
    name = name_of(path)
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        # Windows refuses a directory for want of a permission.
        reason = os.strerror(errno.EISDIR) if os.path.isdir(path) else error.strerror or error
        raise ValueError(f"{name}: {reason}") from None
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            raise ValueError(f"{name}: not UTF-16, as its byte order mark says") from None
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
