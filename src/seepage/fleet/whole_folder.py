"""A run folder that appears when it is whole, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from seepage.errors import InputError
from seepage.local_paths import local_path
from seepage.store.lock import Lock
from seepage.store.storage import Storage

__all__ = ["check_new", "new_folder", "whole"]


@contextlib.contextmanager
def whole(out: str | os.PathLike[str]) -> Iterator[Storage]:
    """Where to write a run folder, locked; it takes its place when the block ends without an error.

    out: a folder that is not there or is empty, or an address that holds nothing: what was written
    at an address is removed again when the block fails. What a killed import left is taken over.
    """
    if "://" in os.fspath(out):
        storage = Storage(out, write=True)
        with Lock(storage):
            _check_bare(storage, out)
            try:
                yield storage
            except BaseException:
                for key in _held(storage):
                    with contextlib.suppress(Exception):
                        storage.delete(key)
                raise
    else:
        with new_folder(local_path(out, "out")) as draft:
            storage = Storage(draft, write=True)
            with Lock(storage):
                _empty(draft)
                yield storage


def check_new(out: str | os.PathLike[str]) -> None:
    """Raise InputError where `whole` would, before long work is done for it."""
    if "://" in os.fspath(out):
        _check_bare(Storage(out, write=True), out)
    else:
        _check_free(Path(os.path.realpath(local_path(out, "out"))))


def _held(storage: Storage) -> list[str]:
    return [key for key in storage.keys("") if not key.startswith("locks")]


def _check_bare(storage: Storage, out: str | os.PathLike[str]) -> None:
    if _held(storage):
        raise InputError(f"{out}: expected an address that holds nothing; choose another")


def _check_free(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a new folder, got a file; choose another place")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"{out}: expected a new or empty folder, got one that holds "
            f"{'a run' if (out / 'manifest.json').exists() else 'files'}; choose another"
        )


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block ends, and goes when it fails.

    Its name is the same for every import into `out`: one that was killed is taken over by the
    next, and two at a time find each other's lock in it.
    """
    out = Path(os.path.realpath(out))
    _check_free(out)
    made = [p for p in out.parents if not p.exists()]
    draft = out.parent / f".{hashlib.sha256(out.name.encode()).hexdigest()[:16]}.importing"
    try:
        yield draft
        os.replace(draft, out)
    except BaseException as error:
        # Another import's lock is in it: it is not ours to remove.
        if not _owned(draft):
            shutil.rmtree(draft, ignore_errors=True)
            for parent in made:
                with contextlib.suppress(OSError):
                    parent.rmdir()
        if isinstance(error, OSError) and not isinstance(error, InputError):
            raise InputError(
                f"{out}: expected a folder that can be written, got {error.strerror or error}; "
                "choose another place"
            ) from None
        raise


def _owned(draft: Path) -> bool:
    return (draft / "locks").is_dir() and any((draft / "locks").iterdir())


def _empty(draft: Path) -> None:
    """Remove what a killed import left, but for the lock that is held."""
    for entry in draft.iterdir():
        if entry.name == "locks":
            continue
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
