"""The pool's inputs in files that all workers of a machine map: one copy in memory, or none."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seepage.data import Dataset, RowFile
from seepage.errors import StorageFailed
from seepage.fleet.spec import PoolFile
from seepage.record import Resident

__all__ = ["held_folder", "shared_pool", "sweep"]

_PREFIX = "seepage-pool-"
# Never swept: the file system there has no locks to tell the living from the dead by.
_UNLOCKED = "seepage-unlocked-"


@contextlib.contextmanager
def shared_pool(data: Dataset | None) -> Iterator[PoolFile | None]:
    """The pool's inputs in a file that all workers map, however many read; gone afterwards.

    Inputs larger than memory are not copied: workers read them where they lie.
    """
    if data is None:
        yield None
        return
    layout = Resident.layout(data)
    need = 0 if isinstance(layout, RowFile) else layout.nbytes
    fast = Path("/dev/shm")
    room = fast.is_dir() and shutil.disk_usage(fast).free > 2 * need + 2**26
    place = fast if room else Path(tempfile.gettempdir())
    sweep(place)
    with held_folder(place) as folder:
        try:
            if not isinstance(layout, RowFile):
                np.save(folder / "pixels.npy", layout, allow_pickle=False)
            np.save(folder / "pixels.npy.labels.npy", data.labels.numpy(), allow_pickle=False)
            if data.targets is not None:
                held = data.targets.numpy()
                np.save(folder / "pixels.npy.targets.npy", held, allow_pickle=False)
        except OSError as e:
            raise StorageFailed(
                f"{place}: expected room for {need / 2**20:.0f} MiB that workers share, "
                f"got {e}; make room or set TMPDIR"
            ) from None
        yield PoolFile(
            str(folder / "pixels.npy"),
            data.kind,
            data.classes,
            None if data.numeric is None else tuple(data.numeric.tolist()),
            data.shape,
            data.task,
            data.targets is not None,
            data.file,
        )


@contextlib.contextmanager
def held_folder(place: Path) -> Iterator[Path]:
    """A new folder that this process holds locked: when it dies, the kernel lets go of it.

    Workers that were forked hold it too. A lock of the kernel needs no number of a process, which
    another container could not read.
    """
    folder, held = _make(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def _make(place: Path) -> tuple[Path, int | None]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        # Until it is locked, another process may take it for a dead one's and remove it.
        with contextlib.suppress(FileNotFoundError):
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX)
                if _same(folder, held):
                    return folder, held
            except OSError:
                os.close(held)
                if not folder.exists():
                    continue
                folder.rmdir()
                return Path(tempfile.mkdtemp(prefix=_UNLOCKED, dir=place)), None
            os.close(held)


def _same(folder: Path, held: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(held))
    except FileNotFoundError:
        return False


def sweep(place: Path) -> None:
    """Remove what killed processes left there: a file in memory outlives its owner."""
    for left in place.glob(f"{_PREFIX}*"):
        # Another user's cannot be opened; a link is not followed.
        with contextlib.suppress(OSError):
            found = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(found).st_uid == os.geteuid():
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(found)
