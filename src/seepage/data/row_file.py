"""Inputs of samples that stay in their file: rows are read when they are asked for.

For pools larger than memory. What is read goes through the kernel's cache of the file, which all
workers of a machine share and which gives way when memory is needed; what a process holds itself are
the rows of a batch.
"""

from __future__ import annotations

import math
import mmap
import os
import platform
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seepage.array_types import AnyArray, Int64Array
from seepage.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["RowFile"]

# Python names it from 3.13 on; these machines' Linux has one number for it.
_NO_RESERVE: int = getattr(
    mmap, "MAP_NORESERVE", 0x4000 if platform.machine() in ("x86_64", "aarch64") else 0
)
# Rows that lie at most so many bytes apart are read together, so many bytes at once.
_GAP = 2**14
_SPAN = 2**22
# What a pass over the whole file holds at a time.
_BLOCK = 2**24


@dataclass(frozen=True)
class RowFile:
    """The inputs of a pool where they lie in a file, uint8 or float32, sample after sample.

    offset: bytes before the first sample. shape (N, ...) as in the file: tables (N, D), images
    (N, C, H, W), or (N, H, W, C) where `channels_last`. size, changed: of the file in bytes and
    nanoseconds, when it was looked at first; another file is refused whenever it is opened. finite:
    whether all values were seen to be, which is noted when they were.
    """

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: Literal["uint8", "float32"]
    channels_last: bool
    size: int
    changed: int
    finite: bool = False

    @classmethod
    def of(
        cls, path: Path, offset: int, shape: tuple[int, ...], dtype: Literal["uint8", "float32"]
    ) -> RowFile:
        """Inputs (N, D), (N, H, W), (N, C, H, W) or (N, H, W, C) of a file as it is now."""
        if len(shape) == 3:
            shape = (*shape, 1)
            last = True
        else:
            last = len(shape) == 4 and shape[1] not in (1, 3, 4)
        now = path.stat()
        where = str(path.resolve())
        return cls(where, offset, shape, dtype, last, now.st_size, now.st_mtime_ns)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> AnyArray:
        one: AnyArray = self.read(np.array([row]))[0]
        return one

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens the file itself.
        return {k: v for k, v in self.__dict__.items() if k not in ("_opened", "mapped")}

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample."""
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all samples."""
        return len(self) * self.row_bytes

    def check(self) -> None:
        """Raise InputError where the file is no longer what it was when it was first looked at."""
        try:
            now = os.stat(self.path)
        except OSError as e:
            raise InputError(
                f"{self.path}: expected the data that were loaded, got {e.strerror}; make the file "
                "reachable under this path wherever runs are trained"
            ) from None
        if (now.st_size, now.st_mtime_ns) != (self.size, self.changed):
            raise InputError(
                f"{self.path}: expected the file as it was when it was loaded, got one that was "
                "written since; load it again and leave it alone while it is read"
            )

    @cached_property
    def _opened(self) -> int:
        self.check()
        try:
            opened = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as e:
            raise InputError(
                f"{self.path}: expected a file that can be read, got {e.strerror}; make it readable"
            ) from None
        weakref.finalize(self, os.close, opened)
        if hasattr(os, "posix_fadvise"):
            # What is needed next is said (`advise`); the kernel's guesses would read much more.
            os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_RANDOM)
        return opened

    def read(self, rows: Int64Array) -> AnyArray:
        """Inputs of `rows` (B,), in any order, (B, ...) as they lie in the file."""
        rows = np.asarray(rows, dtype=np.int64)
        out = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        if not len(rows):
            return out
        if rows.min() < 0 or rows.max() >= len(self):
            raise IndexError(f"rows {rows.min()}..{rows.max()} of {len(self)}")
        raw = out.reshape(len(rows), -1).view(np.uint8)
        if rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            self._fill(raw.reshape(-1), int(rows[0]))
            return out
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        for first, last in self._pieces(ascending):
            low, count = int(ascending[first]), int(ascending[last - 1] - ascending[first]) + 1
            if last - first == 1:
                self._fill(raw[order[first]], low)
                continue
            span = np.empty((count, self.row_bytes), dtype=np.uint8)
            self._fill(span.reshape(-1), low)
            raw[order[first:last]] = span[ascending[first:last] - low]
        return out

    def advise(self, rows: Int64Array) -> None:
        """Let the kernel begin to read `rows`, which will be asked for soon; waits for nothing."""
        if not len(rows) or not hasattr(os, "posix_fadvise"):
            return
        ascending = np.sort(np.asarray(rows, dtype=np.int64))
        for first, last in self._pieces(ascending):
            count = int(ascending[last - 1] - ascending[first]) + 1
            at = self.offset + int(ascending[first]) * self.row_bytes
            os.posix_fadvise(self._opened, at, count * self.row_bytes, os.POSIX_FADV_WILLNEED)

    def _pieces(self, ascending: Int64Array) -> Iterator[tuple[int, int]]:
        """Positions [first, last) in `ascending` whose rows are read together."""
        apart = np.flatnonzero((np.diff(ascending) - 1) * self.row_bytes > _GAP) + 1
        most = max(1, _SPAN // self.row_bytes)
        begins = [0, *apart.tolist()]
        for first, last in zip(begins, [*begins[1:], len(ascending)], strict=True):
            if ascending[last - 1] - ascending[first] < most:
                yield first, last
                continue
            at = first
            while at < last:
                end = at + int(np.searchsorted(ascending[at:last], ascending[at] + most))
                yield at, end
                at = end

    def _fill(self, target: AnyArray, row: int) -> None:
        """Bytes from the beginning of `row` on, as many as `target` (bytes of one axis) has."""
        at, done = self.offset + row * self.row_bytes, 0
        while done < len(target):
            try:
                got = os.preadv(self._opened, [target[done:].data], at + done)
            except OSError as e:
                raise InputError(
                    f"{self.path}: expected a file that can be read, got {e.strerror}; check the disk"
                ) from None
            if not got:
                self.check()
                raise InputError(
                    f"{self.path}: expected {self.size} bytes, got fewer; load it again"
                )
            done += got

    def blocks(
        self, rows: Int64Array | None = None, count: int | None = None
    ) -> Iterator[AnyArray]:
        """`read` of all rows, or of `rows`, some at a time: `count`, or what few bytes hold."""
        each = max(1, _BLOCK // self.row_bytes) if count is None else count
        number = len(self) if rows is None else len(rows)

        def part(begin: int) -> Int64Array:
            end = min(begin + each, number)
            return np.arange(begin, end) if rows is None else rows[begin:end]

        self.advise(part(0))
        for begin in range(0, number, each):
            self.advise(part(begin + each) if begin + each < number else part(number))
            yield self.read(part(begin))

    def as_inputs(self, read: AnyArray) -> AnyArray:
        """What was read as a dataset holds it: images (B, C, H, W), tables (B, D); a view."""
        return read.transpose(0, 3, 1, 2) if self.channels_last else read

    def as_pixels(self, read: AnyArray) -> AnyArray:
        """What was read as batches are cut from it: images (B, H, W, C), tables (B, D)."""
        if self.channels_last or read.ndim == 2:
            return read
        return np.ascontiguousarray(read.transpose(0, 2, 3, 1))

    @cached_property
    def mapped(self) -> torch.Tensor:
        """All inputs as a dataset holds them, mapped: for a look at a few.

        The mapping is private and reserves no memory: what would be written to it stays in the process.
        """
        import torch

        length, opened = self.offset + self.nbytes, self._opened
        try:
            held = mmap.mmap(
                opened,
                length,
                flags=mmap.MAP_PRIVATE | _NO_RESERVE,
                prot=mmap.PROT_READ | mmap.PROT_WRITE,
            )
        except OSError:
            # Some kernels reserve memory all the same for what might be written.
            held = mmap.mmap(opened, length, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        if hasattr(mmap, "MADV_RANDOM"):
            held.madvise(mmap.MADV_RANDOM)
        flat = np.frombuffer(held, self.dtype, math.prod(self.shape), self.offset)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(self.as_inputs(flat.reshape(self.shape)))
