"""CIFAR-10 and CIFAR-100 from made files in every official form."""

from __future__ import annotations

import io
import logging
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seepage.data import load, reload
from seepage.errors import InputError

TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes what Python 2 and an old NumPy wrote: 8-bit strings and the old module names."""

    dispatch = pickle._Pickler.dispatch.copy()  # type: ignore[attr-defined]

    def save_bytes(self, value: bytes) -> None:
        if len(value) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(value)]) + value)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = "numpy.core.multiarray" if obj.__name__ == "_reconstruct" else "numpy"
        self.write(f"c{module}\n{name or obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch[bytes] = save_bytes


def dump(value: Any, old: bool) -> bytes:
    if not old:
        return pickle.dumps(value, protocol=2)
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


def batch(n: int, classes: int, seed: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 3072)).astype(np.uint8)
    fine = rng.integers(0, classes, n)
    fine[:2] = 0, 1
    return pixels, fine, fine // 5


def files(name: str, form: str, batches: int = 5, old: bool = True) -> dict[str, bytes]:
    """Every file of the official folder, with few images in each batch."""
    classes = 10 if name == "cifar10" else 100
    labels = TEN if classes == 10 else [f"thing {k}" for k in range(100)]
    made: dict[str, bytes] = {}
    if classes == 10:
        stems = [f"data_batch_{i}" for i in range(1, batches + 1)] + ["test_batch"]
    else:
        stems = ["train", "test"]
    for seed, stem in enumerate(stems):
        pixels, fine, coarse = batch(7, classes, seed)
        if form == "binary":
            heads = [fine] if classes == 10 else [coarse, fine]
            rows = np.concatenate([*(h[:, None].astype(np.uint8) for h in heads), pixels], axis=1)
            made[f"{stem}.bin"] = rows.tobytes()
        else:
            key = b"labels" if classes == 10 else b"fine_labels"
            made[stem] = dump(
                {
                    b"data": pixels,
                    key: fine.tolist(),
                    b"coarse_labels": coarse.tolist(),
                    b"batch_label": b"some batch",
                    b"filenames": [b"a.png"] * 7,
                },
                old,
            )
    if form == "binary":
        meta = "batches.meta.txt" if classes == 10 else "fine_label_names.txt"
        made[meta] = ("\n".join(labels) + "\n\n").encode()
    else:
        key = b"label_names" if classes == 10 else b"fine_label_names"
        made["batches.meta" if classes == 10 else "meta"] = dump(
            {key: [v.encode() for v in labels]}, old
        )
    return made


def place(root: Path, name: str, form: str, made: dict[str, bytes], archive: bool) -> Path:
    number = name.removeprefix("cifar")
    short = "bin" if form == "binary" else "py"
    folder = f"cifar-10-batches-{short}" if number == "10" else f"cifar-100-{form}"
    root.mkdir(parents=True, exist_ok=True)
    if archive:
        path = root / f"cifar-{number}-{form}.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for file, content in made.items():
                info = tarfile.TarInfo(f"{folder}/{file}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return path
    (root / folder).mkdir()
    for file, content in made.items():
        (root / folder / file).write_bytes(content)
    return root / folder


@pytest.mark.parametrize("archive", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize("form", ["binary", "python"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_every_official_form_gives_the_same_data(
    tmp_path: Path, name: str, form: str, archive: bool
) -> None:
    place(tmp_path / name, name, form, files(name, form), archive)
    data = load(name, root=tmp_path, part="both")
    count, batches = (10, 5) if name == "cifar10" else (100, 1)
    pixels, fine, _ = zip(*(batch(7, count, s) for s in range(batches + 1)), strict=True)
    np.testing.assert_array_equal(data.inputs.numpy().reshape(-1, 3072), np.concatenate(pixels))
    assert data.shape == (3, 32, 32)
    assert data.labels.tolist() == np.concatenate(fine).tolist()
    assert data.classes[1] == ("automobile" if count == 10 else "thing 1")
    assert data.name == name
    again = reload(data.source, data.digest)
    assert again is not None


def test_pickles_of_this_python_are_read_too(tmp_path: Path) -> None:
    place(tmp_path, "cifar10", "python", files("cifar10", "python", old=False), False)
    assert len(load("cifar10", root=tmp_path)) == 35


def test_some_batches_are_enough_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = place(tmp_path, "cifar10", "binary", files("cifar10", "binary"), False)
    for lost in (1, 3):
        (folder / f"data_batch_{lost}.bin").unlink()
    with caplog.at_level(logging.INFO, "seepage.data"):
        data = load("cifar10", root=tmp_path)
    assert data.name == "cifar10 (3 of 5 train batches)"
    assert "3 of 5 train batches" in caplog.text
    # Ids are rows of the whole set: batch 2 begins at 10,000 although batch 1 is missing.
    assert data.ids[[0, 7, 14]].tolist() == ["train/10000", "train/30000", "train/40000"]


def test_a_whole_archive_beats_a_folder_with_gaps(tmp_path: Path) -> None:
    place(tmp_path, "cifar10", "binary", files("cifar10", "binary", batches=2), False)
    assert len(load("cifar10", root=tmp_path)) == 14
    place(tmp_path, "cifar10", "python", files("cifar10", "python"), True)
    assert len(load("cifar10", root=tmp_path)) == 35
    assert len(load("cifar10", root=tmp_path, part="test")) == 7


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cifar100: expected cifar-100-binary or .* found none"):
        load("cifar100", root=tmp_path)
    made = files("cifar10", "binary")

    def refuse(change: dict[str, bytes | None], match: str, form: str = "binary") -> None:
        base = files("cifar10", form) if form != "binary" else made
        content = {k: v for k, v in (base | change).items() if v is not None}
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        place(root, "cifar10", form, content, False)
        with pytest.raises(InputError, match=match) as raised:
            load("cifar10", root=root)
        assert "\n" not in str(raised.value)

    first = made["data_batch_1.bin"]
    refuse({"data_batch_1.bin": first[:-1]}, "expected records of 3073 bytes, got 21510 bytes")
    refuse({"data_batch_1.bin": b""}, "data_batch_1.bin: .*got an empty file")
    refuse({"data_batch_1.bin": b"\x0b" + first[1:]}, r"labels in 0\.\.9, got 11 at row 0")
    refuse({"batches.meta.txt": b"cat\ndog\n"}, "expected 10 class names, got 2")
    gone: dict[str, bytes | None] = {f"data_batch_{i}.bin": None for i in range(1, 6)}
    refuse(gone, "for part 'train', found none of them")

    def batch_file(value: Any) -> dict[str, bytes | None]:
        return {"data_batch_1": dump(value, True)}

    pixels = np.zeros((2, 3072), np.uint8)
    refuse(batch_file([1]), "data_batch_1: expected a dict, got list", "python")
    refuse(batch_file({b"labels": [1, 2]}), "expected an array 'data' .* got none", "python")
    refuse(
        batch_file({b"data": pixels.astype(np.float32), b"labels": [1, 2]}),
        r"expected an array 'data' of uint8 \(N, 3072\), got float32",
        "python",
    )
    refuse(batch_file({b"data": pixels, b"labels": [1]}), "a list of 2 integer labels", "python")
    refuse({"data_batch_1": b"cos\nsystem\n(S'true'\ntR."}, r"the name os\.system", "python")
    refuse({"data_batch_1": b"\x80\x02}q"}, "truncated or corrupt", "python")


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    path = place(tmp_path, "cifar10", "python", files("cifar10", "python"), True)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"not an archive", b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"cifar-10-python.tar.gz: expected an official CIFAR"):
            load("cifar10", root=tmp_path)
