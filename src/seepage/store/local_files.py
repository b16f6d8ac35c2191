"""Files of a local run folder: written so that they survive power loss, and listed."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from seepage.errors import StorageFailed

__all__ = ["files_below", "make_folders", "put_durably"]


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folders(folder: Path) -> None:
    """Make a folder and what it lies in, each synced into its parent."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        with contextlib.suppress(FileExistsError):
            new.mkdir()
        _sync_folder(new.parent)


def put_durably(path: Path, value: bytes | memoryview) -> None:
    """Write a file whole: synced, renamed over the old one, its folder synced."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        make_folders(path.parent)
        with partial.open("wb") as f:
            f.write(value)
            f.flush()
            os.fsync(f.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except BaseException as e:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(e, OSError):
            raise StorageFailed(
                f"{path}: expected to be written, got {os.strerror(e.errno or 0)}; make room or "
                "repair the disk and start again, finished checkpoints are kept"
            ) from None
        raise


def files_below(root: Path, prefix: str) -> list[str]:
    """Keys of the files in the folder `prefix` of `root`, in no order."""
    top = os.fspath(root)
    found = []
    for folder, _, names in os.walk(os.path.join(top, prefix.rstrip("/"))):
        inside = os.path.relpath(folder, top)
        under = "" if inside == os.curdir else inside.replace(os.sep, "/") + "/"
        found += [under + n for n in names if os.path.isfile(os.path.join(folder, n))]
    return found
