"""Where a multi-run bound cuts the scores: thresholds whose choice is paid for.

A bound at a threshold that was chosen because it gives the largest bound does not hold at its
nominal level. Each `Threshold` corrects for the choice, so that what it returns does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import Float64Array, Int64Array
from seepage.errors import InputError
from seepage.short_repr import short_repr

__all__ = [
    "Bonferroni",
    "Chosen",
    "Counted",
    "Explicit",
    "MultiSplit",
    "Objective",
    "Split",
    "Threshold",
    "Values",
]


@short_repr
@dataclass(frozen=True, eq=False)
class Counted:
    """Operating points (P,): so many of n_in members, of n_out others, at or above each threshold.

    level: at which each point is judged, so that all of them hold at the level asked for.
    """

    right: Int64Array
    wrong: Int64Array
    n_in: int
    n_out: int
    level: float
    threshold: Float64Array

    def counting(self, right: ArrayLike, wrong: ArrayLike) -> Counted:
        """The same trials and level with other counts (P,)."""
        r, w = np.asarray(right, np.int64), np.asarray(wrong, np.int64)
        return replace(self, right=r, wrong=w, threshold=np.zeros(len(r)))


class Values(NamedTuple):
    """Of each operating point (P,): a value that holds at its level, and the rates that give it."""

    value: Float64Array
    tpr_low: Float64Array
    fpr_high: Float64Array


Objective = Callable[[Counted], Values]
"""What is maximised over thresholds."""


class Chosen(NamedTuple):
    """The value that holds at the level, the rates that give it, and the threshold."""

    value: float
    tpr_low: float
    fpr_high: float
    threshold: float


class Threshold(ABC):
    """A way to choose thresholds; scores at or above one are called members."""

    @abstractmethod
    def choose(
        self, inside: Float64Array, outside: Float64Array, level: float, objective: Objective
    ) -> Chosen:
        """The largest value that holds; inside, outside: scores of members, of others, ascending."""

    @abstractmethod
    def best_case(self, n_in: int, n_out: int, level: float) -> Counted:
        """The counts if all n_in members and n_out others are told apart, for the ceiling."""

    def mirrored(self) -> Threshold:
        """The same choice for scores whose sign was changed."""
        return self


def _at_or_above(ranked: Float64Array, threshold: Float64Array) -> Int64Array:
    return np.asarray(len(ranked) - np.searchsorted(ranked, threshold, "left"), np.int64)


def _at(
    inside: Float64Array, outside: Float64Array, threshold: Float64Array, level: float
) -> Counted:
    """At thresholds that do not depend on these scores; each point alone has the level."""
    right, wrong = _at_or_above(inside, threshold), _at_or_above(outside, threshold)
    return Counted(right, wrong, len(inside), len(outside), level, threshold)


def _apart(n_in: int, n_out: int, level: float) -> Counted:
    return Counted(np.array([n_in]), np.array([0]), n_in, n_out, level, np.zeros(1))


def _largest(points: Counted, objective: Objective) -> Chosen:
    found = objective(points)
    i = int(np.argmax(found.value))
    return Chosen(*(float(v[i]) for v in (*found, points.threshold)))


@dataclass(frozen=True)
class Explicit(Threshold):
    """A threshold fixed before these scores were seen (by an attack's rule, on other data)."""

    threshold: float

    def __post_init__(self) -> None:
        if np.isnan(self.threshold):
            raise InputError("threshold: expected a number, got nan; fix it before the scores")

    def choose(
        self, inside: Float64Array, outside: Float64Array, level: float, objective: Objective
    ) -> Chosen:
        at = np.array([self.threshold], np.float64)
        return _largest(_at(inside, outside, at, level), objective)

    def best_case(self, n_in: int, n_out: int, level: float) -> Counted:
        return _apart(n_in, n_out, level)

    def mirrored(self) -> Explicit:
        return Explicit(-self.threshold)


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

    def choose(
        self, inside: Float64Array, outside: Float64Array, level: float, objective: Objective
    ) -> Chosen:
        left, missed, each = self._tried(len(inside), len(outside), level)
        by_others = np.nextafter(outside[len(outside) - 1 - left], np.inf)
        by_members = inside[missed]
        right = np.append(_at_or_above(inside, by_others), len(inside) - missed)
        wrong = np.append(left, _at_or_above(outside, by_members))
        at = np.append(by_others, by_members)
        return _largest(Counted(right, wrong, len(inside), len(outside), each, at), objective)

    def best_case(self, n_in: int, n_out: int, level: float) -> Counted:
        return _apart(n_in, n_out, self._tried(n_in, n_out, level)[2])

    def _tried(self, n_in: int, n_out: int, level: float) -> tuple[Int64Array, Int64Array, float]:
        """Non-members left, members missed, and the level of each threshold."""
        left = _ranks(n_out, self.candidates // 2)
        missed = _ranks(n_in, self.candidates - self.candidates // 2)
        return left, missed, 1 - (1 - level) / (len(left) + len(missed))


@dataclass(frozen=True, eq=False)
class Split(Threshold):
    """Chooses the best threshold on `fraction` of the scores, tests it alone on the others.

    Members and non-members are split apart, at random; the generator is advanced. Other
    generators give other bounds: trying several and keeping the largest is the error that this
    strategy avoids; `MultiSplit` tries several and keeps the median, which is paid for.
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

    def choose(
        self, inside: Float64Array, outside: Float64Array, level: float, objective: Objective
    ) -> Chosen:
        choose_in, test_in = self._halves(inside)
        choose_out, test_out = self._halves(outside)
        # By strict bounds, though they need not hold here: the largest lax one mostly comes from
        # chance in the tail, which the other scores do not repeat.
        strict = 1 - (1 - level) / 100
        best = Bonferroni(128).choose(choose_in, choose_out, strict, objective)
        return Explicit(best.threshold).choose(test_in, test_out, level, objective)

    def best_case(self, n_in: int, n_out: int, level: float) -> Counted:
        held = [n - round(self.fraction * n) for n in (n_in, n_out)]
        return _apart(held[0], held[1], level)


@dataclass(frozen=True, eq=False)
class MultiSplit(Threshold):
    """The lower median of `splits` bounds by `Split`, each at level 1 − (1 − level)/2.

    Less is left to chance than in one split, at the price of the halved error. Were the lower
    median above the truth, at least half of the bounds would be; their expected share is at most
    (1 − level)/2, so by Markov's inequality that happens with probability at most 1 − level,
    although the splits share the scores.
    """

    splits: int
    fraction: float
    generator: np.random.Generator

    def __post_init__(self) -> None:
        if self.splits < 2:
            raise InputError(
                f"splits: expected at least 2, got {self.splits}; for one use Split, 25 is usual"
            )
        Split(self.fraction, self.generator)

    def choose(
        self, inside: Float64Array, outside: Float64Array, level: float, objective: Objective
    ) -> Chosen:
        one, each = Split(self.fraction, self.generator), 1 - (1 - level) / 2
        found = [one.choose(inside, outside, each, objective) for _ in range(self.splits)]
        return sorted(found)[(self.splits - 1) // 2]

    def best_case(self, n_in: int, n_out: int, level: float) -> Counted:
        one = Split(self.fraction, self.generator)
        return one.best_case(n_in, n_out, 1 - (1 - level) / 2)
