"""ε from an attack's error rates over independent training runs.

A bound at a threshold that was chosen because it gives the largest bound does not hold at its
nominal level. Each `Threshold` corrects for the choice and gives operating points whose one-sided
bounds hold *simultaneously* with probability at least `level`; so does the largest ε over them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.epsilon.trade_off import gdp_epsilon
from seepage.errors import InputError
from seepage.given_arrays import given_floats, given_numbers
from seepage.metrics import EACH, Unit, clopper_pearson
from seepage.short_repr import short_repr

__all__ = [
    "Bonferroni",
    "Bound",
    "Explicit",
    "Objective",
    "OperatingPoints",
    "Split",
    "Threshold",
    "gdp",
    "multi_run",
]

Objective = Callable[[Float64Array, Float64Array], Float64Array]


"""(tpr_low, fpr_high) -> the value to maximise; only `Split` uses it to choose."""


@short_repr
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

    def best_case(self, n_in: int, n_out: int, level: float) -> tuple[float, float]:
        """(tpr_low, fpr_high) if all n_in members and n_out non-members are told apart.

        What the ceiling of a bound is made of; without an override that of one fixed threshold,
        which no correction can exceed.
        """
        tpr_low, _ = clopper_pearson(n_in, n_in, level)
        _, fpr_high = clopper_pearson(0, n_out, level)
        return float(tpr_low), float(fpr_high)


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
        left, missed, each = self._tried(len(inside), len(outside), level)
        by_others = np.nextafter(outside[len(outside) - 1 - left], np.inf)
        by_members = inside[missed]
        tp = np.append(_at_or_above(inside, by_others), len(inside) - missed)
        fp = np.append(left, _at_or_above(outside, by_members))
        tpr_low, _ = clopper_pearson(tp, len(inside), each)
        _, fpr_high = clopper_pearson(fp, len(outside), each)
        return OperatingPoints(tpr_low, fpr_high, np.append(by_others, by_members))

    def best_case(self, n_in: int, n_out: int, level: float) -> tuple[float, float]:
        return super().best_case(n_in, n_out, self._tried(n_in, n_out, level)[2])

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

    def best_case(self, n_in: int, n_out: int, level: float) -> tuple[float, float]:
        held = [n - round(self.fraction * n) for n in (n_in, n_out)]
        return super().best_case(held[0], held[1], level)


@dataclass(frozen=True)
class Bound:
    """With probability at least `level`, the mechanism's ε at `delta` is not below `epsilon`.

    tpr_low, fpr_high, threshold: the operating point that gave it. method: how. mu: the lower
    bound on μ, of `gdp` only. trials: members and non-members scored. ceiling: the largest ε that so
    many trials can give at this level, when all are told apart; a bound there (`at_ceiling`) says
    how many trials there were and not how large the leak is.
    """

    epsilon: float
    level: float
    delta: float
    tpr_low: float
    fpr_high: float
    threshold: float
    method: str
    trials: int
    ceiling: float
    mu: float | None = None

    @property
    def at_ceiling(self) -> bool:
        """Whether no result could have given more."""
        return self.ceiling > 0 and self.epsilon >= self.ceiling * (1 - 1e-6)

    def __str__(self) -> str:
        most = f"{self.trials} trials can show"
        if self.at_ceiling:
            return f"ε at least {self.epsilon:.2f} (the most that {most})"
        return f"ε at least {self.epsilon:.2f} ({most} at most {self.ceiling:.2f})"


def check_level(level: float, delta: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"level: expected a number between 0 and 1, got {level}; use 0.95")
    if not 0 <= delta < 1:
        raise InputError(f"delta: expected a number in [0, 1), got {delta}; use 0 or 1e-5")


def scored(
    scores: ArrayLike, member: ArrayLike, unit: Unit = EACH
) -> tuple[Float64Array, BoolArray]:
    """The scores (n,) as float64 and their membership (n,), checked; of subjects summed."""
    s, y = given_floats(scores, "scores"), given_numbers(member, "member")
    if s.ndim == 2:
        raise InputError(
            f"scores: expected one trial each (n,), got shape {s.shape}: targets share their "
            "references, so pooled they are not independent trials; pass one sample over targets "
            "scores[:, i] or one target scores[r]"
        )
    if s.ndim != 1 or y.shape != s.shape or y.dtype != np.bool_:
        raise InputError(
            f"scores, member: expected floats and bools of one shape (n,), got {s.shape} and "
            f"{y.dtype} of shape {y.shape}; pass one bool per score"
        )
    if not np.isfinite(s).all():
        raise InputError(
            f"scores: expected finite numbers, got {int((~np.isfinite(s)).sum())} others; "
            "leave those trials out"
        )
    return np.asarray(unit.scores(s), dtype=np.float64), np.asarray(unit.member(y))


class _Best(NamedTuple):
    """The largest value, the largest possible one, (tpr_low, fpr_high, threshold), how, trials."""

    value: float
    ceiling: float
    at: tuple[float, float, float]
    method: str
    trials: int


def _best(
    scores: ArrayLike,
    member: ArrayLike,
    level: float,
    threshold: Threshold | None,
    objective: Objective,
    unit: Unit,
) -> _Best:
    s, y = scored(scores, member, unit)
    n_in = int(y.sum())
    if n_in in (0, len(y)):
        raise InputError(
            f"member: expected members and non-members, got {n_in} of {len(y)} True; "
            "a bound needs trials of both"
        )
    strategy = Bonferroni() if threshold is None else threshold
    points = strategy.points(np.sort(s[y]), np.sort(s[~y]), level, objective)
    value = objective(points.tpr_low, points.fpr_high)
    i = int(np.argmax(value))
    tpr, fpr = (np.array([v]) for v in strategy.best_case(n_in, len(y) - n_in, level))
    return _Best(
        max(0.0, float(value[i])),
        max(0.0, float(objective(tpr, fpr)[0])),
        (float(points.tpr_low[i]), float(points.fpr_high[i]), float(points.threshold[i])),
        type(strategy).__name__,
        len(y),
    )


def _log_ratio(top: Float64Array, bottom: Float64Array) -> Float64Array:
    out = np.full(np.shape(top), -np.inf)
    np.log(top / bottom, out=out, where=top > 0)
    return out


def multi_run(
    scores: ArrayLike,
    member: ArrayLike,
    *,
    delta: float = 0.0,
    level: float = 0.95,
    threshold: Threshold | None = None,
    unit: Unit = EACH,
) -> Bound:
    """Lower bound on ε from attack scores of independent trials, by Clopper-Pearson.

    ε ≥ max{log((TPR⁻ − δ)/FPR⁺), log((1 − FPR⁺ − δ)/(1 − TPR⁻)), 0}

    with TPR⁻ and FPR⁺ the lower and upper bound of the rates, each at (1 − level)/2. scores (n,)
    float, higher = more likely a member; member (n,) bool. threshold: `Bonferroni()` (default),
    `Split(...)` or `Explicit(t)`, which correct for choosing the threshold on the scores at hand;
    the arg-max of uncorrected bounds has no confidence level and is not offered. unit: with
    `Subjects(groups)` a subject is one trial, its scores are summed, and the bound is on the ε of
    adding or removing a *subject*, all its records at once, which is no smaller than that of a record.

    Assumes that the n trials are independent: one sample (a canary), n models, each trained from
    scratch on random subsets with or without it, scored by an attack that knows nothing of the
    target's membership. In these cases it is **no valid confidence statement**:

    - Scores pooled over leave-one-out targets: the targets are each other's references. A matrix
      is refused. Pass one sample over targets, `scores[:, i]`, which is exact when the references
      are held apart from the targets and targets are drawn independently (of complementary pairs
      take one run each), and approximate otherwise; or one target, `scores[r]`.
    - One target's row: its samples share one model. The bound then holds for the rates over
      samples like these under that model, not for the mechanism. For one model use `one_run`.
    - Every sample IN equally often among runs in no complementary tuple: the count of IN
      references then reveals the target's membership (`seepage.attacks` warns of such plans).

    It is far below the truth for few trials: without a false positive in n non-members FPR⁺ is
    about 3.7/n, so that ε stays below log(n/3.7); the result's `ceiling` is the exact limit. Raises InputError for shapes, non-finite scores,
    one-sided membership, level or delta out of range. Source: Jagielski, Ullman and Oprea, arXiv
    2006.07709; the corrections of the choice are ours.

    >>> from seepage.epsilon import Explicit
    >>> scores = np.repeat([1.0, 0.0], 500)
    >>> bound = multi_run(scores, scores > 0, threshold=Explicit(0.5))
    >>> round(bound.epsilon, 3), round(bound.fpr_high, 5), bound.method
    (4.906, 0.00735, 'Explicit')
    """
    check_level(level, delta)

    def objective(tpr: Float64Array, fpr: Float64Array) -> Float64Array:
        here, there = _log_ratio(tpr - delta, fpr), _log_ratio(1 - fpr - delta, 1 - tpr)
        return np.asarray(np.maximum(here, there))

    best = _best(scores, member, level, threshold, objective, unit)
    return Bound(best.value, level, delta, *best.at, best.method, best.trials, best.ceiling)


def gdp(
    scores: ArrayLike,
    member: ArrayLike,
    *,
    delta: float = 1e-5,
    level: float = 0.95,
    threshold: Threshold | None = None,
    unit: Unit = EACH,
) -> Bound:
    """Lower bound on μ of a Gaussian mechanism, and the ε(δ) that follows from it.

    μ ≥ Φ⁻¹(1 − FPR⁺) − Φ⁻¹(1 − TPR⁻), clipped at 0; ε is the root of δ = Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ
    − μ/2). Arguments, trials and failures as in `multi_run`.

    The bound on μ needs no assumption on the mechanism: it says that no μ-GDP with a smaller μ
    holds. The ε does: it is a bound only if the mechanism is *exactly* as private as some Gaussian
    one (DP-SGD under composition nearly is). Otherwise it extrapolates from the measured rates to a
    δ that no trial reached. Source: Nasr et al., arXiv 2302.07956 (reconstruction of the estimator
    from its formula); Dong, Roth and Su, arXiv 1905.02383.

    >>> from seepage.epsilon import Explicit
    >>> scores = np.repeat([1.0, 0.0], 500)
    >>> bound = gdp(scores, scores > 0, threshold=Explicit(0.5))
    >>> round(bound.mu, 3), round(bound.epsilon, 2)
    (4.879, 32.0)
    """
    check_level(level, delta)

    def objective(tpr: Float64Array, fpr: Float64Array) -> Float64Array:
        return np.asarray(special.ndtri(tpr) - special.ndtri(fpr), np.float64)

    best = _best(scores, member, level, threshold, objective, unit)
    epsilon, ceiling = (gdp_epsilon(mu, delta) for mu in (best.value, best.ceiling))
    return Bound(epsilon, level, delta, *best.at, best.method, best.trials, ceiling, mu=best.value)
