"""Paths as users name them: refused in one line where the system would refuse, or take another."""

from __future__ import annotations

import os
import re
from pathlib import Path

from seepage.errors import InputError

__all__ = ["local_path"]

# Made a Path, "s3://bucket" has one slash left.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_LONGEST_NAME = 255
_LONGEST_PATH = 4095


def local_path(given: str | os.PathLike[str], what: str) -> Path:
    """The path of a local file or folder, which need not exist; `what` names it in messages.

    Raises InputError for an empty name, an address such as `s3://…`, a zero byte, a name that is
    no UTF-8, and names longer than file systems hold.

    >>> local_path("runs/digits", "out").name
    'digits'
    >>> local_path("", "out")
    Traceback (most recent call last):
        ...
    seepage.errors.InputError: out: expected the name of a file or folder, got ''; name one
    """
    text = os.fspath(given)
    if not text:
        raise InputError(f"{what}: expected the name of a file or folder, got ''; name one")
    if _ADDRESS.match(text):
        raise InputError(
            f"{what}: expected a local file or folder, got the address {text[:80]!r}; name a path"
        )
    if "\0" in text:
        raise InputError(f"{what}: expected a path, got a zero byte in {text[:80]!r}; correct it")
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"{what}: expected a name in UTF-8, got {text[:80]!r}; rename the file or folder"
        ) from None
    longest = max((len(part) for part in raw.split(b"/")), default=0)
    if longest > _LONGEST_NAME or len(raw) > _LONGEST_PATH:
        raise InputError(
            f"{what}: expected names of at most {_LONGEST_NAME} bytes, got one of {longest} in a "
            f"path of {len(raw)}, {text[:40]!r}…; choose a shorter one"
        )
    return Path(text)
