"""What every reader uses: files opened with one line that helps, and arrays handed over by part."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Int64Array
from seepage.data.free_memory import most_bytes
from seepage.errors import InputError
from seepage.short_repr import short_repr

if TYPE_CHECKING:
    from seepage.data.dataset import Kind
    from seepage.data.row_file import RowFile

__all__ = [
    "MISSING",
    "PARTS",
    "Part",
    "Raw",
    "as_text",
    "check_labels",
    "check_missing",
    "check_regular",
    "check_room",
    "data_root",
    "first_existing",
    "most_bytes",
    "name_labels",
    "open_plain_or_gz",
    "read_all",
    "reading",
    "row_ids",
]


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the official data sets: `root`, else SEEPAGE_DATA, else ~/.cache/seepage."""
    if root is not None:
        return Path(root).expanduser()
    env = os.environ.get("SEEPAGE_DATA")
    return Path(env).expanduser() if env else Path.home() / ".cache" / "seepage"


@contextmanager
def reading(path: object, expected: str) -> Iterator[None]:
    """Turn whatever the system says about an unreadable file into one `InputError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: expected {expected}, found no such file; check the path"
        ) from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: expected {expected}, got a folder; name the file") from error
    except PermissionError as error:
        raise InputError(
            f"{path}: expected {expected}, got permission denied; make it readable for this user"
        ) from error
    except (EOFError, zlib.error, tarfile.TarError, OSError) as error:
        raise InputError(
            f"{path}: expected {expected}, got a truncated or corrupt file "
            f"({one_line(error)}); fetch it again"
        ) from error


def one_line(error: BaseException, width: int = 160) -> str:
    """The message of a foreign error on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= width else text[: width - 1] + "…"


def check_regular(path: Path, expected: str) -> None:
    """Refuse what is neither a file nor a folder: opening a pipe waits for ever."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path}: expected {expected}, got a pipe, socket or device; name a file")


def open_plain_or_gz(path: Path) -> gzip.GzipFile:
    """Open for reading, unpacking when the name ends in .gz (the caller closes it)."""
    check_regular(path, "a file")
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def read_all(path: Path, expected: str) -> bytes:
    """The whole file, unpacked; empty files are refused, and what memory cannot hold."""
    room = most_bytes()
    with reading(path, expected), open_plain_or_gz(path) as stream:
        # In pieces: a small packed file may unpack to anything.
        pieces, size = [], 0
        while size <= room and (piece := stream.read(1 << 24)):
            pieces.append(piece)
            size += len(piece)
    check_room(path, expected, size, room)
    data = b"".join(pieces)
    if not data:
        raise InputError(f"{path}: expected {expected}, got an empty file; fetch it again")
    return data


def check_room(path: object, expected: str, size: int, room: int) -> None:
    """Refuse what unpacks to more than `room` bytes."""
    if size > room:
        raise InputError(
            f"{path}: expected {expected} that memory holds, at most {max(1, room >> 20)} MiB "
            "unpacked, got more; read a part of it"
        )


def first_existing(candidates: Iterable[Path]) -> Path | None:
    """The first path that exists, or None."""
    return next((p for p in candidates if p.exists()), None)


PARTS = ("train", "val", "test")

Array = AnyArray


@short_repr
@dataclass(frozen=True, eq=False)
class Part:
    """One part of a data set: inputs (N, ...), in memory or in their file, labels int64 (N,), ids (N,).

    groups (N,): whose sample each is, where the file says it. targets: of tasks other than classes.
    """

    inputs: Array | RowFile
    labels: Int64Array
    ids: NDArray[np.str_]
    groups: NDArray[np.str_] | None = None
    targets: NDArray[np.float32] | None = None


@short_repr
@dataclass(frozen=True, eq=False)
class Raw:
    """The parts that were read, in the order of `PARTS`, and what they have in common."""

    parts: dict[str, Part]
    classes: tuple[str, ...]
    name: str
    kind: Kind
    columns: tuple[str, ...] = ()
    numeric: BoolArray | None = None
    task: str = "classification"
    missing: bool = False


def check_missing(given: str, known: tuple[str, ...]) -> None:
    """Refuse other rules for missing values than those that a reader has."""
    if given not in known:
        raise InputError(
            f"missing: expected {', '.join(map(repr, known))}, got {given!r}; choose one"
        )


MISSING = ("", "?", "na", "n/a", "<na>", "nan", "nat", "null", "none")
"""What tables and other tools write, in any case, where a value is missing."""


def row_ids(part: str, n: int) -> NDArray[np.str_]:
    """Ids "train/0" ... of a part whose samples have no names of their own."""
    return np.array([f"{part}/{row}" for row in range(n)], dtype=np.str_)


def as_text(where: object, values: Array) -> NDArray[np.str_]:
    """Bytes, text or whole numbers as text, each its own; refused where that could merge two."""
    values = np.asarray(values)
    if values.dtype.kind not in "iuSUO":
        raise InputError(
            f"{where}: expected text or whole numbers, got {values.dtype}; convert them"
        )
    try:
        return values.astype(np.str_)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: expected text, got bytes that are no ASCII ({one_line(error)}); decode them"
        ) from None


def check_labels(where: object, labels: Array, classes: int) -> Int64Array:
    """Labels as int64, refused with their file and row when outside 0..K−1."""
    labels = np.asarray(labels)
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        raise InputError(
            f"{where}: expected labels in 0..{classes - 1}, got {labels[bad[0]]} at row {bad[0]}; "
            "check that this is the label file or column of this data set"
        )
    return labels.astype(np.int64)


def name_labels(
    where: object, parts: dict[str, Array], classes: tuple[str, ...] | None
) -> tuple[dict[str, Int64Array], tuple[str, ...]]:
    """Labels of all parts as 0..K−1 and the K class names, agreed over the parts.

    Whole numbers are taken as they are and must then cover 0..K−1 without a gap unless `classes`
    names the K classes; text is numbered in sorted order.
    """
    whole = np.concatenate([np.asarray(v) for v in parts.values()])
    if classes is not None and len(set(classes)) < len(classes):
        twice = next(c for c in classes if classes.count(c) > 1)
        raise InputError(
            f"{where}: expected every class once, got {twice!r} twice; correct the class names"
        )
    if whole.dtype.kind == "S":
        parts = {p: as_text(where, v) for p, v in parts.items()}
        whole = as_text(where, whole)
    if whole.dtype.kind == "U":
        missing = [
            row
            for row, v in enumerate(whole.tolist())
            if v.strip().lower() in MISSING and v not in (classes or ())
        ]
        if missing:
            raise InputError(
                f"{where}: expected a label for every sample, got {str(whole[missing[0]])!r} at "
                f"row {missing[0]}; drop such samples, or name it among the classes if it is one"
            )
        names = classes if classes else tuple(sorted(set(whole.tolist())))
        at = {name: k for k, name in enumerate(names)}
        unknown = sorted(set(whole.tolist()) - set(names))
        if unknown:
            raise InputError(
                f"{where}: expected labels among the {len(names)} classes, got {unknown[0]!r}; "
                "add it to classes or drop its rows"
            )
        return {
            p: np.array([at[x] for x in np.asarray(v).tolist()], dtype=np.int64)
            for p, v in parts.items()
        }, names
    if whole.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(whole) | (whole != np.round(whole)))
        if bad.size:
            raise InputError(
                f"{where}: expected whole-number labels, got {whole[bad[0]]} at row {bad[0]}; "
                "a real-valued target needs task = 'regression'"
            )
        # Above it float64 no longer tells whole numbers apart.
        large = np.flatnonzero(np.abs(whole.astype(np.float64)) > 2.0**53)
        if large.size:
            raise InputError(
                f"{where}: expected labels 0..K-1, got {whole[large[0]]} at row {large[0]}; "
                "number the classes from 0"
            )
    elif whole.dtype.kind not in "iub":
        raise InputError(
            f"{where}: expected labels as integers or text, got {whole.dtype}; convert them"
        )
    if classes is None:
        present = np.unique(whole if whole.dtype.kind == "u" else whole.astype(np.int64))
        if present.size and present[0] < 0:
            raise InputError(
                f"{where}: expected labels in 0..K-1, got {present[0]} at row "
                f"{int(np.argmin(whole))}; number the classes from 0"
            )
        if present.size and int(present[-1]) + 1 != present.size:
            gap = int(np.flatnonzero(present != np.arange(present.size))[0])
            raise InputError(
                f"{where}: expected labels 0..K-1 without gaps, got {present[gap]} but no {gap}; "
                "renumber them or store the class names as an array 'classes'"
            )
        classes = tuple(str(k) for k in range(int(present[-1]) + 1)) if present.size else ()
    return {p: check_labels(where, np.asarray(v), len(classes)) for p, v in parts.items()}, classes
