"""What is measured, in the order of the report, and how each measure is called and read."""

from __future__ import annotations

from dataclasses import dataclass

from clients import ASYNC, FUNCTION, FUNCTION_WITH_A_FILE, FUNCTIONS, SYNC, THREADS

# A contender is named "how client" where the same client takes part in several ways.
MANY = (
    "wrk",
    "one call saymon_bulk",
    "asyncio saymon_bulk",
    "16 threads saymon_bulk",
    *(f"asyncio {name}" for name in ASYNC if name != "saymon_bulk"),
    *(f"16 threads {name}" for name in THREADS if name != "saymon_bulk"),
)
BARE = "python -c pass"
COMMAND = "saymon_bulk status"
REQWEST = "bare reqwest"
LIMITS = ("raw C", REQWEST, "wrk", BARE)
SHORT = ("saymon_bulk", FUNCTION, "requests", "pycurl", "primp", "pyreqwest", "wreq", *LIMITS)
# The first is what a table is sorted and compared by: its key, its heading, its digits, whether more is better.
MEASURES = {
    "calls": (("us", "µs a call", 1, False), ("cpu_us", "CPU µs a call", 1, False)),
    "process": (("ms", "ms", 1, False), ("cpu_ms", "CPU ms", 1, False), ("peak_mib", "peak MiB", 1, False)),
    "starting": (("ms", "ms", 1, False), ("cpu_ms", "CPU ms", 1, False)),
    "import": (("ms", "ms", 2, False), ("mib", "MiB", 1, False)),
    "many": (
        ("per_second", "statuses a second", 0, True),
        ("cpu_us", "CPU µs a status", 1, False),
        ("peak_mib", "peak MiB", 1, False),
        ("kib_an_id", "KiB an id over the result", 2, False),
    ),
    "waiting": (("percent", "% of one core", 2, False), ("kib_each", "KiB each", 2, False)),
}


@dataclass(frozen=True)
class Task:
    group: str
    title: str
    kind: str
    site: str
    contenders: tuple[str, ...]
    pinned: bool = False
    trust: str = "store"
    count: int = 0


def client_of(contender: str) -> str:
    """The client behind a contender of any task: "asyncio wreq" is wreq."""
    if contender == COMMAND:
        return "saymon_bulk"
    for how in ("one call ", "asyncio ", "16 threads "):
        contender = contender.removeprefix(how)
    return contender


ONE_BY_ONE = tuple(name for name in SYNC if name != FUNCTION_WITH_A_FILE)
WARM = ("raw C", REQWEST, *SYNC)
IMPORTED = tuple(name for name in SYNC if name not in FUNCTIONS)
NEW = "New TLS connection for each call, client kept"
STARTING = "Process that imports the package, and the command for one id, pinned"
PROCESS = "Whole process with one TLS call"
TASKS = (
    Task("warm", "Warm call, plain http, connection kept, pinned", "calls", "plain", WARM, pinned=True),
    Task("warm", "Warm call, TLS, connection kept, pinned", "calls", "tls", WARM, pinned=True),
    Task("warm", "Warm call, plain http, connection kept, unpinned", "calls", "plain", WARM),
    Task("warm", "Warm call, TLS, connection kept, unpinned", "calls", "tls", WARM),
    Task("new", f"{NEW}, system-sized store, pinned", "calls", "closing", ONE_BY_ONE, pinned=True),
    Task("new", f"{NEW}, one CA, pinned", "calls", "closing", ONE_BY_ONE, pinned=True, trust="ca"),
    Task("new", f"{NEW}, system-sized store, unpinned", "calls", "closing", ONE_BY_ONE),
    Task("process", f"{PROCESS}, pinned", "process", "tls", (BARE, *ONE_BY_ONE), pinned=True),
    Task("process", f"{PROCESS}, unpinned", "process", "tls", (BARE, *ONE_BY_ONE)),
    Task("process", STARTING, "starting", "tls", (BARE, "saymon_bulk", COMMAND), pinned=True),
    Task("import", "Import, over bare Python, pinned", "import", "", IMPORTED, pinned=True),
    Task("many", "10,000 ids, plain http", "many", "plain", MANY, count=10_000),
    Task("many", "10,000 ids, TLS", "many", "tls", MANY, count=10_000),
    Task("many", "1,000 ids, plain http", "many", "plain", MANY, count=1_000),
    Task("many", "1,000 ids, TLS", "many", "tls", MANY, count=1_000),
    Task("waiting", "5,000 operations waited for", "waiting", "plain", ("saymon_bulk",), count=5_000),
)
