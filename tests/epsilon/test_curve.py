"""Privacy curves as lines on the plane, and by how much one is worse than another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from seepage.epsilon import (
    TradeOff,
    bayes_error,
    dp_region,
    dp_sgd,
    excess_vulnerability,
    gdp_delta,
    gdp_epsilon,
    personal_rate,
    personal_rates,
)
from seepage.errors import InputError
from seepage.metrics import auc

FPR = np.concatenate([[0.0], np.geomspace(1e-8, 1, 200)])


@pytest.mark.parametrize(
    ("mu", "low", "one", "epsilon"),
    [(0.5, 0.0048, 0.0339, 1.993), (1.0, 0.0183, 0.0924, 4.377), (2.0, 0.1378, 0.3721, 9.997)],
)
def test_gaussian_shift(mu: float, low: float, one: float, epsilon: float) -> None:
    """Scores N(μ, 1) against N(0, 1): AUC, TPR at .1 and 1 %, ε at 1e-5, all in closed form."""
    curve = TradeOff.gaussian(mu)
    np.testing.assert_allclose(curve.tpr([0.001, 0.01]), [low, one], atol=5e-5)
    np.testing.assert_allclose(curve.tpr(FPR), special.ndtr(special.ndtri(FPR) + mu), atol=1e-5)
    assert (curve.tpr(FPR) >= special.ndtr(special.ndtri(FPR) + mu) - 1e-15).all()
    assert curve.advantage == pytest.approx(2 * special.ndtr(mu / 2) - 1)
    assert gdp_epsilon(mu, 1e-5) == pytest.approx(epsilon, abs=6e-4)
    assert curve.epsilon_at(1e-5) == pytest.approx(epsilon, abs=0.02)
    z = special.ndtri((np.arange(4000) + 0.5) / 4000)
    measured = auc(np.append(z + mu, z), np.repeat([True, False], 4000))
    assert measured == pytest.approx(special.ndtr(mu / np.sqrt(2)), abs=1e-4)


def test_one_pair_is_its_region() -> None:
    for epsilon, delta in ((0.0, 0.0), (1.0, 0.0), (2.0, 0.03), (800.0, 0.1)):
        curve = TradeOff.approximate(epsilon, delta)
        np.testing.assert_allclose(curve.tpr(FPR), dp_region(epsilon, delta, FPR)[1])
        assert curve.advantage == pytest.approx(np.max(curve.tpr(FPR) - FPR), abs=2e-2)
    ln2 = TradeOff.approximate(float(np.log(2)), 0.0)
    # Randomised response that tells the truth twice as often as not.
    assert ln2.advantage == pytest.approx(1 / 3)
    assert ln2.bayes_error(0.5) == pytest.approx(1 / 3)
    assert (ln2.epsilon_at(0.0), ln2.epsilon_at(0.5)) == (pytest.approx(np.log(2)),) * 2


def test_bayes_errors_of_a_curve_are_those_of_its_points() -> None:
    prior = np.linspace(0, 1, 41)
    dense = np.concatenate([[0.0], np.geomspace(1e-9, 0.5, 4000)])
    dense = np.concatenate([dense, 1 - dense, np.linspace(0, 1, 5001)])
    for curve in (TradeOff.gaussian(1.3), TradeOff.approximate(1.0, 0.02)):
        by_points = bayes_error(dense, curve.tpr(dense), prior)
        np.testing.assert_allclose(curve.bayes_error(prior), by_points, atol=2e-4)
    guessing = bayes_error(np.array([]), np.array([]), prior)
    np.testing.assert_allclose(guessing, np.minimum(prior, 1 - prior))


def test_excess_vulnerability_in_closed_form() -> None:
    curve = {mu: TradeOff.gaussian(mu) for mu in (0.0, 0.5, 1.0, 2.0)}
    for mu in (0.5, 1.0, 2.0):
        assert excess_vulnerability(curve[mu], curve[mu]) == 0
        assert excess_vulnerability(curve[0.0], curve[mu]) == 0
        got = excess_vulnerability(curve[mu], curve[0.0])
        assert got == pytest.approx(0.5 - special.ndtr(-mu / 2), abs=1e-6)
    # Largest at an even prior.
    want = special.ndtr(-0.25) - special.ndtr(-0.5)
    assert excess_vulnerability(curve[1.0], curve[0.5]) == pytest.approx(want, abs=1e-6)
    assert want == pytest.approx(0.09276, abs=1e-5)
    assert excess_vulnerability(curve[2.0], curve[0.5]) > want


def test_excess_vulnerability_is_the_smallest_shift() -> None:
    """The published form: the promise, moved down and left by κ, lies below what is."""
    fpr = np.linspace(0, 1, 2001)
    actual, promised = TradeOff.approximate(1.0, 0.2), TradeOff.gaussian(2.0)
    for one, other in ((actual, promised), (promised, actual)):
        excess = excess_vulnerability(one, other)

        def holds(shift: float, one: TradeOff = one, other: TradeOff = other) -> bool:
            moved = other.tpr(np.clip(fpr + shift, 0, 1)) + shift
            return bool((moved >= one.tpr(fpr) - 1e-9).all())

        assert holds(excess + 5e-4)
        assert excess > 2e-3
        assert not holds(excess - 1e-3)
    # Of measured points: a plane's against what was promised.
    rates = np.array([0.01, 0.1, 0.4])
    points = rates, actual.tpr(rates)
    assert excess_vulnerability(points, TradeOff.gaussian(0.8)) > 0
    assert excess_vulnerability(points, promised) <= excess_vulnerability(actual, promised)


def test_the_accountant_s_curve_of_full_batches_is_gaussian() -> None:
    """T full-batch steps with noise σ are √T/σ-GDP exactly: nothing is subsampled."""
    curve, mu = dp_sgd(4.0, 1.0, 9), 0.75
    want = special.ndtr(special.ndtri(FPR) + mu)
    np.testing.assert_allclose(curve.tpr(FPR), np.maximum(want, 0), rtol=2e-3, atol=2e-12)
    assert (curve.tpr(FPR) >= want * (1 - 1e-9)).all()
    for epsilon in (0.0, 0.5, 2.0):
        found = float(np.interp(epsilon, curve.epsilon, curve.delta))
        assert found == pytest.approx(gdp_delta(mu, epsilon), rel=5e-3)


def test_one_epsilon_is_not_one_risk() -> None:
    """T = 40 and ε near 2 at 1e-3, one with few and one with many samples a step (2601.12922)."""
    few, many = dp_sgd(0.6, 0.017, 40), dp_sgd(5.0, 0.535, 40)
    assert few.epsilon_at(1e-3) == pytest.approx(2.1, abs=0.01)
    assert many.epsilon_at(1e-3) == pytest.approx(2.0, abs=0.01)
    assert few.tpr(0.1) == pytest.approx(0.189, abs=0.004)
    assert many.tpr(0.1) == pytest.approx(0.277, abs=0.004)
    assert (few.advantage, many.advantage) == (
        pytest.approx(0.121, abs=0.004),
        pytest.approx(0.270, abs=0.006),
    )
    assert excess_vulnerability(many, few) == pytest.approx(0.077, abs=0.004)
    assert (few.tpr(FPR) >= FPR).all()
    # What the curve says is what an attacker on simulated steps reaches.
    rng = np.random.default_rng(0)
    noise, q, n = 5.0, 0.535, 40_000
    without, with_it = (noise * rng.normal(size=(40, n)) for _ in range(2))
    with_it += rng.random((40, n)) < q
    out, inside = (
        np.log1p(q * np.expm1((2 * z - 1) / (2 * noise**2))).sum(0) for z in (without, with_it)
    )
    reached = float((inside > np.quantile(out, 0.9)).mean())
    assert many.tpr(0.1) - 0.01 < reached <= many.tpr(0.1) + 0.005


def test_no_noise_no_steps_no_promise() -> None:
    assert (dp_sgd(0.0, 0.1, 10).tpr(FPR) == 1).all()
    np.testing.assert_allclose(dp_sgd(1.0, 0.1, 0).tpr(FPR), FPR)
    np.testing.assert_allclose(dp_sgd(1.0, 0.0, 10).tpr(FPR), FPR)
    assert dp_sgd(0.2, 1.0, 20).tpr(1e-4) == pytest.approx(1.0)


def test_a_personal_rate_spends_the_budget_and_no_more() -> None:
    rate = personal_rate(2.0, 1e-3, 2.0, 40, width=1e-2)
    assert 1.9 < dp_sgd(2.0, rate, 40).epsilon_at(1e-3) <= 2.01
    assert personal_rate(2.0, 1e-3, 50.0, 40) == 1.0
    with pytest.raises(InputError, match="a budget that 40 steps"):
        personal_rate(0.001, 1e-9, 0.3, 40)


@pytest.mark.slow
def test_company_moves_a_person_s_risk() -> None:
    """One budget, one δ, one average rate: with cautious others the noise and the own rate rise."""
    bold = personal_rates([(2.0, 0.1), (8.0, 0.9)], 1e-3, 40, 0.1)
    cautious = personal_rates([(2.0, 0.1), (0.5, 0.9)], 1e-3, 40, 0.1)
    assert cautious.noise > 2 * bold.noise
    assert cautious.rates[0] > 5 * bold.rates[0]
    for found in (bold, cautious):
        share = np.array([0.1, 0.9])
        assert share @ found.rates == pytest.approx(0.1, rel=0.03)
    curves = [dp_sgd(f.noise, float(f.rates[0]), 40) for f in (bold, cautious)]
    assert all(c.epsilon_at(1e-3) <= 2.02 for c in curves)
    assert excess_vulnerability(curves[1], curves[0]) > 0.03


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TradeOff(np.zeros(2), np.zeros(3), ""), "expected rising numbers"),
        (lambda: TradeOff(np.array([0.0, 1.0]), np.array([0.1, 0.2]), ""), "do not rise"),
        (lambda: TradeOff.approximate(-1, 0), "a curve needs both"),
        (lambda: TradeOff.gaussian(1.0).tpr([1.5]), "fpr: expected rates"),
        (lambda: TradeOff.gaussian(1.0).bayes_error(2.0), "prior: expected shares"),
        (lambda: bayes_error([0.1], [0.1, 0.2], 0.5), "the points of one curve"),
        (lambda: dp_sgd(-1.0, 0.1, 10), "noise: expected a finite number"),
        (lambda: dp_sgd(1.0, 1.1, 10), "rate: expected a probability"),
        (lambda: dp_sgd(1.0, 0.1, -1), "steps: expected a count"),
        (lambda: personal_rate(0.0, 1e-3, 1.0, 4), "a personal budget needs both"),
        (lambda: personal_rate(1.0, 1e-3, 0.0, 4), "noise, steps: expected numbers above 0"),
        (lambda: personal_rates([(1.0, 0.4)], 1e-3, 4, 0.1), "shares above 0 that sum to 1"),
        (lambda: personal_rates([(1.0, 1.0)], 1e-3, 4, 1.1), "rate: expected a number between"),
    ],
)
def test_messages(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        call()


def test_the_accountant_is_asked_for_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dp_accounting.pld", None)
    with pytest.raises(InputError, match=r"pip install 'seepage\[accounting\]'"):
        dp_sgd(1.25, 0.125, 3)
