"""Choosing a threshold is paid for, whichever way scores are oriented."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from seepage.epsilon import (
    FDP,
    Approximate,
    Bonferroni,
    Explicit,
    MultiSplit,
    Split,
    gdp,
    multi_run,
)
from seepage.errors import InputError


def drawn(mu: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    member = np.arange(n) % 2 == 0
    return rng.normal(size=n) + mu * member, member


def test_several_splits_give_the_lower_median_at_half_the_error() -> None:
    scores, member = drawn(1.0, 400, 0)
    many = multi_run(scores, member, threshold=MultiSplit(5, 0.5, np.random.default_rng(4)))
    rng = np.random.default_rng(4)
    each = [
        multi_run(scores, member, level=0.975, threshold=Split(0.5, rng)).epsilon for _ in range(5)
    ]
    assert many.epsilon == sorted(each)[2]
    assert len(set(each)) > 1
    assert many.ceiling == multi_run(scores, member, level=0.975, threshold=Split(0.5, rng)).ceiling
    with pytest.raises(InputError, match="splits: expected at least 2"):
        MultiSplit(1, 0.5, rng)


@pytest.mark.parametrize("method", [multi_run, gdp])
@pytest.mark.parametrize(
    "threshold", [Bonferroni(), Explicit(-0.5)], ids=["bonferroni", "explicit"]
)
def test_an_inverted_attack_is_found_and_paid_for(method, threshold) -> None:  # type: ignore[no-untyped-def]
    scores, member = drawn(2.0, 2000, 1)
    upright = method(-scores, member, delta=1e-5, threshold=threshold)
    both = method(-scores, member, delta=1e-5, threshold=threshold, inverted=True)
    right = method(scores, member, delta=1e-5, level=0.975, threshold=threshold.mirrored())
    assert upright.epsilon == 0
    assert both.inverted
    assert both.epsilon == right.epsilon > 0
    assert both.threshold == -right.threshold
    # Where the orientation was right it costs half of the error and no more.
    known = method(scores, member, delta=1e-5, level=0.975)
    paid = method(scores, member, delta=1e-5, inverted=True)
    assert not paid.inverted
    assert paid.epsilon == known.epsilon < method(scores, member, delta=1e-5).epsilon


def test_the_region_of_gdp_is_that_of_two_tests_joined() -> None:
    """By brute force: every pair of rates that Fisher's method does not refute, on a fine grid."""
    scores, member = drawn(1.0, 300, 2)
    got = gdp(scores, member, threshold=Explicit(0.7))
    right, wrong = int((scores[member] >= 0.7).sum()), int((scores[~member] >= 0.7).sum())
    rate = special.ndtr(np.linspace(-4, 4, 1601))
    below = stats.binom.cdf(wrong, 150, rate)[:, None]
    above = stats.binom.sf(right - 1, 150, rate)[None]
    p = stats.chi2.sf(-2 * np.log(np.maximum(below * above, 1e-300)), 4)
    mu = special.ndtri(rate)[None] - special.ndtri(rate)[:, None]
    assert got.mu == pytest.approx(mu[p > 0.05].min(), abs=0.02)
    assert got.mu <= mu[p > 0.05].min() + 0.006
    assert special.ndtri(got.tpr_low) - special.ndtri(got.fpr_high) == pytest.approx(got.mu)


@pytest.mark.parametrize(("wrong", "right"), [(0, 0), (150, 150), (0, 150), (150, 0)])
def test_all_or_nothing_called_a_member(wrong: int, right: int) -> None:
    scores = np.append(np.arange(150) < right, np.arange(150) < wrong).astype(float)
    got = gdp(scores, np.arange(300) < 150, threshold=Explicit(0.5))
    assert np.isfinite(got.mu)
    assert (got.mu > 3) == ((wrong, right) == (0, 150))
    assert got.at_ceiling == ((wrong, right) == (0, 150))


def test_what_holds_only_for_gaussian_mechanisms_says_so() -> None:
    scores, member = drawn(1.0, 2000, 3)
    text = str(gdp(scores, member))
    assert text.startswith("μ at least 0.")
    assert "if the mechanism is Gaussian ε at least" in text
    one = FDP().bound(80, 100, 200, delta=1e-5, level=0.95)
    assert "if the mechanism is Gaussian ε at least" in str(one)
    assert str(multi_run(scores, member)).startswith("ε at least")
    assert str(FDP(Approximate()).bound(80, 100, 200, delta=1e-5, level=0.95)).startswith("ε")
