"""Reads the command line. The common options stand before or after the command."""

from __future__ import annotations

import os
import re
import sys
from argparse import SUPPRESS, Action, ArgumentParser, HelpFormatter, _SubParsersAction

from .._core import __version__
from .._text import one_line
from .commands import COMMANDS, EXAMPLES, Command
from .options import ANYWHERE, COMMAND_LIST, NO_PASSWORD, Options, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
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
    """The parser of one command, or of all if `command` is None. What only a help needs is imported for it."""

    def __init__(self, command: Command | None, **more: Any) -> None:
        # No abbreviations: --password X would be one of --password-stdin, and X an id.
        super().__init__(add_help=False, allow_abbrev=False, formatter_class=_formatter, **more)
        self.command = command
        self.examples = EXAMPLES if command is None else command.examples
        self.notes = None if command is None else command.notes
        self._positionals.title = "arguments"

    def format_help(self) -> str:
        from . import help

        self.description = help.DESCRIPTION if self.command is None else self.command.text
        return help.complete(self, self.examples, self.notes)

    def format_short_help(self) -> str:
        from . import help

        self.description = help.DESCRIPTION if self.command is None else self.command.text
        return help.short(self, self.examples, self.notes)

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def _formatter(prog: str) -> HelpFormatter:
    from .help import Formatter

    return Formatter(prog)


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
