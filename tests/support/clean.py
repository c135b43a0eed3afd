"""An error is read whole: no spelling of a secret may stand in it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import saymon_bulk
from peer import token

PACKAGE = str(Path(saymon_bulk.__file__).parent)


def spellings(login: str, password: str) -> set[str]:
    """Every form in which a reader would have the secret in hand."""
    basic = token(login, password)
    return {
        password,
        quote(password),
        password.encode("unicode_escape").decode(),
        password.encode().decode("latin-1"),
        repr(password.encode())[2:-1],
        basic,
        basic.rstrip("="),
        quote(basic, safe=""),
        f"{login}:{password}",
    }


def texts(error: BaseException) -> Iterator[tuple[str, str]]:
    """Whatever can be read from an error: (where, what)."""
    left: list[BaseException] = [error]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield "str", str(one)
        yield "repr", repr(one)
        yield "args", repr(one.args)
        yield "__dict__", repr(vars(one))
        yield "__reduce__", repr(one.__reduce__())
        for name in dir(one):
            value = getattr(one, name, None)
            if not name.startswith("__") and not callable(value):
                yield name, f"{value} {value!r}"
        for frame, line in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename.startswith(PACKAGE):
                yield f"a local of line {line}", repr(frame.f_locals)
        left += [e for e in (one.__cause__, one.__context__) if e is not None]


def assert_clean(error: BaseException, login: str, password: str) -> None:
    secrets = spellings(login, password)
    for where, text in texts(error):
        found = [secret for secret in secrets if secret in text]
        assert not found, f"{where}: {text}"
