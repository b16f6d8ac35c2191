"""Before training: how many canaries or models a bound of a given size needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from seepage.epsilon.multi_run import check_level, multi_run_at
from seepage.epsilon.one_run import Analysis, BinomialTail
from seepage.epsilon.thresholds import Bonferroni, Threshold
from seepage.errors import InputError

__all__ = ["Needed", "canaries_needed", "models_needed"]

MOST = 1_000_000


@dataclass(frozen=True)
class Needed:
    """`count` canaries or models, with which the bound reaches `target` with probability `power`.

    reaches: what the bound then is at least, with that probability.
    """

    count: int
    target: float
    reaches: float
    power: float


def _smallest(reached: Callable[[int], float], target: float, first: int, what: str) -> int:
    """The smallest count, found by doubling and halving, whose bound reaches the target."""
    high, best = first, 0.0
    while (found := reached(high)) < target:
        best = max(best, found)
        # With δ > 0 more canaries at last show less.
        if high > MOST or found < best / 2:
            raise InputError(
                f"target: expected an epsilon that at most {MOST:,} {what} can show, got {target:g} where "
                f"{best:.3g} is the most that was seen; lower the target or delta"
            )
        high *= 2
    low = max(first, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= target else (middle, high)
    return low if reached(low) >= target else high


def _check(target: float, truth: float | None, power: float) -> None:
    if not 0 < target < np.inf:
        raise InputError(
            f"target: expected a number above 0, got {target}; a bound of 0 needs none"
        )
    if not 0 < power < 1:
        raise InputError(f"power: expected a number between 0 and 1, got {power}; use 0.8")
    if truth is not None and not truth > target:
        raise InputError(
            f"truth: expected more than the target {target:g}, got {truth:g}; no number of trials "
            "shows more than there is"
        )


def canaries_needed(
    target: float,
    *,
    truth: float | None = None,
    share: float = 1.0,
    delta: float = 1e-5,
    level: float = 0.95,
    power: float = 0.8,
    analysis: Analysis | None = None,
) -> Needed:
    """Canaries of *one* run whose bound reaches the target ε.

    truth: the ε that the mechanism really has; each guess is then right with probability e^ε/(1 + e^ε),
    independently (randomised response: no attack does better). None: all guesses are right, the
    fewest canaries that *can* show the target. share: how many of the canaries are guessed. With
    probability `power` the bound is at least the target. analysis: as in `one_run_from_scores`.
    Counts jump with the number of guesses, so that a few more can at times show a little less. Raises
    InputError where no number of canaries reaches the target.

    >>> canaries_needed(2.0, delta=0.0).count, canaries_needed(2.0, truth=3.0, delta=0.0).count
    (24, 108)
    """
    check_level(level, delta)
    _check(target, truth, power)
    if not 0 < share <= 1:
        raise InputError(f"share: expected a number in (0, 1], got {share}; guess 1 for all")
    rule = BinomialTail() if analysis is None else analysis
    right = 1.0 if truth is None else float(scipy.special.expit(truth))

    def reached(canaries: int) -> float:
        guesses = max(1, round(share * canaries))
        correct = int(scipy.stats.binom.ppf(1 - power, guesses, right)) if right < 1 else guesses
        return rule.bound(correct, guesses, canaries, delta=delta, level=level).epsilon

    count = _smallest(reached, target, 2, "canaries")
    return Needed(count, target, reached(count), 1.0 if truth is None else power)


def models_needed(
    target: float,
    *,
    mu: float | None = None,
    delta: float = 1e-5,
    level: float = 0.95,
    power: float = 0.8,
    threshold: Threshold | None = None,
) -> Needed:
    """Models, half with the record, whose `multi_run` bound on its ε reaches the target.

    mu: the distance of the record's scores with and without it in standard deviations (a
    μ-GDP mechanism and the best attack on it). None: a perfect attack, the fewest models that *can*
    show the target. threshold: as in `multi_run`, which pays for its choice; the best of the fixed
    thresholds is assumed to be met, so that with `mu` the count is a little too small where thresholds
    are chosen on the scores. Raises InputError as `canaries_needed`.

    >>> models_needed(2.0, delta=0.0).count, models_needed(2.0, delta=0.0, mu=3.0).count
    (111, 308)
    """
    check_level(level, delta)
    _check(target, None, power)
    if mu is not None and not 0 < mu < np.inf:
        raise InputError(f"mu: expected a finite number above 0, got {mu}; leave it out if unknown")
    rule = Bonferroni() if threshold is None else threshold
    # Rates of the best attack at 200 thresholds; one pair of perfect ones without `mu`.
    at = np.linspace(-4, 8, 200)
    tpr = np.ones(1) if mu is None else scipy.special.ndtr(mu - at)
    fpr = np.zeros(1) if mu is None else scipy.special.ndtr(-at)

    def reached(models: int) -> float:
        half = models // 2
        case = rule.best_case(half, models - half, level)
        # Both sides do at least so well with probability √power each.
        right = scipy.stats.binom.ppf(1 - np.sqrt(power), case.n_in, tpr)
        wrong = scipy.stats.binom.ppf(np.sqrt(power), case.n_out, fpr)
        return multi_run_at(case.counting(right, wrong), delta)

    count = _smallest(reached, target, 4, "models")
    return Needed(count, target, reached(count), 1.0 if mu is None else power)
