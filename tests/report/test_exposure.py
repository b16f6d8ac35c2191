from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from seepage.plan import half_split, permute_membership
from seepage.report.exposure import benjamini_hochberg, cut_off, rank_test, smallest


def test_rank_test_is_the_count_over_all_assignments() -> None:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(6, 4))
    member = half_split(4, models=6, seed=1).member
    got = rank_test(signal, member)
    for i in range(4):
        ranks = stats.rankdata(signal[:, i])
        seen = ranks[member[:, i]].sum()
        sums = [sum(c) for c in itertools.combinations(ranks, int(member[:, i].sum()))]
        assert got[i] == np.mean(np.array(sums) >= seen)


def test_rank_test_of_perfect_separation_is_the_smallest_p() -> None:
    member = half_split(3, models=8).member
    p = rank_test(np.where(member, 1.0, 0.0) + np.arange(8)[:, None] * 1e-3, member)
    np.testing.assert_allclose(p, smallest(4, 4), rtol=1e-12)


def test_rank_test_says_nothing_of_a_sample_that_was_never_out() -> None:
    member = np.array([[True, True], [True, False]])
    assert rank_test(np.array([[5.0, 5.0], [4.0, 1.0]]), member).tolist() == [1.0, 0.5]
    assert smallest(2, 0) == 1.0


def test_rank_test_is_uniform_on_null_data() -> None:
    rng = np.random.default_rng(3)
    member = half_split(4000, models=16, seed=3).member
    p = rank_test(rng.normal(size=(16, 4000)), member)
    for level in (0.01, 0.05, 0.2):
        share = (p <= level).mean()
        # Discrete, so never above the level but for chance; four standard errors.
        assert share <= level + 4 * np.sqrt(level * (1 - level) / 4000)
    assert abs(p.mean() - 0.5) < 0.03


def test_permuted_membership_has_almost_no_discoveries() -> None:
    rng = np.random.default_rng(4)
    member = half_split(500, models=16, seed=4).member
    signal = rng.normal(size=member.shape) + 3 * member
    assert (benjamini_hochberg(rank_test(signal, member)) <= 0.05).mean() > 0.9
    redrawn = permute_membership(member, rng)
    assert (benjamini_hochberg(rank_test(signal, redrawn)) <= 0.05).mean() < 0.05


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
