"""Intervals of an AUC cover: of one target, clustered, near 1, and of one sample over models."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from seepage import metrics
from seepage.errors import InputError
from seepage.native.library import LEVELS, limited
from seepage.plan import half_split


def coverage(draw, truth, fleets, seed=0, **options):
    rng = np.random.default_rng(seed)
    hits, wide = [], []
    for _ in range(fleets):
        e = metrics.auc_interval(*draw(rng), **options)
        hits.append(e.covers(truth))
        wide.append(e.high - e.low)
    return np.mean(hits), np.mean(wide)


@pytest.mark.parametrize("auc", [0.5, 0.8, 0.97, 0.999])
@pytest.mark.parametrize("n", [10, 40])
def test_covers_from_a_half_to_one(auc, n):
    y = np.arange(3 * n) < n
    shift = np.sqrt(2) * norm.ppf(auc)
    hit, wide = coverage(lambda g: (g.normal(size=3 * n) + shift * y, y), auc, 300)
    assert hit >= 0.93
    assert wide < 0.65


def test_perfect_separation_is_not_certain():
    """The normal approximation alone shrinks to a point here."""
    y = np.arange(40) < 20
    e = metrics.auc_interval(y.astype(float), y)
    assert e.mean == e.high == 1
    low, _ = metrics.clopper_pearson(20, 20)
    assert e.low == pytest.approx(float(low))
    assert metrics.auc_interval(-y.astype(float), y).high == pytest.approx(1 - e.low)


def test_subjects_are_the_independent_units():
    """Ten samples a subject: DeLong's over samples is far too sure, the clustered one covers."""
    codes = np.repeat(np.arange(60), 10)
    y = codes < 30

    def draw(g):
        return np.repeat(g.normal(size=60), 10) + 0.3 * g.normal(size=600) + y, y

    truth = norm.cdf(1 / np.sqrt(2 * (1 + 0.3**2)))
    assert coverage(draw, truth, 200)[0] < 0.7
    assert coverage(draw, truth, 200, groups=codes)[0] >= 0.93


def test_every_sample_its_own_subject_is_no_cluster():
    rng = np.random.default_rng(1)
    s, y = rng.normal(size=80), rng.random(80) < 0.4
    a, b = metrics.auc_interval(s, y), metrics.auc_interval(s, y, groups=np.arange(80) * 3)
    assert a == b
    # DeLong's variance by its definition, on the logit scale.
    wins = (s[y][:, None] > s[~y]) + 0.5 * (s[y][:, None] == s[~y])
    v1, v0 = wins.mean(1).var(ddof=1) / y.sum(), wins.mean(0).var(ddof=1) / (~y).sum()
    df = (v1 + v0) ** 2 / (v1**2 / (y.sum() - 1) + v0**2 / ((~y).sum() - 1))
    u = wins.mean()
    half = t.ppf(0.975, df) * np.sqrt(v1 + v0) / (u * (1 - u))
    logit = np.log(u / (1 - u))
    assert a.mean == pytest.approx(metrics.auc(s, y), abs=1e-15)
    assert (a.low, a.high) == pytest.approx(
        (1 / (1 + np.exp(half - logit)), 1 / (1 + np.exp(-half - logit)))
    )
    assert metrics.auc_interval(s, y, shared=True).low < a.low


def test_errors_name_the_value():
    with pytest.raises(InputError, match="member: expected at least 2 members"):
        metrics.auc_interval([1.0, 2.0], [True, False])
    with pytest.raises(InputError, match="groups: expected every subject whole on one side"):
        metrics.auc_interval(np.arange(4.0), [True, False, True, False], groups=[0, 0, 1, 2])
    with pytest.raises(InputError, match="groups: expected one per sample"):
        metrics.auc_interval(np.arange(4.0), [True, False, True, False], groups=[0, 0])


@pytest.mark.parametrize("models", [8, 16, 32, 64])
@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_a_samples_auc_covers(models, shift):
    rng = np.random.default_rng(models)
    member = half_split(1500, models=models, seed=0).member
    # Models differ from each other, and members spread wider.
    signal = rng.standard_t(5, size=member.shape) + rng.normal(0, 0.5, (models, 1))
    signal = np.where(member, 1.5 * signal + shift, signal)
    big = rng.standard_t(5, size=(2, 400_000)) + rng.normal(0, 0.5, (2, 400_000))
    truth = metrics.auc(np.r_[1.5 * big[0] + shift, big[1]], np.repeat([True, False], big.shape[1]))
    found = metrics.sample_auc(signal, member)
    # Model offsets are common to all samples, which are then not independent draws.
    assert ((found.low <= truth) & (truth <= found.high)).mean() >= 0.93
    np.testing.assert_allclose(found.auc, metrics.row_auc(signal, member), atol=1e-12)


def test_a_samples_auc_without_both_sides_is_unknown():
    member = half_split(5, models=8, seed=0).member.copy()
    member[:, 2] = True
    found = metrics.sample_auc(np.random.default_rng(0).normal(size=member.shape), member)
    assert np.isnan([found.auc[2], found.low[2], found.high[2]]).all()
    assert np.isfinite(np.delete(found.low, 2)).all()


def test_a_samples_auc_is_that_of_one_target():
    rng = np.random.default_rng(2)
    member = half_split(6, models=40, seed=1).member
    signal = rng.normal(size=member.shape) + member
    found = metrics.sample_auc(signal, member)
    for i in range(6):
        e = metrics.auc_interval(signal[:, i], member[:, i])
        assert (found.auc[i], found.low[i], found.high[i]) == pytest.approx((e.mean, e.low, e.high))


def test_a_samples_auc_has_the_same_bits_at_every_level():
    rng = np.random.default_rng(0)
    signal, member = rng.normal(size=(9, 131)).round(1), rng.random((9, 131)) < 0.5
    member[:, 5], member[:, 6] = True, np.arange(9) == 0
    expected = metrics.sample_auc(signal, member)
    for at in LEVELS:
        with limited(level=at, threads=2):
            found = metrics.sample_auc(signal, member)
        for name, value in vars(expected).items():
            np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
