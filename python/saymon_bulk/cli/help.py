"""The help: short (-h) and complete (--help), and what both the help and the man page tell beside the options."""

from __future__ import annotations

import os
import re
import textwrap
from argparse import SUPPRESS, HelpFormatter

from .commands import COMMANDS
from .options import COMMAND_LIST, COMMON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping, Sequence

WIDTH = 80  # of the help at most

DESCRIPTION = "See which objects a SAYMON bulk operation would change, start it, wait for its end, and check the objects."

JSON_KEYS = {
    "id": "the operation, or null",
    "finished": "true; false if it still runs; null if that is not known",
    "error": "the class of the error, or null",
    "message": "what went wrong, or null",
    "status_code": "the HTTP status of the error, or null",
    "transient": "true after an error that may pass: a wait goes on after it",
}

EXIT_STATUS = {
    "0": "all finished, or all as asked; without --wait, started",
    "1": "an error, or unknown; without --wait, not started",
    "2": "wrong usage",
    "3": "some objects are not as asked; with plan --exit-code, something is to change",
    "4": "not authorised",
    "5": "refused: nothing was started",
    "8": "not finished yet",
    "9": "perhaps started: give an apply again, else look at the server first; or the started id is not safe in a shell",
    "129": "the terminal hung up",
    "130": "interrupted (Ctrl-C)",
    "141": "nobody reads the output",
    "143": "terminated",
}

ENVIRONMENT = {
    "SAYMON_HOST": "the server, if --host is not given",
    "SAYMON_LOGIN": "the login, if --login is not given",
    "SAYMON_PASSWORD": "the password of that login",
    "SAYMON_PASSWORD_FILE": "a file that holds this password and nothing else",
    "SAYMON_CERT": "a client certificate, if --cert is not given",
    "SAYMON_KEY": "its private key",
    "NETRC": "a file to read in place of ~/.netrc",
    "SSL_CERT_FILE": "a file of CA certificates, in place of the system's",
    "SSL_CERT_DIR": "a directory of them",
    "https_proxy": "the proxy for https hosts; for others http_proxy; for all all_proxy",
    "no_proxy": "the hosts that are reached without a proxy",
    "TERM": "dumb: the progress is lines, not a bar",
}

FILES = {"~/.netrc": "login and password of a host, if no variable has them"}

# Of the man page: what else to read.
SEE_ALSO = (("curl", 1), ("flock", 1), ("jq", 1), ("crontab", 5), ("systemd.timer", 5))


def _table(rows: Mapping[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"  {name:{width}}  {text}" for name, text in rows.items())


# Of all commands, in the order of the help: what each section says. A paragraph is one line; the formatter breaks it.
NOTES = {
    "times": "TIME is 90 (seconds), 90s, 500ms, 5m, 1.5h or 1h30m.",
    "password": (
        "The password comes from stdin (--password-stdin), else from SAYMON_PASSWORD, else from the file that "
        "SAYMON_PASSWORD_FILE names, else from netrc, else it is asked for on the terminal. The variables are used if there "
        "is a login: a password belongs to a login."
    ),
    "json": (
        "With --json, stdout has one JSON object a line, for errors too. Its keys are promised; other fields of the server "
        f"follow them:\n{_table(JSON_KEYS)}\nsearch prints the objects of the server; plan, apply and verify print an "
        "object a line, and the counts last. A wrong option or a missing argument is told in words, on stderr."
    ),
    "environment": _table(ENVIRONMENT),
    "files": _table(FILES),
    "exit status": (
        "Of several operations, the first of 4, 1 and 8 is the exit status. An apply that an error ends has that of the "
        f"error:\n{_table(EXIT_STATUS)}"
    ),
    "notes": (
        'The server chooses an id, so a script writes -- before it: saymon-bulk wait -- "$id".\n'
        "The operations go on, on the server. Finished does not mean succeeded: the server reports only that the operation "
        "has ended."
    ),
}


def complete(parser: ArgumentParser, examples: Sequence[tuple[str, str]], notes: str | None) -> str:
    """All there is to say; what every command has stands last."""
    formatter = _formatter(parser)
    _add_groups(formatter, parser, common=False)
    formatter.add_text(_examples(examples))
    _add_groups(formatter, parser, common=True)
    sections = NOTES if notes is None else {"": notes}
    formatter.add_text("\n\n".join(f"{title}:\n{text}" if title else text for title, text in sections.items()))
    return formatter.format_help()


def short(parser: ArgumentParser, examples: Sequence[tuple[str, str]], notes: str | None) -> str:
    """What this command alone has."""
    formatter = _formatter(parser)
    _add_groups(formatter, parser, common=False)
    formatter.add_text(_examples(examples))
    groups = [group for group in parser._action_groups if group.title in COMMON]
    names = [action.option_strings[0] for group in groups for action in group._group_actions if action.help != SUPPRESS]
    if names:
        text = f"Common options: {' '.join(names)}\n"
        formatter.add_text(f"{text}What they do, and the exit status: {parser.prog} --help")
    elif notes:
        formatter.add_text(notes)
    return formatter.format_help()


def _formatter(parser: ArgumentParser) -> HelpFormatter:
    formatter = parser._get_formatter()
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups)
    formatter.add_text(parser.description)
    return formatter


def _add_groups(formatter: HelpFormatter, parser: ArgumentParser, *, common: bool) -> None:
    for group in parser._action_groups:
        if group.title == COMMAND_LIST:
            if not common:
                formatter.add_text(f"{COMMAND_LIST}:\n" + _table({name: one.summary for name, one in COMMANDS.items()}))
        elif (group.title in COMMON) is common:
            formatter.start_section(group.title)
            formatter.add_text(group.description)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()


def _examples(examples: Sequence[tuple[str, str]]) -> str:
    lines = "\n".join(f"# {comment}\n{line}" for comment, line in examples)
    return "examples:\n" + textwrap.indent(lines, "  ")


class Formatter(HelpFormatter):
    """Breaks no word, and keeps the lines of a text. A line of a table goes on below its second column."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(line for paragraph in text.splitlines() for line in _wrapped(paragraph, width) or [""])

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrapped(text, width)


def _columns() -> int:
    """The width of the terminal, up to a limit."""
    try:
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
    except (ValueError, OSError):
        columns = 0
    return min(columns, WIDTH) if columns > 0 else WIDTH


# The first column of a table, whose words single blanks part.
_COLUMN = re.compile(r" +\S+(?: \S+)* {2,}")


def _wrapped(text: str, width: int) -> list[str]:
    if re.match(r"  (?:  )?(?:saymon-bulk|id=|eval|export|jq|--)\b", text):
        return [text]  # a command line, to be copied
    found = _COLUMN.match(text)
    indent = "  # " if text.startswith("  # ") else " " * (found.end() if found else len(text) - len(text.lstrip()))
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
