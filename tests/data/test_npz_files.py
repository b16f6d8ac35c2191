"""Arrays from .npz files and from memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seepage.data import from_arrays, load, reload
from seepage.errors import InputError

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(6, 3))
IMAGES = RNG.integers(0, 256, (6, 5, 4)).astype(np.uint8)
Y = np.array([0, 1, 2, 0, 1, 2])


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("keys", [("inputs", "labels"), ("x", "y"), ("x_train", "y_train")])
def test_tables_under_each_pair_of_names(tmp_path: Path, keys: tuple[str, str]) -> None:
    data = load(save(tmp_path, **{keys[0]: TABLE, keys[1]: Y}))
    assert data.kind == "table"
    assert data.columns == ("x0", "x1", "x2")
    assert data.numeric is not None
    assert data.numeric.all()
    np.testing.assert_array_equal(data.inputs.numpy(), TABLE.astype(np.float32))
    assert data.labels.tolist() == Y.tolist()
    assert data.name == "mine"
    assert reload(data.source, data.digest) is not None


def test_parts_are_chosen_and_pooled(tmp_path: Path) -> None:
    path = save(tmp_path, x_train=TABLE, y_train=Y, x_test=TABLE[:2] + 1, y_test=Y[1:3])
    assert len(load(path)) == 6
    assert load(path, part="test").ids.tolist() == ["test/0", "test/1"]
    both = load(path, part="both")
    assert both.ids[[0, 6]].tolist() == ["train/0", "test/0"]
    alone = save(tmp_path, x=TABLE, y=Y)
    assert len(load(alone, part="both")) == 6
    with pytest.raises(InputError, match="part: expected train for 'mine', which has no test"):
        load(alone, part="test")


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (IMAGES, (1, 5, 4)),
        (np.repeat(IMAGES[:, None], 3, 1), (3, 5, 4)),
        (np.repeat(IMAGES[..., None], 3, 3), (3, 5, 4)),
        (IMAGES.astype(np.int64), (1, 5, 4)),
    ],
    ids=["grey", "channels first", "channels last", "int64"],
)
def test_images_become_uint8_with_channels_first(tmp_path: Path, array: Any, shape: Any) -> None:
    data = load(save(tmp_path, x=array, y=Y))
    assert data.kind == "image"
    assert data.shape == shape
    assert data.inputs.dtype == torch.uint8
    np.testing.assert_array_equal(data.inputs[:, 0].numpy(), IMAGES)


def test_float_images_stay_float(tmp_path: Path) -> None:
    data = load(save(tmp_path, x=IMAGES / 255.0, y=Y))
    assert data.inputs.dtype == torch.float32


def test_text_labels_own_classes_and_ids(tmp_path: Path) -> None:
    words = np.array(["sick", "well", "sick", "well", "well", "sick"])
    ids = np.array([f"p{i}" for i in range(6)])
    data = load(save(tmp_path, x=TABLE, y=words, ids=ids))
    assert data.classes == ("sick", "well")
    assert data.labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert data.ids.tolist() == ids.tolist()
    named = load(save(tmp_path, x=TABLE, y=Y % 2, classes=np.array(["no", "yes", "maybe"])))
    assert named.classes == ("no", "yes", "maybe")


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"a": TABLE}, "expected arrays inputs and labels, x and y.* got a; rename"),
        ({"x": TABLE, "y": Y[:5]}, "as many inputs as labels in part 'train', got 6 and 5"),
        ({"x": TABLE, "y": Y - 1}, r"expected labels in 0\.\.2, got -1 at row 0|labels in"),
        ({"x": TABLE, "y": Y + 1}, r"expected labels 0\.\.K-1 without gaps, got 1 but no 0"),
        ({"x": TABLE, "y": Y + 0.5}, "expected whole-number labels, got 0.5 at row 0"),
        ({"x": TABLE, "y": Y * 0}, "expected at least two classes, got 1"),
        ({"x": TABLE, "y": np.eye(3)[Y]}, r"expected labels of one axis, got shape \(6, 3\)"),
        (
            {"x": TABLE, "y": Y, "classes": np.array(["a", "b"])},
            r"labels in 0\.\.1, got 2 at row 2",
        ),
        ({"x": TABLE[:0], "y": Y[:0]}, "expected at least|expected labels"),
        ({"x": np.where(TABLE.max() == TABLE, np.nan, TABLE), "y": Y}, "expected finite inputs"),
        ({"x": TABLE * 1e300, "y": Y}, "expected finite inputs, got NaN or infinity in row 0"),
        ({"x": TABLE * [1, 0, 1], "y": Y}, r'got 1 constant, first \'x1\'; pass drop=\["x1"\]'),
        ({"x": TABLE.astype(str), "y": Y}, "expected numbers, got <U"),
        ({"x": IMAGES * np.int64(2), "y": Y}, r"expected integer pixels in 0\.\.255, got"),
        ({"x": IMAGES * 0, "y": Y}, "expected inputs that differ, all 6 samples are the same"),
        ({"x": np.zeros((6, 5, 4, 7)), "y": Y}, r"got shape \(6, 5, 4, 7\)"),
        ({"x": TABLE, "y": Y, "ids": np.array(["a"] * 6)}, "expected unique ids, got 'a' 6 times"),
        ({"x": TABLE, "y": Y, "ids": np.array(["a"])}, "expected 6 ids, got shape"),
        (
            {"x_train": TABLE, "y_train": Y, "x_test": TABLE[:, :2], "y_test": Y},
            "expected train and test inputs of one shape and type",
        ),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, arrays: Any, match: str) -> None:
    path = save(tmp_path, **arrays)
    with pytest.raises(InputError, match=match) as raised:
        load(path)
    assert "\n" not in str(raised.value)


def test_object_arrays_are_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, x=np.array([{}, []], dtype=object), y=np.array([0, 1]))
    with pytest.raises(InputError, match=r"bad\.npz: expected an \.npz file of plain arrays"):
        load(path)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, x=TABLE, y=Y)
    whole = path.read_bytes()
    single = tmp_path / "single.npz"
    for content in (whole[:200], b"", b"PK\x03\x04 nothing"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"mine.npz: expected an .npz file of"):
            load(path)
    with single.open("wb") as stream:
        np.save(stream, TABLE)
    with pytest.raises(InputError, match=r"expected an .npz archive, got a single array"):
        load(single)


def test_constant_columns_can_be_dropped_by_name(tmp_path: Path) -> None:
    path = save(tmp_path, x=TABLE * [1, 0, 1], y=Y)
    data = load(path, drop=["x1"])
    assert data.columns == ("x0", "x2")
    again = reload(data.source, data.digest)
    assert again is not None
    with pytest.raises(InputError, match=r"drop: expected columns among x0\.\.x2, got 'x9'"):
        load(path, drop=["x9"])


def test_from_arrays_copies_and_has_no_source() -> None:
    x = TABLE.astype(np.float32)
    data = from_arrays(x, Y)
    data.inputs[0, 0] = 99.0
    assert x[0, 0] != 99.0
    assert data.source == {}
    assert reload(data.source) is None
