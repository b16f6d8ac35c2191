"""MNIST and Fashion-MNIST: the IDX files as published, packed or unpacked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seepage.array_types import AnyArray
from seepage.data.reading import (
    Part,
    Raw,
    check_labels,
    check_room,
    first_existing,
    most_bytes,
    open_plain_or_gz,
    reading,
    row_ids,
)
from seepage.errors import InputError

__all__ = ["IDX_CLASSES", "read_idx", "read_mnist"]

_STEM = {"train": "train", "test": "t10k"}
_FOLDER = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
IDX_CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}


def read_idx(path: Path, axes: int) -> AnyArray:
    """An IDX file of unsigned bytes with `axes` axes, .gz or plain -> uint8 array.

    The header is two zero bytes, the type code 8, the number of axes, then one big-endian 32-bit
    length per axis; the file must hold exactly the bytes that it announces.
    """
    expected = f"an IDX file of bytes with {axes} {'axis' if axes == 1 else 'axes'}"
    with reading(path, expected), open_plain_or_gz(path) as stream:
        head = stream.read(4 + 4 * axes)
        if not head:
            raise InputError(f"{path}: expected {expected}, got an empty file; fetch it again")
        magic = bytes([0, 0, 8, axes])
        if head[:4] != magic:
            raise InputError(
                f"{path}: expected {expected} (magic {magic.hex()}), got magic {head[:4].hex()}; "
                "check that images and labels are not swapped"
            )
        if len(head) < 4 + 4 * axes:
            raise InputError(f"{path}: expected {expected}, got a truncated header; fetch it again")
        shape = tuple(int(n) for n in np.frombuffer(head, dtype=">u4", offset=4))
        size = 1
        for n in shape:
            size *= n
        # A header may announce anything: read in pieces, so that memory follows the file.
        pieces, left, room = [], size + 1, most_bytes()
        while left and size + 1 - left <= room and (piece := stream.read(min(left, 1 << 24))):
            pieces.append(piece)
            left -= len(piece)
    check_room(path, expected, size + 1 - left, room)
    content = b"".join(pieces)
    if len(content) != size:
        got = "more" if len(content) > size else f"only {len(content)}"
        raise InputError(
            f"{path}: expected {size} bytes for shape {shape}, got {got}; fetch the file again"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def read_mnist(name: str, root: Path, wanted: tuple[str, ...]) -> Raw:
    """The wanted parts of `name` from root, root/raw or root/<official folder>/raw."""
    folders = [root / _FOLDER[name] / "raw", root / _FOLDER[name], root / "raw", root]
    classes = IDX_CLASSES[name]
    parts = {}
    for part in wanted:
        images_path = _find(name, folders, f"{_STEM[part]}-images-idx3-ubyte")
        labels_path = _find(name, folders, f"{_STEM[part]}-labels-idx1-ubyte")
        images = read_idx(images_path, 3)
        labels = read_idx(labels_path, 1)
        if len(images) != len(labels):
            raise InputError(
                f"{labels_path}: expected {len(images)} labels as {images_path.name} has images, "
                f"got {len(labels)}; fetch both again"
            )
        parts[part] = Part(
            images[:, None],
            check_labels(labels_path, labels, len(classes)),
            row_ids(part, len(labels)),
        )
    return Raw(parts, classes, name, "image")


def _find(name: str, folders: list[Path], file: str) -> Path:
    # Some mirrors unpack to names with a dot before "idx" instead of a hyphen.
    names = [file + ".gz", file, file.replace("-idx", ".idx")]
    path = first_existing(folder / n for folder in folders for n in names)
    if path is None:
        raise InputError(
            f"{name}: expected {file}.gz in one of {', '.join(map(str, folders))}, found none; "
            f"put it there, set SEEPAGE_DATA, or pass download=True (in TOML: download = true)"
        )
    return path
