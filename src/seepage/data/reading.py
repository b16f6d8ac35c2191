"""What every reader uses: files opened with one line that helps, and arrays handed over by part."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Int64Array
from seepage.data.dataset import Kind
from seepage.errors import InputError

__all__ = [
    "PARTS",
    "Part",
    "Raw",
    "check_labels",
    "data_root",
    "first_existing",
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


def open_plain_or_gz(path: Path) -> gzip.GzipFile:
    """Open for reading, unpacking when the name ends in .gz (the caller closes it)."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def read_all(path: Path, expected: str) -> bytes:
    """The whole file, unpacked; empty files are refused."""
    with reading(path, expected), open_plain_or_gz(path) as stream:
        data: bytes = stream.read()
    if not data:
        raise InputError(f"{path}: expected {expected}, got an empty file; fetch it again")
    return data


def first_existing(candidates: Iterable[Path]) -> Path | None:
    """The first path that exists, or None."""
    return next((p for p in candidates if p.exists()), None)


PARTS = ("train", "test")

Array = AnyArray


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a data set: inputs (N, ...), labels int64 (N,), ids (N,)."""

    inputs: Array
    labels: Int64Array
    ids: NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Raw:
    """The parts that were read, in the order of `PARTS`, and what they have in common."""

    parts: dict[str, Part]
    classes: tuple[str, ...]
    name: str
    kind: Kind
    columns: tuple[str, ...] = ()
    numeric: BoolArray | None = None


def row_ids(part: str, n: int) -> NDArray[np.str_]:
    """Ids "train/0" ... of a part whose samples have no names of their own."""
    return np.array([f"{part}/{row}" for row in range(n)], dtype=np.str_)


def check_labels(where: object, labels: Array, classes: int) -> Int64Array:
    """Labels as int64, refused with their file and row when outside 0..K−1."""
    labels = np.asarray(labels).astype(np.int64)
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        raise InputError(
            f"{where}: expected labels in 0..{classes - 1}, got {labels[bad[0]]} at row {bad[0]}; "
            "check that this is the label file or column of this data set"
        )
    return labels


def name_labels(
    where: object, parts: dict[str, Array], classes: tuple[str, ...] | None
) -> tuple[dict[str, Int64Array], tuple[str, ...]]:
    """Labels of all parts as 0..K−1 and the K class names, agreed over the parts.

    Whole numbers are taken as they are and must then cover 0..K−1 without a gap unless `classes`
    names the K classes; text is numbered in sorted order.
    """
    whole = np.concatenate([np.asarray(v) for v in parts.values()])
    if whole.dtype.kind in "SU":
        names = classes if classes else tuple(sorted({str(v) for v in whole.astype(np.str_)}))
        at = {name: k for k, name in enumerate(names)}
        unknown = sorted({str(v) for v in whole.astype(np.str_)} - set(names))
        if unknown:
            raise InputError(
                f"{where}: expected labels among the {len(names)} classes, got {unknown[0]!r}; "
                "add it to classes or drop its rows"
            )
        return {
            p: np.array([at[str(x)] for x in np.asarray(v).astype(np.str_)], dtype=np.int64)
            for p, v in parts.items()
        }, names
    if whole.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(whole) | (whole != np.round(whole)))
        if bad.size:
            raise InputError(
                f"{where}: expected whole-number labels, got {whole[bad[0]]} at row {bad[0]}; "
                "seepage audits classifiers, bin a continuous target first"
            )
    elif whole.dtype.kind not in "iub":
        raise InputError(
            f"{where}: expected labels as integers or text, got {whole.dtype}; convert them"
        )
    if classes is None:
        present = np.unique(whole.astype(np.int64))
        if present.size and present[0] >= 0 and present[-1] + 1 != present.size:
            gap = int(np.flatnonzero(present != np.arange(present.size))[0])
            raise InputError(
                f"{where}: expected labels 0..K-1 without gaps, got {present[gap]} but no {gap}; "
                "renumber them or store the class names as an array 'classes'"
            )
        classes = tuple(str(k) for k in range(int(present[-1]) + 1)) if present.size else ()
    return {p: check_labels(where, np.asarray(v), len(classes)) for p, v in parts.items()}, classes
