"""From what DP-SGD was run with to what any attack can reach: the accountant's curve on the plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy

from seepage.array_types import Float64Array
from seepage.epsilon.curve import TradeOff
from seepage.errors import InputError
from seepage.short_repr import short_repr

__all__ = ["NEEDS_ACCOUNTING", "PersonalRates", "dp_sgd", "personal_rate", "personal_rates"]

NEEDS_ACCOUNTING = (
    "dp-accounting: expected to be installed for the accountant's curve; "
    "pip install 'seepage[accounting]'"
)
FLOOR = 1e-12
"""Below it rounding of the composition could make δ too small: no pair promises less."""
POINTS = 1500
CELLS = 250_000
LEAST_NOISE = 0.05
"""Below it the grid of losses would not fit into memory, and hardly anything is promised."""


def _check(noise: float, rate: float, steps: int) -> None:
    for name, value, fits, expected in (
        ("noise", noise, 0 <= noise < math.inf, "a finite number of at least 0"),
        ("rate", rate, 0 <= rate <= 1, "a probability"),
        ("steps", steps, steps >= 0, "a count of at least 0"),
    ):
        if not fits:
            raise InputError(f"{name}: expected {expected}, got {value}")


def _composed(noise: float, rate: float, steps: int, width: float) -> Any:
    """The privacy-loss distribution of all steps, discretised upwards."""
    try:
        from dp_accounting.pld import privacy_loss_distribution
    except ImportError:
        raise InputError(NEEDS_ACCOUNTING) from None
    one = privacy_loss_distribution.from_gaussian_mechanism(
        noise,
        sampling_prob=rate,
        use_connect_dots=True,
        value_discretization_interval=width,
    )
    return one.self_compose(steps)


@lru_cache(maxsize=64)
def dp_sgd(noise: float, rate: float, steps: int) -> TradeOff:
    """The trade-off curve of `steps` Poisson-subsampled Gaussian steps: an upper bound on every attack.

    noise: multiplier σ; rate: probability q of each sample to be drawn in a step; neighbours differ
    by one sample added or removed, and the worse of the two orders counts. δ(ε) comes from the
    privacy-loss distribution of the package dp-accounting, discretised upwards, on a grid that is
    refined tenfold until ε and the advantage change by less than 5 %, when what is left is about a
    hundredth of that, or until it grows too large, which only makes the curve pessimistic. No δ below 1e-12 is promised, so that the TPR at an FPR of 0 is at
    least that. Without noise, or with σ below 0.05, nothing is promised: TPR 1, which holds; without steps
    it is the diagonal.

    The curve is that of an attacker who sees *every* noisy gradient and knows all other samples;
    it assumes Poisson batches. Raises InputError for arguments out of range, or without
    dp-accounting. Source: Koskela et al., arXiv 1906.03049 and Doroshenko et al., arXiv 2207.04380 (the
    accountant); Dong, Roth and Su, arXiv 1905.02383 (the curve).
    """
    _check(noise, rate, steps)
    name = f"DP-SGD, σ = {noise:g}, q = {rate:.3g}, {steps} steps"
    if steps == 0 or rate == 0:
        return TradeOff(np.zeros(1), np.zeros(1), name)
    if noise < LEAST_NOISE:
        return TradeOff(np.zeros(1), np.ones(1), name)
    # Less noise costs more, so this bounds what floating point would lose.
    noise, width = min(noise, 1e6), 1e-2
    found = _composed(noise, rate, steps, width)
    seen = _summary(found)
    while seen[1] / width < CELLS / 10:
        width /= 10
        finer = _composed(noise, rate, steps, width)
        before, seen = seen, _summary(finer)
        found = finer
        if all(abs(a - b) <= 0.05 * b for a, b in zip(before, seen, strict=True)):
            break
    # Beyond e^600 nobody measures rates; a pair there would only overflow.
    epsilon = np.linspace(0.0, min(max(seen[1], 1e-9), 600.0), POINTS)
    delta = np.asarray(found.get_delta_for_epsilon(epsilon), dtype=np.float64)
    # Of pairs that all hold, the smaller δ at a smaller ε holds for larger ones too.
    delta = np.minimum.accumulate(np.clip(delta, FLOOR, 1.0))
    return TradeOff(epsilon, delta, name)


def _summary(found: Any) -> tuple[float, float, float]:
    at = (float(found.get_epsilon_for_delta(1e-5)), float(found.get_epsilon_for_delta(FLOOR)))
    return (*at, float(found.get_delta_for_epsilon(0.0)))


def personal_rate(
    epsilon: float, delta: float, noise: float, steps: int, *, width: float = 1e-3
) -> float:
    """The largest sampling rate q with which one person stays within (ε, δ), to .1 % and never above.

    noise σ and steps T are shared by all. 1 where even full batches stay within. width: of the
    accountant's grid; a coarser one gives a smaller rate. Source: Boenisch et al., arXiv
    2303.17046 (individual DP by sampling).
    """
    if not (0 < epsilon < np.inf and 0 < delta < 1):
        raise InputError(
            f"epsilon, delta: expected a finite number above 0 and one between 0 and 1, got "
            f"{epsilon}, {delta}; a personal budget needs both"
        )
    _check(noise, 0.5, steps)
    if noise == 0 or steps == 0:
        raise InputError(f"noise, steps: expected numbers above 0, got {noise}, {steps}")

    def excess(log_rate: float) -> float:
        held = _composed(noise, math.exp(log_rate), steps, width).get_epsilon_for_delta(delta)
        return float(min(held, 1e6)) - epsilon

    if excess(0.0) <= 0:
        return 1.0
    low = math.log(1e-6)
    if excess(low) > 0:
        raise InputError(
            f"epsilon: expected a budget that {steps} steps with noise {noise:g} can keep, got "
            f"{epsilon:g}; raise the noise or take fewer steps"
        )
    root = float(scipy.optimize.brentq(excess, low, 0.0, xtol=5e-4))
    # The root may lie a hair above.
    while excess(root) > 0:
        root -= 5e-4
    return math.exp(root)


@short_repr
@dataclass(frozen=True, eq=False)
class PersonalRates:
    """The noise that all share, and the rate of every group of budgets, in the order of the groups."""

    noise: float
    rates: Float64Array


def personal_rates(
    budgets: Sequence[tuple[float, float]], delta: float, steps: int, rate: float
) -> PersonalRates:
    """Sampling rates that give each group its own ε, and the noise at which they average to `rate`.

    budgets: (ε, share of the people) of every group, shares that sum to 1. Everybody's choice moves
    the noise, and with it everybody's rate: two people with one (ε, δ) in different company have
    different trade-off curves, which `excess_vulnerability` of their `dp_sgd` curves measures.
    The noise is found to about 1 %, the rates then are kept for it exactly. Takes some ten seconds.
    Source: Boenisch et al., arXiv 2303.17046; the collusion: arXiv 2601.12922.
    """
    shares = [share for _, share in budgets]
    if not budgets or abs(sum(shares) - 1) > 1e-6 or min(shares) <= 0:
        raise InputError(
            f"budgets: expected shares above 0 that sum to 1, got {shares}; e.g. 2:0.5,8:0.5"
        )
    for epsilon, _ in budgets:
        if not 0 < epsilon < math.inf:
            raise InputError(
                f"budgets: expected every ε as a finite number above 0, got {epsilon:g}; e.g. 2:0.5,8:0.5"
            )
    if not 0 < rate < 1:
        raise InputError(
            f"rate: expected a number between 0 and 1, got {rate}; batch size over people"
        )
    if steps < 1:
        raise InputError(f"steps: expected at least 1, got {steps}")

    def mean(noise: float, width: float) -> list[float]:
        return [personal_rate(e, delta, noise, steps, width=width) for e, _ in budgets]

    def excess(log_noise: float) -> float:
        try:
            found = mean(math.exp(log_noise), 1e-2)
        except InputError:
            return -1.0
        return math.log(sum(q * s for q, s in zip(found, shares, strict=True)) / rate)

    low, high = math.log(0.3), math.log(0.6)
    if excess(low) > 0:
        raise InputError(
            f"budgets: expected ones that noise of at least 0.3 meets at a rate of {rate:g}, got larger; "
            "lower them, or raise rate or steps"
        )
    while excess(high) < 0:
        low, high = high, high + math.log(2)
        if high > math.log(1e4):
            raise InputError(
                f"rate: expected one that the budgets allow, got {rate:g} over {steps} steps; raise "
                "the budgets or lower rate and steps"
            )
    noise = math.exp(float(scipy.optimize.brentq(excess, low, high, xtol=5e-3)))
    return PersonalRates(noise, np.array(mean(noise, 1e-3)))
