"""What is particular to attacks on stored signals: identities, calibration, what is not looked at."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from oracles import heteroscedastic, leaking_signals, null_signals, read_by
from seepage import attacks
from seepage.errors import InputError
from seepage.metrics import balanced_accuracy, operating_points
from seepage.plan import half_split

RNG = np.random.default_rng
EIGHT = half_split(400, models=8, seed=0).member


def test_the_gap_attack_is_the_gap() -> None:
    """Balanced accuracy and AUC are ½ (1 + accuracy on members − accuracy on others), exactly."""
    correct = leaking_signals(RNG(0), EIGHT)["correct"][..., 0]
    scores = attacks.Gap().leave_one_out(correct, EIGHT)
    area = operating_points(scores, EIGHT, ()).auc
    for r, member in enumerate(EIGHT):
        want = (1 + correct[r, member].mean() - correct[r, ~member].mean()) / 2
        assert balanced_accuracy(scores[r], member, attacks.Gap.threshold) == pytest.approx(want)
        assert area[r] == pytest.approx(want)


@pytest.mark.parametrize(
    "attack", [attacks.AttackS(), attacks.AttackS(by_class=False), attacks.AttackR()]
)
@pytest.mark.parametrize("alpha", [0.02, 0.1])
def test_a_constant_of_each_class_has_the_rate_it_says(
    attack: attacks.Attack, alpha: float
) -> None:
    """Of losses that are exponential with a mean of each class, the FPR at −log α is α."""
    member = half_split(3000, models=16, seed=0).member
    hard = np.array([0.2, 1.0, 5.0])[np.arange(3000) % 3]
    loss = RNG(1).exponential(size=member.shape) * hard * np.where(member, 0.7, 1.0)
    scores = attack.leave_one_out(read_by(attack, {"loss": loss}), member)
    raised = scores[~member] >= -np.log(alpha)
    far = stats.norm.ppf(0.9995) * np.sqrt(alpha / raised.size)
    # Of 7 references the smallest rates are interpolated to an anchor at 0.
    coarse = 0.02 if isinstance(attack, attacks.AttackR) else 0.0
    assert abs(raised.mean() - alpha) < far + coarse
    one_class = (np.arange(3000) % 3 == 0) & ~member
    if not isinstance(attack, attacks.AttackS) or attack.by_class:
        assert abs((scores[one_class] >= -np.log(alpha)).mean() - alpha) < 2 * far + coarse
    else:
        # One constant for all raises mostly what is easy.
        assert (scores[one_class] >= -np.log(alpha)).mean() > 2 * alpha


@pytest.mark.parametrize("rule", [attacks.Bins(), attacks.Isotonic()])
def test_a_risk_score_is_a_probability(rule: attacks.Bins | attacks.Isotonic) -> None:
    """Among the answers of which it says r, the share of members is r."""
    member = half_split(4000, models=12, seed=0).member
    phi = RNG(2).normal(size=member.shape) + 1.5 * member
    attack = attacks.PrivacyRiskScore(rule=rule)
    risk = attack.leave_one_out(read_by(attack, {"mentr": np.logaddexp(0, -phi)}), member)
    assert ((risk >= 0) & (risk <= 1)).all()
    for low in (0.2, 0.4, 0.6):
        here = (risk >= low) & (risk < low + 0.2)
        assert here.sum() > 500
        assert member[here].mean() == pytest.approx(risk[here].mean(), abs=0.03)


def test_the_scale_of_informia_is_base_and_a_constant_of_each_target() -> None:
    """One order under one target, and so RMIA's; across targets one threshold means one surprise."""
    signals = leaking_signals(RNG(3), EIGHT)["loss"][..., 0]
    signals = signals + RNG(4).normal(0, 0.3, size=(8, 1)) ** 2  # targets of unlike confidence
    plain, scaled = (
        attacks.BASE(s).leave_one_out(signals, EIGHT)
        for s in (attacks.Ratio(), attacks.AgainstPopulation())
    )
    away = plain - scaled
    np.testing.assert_allclose(away, away[:, :1] + np.zeros(400), atol=1e-12)
    np.testing.assert_allclose(scaled.mean(axis=1), 0, atol=1e-12)
    assert np.ptp(away[:, 0]) > 0.01
    flat = [(s.ravel(), EIGHT.ravel()[None]) for s in (plain, scaled)]
    one, two = (float(operating_points(s[None], m, ()).auc[0]) for s, m in flat)
    assert two > one
    rank = attacks.RMIA().leave_one_out(signals, EIGHT)
    for r in range(8):
        order = np.argsort(scaled[r])
        assert (np.diff(rank[r][order]) >= 0).all()


@pytest.mark.parametrize("gamma", [0.5, 2.0, 8.0])
def test_every_gamma_orders_as_the_ratio_does(gamma: float) -> None:
    """Under one target γ only adds ties: it is nothing to tune."""
    loss = leaking_signals(RNG(5), EIGHT, shift=3.0)["loss"][..., 0]
    one, other = (attacks.RMIA(gamma=g).leave_one_out(loss, EIGHT) for g in (1.0, gamma))
    for r in range(8):
        assert (np.diff(other[r][np.argsort(one[r])]) >= 0).all()
        assert len(np.unique(other[r])) <= len(np.unique(one[r]))


def test_a_is_chosen_without_the_target() -> None:
    """The a of a target is that of its references alone, whatever the target's pair is."""
    loss = leaking_signals(RNG(6), EIGHT, shift=3.0)["loss"]
    attack = attacks.RMIATuned()
    scores = attack.leave_one_out(loss, EIGHT)
    moved, swapped = loss.copy(), EIGHT.copy()
    moved[1] = RNG(7).gamma(1.0, size=moved[1].shape)
    swapped[:2] = swapped[1::-1]
    np.testing.assert_allclose(attack.leave_one_out(moved, swapped)[0], scores[0], rtol=1e-12)
    a = attack.chosen(loss[2:], EIGHT[2:])
    fixed = attacks.RMIAOffline(a=a).leave_one_out(loss, EIGHT)
    np.testing.assert_allclose(scores[0], fixed[0], rtol=1e-12)


def test_the_chosen_a_follows_the_references() -> None:
    """Where members' p is that of others, 1 is right; where it is 1 whatever theirs, 0 is."""
    member = half_split(2000, models=8, seed=1).member
    hard = RNG(8).gamma(1.0, size=2000) * 3
    same = hard + 0.3 * RNG(9).normal(size=member.shape) - 0.3 * member
    low, high = (
        attacks.RMIATuned().chosen(loss[..., None], member)
        for loss in (np.where(member, 0.01 * hard, same).clip(1e-6), same.clip(1e-6))
    )
    assert low < high
    assert high > 0.8


@pytest.mark.parametrize("alpha", [1e-9, 1e-3, 0.01, 0.02, 0.5, 30.0])
def test_quantiles_of_the_prior_where_they_have_a_closed_form(alpha: float) -> None:
    """Of F(2, 2α) P(F > f) = (1 + f/α)^−α; with a prior that says nothing f is beyond float64."""
    from seepage.attacks.variance import _law

    shares = (0.25, 0.5, 0.75, 1e-3)
    power = -np.log1p(-np.array(shares)) / alpha
    want = np.log(alpha) + power + np.log(-np.expm1(-power))
    np.testing.assert_allclose(_law(1.0, np.array([alpha]), shares)[:, 0], want, rtol=1e-9)


@pytest.mark.parametrize(
    ("alpha", "variance"), [(1e-9, attacks.PerSample()), (1e9, attacks.Pooled())]
)
def test_shrunken_variances_run_from_ones_own_to_the_common_one(
    alpha: float, variance: attacks.PerSample | attacks.Pooled
) -> None:
    member = half_split(3000, models=12, seed=0).member
    phi = RNG(0).normal(size=member.shape) + member
    ours = attacks.BaVarIANormal(variance=attacks.Shrunken(alpha)).leave_one_out(phi, member)
    theirs = attacks.LiRA(variance=variance).leave_one_out(phi, member)
    # The common level is fitted to quartiles, not the mean of squares.
    rough = 0.15 if isinstance(variance, attacks.Pooled) else 1e-6
    np.testing.assert_allclose(ours, theirs, rtol=rough, atol=rough)


@pytest.mark.parametrize("models", [6, 10])
def test_shrunken_variances_pay_with_few_references(models: int) -> None:
    """TPR at 0.1 % on spreads that differ: above one's own and the common one."""
    member = half_split(4000, models=models, seed=models).member
    phi = heteroscedastic(RNG(models), member)
    tpr = [
        operating_points(attack.leave_one_out(phi, member), member, [0.001]).tpr.mean()
        for attack in (
            attacks.BaVarIANormal(),
            attacks.LiRA(variance=attacks.PerSample()),
            attacks.LiRA(variance=attacks.Pooled()),
        )
    ]
    assert tpr[0] > 1.2 * max(tpr[1:])


def test_options_that_make_no_sense_are_refused() -> None:
    for make, says in (
        (lambda: attacks.Bins(0), "count: expected at least 1 bin, got 0"),
        (lambda: attacks.RMIATuned(grid=()), "grid: expected numbers from 0 to 1"),
        (lambda: attacks.Shrunken(alpha=-1), "alpha: expected a number above 0, got -1"),
        (lambda: attacks.PMIA(centre=attacks.Median()), r"expected Mean\(\) with StudentT\(\)"),
    ):
        with pytest.raises(InputError, match=says):
            make()
    signals = read_by(attacks.PrivacyRiskScore(), null_signals(RNG(0), EIGHT))
    signals["mentr"] = -signals["mentr"]
    with pytest.raises(InputError, match="mentr: expected values of at least 0, low for members"):
        attacks.PrivacyRiskScore().leave_one_out(signals, EIGHT)


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.6])
def test_two_signals_tell_what_their_covariance_says(rho: float) -> None:
    """Normals moved by δ with the covariance Σ: AUC Φ(√(δᵀΣ⁻¹δ/2)), of φ alone Φ(δ/√2)."""
    member = half_split(600, models=64, seed=0).member
    delta, sigma = np.array([1.0, -0.5]), np.array([[1.0, rho], [rho, 1.0]])
    noise = RNG(0).multivariate_normal(np.zeros(2), sigma, size=member.shape)
    phi, other = np.moveaxis(noise + member[..., None] * delta, -1, 0)
    mean = 2 * RNG(1).normal(size=(2, 600))
    signals = {"phi": phi + mean[0], "entropy": np.exp(other + mean[1])}
    attack = attacks.LiRATwoSignals(covariance=attacks.Pooled())
    area = operating_points(attack.leave_one_out(signals, member), member, ()).auc.mean()
    best = stats.norm.cdf(np.sqrt(delta @ np.linalg.solve(sigma, delta) / 2))
    # Means of 31 references cost a little.
    assert best - 0.02 < area < best + 0.008
    with pytest.raises(InputError, match="entropy: expected values of at least 0"):
        attack.leave_one_out({"phi": phi, "entropy": other}, member)
    with pytest.raises(InputError, match="signal: expected another one than phi"):
        attacks.LiRATwoSignals("phi")
