"""What a run folder holds in bytes that notice a change: arrays in chunks, tensors in files.

Arrays are one per signal, one chunk per run and checkpoint. A worker that reaches a checkpoint
writes one chunk per signal; no other process writes it, so no two processes ever share a chunk. Each
chunk carries a CRC-32C that every read checks, and the run's record holds its SHA-256. Tensors,
weights and training states, are safetensors with the SHA-256 of the whole file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from seepage.array_types import AnyArray, Int64Array
from seepage.errors import CorruptStore, SeepageError
from seepage.store.storage import Storage

if TYPE_CHECKING:
    import torch
    import zarr

__all__ = [
    "Described",
    "chunk_digest",
    "chunk_key",
    "describe",
    "encode",
    "open_array",
    "open_to_read",
    "pack",
    "read",
    "read_columns",
    "read_whole",
    "read_written",
    "sized",
    "unpack",
]

_ZEROS = "0" * 64


def _metadata(raw: bytes) -> dict[str, Any]:
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    found: dict[str, Any] = json.loads(header["__metadata__"]["seepage"])
    return found


def pack(tensors: dict[str, torch.Tensor], facts: dict[str, Any] | None = None) -> bytes:
    """A safetensors file of host copies, with JSON `facts` and the SHA-256 of the whole file.

    The digest is taken with zeros in its own place, so every byte of the file is covered.
    """
    from safetensors.torch import save

    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    # One field only: safetensors writes several in an order that changes from process to process.
    metadata = json.dumps({"sha256": _ZEROS, "facts": facts or {}})
    raw = save(plain, metadata={"seepage": metadata})
    return raw.replace(_ZEROS.encode(), hashlib.sha256(raw).hexdigest().encode(), 1)


def unpack(raw: bytes, where: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What `pack` was given; CorruptStore, naming `where`, when a byte changed.

    >>> import torch
    >>> raw = pack({"w": torch.ones(2)}, {"epoch": 3})
    >>> unpack(raw, "here")[1]
    {'epoch': 3}
    """
    from safetensors.torch import load

    try:
        metadata = _metadata(raw)
        digest = metadata["sha256"]
        blank = raw.replace(digest.encode(), _ZEROS.encode(), 1)
        if hashlib.sha256(blank).hexdigest() != digest:
            raise ValueError
        return load(raw), metadata["facts"]
    except Exception:
        raise CorruptStore(
            f"{where}: its bytes are not those that were written; "
            "run `seepage repair` on this folder"
        ) from None


# What Zarr and its codecs raise on bytes that are not a chunk.
_UNREADABLE = (ValueError, OSError, RuntimeError, TypeError)


def describe(shape: tuple[int, ...], dtype: str, chunks: tuple[int, ...]) -> str:
    """The zarr.json of such an array, its chunks with a CRC-32C and uncompressed.

    Compression would gain 2 to 5 % on such statistics.

    >>> import json
    >>> json.loads(describe((4,), "int64", (4,)))["shape"]
    [4]
    """
    import zarr
    from zarr.codecs import Crc32cCodec
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync
    from zarr.storage import MemoryStore

    memory = MemoryStore()
    zarr.create_array(
        store=memory,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        filters=None,
        compressors=(Crc32cCodec(),),
        fill_value=False if dtype == "bool" else 0,
    )
    raw = sync(memory.get("zarr.json", default_buffer_prototype()))
    assert raw is not None
    return raw.to_bytes().decode()


def open_array(storage: Storage, name: str, description: str | None = None) -> zarr.Array[Any]:
    """The array under `name`; CorruptStore when its zarr.json is not `description`."""
    import zarr

    try:
        raw = storage.get(f"{name}/zarr.json")
        if raw is None or (description is not None and raw != description.encode()):
            raise ValueError
        mode = "r+" if storage.write else "r"
        array = zarr.open_array(store=storage.store, path=name, mode=mode, zarr_format=3)
    except SeepageError:
        raise
    except Exception:
        raise CorruptStore(
            f"{storage.where}/{name}/zarr.json: it is not the description that was written; "
            "run `seepage repair` on this folder"
        ) from None
    # Zarr omits chunks of zeros by default; a run with an absent chunk is no run. Not `with_config`,
    # which came with 3.1.6.
    config: Any = {"write_empty_chunks": True}
    return zarr.Array(zarr.AsyncArray(array.metadata, array.store_path, config))


@dataclass(frozen=True)
class Described:
    """An array whose chunks are plain files, as `describe` tells of it: Zarr is not needed to read it."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @classmethod
    def of(cls, raw: bytes) -> Described | None:
        """What a zarr.json tells; None where it is not in every word as `describe` writes it.

        >>> Described.of(describe((4, 2), "float32", (1, 2)).encode()).chunks
        (1, 2)
        >>> Described.of(describe((4,), "int64", (4,)).replace("little", "big").encode()) is None
        True
        """
        try:
            told = json.loads(raw)
            shape, name = told["shape"], told["data_type"]
            chunks = told["chunk_grid"]["configuration"]["chunk_shape"]
            if told != _told(shape, name, chunks) or len(shape) != len(chunks):
                return None
            if not all(type(n) is int and n >= 0 for n in shape) or name not in _TYPES:
                return None
            if not all(type(n) is int and n >= 1 for n in chunks):
                return None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return cls(tuple(shape), tuple(chunks), np.dtype(name))

    def values(self, raw: bytes) -> AnyArray | None:
        """A chunk's values from its bytes, in the shape of a chunk; None where these are damaged."""
        held = memoryview(raw)[:-4]
        if len(raw) != math.prod(self.chunks) * self.dtype.itemsize + 4:
            return None
        if google_crc32c.value(bytes(held)) != int.from_bytes(raw[-4:], "little"):
            return None
        stored = np.frombuffer(held, self.dtype.newbyteorder("<")).reshape(self.chunks)
        return stored.astype(self.dtype)


_TYPES = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float16", "float32", "float64")  # fmt: skip


def _told(shape: Any, name: Any, chunks: Any) -> dict[str, Any]:
    """The content of a zarr.json as `describe` writes it."""
    fill: Any = False if name == "bool" else 0
    # Of one byte there is no order.
    order = {"name": "bytes", "configuration": {"endian": "little"}}
    return {
        "shape": shape,
        "data_type": name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [{"name": "bytes"} if name in ("bool", "int8", "uint8") else order, {"name": "crc32c"}],
        "attributes": {},
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }  # fmt: skip


def open_to_read(
    storage: Storage, name: str, description: str | None = None
) -> zarr.Array[Any] | Described:
    """As `open_array`, for `read`, `read_columns`, `read_written`, `read_whole` and `sized` alone.

    Of a local folder Zarr, whose import takes a third of a short command, is not even imported.
    """
    if storage.local is not None:
        raw = storage.get(f"{name}/zarr.json")
        if raw is not None and (description is None or raw == description.encode()):
            plain = Described.of(raw)
            if plain is not None:
                return plain
    return open_array(storage, name, description)


def chunk_key(name: str, model: int, t: int, axes: int) -> str:
    """Key of the chunk of one run and checkpoint."""
    return f"{name}/c/{model}/{t}" + "/0" * (axes - 2)


def chunk_digest(values: AnyArray) -> str:
    """SHA-256 of the values as little-endian bytes."""
    a = _little(values, None)
    return hashlib.sha256(a.reshape(-1).view(np.uint8).data).hexdigest()


def _little(values: AnyArray, dtype: Any) -> AnyArray:
    a = np.ascontiguousarray(values, dtype=dtype)
    return a.astype(a.dtype.newbyteorder("<"), copy=False)


def encode(array: zarr.Array[Any], values: AnyArray) -> tuple[bytes, str]:
    """The bytes of one chunk, and the digest of its values.

    They are those that Zarr's codecs give of `describe`: little-endian values and their CRC-32C. Its
    own way for one chunk, over an event loop in another thread, takes ten times as long.
    """
    raw = _little(values, array.dtype).tobytes()
    whole = array.chunks == (1, 1, *np.shape(values))
    if not whole or len(raw) != math.prod(array.chunks) * array.dtype.itemsize:
        raise ValueError(f"values: expected one chunk {array.chunks}, got {np.shape(values)}")
    check = google_crc32c.value(raw).to_bytes(4, "little")
    return raw + check, hashlib.sha256(raw).hexdigest()


def _corrupt(storage: Storage, key: str) -> CorruptStore:
    return CorruptStore(
        f"{storage.where}/{key}: its bytes are not those that were written; "
        "run `seepage repair` on this folder"
    )


def read(
    storage: Storage, array: zarr.Array[Any] | Described, name: str, models: Int64Array, t: int
) -> AnyArray:
    """Chunks of several runs at one checkpoint, (R, ...); CorruptStore names the bad chunk.

    models ascend. One plain slice and a choice of its rows: Zarr's orthogonal indexing takes nine
    times as long for 256 runs.
    """
    if not len(models):
        return np.empty((0, *array.shape[2:]), dtype=array.dtype)
    if isinstance(array, Described):
        return np.stack([_chunk(storage, array, name, (r, t)) for r in models.tolist()])
    first, last = int(models[0]), int(models[-1]) + 1
    try:
        block = np.asarray(array[first:last, t])
        return block if last - first == len(models) else block[models - first]
    except _UNREADABLE:
        # The bad chunk may belong to a run that was not asked for.
        rows = []
        for r in models.tolist():
            try:
                rows.append(np.asarray(array[r, t]))
            except _UNREADABLE:
                raise _corrupt(storage, chunk_key(name, r, t, array.ndim)) from None
        return np.stack(rows)


def _chunk(storage: Storage, array: Described, name: str, at: tuple[int, ...]) -> AnyArray:
    """The chunk at these places of the first axes; zeros where there is none, as Zarr has it."""
    key = "/".join([f"{name}/c", *map(str, at), *["0"] * (array.ndim - len(at))])
    raw = storage.get(key)
    inside = array.chunks[len(at) :]
    if raw is None:
        return np.zeros(inside, array.dtype)
    found = array.values(raw)
    if found is None:
        raise _corrupt(storage, key)
    return found.reshape(inside)


def read_columns(
    storage: Storage,
    array: zarr.Array[Any] | Described,
    name: str,
    models: Int64Array,
    t: int,
    first: int,
    last: int,
) -> AnyArray:
    """Samples first to last of several runs at one checkpoint: (R, last − first, ...).

    Chunks are not compressed, so that of each only these bytes are read; that they are those that
    were written, the caller has made sure. CorruptStore names a chunk that is too short.
    """
    stored = array.dtype
    if isinstance(array, Described):
        stored = stored.newbyteorder("<")
    else:
        from zarr.codecs import BytesCodec

        for codec in getattr(array.metadata, "codecs", ()):
            if isinstance(codec, BytesCodec) and codec.endian is not None:
                stored = stored.newbyteorder("<" if codec.endian.value == "little" else ">")
    out = np.empty((len(models), last - first, *array.shape[3:]), dtype=stored)
    size = stored.itemsize * int(np.prod(array.shape[3:]))
    for found, r in zip(out, models.tolist(), strict=True):
        key = chunk_key(name, r, t, array.ndim)
        room = memoryview(found.reshape(-1).view(np.uint8))
        if storage.read_into(key, first * size, room) != len(room):
            raise _corrupt(storage, key)
    return out.astype(array.dtype, copy=False)


def read_written(
    storage: Storage,
    array: zarr.Array[Any] | Described,
    name: str,
    models: Int64Array,
    t: int,
    digests: Sequence[str],
) -> AnyArray | None:
    """As `read`, from files whose bytes have these digests; None where one has not, or there are no files.

    Zarr's own reading of 768 chunks takes ten times as long.
    """
    if storage.local is None:
        return None
    dtype = array.dtype.newbyteorder("<")
    block = np.empty((len(models), *array.shape[2:]), dtype=dtype)
    for values, row, digest in zip(block, models.tolist(), digests, strict=True):
        raw = storage.bytes_of(chunk_key(name, row, t, array.ndim))
        if len(raw) != block.nbytes // len(block) + 4:
            return None
        held = raw[:-4]
        if hashlib.sha256(held).hexdigest() != digest:
            return None
        if google_crc32c.value(held) != int.from_bytes(raw[-4:], "little"):
            return None
        values[...] = np.frombuffer(held, dtype).reshape(values.shape)
    return block.astype(array.dtype, copy=False)


def sized(storage: Storage, array: zarr.Array[Any] | Described, key: str) -> bool:
    """Whether a chunk has as many bytes as the description says, before room is made for them.

    False too where there is none.
    """
    return storage.size(key) == int(np.prod(array.chunks)) * array.dtype.itemsize + 4


def read_whole(storage: Storage, name: str, description: str | None = None) -> AnyArray:
    """An array of a single chunk; CorruptStore when the chunk is absent or its bytes changed."""
    array = open_to_read(storage, name, description)
    key = f"{name}/c" + "/0" * array.ndim
    # Zarr takes an absent chunk for fill values: membership would silently be empty.
    if not sized(storage, array, key):
        raise _corrupt(storage, key)
    if isinstance(array, Described):
        return _chunk(storage, array, name, ())
    try:
        return np.asarray(array[...])
    except _UNREADABLE:
        raise _corrupt(storage, key) from None
