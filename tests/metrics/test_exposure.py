from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from seepage.errors import InputError
from seepage.metrics.exposure import (
    Evidence,
    at_most_false,
    benjamini_hochberg,
    cut_off,
    evidence,
    smallest,
)
from seepage.native.library import LEVELS, limited
from seepage.plan import half_split, partitions, permute_membership, subsets


def test_paired_evidence_is_the_count_over_all_coins() -> None:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(10, 4))
    member = half_split(4, models=10, seed=1).member
    got = evidence(signal, member)
    gap = np.where(member[::2], 1, -1) * (signal[::2] - signal[1::2])
    for i in range(4):
        ranks = stats.rankdata(np.abs(gap[:, i]))
        seen = ranks[gap[:, i] > 0].sum()
        sums = [ranks @ np.array(coins) for coins in itertools.product((0, 1), repeat=5)]
        assert got[i] == pytest.approx(np.mean(np.array(sums) >= seen), abs=1e-12)


def test_unpaired_evidence_is_the_count_over_all_assignments() -> None:
    rng = np.random.default_rng(0)
    member = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]], dtype=bool)
    signal = rng.normal(size=member.shape)
    got = evidence(signal, member)
    for i in range(3):
        ranks = stats.rankdata(signal[:, i])
        seen = ranks[member[:, i]].sum()
        sums = [sum(c) for c in itertools.combinations(ranks, int(member[:, i].sum()))]
        assert got[i] == pytest.approx(np.mean(np.array(sums) >= seen), abs=1e-12)


def test_perfect_separation_is_the_smallest_p() -> None:
    for member in (half_split(3, models=8).member, np.array([[1], [1], [0], [1]], dtype=bool)):
        p = evidence(np.where(member, 1.0, 0.0) + np.arange(len(member))[:, None] * 1e-3, member)
        np.testing.assert_allclose(p, smallest(member), rtol=1e-12)


def test_a_sample_that_never_differs_says_nothing() -> None:
    member = half_split(2, models=8).member
    assert evidence(np.ones((8, 2)), member).tolist() == [1.0, 1.0]
    never_out = np.array([[True, True], [True, False], [True, True]])
    assert evidence(np.array([[5.0, 5.0], [4.0, 1.0], [1.0, 6.0]]), never_out)[0] == 1.0


def test_ties_are_taken() -> None:
    member = half_split(2, models=8).member
    signal = np.where(member, 1.0, 0.0)
    signal[:2] = 0.5
    p = evidence(signal, member)
    assert ((p >= smallest(member)) & (p <= 0.2)).all()


def test_a_run_whose_pair_is_broken_is_not_used() -> None:
    rng = np.random.default_rng(5)
    member = half_split(6, models=8, seed=5).member
    signal = rng.normal(size=member.shape)
    np.testing.assert_array_equal(
        evidence(signal[:-1], member[:-1]), evidence(signal[:-2], member[:-2])
    )


def test_evidence_of_tuples_is_the_count_over_all_lots() -> None:
    rng = np.random.default_rng(0)
    thirds, halves = subsets(4, models=6, parts=3, seed=1).member, half_split(4, models=4).member
    for member in (thirds, np.concatenate([thirds, halves])):
        signal = np.round(rng.normal(size=member.shape), 1)
        got = evidence(signal, member)
        tuples_ = [range(3), range(3, 6), range(6, 8), range(8, 10)][: 2 + 2 * (len(member) > 6)]
        for i in range(4):
            x, m = signal[:, i], member[:, i]
            seen = sum((x[list(t)] < x[list(t)][m[list(t)]]).sum() for t in tuples_)
            every = [sum(c) for c in itertools.product(*(range(len(t)) for t in tuples_))]
            assert got[i] == pytest.approx(np.mean(np.array(every) >= seen), abs=1e-12)


@pytest.mark.parametrize("member", [
    subsets(3, models=9, parts=3).member,
    np.concatenate([subsets(60, models=4).member, half_split(60, models=4).member]),
])  # fmt: skip
def test_perfect_separation_of_tuples_is_the_smallest_p(member: np.ndarray) -> None:
    p = evidence(member + np.arange(len(member))[:, None] * 1e-3, member)
    np.testing.assert_allclose(p, smallest(member), rtol=1e-12)
    assert (evidence(np.zeros(member.shape), member) == 1.0).all()


@pytest.mark.parametrize("parts", [3, 4, 10])
def test_evidence_of_tuples_is_valid_and_finds_what_leaks(parts: int) -> None:
    """At most the level on noise, tied or not; power grows with the number of tuples."""
    rng = np.random.default_rng(parts)
    power = []
    for times in (4, 12):
        member = subsets(4000, models=parts * times, parts=parts, seed=3).member
        # Runs differ in quality, and samples of a tuple's runs depend on each other.
        noise = rng.normal(size=member.shape) + rng.normal(size=(len(member), 1))
        for signal in (noise, np.round(noise)):
            p = evidence(signal, member)
            for level in (0.01, 0.05, 0.2):
                assert (p <= level).mean() <= level + 4 * np.sqrt(level * (1 - level) / 4000)
        p = evidence(noise, member)
        for level in np.unique(p):
            assert (
                abs((p <= level).mean() - level) <= 5 * np.sqrt(level * (1 - level) / 4000) + 1e-9
            )
        power.append((evidence(noise + 2.0 * member, member) <= 0.01).mean())
    assert power[1] > max(0.5, power[0])


@pytest.mark.parametrize("dependence", [0.0, -0.8])
def test_evidence_is_uniform_on_null_data(dependence: float) -> None:
    # Pools of a pair's two runs are complementary, so a neighbour of the sample is in one of them.
    rng = np.random.default_rng(3)
    member = half_split(4000, models=16, seed=3).member
    signal = rng.normal(size=(16, 4000))
    signal[1::2] = dependence * signal[::2] + np.sqrt(1 - dependence**2) * signal[1::2]
    p = evidence(signal, member)
    for level in (0.01, 0.05, 0.2):
        share = (p <= level).mean()
        # Discrete, so never above the level but for chance; four standard errors.
        assert share <= level + 4 * np.sqrt(level * (1 - level) / 4000)
    assert abs(p.mean() - 0.5) < 0.03


def test_permuted_membership_has_almost_no_discoveries() -> None:
    rng = np.random.default_rng(4)
    member = half_split(500, models=16, seed=4).member
    signal = rng.normal(size=member.shape) + 3 * member
    assert (benjamini_hochberg(evidence(signal, member)) <= 0.05).mean() > 0.9
    redrawn = permute_membership(member, rng)
    assert (benjamini_hochberg(evidence(signal, redrawn)) <= 0.05).mean() < 0.05


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.01, 0.5))
def test_benjamini_hochberg_is_the_step_up_rule(values: list[float], level: float) -> None:
    p = np.array(values)
    q = benjamini_hochberg(p)
    ordered = np.sort(p)
    k = np.flatnonzero(ordered * (len(p) / np.arange(1, len(p) + 1)) <= level)
    expected = set() if not k.size else set(np.flatnonzero(p <= ordered[k[-1]]).tolist())
    assert set(np.flatnonzero(q <= level).tolist()) == expected
    assert ((q >= p) & (q <= 1)).all()
    assert set(np.flatnonzero(p <= cut_off(p, level)).tolist()) == expected


def _by_closed_testing(p: np.ndarray, named: np.ndarray, level: float) -> int:
    """The largest part of the set that lies in an accepted set, over all sets: brute force."""
    most = 0
    for size in range(1, len(p) + 1):
        for rows in itertools.combinations(range(len(p)), size):
            ranked = np.sort(p[list(rows)])
            if (ranked * size > level * np.arange(1, size + 1)).all():
                most = max(most, int(named[list(rows)].sum()))
    return most


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([0.001, 0.004, 0.01, 0.02, 0.05, 0.2, 0.9]), min_size=1, max_size=7),
    st.integers(0, 2**7 - 1),
    st.sampled_from([0.05, 0.2]),
)
def test_at_most_false_is_closed_testing(values: list[float], mask: int, level: float) -> None:
    # Moved off the lattice, so that no p lies on a multiple of the level.
    p = np.array(values) * (1 + 1e-6 * np.arange(len(values)))
    named = np.array([bool(mask >> i & 1) for i in range(len(p))])
    assert at_most_false(p, named, level) == _by_closed_testing(p, named, level)


def test_at_most_false_of_nothing_and_of_all() -> None:
    p = np.full(50, 1e-6)
    assert at_most_false(p, np.zeros(50, bool)) == 0
    assert at_most_false(p, np.ones(50, bool)) == 0
    assert at_most_false(np.ones(50), np.ones(50, bool)) == 50
    with pytest.raises(InputError, match="p, named: expected numbers and bools"):
        at_most_false(p, np.ones(49, bool))
    with pytest.raises(InputError, match=r"p: expected numbers in \[0, 1\]"):
        at_most_false(p + 1, np.ones(50, bool))
    with pytest.raises(InputError, match="level: expected"):
        at_most_false(p, np.ones(50, bool), 5)


def test_the_expected_share_is_controlled_and_the_bound_holds_in_single_fleets() -> None:
    """Under model effects more than 5 % of the names are false in many fleets, as on average it is 5 %."""
    rng = np.random.default_rng(0)
    shares, kept = [], []
    for fleet in range(200):
        member = half_split(400, models=32, seed=fleet).member
        effect = np.where(np.arange(400) < 60, 2.0, 0.0)
        signal = effect * member + rng.normal(size=(32, 400)) + rng.normal(size=(32, 1))
        p = evidence(signal, member)
        named = p <= cut_off(p, 0.05)
        false = int((named & (effect == 0)).sum())
        shares.append(false / max(int(named.sum()), 1))
        kept.append(false <= at_most_false(p, named))
    share = np.array(shares)
    assert share.mean() <= 0.05 + 2 * share.std(ddof=1) / np.sqrt(len(share))
    assert (share > 0.05).mean() > 0.1
    # 99 % upper end of the coverage by Clopper-Pearson is not below 0.95.
    assert stats.beta.ppf(0.995, sum(kept) + 1, len(kept) - sum(kept)) >= 0.95 or all(kept)


@pytest.mark.parametrize("pairs", [1, 6, 32, 90])
@pytest.mark.parametrize("digits", [0, 6])
def test_signed_ranks_equal_scipy_at_every_level(pairs, digits):
    rng = np.random.default_rng(pairs)
    member = half_split(130, models=2 * pairs, seed=0).member
    signal = (rng.normal(size=member.shape) + 0.4 * member).round(digits)
    signal[:, 3] = 1.0
    number = partitions(member)
    first, second = np.argsort(number, kind="stable").reshape(-1, 2).T
    gap = np.where(member[first], 1.0, -1.0) * (signal[first] - signal[second])
    expected = stats.wilcoxon(
        gap, alternative="greater", axis=0, method="exact", zero_method="pratt"
    ).pvalue
    expected = np.where((gap == 0).all(axis=0), 1.0, expected)
    for at in LEVELS:
        with limited(level=at):
            np.testing.assert_allclose(evidence(signal, member), expected, rtol=0, atol=1e-12)


def test_perfect_separation_is_as_small_as_it_is():
    member = half_split(20, models=140, seed=0).member
    p = evidence(member * 1.0, member)
    # Of 70 equal differences no rank is another's: mid-ranks, all on one side.
    np.testing.assert_allclose(p, 2.0**-70, rtol=1e-12)


def test_redrawn_memberships_share_ranks_and_give_what_each_alone_gives():
    rng = np.random.default_rng(0)
    for member in (
        half_split(60, models=16, seed=0).member,
        subsets(60, models=12, parts=3).member,
    ):
        signal = rng.normal(size=member.shape).round(1)
        members = [
            member,
            *(permute_membership(member, rng) for _ in range(3)),
            member[::-1].copy(),
        ]
        together = Evidence(members)
        for values in (signal, -signal):
            found = together(values)
            for p, m in zip(found, members, strict=True):
                np.testing.assert_array_equal(p, evidence(values, m))
    assert (found[0] != found[1]).any()
