"""One run judged by a trade-off curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from seepage.epsilon import (
    FDP,
    Approximate,
    BinomialTail,
    Gaussian,
    LowestOnly,
    gdp_epsilon,
    one_run,
    one_run_from_scores,
)
from seepage.errors import InputError


@pytest.mark.parametrize("curves", [Gaussian(), Approximate()], ids=["gaussian", "approximate"])
def test_the_inverse_of_a_curve_inverts_it(curves) -> None:  # type: ignore[no-untyped-def]
    rates = np.array([0.0, 0.001, 0.02, 0.3, 0.6, 0.9, 1.0])
    back = curves.inverse(1.2, 0.01)
    if isinstance(curves, Gaussian):
        tpr = special.ndtr(special.ndtri(rates) + 1.2)
    else:
        tpr = np.minimum(math.exp(1.2) * rates + 0.01, 1 - math.exp(-1.2) * (0.99 - rates))
    for y, x in zip(tpr[:-1], rates[:-1], strict=True):
        assert back(float(y)) == pytest.approx(x, abs=1e-12)
    assert back(0.0) == 0


def by_definition(mu: float, v: int, r: int, m: int, size: float) -> float:
    """The recursion with arrays over all counts, as the statement has it; larger than r/m refutes."""
    right, wrong = np.zeros(v + 1), np.zeros(v + 1)
    right[v], wrong[v] = size * v / m, size * (r - v) / m
    for i in range(v - 1, -1, -1):
        more = special.ndtr(special.ndtri(right[i + 1]) - mu)
        wrong[i] = max(wrong[i + 1], more)
        right[i] = right[i + 1] + i / (r - i) * (wrong[i] - wrong[i + 1])
    return float(right[0] + wrong[0])


@pytest.mark.parametrize(("v", "r", "m"), [(70, 100, 100), (46, 50, 400), (30, 30, 60)])
def test_the_bound_is_where_the_recursion_turns(v: int, r: int, m: int) -> None:
    got = FDP().bound(v, r, m, delta=1e-5, level=0.95)
    assert by_definition(got.mu * 0.999, v, r, m, 0.05) > r / m > 0
    assert by_definition(got.mu * 1.001, v, r, m, 0.05) <= r / m
    assert got.epsilon == pytest.approx(gdp_epsilon(got.mu, 1e-5))
    assert got.at_ceiling == (v == r)


def test_laws_of_the_bound() -> None:
    for curves in (Gaussian(), Approximate()):
        rule = FDP(curves)

        def at(v: int, r: int = 100, m: int = 200, level: float = 0.95, rule: FDP = rule) -> float:
            return rule.bound(v, r, m, delta=1e-4, level=level).epsilon

        values = [at(v) for v in range(50, 101, 5)]
        assert values == sorted(values)
        assert values[0] == 0 < values[-1]
        assert at(80, level=0.99) < at(80) < at(80, level=0.8)
        assert at(0) == 0


def test_a_gaussian_mechanism_shows_more_by_its_own_curve() -> None:
    """Canaries N(μ, 1) against N(0, 1): the curve gains on the binomial, and both stay below."""
    truth, over, shown = gdp_epsilon(1.5, 1e-5), np.zeros(2), np.zeros(2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        member = rng.random(1000) < 0.5
        scores = rng.normal(size=1000) + 1.5 * member
        found = [
            one_run_from_scores(scores, member, (60, 300), delta=1e-5, analysis=rule).epsilon
            for rule in (BinomialTail(), FDP())
        ]
        over += np.array(found) > truth
        shown += found
    assert (over == 0).all()
    assert shown[1] > 1.3 * shown[0]


def test_low_scores_alone_are_guessed() -> None:
    member = np.array([True, True, False, True, False, False])
    scores = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    got = one_run_from_scores(scores, member, 3, LowestOnly())
    assert (got.correct, got.guesses) == (2, 3)
    mirror = one_run_from_scores(-scores, ~member, 3)
    assert mirror.epsilon >= 0


def test_messages() -> None:
    with pytest.raises(InputError, match="count abstentions"):
        FDP().bound(5, 4, 10, delta=1e-5, level=0.95)
    with pytest.raises(InputError, match="level: expected"):
        FDP().bound(3, 4, 10, delta=1e-5, level=95)
    with pytest.raises(InputError, match="no finite epsilon at 0"):
        FDP().bound(4, 4, 10, delta=0.0, level=0.95)
    assert FDP(Approximate()).bound(10, 10, 10, delta=0.0, level=0.95).epsilon == pytest.approx(
        one_run(10, 10, 10).epsilon, rel=0.05
    )
