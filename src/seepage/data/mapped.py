"""An array in a file, of which a part is read when it is asked for."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from seepage.array_types import AnyArray
from seepage.data.reading import check_regular, one_line, reading
from seepage.errors import InputError

__all__ = ["MappedArray", "map_npy", "npy_header"]


@dataclass(frozen=True)
class MappedArray:
    """An array whose values stay in their file: `array[r, t]` reads that part alone.

    The file is mapped for the moment of the reading, so that no more memory is held than the part
    takes. path, offset: where the values begin; fortran: whether they lie in column order.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool = False

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, at: Any) -> AnyArray:
        if not self.size:
            nothing: AnyArray = np.empty(self.shape, self.dtype)[at]
            return nothing
        try:
            mapped = np.memmap(
                self.path, self.dtype, "r", self.offset, self.shape, "F" if self.fortran else "C"
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path}: expected the array that was there before, got another file "
                f"({one_line(error)}); leave it alone while it is read"
            ) from None
        part: AnyArray = np.array(mapped[at])
        return part


def npy_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in column order, and type; the stream then stands where the values begin.

    Raises ValueError for what is no header, and for objects (which would be pickles) and records.
    """
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"{name[:60]!r} of format {version}")
    with warnings.catch_warnings():
        # An escape that is none is then an error, which numpy calls a header that it cannot parse.
        for kind in (DeprecationWarning, SyntaxWarning):
            warnings.simplefilter("error", kind)
        shape, fortran, dtype = read(stream)
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"{name.removesuffix('.npy')[:60]!r} announces shape {shape}")
    if dtype.hasobject or dtype.kind not in "biufcSU":
        raise ValueError(f"{name.removesuffix('.npy')[:60]!r} holds objects or records ({dtype})")
    return shape, bool(fortran), dtype


def map_npy(path: Path, expected: str = "an array that numpy.save wrote") -> MappedArray:
    """The array of a .npy file, its header alone read.

    Raises InputError for anything else: another file, objects, a header that announces more or
    fewer values than the file holds.
    """
    with reading(path, expected):
        check_regular(path, expected)
        try:
            with path.open("rb") as stream:
                shape, fortran, dtype = npy_header(stream, path.name)
                offset = stream.tell()
            held = path.stat().st_size - offset
            if math.prod(shape) * dtype.itemsize != held:
                raise ValueError(f"it announces shape {shape} of {dtype}, and holds {held} bytes")
        except OSError:
            raise
        except Exception as error:  # whatever NumPy says of a damaged header
            raise InputError(
                f"{path}: expected {expected}, got a corrupt file or other content "
                f"({one_line(error)}); save it again with numpy.save"
            ) from None
    return MappedArray(path, offset, shape, dtype, fortran)
