"""The commands: what the help says of each, which options each has, and what runs it.

A new command is an entry here. The parser, the help, the completion scripts and the man page follow.
"""

from __future__ import annotations

from .options import OF_A_WAIT, SHELLS, add_common, add_concurrency, add_flag, add_ids, add_option, add_wait, add_wait_flag
from .output import FINISHED, emit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence
    from typing import Callable

    from .options import Options


class Command:
    """One command.

    Args:
        takes: What stands behind its name in the usage.
        summary: Its line in the list of commands.
        text: What it does, in one paragraph.
        examples: Three, each a comment and a command line.
        add: Adds its options to a parser.
        run: Does it, and returns the exit code. It imports what only this command needs.
        extra: The most words that are no options, in the words of an error.
        notes: What its help says at the end; if it says nothing of its own, what all commands say.
    """

    def __init__(
        self,
        takes: str,
        summary: str,
        text: str,
        examples: Sequence[tuple[str, str]],
        add: Callable[[ArgumentParser], object],
        run: Callable[[Options], int],
        extra: str = "no ID",
        notes: str | None = None,
    ) -> None:
        self.takes, self.summary, self.text, self.examples = takes, summary, text, examples
        self.add, self.run, self.extra, self.notes = add, run, extra, notes


# start and clone


def _add_start(parser: ArgumentParser) -> None:
    what = "the criteria: a file with a JSON object, or the object itself; - is stdin"
    add_option(parser, "--search", metavar="FILE", help=what)
    what = "the changes: a file with a JSON list of objects, or the list itself; - is stdin"
    parser.add_argument("--bulk", metavar="FILE", required=True, help=what)
    add_flag(parser, "--every-object", help="no criteria: change every object of the installation")
    add_flag(parser, "--yes", help="with --every-object: do not ask whether that is meant")
    add_wait_flag(parser)
    add_common(parser)


def _add_clone(parser: ArgumentParser) -> None:
    parser.add_argument("object_id", metavar="OBJECT_ID", help='its id, or "discovery id:" and its discovery id')
    add_wait_flag(parser)
    add_common(parser)


def _run_start(options: Options) -> int:
    for name in OF_A_WAIT:
        if name in options.given and not options.wait:
            raise ValueError(f"--{name.replace('_', '-')} goes with --wait")
    from .start import start

    return start(options)


# status and wait


def _add_status(parser: ArgumentParser) -> None:
    add_ids(parser)
    add_concurrency(parser)
    add_common(parser)


def _add_wait(parser: ArgumentParser) -> None:
    add_ids(parser)
    add_wait(parser)
    add_common(parser)


def _run_status(options: Options) -> int:
    from .credentials import client_of
    from .inputs import ids_of
    from .wait import status

    ids = ids_of(options)
    return status(client_of(options), ids, options)


def _run_wait(options: Options) -> int:
    from .credentials import client_of
    from .inputs import ids_of
    from .wait import wait

    ids = ids_of(options)
    return wait(client_of(options), ids, options)


# completion


def _add_completion(parser: ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def _run_completion(options: Options) -> int:
    from .completion import script

    emit(script(options.shell))
    return FINISHED


_ID, _OBJECT = "079b3102-c326-4dd7-bf48-a945232b32d6", "62d7e58056d203149a08001b"

COMMANDS = {
    "start": Command(
        "--search FILE --bulk FILE",
        "start a bulk operation",
        "Start a bulk operation on the objects that a search finds, and print its id. A FILE is JSON in UTF-8.",
        (
            (
                "change what a search finds, and print the operation's id",
                "saymon-bulk start --search search.json --bulk bulk.json",
            ),
            (
                "the criteria in place of a file; wait until it has finished",
                'saymon-bulk start --wait --bulk bulk.json \\\n  --search \'{"name": "CPU"}\'',
            ),
            ("change every object, without a question", "saymon-bulk start --every-object --yes --bulk bulk.json"),
        ),
        _add_start,
        _run_start,
    ),
    "clone": Command(
        "OBJECT_ID",
        "start the clone of an object",
        "Start the clone of an object, and print the id of the operation.",
        (
            ("clone an object, and print the operation's id", f"saymon-bulk clone {_OBJECT}"),
            ("by its discovery id; wait until it has finished", "saymon-bulk clone --wait 'discovery id:rack-7'"),
            ("for a script: the id, then the end", f'id=$(saymon-bulk clone {_OBJECT}) &&\n  saymon-bulk wait -- "$id"'),
        ),
        _add_clone,
        _run_start,
        "one OBJECT_ID",
    ),
    "status": Command(
        "(ID | --ids FILE)...",
        "ask once",
        "Ask once, and print for each ID whether it is finished or running. A line comes with its answer.",
        (
            ("ask for one operation", f"saymon-bulk status {_ID}"),
            ("ask for all operations in a file", "saymon-bulk status --ids ids.txt"),
            (
                "the ids of those that still run",
                "saymon-bulk status --json --ids ids.txt |\n  jq -r 'select(.finished == false).id'",
            ),
        ),
        _add_status,
        _run_status,
    ),
    "wait": Command(
        "(ID | --ids FILE)...",
        "poll until all have finished",
        "Poll until all have finished, and print each ID when it has.",
        (
            ("wait for one operation, an hour at most", f"saymon-bulk wait {_ID}"),
            ("wait longer, for all operations in a file", "saymon-bulk wait --timeout 4h30m --ids ids.txt"),
            ("wait for what another command starts", f"saymon-bulk clone {_OBJECT} |\n  saymon-bulk wait -"),
        ),
        _add_wait,
        _run_wait,
    ),
    "completion": Command(
        "|".join(SHELLS),
        "print a completion script",
        "Print the completion script of a shell.",
        (
            ("bash, in this session", 'eval "$(saymon-bulk completion bash)"'),
            ("zsh, in this session, after compinit", 'eval "$(saymon-bulk completion zsh)"'),
            ("fish, in this session", "saymon-bulk completion fish | source"),
        ),
        _add_completion,
        _run_completion,
        "one SHELL",
        "To use it in every session, add the line to ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish.",
    ),
}

# What the help shows before a command is chosen.
EXAMPLES = (
    ("the server and the login of all commands", "export SAYMON_HOST=monitor.example.com SAYMON_LOGIN=login"),
    COMMANDS["start"].examples[0],
    COMMANDS["wait"].examples[0],
)
