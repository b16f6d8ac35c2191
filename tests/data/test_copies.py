"""Exact copies in a pool."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seepage
from seepage.data import (
    CopiesWarning,
    count_copies,
    drop_copies,
    from_arrays,
    group_copies,
    load,
    reload,
    subset,
)
from seepage.data.copies import Copies
from seepage.plan import SubsetPlan, half_split
from tiny_fleet import RECIPE, importable, table

X = np.array([[1.0, 2], [3, 4], [1, 2], [0, 0], [-0.0, 0], [1, 2], [3, 4]])
Y = [0, 1, 0, 1, 1, 1, 1]  # row 5 has the inputs of row 0 under another label


def test_copies_are_the_same_inputs_and_label() -> None:
    data = from_arrays(X, Y)
    split = np.array([[True, True, False, True, True, False, True]])
    assert count_copies(data, split) == Copies(samples=6, contents=3, split=2)
    together = np.array([[True, False, True, True, True, False, False]])
    assert count_copies(data, together).split == 0
    assert count_copies(data, split, leave_out=np.array([0])) == Copies(4, 2, 0)
    three = from_arrays(np.ones((4, 1)) * [[1], [1], [1], [2]], [0, 0, 0, 1])
    member = np.array([[True, True, False, True], [True, True, True, False]])
    assert count_copies(three, member) == Copies(samples=3, contents=1, split=3)
    assert count_copies(three, member, leave_out=np.array([0])) == Copies(2, 1, 2)


def test_copies_of_images_and_of_none() -> None:
    images = torch.arange(4 * 9, dtype=torch.uint8).reshape(4, 1, 3, 3).numpy().copy()
    data = from_arrays(images, [0, 1, 0, 1])
    assert count_copies(data, half_split(4, models=2).member) == Copies(0, 0, 0)
    assert group_copies(data) is data
    assert drop_copies(data) is data
    images[3] = images[1]
    assert count_copies(from_arrays(images, [0, 1, 0, 1]), np.array([[1, 1, 0, 0]]) > 0).split == 2


def test_groups_keep_copies_together() -> None:
    data = group_copies(from_arrays(X, Y, ids=list("abcdefg")))
    assert data.groups is not None
    assert data.groups.tolist() == ["a", "b", "a", "d", "d", "f", "b"]
    plan = half_split(len(data), models=8, groups=data.groups)
    assert count_copies(data, plan.member).split == 0
    # Groups that share a content become one, and so do those that these share another with.
    own = from_arrays(X, Y, groups=["p", "q", "r", "r", "s", "t", "u"])
    joined = group_copies(own).groups
    assert joined is not None
    assert joined.tolist() == ["p", "q", "p", "p", "p", "t", "q"]
    assert group_copies(group_copies(own)).digest == group_copies(own).digest


def test_both_can_be_loaded_again() -> None:
    pool = subset(load("digits"), 40)
    pool.inputs[7], pool.labels[7] = pool.inputs[3], pool.labels[3]
    assert len(drop_copies(pool)) == 39
    for kind in ("group", "drop"):
        again = reload({"copies": kind, "of": {"name": "digits", "limit": 40, "part": "train"}})
        assert again is not None
        assert len(again) == 1797
    assert drop_copies(pool).source["copies"] == "drop"


def test_training_says_so_and_the_manifest_keeps_it(tmp_path) -> None:
    data = table(24)
    twice = from_arrays(
        np.concatenate([data.inputs.numpy()] * 2), np.concatenate([data.labels.numpy()] * 2)
    )

    def train(plan: SubsetPlan, name: str) -> dict:
        run = seepage.train(
            twice, plan, model=importable, recipe=seepage.Recipe(**RECIPE), checkpoints=[2],
            executor="inline", keep="none", out=tmp_path / name,
        )  # fmt: skip
        return run.manifest["data"]["copies"]

    with pytest.warns(CopiesWarning, match=r"4\d of 48 samples have an exact copy that other runs"):
        counted = train(half_split(48, models=4), "split")
    assert (counted["samples"], counted["contents"]) == (48, 24)
    assert counted["split"] > 40
    half = half_split(24, models=4)
    member = np.concatenate([half.member] * 2, axis=1)
    assert train(SubsetPlan(member, half.seeds, "own", 0), "whole")["split"] == 0


@pytest.mark.slow
def test_copies_hide_the_leak_and_groups_show_it(tmp_path) -> None:
    """AUC of LiRA: 100 records once, each twice and split, each twice and kept together."""
    from seepage.attacks import LiRA
    from seepage.metrics import Subjects, operating_points

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 20)).astype(np.float32), rng.integers(0, 2, 100)
    once = from_arrays(x, y)
    twice = from_arrays(np.concatenate([x, x]), np.concatenate([y, y]))
    grouped = group_copies(twice)

    def auc(data, name: str) -> float:
        run = seepage.train(
            data, half_split(len(data), models=16, groups=data.groups), model="mlp",
            model_options={"hidden": (64,)}, checkpoints=[30], executor="inline", keep="none",
            recipe=seepage.Recipe(epochs=30, batch=25, lr=0.05, precision="fp32"),
            out=tmp_path / name,
        )  # fmt: skip
        scores = LiRA().leave_one_out(run.signal_at("phi", -1), run.member)
        unit = {} if data.groups is None else {"unit": Subjects(data.groups)}
        return float(operating_points(scores, run.member, [0.05], **unit).auc.mean())

    alone = auc(once, "once")
    with pytest.warns(CopiesWarning, match="200 of 200 samples"):
        split = auc(twice, "twice")
    together = auc(grouped, "grouped")
    assert split < alone - 0.08
    assert together > split + 0.08
