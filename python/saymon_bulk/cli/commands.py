"""The commands: what the help says of each, which options each has, and what runs it.

A new command is an entry here. The parser, the help, the completion scripts and the man page follow.
"""

from __future__ import annotations

import os

from .options import (
    ANYWHERE,
    AT_MOST,
    BULK,
    CONCURRENT,
    IDS,
    OF_A_WAIT,
    PART,
    PLAN,
    SETTLE_TIME,
    SHELLS,
    SHOW_VALUES,
    WAIT,
    WAITING,
    argument,
    flag,
    group,
    option,
    schedule,
    search,
)
from .output import FINISHED, emit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Callable

    from .options import Options


class Command:
    """One command.

    Args:
        takes: What stands behind its name in the usage.
        summary: Its line in the list of commands.
        text: What it does, in one paragraph.
        examples: Three, each a comment and a command line.
        options: They add themselves to a parser, in this order.
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
        options: Sequence[Callable[[Any], object]],
        run: Callable[[Options], int],
        extra: str = "no ID",
        notes: str | None = None,
    ) -> None:
        self.takes, self.summary, self.text, self.examples = takes, summary, text, examples
        self.options, self.run, self.extra, self.notes = options, run, extra, notes


# search, plan, show, apply and verify


def _run_plan(options: Options) -> int:
    from . import plan

    code: int = getattr(plan, options.command)(options)
    return code


# start and clone


def _run_start(options: Options) -> int:
    for name in OF_A_WAIT:
        if name in options.given and not options.wait:
            raise ValueError(f"--{name.replace('_', '-')} goes with --wait")
    from .wait import start

    return start(options)


# status and wait


def _run_wait(options: Options) -> int:
    from . import wait
    from .inputs import client_of, ids_of

    ids = ids_of(options)  # before a password is asked for
    code: int = getattr(wait, options.command)(client_of(options), ids, options)
    return code


# completion


def _run_completion(options: Options) -> int:
    # Made by `tools/shell_files.py` from the parser.
    path = os.path.join(os.path.dirname(__file__), "completion", f"saymon-bulk.{options.shell}")
    with open(path, encoding="utf-8") as file:
        emit(file.read().rstrip("\n"))
    return FINISHED


_ALL = flag("--all", help="a line for each object")
_ALL_NOT_AS_ASKED = flag("--all", help="a line for each object that is not as asked")

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
        (search(required=True), flag("--count", help="print the number of objects alone"), *ANYWHERE),
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
        (
            search(),
            BULK,
            flag("--every-object", help="no criteria: plan a change of every object of the installation"),
            option("--out", metavar="PLAN", help="write the plan to this file, for show, apply and verify"),
            AT_MOST,
            flag("--exit-code", help="exit with 3 if something is to change"),
            _ALL,
            SHOW_VALUES,
            *ANYWHERE,
        ),
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
        (PLAN, _ALL, SHOW_VALUES, *ANYWHERE),
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
        (
            PLAN,
            AT_MOST,
            flag("--skip-stale", help="leave out objects that have changed since the plan was made, or are gone"),
            PART,
            option("--journal", metavar="PATH", help="the file that remembers what was started; default: PLAN.log"),
            SETTLE_TIME,
            _ALL_NOT_AS_ASKED,
            SHOW_VALUES,
            group(WAITING, *schedule("the wait of each part")),
            *ANYWHERE,
        ),
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
        (PLAN, SETTLE_TIME, _ALL_NOT_AS_ASKED, SHOW_VALUES, *ANYWHERE),
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
        (
            search(),
            BULK,
            flag("--every-object", help="no criteria: change every object of the installation"),
            flag("--yes", help="with --every-object: do not ask whether that is meant"),
            WAIT,
            *ANYWHERE,
        ),
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
        (
            argument("object_id", metavar="OBJECT_ID", help='its id, or "discovery id:" and its discovery id'),
            WAIT,
            *ANYWHERE,
        ),
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
        (*IDS, CONCURRENT, *ANYWHERE),
        _run_wait,
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
        (*IDS, group(WAITING, *schedule(), CONCURRENT), *ANYWHERE),
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
        (argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS)),),
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
