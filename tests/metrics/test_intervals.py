"""Intervals cover what they say, and no less."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest, t

from seepage import metrics
from seepage.attacks import LiRA
from seepage.errors import InputError
from seepage.metrics.intervals import around
from seepage.plan import half_split


def test_clopper_pearson_equals_scipy():
    for n in (1, 7, 40):
        low, high = metrics.clopper_pearson(np.arange(n + 1), n)
        for k in range(n + 1):
            want = binomtest(k, n).proportion_ci(0.95, method="exact")
            assert (low[k], high[k]) == pytest.approx((want.low, want.high), abs=1e-9)


@pytest.mark.parametrize("p", [0.001, 0.03, 0.5])
def test_clopper_pearson_covers(p):
    """Exactly, by summing the binomial: never below the level."""
    k = np.arange(201)
    low, high = metrics.clopper_pearson(k, 200)
    assert binom.pmf(k, 200, p)[(low <= p) & (p <= high)].sum() >= 0.95


def test_clopper_pearson_without_trials_says_nothing():
    low, high = metrics.clopper_pearson(0, 0)
    assert (low, high) == (0, 1)
    with pytest.raises(InputError, match="k: expected counts between 0 and n"):
        metrics.clopper_pearson(3, 2)
    with pytest.raises(InputError, match="level: expected a number between 0 and 1"):
        metrics.clopper_pearson(1, 2, level=95)


def test_over_targets_counts_pairs_not_runs():
    """Values that agree within a pair: as many draws as pairs, so the width is that of G, not R."""
    member = half_split(20, models=8, seed=0).member
    pairs = np.array([0.5, 0.6, 0.55, 0.7])
    e = metrics.over_targets(np.repeat(pairs, 2), member, shared=False)
    half = t.ppf(0.975, 3) * pairs.std(ddof=1) / 2
    assert e.groups == 4
    assert (e.mean, e.high - e.mean) == pytest.approx((pairs.mean(), half))
    # Of targets that are each other's references s² sees G − 2 of the G − 1 parts, twice.
    wider = metrics.over_targets(np.repeat(pairs, 2), member)
    half = t.ppf(0.975, 2) * np.sqrt(2 * 3 / 2) * pairs.std(ddof=1) / 2
    assert wider.high - wider.mean == pytest.approx(half)


@pytest.mark.parametrize("models", [8, 16])
def test_over_targets_covers_where_targets_are_references(models):
    """LiRA with pairs on noise and model effects; √2 with t of G − 1 covered .89 to .93 at 8."""
    rng = np.random.default_rng(models)
    hits = []
    for _ in range(300):
        member = half_split(100, models=models, seed=int(rng.integers(1 << 30))).member
        phi = rng.standard_t(5, size=member.shape) + rng.normal(0, 0.5, (models, 1))
        scores = LiRA().leave_one_out(phi, member)
        hits.append(metrics.over_targets(metrics.operating_points(scores, member, ()).auc, member))
    assert np.mean([e.covers(0.5) for e in hits]) >= 0.93


def test_over_targets_of_rates_near_zero_is_not_certain():
    member = half_split(400, models=8, seed=0).member
    nothing = metrics.over_targets(np.zeros(8), member)
    # 1,600 members, of which half count.
    assert nothing.low == 0
    assert nothing.high == pytest.approx(float(metrics.clopper_pearson(0, 800)[1]))
    few = metrics.over_targets(np.tile([0.005, 0.005], 4), member)
    assert few.low < 0.005 < 0.01 < few.high


def test_an_interval_reaches_further_towards_the_middle():
    low, high = around(0.01, 0.008)
    assert (low, high) == (0.002, pytest.approx(1 / (1 + 99 * np.exp(-0.008 / 0.0099))))
    assert around(0.99, 0.008) == pytest.approx((1 - high, 0.998))
    assert around(0.0, 0.1) == (0.0, 0.1)


def test_over_targets_covers_at_its_level():
    rng = np.random.default_rng(3)
    member = half_split(20, models=12, seed=0).member
    hits = []
    for _ in range(500):
        shared = np.repeat(rng.normal(0.6, 0.05, 6), 2)
        values = shared + rng.normal(0, 0.01, 12)
        hits.append(metrics.over_targets(values, member, shared=False).covers(0.6))
    assert 0.92 <= np.mean(hits) <= 0.98


def test_over_targets_of_two_pairs_has_none_if_they_share_references():
    member = half_split(20, models=4, seed=0).member
    assert np.isnan(metrics.over_targets(np.full(4, 0.5), member).low)
    assert np.isfinite(metrics.over_targets(np.full(4, 0.5), member, shared=False).low)


def test_over_targets_of_one_pair_has_no_interval():
    member = half_split(20, models=2, seed=0).member
    e = metrics.over_targets([0.5, 0.7], member)
    assert e.mean == pytest.approx(0.6)
    assert np.isnan(e.low)
    assert not e.covers(0.6)
    with pytest.raises(InputError, match="values: expected one per model"):
        metrics.over_targets([0.5], member)


def test_over_targets_weighs_lone_runs_by_one():
    member = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0]], bool)
    e = metrics.over_targets([0.2, 0.4, 0.9], member)
    assert e.groups == 2
    assert e.mean == pytest.approx(0.5)


def test_over_targets_of_an_unresolved_rate_is_unknown():
    member = half_split(20, models=8, seed=0).member
    for values in (np.full(8, np.nan), np.r_[np.nan, np.full(7, 0.5)]):
        e = metrics.over_targets(values, member)
        assert np.isnan([e.mean, e.low, e.high]).all()
        assert not e.covers(0.5)


def test_a_rate_of_nothing_is_0_whatever_rounding_says() -> None:
    """Values of single targets may be negative; their sum is a count, which is not."""
    member = half_split(8, models=6, seed=0).member
    assert metrics.over_targets([0.1, -0.1, 0.3, -0.3, 1e-17, -2e-17], member).mean == 0
    assert metrics.over_targets(np.full(6, 1 + 2e-16), member).mean == 1
    assert metrics.over_targets(np.full(6, -0.5), member).mean == -0.5
