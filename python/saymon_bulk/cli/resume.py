"""The hint how to go on with a wait that ended early."""

from __future__ import annotations

import os
import sys

from .options import COMMON, WAITING

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._client import Client
    from .options import Options

# More ids than these are not spelt out.
_MANY = 10


def hint(left: dict[str, bool], client: Client, options: Options) -> str:
    """`left` has the ids whose wait has not ended, and whether each is known to run."""
    running = sum(left.values())
    counts = [(running, "still running on the server"), (len(left) - running, "not known to have finished")]
    states = ", ".join(f"{count} {state}" for count, state in counts if count)
    return f"{states}. To go on waiting:\n  {_command(left, client, options)}"


def _command(left: Iterable[str], client: Client, options: Options) -> str:
    """As this command was called, with what it had from the environment spelt out."""
    words = [*_program(), "wait", "--host", options.host, "--login", client.login]
    for name, default in {**COMMON, **WAITING}.items():
        value = getattr(options, name)
        # A wait of no time has done what it can.
        if value != default and name not in ("host", "login") and (name, value) != ("timeout", 0):
            words.append("--" + name.replace("_", "-"))
            if value is not True:
                words.append("none" if value is None else f"{value:.15g}" if isinstance(value, float) else str(value))
    left = list(left)
    if len(left) <= _MANY:
        return _quoted([*words, "--", *left])
    if options.ids_files and all(map(_lasts, options.ids_files)) and not options.ids:
        return _quoted([*words, *(word for path in options.ids_files for word in ("--ids", path))])
    if options.password_stdin:  # which has taken stdin
        return _quoted([*words, "--ids", "FILE"])
    return f"… | {_quoted([*words, '-'])}"


def _lasts(path: str) -> bool:
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


def _quoted(words: list[str]) -> str:
    """The words for the shell that is there."""
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline(words)
    import shlex

    return shlex.join(words)
