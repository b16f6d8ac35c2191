"""Arrays from .npz files and from memory."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from seepage.config.audit import read_config
from seepage.config.prepare import prepare
from seepage.data import from_arrays, load, reload
from seepage.data.archive import read_archive
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
            "expected inputs of all parts of one shape and type",
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
    with pytest.raises(
        InputError, match=r"bad\.npz: expected an \.npz file of arrays, got .*'x' holds objects"
    ):
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
    with pytest.raises(InputError, match=r"expected an .npz file of arrays, got a single array"):
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


def _announcing(path: Path, shape: tuple[int, ...]) -> Path:
    """An archive whose one array announces `shape` of float64 and holds 16 bytes."""
    member = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)
    member.write(bytes(16))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", member.getvalue())
        archive.writestr("y.npy", member.getvalue())
    return path


@pytest.mark.parametrize("shape", [(2**44,), (2**62, 2**62), (3,), (1,), (2, 0), (-2,)])
def test_an_array_that_announces_what_is_not_there(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"'x'.* announces shape .*") as raised:
        read_archive(_announcing(tmp_path / "a.npz", shape))
    assert "\n" not in str(raised.value)


def test_a_member_that_announces_what_is_not_there(tmp_path: Path) -> None:
    """The directory of an archive is looked at before any array is."""
    path = save(tmp_path, x=TABLE, y=Y)
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 24 : at + 28] = (2**31 - 1).to_bytes(4, "little")  # its unpacked size
    path.write_bytes(bytes(raw))
    with pytest.raises(InputError, match="announces 2147483647 bytes, which are not there"):
        load(path)


def test_arrays_larger_than_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, x=TABLE, y=Y)
    free = SimpleNamespace(available=100)
    monkeypatch.setattr("seepage.data.archive.psutil.virtual_memory", lambda: free)
    with pytest.raises(InputError, match="for 100 bytes of free memory"):
        load(path)


def test_members_that_are_no_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for names, match in ((("x.txt",), "'x.txt' that is no array"), (("x.npy",) * 2, "called 'x'")):
        whole = io.BytesIO()
        np.save(whole, TABLE)
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in names:
                archive.writestr(name, whole.getvalue())
        with pytest.raises(InputError, match=match):
            load(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"a\.npz: expected .* got a pipe, socket or device"):
        load(path)


@pytest.mark.parametrize("text", ["", "nan", "NA", "None"])
def test_a_missing_label_is_no_class(tmp_path: Path, text: str) -> None:
    labels = np.array(["a", "b", "a", "b", "a", text])
    path = save(tmp_path, x=TABLE, y=labels)
    with pytest.raises(InputError, match=r"expected a label for every sample, got .* at row 5"):
        load(path)
    assert load(save(tmp_path, x=TABLE, y=labels, classes=["a", "b", text])).classes[2] == text


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (np.array([0, 1, 2, 0, 1, 1e300]), r"expected labels 0\.\.K-1, got 1e\+300 at row 5"),
        (np.array([0, 1, 2, 0, 1, 2**64 - 1], np.uint64), "without gaps, got 18446744073709551615"),
        (np.array([b"a", b"b", b"a", b"b", b"a", b"\xff"]), "expected text, got bytes"),
    ],
)
def test_labels_that_would_be_read_as_others(tmp_path: Path, labels: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        load(save(tmp_path, x=TABLE, y=labels))
    with pytest.raises(InputError, match="expected every class once, got 'a' twice"):
        load(save(tmp_path, x=TABLE, y=Y, classes=["a", "b", "a"]))
    with pytest.raises(InputError, match="expected text or whole numbers, got float64"):
        load(save(tmp_path, x=TABLE, y=Y, ids=np.arange(6.0)))


def test_an_array_that_nothing_reads_is_named_and_left_out_on_request(tmp_path: Path) -> None:
    whose = np.repeat(np.arange(3), 2)
    for name, message in (
        ("group", r"'group' is read by nothing; .*did you mean 'groups'"),
        ("age", r"'age' is read by nothing; .*left out by drop=\[\"age\"\]"),
    ):
        path = save(tmp_path, x=TABLE, y=Y, **{name: whose})
        with pytest.raises(InputError, match=message):
            load(path)
        data = load(path, drop=[name, "x1"])
        assert data.columns == ("x0", "x2")
        again = reload(data.source, data.digest)
        assert again is not None
    assert load(save(tmp_path, x=TABLE, y=Y, groups=whose), drop=["groups"]).groups is None
    assert load(save(tmp_path, x=IMAGES, y=Y, note=whose), drop=["note"]).kind == "image"


def test_the_files_of_medmnist(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, n in (("train", 24), ("val", 6), ("test", 10)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (n, 7, 7, 3)).astype(np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 3).astype(np.uint8)[:, None]
    path = tmp_path / "pathmnist.npz"
    np.savez_compressed(path, **arrays)
    data = load(path, part="all")
    assert data.shape == (3, 7, 7)
    assert data.labels.tolist() == [i % 3 for n in (24, 6, 10) for i in range(n)]
    assert data.ids[[24, 30]].tolist() == ["val/0", "test/0"]
    # ChestMNIST: fourteen findings of each patient, all of them absent in many.
    findings = {k: (rng.random((len(a), 14)) < 0.2) for k, a in arrays.items() if "labels" in k}
    chest = tmp_path / "chestmnist.npz"
    np.savez_compressed(chest, **arrays | {k: f.astype(np.uint8) for k, f in findings.items()})
    with pytest.raises(InputError, match="say task='multi-label'"):
        load(chest)
    toml = tmp_path / "a.toml"
    toml.write_text(
        f'[data]\nname = "{chest}"\npart = "both"\ntask = "multi-label"\n[plan]\nmodels = 8\n'
        "[attacks]\nnames = ['loss']\nmain = 'loss'\n"
    )
    asked = prepare(read_config(toml, [])).data
    assert asked.task == "multi-label"
    assert asked.targets is not None
    both = np.concatenate([findings["train_labels"], findings["test_labels"]])
    np.testing.assert_array_equal(asked.targets.numpy(), both)
