"""ROC by rank: equal to scikit-learn with ties, and to closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from seepage import metrics
from seepage.errors import InputError
from seepage.plan import half_split

TIED = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=4, max_size=40).filter(
    lambda v: 0 < sum(m for _, m in v) < len(v)
)
LAW = settings(max_examples=30, deadline=None)


def split(pairs):
    return np.array([s for s, _ in pairs], float), np.array([m for _, m in pairs])


@LAW
@given(TIED)
def test_roc_equals_sklearn_with_ties(pairs):
    s, y = split(pairs)
    fpr, tpr, thresholds = roc_curve(y, s, drop_intermediate=False)
    ours = metrics.roc(s, y)
    np.testing.assert_array_equal(ours.thresholds, thresholds)
    np.testing.assert_allclose(ours.fpr, fpr, atol=1e-15)
    np.testing.assert_allclose(ours.tpr, tpr, atol=1e-15)
    assert metrics.auc(s, y) == pytest.approx(roc_auc_score(y, s), abs=1e-15)


@LAW
@given(TIED)
def test_auc_laws(pairs):
    s, y = split(pairs)
    a = metrics.auc(s, y)
    assert metrics.auc(s, ~y) == pytest.approx(1 - a, abs=1e-15)
    assert metrics.auc(np.exp(s) * 7 - 1, y) == a
    pairs_won = (s[y][:, None] > s[~y]).mean() + 0.5 * (s[y][:, None] == s[~y]).mean()
    assert a == pytest.approx(pairs_won, abs=1e-15)
    assert metrics.row_auc(s[:, None], y[:, None])[0] == pytest.approx(a, abs=1e-15)


@LAW
@given(TIED, st.floats(0, 1))
def test_tpr_at_fpr_is_the_last_step_at_or_below(pairs, nominal):
    s, y = split(pairs)
    p = metrics.tpr_at_fpr(s, y, nominal)
    curve = metrics.roc(s, y)
    allowed = curve.fpr <= nominal + 1e-12
    assert p.fpr == curve.fpr[allowed].max()
    assert p.tpr == curve.tpr[allowed].max()
    # The reported threshold really gives the reported rates.
    assert (s[y] >= p.threshold).mean() == p.tpr
    assert (s[~y] >= p.threshold).mean() == p.fpr
    assert p.low <= p.tpr <= p.high


def test_nominal_rates_are_not_lost_to_rounding():
    y = np.repeat([True, False], 300)
    s = np.concatenate([np.full(300, -1.0), np.arange(300.0)])
    assert metrics.tpr_at_fpr(s, y, 0.01).fpr == 3 / 300
    assert metrics.tpr_at_fpr(s, y, 0.29).fpr == 87 / 300


def test_large_scores_do_not_tie():
    """A sigmoid would: float32 gives exactly 1 from 16.64 on."""
    s = np.array([17.0, 18.0, 40.0, 41.0, 800.0, 801.0])
    y = np.array([False, True, False, True, False, True])
    assert len(metrics.roc(s, y).thresholds) == 7
    assert metrics.auc(s, y) == pytest.approx(6 / 9)


@pytest.mark.parametrize(
    ("mu", "at_1", "at_01"),
    [(0.5, 0.0339, 0.0048), (1.0, 0.0924, 0.0183), (2.0, 0.3721, 0.1378)],
)
def test_gaussian_shift(mu, at_1, at_01):
    """Scores N(μ, 1) against N(0, 1): AUC = Φ(μ/√2), TPR = Φ(Φ⁻¹(FPR) + μ)."""
    n = 200_000
    q = (np.arange(n) + 0.5) / n
    s = np.concatenate([norm.ppf(q) + mu, norm.ppf(q)])
    y = np.repeat([True, False], n)
    assert metrics.auc(s, y) == pytest.approx(norm.cdf(mu / np.sqrt(2)), abs=1e-5)
    assert metrics.tpr_at_fpr(s, y, 0.01).tpr == pytest.approx(at_1, abs=1e-4)
    assert metrics.tpr_at_fpr(s, y, 0.001).tpr == pytest.approx(at_01, abs=3e-4)


def test_operating_points_are_those_of_each_target():
    rng = np.random.default_rng(0)
    member = half_split(60, models=4, seed=0).member
    s = np.round(rng.normal(size=member.shape) + member, 1)
    points = metrics.operating_points(s, member, [0.1, 0.02])
    for r in range(4):
        assert points.auc[r] == metrics.auc(s[r], member[r])
        for f, nominal in enumerate([0.1, 0.02]):
            p = metrics.tpr_at_fpr(s[r], member[r], nominal)
            got = (points.tpr[r, f], points.fpr[r, f], points.threshold[r, f])
            assert got == (p.tpr, p.fpr, p.threshold)
            assert (points.low[r, f], points.high[r, f]) == (p.low, p.high)
    pooled = metrics.pooled_points(s, member, [0.1])
    assert pooled.auc[0] == metrics.auc(s.ravel(), member.ravel())


def test_average_roc_averages_down_the_columns():
    member = half_split(50, models=6, seed=1).member
    s = np.random.default_rng(1).normal(size=member.shape) + member
    a = metrics.average_roc(s, member)
    assert a.fpr[0] == pytest.approx(1 / 25)
    assert a.fpr[-1] == 1
    assert a.tpr[-1] == 1
    assert (np.diff(a.tpr) >= 0).all()
    assert ((a.low <= a.tpr) & (a.tpr <= a.high)).all()
    at = metrics.operating_points(s, member, [a.fpr[3]])
    assert a.tpr[3] == pytest.approx(at.tpr[:, 0].mean())


def test_row_auc_is_per_sample_and_nan_without_both():
    member = half_split(30, models=8, seed=2).member.copy()
    s = np.random.default_rng(2).integers(0, 4, size=member.shape).astype(float)
    got = metrics.row_auc(s, member)
    want = [roc_auc_score(member[:, i], s[:, i]) for i in range(30)]
    np.testing.assert_allclose(got, want, atol=1e-15)
    member[:, 3] = True
    assert np.isnan(metrics.row_auc(s, member)[3])


def test_balanced_accuracy():
    s, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, True, False, True])
    assert metrics.balanced_accuracy(s, y, 1.0) == 0.75
    assert metrics.balanced_accuracy(s, y, 9.0) == 0.5
    assert metrics.balanced_accuracy(s, y) == 0.75


def test_errors_name_the_value():
    y = np.array([True, False])
    with pytest.raises(InputError, match="scores: expected numbers, got 1 NaN"):
        metrics.auc([np.nan, 0.0], y)
    with pytest.raises(InputError, match="expected members and non-members, got 2 of 2"):
        metrics.auc([1.0, 0.0], np.array([True, True]))
    with pytest.raises(InputError, match="expected members and non-members, got 0 of 2"):
        metrics.balanced_accuracy([1.0, 0.0], np.array([False, False]), 0.5)
    with pytest.raises(InputError, match="scores, member: expected floats and bools"):
        metrics.roc([1.0, 0.0], [1, 0])
    with pytest.raises(InputError, match="scores, member: expected floats and bools"):
        metrics.row_auc([1.0, 0.0], y)
    with pytest.raises(InputError, match="fprs: expected rates between 0 and 1"):
        metrics.tpr_at_fpr([1.0, 0.0], y, 1.5)


def test_inputs_are_not_changed():
    s, y = np.array([3.0, 1.0, 2.0]), np.array([True, False, True])
    metrics.tpr_at_fpr(s, y, 0.1)
    metrics.roc(s, y)
    assert s.tolist() == [3.0, 1.0, 2.0]
