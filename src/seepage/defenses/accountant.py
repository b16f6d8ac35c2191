"""What Poisson-subsampled Gaussian steps spend: ε by privacy-loss variables, by Rényi beside it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from seepage.errors import InputError

__all__ = ["NEEDS_OPACUS", "Spent", "epsilon", "spent", "withdraw"]

NEEDS_OPACUS = "opacus: expected to be installed for DP-SGD; pip install 'seepage[opacus]'"
POINTS = 2**21
"""Largest grid of the numerical composition: about 0.1 GB and a second."""
MOST = 0.5
"""Widest half-interval of ε that is still used."""


@dataclass(frozen=True)
class Spent:
    """Two upper bounds on one ε: `epsilon` is the smaller, `accountant` ("prv", "rdp") gave it."""

    epsilon: float
    rdp: float
    accountant: str


def epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    """Upper bound on ε of `steps` Poisson-subsampled Gaussian steps: the smaller of two accountants.

    noise: multiplier σ; rate: probability of each sample to be drawn in a step; neighbours differ
    by one sample added or removed. See `spent` for both bounds and what they are.
    For σ = 1.5, rate 0.04, 2250 steps and δ = 1e-5 it is 6.798; Rényi accounting says 7.329.
    """
    return spent(noise, rate, steps, delta).epsilon


def withdraw(facts: dict[str, Any], why: str) -> None:
    """Mark an ε among a run's facts as no guarantee, beside reasons already told.

    >>> facts = {"epsilon_holds": True, "epsilon_why_not": None}
    >>> withdraw(facts, "no noise is added")
    >>> facts
    {'epsilon_holds': False, 'epsilon_why_not': 'no noise is added'}
    """
    if "epsilon_holds" in facts:
        told = facts.get("epsilon_why_not")
        facts["epsilon_holds"] = False
        facts["epsilon_why_not"] = f"{told}; {why}" if told else why


@lru_cache(maxsize=1024)
def spent(noise: float, rate: float, steps: int, delta: float) -> Spent:
    """ε by numerical composition of the privacy loss (PRV) and by Rényi accounting, both of Opacus.

    The PRV figure is the upper end of its own error interval, whose half-width is 0.2 to 0.4 % of ε
    where a grid of `POINTS` allows it. Where it would be wider than `MOST` (little noise over many
    steps), or floating point does not carry it (δ below about 2e-12 per step), Rényi accounting alone
    remains and `accountant` says "rdp". Without noise ε is infinite, without steps 0.

    Raises InputError for a rate outside [0, 1], noise or steps below 0, δ outside (0, 1], or
    without Opacus. Sources: Gopi et al., arXiv 2106.02848; Mironov et al., arXiv 1908.10530.
    """
    for name, value, fits, expected in (
        ("noise", noise, 0 <= noise < math.inf, "a finite number of at least 0"),
        ("rate", rate, 0 <= rate <= 1, "a probability"),
        ("steps", steps, steps >= 0, "a count of at least 0"),
        ("delta", delta, 0 < delta <= 1, "a number in (0, 1]"),
    ):
        if not fits:
            raise InputError(f"{name}: expected {expected}, got {value}")
    if noise == 0:
        return Spent(math.inf, math.inf, "rdp")
    try:
        from opacus.accountants import RDPAccountant
    except ImportError:
        raise InputError(NEEDS_OPACUS) from None
    if steps == 0 or rate == 0 or delta == 1:
        return Spent(0.0, 0.0, "rdp")
    # Less noise and a higher rate cost more, so these bound what floating point would lose.
    noise, rate = min(noise, 1e6), max(rate, 1e-12)
    # The grid of Rényi orders may end before the optimum; the bound is valid all the same.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        renyi = RDPAccountant()
        renyi.history = [(noise, rate, steps)]
        try:
            found = _bound(float(renyi.get_epsilon(delta)))
        except (ArithmeticError, ValueError):
            found = math.inf
        tight = _composed(noise, rate, steps, delta, found)
    if tight < found:
        return Spent(tight, found, "prv")
    return Spent(found, found, "rdp")


def _bound(value: float) -> float:
    """What an accountant gave, if it is a number."""
    return max(0.0, value) if math.isfinite(value) else math.inf


def _composed(noise: float, rate: float, steps: int, delta: float, renyi: float) -> float:
    """The upper end of PRV accounting; infinity where it cannot be had."""
    from opacus.accountants import PRVAccountant
    from opacus.accountants.analysis.prv import (
        PoissonSubsampledGaussianPRV,
        compute_safe_domain_size,
    )

    doubt = delta / 1000
    found = math.inf
    # Powers of transforms lose so much; it must drown in what is left out of δ for doubt.
    if doubt < 10 * steps * np.finfo(np.float64).eps:
        return found
    try:
        # What the accountant does to set up its grid, without building one too large for memory.
        half = compute_safe_domain_size(
            prvs=[PoissonSubsampledGaussianPRV(rate, noise)],
            max_self_compositions=[steps],
            eps_error=0.01,
            delta_error=doubt,
        )
        coarsest = 2 * half * math.sqrt(steps * math.log(12 / doubt) / 2) / POINTS
        guess = renyi
        # Rényi accounting may be far above; what was found then says how fine to look.
        for _ in range(3):
            error = min(max(0.002 * guess, coarsest, 2e-4), MOST)
            if error < coarsest or (math.isfinite(found) and error <= max(0.004 * found, 2e-4)):
                break
            accountant = PRVAccountant()
            accountant.history = [(noise, rate, steps)]
            last = accountant.get_epsilon(delta, eps_error=error, delta_error=doubt)
            found = min(found, _bound(float(last)))
            guess = found
    except (ArithmeticError, ValueError, RuntimeError, MemoryError):
        pass
    return found
