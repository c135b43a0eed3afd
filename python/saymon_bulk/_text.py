"""Text of others in messages and tables."""

from __future__ import annotations

# Not printable to Python, and harmless.
_BLANKS = "\xa0\u2007\u202f\u3000"


def one_line(text: str) -> str:
    """The text fit for a terminal: a name or a value forges no second line, and turns no line around."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _BLANKS else c.encode("unicode_escape").decode() for c in text)


def cut(text: str, width: int = 40) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def object_count(count: int) -> str:
    return "1 object" if count == 1 else f"{count:,} objects"
