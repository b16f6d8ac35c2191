from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from seepage.metrics.exposure import benjamini_hochberg, cut_off, evidence, smallest
from seepage.plan import half_split, permute_membership


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


def test_a_run_without_its_twin_is_not_used() -> None:
    rng = np.random.default_rng(5)
    member = half_split(6, models=8, seed=5).member
    signal = rng.normal(size=member.shape)
    np.testing.assert_array_equal(
        evidence(signal[:-1], member[:-1]), evidence(signal[:-2], member[:-2])
    )


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
