"""Where commands write their results: looked at before anything is computed."""

from __future__ import annotations

import os
from pathlib import Path

from seepage.errors import InputError
from seepage.local_paths import local_path

__all__ = ["place_for"]

# A file is written under a longer hidden name first.
_LONGEST = 240


def place_for(
    given: str | os.PathLike[str],
    option: str,
    *,
    suffixes: tuple[str, ...] = (),
    makes_folders: bool = False,
    later: str | None = None,
) -> Path:
    """The file that a command will write; `option` names it in messages. Nothing is made.

    suffixes: how its name must end. makes_folders: the command makes the folders above it.
    later: a folder that will be there by then, the run folder. Raises InputError where the file
    could not be written.
    """
    path = local_path(given, option)
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(
            f"{option}: expected a name that ends in {suffixes[0]}, got {path.name!r}; rename it"
        )
    if len(os.fsencode(path.name)) > _LONGEST:
        raise InputError(
            f"{option}: expected a file name of at most {_LONGEST} bytes, got "
            f"{len(os.fsencode(path.name))}; choose a shorter one"
        )
    if path.is_dir():
        raise InputError(f"{option}: expected the name of a file, got the folder {path}; add one")
    there = path.parent
    if makes_folders or (later is not None and _same(there, later)):
        while not there.exists() and there != there.parent:
            there = there.parent
    if not there.is_dir():
        raise InputError(
            f"{option}: expected a file in a folder that exists, got {path}; make the folder first"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(
            f"{option}: expected a folder that can be written, got {there}; choose another"
        )
    return path


def _same(folder: Path, other: str) -> bool:
    return "://" not in other and os.path.abspath(folder) == os.path.abspath(other)
