"""Curvature attacks against the published formulas and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, multivariate_t, norm

from seepage.attacks.curvature import (
    AsPublished,
    Corrected,
    CurvatureAttackR,
    CurvatureCalibrated,
    CurvatureLR,
    CurvatureMAST,
    CurvatureNLL,
    CurvatureThreshold,
)
from seepage.attacks.joint import CurvatureAndConfidence, Wishart
from seepage.attacks.lira import LiRA
from seepage.attacks.reference_counts import reference_rows
from seepage.attacks.variance import PerSample, Pooled
from seepage.errors import InputError
from seepage.metrics import auc
from seepage.plan import half_split

EPS = 1e-22


def fleet(models: int = 12, samples: int = 30, views: int = 2, seed: int = 0, shift: float = 1.0):
    rng = np.random.default_rng(seed)
    member = half_split(samples, models=models, seed=seed).member
    noise = rng.normal(size=(2, models, samples, views))
    phi = 3 + rng.normal(size=(samples, 1)) + noise[0] + shift * member[..., None]
    s = rng.normal(size=(samples, 1)) - 0.5 * noise[0] + noise[1] - shift * member[..., None]
    return {"phi": phi, "curvature_zo": np.exp(s)}, member


def every_target(signals, member):
    """Target by target and sample by sample: what a reader of the formulas would write."""
    use = reference_rows(member)
    for r in range(len(member)):
        for i in range(member.shape[1]):
            inside, outside = use[r] & member[:, i], use[r] & ~member[:, i]
            yield r, i, {k: (v[r, i], v[outside, i], v[inside, i]) for k, v in signals.items()}


def log(c):
    return np.log(c + EPS)


def published_lr(c, out, inn):
    def total(ref):
        s = log(ref)
        return norm.pdf(log(c), s.mean(0), s.var(0) + EPS).sum()

    return total(inn) / (total(out) + EPS)


def published_nll(c, out, inn):
    """Difference of two normal log-likelihoods, not its closed form."""
    scale = log(inn).var(0) + EPS
    within = norm.logpdf(log(c), log(inn).mean(0), scale)
    return (within - norm.logpdf(log(c), log(out).mean(0), scale)).sum()


def corrected_lr(c, out, inn):
    def total(ref):
        return norm.logpdf(log(c), log(ref).mean(0), log(ref).std(0)).sum()

    return total(inn) - total(out)


def corrected_nll(c, out, inn):
    squares = sum(((log(g) - log(g).mean(0)) ** 2).sum(0) for g in (out, inn))
    scale = np.sqrt(squares / (len(out) + len(inn) - 2))
    within = norm.logpdf(log(c), log(inn).mean(0), scale)
    return (within - norm.logpdf(log(c), log(out).mean(0), scale)).sum()


def mast(c, out, inn):
    return ((log(inn).mean(0) + log(out).mean(0)) / 2 - log(c)).mean()


@pytest.mark.parametrize(
    ("attack", "formula"),
    [
        (CurvatureLR(form=AsPublished()), published_lr),
        (CurvatureNLL(form=AsPublished()), published_nll),
        (CurvatureLR(form=Corrected(PerSample())), corrected_lr),
        (CurvatureNLL(), corrected_nll),
        (CurvatureMAST(), mast),
        (CurvatureCalibrated(), lambda c, out, inn: (log(out).mean(0) - log(c)).mean()),
        (CurvatureThreshold(), lambda c, out, inn: -log(c)[0]),
    ],
    ids=["lr-published", "nll-published", "lr", "nll", "mast", "calibrated", "threshold"],
)
def test_scores_are_the_formulas_target_by_target(attack, formula) -> None:
    signals, member = fleet(models=14)
    got = attack.leave_one_out(signals["curvature_zo"], member)
    for r, i, values in every_target(signals, member):
        np.testing.assert_allclose(got[r, i], formula(*values["curvature_zo"]), rtol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_published_nll_is_linear_in_log_curvature(seed) -> None:
    signals, member = fleet(models=8, samples=3, views=1, seed=seed)
    c = signals["curvature_zo"]
    attack = CurvatureNLL(form=AsPublished())
    at = [attack.score(np.exp(np.full((3, 1), s)), c, member) for s in (-1.0, 0.0, 1.0)]
    np.testing.assert_allclose(at[2] - at[1], at[1] - at[0], rtol=1e-6)


def joint_law(name, x, ref, pooled, centre):
    n, mean, d = len(ref), ref.mean(0), ref - ref.mean(0)
    scatter = d.T @ d
    if name == "per-sample":
        return multivariate_normal(mean, scatter / n).logpdf(x)
    if name == "pooled":
        return multivariate_normal(mean, pooled).logpdf(x)
    dof, away = 6 + n + 2, mean - centre
    scale = (6 * pooled + scatter + 2 * n / (n + 2) * np.outer(away, away)) * (n + 3)
    middle = (2 * centre + n * mean) / (n + 2)
    return multivariate_t(middle, scale / ((n + 2) * dof), dof).logpdf(x)


@pytest.mark.parametrize(
    ("name", "covariance"),
    [
        ("per-sample", PerSample()),
        ("pooled", Pooled()),
        ("wishart", Wishart(strength=6.0, kappa=2.0)),
    ],
)
def test_joint_ratio_is_brute_force_leave_one_out(name, covariance) -> None:
    signals, member = fleet(models=14, samples=12)
    got = CurvatureAndConfidence(covariance=covariance).leave_one_out(signals, member)
    x = np.stack([signals["phi"], log(signals["curvature_zo"])], axis=-1)
    use = reference_rows(member)
    for r in range(14):
        want = np.zeros(12)
        for a in range(2):
            for mask, sign in ((member, 1), (~member, -1)):
                groups = [x[use[r] & mask[:, i], i, a] for i in range(12)]
                scatter = sum((g - g.mean(0)).T @ (g - g.mean(0)) for g in groups)
                pooled = scatter / sum(len(g) - 1 for g in groups)
                centre = np.mean([g.mean(0) for g in groups], axis=0)
                for i, g in enumerate(groups):
                    want[i] += sign * joint_law(name, x[r, i, a], g, pooled, centre)
        np.testing.assert_allclose(got[r], want, rtol=1e-7, atol=1e-7)


def test_joint_tells_more_than_either_when_both_know_something() -> None:
    rng = np.random.default_rng(2)
    member = half_split(600, models=32, seed=3).member
    noise = rng.normal(size=(2, *member.shape))
    width = np.sqrt(rng.gamma(3, size=(2, 1, 600)) / 3)
    where = rng.normal(size=(2, 1, 600))
    phi, s = where + width * (noise + np.array([1, -1])[:, None, None] * member)
    signals = {"phi": phi, "curvature_zo": np.exp(s)}

    def mean_auc(scores) -> float:
        return float(np.mean([auc(scores[r], member[r]) for r in range(len(member))]))

    joint = mean_auc(CurvatureAndConfidence().leave_one_out(signals, member))
    apart = mean_auc(LiRA().leave_one_out(phi, member))
    other = mean_auc(CurvatureLR().leave_one_out(signals["curvature_zo"], member))
    assert joint > max(apart, other) + 0.04


@pytest.mark.parametrize("cv", [0.3, 1.0])
def test_strength_is_learned_from_the_spread_of_variances(cv) -> None:
    """Inverse-gamma variances of known spread: strength 2 + 2/cv²."""
    rng = np.random.default_rng(4)
    member = half_split(20_000, models=24, seed=0).member
    alpha = 2 + 1 / cv**2
    width = np.sqrt((alpha - 1) / rng.gamma(alpha, size=(1, 20_000)))
    x = (width * rng.normal(size=(2, *member.shape))).transpose(1, 2, 0)[:, :, None]
    attack = CurvatureAndConfidence().common(x, member, reference_rows(member)[:1])
    assert attack.shared is not None
    for kind in attack.shared:
        assert kind.strength[0, 0] == pytest.approx(2 + 2 / cv**2, rel=0.25)


def test_kappa_is_learned_from_the_spread_of_means() -> None:
    rng = np.random.default_rng(4)
    member = half_split(20_000, models=24, seed=0).member
    where = rng.normal(size=(20_000, 1, 2)) * np.array([2.0, 0.5])
    x = where + rng.normal(size=(*member.shape, 1, 2))
    attack = CurvatureAndConfidence().common(x, member, reference_rows(member)[:1])
    assert attack.shared is not None
    for kind in attack.shared:  # 1/4 and 4
        assert kind.kappa[0, 0] == pytest.approx(1.0, rel=0.05)


def test_joint_of_independent_signals_is_near_the_sum_of_ratios() -> None:
    rng = np.random.default_rng(5)
    member = half_split(50, models=64, seed=1).member
    noise = rng.normal(size=(2, 64, 50))
    signals = {"phi": noise[0] + member, "curvature_zo": np.exp(noise[1] - member)}
    joint = CurvatureAndConfidence(covariance=Pooled()).leave_one_out(signals, member)
    apart = LiRA(variance=Pooled()).leave_one_out(signals["phi"], member)
    apart = apart + CurvatureLR(form=Corrected(Pooled())).leave_one_out(
        signals["curvature_zo"], member
    )
    assert np.corrcoef(joint.ravel(), apart.ravel())[0, 1] > 0.995


def test_joint_survives_signals_that_coincide() -> None:
    signals, member = fleet()
    signals["curvature_zo"] = np.exp(-signals["phi"])
    for covariance in (Wishart(), PerSample(), Pooled()):
        got = CurvatureAndConfidence(covariance=covariance).leave_one_out(signals, member)
        assert np.isfinite(got).all()


ALL = [
    CurvatureThreshold, CurvatureCalibrated, CurvatureAttackR, CurvatureMAST, CurvatureLR,
    CurvatureNLL, CurvatureAndConfidence,
]  # fmt: skip


@pytest.mark.parametrize("kind", ALL)
def test_the_signal_is_an_option(kind) -> None:
    signals, member = fleet()
    attack = kind(signal="curvature_trace")
    renamed = {"phi": signals["phi"], "curvature_trace": signals["curvature_zo"]}
    np.testing.assert_array_equal(
        attack.leave_one_out(renamed, member), kind().leave_one_out(signals, member)
    )
    assert "curvature_trace" in attack.requires
    assert "curvature_zo" in kind.requires
    with pytest.raises(InputError, match="is missing; record it"):
        attack.leave_one_out({"phi": signals["phi"], "loss": signals["phi"]}, member)


@pytest.mark.parametrize("kind", ALL)
def test_negative_curvature_is_refused(kind) -> None:
    signals, member = fleet()
    signals["curvature_zo"][0, 0] = -1.0
    with pytest.raises(
        InputError, match=r"curvature_zo: expected curvatures of at least 0, got -1"
    ):
        kind().leave_one_out(signals, member)


@pytest.mark.parametrize("kind", ALL)
def test_curvatures_of_exactly_zero_give_finite_scores(kind) -> None:
    signals, member = fleet()
    signals["curvature_zo"][:, :4] = 0.0
    signals["curvature_zo"][::3] = 0.0
    forms = [{"form": AsPublished()}, {}] if kind in (CurvatureLR, CurvatureNLL) else [{}]
    for options in forms:
        assert np.isfinite(kind(**options).leave_one_out(signals, member)).all()


def test_natural_thresholds() -> None:
    assert CurvatureLR().threshold == 0
    assert CurvatureLR(form=AsPublished()).threshold == 1
    assert CurvatureNLL(form=AsPublished()).threshold == 0
    assert CurvatureThreshold().threshold is None


def test_bad_strength_is_refused() -> None:
    with pytest.raises(InputError, match="strength: expected a positive number, got 0"):
        Wishart(strength=0)
    with pytest.raises(InputError, match="kappa: expected a number of at least 0, got -1"):
        Wishart(kappa=-1)


def test_attack_r_orders_as_its_p_values() -> None:
    rng = np.random.default_rng(0)
    references = np.exp(rng.normal(size=(99, 1)))
    member = np.zeros((99, 1), bool)
    low = CurvatureAttackR().score(np.exp([-2.5]), references, member)
    middle = CurvatureAttackR().score(np.median(references, axis=0), references, member)
    assert low[0] > middle[0]
    assert np.exp(-middle[0]) == pytest.approx(0.5, abs=0.02)
