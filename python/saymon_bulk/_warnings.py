"""The warnings. A program that gets none does not import them."""

from __future__ import annotations

import sys
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType


class InsecureConnectionWarning(UserWarning):
    """Others may read the password on its way to the server.

    >>> import warnings
    >>> category = saymon_bulk.InsecureConnectionWarning
    >>> warnings.simplefilter("error", category)  # now it is an error

    The reason is `verify=False`, or plain http to another machine.
    """


class InsecureFileWarning(UserWarning):
    """Other users of this machine can read the netrc file.

    >>> import warnings
    >>> category = saymon_bulk.InsecureFileWarning
    >>> warnings.simplefilter("error", category)  # now it is an error

    The warning comes when `Client.from_env` or the command line takes the
    password from that file. `chmod 600 ~/.netrc` ends it.
    """


def warn(text: str, category: type[Warning]) -> None:
    """Warn about the line of the caller: that of the innermost frame outside of this package."""
    frame: FrameType | None = sys._getframe()
    level = 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("saymon_bulk."):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
