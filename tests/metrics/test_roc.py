"""ROC by rank: equal to scikit-learn with ties, and to closed forms."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from seepage import metrics
from seepage.attacks import LiRA, PerSample
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
def test_tpr_at_fpr_lies_above_the_jth_largest_non_member(pairs, nominal):
    s, y = split(pairs)
    p = metrics.tpr_at_fpr(s, y, nominal)
    n = int((~y).sum())
    j = int(np.floor(nominal * (n + 1) + 1e-9))
    if j == 0:
        assert not p.resolved
        assert np.isnan([p.tpr, p.fpr, p.threshold, p.low, p.high, p.null]).all()
        return
    bar = np.sort(s[~y])[::-1][j - 1] if j <= n else -np.inf
    assert p.tpr == (s[y] > bar).mean()
    assert p.fpr == (s[~y] > bar).mean() <= (j - 1) / n
    assert p.null == j / (n + 1) <= nominal + 1e-9
    # The reported threshold really gives the reported rates.
    assert (s[y] >= p.threshold).mean() == p.tpr
    assert (s[~y] >= p.threshold).mean() == p.fpr
    assert p.low <= p.tpr <= p.high


@pytest.mark.parametrize("tied", [False, True])
def test_noise_reads_the_null_on_average(tied):
    """Every relabelling of one set of scores, so that the mean is exact: ties make it smaller."""
    s = np.array([0.0, 1, 2, 3, 4, 5, 5, 5, 6] if tied else range(9), float)
    for nominal in (0.2, 0.4, 0.6, 1.0):
        read, null = [], set()
        for out in combinations(range(9), 5):
            y = ~np.isin(np.arange(9), out)
            p = metrics.tpr_at_fpr(s, y, nominal)
            read.append(p.tpr)
            null.add(p.null)
        assert len(null) == 1
        if not tied:
            assert np.mean(read) == pytest.approx(null.pop(), abs=1e-12)
        else:
            assert np.mean(read) <= null.pop() + 1e-12


@pytest.mark.parametrize("nominal", [0.01, 0.05])
def test_leave_one_out_noise_reads_the_null(nominal):
    """LiRA with pairs: what the former rule, ⌊α n⌋ of n, read as (k + 1)/(n + 1)."""
    rng = np.random.default_rng(0)
    read = []
    for _ in range(60):
        member = half_split(250, models=16, seed=int(rng.integers(1 << 30))).member
        points = metrics.operating_points(
            LiRA().leave_one_out(rng.normal(size=member.shape), member), member, [nominal]
        )
        read.append(points.tpr[:, 0].mean())
    null = float(points.null[0, 0])
    assert null == np.floor(nominal * 126) / 126
    error = np.std(read, ddof=1) / np.sqrt(60)
    assert abs(np.mean(read) - null) < 3 * error
    # It can tell the two rules apart.
    assert np.floor(nominal * 125 + 1) / 126 - null > 3 * error


def test_nominal_rates_are_not_lost_to_rounding():
    # 299 others: j = α · 300, of which j − 1 pass. (With ⌊α n⌋ of n it was j of 300.)
    y = np.repeat([True, False], [300, 299])
    s = np.concatenate([np.full(300, -1.0), np.arange(299.0)])
    for nominal, j in ((0.01, 3), (0.29, 87)):
        p = metrics.tpr_at_fpr(s, y, nominal)
        assert (p.fpr, p.null) == ((j - 1) / 299, j / 300)


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
    # 30 non-members resolve 1/31 and no less.
    assert points.resolved.tolist() == [[True, False]] * 4
    for r in range(4):
        assert points.auc[r] == metrics.auc(s[r], member[r])
        for f, nominal in enumerate([0.1, 0.02]):
            p = metrics.tpr_at_fpr(s[r], member[r], nominal)
            got = (points.tpr[r, f], points.fpr[r, f], points.threshold[r, f])
            np.testing.assert_array_equal(got, (p.tpr, p.fpr, p.threshold))
            got = (points.low[r, f], points.high[r, f], points.null[r, f])
            np.testing.assert_array_equal(got, (p.low, p.high, p.null))
    pooled = metrics.pooled_points(s, member, [0.1])
    assert pooled.auc[0] == metrics.auc(s.ravel(), member.ravel())


def test_what_targets_add_averages_to_the_pooled_rate_and_its_interval_covers():
    """The spread of the targets' rates at a threshold taken as given covers far less."""
    rng = np.random.default_rng(4)
    truth = norm.sf(norm.isf(0.02) - 1)
    hits, given = [], []
    for _ in range(300):
        member = half_split(300, models=8, seed=int(rng.integers(1 << 30))).member
        s = rng.normal(size=member.shape) + member
        pool = metrics.pooled_points(s, member, [0.02, 1e-6])
        added = metrics.pooled_by_target(s, member, [0.02, 1e-6])
        assert added[:, 0].mean() == pytest.approx(pool.tpr[0, 0], abs=1e-12)
        assert np.isnan(added[:, 1]).all()
        hits.append(metrics.over_targets(added[:, 0], member, shared=False).covers(truth))
        rates = ((s >= pool.threshold[0, 0]) & member).sum(axis=1) / member.sum(axis=1)
        given.append(metrics.over_targets(rates, member, shared=False).covers(truth))
    assert np.mean(hits) >= 0.93
    assert np.mean(given) < 0.9


def test_a_pooled_rate_that_ties_hide_is_unknown():
    """Of 4,000 non-members 1 in 50 has the highest score: 1 % cannot be realised, 5 % can."""
    rng = np.random.default_rng(5)
    member = half_split(1000, models=8, seed=1).member
    s = np.floor(50 * rng.random(member.shape))
    assert metrics.pooled_points(s, member, [0.01]).fpr[0, 0] == 0
    added = metrics.pooled_by_target(s, member, [0.01, 0.05])
    assert np.isnan(added[:, 0]).all()
    assert added[:, 1].mean() == pytest.approx(metrics.pooled_points(s, member, [0.05]).tpr[0, 0])


def test_average_roc_averages_down_the_columns():
    member = half_split(50, models=6, seed=1).member
    s = np.random.default_rng(1).normal(size=member.shape) + member
    a = metrics.average_roc(s, member)
    # The smallest rate that 25 non-members resolve.
    assert a.fpr[0] == pytest.approx(1 / 26)
    assert np.isfinite(a.tpr).all()
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


def test_row_auc_of_a_leave_one_out_is_biased_and_that_of_the_signal_is_not():
    """The fault that its docstring warns of: on noise, scores of one sample contradict each other."""
    rng = np.random.default_rng(0)
    for models in (8, 64):
        member = half_split(2000, models=models, seed=0).member
        signal = rng.normal(size=member.shape)
        scores = LiRA(variance=PerSample()).leave_one_out(signal, member)
        assert metrics.row_auc(scores, member).mean() < 0.46
        plain = metrics.row_auc(signal, member)
        sd = np.sqrt((models + 1) / (3 * models**2))
        assert abs(plain.mean() - 0.5) < 3 * sd / np.sqrt(2000)
        assert plain.std() == pytest.approx(sd, rel=0.06)


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
