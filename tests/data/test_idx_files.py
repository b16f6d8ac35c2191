"""MNIST and Fashion-MNIST from made IDX files, good and bad."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seepage.data import load
from seepage.data.idx import read_idx
from seepage.errors import InputError


def idx(array: np.ndarray[Any, Any]) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def make(folder: Path, n: int = 30, *, packed: bool = True, labels: Any = None) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    made = {}
    for stem, count in (("train", n), ("t10k", n // 2)):
        images = rng.integers(0, 256, (count, 28, 28))
        y = np.arange(count) % 10 if labels is None else labels
        made[stem] = images, y
        for what, array in (("images-idx3", images), ("labels-idx1", y)):
            content = idx(np.asarray(array))
            name = f"{stem}-{what}-ubyte"
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return made


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("folder", ["", "raw", "FashionMNIST/raw", "FashionMNIST"])
def test_every_official_place_is_found(tmp_path: Path, folder: str, packed: bool) -> None:
    made = make(tmp_path / folder, packed=packed)
    data = load("fashion-mnist", root=tmp_path, part="both")
    assert data.shape == (1, 28, 28)
    assert data.name == "fashion-mnist"
    assert data.classes[0] == "T-shirt/top"
    assert data.ids[[0, 29, 30, 44]].tolist() == ["train/0", "train/29", "test/0", "test/14"]
    whole = np.concatenate([made["train"][0], made["t10k"][0]])
    np.testing.assert_array_equal(data.inputs[:, 0].numpy(), whole)
    assert data.labels.tolist() == [*made["train"][1].tolist(), *made["t10k"][1].tolist()]


def test_only_the_wanted_part_is_needed(tmp_path: Path) -> None:
    make(tmp_path)
    for path in tmp_path.glob("t10k*"):
        path.unlink()
    assert len(load("mnist", root=tmp_path)) == 30
    with pytest.raises(InputError, match=r"mnist: expected t10k-images-idx3-ubyte\.gz in one of"):
        load("mnist", root=tmp_path, part="test")


def test_missing_files_name_every_place_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        load("mnist", root=tmp_path)
    message = str(raised.value)
    assert str(tmp_path / "MNIST" / "raw") in message
    assert "download=True" in message
    assert "SEEPAGE_DATA" in message
    assert "\n" not in message


def test_bad_files_are_named_with_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "a"
    good = idx(np.arange(12).reshape(3, 2, 2))

    def refuse(content: bytes, match: str, name: str = "a", axes: int = 3) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=match) as raised:
            read_idx(tmp_path / name, axes)
        assert str(raised.value).startswith(str(tmp_path / name))
        assert "\n" not in str(raised.value)

    (path).write_bytes(good)
    assert read_idx(path, 3).tolist() == np.arange(12).reshape(3, 2, 2).tolist()
    refuse(b"", "got an empty file")
    refuse(good, r"with 1 axis \(magic 00000801\), got magic 00000803; check that", axes=1)
    refuse(b"\x89PNG" + good, "got magic 89504e47")
    refuse(good[:9], "got a truncated header")
    refuse(good[:-1], r"expected 12 bytes for shape \(3, 2, 2\), got only 11")
    refuse(good + b"x", r"expected 12 bytes for shape \(3, 2, 2\), got more")
    huge = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1)
    refuse(huge + b"abc", "got only 3")
    with pytest.MonkeyPatch.context() as lowered:
        lowered.setattr("seepage.data.idx.most_bytes", lambda: 2**20)
        refuse(
            gzip.compress(huge + bytes(2**21)), "memory holds, at most 1 MiB unpacked, got", "z.gz"
        )
    packed = gzip.compress(good)
    refuse(packed[:-6], "got a truncated or corrupt file", "a.gz")
    refuse(packed[:12] + b"\xff\xff\xff" + packed[15:], "got a truncated or corrupt file", "a.gz")
    refuse(b"no gzip at all", "got a truncated or corrupt file", "a.gz")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    make(tmp_path)
    target = tmp_path / "train-images-idx3-ubyte.gz"
    target.unlink()
    target.mkdir()
    with pytest.raises(InputError, match="got a folder; name the file"):
        load("mnist", root=tmp_path)


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)

    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(gzip, "open", denied)
    with pytest.raises(InputError, match="got permission denied; make it readable for this user"):
        load("mnist", root=tmp_path)


def test_labels_that_are_none_of_the_ten(tmp_path: Path) -> None:
    make(tmp_path, labels=np.array([1, 2, 11] * 10))
    with pytest.raises(
        InputError, match=r"labels-idx1.*expected labels in 0\.\.9, got 11 at row 2"
    ):
        load("mnist", root=tmp_path)


def test_images_and_labels_of_different_length(tmp_path: Path) -> None:
    make(tmp_path, labels=np.zeros(29))
    with pytest.raises(
        InputError, match=r"expected 30 labels as train-images.* has images, got 29"
    ):
        load("mnist", root=tmp_path)
