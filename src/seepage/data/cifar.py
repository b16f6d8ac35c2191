"""CIFAR-10 and CIFAR-100: official archives or folders, binary or pickled version."""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, Int64Array
from seepage.data.pickled import unpickle_arrays
from seepage.data.reading import (
    Part,
    Raw,
    check_labels,
    check_room,
    most_bytes,
    read_all,
    reading,
)
from seepage.errors import InputError

__all__ = ["read_cifar"]

_log = logging.getLogger("seepage.data")
_PIXELS = 3 * 32 * 32
_CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


@dataclass(frozen=True)
class _Form:
    """One official way of shipping a data set: archive, folder in it, batch files per part."""

    archive: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    label_bytes: int | None  # bytes before the pixels in the binary version, None when pickled

    def batches(self, part: str) -> tuple[str, ...]:
        return self.train if part == "train" else self.test


_FORMS = {
    "cifar10": (
        _Form(
            "cifar-10-binary.tar.gz",
            "cifar-10-batches-bin",
            tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
            ("test_batch.bin",),
            "batches.meta.txt",
            1,
        ),
        _Form(
            "cifar-10-python.tar.gz",
            "cifar-10-batches-py",
            tuple(f"data_batch_{i}" for i in range(1, 6)),
            ("test_batch",),
            "batches.meta",
            None,
        ),
    ),
    "cifar100": (
        _Form(
            "cifar-100-binary.tar.gz",
            "cifar-100-binary",
            ("train.bin",),
            ("test.bin",),
            "fine_label_names.txt",
            2,
        ),
        _Form(
            "cifar-100-python.tar.gz",
            "cifar-100-python",
            ("train",),
            ("test",),
            "meta",
            None,
        ),
    ),
}

# Reads one file of the folder or archive by its name; None when it is not there.
_Source = Callable[[str], bytes | None]


def read_cifar(name: str, root: Path, wanted: tuple[str, ...]) -> Raw:
    """The wanted parts, from whatever batch files are present, in official order.

    Looks in root, root/cifar10 and root/CIFAR10 (cifar100 likewise) for whole folders, then for
    archives, then for folders with some batches missing; the binary version first, because it
    needs no pickle reader. Archives are read in place and never extracted.
    """
    count = 10 if name == "cifar10" else 100
    bases = [root, root / name, root / name.upper()]
    forms = _FORMS[name]
    folders = [(f, b / f.folder) for f in forms for b in bases if (b / f.folder).is_dir()]
    archives = [
        (f, b / a)
        for f in forms
        for b in bases
        for a in (f.archive, f.archive.removesuffix(".gz"))
        if (b / a).is_file()
    ]
    # A whole folder is quickest; a folder with gaps serves when there is no archive either.
    whole = [
        (form, path)
        for form, path in folders
        if all((path / file).exists() for part in wanted for file in form.batches(part))
    ]
    for form, path in whole + archives + folders:
        source = _folder(path) if path.is_dir() else _archive(path, form, wanted)
        return _assemble(name, form, path, source, wanted, count)
    places = ", ".join(str(base) for base in bases)
    names = " or ".join(f"{f.folder} or {f.archive}" for f in _FORMS[name])
    raise InputError(
        f"{name}: expected {names} in one of {places}, found none; "
        "put one there, set SEEPAGE_DATA, or pass download=True (in TOML: download = true)"
    )


def _folder(path: Path) -> _Source:
    def get(file: str) -> bytes | None:
        at = path / file
        return read_all(at, "a CIFAR batch file") if at.exists() else None

    return get


def _archive(path: Path, form: _Form, wanted: tuple[str, ...]) -> _Source:
    # A compressed archive has no index: one pass that keeps what is needed.
    needed = {form.names, *(file for part in wanted for file in form.batches(part))}
    content: dict[str, bytes] = {}
    with reading(path, "an official CIFAR archive"), tarfile.open(path, "r|*") as tar:
        for member in tar:
            folder, _, file = member.name.removeprefix("./").partition("/")
            if folder == form.folder and file in needed and member.isfile():
                check_room(f"{path}: {file}", "a CIFAR batch file", member.size, most_bytes())
                stream = tar.extractfile(member)
                content[file] = stream.read() if stream else b""
    return content.get


def _assemble(
    name: str, form: _Form, found: Path, get: _Source, wanted: tuple[str, ...], count: int
) -> Raw:
    classes = _class_names(found, form, get, count)
    parts, notes = {}, []
    for part in wanted:
        inputs: list[NDArray[np.uint8]] = []
        labels: list[Int64Array] = []
        expected = form.batches(part)
        ids: list[str] = []
        for batch, file in enumerate(expected):
            data = get(file)
            if data is None:
                continue
            where = found / file
            if form.label_bytes is None:
                x, y = _pickled(where, data, count)
            else:
                x, y = _binary(where, data, form.label_bytes)
            inputs.append(x)
            labels.append(check_labels(where, y, count))
            # Row numbers of the whole set, also when an earlier batch is missing.
            start = batch * 10_000 if len(expected) > 1 else 0
            ids.extend(f"{part}/{start + row}" for row in range(len(y)))
        if not inputs:
            raise InputError(
                f"{found}: expected {', '.join(expected)} for part {part!r}, found none of them; "
                "add the files or choose another part"
            )
        if len(inputs) < len(expected):
            notes.append(f"{len(inputs)} of {len(expected)} {part} batches")
        parts[part] = Part(
            np.concatenate(inputs), np.concatenate(labels), np.array(ids, dtype=np.str_)
        )
    if notes:
        _log.info("%s: read %s from %s", name, ", ".join(notes), found)
    return Raw(parts, classes, f"{name} ({', '.join(notes)})" if notes else name, "image")


def _binary(where: Path, data: bytes, label_bytes: int) -> tuple[NDArray[np.uint8], AnyArray]:
    record = label_bytes + _PIXELS
    if not data or len(data) % record:
        raise InputError(
            f"{where}: expected records of {record} bytes, got {len(data)} bytes; "
            "the file is truncated or not the binary version, fetch it again"
        )
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, record)
    # The last label byte is the fine label; CIFAR-100 has the coarse one before it.
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32), rows[:, label_bytes - 1]


def _pickled(where: Path, data: bytes, count: int) -> tuple[NDArray[np.uint8], AnyArray]:
    batch = _text_keys(where, unpickle_arrays(data, where=where))
    images = batch.get("data")
    labels = batch.get("labels" if count == 10 else "fine_labels")
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.ndim != 2
        or images.shape[1] != _PIXELS
    ):
        got = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else "none"
        raise InputError(
            f"{where}: expected an array 'data' of uint8 (N, {_PIXELS}), got {got}; "
            "fetch the official file"
        )
    if (
        not isinstance(labels, list)
        or len(labels) != len(images)
        or not all(type(v) is int for v in labels)
    ):
        raise InputError(
            f"{where}: expected a list of {len(images)} integer labels, got something else; "
            "fetch the official file"
        )
    return images.reshape(-1, 3, 32, 32), np.array(labels)


def _text_keys(where: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: expected a dict, got {type(value).__name__}; fetch the official file"
        )
    return {k.decode("latin-1") if isinstance(k, bytes) else str(k): v for k, v in value.items()}


def _class_names(found: Path, form: _Form, get: _Source, count: int) -> tuple[str, ...]:
    data = get(form.names)
    if data is None:
        return _CIFAR10_CLASSES if count == 10 else tuple(str(k) for k in range(count))
    where = found / form.names
    if form.label_bytes is None:
        meta = _text_keys(where, unpickle_arrays(data, where=where))
        raw = meta.get("label_names" if count == 10 else "fine_label_names", [])
        names = tuple(v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in raw)
    else:
        names = tuple(line.strip() for line in data.decode("latin-1").splitlines() if line.strip())
    if len(names) != count:
        raise InputError(
            f"{where}: expected {count} class names, got {len(names)}; fetch the official file"
        )
    return names
