"""Named arrays from an .npz: looked over before any memory is taken, and never a pickle."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import psutil

from seepage.array_types import AnyArray
from seepage.data.reading import check_regular, one_line, reading
from seepage.errors import InputError

__all__ = ["read_archive"]

# Deflate makes nothing larger than 1,032 times what it stored.
_MOST_DEFLATED = 1032
_STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_archive(path: Path, expected: str = "an .npz file of arrays") -> dict[str, AnyArray]:
    """Every array of an archive that `numpy.savez` or `savez_compressed` wrote, by its name.

    Each array's header is read first: the bytes that it announces must be those that the archive
    holds, and all of them together must fit into the free memory. Raises InputError for anything
    else: no archive, two members of one name, members that are no arrays, objects (which would be
    pickles), structured or text-less types, encrypted or damaged members.
    """
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
                names = _looked_over(archive, path.stat().st_size)
                return {name: _array(archive, info) for name, info in names.items()}
        except (OSError, InputError):
            raise
        except Exception as error:  # whatever zipfile, zlib and NumPy say of a damaged file
            raise InputError(
                f"{path}: expected {expected}, got a corrupt file or other content "
                f"({one_line(error)}); save it again with numpy.savez"
            ) from None


def _looked_over(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Members by the name of their array, their headers alone read."""
    found: dict[str, zipfile.ZipInfo] = {}
    need = stored = 0
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name == info.filename:
            raise ValueError(f"a member {info.filename[:60]!r} that is no array")
        if name in found:
            raise ValueError(f"two arrays called {name[:60]!r}")
        found[name] = info
        stored += info.compress_size
        if info.compress_type not in _STORED:
            raise ValueError(f"a compression of {name[:60]!r} that numpy.savez does not use")
        if info.file_size > _MOST_DEFLATED * info.compress_size + 4096 or stored > size:
            raise ValueError(f"{name[:60]!r} announces {info.file_size} bytes, which are not there")
        shape, dtype, at = _header(archive, info)
        if dtype.hasobject or dtype.kind not in "biufcSU":
            raise ValueError(f"{name[:60]!r} holds objects or records ({dtype})")
        if math.prod(shape) * dtype.itemsize != info.file_size - at:
            raise ValueError(
                f"{name[:60]!r} announces shape {shape} of {dtype}, and holds "
                f"{info.file_size - at} bytes"
            )
        need += info.file_size
    free = psutil.virtual_memory().available
    if need > free:
        raise ValueError(f"arrays of {need} bytes for {free} bytes of free memory")
    return found


def _header(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    """Shape, type and where the values begin."""
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"{info.filename[:60]!r} of format {version}")
        shape, _, dtype = read(stream)
        if not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ValueError(f"{info.filename[:-4][:60]!r} announces shape {shape}")
        return shape, dtype, stream.tell()


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> AnyArray:
    with archive.open(info) as stream:
        array: AnyArray = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read(1)  # at its end the archive compares the checksum
    return array
