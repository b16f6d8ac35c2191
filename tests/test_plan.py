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
    distance_factor,
    fixed_target,
    fresh_draws,
    group_codes,
    half_split,
    leave_out,
    partitions,
    permute_membership,
    plant_canaries,
    pool_share,
    subsets,
    tuples,
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
    assert tuples(plan.member).tolist() == [r // 2 for r in range(models)]


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
def test_tuples_partition_the_pool_and_leave_no_pair(models: int, n: int, seed: int) -> None:
    member = np.random.default_rng(seed).random((models, n)) < 0.4
    number = tuples(member)
    for i in range(number.max() + 1):
        assert (number == i).sum() >= 2
        assert (member[number == i].sum(axis=0) == 1).all()
    alone = np.flatnonzero(number < 0)
    assert not any((member[r] == ~member[s]).all() for r, s in product(alone, alone))


def test_tuples_are_found_after_a_run_was_lost() -> None:
    member = np.delete(half_split(9, models=8, seed=1).member, 2, axis=0)
    assert tuples(member).tolist() == [0, 0, -1, 1, 1, 2, 2]
    assert partitions(member).tolist() == [0, 0, 1, 2, 2, 3, 3]


@laws
@given(st.integers(2, 6), st.integers(1, 4), st.integers(40, 120), seeds)
def test_subsets_are_balanced_tuples(parts: int, times: int, n: int, seed: int) -> None:
    plan = subsets(n, models=parts * times, parts=parts, seed=seed)
    assert (plan.member.reshape(times, parts, n).sum(axis=1) == 1).all()
    sizes = plan.member.sum(axis=1)
    assert sizes.max() - sizes.min() <= 1
    assert tuples(plan.member).tolist() == [r // parts for r in range(plan.models)]
    assert (partitions(plan.member) == tuples(plan.member)).all()
    assert (plan.kind, plan.options) == ("subsets", {"models": parts * times, "parts": parts})
    larger = subsets(n, models=parts * (times + 1), parts=parts, seed=seed)
    assert (larger.member[: plan.models] == plan.member).all()
    assert (larger.seeds[: plan.models] == plan.seeds).all()


def test_two_parts_are_half_splits() -> None:
    assert subsets(31, models=6, parts=2, seed=4).digest == half_split(31, models=6, seed=4).digest


def test_old_plans_keep_their_digests() -> None:
    # As of the commit before tuples; run folders name these.
    assert half_split(50, models=6, seed=0).digest[:16] == "a7ea7de468f7faf8"
    assert leave_out(50, folds=6, seed=0).digest[:16] == "d67553c70eb78bcb"
    assert fixed_target([True, False, True], models=4, seed=0).digest[:16] == "eb6f92d2dcd7c010"


def test_subsets_draw_every_part_equally_often() -> None:
    # 6 orders of 3 samples; 3,000 tuples.
    plan = subsets(3, models=9000, parts=3, seed=0)
    counts = Counter(member.tobytes() for member in plan.member.reshape(3000, 3, 3))
    assert len(counts) == 6
    assert all(abs(c - 500) < 5 * 20.4 for c in counts.values())


def test_subsets_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(InputError, match="parts: expected at least 2, got 1"):
        subsets(10, models=4, parts=1)
    for models in (0, 6, -4):
        with pytest.raises(InputError, match=r"models: expected a multiple of parts \(4\)"):
            subsets(10, models=models)
    with pytest.raises(InputError, match="n: expected at least 4 samples, got 3"):
        subsets(3, models=4)
    with pytest.raises(InputError, match=r"groups: expected at least 4.* parts, got 2"):
        subsets(6, models=4, groups=list("aabbab"))


@laws
@given(st.integers(2, 5), seeds, st.booleans())
def test_tuples_do_not_depend_on_the_order_of_runs(parts: int, seed: int, lost: bool) -> None:
    rng = np.random.default_rng(seed)
    member = subsets(200, models=6 * parts, parts=parts, seed=seed).member
    truth = np.arange(6 * parts) // parts
    order = rng.permutation(len(member))[int(lost) :]
    member, truth = member[order], truth[order]
    whole = np.bincount(truth, minlength=6)[truth] == parts
    number, partition = tuples(member), partitions(member)
    assert ((number >= 0) == whole).all()
    same = truth[:, None] == truth
    assert ((number[:, None] == number) == same)[np.ix_(whole, whole)].all()
    assert ((partition[:, None] == partition) == same).all()


def test_tuples_of_several_sizes_and_of_equal_rows() -> None:
    halves, thirds = half_split(60, models=4).member, subsets(60, models=6, parts=3).member
    both = np.concatenate([thirds[:3], halves, thirds[3:], halves[:2], halves[:2]])
    assert tuples(both).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 5]
    twice = np.concatenate([thirds[:3], thirds[:3]])[[0, 3, 1, 4, 2, 5]]
    assert np.bincount(tuples(twice)).tolist() == [3, 3]


def test_what_is_no_tuple() -> None:
    assert (tuples(leave_out(30, folds=3).member) == -1).all()
    assert tuples(leave_out(30, folds=2).member).tolist() == [0, 0]
    coins = np.random.default_rng(0).random((40, 300)) < 0.25
    assert (tuples(coins) == -1).all()
    assert partitions(coins).tolist() == list(range(40))
    # Few members in a large pool are disjoint by chance, which tells nothing.
    rare = np.random.default_rng(1).random((40, 5000)) < 0.002
    assert partitions(rare).tolist() == list(range(40))


def test_what_is_left_of_tuples_stays_together() -> None:
    member = subsets(400, models=12, parts=4, seed=1).member
    left = np.delete(member, [1, 6, 8], axis=0)
    assert (tuples(left) == -1).all()
    assert partitions(left).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    # In a small pool chance is no witness, but another tuple is.
    tiny = np.delete(subsets(9, models=6, parts=3, seed=2).member, 4, axis=0)
    assert partitions(tiny).tolist() == [0, 0, 0, 1, 1]


GROUPS = st.lists(st.integers(0, 12), min_size=20, max_size=60)


@laws
@given(GROUPS, st.integers(2, 4), seeds)
def test_plans_assign_whole_groups(groups: list[int], parts: int, seed: int) -> None:
    codes, names = group_codes(groups)
    if len(names) < parts:
        return
    n, largest = len(groups), int(np.bincount(codes).max())
    plan = subsets(n, models=3 * parts, parts=parts, seed=seed, groups=groups)
    inside = np.stack([np.bincount(codes, weights=row) for row in plan.member])
    assert ((inside == 0) | (inside == np.bincount(codes))).all()
    assert (plan.member.reshape(3, parts, n).sum(axis=1) == 1).all()
    assert plan.options["groups"] == len(names)
    # Off by half of the largest group at either end, unless a part would be empty.
    if len(names) >= 2 * parts and largest <= n // (2 * parts):
        assert abs(plan.member.sum(axis=1) - n / parts).max() <= largest + 1
    assert (plan.seeds == subsets(n, models=3 * parts, parts=parts, seed=seed).seeds).all()
    out = leave_out(n, folds=parts, seed=seed, groups=groups).member
    inside = np.stack([np.bincount(codes, weights=row) for row in out])
    assert ((inside == 0) | (inside == np.bincount(codes))).all()
    assert ((~out).sum(axis=0) == 1).all()


@pytest.mark.parametrize("n", [7, 40])
def test_groups_of_one_change_nothing(n: int) -> None:
    ids = [f"s{i}" for i in range(n)][::-1]
    assert (
        half_split(n, models=6, seed=2, groups=ids).digest == half_split(n, models=6, seed=2).digest
    )
    assert leave_out(n, folds=3, seed=2, groups=ids).digest == leave_out(n, folds=3, seed=2).digest
    grouped = subsets(n, models=9, parts=3, seed=2, groups=np.arange(n))
    assert grouped.digest == subsets(n, models=9, parts=3, seed=2).digest


def test_every_group_is_in_every_run_equally_often() -> None:
    # One group has 40 % of the samples, which lies in the middle of a random order more often.
    groups = [0] * 40 + list(range(1, 61))
    plan = subsets(100, models=8000, parts=4, seed=0, groups=groups)
    for i in (0, 50, 99):
        share = plan.member[:, i].reshape(-1, 4).mean(axis=0)
        assert (abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 2000)).all()


def test_groups_are_checked() -> None:
    with pytest.raises(InputError, match=r"groups: expected one per sample \(4\), got 3"):
        half_split(4, models=2, groups=["a", "b", "c"])
    for missing in (None, "", float("nan")):
        with pytest.raises(
            InputError, match=r"groups: expected a name for every sample, got .* row 1"
        ):
            half_split(3, models=2, groups=["a", missing, "c"])
    with pytest.raises(
        InputError, match=r"groups: expected one name per sample, got shape \(2, 2\)"
    ):
        group_codes(np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"one side of the member list, got 'ann' with 1 of 2"):
        fixed_target([True, False, False, True], models=2, groups=["ann", "ann", "bob", "eve"])
    plan = fixed_target([True, True, False, True], models=2, groups=["ann", "ann", "bob", "eve"])
    assert (plan.member[:, 0] == plan.member[:, 1]).all()


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


def test_permuted_membership_without_tuples_keeps_the_counts_and_is_uniform() -> None:
    # Columns 110, 100 and 010 have 3 places each, 27 outcomes; no rows are complements.
    member = np.array([[1, 1, 0], [1, 0, 1], [0, 0, 0]], dtype=bool)
    assert (tuples(member) == -1).all()
    rng = np.random.default_rng(0)
    counts = Counter(permute_membership(member, rng).tobytes() for _ in range(4500))
    places = {
        np.array(rows).T.tobytes()
        for rows in product(
            [[True, True, False], [True, False, True], [False, True, True]],
            [[True, False, False], [False, True, False], [False, False, True]],
            [[True, False, False], [False, True, False], [False, False, True]],
        )
    }
    assert set(counts) == places
    assert all(abs(c - 4500 / 27) < 5 * 12.7 for c in counts.values())


def test_permuted_membership_of_tuples_is_uniform() -> None:
    member = subsets(2000, models=6, parts=3, seed=5).member
    rng = np.random.default_rng(0)
    total = np.zeros((3, 3))
    for _ in range(10):
        null = permute_membership(member, rng)
        assert (null.reshape(2, 3, -1).sum(axis=1) == 1).all()
        total += member[:3].astype(float) @ null[:3].T
    # 20,000 samples, each of whose 9 ways from run to run is as likely.
    assert (abs(total - 20_000 / 9) < 5 * np.sqrt(20_000 / 9)).all()


def test_permuted_membership_of_what_is_left_stays_disjoint() -> None:
    member = np.delete(subsets(400, models=8, parts=4, seed=5).member, [2, 7], axis=0)
    null = permute_membership(member, np.random.default_rng(1))
    assert (null[:3].sum(axis=0) == member[:3].sum(axis=0)).all()
    assert (null[3:].sum(axis=0) == member[3:].sum(axis=0)).all()
    assert not (null == member).all()


@pytest.mark.parametrize("parts", [2, 3])
def test_permuted_membership_moves_whole_groups(parts: int) -> None:
    groups = np.random.default_rng(2).integers(0, 30, 200)
    member = subsets(200, models=2 * parts, parts=parts, seed=1, groups=groups).member
    member = np.concatenate(
        [member, member[:1], subsets(200, models=3, parts=3, groups=groups).member[:1]]
    )
    null = permute_membership(member, np.random.default_rng(0), groups)
    for g in range(30):
        assert (null[:, groups == g] == null[:, groups == g][:, :1]).all()
    assert (null.sum(axis=0) == member.sum(axis=0)).all()
    assert not (null == member).all()


def test_a_single_run_without_a_tuple_is_left_as_it_is() -> None:
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


def test_a_configuration_names_the_kind_of_plan() -> None:
    from seepage.config.audit import read_config
    from seepage.config.prepare import prepare

    small = ['data.name="digits"', "data.limit=80", "plan.models=12"]
    plan = prepare(read_config(None, [*small, 'plan.kind="subsets"'])).plan
    assert plan.digest == subsets(80, models=12, parts=4).digest
    plan = prepare(read_config(None, [*small, 'plan.kind="subsets"', "plan.parts=3"])).plan
    assert plan.digest == subsets(80, models=12, parts=3).digest
    with pytest.raises(InputError, match=r'plan.parts: expected with kind = "subsets" alone'):
        prepare(read_config(None, [*small, "plan.parts=3"]))
    few = [*small, 'plan.kind="subsets"', "plan.parts=6"]
    with pytest.raises(InputError, match="12 models leave 1 and 5; use at least 18 models"):
        prepare(read_config(None, few))
    fresh = ['data.name="digits"', "data.limit=80", "plan.models=40", 'plan.kind="fresh_draws"']
    plan = prepare(read_config(None, [*fresh, "plan.members=20"])).plan
    assert plan.digest == fresh_draws(80, members=20, models=40).digest
    with pytest.raises(InputError, match="raise plan"):
        prepare(read_config(None, [*fresh, "plan.members=4"]))
    for wrong in (fresh, [*small, "plan.members=20"]):
        with pytest.raises(InputError, match=r"plan.members: expected with kind"):
            prepare(read_config(None, wrong))


@laws
@given(st.integers(3, 60), st.integers(2, 12), st.data(), seeds)
def test_fresh_draws_take_so_many_each_time(
    n: int, models: int, data: st.DataObject, seed: int
) -> None:
    members = data.draw(st.integers(1, n - 1))
    plan = fresh_draws(n, members=members, models=models, seed=seed)
    assert (plan.member.sum(axis=1) == members).all()
    assert pool_share(plan.member) == pytest.approx(members / n)
    assert len(set(plan.seeds.tolist())) == models
    more = fresh_draws(n, members=members, models=models + 3, seed=seed)
    assert (more.member[:models] == plan.member).all()
    assert (more.seeds[:models] == plan.seeds).all()


def test_fresh_draws_are_independent_and_alike_for_all_samples() -> None:
    member = fresh_draws(400, members=40, models=2000, seed=1).member
    rate = member.mean(axis=0)
    assert abs(rate - 0.1).max() < 5 * np.sqrt(0.09 / 2000)
    # Two runs share n (members/n)² samples on average, whether neighbours or not.
    shared = (member[::2] & member[1::2]).sum(axis=1)
    assert shared.mean() == pytest.approx(4.0, abs=4 * shared.std() / np.sqrt(1000))
    assert (tuples(member[:64]) < 0).all()
    assert len(set(partitions(member[:64]).tolist())) == 64


@laws
@given(st.lists(st.integers(0, 6), min_size=4, max_size=40), st.integers(2, 6), seeds)
def test_fresh_draws_take_whole_groups(groups: list[int], models: int, seed: int) -> None:
    codes, names = group_codes(groups)
    if len(names) < 2:
        return
    members = max(1, len(groups) // 3)
    plan = fresh_draws(len(groups), members=members, models=models, seed=seed, groups=groups)
    sizes = np.bincount(codes)
    for row in plan.member:
        inside = np.bincount(codes, weights=row)
        assert ((inside == 0) | (inside == sizes)).all()
        assert 0 < row.sum() < len(groups)
        assert abs(row.sum() - members) <= sizes.max()


def test_fresh_draws_refuse_what_is_no_part_of_the_pool() -> None:
    for members in (0, 10):
        with pytest.raises(InputError, match="members: expected 1 to 9"):
            fresh_draws(10, members=members, models=4)
    with pytest.raises(InputError, match="models: expected at least 2"):
        fresh_draws(10, members=3, models=1)


def test_pool_share_and_factor() -> None:
    for k in (2, 4, 10):
        share = pool_share(subsets(40, models=k, parts=k).member)
        assert share == pytest.approx(1 / k)
        assert distance_factor(share) == pytest.approx(1 / np.sqrt(1 - 1 / k))
    with pytest.raises(InputError, match="share: expected"):
        distance_factor(1.0)
    with pytest.raises(InputError, match="member: expected bool"):
        pool_share([True, False])


def test_a_single_run_is_told_where_to_go() -> None:
    from seepage.plan import refuse_offline

    with pytest.raises(InputError, match=r"got one; audit one model with `seepage audit MODEL"):
        refuse_offline(np.array([[True, True, False, False]]), "run")
