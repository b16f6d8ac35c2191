"""A local folder is read without Zarr, and gives what Zarr gives of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from seepage.array_types import AnyArray
from seepage.errors import CorruptStore
from seepage.store import arrays
from seepage.store.arrays import Described
from seepage.store.storage import Storage

TYPES = ("bool", "uint8", "int8", "uint16", "int32", "uint64", "int64", "float16", "float32", "float64")  # fmt: skip


def stored(where: Path, name: str, values: AnyArray, chunks: tuple[int, ...]) -> str:
    """Zarr's own array of these values; its description."""
    told = arrays.describe(values.shape, str(values.dtype), chunks)
    storage = Storage(where, write=True)
    storage.put(f"{name}/zarr.json", told.encode())
    arrays.open_array(storage, name)[...] = values
    return told


def both(where: Path, name: str, told: str) -> tuple[Storage, Any, Described]:
    storage = Storage(where)
    plain = arrays.open_to_read(storage, name, told)
    assert isinstance(plain, Described)
    return storage, arrays.open_array(storage, name, told), plain


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("inner", [(5,), (5, 2)])
def test_signals_are_those_that_zarr_reads(
    dtype: str, inner: tuple[int, ...], tmp_path: Path
) -> None:
    values = np.random.default_rng(0).integers(0, 2, (4, 3, *inner)).astype(dtype)
    told = stored(tmp_path, "a", values, (1, 1, *inner))
    storage, old, plain = both(tmp_path, "a", told)
    assert (plain.shape, plain.chunks, plain.dtype) == (old.shape, old.chunks, old.dtype)
    assert plain.ndim == old.ndim
    for rows in ([], [2], [0, 1, 2, 3], [1, 3]):
        at = np.array(rows, dtype=np.int64)
        for t in range(3):
            found, wanted = (arrays.read(storage, a, "a", at, t) for a in (plain, old))
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted)
            np.testing.assert_array_equal(found, values[at, t])
            some = [arrays.read_columns(storage, a, "a", at, t, 1, 4) for a in (plain, old)]
            assert some[0].dtype == some[1].dtype
            np.testing.assert_array_equal(some[0], values[at, t, 1:4])
    assert arrays.sized(storage, plain, "a/c/0/0" + "/0" * len(inner))


@pytest.mark.parametrize("dtype", TYPES)
def test_parts_of_the_plan_are_those_that_zarr_reads(dtype: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2, (4, 7)).astype(dtype)
    told = stored(tmp_path, "plan/member", values, values.shape)
    storage, old, _ = both(tmp_path, "plan/member", told)
    found = arrays.read_whole(storage, "plan/member", told)
    assert found.dtype == old.dtype
    assert found.flags.writeable
    np.testing.assert_array_equal(found, old[...])


def test_damage_is_named_as_with_zarr_and_an_absent_chunk_is_zeros(tmp_path: Path) -> None:
    values = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
    told = stored(tmp_path, "a", values, (1, 1, 4))
    storage, old, plain = both(tmp_path, "a", told)
    chunk = tmp_path / "a/c/1/2/0"
    raw = chunk.read_bytes()
    flipped = bytes([raw[0] ^ 1]) + raw[1:]
    for damaged in (b"", raw[:-1], raw + b"\0", flipped, raw[:-1] + bytes([raw[-1] ^ 1])):
        chunk.write_bytes(damaged)
        for array in (old, plain):
            with pytest.raises(CorruptStore, match=r"a/c/1/2/0: its bytes are not those"):
                arrays.read(storage, array, "a", np.array([0, 1]), 2)
        # Another run's chunks are read all the same.
        np.testing.assert_array_equal(
            arrays.read(storage, plain, "a", np.array([0]), 2), values[:1, 2]
        )
    chunk.unlink()
    for array in (old, plain):
        found = arrays.read(storage, array, "a", np.array([0, 1]), 2)
        np.testing.assert_array_equal(found, [values[0, 2], np.zeros(4)])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("codecs", [{"name": "bytes", "configuration": {"endian": "big"}}, {"name": "crc32c"}]),
        ("codecs", [{"name": "bytes", "configuration": {"endian": "little"}}]),
        ("chunk_key_encoding", {"name": "v2", "configuration": {"separator": "."}}),
        ("fill_value", 1.0),
        ("data_type", "complex64"),
        ("shape", [2, -3]),
        ("storage_transformers", [{"name": "other"}]),
        ("more", 1),
    ],
)
def test_what_is_described_otherwise_is_left_to_zarr(field: str, value: Any) -> None:
    told = json.loads(arrays.describe((2, 3), "float32", (2, 3)))
    assert Described.of(json.dumps(told).encode()) == Described((2, 3), (2, 3), np.dtype("f4"))
    assert Described.of(json.dumps(told | {field: value}).encode()) is None


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"\xff", b"null"])
def test_what_is_no_description_is_none(raw: bytes) -> None:
    assert Described.of(raw) is None


def test_an_array_in_another_order_is_still_read(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.int32).reshape(2, 3)
    zarr.create_array(str(tmp_path / "a"), data=values, chunks=(2, 3), serializer="auto", compressors=(zarr.codecs.Crc32cCodec(),), attributes={"by": "another"})  # fmt: skip
    storage = Storage(tmp_path)
    assert not isinstance(arrays.open_to_read(storage, "a"), Described)
    np.testing.assert_array_equal(arrays.read_whole(storage, "a"), values)


def test_a_folder_is_read_without_importing_zarr(tmp_path: Path) -> None:
    values = np.ones((2, 1, 3), np.float32)
    told = stored(tmp_path, "a", values, (1, 1, 3))
    script = (
        "import sys, numpy as np\n"
        "from seepage.store import arrays\n"
        "from seepage.store.storage import Storage\n"
        f"storage = Storage({str(tmp_path)!r})\n"
        f"array = arrays.open_to_read(storage, 'a', {told!r})\n"
        "assert arrays.read(storage, array, 'a', np.array([0, 1]), 0).sum() == 6\n"
        "assert storage.keys('') and storage.exists('a/zarr.json') and storage.size('a/zarr.json')\n"
        "assert storage.first_key(lambda k: True)\n"
        "assert 'zarr' not in sys.modules, 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
