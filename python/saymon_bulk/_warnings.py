"""The classes of warnings. A program that gets no warning does not import them."""

from __future__ import annotations


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
