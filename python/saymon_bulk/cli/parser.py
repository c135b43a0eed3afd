"""Reads the command line, and prints its help. The common options stand before or after the command."""

from __future__ import annotations

import os
import re
import sys
from argparse import SUPPRESS, Action, ArgumentParser, HelpFormatter, _SubParsersAction

from .._core import __version__
from .._text import one_line
from .commands import COMMANDS, EXAMPLES, Command
from .options import ANYWHERE, COMMAND_LIST, COMMON, NO_PASSWORD, Options, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, NoReturn

# The name of an option, up to "=", ":" or a blank. Nothing else is shown: it may be a password.
_NAME = re.compile("(--[A-Za-z]?[a-z]*(?:[-_][a-z]+)*)(?:[=: ]|$)")

# What argparse takes for a value or an id.
_NEGATIVE = re.compile(r"-\d+|-\d*\.\d+")

# What other programs call it.
_SYNONYMS = {"help": "--help", "version": "--version", "-V": "--version", "run": "start", "poll": "wait", "list": "status"}


def parse(words: Sequence[str]) -> Options:
    main = build()
    _check_options(main, words)
    options, rest = main.parse_known_args(words, Options())
    if "ids" in vars(options):
        # argparse takes no ids behind an option that stands behind an id, nor a -- there.
        if "--" in rest:
            rest.remove("--")
        options.ids = [*options.ids, *rest]
    elif rest:
        takes = COMMANDS[options.command].extra
        commands_of(main)[options.command].error(f"unrecognized arguments: {options.command} takes {takes}")
    options.given = set(vars(options))
    environment = {"host": os.environ.get("SAYMON_HOST", ""), "login": os.environ.get("SAYMON_LOGIN")}
    vars(options).update({**environment, **vars(options)})
    return options


def build() -> Parser:
    main = Parser(None, prog="saymon-bulk", usage="saymon-bulk COMMAND [OPTION]... [ARGUMENT]...")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", title=COMMAND_LIST, required=True, prog="saymon-bulk")
    main.add_argument("--version", action="version", version=f"saymon-bulk {__version__}", help="print the version")
    for add in ANYWHERE:
        add(main)
    _add_help(main)
    for name, command in COMMANDS.items():
        usage = f"saymon-bulk {name} [OPTION]... {command.takes}"
        parser = commands.add_parser(name, usage=usage, help=command.summary, command=command)
        for add in command.options:
            add(parser)
        _add_help(parser)
    return main


def _add_help(parser: Parser) -> None:
    parser.add_argument("-h", action=_Help, dest=SUPPRESS, help="print the short help")
    parser.add_argument("--help", action=_Help, dest=SUPPRESS, help="print the complete help")


def commands_of(main: ArgumentParser) -> dict[str, Parser]:
    return next(dict(action.choices) for action in main._actions if isinstance(action, _SubParsersAction))


class _Help(Action):
    """-h prints the short help, --help the complete one."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: ArgumentParser, _: object, __: object, name: str | None = None) -> None:
        assert isinstance(parser, Parser)
        parser._print_message(parser.format_short_help() if name == "-h" else parser.format_help(), sys.stdout)
        parser.exit()


class Parser(ArgumentParser):
    """The parser of one command, or of all if `command` is None."""

    def __init__(self, command: Command | None, **more: Any) -> None:
        # No abbreviations: --password X would be one of --password-stdin, and X an id.
        super().__init__(add_help=False, allow_abbrev=False, formatter_class=Formatter, **more)
        self.command = command
        self.examples = EXAMPLES if command is None else command.examples
        self.notes = None if command is None else command.notes
        self._positionals.title = "arguments"

    def format_help(self) -> str:
        """All there is to say; what every command has stands last."""
        formatter = self._begun_help()
        _add_groups(formatter, self, common=True)
        sections = NOTES if self.notes is None else {"": self.notes}
        formatter.add_text("\n\n".join(f"{title}:\n{text}" if title else text for title, text in sections.items()))
        return formatter.format_help()

    def format_short_help(self) -> str:
        """What this command alone has."""
        formatter = self._begun_help()
        groups = [group for group in self._action_groups if group.title in COMMON]
        names = [action.option_strings[0] for group in groups for action in group._group_actions if action.help != SUPPRESS]
        if names:
            text = f"Common options: {' '.join(names)}\n"
            formatter.add_text(f"{text}What they do, and the exit status: {self.prog} --help")
        elif self.notes:
            formatter.add_text(self.notes)
        return formatter.format_help()

    def _begun_help(self) -> HelpFormatter:
        """What both helps begin with."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(DESCRIPTION if self.command is None else self.command.text)
        _add_groups(formatter, self, common=False)
        formatter.add_text(_examples(self.examples))
        return formatter

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


# Wrong words


def _check_options(main: Parser, words: Sequence[str]) -> None:
    """Refuses the first word that is no option, by its name alone: its value may be a password.

    argparse would repeat the value, take it for an id, or for the command.
    """
    parser, rest = main, iter(words)
    for word in rest:
        if word == "--":
            return
        if _is_option(word):
            if _takes_next(parser, word) and _is_option(next(rest, "--")):
                return  # argparse says that the value is missing
        elif parser is main:
            commands = commands_of(main)
            if word not in commands:
                # Behind an option, the word may be meant as its value.
                main.error(_no_command(word if word is words[0] and word.isalpha() else None, commands))
            parser = commands[word]


def _no_command(word: str | None, commands: Iterable[str]) -> str:
    *names, last = commands
    text = f"COMMAND must be {', '.join(names)} or {last}"
    return text if word is None else f"{text}, not {word!r}{_meant(word, [*names, last])}"


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and _NEGATIVE.fullmatch(word) is None


def _takes_next(parser: Parser, word: str) -> bool:
    """Whether the next word is the value of this option. Refuses what is no option, and a value where none belongs."""
    is_long = word.startswith("--")
    name, equals, _ = word.partition("=")
    names = [name] if is_long else [f"-{letter}" for letter in word[1:]]
    flag = None
    for place, name in enumerate(names, 1):
        action = parser._option_string_actions.get(name)
        if action is None and flag is None:
            parser.error(_no_option(word, is_long, parser))
        if action is not None and action.type is refused:
            parser.error(NO_PASSWORD)
        if action is not None and action.nargs != 0:
            return not equals if is_long else place == len(names)
        flag = action or flag
        if action is None or (is_long and equals):
            assert flag is not None
            parser.error(f"argument {'/'.join(flag.option_strings)}: takes no value")
    return False


def _no_option(word: str, is_long: bool, parser: Parser) -> str:
    if word.startswith("--pass"):
        return NO_PASSWORD
    found = _NAME.match(word)
    name = found[1] if found else "--" if is_long else word[:2]
    return f"unrecognized arguments: {name}{_meant(name, parser._option_string_actions)}"


def _meant(word: str, known: Iterable[str]) -> str:
    """A question whether a known word is meant, if one is close."""
    from difflib import get_close_matches

    if word in _SYNONYMS and (word.isalpha() or _SYNONYMS[word] in set(known)):
        return f"; did you mean {_SYNONYMS[word]}?"
    bare = {name.lstrip("-"): name for name in known if len(name) > 2}
    close = get_close_matches(word.lstrip("-").lower(), bare, 1, 0.7)
    return f"; did you mean {bare[close[0]]}?" if close else ""


# The help: short (-h) and complete (--help), and what both the help and the man page tell beside the options

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
    "5": "refused: this command started nothing",
    "8": "not finished yet",
    "9": "perhaps started: give an apply again, else look at the server first; or the started id is not safe in a shell",
    "129": "the terminal hung up",
    "130": "interrupted (Ctrl-C)",
    "141": "the reader of the output has gone (SIGPIPE), such as head",
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


def _table(rows: Mapping[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"  {name:{width}}  {text}" for name, text in rows.items())


# Of all commands, in the order of the help: what each section says. A paragraph is one line; the formatter breaks it.
NOTES = {
    "times": "TIME is 90 (seconds), 90s, 500ms, 5m, 1.5h or 1h30m.",
    "password": (
        "The password comes from stdin (--password-stdin), else from SAYMON_PASSWORD, else from the file that "
        "SAYMON_PASSWORD_FILE names, else from netrc, else it is asked for on the terminal. The variables are used only "
        "with --login or SAYMON_LOGIN."
    ),
    "json": (
        "With --json, stdout has one JSON object a line, for errors too. Its keys are promised; other fields of the server "
        f"follow them:\n{_table(JSON_KEYS)}\nsearch prints the objects of the server; plan, apply and verify print an "
        "object a line, and the counts last. A wrong option or a missing argument is told in words, on stderr."
    ),
    "environment": _table(ENVIRONMENT),
    "files": _table(FILES),
    "exit status": (
        "With several operations, the exit status is 4 if one of them has it, else 1, else 8. If an error ends an apply, "
        f"the exit status is that of the error:\n{_table(EXIT_STATUS)}"
    ),
    "notes": (
        'The server chooses an id, so a script writes -- before it: saymon-bulk wait -- "$id".\n'
        "The operations go on, on the server. Finished does not mean succeeded: the server reports only that the operation "
        "has ended."
    ),
}


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
    import textwrap

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
    import textwrap

    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
