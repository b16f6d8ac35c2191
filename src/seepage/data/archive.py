"""Named arrays from an .npz: looked over before any memory is taken, and never a pickle."""

from __future__ import annotations

import math
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from seepage.array_types import AnyArray
from seepage.data.mapped import MappedArray, map_npy, npy_header
from seepage.data.reading import check_regular, one_line, reading
from seepage.errors import InputError

__all__ = ["LARGE", "map_archive", "map_folder", "read_archive"]

# Deflate makes nothing larger than 1,032 times what it stored.
_MOST_DEFLATED = 1032
_STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
LARGE = 2**22
"""Smaller arrays are read at once, into less memory than a mapping's pages would take."""
_AT_ONCE = 2**22


def read_archive(path: Path, expected: str = "an .npz file of arrays") -> dict[str, AnyArray]:
    """Every array of an archive that `numpy.savez` or `savez_compressed` wrote, by its name.

    Each array's header is read first: the bytes that it announces must be those that the archive
    holds, and all of them together must fit into the free memory. Raises InputError for anything
    else: no archive, two members of one name, members that are no arrays, objects (which would be
    pickles), structured or text-less types, encrypted or damaged members.
    """
    return {name: a[...] for name, a in _opened(path, expected, mapped=False).items()}


def map_archive(
    path: Path, expected: str = "an .npz file of arrays", *, mapped: bool = True
) -> dict[str, AnyArray | MappedArray]:
    """As `read_archive`; large arrays that are not compressed stay in the file.

    Their checksums are compared before anything is returned. mapped=False reads them all.
    """
    return _opened(path, expected, mapped=mapped)


def map_folder(path: Path) -> dict[str, AnyArray | MappedArray]:
    """The arrays of a folder of .npy files, by their names without the suffix; none is read yet."""
    return {p.stem: map_npy(p) for p in sorted(path.glob("*.npy")) if not p.name.startswith(".")}


@dataclass(frozen=True)
class _Member:
    """One array of an archive: where its header lies, and what that says."""

    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    header: int

    def large(self) -> bool:
        """Whether it can stay in the file and is worth it."""
        stored = self.info.compress_type == zipfile.ZIP_STORED
        return stored and self.info.file_size > LARGE


def _opened(path: Path, expected: str, *, mapped: bool) -> dict[str, AnyArray | MappedArray]:
    with reading(path, expected):
        check_regular(path, expected)
        with path.open("rb") as stream:
            if stream.read(6) == b"\x93NUMPY":
                raise InputError(
                    f"{path}: expected {expected}, got a single array; save arrays by name with "
                    "numpy.savez"
                )
        try:
            with zipfile.ZipFile(path) as archive:
                members = _looked_over(archive, path.stat().st_size, mapped)
                return {
                    name: _map(path, archive, m)
                    if mapped and m.large()
                    else _array(archive, m.info)
                    for name, m in members.items()
                }
        except (OSError, InputError):
            raise
        except Exception as error:  # whatever zipfile, zlib and NumPy say of a damaged file
            raise InputError(
                f"{path}: expected {expected}, got a corrupt file or other content "
                f"({one_line(error)}); save it again with numpy.savez"
            ) from None


def _looked_over(archive: zipfile.ZipFile, size: int, mapped: bool) -> dict[str, _Member]:
    """Members by the name of their array, their headers alone read."""
    found: dict[str, _Member] = {}
    need = stored = 0
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name == info.filename:
            raise ValueError(f"a member {info.filename[:60]!r} that is no array")
        if name in found:
            raise ValueError(f"two arrays called {name[:60]!r}")
        stored += info.compress_size
        if info.compress_type not in _STORED:
            raise ValueError(f"a compression of {name[:60]!r} that numpy.savez does not use")
        if info.file_size > _MOST_DEFLATED * info.compress_size + 4096 or stored > size:
            raise ValueError(f"{name[:60]!r} announces {info.file_size} bytes, which are not there")
        with archive.open(info) as stream:
            shape, fortran, dtype = npy_header(stream, info.filename)
            at = stream.tell()
        found[name] = _Member(info, shape, fortran, dtype, at)
        if math.prod(shape) * dtype.itemsize != info.file_size - at:
            raise ValueError(
                f"{name[:60]!r} announces shape {shape} of {dtype}, and holds "
                f"{info.file_size - at} bytes"
            )
        need += 0 if mapped and found[name].large() else info.file_size
    free = psutil.virtual_memory().available
    if need > free:
        raise ValueError(
            f"arrays of {need} bytes for {free} bytes of free memory, which only what is not compressed "
            "can do without"
        )
    return found


def _map(path: Path, archive: zipfile.ZipFile, member: _Member) -> MappedArray:
    """A stored member where it lies, its checksum compared."""
    info = member.info
    with archive.open(info) as stream:
        while stream.read(_AT_ONCE):
            pass  # at its end the archive compares the checksum
    with path.open("rb") as raw:
        raw.seek(info.header_offset)
        # A local header of the ZIP format: the lengths of name and of further fields end it.
        *_, name, further = struct.unpack("<4s5H3I2H", raw.read(30))
    offset = info.header_offset + 30 + name + further + member.header
    return MappedArray(path, offset, member.shape, member.dtype, member.fortran)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> AnyArray:
    with archive.open(info) as stream:
        array: AnyArray = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read(1)  # at its end the archive compares the checksum
    return array
