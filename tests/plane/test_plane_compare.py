"""Factor studies: what counts as one factor, equal numbers of models, the table."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest

from seepage.errors import InputError
from seepage.plan import half_split, partitions, subsets
from seepage.plane import (
    Bootstrap,
    Trajectories,
    compare_paths,
    equal_models,
    one_factor,
    points,
)
from seepage.plane.compare import differing

BASE = {
    "data": {"name": "mnist", "digest": "a", "samples": 100, "source": {"noise": 0.0}},
    "plan": {"kind": "half_split", "models": 8, "digest": "p", "seed": 0, "options": {"models": 8}},
    "key": {
        "model": {"name": "cnn", "options": {"depth": 2}, "parameters": 9, "digest": "m"},
        "recipe": {"optimizer": "sgd", "lr": 0.1, "augment": ["flip"], "epochs": 4},
        "defense": None,
        "code": "1",
    },
    "checkpoints": [0.0, 4.0],
    "versions": {"torch": "2"},
    "wall_s": 12.0,
}


def changed(**paths):
    manifest = copy.deepcopy(BASE)
    for path, value in paths.items():
        *sections, leaf = path.split("__")
        node = manifest if sections and sections[0] in ("data", "plan") else manifest["key"]
        for s in sections:
            node = node[s]
        (manifest if path in BASE else node)[leaf] = value
    return manifest


def test_differing_walks_and_ignores_what_is_no_factor():
    other = changed(recipe__lr=0.2, code="2", wall_s=99.0)
    other["key"]["model"]["dropout"] = 0.5
    assert differing([BASE, BASE, other]) == {
        "recipe.lr": (0.1, 0.1, 0.2),
        "model.dropout": (None, None, 0.5),
    }
    assert differing([BASE, changed(recipe__augment=["flip", "crop"])]) == {
        "recipe.augment": (["flip"], ["flip", "crop"])
    }
    assert set(differing([BASE, changed(model=None)])) == {
        "model.name",
        "model.options.depth",
        "model.parameters",
        "model.digest",
    }
    assert differing([BASE, other], under=["wall_s"]) == {"wall_s": (12.0, 99.0)}


@pytest.mark.parametrize(
    ("change", "factor"),
    [
        ({}, None),
        ({"model__options": {"depth": 3}, "model__digest": "n"}, "model.options.depth"),
        ({"model": {"name": "wrn", "options": {"width": 2}, "digest": "w"}}, "model"),
        ({"recipe__optimizer": "sam"}, "recipe.optimizer"),
        ({"recipe__augment": []}, "recipe.augment"),
        ({"recipe__epochs": 8, "checkpoints": [0.0, 8.0]}, "recipe.epochs"),
        ({"checkpoints": [0.0, 1.0, 4.0]}, "checkpoints"),
        ({"defense": "DPSGD(epsilon=8)"}, "defense"),
        ({"data__source": {"noise": 0.2}, "data__digest": "b"}, "data"),
        ({"data": {"name": "cifar", "digest": "c"}, "plan__digest": "q"}, "data"),
        ({"plan__models": 16, "plan__options": {"models": 16}, "recipe__lr": 1}, "recipe.lr"),
        ({"plan__digest": "q"}, "plan.digest"),
        ({"plan__seed": 1, "plan__digest": "q"}, "plan.seed"),
        ({"code": "2"}, None),
    ],
)
def test_one_factor(change, factor):
    assert one_factor([BASE, BASE, changed(**change)]) == factor


def test_several_factors_are_refused_unless_allowed():
    other = changed(model__options={"depth": 3}, recipe__lr=0.2, plan__seed=1)
    with pytest.raises(
        InputError, match=r"one factor to differ, got model.options.depth, recipe.lr, plan.seed"
    ):
        one_factor([BASE, other])
    assert one_factor([BASE, other], allow=("recipe", "plan.seed")) == "model.options.depth"


def test_equal_models_takes_whole_pairs():
    members = {
        "a": half_split(20, models=8, seed=0).member,
        "b": half_split(30, models=6, seed=1).member[1:],
    }
    rows = equal_models(members)
    assert {n: len(r) for n, r in rows.items()} == {"a": 4, "b": 4}
    for name, r in rows.items():
        assert (np.bincount(partitions(members[name][r])) == 2).all()
    members["c"] = subsets(30, models=9, parts=3).member[1:]
    assert len(equal_models(members)["c"]) == 6
    with pytest.raises(InputError, match="runs: expected complementary pairs"):
        equal_models({"a": np.ones((3, 2), bool)})


def paths_of(shift: float, models: int = 16, samples: int = 300) -> Trajectories:
    rng = np.random.default_rng(7)
    member = half_split(samples, models=models, seed=0).member
    noise = rng.normal(size=(3, models, samples))
    push = shift * np.arange(3)[:, None, None] * (member - 0.5)
    states = [points(d, member) for d in noise + push >= 0]
    return Trajectories(
        np.arange(3.0),
        np.array([p.fpr for p in states]),
        np.array([p.tpr for p in states]),
        states[0].n_in,
        states[0].n_out,
        np.full(3, np.nan),
        member,
        np.packbits(noise + push >= 0, axis=2),
        description={"attack": "A", "rule": "N", "rates": "C"},
    )


def test_comparison_sets_populations_side_by_side():
    runs = {"shallow": paths_of(0.5), "deep": paths_of(1.0)}
    manifests = {"shallow": BASE, "deep": changed(model__options={"depth": 3})}
    c = compare_paths(runs, manifests, bootstrap=Bootstrap(20))
    assert c.factor == "model.options.depth"
    assert c.values == {"shallow": {"model.options.depth": 2}, "deep": {"model.options.depth": 3}}
    assert c.models == 16
    assert c.samples == {"shallow": 300, "deep": 300}
    table = c.table()
    for name, run in runs.items():
        value = table["displacement_net"][name].value
        np.testing.assert_allclose(value, run.displacement()[0])
    ratio, low, high = c.ratio("displacement_net", "deep", "shallow")
    np.testing.assert_allclose(
        ratio, runs["deep"].displacement()[0] / runs["shallow"].displacement()[0]
    )
    assert low < ratio < high
    # Shifts of 2 and 1 at the end: Φ(1) − ½ over Φ(½) − ½.
    assert low < 0.3413 / 0.1915 < high
    assert np.isnan(c.ratio("entropy_change", "deep", "shallow")[0]) == bool(
        min(table["entropy_change"][n].value for n in runs) <= 0
    )


def test_comparison_names_what_is_wrong():
    one, two = paths_of(0.5), paths_of(0.5, models=8)
    same = {"a": BASE, "b": BASE}
    with pytest.raises(InputError, match="runs: expected at least two"):
        compare_paths({"a": one}, same)
    with pytest.raises(InputError, match="manifests: expected one per run, b is missing"):
        compare_paths({"a": one, "b": one}, {"a": BASE})
    with pytest.raises(
        InputError, match="models: expected the same number in every run, got a: 16"
    ):
        compare_paths({"a": one, "b": two}, same)
    other = dataclasses.replace(one, description={"attack": "B", "rule": "N", "rates": "C"})
    with pytest.raises(InputError, match="attack: expected the same for every run, got a: A, b: B"):
        compare_paths({"a": one, "b": other}, same)


def test_another_start_is_one_factor() -> None:
    def run(digest: str, fixed: str, name: str = "mine") -> dict[str, Any]:
        start = {"fixed": fixed, "drawn": 0.0}
        return {"key": {"model": {"name": name, "digest": digest, "start": start}}}

    assert one_factor([run("a", "x"), run("a", "y")]) == "model.start.fixed"
    assert one_factor([run("a", "x"), run("b", "y")]) == "model"
    assert one_factor([run("a", "x"), run("b", "y", "other")]) == "model"
