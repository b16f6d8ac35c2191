"""Choice of the threshold, with correction for the choice.

A bound at a threshold that was chosen because it gives the largest bound does not hold at its
nominal level. Each strategy here corrects for the choice and gives operating points whose one-sided
bounds hold *simultaneously* with probability at least `level`; so does the largest ε over them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seepage.array_types import Float64Array, Int64Array
from seepage.errors import InputError
from seepage.metrics import clopper_pearson

__all__ = ["Bonferroni", "Explicit", "Objective", "OperatingPoints", "Split", "Threshold"]

Objective = Callable[[Float64Array, Float64Array], Float64Array]
"""(tpr_low, fpr_high) -> the value to maximise; only `Split` uses it to choose."""


@dataclass(frozen=True, eq=False)
class OperatingPoints:
    """Operating points (P,): TPR ≥ tpr_low and FPR ≤ fpr_high at threshold, simultaneously."""

    tpr_low: Float64Array
    fpr_high: Float64Array
    threshold: Float64Array


class Threshold(ABC):
    """A way to choose thresholds; scores at or above one are called members."""

    @abstractmethod
    def points(
        self, inside: Float64Array, outside: Float64Array, level: float, objective: Objective
    ) -> OperatingPoints:
        """inside, outside: scores of members and of non-members, sorted ascending."""


def _at_or_above(ranked: Float64Array, threshold: Float64Array) -> Int64Array:
    return np.asarray(len(ranked) - np.searchsorted(ranked, threshold, "left"), np.int64)


def _at(
    inside: Float64Array, outside: Float64Array, threshold: Float64Array, level: float
) -> OperatingPoints:
    """At thresholds that do not depend on these scores; each point alone has the level."""
    tpr_low, _ = clopper_pearson(_at_or_above(inside, threshold), len(inside), level)
    _, fpr_high = clopper_pearson(_at_or_above(outside, threshold), len(outside), level)
    return OperatingPoints(tpr_low, fpr_high, threshold)


@dataclass(frozen=True)
class Explicit(Threshold):
    """A threshold fixed before these scores were seen (by an attack's rule, on other data)."""

    threshold: float

    def __post_init__(self) -> None:
        if np.isnan(self.threshold):
            raise InputError("threshold: expected a number, got nan; fix it before the scores")

    def points(
        self, inside: Float64Array, outside: Float64Array, level: float, objective: Objective
    ) -> OperatingPoints:
        return _at(inside, outside, np.array([self.threshold], np.float64), level)


def _ranks(n: int, many: int) -> Int64Array:
    """0, 1, 2, ... to n − 1 at increasing distances: determined by n alone."""
    return np.unique(np.rint(np.geomspace(1, n, many)).astype(np.int64)) - 1


@dataclass(frozen=True)
class Bonferroni(Threshold):
    """Tries about `candidates` thresholds and tests each at level 1 − (1 − level)/candidates.

    Half of them are set by the non-members: the lowest threshold that leaves k of them, for k = 0,
    1, 2, ... at increasing distances. Half are set by the members: the highest that misses j of
    them. The counts depend only on the number of scores. That a threshold is itself an order
    statistic does not invalidate the bound: if FPR(t) > u for some t with at most k false
    positives, the same holds at the largest t with FPR(t) > u, which is fixed, and the
    Clopper-Pearson u of k limits the probability of that; the other group's count is binomial given
    t. With ties the nominal k and j are used, which is conservative.
    """

    candidates: int = 32

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise InputError(
                f"candidates: expected at least 2, got {self.candidates}; for one use Explicit"
            )

    def points(
        self, inside: Float64Array, outside: Float64Array, level: float, objective: Objective
    ) -> OperatingPoints:
        left = _ranks(len(outside), self.candidates // 2)
        missed = _ranks(len(inside), self.candidates - self.candidates // 2)
        each = 1 - (1 - level) / (len(left) + len(missed))
        by_others = np.nextafter(outside[len(outside) - 1 - left], np.inf)
        by_members = inside[missed]
        tp = np.append(_at_or_above(inside, by_others), len(inside) - missed)
        fp = np.append(left, _at_or_above(outside, by_members))
        tpr_low, _ = clopper_pearson(tp, len(inside), each)
        _, fpr_high = clopper_pearson(fp, len(outside), each)
        return OperatingPoints(tpr_low, fpr_high, np.append(by_others, by_members))


@dataclass(frozen=True, eq=False)
class Split(Threshold):
    """Chooses the best threshold on `fraction` of the scores, tests it alone on the others.

    Members and non-members are split apart, at random; the generator is advanced. Other
    generators give other bounds: trying several and keeping the largest is the error that this
    strategy avoids.
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
        self, inside: Float64Array, outside: Float64Array, level: float, objective: Objective
    ) -> OperatingPoints:
        choose_in, test_in = self._halves(inside)
        choose_out, test_out = self._halves(outside)
        # By corrected bounds, though they need not hold here: the largest uncorrected one mostly
        # comes from chance in the tail, which the other scores do not repeat.
        tried = Bonferroni(128).points(choose_in, choose_out, level, objective)
        best = int(np.argmax(objective(tried.tpr_low, tried.fpr_high)))
        return _at(test_in, test_out, tried.threshold[best : best + 1], level)
