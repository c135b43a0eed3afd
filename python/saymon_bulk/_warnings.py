"""The categories of warnings; a program that gets none does without."""

from __future__ import annotations


class InsecureConnectionWarning(UserWarning):
    """The password travels in a way that others may read: `verify=False`, or plain http beyond this machine."""


class InsecureFileWarning(UserWarning):
    """The password stands in a netrc file that other users of this machine may read."""
