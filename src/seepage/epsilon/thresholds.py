"""Where to put the threshold, and what the choice costs.

A bound of level 95 % at a threshold that was chosen because it gives the largest bound has no
level. Each strategy here pays for its choice and gives operating points whose one-sided bounds
hold *all at once* with probability at least `level`; the largest ε over them is then a bound too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seepage.array_types import Float64Array, Int64Array
from seepage.errors import InputError
from seepage.metrics import clopper_pearson

__all__ = ["Bonferroni", "Explicit", "Points", "Split", "Threshold", "Worth"]

Worth = Callable[[Float64Array, Float64Array], Float64Array]
"""(tpr_low, fpr_high) -> how much an operating point is worth; only `Split` looks at it."""


@dataclass(frozen=True, eq=False)
class Points:
    """Operating points (P,): TPR ≥ tpr_low and FPR ≤ fpr_high at threshold, all at once."""

    tpr_low: Float64Array
    fpr_high: Float64Array
    threshold: Float64Array


class Threshold(ABC):
    """A way to choose thresholds; "member" is said at or above one."""

    @abstractmethod
    def points(
        self, inside: Float64Array, outside: Float64Array, level: float, worth: Worth
    ) -> Points:
        """inside, outside: scores of members and of non-members, sorted ascending."""


def _at_or_above(ranked: Float64Array, threshold: Float64Array) -> Int64Array:
    return np.asarray(len(ranked) - np.searchsorted(ranked, threshold, "left"), np.int64)


def _at(
    inside: Float64Array, outside: Float64Array, threshold: Float64Array, level: float
) -> Points:
    """At thresholds that do not depend on these scores; each point alone has the level."""
    tpr_low, _ = clopper_pearson(_at_or_above(inside, threshold), len(inside), level)
    _, fpr_high = clopper_pearson(_at_or_above(outside, threshold), len(outside), level)
    return Points(tpr_low, fpr_high, threshold)


@dataclass(frozen=True)
class Explicit(Threshold):
    """A threshold fixed before these scores were seen (by an attack's rule, on other data)."""

    threshold: float

    def __post_init__(self) -> None:
        if np.isnan(self.threshold):
            raise InputError("threshold: expected a number, got nan; fix it before the scores")

    def points(
        self, inside: Float64Array, outside: Float64Array, level: float, worth: Worth
    ) -> Points:
        return _at(inside, outside, np.array([self.threshold], np.float64), level)


def _ranks(n: int, many: int) -> Int64Array:
    """0, 1, 2, ... to n − 1, ever further apart: fixed by n alone."""
    return np.unique(np.rint(np.geomspace(1, n, many)).astype(np.int64)) - 1


@dataclass(frozen=True)
class Bonferroni(Threshold):
    """Tries about `candidates` thresholds and tests each at level 1 − (1 − level)/candidates.

    Half of them are set by the non-members: the lowest threshold that leaves k of them, for k = 0,
    1, 2, ... ever further apart. Half are set by the members: the highest that misses j of them.
    The counts depend on how many scores there are and on nothing else. That a threshold is itself
    an order statistic does no harm: if FPR(t) > u for some t with at most k false positives, the
    same holds at the largest t with FPR(t) > u, which is fixed, and the Clopper-Pearson u of k
    makes that as rare as it should be; the other group's count is binomial given t. With ties the
    nominal k and j are used, which is the safe side.
    """

    candidates: int = 32

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise InputError(
                f"candidates: expected at least 2, got {self.candidates}; for one use Explicit"
            )

    def points(
        self, inside: Float64Array, outside: Float64Array, level: float, worth: Worth
    ) -> Points:
        left = _ranks(len(outside), self.candidates // 2)
        missed = _ranks(len(inside), self.candidates - self.candidates // 2)
        each = 1 - (1 - level) / (len(left) + len(missed))
        by_others = np.nextafter(outside[len(outside) - 1 - left], np.inf)
        by_members = inside[missed]
        tp = np.append(_at_or_above(inside, by_others), len(inside) - missed)
        fp = np.append(left, _at_or_above(outside, by_members))
        tpr_low, _ = clopper_pearson(tp, len(inside), each)
        _, fpr_high = clopper_pearson(fp, len(outside), each)
        return Points(tpr_low, fpr_high, np.append(by_others, by_members))


@dataclass(frozen=True, eq=False)
class Split(Threshold):
    """Chooses the best threshold on `fraction` of the scores, tests it alone on the others.

    Members and non-members are split apart, at random; the generator is advanced. Other
    generators give other bounds: to try several and keep the largest is the fault that this
    strategy is there to avoid.
    """

    fraction: float
    generator: np.random.Generator

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise InputError(
                f"fraction: expected a number between 0 and 1, got {self.fraction}; use 0.5"
            )

    def _halves(self, ranked: Float64Array) -> tuple[Float64Array, Float64Array]:
        cut = round(self.fraction * len(ranked))
        if cut in (0, len(ranked)):
            raise InputError(
                f"fraction: expected scores on both sides of the split, got {cut} of "
                f"{len(ranked)} to choose on; use 0.5 or more scores"
            )
        mixed = self.generator.permutation(ranked)
        return np.sort(mixed[:cut]), np.sort(mixed[cut:])

    def points(
        self, inside: Float64Array, outside: Float64Array, level: float, worth: Worth
    ) -> Points:
        choose_in, test_in = self._halves(inside)
        choose_out, test_out = self._halves(outside)
        # By corrected bounds, though they need not hold here: the largest uncorrected one is mostly
        # luck far out in the tail, which the other scores do not repeat.
        tried = Bonferroni(128).points(choose_in, choose_out, level, worth)
        best = int(np.argmax(worth(tried.tpr_low, tried.fpr_high)))
        return _at(test_in, test_out, tried.threshold[best : best + 1], level)
