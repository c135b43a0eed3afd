"""What is made from the parser of the command line: completion scripts, the man page and the page of the commands.

`python tools/shell_files.py` writes the files into the work tree.
"""

from __future__ import annotations

import re
from argparse import SUPPRESS, Action, _SubParsersAction
from collections.abc import Iterable, Iterator
from pathlib import Path

from saymon_bulk.cli.commands import COMMANDS
from saymon_bulk.cli.options import SHELLS
from saymon_bulk.cli.parser import DESCRIPTION, NOTES, build, commands_of

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "python" / "saymon_bulk" / "cli" / "completion"
MAN = ROOT / "saymon_bulk.data" / "data" / "share" / "man" / "man1" / "saymon-bulk.1"

PAGE = ROOT / "docs" / "reference" / "commands.md"

# What else to read.
SEE_ALSO = (("curl", 1), ("flock", 1), ("jq", 1), ("crontab", 5), ("systemd.timer", 5))

SUMMARY = "see, change and check objects of SAYMON by bulk operations"


def made() -> dict[Path, str]:
    """The content of each file."""
    return {MAN: man_page(), PAGE: page(), **{SCRIPTS / f"saymon-bulk.{shell}": script(shell) for shell in SHELLS}}


def script(shell: str) -> str:
    import shtab

    top = build()
    for one in [top, *commands_of(top).values()]:
        for action in one._actions:
            if action.metavar in ("FILE", "PATH", "PLAN"):
                vars(action)["complete"] = shtab.FILE
    return str(shtab.complete(top, shell=shell)).rstrip() + "\n"


# The man page: what man(7) calls for, each option once.


def man_page() -> str:
    top, inner = build(), commands_of(build())
    lines = ['.TH SAYMON\\-BULK 1 "" saymon\\-bulk "User Commands"', ".SH NAME", "saymon\\-bulk \\- " + roff(SUMMARY)]
    lines += [".SH SYNOPSIS", ".nf", *(roff(str(one.usage)) for one in inner.values()), ".fi"]
    lines += [".SH DESCRIPTION", roff(DESCRIPTION), ".SH COMMANDS"]
    common = {action.dest for action in top._actions}
    for name, one in inner.items():
        lines += [f".SS {roff(name)}", roff(COMMANDS[name].text)]
        lines += described(action for action in one._actions if action.dest not in common)
        lines += paragraphs(COMMANDS[name].notes or "")
    lines += [".SH COMMON OPTIONS", "They may stand before the command, too."]
    lines += described(action for action in top._actions if not isinstance(action, _SubParsersAction))
    lines += [".SH EXAMPLES", *examples()]
    for title, text in NOTES.items():
        lines += [f".SH {title.upper()}", *paragraphs(text)]
    lines += [".SH SEE ALSO", ",\n".join(f"\\fB{roff(name)}\\fR({number})" for name, number in SEE_ALSO)]
    return "\n".join(lines) + "\n"


def examples() -> Iterator[str]:
    for name, command in COMMANDS.items():
        yield f".SS {roff(name)}"
        for comment, line in command.examples:
            yield from (".PP", roff(comment) + ":", ".PP", ".RS 4", ".nf", *map(roff, line.splitlines()), ".fi", ".RE")


def described(actions: Iterable[Action]) -> Iterator[str]:
    for action in actions:
        if action.help != SUPPRESS:
            value = f" \\fI{roff(str(action.metavar))}\\fR" if action.nargs != 0 else ""
            names = ", ".join(f"\\fB{roff(name)}\\fR" for name in action.option_strings)
            yield from (".TP", names + value if names else value.strip(), roff(action.help or ""))


def paragraphs(text: str) -> Iterator[str]:
    """A paragraph a line; a line of two columns is an item of a list."""
    for line in text.splitlines():
        item = re.match(r"  (\S+)  +(.*)", line)
        if item:
            yield from (".TP", f"\\fB{roff(item[1])}\\fR", roff(item[2]))
        elif line:
            yield from (".PP", roff(line))


def roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped)


# The page of the site.


def page() -> str:
    top, inner = build(), commands_of(build())
    lines = ["# Commands", "", "From the parser, as `saymon-bulk --help` and `man saymon-bulk` are.", ""]
    lines += ["| Command | What it does |", "| --- | --- |"]
    lines += [f"| [`{name}`](#{name}) | {COMMANDS[name].summary} |" for name in inner]
    common = {action.dest for action in top._actions}
    for name, one in inner.items():
        lines += ["", f"## {name}", "", f"`{one.usage}`", "", COMMANDS[name].text, ""]
        lines += rows(action for action in one._actions if action.dest not in common)
        for comment, line in COMMANDS[name].examples:
            lines += [f"{comment[0].upper()}{comment[1:]}:", "", "```sh", line, "```", ""]
        del lines[-1]
    lines += ["", "## Common options", "", "Every command has them. They may stand before the command, too.", ""]
    lines += rows(action for action in top._actions if not isinstance(action, _SubParsersAction))
    return "\n".join(lines).rstrip() + "\n"


def rows(actions: Iterable[Action]) -> Iterator[str]:
    shown = [action for action in actions if action.help != SUPPRESS]
    if shown:
        yield from ("| Option | Meaning |", "| --- | --- |")
        for action in shown:
            value = f" {action.metavar}" if action.nargs != 0 else ""
            names = [f"`{name}{value}`" for name in action.option_strings] or [f"`{value.strip()}`"]
            yield f"| {', '.join(names)} | {(action.help or '').replace('|', chr(92) + '|')} |"
        yield ""


if __name__ == "__main__":
    for path, text in made().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
