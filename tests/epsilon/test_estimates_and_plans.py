"""What is no bound is named so; what a bound needs is known before training."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seepage.epsilon import (
    FDP,
    Approximate,
    Explicit,
    canaries_needed,
    gaussian_pair,
    gdp_delta,
    jeffreys,
    joint_beta,
    models_needed,
    multi_run,
    one_run,
    pair_delta,
    pair_epsilon,
)
from seepage.epsilon.gaussian_pair import _divergence
from seepage.errors import InputError


def test_credible_ends_are_those_published() -> None:
    """One confusion matrix, 100 of 500 and 0 of 500: 3.12 by confidence, 3.51 and 3.95 credible."""
    scores = np.append(np.arange(500) < 100, np.zeros(500)).astype(float)
    bound = multi_run(scores, np.arange(1000) < 500, threshold=Explicit(0.5))
    assert bound.epsilon == pytest.approx(3.12, abs=5e-3)
    one, both = jeffreys(100, 500, 0, 500), joint_beta(100, 500, 0, 500)
    assert one.epsilon == pytest.approx(3.51, abs=5e-3)
    assert both.epsilon == pytest.approx(3.95, abs=5e-3)
    for found in (one, both):
        assert "credible, not confidence" in str(found)


def test_joint_beta_by_drawing_from_the_posterior() -> None:
    rng = np.random.default_rng(0)
    tpr, fpr = rng.beta(60.5, 40.5, 400_000), rng.beta(20.5, 80.5, 400_000)
    d = 0.01
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.nanmax(
            [np.log((tpr - d) / fpr), np.log((1 - fpr - d) / (1 - tpr)), np.zeros_like(tpr),
             np.log((fpr - d) / tpr), np.log((1 - tpr - d) / (1 - fpr))], axis=0,
        )  # fmt: skip
    got = joint_beta(60, 100, 20, 100, delta=d)
    assert got.epsilon == pytest.approx(float(np.quantile(each, 0.05)), abs=5e-3)
    assert joint_beta(10, 100, 10, 100).epsilon == pytest.approx(0.02, abs=0.02)
    assert jeffreys(0, 100, 0, 100).epsilon == jeffreys(100, 100, 100, 100).epsilon == 0


@pytest.mark.parametrize("other", [(0.0, 1.0), (0.3, 1.7), (1.0, 0.5), (-2.0, 1.0 + 1e-14)])
def test_the_divergence_of_two_gaussians_by_integration(other: tuple[float, float]) -> None:
    one, x = (1.0, 1.0), np.linspace(-20, 20, 200_001)
    for epsilon in (0.0, 0.7, 2.5):
        want = 0.0
        for p, q in ((one, other), (other, one)):
            gap = stats.norm.pdf(x, *p) - np.exp(epsilon) * stats.norm.pdf(x, *q)
            each = float(np.trapezoid(np.maximum(0.0, gap), x))
            assert _divergence(epsilon, p, q) == pytest.approx(each, abs=1e-7)
            want = max(want, each)
        assert pair_delta(epsilon, one, other) == pytest.approx(want, abs=1e-7)
    assert pair_delta(0.8, one, one) == 0
    assert pair_delta(0.8, one, (0.0, 1.0)) == pytest.approx(gdp_delta(1.0, 0.8))
    found = pair_epsilon(1e-5, one, other)
    assert pair_delta(found, one, other) == pytest.approx(1e-5)


def test_the_estimate_says_what_it_reads_on_noise() -> None:
    rng = np.random.default_rng(5)
    member = np.arange(600) % 2 == 0
    leak = gaussian_pair(rng.normal(size=600) + 2 * member, member, rng)
    none = gaussian_pair(rng.normal(size=600), member, rng)
    assert abs(leak.epsilon - 9.997) < 2
    assert 0 < none.epsilon < 2
    assert 0.2 < none.noise < 2
    assert leak.normal_p > 0.01
    assert "an estimate and no bound" in str(leak)
    assert gaussian_pair(rng.standard_t(2, size=600), member, rng, draws=0).normal_p < 1e-4
    with pytest.raises(InputError, match="two Gaussians are fitted"):
        gaussian_pair(np.arange(6.0), np.arange(6) < 3, rng)
    with pytest.raises(InputError, match="no finite epsilon at 0"):
        gaussian_pair(np.arange(20.0), np.arange(20) < 10, rng, delta=0.0)


def test_the_fewest_canaries_are_those_of_the_closed_form() -> None:
    for target in (0.5, 2.0, 4.0):
        count = canaries_needed(target, delta=0.0).count
        assert one_run(count, count, count).epsilon >= target
        assert one_run(count - 1, count - 1, count - 1).epsilon < target
        # logit(.05^(1/m)) reaches it.
        q = 1 / (1 + np.exp(-target))
        assert count == int(np.ceil(np.log(0.05) / np.log(q)))


def test_so_many_canaries_show_it_as_often_as_said() -> None:
    plan = canaries_needed(1.0, truth=2.0, delta=1e-6, power=0.8)
    rng = np.random.default_rng(0)
    right = rng.binomial(plan.count, 1 / (1 + np.exp(-2.0)), 400)
    shown = [one_run(int(v), plan.count, plan.count, delta=1e-6).epsilon for v in set(right)]
    share = np.isin(right, np.array(list(set(right)))[np.array(shown) >= 1.0]).mean()
    assert 0.72 < share < 0.97
    assert plan.reaches >= 1.0
    assert canaries_needed(1.0, truth=2.0, delta=1e-6, power=0.95).count > plan.count
    curve = canaries_needed(1.0, truth=2.0, analysis=FDP(Approximate()), share=0.5)
    assert curve.count > plan.count


def test_so_many_models_show_it_as_often_as_said() -> None:
    plan = models_needed(1.0, mu=2.0, delta=1e-5, power=0.8, threshold=Explicit(0.0))
    perfect = models_needed(1.0, delta=1e-5, threshold=Explicit(0.0))
    member = np.arange(perfect.count) < perfect.count // 2
    assert multi_run(member * 1.0, member, delta=1e-5, threshold=Explicit(0.5)).epsilon >= 1.0
    assert 4 < perfect.count < plan.count < 1000
    member = np.arange(plan.count) < plan.count // 2
    rng = np.random.default_rng(1)
    shown = np.zeros(7)
    for _ in range(200):
        scores = rng.normal(size=plan.count) + 2 * member
        shown += [
            multi_run(scores, member, delta=1e-5, threshold=Explicit(t)).epsilon >= 1.0
            for t in np.linspace(0, 3, 7)
        ]
    assert 0.7 < shown.max() / 200 < 0.97
    assert models_needed(1.0, delta=1e-5).count > perfect.count


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jeffreys(5, 4, 0, 3), "right, members, wrong, others: expected"),
        (lambda: joint_beta(1, 4, 0, 0), "count both sides at one threshold"),
        (lambda: canaries_needed(0.0), "target: expected a number above 0"),
        (lambda: canaries_needed(2.0, truth=1.0), "shows more than there is"),
        (lambda: canaries_needed(2.0, share=0.0), "share: expected a number"),
        (lambda: canaries_needed(2.0, power=1.0), "power: expected a number"),
        (lambda: canaries_needed(20.0, delta=0.1), "can show, got 20"),
        (lambda: models_needed(1.0, mu=-1.0), "mu: expected a finite number"),
        (lambda: models_needed(30.0), "can show, got 30"),
    ],
)
def test_messages(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        call()
