"""Laws of the membership matrix."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seepage.errors import InputError
from seepage.plan import (
    Canaries,
    SubsetPlan,
    fixed_target,
    half_split,
    leave_out,
    permute_membership,
    plant_canaries,
    twins,
)

pools = st.integers(2, 40)
even = st.integers(1, 6).map(lambda k: 2 * k)
seeds = st.integers(0, 2**32)
laws = settings(max_examples=30, deadline=None)


@laws
@given(pools, even, seeds)
def test_half_split_is_balanced_in_both_directions(n: int, models: int, seed: int) -> None:
    plan = half_split(n, models=models, seed=seed)
    assert plan.member.shape == (models, n)
    assert plan.member.dtype == np.bool_
    assert (plan.member.sum(axis=0) == models // 2).all()
    sizes = plan.member.sum(axis=1)
    assert sizes.max() - sizes.min() <= 1
    assert (plan.member[0::2] == ~plan.member[1::2]).all()
    assert len(set(plan.seeds.tolist())) == models
    assert twins(plan.member).tolist() == [r ^ 1 for r in range(models)]


@laws
@given(pools, even, seeds)
def test_half_split_depends_on_its_seed_alone(n: int, models: int, seed: int) -> None:
    first, second = (half_split(n, models=models, seed=seed) for _ in range(2))
    assert first.digest == second.digest
    assert half_split(n, models=models, seed=seed + 1).digest != first.digest


def test_more_models_extend_a_plan_without_changing_its_first_runs() -> None:
    small, large = half_split(50, models=4, seed=3), half_split(50, models=8, seed=3)
    assert (large.member[:4] == small.member).all()
    assert (large.seeds[:4] == small.seeds).all()


def test_half_split_draws_every_half_equally_often() -> None:
    # 6 possible halves of 4 samples; 3,000 pairs, so each has 500 ± 20 (one standard deviation).
    plan = half_split(4, models=6000, seed=0)
    counts = Counter(tuple(row) for row in plan.member[0::2].tolist())
    assert len(counts) == 6
    assert all(abs(c - 500) < 5 * 20.4 for c in counts.values())


@pytest.mark.parametrize("models", [0, 1, 7, -2])
def test_half_split_wants_pairs(models: int) -> None:
    with pytest.raises(InputError, match=r"models: expected an even number of at least 2, got"):
        half_split(10, models=models)


def test_half_split_wants_two_samples() -> None:
    with pytest.raises(InputError, match="n: expected at least 2 samples, got 1"):
        half_split(1, models=2)


@laws
@given(st.lists(st.booleans(), min_size=2, max_size=30), even, seeds)
def test_fixed_target_keeps_the_list_and_balances_the_shadows(
    row: list[bool], models: int, seed: int
) -> None:
    if all(row) or not any(row):
        with pytest.raises(InputError, match="member: expected a list with members and non-mem"):
            fixed_target(row, models=models, seed=seed)
        return
    plan = fixed_target(row, models=models, seed=seed)
    assert plan.member[0].tolist() == row
    assert (plan.member[1:] == half_split(len(row), models=models, seed=seed).member).all()
    assert len(set(plan.seeds.tolist())) == models + 1
    assert plan.kind == "fixed_target"


@laws
@given(st.integers(2, 30), st.data())
def test_leave_out_leaves_every_sample_out_once(n: int, data: st.DataObject) -> None:
    folds = data.draw(st.integers(2, n))
    plan = leave_out(n, folds=folds, seed=data.draw(seeds))
    assert ((~plan.member).sum(axis=0) == 1).all()
    out = (~plan.member).sum(axis=1)
    assert out.max() - out.min() <= 1


@pytest.mark.parametrize("folds", [1, 6])
def test_leave_out_wants_a_possible_number_of_folds(folds: int) -> None:
    with pytest.raises(InputError, match=rf"folds: expected 2 to 5 \(the samples\), got {folds}"):
        leave_out(5, folds=folds)


@laws
@given(st.integers(1, 8), st.integers(1, 5), seeds)
def test_twins_pair_complements_and_are_an_involution(models: int, n: int, seed: int) -> None:
    member = np.random.default_rng(seed).random((models, n)) < 0.5
    twin = twins(member)
    for r, s in enumerate(twin):
        if s >= 0:
            assert twin[s] == r
            assert s != r
            assert (member[r] == ~member[s]).all()
    alone = [r for r in range(models) if twin[r] < 0]
    assert not any((member[r] == ~member[s]).all() for r, s in product(alone, alone))


def test_twins_are_found_after_a_run_was_lost() -> None:
    member = np.delete(half_split(9, models=8, seed=1).member, 2, axis=0)
    assert twins(member).tolist() == [1, 0, -1, 4, 3, 6, 5]


@laws
@given(pools, even, seeds)
def test_permuted_membership_is_a_plan_of_the_same_kind(n: int, models: int, seed: int) -> None:
    member = half_split(n, models=models, seed=seed).member
    before = member.copy()
    null = permute_membership(member, np.random.default_rng(seed))
    assert (member == before).all()
    assert (null.sum(axis=0) == models // 2).all()
    assert (null[0::2] == ~null[1::2]).all()


def test_permuted_membership_of_pairs_is_uniform() -> None:
    # 2 pairs and 2 samples: 2^(2·2) = 16 outcomes, all equally likely, whatever one starts from.
    member = half_split(2, models=4, seed=5).member
    rng = np.random.default_rng(0)
    counts = Counter(permute_membership(member, rng).tobytes() for _ in range(8000))
    expected = set()
    for bits in product([False, True], repeat=4):
        half = np.array(bits).reshape(2, 2)
        expected.add(np.stack([half[0], ~half[0], half[1], ~half[1]]).tobytes())
    assert set(counts) == expected
    assert all(abs(c - 500) < 5 * 21.7 for c in counts.values())


def test_permuted_membership_without_twins_keeps_the_counts_and_is_uniform() -> None:
    # Columns 110 and 100 have 3 places each, 9 outcomes; 111 keeps rows from being complements.
    member = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1]], dtype=bool)
    assert (twins(member) == -1).all()
    rng = np.random.default_rng(0)
    counts = Counter(permute_membership(member, rng).tobytes() for _ in range(4500))
    places = {
        np.array(rows).T.tobytes()
        for rows in product(
            [[True, True, False], [True, False, True], [False, True, True]],
            [[True, False, False], [False, True, False], [False, False, True]],
            [[True, True, True]],
        )
    }
    assert set(counts) == places
    assert all(abs(c - 500) < 5 * 21.1 for c in counts.values())


def test_a_single_run_without_twin_is_left_as_it_is() -> None:
    member = np.array([[True, False, True]])
    assert (permute_membership(member, np.random.default_rng(0)) == member).all()


def test_plan_refuses_what_is_no_membership() -> None:
    with pytest.raises(InputError, match=r"member: expected bool of shape \(models, samples\)"):
        SubsetPlan(np.ones((2, 3)), np.zeros(2, np.uint64), "own", 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"seeds: expected one per model \(2\), got 1"):
        SubsetPlan(np.ones((2, 3), dtype=bool), np.zeros(1, np.uint64), "own", 0)
    with pytest.raises(
        InputError, match=r"member: expected at least one member in every run.*run 1"
    ):
        SubsetPlan(np.array([[True], [False]]), np.zeros(2, np.uint64), "own", 0)


def test_plan_reads_out_members_ascending_and_digests_content() -> None:
    member = np.array([[True, False, True], [False, True, False]])
    plan = SubsetPlan(member, np.array([1, 2], np.uint64), "own", 0)
    assert (plan.models, plan.samples) == (2, 3)
    assert plan.members(0).tolist() == [0, 2]
    other = SubsetPlan(~member, np.array([1, 2], np.uint64), "own", 0)
    reseeded = SubsetPlan(member, np.array([1, 3], np.uint64), "own", 0)
    empty = np.zeros(0, np.int64)
    planted = SubsetPlan(member, plan.seeds, "own", 0, {}, Canaries(empty, (), empty, empty))
    blank = SubsetPlan(
        member, plan.seeds, "own", 0, {}, Canaries(np.array([1]), ("blank",), empty, empty)
    )
    assert len({p.digest for p in (plan, other, reseeded, blank)}) == 4
    assert planted.digest == plan.digest


@laws
@given(st.integers(3, 8), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), seeds)
def test_planted_canaries_are_what_was_ordered(
    classes: int, mislabelled: int, blank: int, duplicated: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, 40)
    plan = half_split(40, models=4, seed=1)
    counts = {"mislabelled": mislabelled, "blank": blank, "duplicated": duplicated}
    if not any(counts.values()):
        with pytest.raises(InputError, match="canaries: expected 1 to 40 positions"):
            plant_canaries(plan, labels, classes, seed=seed, **counts)
        return
    planted = plant_canaries(plan, labels, classes, seed=seed, **counts)
    canaries = planted.canaries
    assert canaries is not None
    assert {k: canaries.kind.count(k) for k in counts} == counts
    assert len(set(canaries.index.tolist())) == len(canaries.index) == sum(counts.values())
    for at, kind, label, source in zip(
        canaries.index, canaries.kind, canaries.label, canaries.source, strict=True
    ):
        assert 0 <= label < classes
        assert (label == labels[at]) == (kind != "mislabelled") or kind == "duplicated"
        if kind == "duplicated":
            assert source not in canaries.index
            assert label == labels[source]
        else:
            assert source == -1
    assert (planted.member == plan.member).all()
    assert (planted.seeds == plan.seeds).all()
    assert planted.digest != plan.digest
    assert plant_canaries(plan, labels, classes, seed=seed, **counts).digest == planted.digest


def test_mislabelled_canaries_take_every_other_label_equally_often() -> None:
    plan = half_split(3000, models=2)
    canaries = plant_canaries(plan, np.ones(3000), 4, mislabelled=3000, seed=2).canaries
    assert canaries is not None
    counts = np.bincount(canaries.label, minlength=4)
    assert counts[1] == 0
    assert (abs(counts[[0, 2, 3]] - 1000) < 5 * 25.8).all()


def test_canaries_that_cannot_be_planted_are_refused() -> None:
    plan = half_split(4, models=2)
    with pytest.raises(InputError, match=r"labels: expected one per sample of the plan \(4\)"):
        plant_canaries(plan, [0, 1], 2, blank=1)
    with pytest.raises(InputError, match="blank: expected 0 or more canaries, got -1"):
        plant_canaries(plan, [0, 1, 0, 1], 2, blank=-1)
    with pytest.raises(InputError, match=r"canaries: expected 1 to 4 positions .* got 6"):
        plant_canaries(plan, [0, 1, 0, 1], 2, duplicated=3)
    with pytest.raises(InputError, match=r"labels: expected values in 0\.\.1 .* got 0\.\.2"):
        plant_canaries(plan, [0, 1, 0, 2], 2, blank=1)
