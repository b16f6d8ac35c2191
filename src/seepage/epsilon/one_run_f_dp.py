"""ε from one training run by a trade-off curve instead of a binomial tail."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

from seepage.epsilon.multi_run import check_level
from seepage.epsilon.one_run import Analysis, OneRunBound, check_counts
from seepage.epsilon.trade_off import gdp_epsilon

__all__ = ["FDP", "Approximate", "Curves", "Gaussian"]

Inverse = Callable[[float], float]
"""y -> the smallest FPR at which the curve allows the TPR y."""


class Curves(ABC):
    """Trade-off curves by one number, larger = less private."""

    @abstractmethod
    def inverse(self, number: float, delta: float) -> Inverse:
        """The inverse of 1 − f of the curve with this number."""

    @abstractmethod
    def result(self, bound: OneRunBound, number: float) -> OneRunBound:
        """The bound with ε (and μ) of this number."""


@dataclass(frozen=True)
class Gaussian(Curves):
    """μ-GDP, TPR = Φ(Φ⁻¹(FPR) + μ): the bound on μ always holds, its ε as that of `gdp` does."""

    def inverse(self, number: float, delta: float) -> Inverse:
        quantile = NormalDist().inv_cdf

        def at(y: float) -> float:
            if y <= 0 or y >= 1:
                return float(y >= 1)
            return 0.5 * math.erfc((number - quantile(y)) / math.sqrt(2))

        return at

    def result(self, bound: OneRunBound, number: float) -> OneRunBound:
        return replace(bound, epsilon=gdp_epsilon(number, bound.delta), mu=number)


@dataclass(frozen=True)
class Approximate(Curves):
    """(ε, δ) itself, TPR = min{e^ε FPR + δ, 1 − e^−ε (1 − δ − FPR)}: no assumption on the mechanism."""

    def inverse(self, number: float, delta: float) -> Inverse:
        up, down = math.exp(number), math.exp(-number)
        return lambda y: max(0.0, down * (y - delta), 1 - delta - up * (1 - y))

    def result(self, bound: OneRunBound, number: float) -> OneRunBound:
        return replace(bound, epsilon=number)


@dataclass(frozen=True)
class FDP(Analysis):
    """What so many right guesses refute about a family of trade-off curves f.

    Flipping the coin of a canary turns a right guess into a wrong one, so that for every c the
    events "right, and at least c right in all" and "wrong, and at least c − 1 right in all" are a
    test of one canary, whose rates f limits. With v right of r guesses about m canaries, α = 1 −
    level: start from a = αv/m, b = α(r − v)/m, and for i = v − 1 ... 0 let b' = max(b, (1 − f)⁻¹(a)),
    a ← a + i/(r − i) · (b' − b), b ← b'. f is refuted where a + b > r/m at the end.

    Assumptions as in `one_run`, δ > 0 with `Gaussian()`. `Approximate()` comes near `one_run`;
    `Gaussian()` is larger for mechanisms that are nearly Gaussian.
    Source: Mahloujifar, Melis and Chaudhuri, arXiv 2410.22235 (the recursion read from public
    implementations of it, the argument above is our reading).

    >>> bound = FDP().bound(90, 100, 1000, delta=1e-5, level=0.95)
    >>> round(bound.mu, 3), round(bound.epsilon, 3)
    (0.603, 2.456)
    """

    curves: Curves = Gaussian()

    def bound(
        self, correct: int, guesses: int, canaries: int, *, delta: float, level: float
    ) -> OneRunBound:
        check_level(level, delta)
        check_counts(correct, guesses, canaries)
        empty = OneRunBound(0.0, level, delta, correct, guesses, canaries, 0.0)
        ceiling = self.curves.result(empty, self._largest(guesses, guesses, canaries, empty))
        found = self.curves.result(empty, self._largest(correct, guesses, canaries, empty))
        return replace(found, ceiling=ceiling.epsilon)

    def _largest(self, correct: int, guesses: int, canaries: int, at: OneRunBound) -> float:
        """The largest number that is refuted; 0 if none is."""

        def refuted(number: float) -> bool:
            inverse = self.curves.inverse(number, at.delta)
            return _refuted(inverse, correct, guesses, canaries, 1 - at.level)

        low, high = 0.0, 1.0
        if not refuted(low):
            return 0.0
        while refuted(high) and high < 64:
            low, high = high, 2 * high
        while high - low > 1e-7 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if refuted(middle) else (low, middle)
        return low


def _refuted(inverse: Inverse, correct: int, guesses: int, canaries: int, size: float) -> bool:
    a, b = size * correct / canaries, size * (guesses - correct) / canaries
    most = guesses / canaries
    for i in range(correct - 1, -1, -1):
        more = inverse(a)
        if more <= b:
            # Neither can change any more.
            break
        a += i / (guesses - i) * (more - b)
        b = more
        if a + b > most:
            return True
    return a + b > most
