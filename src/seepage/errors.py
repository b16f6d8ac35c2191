"""Errors, by who has to act on them.

Every message follows one pattern: the value's name, what was expected, what came, the remedy::

    member: expected both values in every column, got column 17 all False; raise models

The command line prints such a message as one line and ends with the exit status of its class.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckFailed",
    "CorruptStore",
    "InputError",
    "Locked",
    "SeepageError",
    "StorageFailed",
    "nearest",
]


class SeepageError(Exception):
    """Base of every error that a user can act on; never raised itself."""

    exit_status = 2


class InputError(SeepageError, ValueError):
    """A value, file or configuration is not what was expected."""


class CorruptStore(SeepageError):
    """Stored bytes are not the bytes that were written; the message names the chunk."""


class StorageFailed(SeepageError):
    """A disk or an object store refuses a write or cannot be reached; what was written stays."""


class Locked(SeepageError):
    """Another live process owns the run folder."""


class CheckFailed(SeepageError):
    """A gate (`seepage check`) did not hold."""

    exit_status = 1


def nearest(name: str, known: Iterable[str]) -> str:
    """Remedy for an unknown name: the closest known one, else the whole list.

    >>> nearest("lirx", ["lira", "rmia"])
    "did you mean 'lira'?"
    >>> nearest("zzz", ["lira", "rmia"])
    'known are: lira, rmia'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(names)}"
