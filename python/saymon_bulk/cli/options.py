"""The options as the commands take them, and the reading of a plain command line.

argparse with all that it imports takes longer than a request. A shell's loop
mostly has `status` or `wait` with ids, --json and a few names; `plain` reads
these, and the parser all others. A test holds the two to the same result.
"""

from __future__ import annotations

import os

from .._client import CONCURRENCY, INTERVAL, MAX_INTERVAL, REQUEST_TIMEOUT, RETRIES, TIMEOUT

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

COMMON = {
    "json": False,
    "verbose": False,
    "quiet": False,
    "host": "",
    "login": None,
    "password_stdin": False,
    "cacert": None,
    "cert": None,
    "key": None,
    "insecure": False,
    "request_timeout": REQUEST_TIMEOUT,
}
WAITING = {
    "timeout": TIMEOUT,
    "interval": INTERVAL,
    "max_interval": MAX_INTERVAL,
    "retries": RETRIES,
    "concurrency": CONCURRENCY,
}
OTHERS: dict[str, Any] = {"wait": False, "search": None, "every_object": False, "yes": False, "ids_files": []}

# What a plain command line may have, as it stands there.
_FLAGS = {"--json": "json", "--quiet": "quiet", "-q": "quiet", "--insecure": "insecure"}
_TEXTS = {f"--{name}": name for name in ("host", "login", "cacert", "cert", "key")}


class Options:
    """The options of a command by name. `given` holds the names of those that the user gave."""

    given: set[str]
    command: str
    ids: list[str]
    ids_files: list[str]
    object_id: str
    shell: str
    search: str | None
    bulk: str
    every_object: bool
    yes: bool
    wait: bool
    timeout: float | None
    interval: float
    max_interval: float
    retries: int
    concurrency: int
    json: bool
    verbose: bool
    quiet: bool
    host: str
    login: str | None
    password_stdin: bool
    cacert: str | None
    cert: str | None
    key: str | None
    insecure: bool
    request_timeout: float

    def complete(self) -> Options:
        """Adds the defaults and what the environment says."""
        self.given = set(vars(self))
        environment = {"host": os.environ.get("SAYMON_HOST", ""), "login": os.environ.get("SAYMON_LOGIN")}
        vars(self).update({**COMMON, **WAITING, **OTHERS, **environment, **vars(self)})
        return self


def plain(words: Sequence[str]) -> Options | None:
    """The options of a plain command line; None if the parser must read it."""
    if not words or words[0] not in ("status", "wait"):
        return None
    options, ids = Options(), []
    rest = iter(words[1:])
    for word in rest:
        if not word.startswith("-"):
            ids.append(word)
        elif word in _FLAGS:
            setattr(options, _FLAGS[word], True)
        elif word in _TEXTS and (value := next(rest, "-")) and not value.startswith("-"):
            setattr(options, _TEXTS[word], value)
        else:
            return None
    vars(options).update(command=words[0], ids=ids, **({"wait": True} if words[0] == "wait" else {}))
    return options.complete()
