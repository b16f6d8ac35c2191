"""Names, paths, limits, and the way back from a source; the real files where they are."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from seepage.data import Dataset, apply_canaries, from_arrays, load, pool, relabel, reload, subset
from seepage.data.official import OFFICIAL
from seepage.errors import InputError
from seepage.plan import half_split, plant_canaries


def table(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x,y\n1,0\n2,1\n3,0\n4,1\n")
    return path


def test_digits_are_those_of_scikit_learn() -> None:
    data = load("digits")
    bunch = load_digits()
    assert data.inputs.dtype == torch.uint8
    assert data.shape == (1, 8, 8)
    assert int(data.inputs.max()) == 16
    np.testing.assert_array_equal(data.inputs[:, 0].numpy(), bunch.images)
    np.testing.assert_array_equal(data.labels.numpy(), bunch.target)
    assert data.classes == tuple("0123456789")
    assert load("digits", part="both").digest == data.digest
    with pytest.raises(InputError, match="part: expected train or both for 'digits'"):
        load("digits", part="test")


def test_a_limit_is_random_nested_and_keeps_ids() -> None:
    whole = load("digits")
    small, large = load("digits", limit=50, seed=4), load("digits", limit=300, seed=4)
    assert set(small.ids) < set(large.ids) < set(whole.ids)
    assert small.digest == load("digits", limit=50, seed=4).digest
    assert small.digest != load("digits", limit=50, seed=5).digest
    rows = [int(i.removeprefix("train/")) for i in large.ids]
    assert rows == sorted(rows)
    assert torch.equal(large.inputs, whole.inputs[rows])
    for limit, match in ((0, "at least 1, got 0"), (1798, r"1 to 1797 \(the samples\), got 1798")):
        with pytest.raises(InputError, match=f"limit: expected {match}"):
            load("digits", limit=limit)
    with pytest.raises(InputError, match="expected samples of at least two classes, got only"):
        load("digits", limit=1)


def test_unknown_names_offer_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEPAGE_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"data: expected one of digits, .*did you mean 'mnist'"):
        load("mnits")
    with pytest.raises(
        InputError, match=r"no\.csv: expected a data file or folder, found none at "
    ):
        load("no.csv", label="y")
    with pytest.raises(
        InputError, match="part: expected train, val, test, both or all, got 'most'"
    ):
        load("digits", part="most")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="label: expected only for files of your own, got it with"):
        load("digits", label="y")
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(InputError, match=r"a\.docx: expected \.npz, .*got '\.docx'; rename"):
        load("a.docx")


def test_sources_hold_no_path_of_the_machine_below_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEPAGE_DATA", str(tmp_path / "a"))
    path = table(tmp_path / "a" / "clinic" / "t.csv")
    for name in (path, "clinic/t.csv"):
        data = load(name, label="y")
        assert data.source == {"name": "clinic/t.csv", "label": "y", "part": "train"}
    table(tmp_path / "b" / "clinic" / "t.csv")
    monkeypatch.setenv("SEEPAGE_DATA", str(tmp_path / "b"))
    assert reload(data.source, data.digest) is not None
    monkeypatch.setenv("SEEPAGE_DATA", str(tmp_path / "c"))
    assert reload(data.source, data.digest) is None
    outside = load(path, label="y")
    assert outside.source["name"] == str(path.resolve())
    assert reload(outside.source, outside.digest) is not None
    rooted = load("clinic/t.csv", label="y", root=tmp_path / "b")
    assert rooted.source["root"] == str((tmp_path / "b").resolve())
    assert reload(rooted.source, rooted.digest) is not None


def test_a_source_survives_json_and_every_step(tmp_path: Path) -> None:
    data = load("digits", limit=200, seed=3)
    plan = plant_canaries(half_split(90, models=2), data.labels[:90], 10, blank=2, duplicated=2)
    assert plan.canaries is not None
    steps: list[Dataset] = [
        data,
        data.take(np.array([5, 3, 8])),
        subset(data, 20, seed=1),
        relabel(data, 0.2, seed=9),
        pool(data.take(np.arange(50)), data.take(np.arange(50, 90))),
        apply_canaries(data.take(np.arange(90)), plan.canaries),
        relabel(subset(pool(data.take(np.arange(9)), data.take(np.arange(9, 20))), 10), 0.5),
    ]
    for step in steps:
        source = json.loads(json.dumps(step.source))
        again = reload(source, step.digest)
        assert again is not None
        assert again.ids.tolist() == step.ids.tolist()
        assert reload(source, "0" * 64) is None
        assert reload(source) is not None


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"name": "no such thing", "part": "train"},
        {"name": 3},
        {"pool": [{"name": "digits"}]},
        {"take": [99999], "of": {"name": "digits"}},
        {"explode": True, "of": {"name": "digits"}},
        {"take": [1], "of": {}},
        {"name": "digits", "part": "train", "download": True, "columns": 3},
    ],
)
def test_a_source_that_leads_nowhere_gives_none(source: dict[str, object]) -> None:
    assert reload(source) is None


def test_changed_data_are_not_returned(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv")
    data = load(path, label="y")
    path.write_text("x,y\n1,0\n2,1\n3,0\n5,1\n")
    assert reload(data.source, data.digest) is None


real = pytest.mark.skipif(
    "SEEPAGE_DATA" not in os.environ,
    reason="set SEEPAGE_DATA to a folder with the official files",
)


@real
@pytest.mark.parametrize(
    ("name", "part", "first", "counts"),
    [
        ("mnist", "train", [5, 0, 4, 1, 9],
         [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        ("mnist", "test", [7, 2, 1, 0, 4],
         [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
        ("fashion-mnist", "train", [9, 0, 0, 3, 0], [6000] * 10),
        ("fashion-mnist", "test", [9, 2, 1, 1, 6], [1000] * 10),
        ("cifar10", "test", [3, 8, 8, 0, 6], [1000] * 10),
        ("adult", "train", [0, 0, 0, 0, 0], [24720, 7841]),
        ("adult", "test", [0, 0, 1, 1, 0], [12435, 3846]),
    ],
)  # fmt: skip
def test_real_files_have_their_known_counts(
    name: str, part: str, first: list[int], counts: list[int]
) -> None:
    data = load(name, part=part)  # type: ignore[arg-type]
    assert data.labels[:5].tolist() == first
    assert np.bincount(data.labels).tolist() == counts
    assert reload(data.source, data.digest) is not None


@real
def test_real_cifar_images_are_upright_and_in_colour() -> None:
    data = load("cifar10")
    assert data.shape == (3, 32, 32)
    assert data.labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert np.bincount(data.labels[:10_000]).tolist() == [
        1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981,
    ]  # fmt: skip
    # Published channel means of the training set, 125.3, 123.0, 113.9: R, G, B in this order.
    means = data.inputs.double().mean((0, 2, 3)).numpy()
    np.testing.assert_allclose(means, [125.3, 123.0, 113.9], atol=1.0)
    # Neighbouring pixels resemble each other along both axes, which wrong strides would break.
    x = data.inputs[:500].double()
    for axis in (2, 3):
        step = (x.narrow(axis, 1, 31) - x.narrow(axis, 0, 31)).abs().mean()
        assert float(step) < 25


@real
def test_real_adult_has_six_numbers_and_a_level_for_missing() -> None:
    data = load("adult", part="both")
    assert len(data) == 48842
    assert data.numeric is not None
    assert int(data.numeric.sum()) == 6
    at = {c: j for j, c in enumerate(data.columns)}
    assert int(data.inputs[:, at["workclass=?"]].sum()) == 2799
    assert int(data.inputs[:, at["occupation=?"]].sum()) == 2809
    assert int(data.inputs[:, at["native-country=?"]].sum()) == 857
    assert data.inputs[0, at["age"]] == 39
    assert float(data.inputs[:, ~data.numeric].sum()) == 8 * len(data)


@real
def test_real_files_are_the_official_bytes() -> None:
    root = Path(os.environ["SEEPAGE_DATA"])
    found = [f for group in OFFICIAL.values() for f in group if (root / f.place).is_file()]
    for file in found:
        content = (root / file.place).read_bytes()
        assert len(content) == file.size, file.place
        assert hashlib.sha256(content).hexdigest() == file.sha256, file.place


def test_arrays_in_memory_cannot_be_reloaded_after_any_step() -> None:
    data = from_arrays(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1])
    assert reload(data.take(np.array([0, 1])).source) is None
