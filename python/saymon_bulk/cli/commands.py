"""The commands: what the help says of each, which options each has, and what runs it.

A new command is an entry here. The parser, the help, the completion scripts and the man page follow.
"""

from __future__ import annotations

from .options import (
    OF_A_WAIT,
    SHELLS,
    add_apply,
    add_at_most,
    add_bulk,
    add_common,
    add_concurrency,
    add_flag,
    add_ids,
    add_option,
    add_plan,
    add_schedule,
    add_search,
    add_settle,
    add_show_values,
    add_wait,
    add_wait_flag,
)
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


# search, plan, show, apply and verify


def _add_search(parser: ArgumentParser) -> None:
    add_search(parser, required=True)
    add_flag(parser, "--count", help="print the number of objects alone")
    add_common(parser)


def _add_plan(parser: ArgumentParser) -> None:
    add_search(parser)
    add_bulk(parser)
    add_flag(parser, "--every-object", help="no criteria: plan a change of every object of the installation")
    add_option(parser, "--out", metavar="PLAN", help="write the plan to this file, for show, apply and verify")
    add_at_most(parser)
    add_flag(parser, "--exit-code", help="exit with 3 if something is to change")
    add_flag(parser, "--all", help="a line for each object")
    add_show_values(parser)
    add_common(parser)


def _add_show(parser: ArgumentParser) -> None:
    add_plan(parser)
    add_flag(parser, "--all", help="a line for each object")
    add_show_values(parser)
    add_common(parser)


def _add_apply(parser: ArgumentParser) -> None:
    add_plan(parser)
    add_at_most(parser)
    add_apply(parser)
    add_settle(parser)
    add_flag(parser, "--all", help="a line for each object that is not as asked")
    add_show_values(parser)
    add_schedule(parser)
    add_common(parser)


def _add_verify(parser: ArgumentParser) -> None:
    add_plan(parser)
    add_settle(parser)
    add_flag(parser, "--all", help="a line for each object that is not as asked")
    add_show_values(parser)
    add_common(parser)


def _run_plan(options: Options) -> int:
    from . import plan

    if options.command not in ("search", "plan") and options.plan == "-":
        raise ValueError("PLAN is a file: a plan on stdin could not be applied again")
    code: int = getattr(plan, options.command)(options)
    return code


# start and clone


def _add_start(parser: ArgumentParser) -> None:
    add_search(parser)
    add_bulk(parser)
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
    "search": Command(
        "--search FILE",
        "list the objects that a search finds",
        "List the objects that a search finds, an id and a name a line. The command changes nothing.",
        (
            ("which objects would a start with these criteria change", "saymon-bulk search --search search.json"),
            ("how many", 'saymon-bulk search --count --search \'{"name": "CPU"}\''),
            ("their weights", "saymon-bulk search --json --search search.json |\n  jq -r '[.id, .weight] | @tsv'"),
        ),
        _add_search,
        _run_plan,
        "no ID",
    ),
    "plan": Command(
        "--search FILE --bulk FILE",
        "show which objects a bulk would change, and how",
        "Show which objects a bulk would change, with the values now and after. The command changes nothing. With --out it "
        "writes a plan for the command apply.",
        (
            ("see first", "saymon-bulk plan --search search.json --bulk bulk.json"),
            (
                "keep the plan, unless it changes too much",
                "saymon-bulk plan --search search.json --bulk bulk.json \\\n  --at-most 500 --out plan.json",
            ),
            (
                "in a script: is everything as asked",
                "saymon-bulk plan --quiet --exit-code \\\n  --search search.json --bulk bulk.json",
            ),
        ),
        _add_plan,
        _run_plan,
    ),
    "show": Command(
        "PLAN",
        "show a plan again, without the network",
        "Show a plan from its file, as the command plan has shown it. The command sends nothing.",
        (
            ("as before", "saymon-bulk show plan.json"),
            ("a line for each object", "saymon-bulk show --all plan.json"),
            ("the ids of its objects", "saymon-bulk show --json plan.json |\n  jq -r 'select(.fields).id'"),
        ),
        _add_show,
        _run_plan,
        "one PLAN",
    ),
    "apply": Command(
        "PLAN",
        "change exactly the objects of a plan, and check each",
        "Change exactly the objects of a plan: read them again, start, wait, and check each. A plan whose objects have "
        "changed since is refused. A journal beside the plan remembers what was started, so the same command can be given "
        "again, whatever ended it: no object is sent twice. The plan is the approval: there is no question.",
        (
            ("apply a plan; again after a failure", "saymon-bulk apply plan.json"),
            ("not more than this, not what has changed since", "saymon-bulk apply --at-most 500 --skip-stale plan.json"),
            (
                "the objects that are not as asked",
                "saymon-bulk apply --json plan.json |\n  jq -r 'select(.state == \"not-as-asked\").id'",
            ),
        ),
        _add_apply,
        _run_plan,
        "one PLAN",
    ),
    "verify": Command(
        "PLAN",
        "check whether the objects of a plan are as asked",
        "Read the objects of a plan, and print which are not as asked. The command changes nothing. It answers after an "
        "uncertain start too, or days later.",
        (
            ("is each object as asked", "saymon-bulk verify plan.json"),
            ("read once", "saymon-bulk verify --settle 0 plan.json"),
            ("all that are not", "saymon-bulk verify --all plan.json"),
        ),
        _add_verify,
        _run_plan,
        "one PLAN",
    ),
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
        "ask once whether operations have finished",
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
        "wait until operations have finished",
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
    COMMANDS["plan"].examples[1],
    COMMANDS["apply"].examples[0],
)
