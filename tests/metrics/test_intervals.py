"""Intervals cover what they say, and no less."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest, t

from seepage import metrics
from seepage.errors import InputError
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


def test_delong_covers_half_on_null_data():
    rng = np.random.default_rng(0)
    y = np.arange(120) < 50
    hits = [metrics.auc_interval(rng.normal(size=120), y).covers(0.5) for _ in range(400)]
    assert 0.92 <= np.mean(hits) <= 0.98


def test_delong_mean_is_the_auc():
    rng = np.random.default_rng(1)
    s, y = rng.integers(0, 5, 40).astype(float), rng.random(40) < 0.4
    e = metrics.auc_interval(s, y)
    assert e.mean == pytest.approx(metrics.auc(s, y), abs=1e-15)
    with pytest.raises(InputError, match="member: expected at least 2 members"):
        metrics.auc_interval([1.0, 2.0], [True, False])


def test_over_targets_counts_pairs_not_runs():
    """Values that agree within a pair: as many draws as pairs, so the width is that of G, not R."""
    member = half_split(20, models=8, seed=0).member
    pairs = np.array([0.5, 0.6, 0.55, 0.7])
    e = metrics.over_targets(np.repeat(pairs, 2), member, shared=False)
    half = t.ppf(0.975, 3) * pairs.std(ddof=1) / 2
    assert e.groups == 4
    assert (e.mean, e.high - e.mean) == pytest.approx((pairs.mean(), half))
    wider = metrics.over_targets(np.repeat(pairs, 2), member)
    assert wider.high - wider.mean == pytest.approx(half * np.sqrt(2))


def test_over_targets_covers_at_its_level():
    rng = np.random.default_rng(3)
    member = half_split(20, models=12, seed=0).member
    hits = []
    for _ in range(500):
        shared = np.repeat(rng.normal(0.6, 0.05, 6), 2)
        values = shared + rng.normal(0, 0.01, 12)
        hits.append(metrics.over_targets(values, member, shared=False).covers(0.6))
    assert 0.92 <= np.mean(hits) <= 0.98


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
