"""Inputs that stay in their file give what the same inputs in memory give, bit for bit."""

from __future__ import annotations

import mmap
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.data import Dataset, count_copies, from_arrays, group_copies, load, reload, row_file
from seepage.data import dataset as dataset_file
from seepage.errors import InputError
from seepage.record import Resident

RNG = np.random.default_rng(3)
N = 60
LABELS = np.arange(N) % 3
KINDS = {
    "bytes, channels last": RNG.integers(0, 256, (N, 6, 5, 3)).astype(np.uint8),
    "bytes, channels first": RNG.integers(0, 256, (N, 3, 6, 5)).astype(np.uint8),
    "grey": RNG.integers(0, 256, (N, 6, 5)).astype(np.uint8),
    "float images": RNG.normal(size=(N, 3, 6, 5)).astype(np.float32),
    "table": RNG.normal(size=(N, 7)).astype(np.float32),
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, gaps and spans of a few rows, so that small files are read in many pieces."""
    monkeypatch.setattr(row_file, "_BLOCK", 1000)
    monkeypatch.setattr(row_file, "_SPAN", 700)
    monkeypatch.setattr(row_file, "_GAP", 100)
    monkeypatch.setattr(dataset_file, "VALUES", 256)


def folder(at: Path, inputs: Any, labels: Any = LABELS) -> Path:
    at.mkdir(exist_ok=True)
    np.save(at / "inputs.npy", inputs)
    np.save(at / "labels.npy", labels)
    return at


def both(at: Path, inputs: Any) -> tuple[Dataset, Dataset]:
    path = folder(at / "pool", inputs)
    return load(path, mapped=False), load(path, mapped=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_in_its_file_is_the_pool_in_memory(tmp_path: Path, kind: str) -> None:
    held, filed = both(tmp_path, KINDS[kind])
    assert held.file is None
    assert filed.file is not None
    assert filed.digest == held.digest
    assert torch.equal(filed.inputs, held.inputs)
    assert filed.extremes == held.extremes
    rows = np.array([7, 7, 0, 59, 8, 9, 31, 2, 33])
    assert torch.equal(filed.rows(rows), held.rows(rows))
    members = np.sort(np.random.default_rng(0).permutation(N)[:31])
    for a, b in zip(filed.member_scale(members), held.member_scale(members), strict=True):
        np.testing.assert_array_equal(a, b)
    part = filed.take(rows[2:])
    assert part.file is None
    assert part.digest == held.take(rows[2:]).digest
    scale = held.member_scale(members)
    moves: dict[str, Any] = {}
    if held.kind == "image":
        moves = {"dy": np.arange(9) % 3 - 1, "dx": 1 - np.arange(9) % 3, "flip": rows % 2 == 0}
    a, b = (Resident.of(d).batch(rows, *scale, **moves) for d in (filed, held))
    assert torch.equal(a, b)
    assert a.stride() == b.stride()
    found = reload(filed.source, filed.digest)
    assert found is not None
    assert found.file is not None


def test_a_kernel_that_reserves_memory_maps_for_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, _ = both(tmp_path, KINDS["grey"])
    plain = mmap.mmap

    def strict(*args: Any, **options: Any) -> mmap.mmap:
        if options.get("prot", 0) & mmap.PROT_WRITE:
            raise OSError(12, "Cannot allocate memory")
        return plain(*args, **options)

    monkeypatch.setattr(row_file.mmap, "mmap", strict)
    assert torch.equal(load(tmp_path / "pool", mapped=True).inputs, held.inputs)


def test_moments_in_blocks_are_those_of_all_values(tmp_path: Path) -> None:
    held, filed = both(tmp_path, KINDS["float images"] + 100)
    mean, std = filed.moments(np.arange(N))
    whole = held.inputs.double().numpy()
    np.testing.assert_allclose(mean, whole.mean((0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(std, whole.std((0, 2, 3)), rtol=1e-12)


def trained(data: Dataset, out: Path, recipe: Any = None, **how: Any) -> list[Any]:
    plan = seepage.half_split(len(data), models=2, seed=1)
    of = seepage.Recipe(epochs=2, batch=8, precision="fp32", **(recipe or {}))
    given = {"executor": "inline", "workers": 1, "checkpoints": [0, 2], **how}
    run = seepage.train(data, plan, out=out, recipe=of, **given)
    return [run.manifest["key"], run.signal("phi").tolist()]


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("bytes, channels last", {"recipe": {"crop": 1, "flip": True}, "executor": "local"}),
        ("bytes, channels first", {"model": "mlp"}),
        ("table", {"model": "mlp", "backend": "process"}),
    ],
)
def test_runs_are_bit_for_bit_those_from_memory(
    tmp_path: Path, kind: str, how: dict[str, Any]
) -> None:
    held, filed = both(tmp_path, KINDS[kind])
    # No other interpreter can import it: a forked worker opens the file itself.
    how = {"model": lambda: nn.Sequential(nn.Flatten(), nn.Linear(90, 3))} | how
    assert trained(filed, tmp_path / "filed", **how) == trained(held, tmp_path / "held", **how)


def test_copies_are_found_in_the_file(tmp_path: Path) -> None:
    x = KINDS["table"].copy()
    x[[5, 40]] = x[11]
    x[[5, 11], 2], x[40, 2] = 0.0, -0.0
    labels = LABELS.copy()
    labels[[5, 11, 40]] = 1
    path = folder(tmp_path / "pool", x, labels)
    held, filed = from_arrays(x, labels), load(path, mapped=True)
    member = seepage.half_split(N, models=4, seed=0).member
    assert filed.file is not None
    assert count_copies(filed, member) == count_copies(held, member)
    assert count_copies(filed, member).samples == 3
    grouped = group_copies(filed)
    assert grouped.file is not None
    assert grouped.groups is not None
    assert grouped.groups[40] == "train/5"


def test_inputs_stay_in_their_file_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path / "pool", KINDS["grey"])
    assert load(path).file is None
    monkeypatch.setattr("seepage.data.npz.most_bytes", lambda: 1000)
    filed = load(path)
    assert filed.file is not None
    own = from_arrays(np.load(path / "inputs.npy", mmap_mode="r"), LABELS)
    assert own.file is not None
    assert own.digest == filed.digest
    part = from_arrays(np.load(path / "inputs.npy", mmap_mode="r")[1:], LABELS[1:])
    assert part.file is None
    assert load(path, limit=20).file is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_file, "most_bytes", lambda: 100)
        with pytest.raises(InputError, match="expected samples that memory holds"):
            filed.take(np.arange(30))
    # An .npz that is not compressed is mapped too, once an array is worth it.
    monkeypatch.setattr("seepage.data.archive.LARGE", 0)
    for order in ("first", "last"):
        x = KINDS[f"bytes, channels {order}"]
        np.savez(tmp_path / "mine.npz", train_images=x, train_labels=LABELS[:, None])
        data = load(tmp_path / "mine.npz")
        assert data.file is not None
        assert data.digest == load(tmp_path / "mine.npz", mapped=False).digest


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    _, filed = both(tmp_path, KINDS["grey"])
    path = tmp_path / "pool" / "inputs.npy"
    assert filed.file is not None
    elsewhere = pickle.loads(pickle.dumps(filed.file))  # noqa: S301
    assert np.array_equal(elsewhere.read(np.arange(N)), filed.file.read(np.arange(N)))
    later = os.stat(path).st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    again = pickle.loads(pickle.dumps(filed.file))  # noqa: S301
    with pytest.raises(InputError, match="one that was written since; load it again"):
        again.read(np.arange(3))
    plan = seepage.half_split(N, models=2, seed=0)
    with pytest.raises(InputError, match="written since"):
        seepage.train(filed, plan, out=tmp_path / "run", executor="inline")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="written since"):
        filed.file.read(np.array([N - 1]))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (KINDS["table"] * np.float32([1, 0, 1, 1, 1, 1, 1]), "got 1 constant, first 'x1'"),
        (KINDS["table"].astype(np.float64), "can stay in their file.*got <f8"),
        (KINDS["grey"].astype(">f4"), "can stay in their file.*got >f4"),
        (np.asfortranarray(KINDS["grey"]), "in column order"),
        (np.where(KINDS["table"] > 2.5, np.nan, KINDS["table"]), "NaN or infinity in row"),
        (np.zeros((N, 4, 4), np.uint8), "expected inputs that differ"),
    ],
)
def test_what_cannot_stay_in_its_file(tmp_path: Path, inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(folder(tmp_path / "pool", inputs), mapped=True)


def test_what_needs_the_pool_in_memory_says_so(tmp_path: Path) -> None:
    path = folder(tmp_path / "pool", KINDS["grey"])
    filed = load(path, mapped=True)
    plan = seepage.half_split(N, models=2, seed=0)
    with pytest.raises(InputError, match="record: expected a pool that memory holds"):
        seepage.train(filed, plan, out=tmp_path / "run", curvature="hutchinson")
    with pytest.raises(InputError, match="pool: expected parts that memory holds"):
        seepage.data.pool(filed, filed)
    with pytest.raises(InputError, match="expected the inputs that lie in its file, got others"):
        replace(filed, inputs=filed.inputs.clone())
    with pytest.raises(InputError, match="name the folder"):
        load(path / "inputs.npy")
    (tmp_path / "a.csv").write_text("a,label\n1,0\n2,1\n")
    with pytest.raises(InputError, match=r"mapped: not an option for a \.csv file"):
        load(tmp_path / "a.csv", label="label", mapped=True)
    with pytest.raises(InputError, match="expected only for files of your own"):
        load("digits", mapped=True)
