"""Text of a server on one line, in messages and tables."""

from __future__ import annotations


def plain(text: str) -> str:
    """The text on one line, without what a terminal obeys: control characters and marks of direction are escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text)


def cut(text: str, width: int = 40) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
