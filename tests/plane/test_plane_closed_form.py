"""Closed-form rates against Monte Carlo, textbook formulas and counting."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from seepage.attacks.base import Attack
from seepage.errors import InputError
from seepage.plan import half_split
from seepage.plane import (
    Bootstrap,
    ClosedForm,
    EmpiricalBayes,
    GlobalFPR,
    NoShrinkage,
    Permuted,
    Rule,
    SharedRatio,
    StudentTLaw,
    trajectories,
)
from seepage.plane.closed_form import Laws
from seepage.plane.shrinkage import empirical_bayes


def log_ratio(x, laws: Laws):
    if np.isinf(laws.df):
        s1, s0 = np.sqrt(laws.var_in), np.sqrt(laws.var_out)
        return stats.norm.logpdf(x, laws.mean_in, s1) - stats.norm.logpdf(x, laws.mean_out, s0)
    k = (laws.df - 2) / laws.df
    s1, s0 = np.sqrt(k * laws.var_in), np.sqrt(k * laws.var_out)
    return stats.t.logpdf(x, laws.df, laws.mean_in, s1) - stats.t.logpdf(
        x, laws.df, laws.mean_out, s0
    )


def some_laws(rng: np.random.Generator, n: int, df: float) -> Laws:
    var = rng.gamma(2, 1, (2, n)) + 0.05
    var[1, 0] = var[0, 0]  # equal variances: one cut
    mean = rng.normal(0, 1.5, (2, n))
    mean[1, 1], var[1, 1] = mean[0, 1], var[0, 1]  # equal laws: everything or nothing
    return Laws(mean[0], var[0], mean[1], var[1], df)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), df=st.sampled_from([np.inf, 3.0, 7.0]), eta=st.floats(-2.0, 2.0))
def test_region_is_where_the_ratio_reaches_eta(seed, df, eta):
    laws = some_laws(np.random.default_rng(seed), 6, df)
    low, high, outside = laws.region(eta)
    x = np.linspace(-12, 12, 1001)[:, None]
    inside = (x >= low) & (x <= high)
    ratio = log_ratio(x, laws)
    clear = np.abs(ratio - eta) > 1e-9
    np.testing.assert_array_equal((inside ^ outside)[clear], (ratio >= eta)[clear])


@pytest.mark.parametrize("df", [np.inf, 4.0])
def test_rates_equal_monte_carlo(df):
    rng = np.random.default_rng(2)
    attack, judged = some_laws(rng, 5, df), some_laws(rng, 5, df)
    fpr, tpr = attack.rates(judged, 0.3)
    draws = 200_000
    for rate, mean, var in (
        (fpr, judged.mean_out, judged.var_out),
        (tpr, judged.mean_in, judged.var_in),
    ):
        z = rng.standard_normal((draws, 5)) if np.isinf(df) else rng.standard_t(df, (draws, 5))
        k = 1 if np.isinf(df) else (df - 2) / df
        hits = (log_ratio(mean + np.sqrt(k * var) * z, attack) >= 0.3).mean(axis=0)
        np.testing.assert_allclose(rate, hits, atol=5 * 0.5 / np.sqrt(draws))


def test_known_equal_variances_give_the_textbook_point():
    d, eta = 1.5, 0.4
    one = np.ones(1)
    laws = Laws(d * one, one, 0 * one, one)
    fpr, tpr = laws.rates(laws, eta)
    np.testing.assert_allclose(tpr, stats.norm.cdf(d / 2 - eta / d))
    np.testing.assert_allclose(fpr, stats.norm.cdf(-d / 2 - eta / d))


def test_empirical_bayes_finds_the_prior():
    rng = np.random.default_rng(0)
    prior, common, d, n = 8.0, 2.0, 6, 40_000
    truth = common * prior / rng.chisquare(prior, n)
    seen = truth * rng.chisquare(d, n) / d
    got = empirical_bayes(seen, d)
    best = (prior * common + d * seen) / (prior + d)
    np.testing.assert_allclose(got, best, rtol=0.05)
    # Nearer to the truth than the raw variances, and equal truths become one value.
    assert np.mean((np.log(got) - np.log(truth)) ** 2) < 0.5 * np.mean(
        (np.log(seen) - np.log(truth)) ** 2
    )
    same = empirical_bayes(rng.chisquare(d, 2000) / d, d)
    assert same.std() < 0.1
    np.testing.assert_array_equal(empirical_bayes(np.array([1.0, 9.0]), 3), [1.0, 9.0])
    d2 = np.full(n, d)
    for rule in (EmpiricalBayes(), NoShrinkage(), SharedRatio()):
        for v in rule.shrink(np.zeros(n), d2, np.zeros(n), d2):
            assert (v > 0).all()
    out, inside = SharedRatio().shrink(seen, d2, 3 * truth * rng.chisquare(d, n) / d, d2)
    np.testing.assert_allclose(inside / out, 3, rtol=0.05)
    # Both sides' evidence: nearer than one side's alone.
    assert np.var(np.log(out) - np.log(truth)) < 0.8 * np.var(np.log(got) - np.log(truth))


@pytest.mark.parametrize(("df", "low", "high"), [(4.0, 3, 5), (None, 30, 100)])
def test_student_t_finds_the_tails(df, low, high):
    rng = np.random.default_rng(1)
    z = rng.standard_normal(20_000) if df is None else rng.standard_t(df, 20_000)
    assert low <= StudentTLaw().degrees(z) <= high
    assert StudentTLaw(6.0).degrees(z) == 6.0


@pytest.mark.parametrize(
    ("form", "share"),
    [
        (ClosedForm(), 1.0),
        (ClosedForm(StudentTLaw(30.0)), 1.0),
        (ClosedForm(shrinkage=SharedRatio()), 0.8),
    ],
)
def test_closed_form_is_nearer_to_the_truth_than_counting(form, share):
    """At 16 models per side, against what counting a flawless attack's decisions would err by."""
    rng = np.random.default_rng(3)
    member = half_split(1500, models=32, seed=0).member
    shift, sd = rng.gamma(2.0, 0.5, 1500), 0.7 + rng.random(1500)
    phi = rng.normal(size=member.shape) * sd + shift * sd * member
    ideal = stats.norm.cdf(shift / 2)
    fpr, tpr = form.rates(phi, member)
    error = np.sqrt(np.mean((tpr - ideal) ** 2 + (fpr - (1 - ideal)) ** 2) / 2)
    counting = np.sqrt(np.mean(ideal * (1 - ideal)) / 16)
    assert error < share * counting
    # Biased only as a weaker attack is: half of the models are references.
    assert -0.06 < np.mean(tpr - fpr - (2 * ideal - 1)) < 0.01
    # Two equal views are one.
    np.testing.assert_allclose(form.rates(np.stack([phi, phi], axis=-1), member)[1], tpr, atol=1e-9)


def test_cross_fitting_sees_nothing_in_noise():
    rng = np.random.default_rng(3)
    member = half_split(4000, models=16, seed=0).member
    fpr, tpr = ClosedForm().rates(rng.normal(size=member.shape), member)
    assert abs(np.mean(tpr - fpr)) < 4 * np.std(tpr - fpr) / np.sqrt(4000)
    # One set of laws for both would call noise leakage.
    one = np.ones(4000)
    noisy = Laws(rng.normal(size=4000) / 3, one, rng.normal(size=4000) / 3, one)
    assert np.mean(np.subtract(*noisy.rates(noisy)[::-1])) > 0.1


def test_closed_form_meets_a_global_fpr():
    rng = np.random.default_rng(3)
    member = half_split(400, models=24, seed=0).member
    phi = rng.normal(size=member.shape) + rng.gamma(2.0, 0.5, 400) * member
    for rate in (0.02, 0.2):
        fpr, tpr = ClosedForm().rates(phi, member, GlobalFPR(rate))
        assert abs(fpr.mean() - rate) < 1e-6
        assert tpr.mean() > rate


@dataclasses.dataclass(frozen=True)
class MeanShift(Attack):
    name = "mean shift"
    threshold = 0.0

    def run(self, target, references, member):
        return target["phi"][..., 0].astype(float) - references["phi"].mean(axis=(0, 2))


class Fleet:
    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.member = half_split(300, models=32, seed=1).member
        self.checkpoints = np.array([0.0, 1.0, 4.0])
        self.phi = rng.normal(size=(3, 32, 300)) + self.member * np.array([0, 1, 2])[:, None, None]

    def signal_at(self, name, t):
        return {"phi": self.phi[t]}[name]


def test_closed_form_trajectories_have_jackknife_intervals():
    paths = trajectories(Fleet(), attack=MeanShift(), rates=ClosedForm(), null=Permuted(1))
    assert paths.jackknife.shape == (8, 2, 3, 300)
    assert paths.decisions is None
    p = paths.population(bootstrap=Bootstrap(0))
    np.testing.assert_allclose(p.centre.value, paths.centre(), atol=1e-6)
    assert (p.advantage.low < p.advantage.value).all()
    truth = 2 * stats.norm.cdf([0, 0.5, 1]) - 1
    assert (p.advantage.low[1:] - 0.03 < truth[1:]).all()
    assert (truth[1:] < p.advantage.high[1:] + 0.06).all()
    assert np.abs(p.advantage.null).max() < 0.05
    assert np.isnan(p.rms_speed.value).all()
    with pytest.raises(InputError, match="rates: the noise-free speed needs counted"):
        paths.squared_speed()
    bare = trajectories(
        Fleet(), attack=MeanShift(), rates=ClosedForm(jackknife=False), null=Permuted(0)
    ).population()
    assert np.isnan(bare.advantage.low).all()


def test_closed_form_names_what_is_wrong():
    member = half_split(10, models=6, seed=0).member
    with pytest.raises(InputError, match="models: closed-form rates need at least 2 models"):
        ClosedForm().rates(np.zeros((6, 10)), member)
    with pytest.raises(InputError, match="splits: expected at least 1"):
        ClosedForm(splits=0)
    with pytest.raises(InputError, match="df: expected more than 2"):
        StudentTLaw(2.0)

    class Own(Rule):
        def cut(self, scores, member, attack):
            return np.zeros(len(scores))

    member = half_split(10, models=8, seed=0).member
    values = np.random.default_rng(0).normal(size=(8, 10))
    with pytest.raises(InputError, match="rule: closed-form rates know NaturalThreshold"):
        ClosedForm().rates(values, member, Own())
