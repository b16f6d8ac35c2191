"""ε from an attack's error rates over independent training runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array
from seepage.epsilon.thresholds import (
    Bonferroni,
    Chosen,
    Counted,
    Objective,
    Threshold,
    Values,
)
from seepage.epsilon.trade_off import gdp_epsilon
from seepage.errors import InputError
from seepage.given_arrays import given_floats, given_numbers
from seepage.metrics import EACH, Unit, clopper_pearson

__all__ = ["Bound", "check_level", "gdp", "multi_run", "multi_run_at", "said", "scored"]


@dataclass(frozen=True)
class Bound:
    """With probability at least `level`, the mechanism's ε at `delta` is not below `epsilon`.

    tpr_low, fpr_high, threshold: the operating point that gave it. method: how; inverted: by the rule
    that calls scores at or below the threshold members. mu: the lower bound on μ, of `gdp` only. trials: members and non-members scored. ceiling: the largest ε that so
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
    inverted: bool = False

    @property
    def at_ceiling(self) -> bool:
        """Whether no result could have given more."""
        return self.ceiling > 0 and self.epsilon >= self.ceiling * (1 - 1e-6)

    def __str__(self) -> str:
        return said(self.epsilon, self.mu, self.ceiling, self.at_ceiling, f"{self.trials} trials")


def said(epsilon: float, mu: float | None, ceiling: float, at_ceiling: bool, what: str) -> str:
    """A bound in words; where it has a μ, that is what always holds."""
    head = f"ε at least {epsilon:.2f}"
    if mu is not None:
        head = f"μ at least {mu:.2f}, and if the mechanism is Gaussian {head}"
    most = f"{what} can show"
    return (
        f"{head} (the most that {most})" if at_ceiling else f"{head} ({most} at most {ceiling:.2f})"
    )


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
    """What holds at the level, the largest possible value, by which rule, and the trials."""

    chosen: Chosen
    ceiling: float
    inverted: bool
    method: str
    trials: int

    @property
    def value(self) -> float:
        return max(0.0, self.chosen.value)


def _best(
    scores: ArrayLike,
    member: ArrayLike,
    level: float,
    threshold: Threshold | None,
    objective: Objective,
    unit: Unit,
    inverted: bool,
) -> _Best:
    s, y = scored(scores, member, unit)
    n_in = int(y.sum())
    if n_in in (0, len(y)):
        raise InputError(
            f"member: expected members and non-members, got {n_in} of {len(y)} True; "
            "a bound needs trials of both"
        )
    strategy = Bonferroni() if threshold is None else threshold
    # Two rules, each with half of the error that is allowed.
    each = 1 - (1 - level) / 2 if inverted else level
    chosen = strategy.choose(np.sort(s[y]), np.sort(s[~y]), each, objective)
    found = chosen, False
    if inverted:
        other = strategy.mirrored().choose(np.sort(-s[y]), np.sort(-s[~y]), each, objective)
        if other.value > chosen.value:
            found = other._replace(threshold=-other.threshold), True
    best_case = objective(strategy.best_case(n_in, len(y) - n_in, each))
    ceiling = max(0.0, float(best_case.value[0]))
    return _Best(found[0], ceiling, found[1], type(strategy).__name__, len(y))


def multi_run_at(at: Counted, delta: float) -> float:
    """The bound of `multi_run` from counts alone."""
    return max(0.0, float(_least_epsilon(delta)(at).value.max()))


def _least_epsilon(delta: float) -> Objective:
    def objective(at: Counted) -> Values:
        tpr, _ = clopper_pearson(at.right, at.n_in, at.level)
        _, fpr = clopper_pearson(at.wrong, at.n_out, at.level)
        here, there = _log_ratio(tpr - delta, fpr), _log_ratio(1 - fpr - delta, 1 - tpr)
        return Values(np.asarray(np.maximum(here, there)), tpr, fpr)

    return objective


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
    inverted: bool = False,
) -> Bound:
    """Lower bound on ε from attack scores of independent trials, by Clopper-Pearson.

    ε ≥ max{log((TPR⁻ − δ)/FPR⁺), log((1 − FPR⁺ − δ)/(1 − TPR⁻)), 0}

    with TPR⁻ and FPR⁺ the lower and upper bound of the rates, each at (1 − level)/2. scores (n,)
    float, higher = more likely a member; member (n,) bool. threshold: `Bonferroni()` (default),
    `Split(...)`, `MultiSplit(...)` or `Explicit(t)`, which correct for choosing the threshold on the
    scores at hand; the arg-max of uncorrected bounds has no confidence level and is not offered.
    inverted: also try the rule that calls *low* scores members, for attacks whose orientation is not
    known beforehand; each of the two rules then has half of the error. unit: with
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

    best = _best(scores, member, level, threshold, _least_epsilon(delta), unit, inverted)
    return Bound(
        best.value, level, delta, *best.chosen[1:], best.method, best.trials, best.ceiling,
        inverted=best.inverted,
    )  # fmt: skip


def gdp(
    scores: ArrayLike,
    member: ArrayLike,
    *,
    delta: float = 1e-5,
    level: float = 0.95,
    threshold: Threshold | None = None,
    unit: Unit = EACH,
    inverted: bool = False,
) -> Bound:
    """Lower bound on μ of a Gaussian mechanism, and the ε(δ) that follows from it.

    μ ≥ min {Φ⁻¹(TPR) − Φ⁻¹(FPR)} over all rates that the counts do not refute, clipped at 0: those
    with P[Bin(n_out, FPR) ≤ false positives] · P[Bin(n_in, TPR) ≥ true positives] > k, where k(1 −
    log k) = 1 − level (Fisher's method for two independent tests). ε is the root of δ = Φ(−ε/μ +
    μ/2) − e^ε Φ(−ε/μ − μ/2). `tpr_low` and `fpr_high` of the result are the rates at the minimum.
    Arguments, trials and failures as in `multi_run`.

    The bound on μ needs no assumption on the mechanism: it says that no μ-GDP with a smaller μ
    holds. The ε does: it is a bound only if the mechanism is *exactly* as private as some Gaussian
    one (DP-SGD under composition nearly is). Otherwise it extrapolates from the measured rates to a
    δ that no trial reached. Source: Nasr et al., arXiv 2302.07956 (reconstruction of the estimator
    from its formula; the region by Fisher's method is ours, and smaller where it matters than the
    rectangle of two Clopper-Pearson bounds); Dong, Roth and Su, arXiv 1905.02383.

    >>> from seepage.epsilon import Explicit
    >>> scores = np.repeat([1.0, 0.0], 500)
    >>> bound = gdp(scores, scores > 0, threshold=Explicit(0.5))
    >>> round(bound.mu, 3), round(bound.epsilon, 2)
    (5.182, 34.8)
    """
    check_level(level, delta)
    best = _best(scores, member, level, threshold, _least_mu, unit, inverted)
    epsilon, ceiling = (gdp_epsilon(mu, delta) for mu in (best.value, best.ceiling))
    return Bound(
        epsilon, level, delta, *best.chosen[1:], best.method, best.trials, ceiling,
        mu=best.value, inverted=best.inverted,
    )  # fmt: skip


_CELLS = 96


def _least_mu(at: Counted) -> Values:
    """The smallest Φ⁻¹(TPR) − Φ⁻¹(FPR) in the region of each point, a hair too small.

    The region's edge is followed in cells; of each its own worst corner counts.
    """
    k = float(np.exp(-scipy.stats.chi2.isf(1 - at.level, 4) / 2))
    share = np.geomspace(k, 1, _CELLS + 1)
    right, wrong = at.right[:, None].astype(np.float64), at.wrong[:, None].astype(np.float64)
    # Where everything or nothing was called a member, no rate on that side is refuted.
    fpr = scipy.special.betainccinv(wrong + 1, np.maximum(at.n_out - wrong, 1), share[:-1])
    fpr = np.where(wrong < at.n_out, fpr, 1.0)
    tpr = scipy.special.betaincinv(np.maximum(right, 1), at.n_in - right + 1, k / share[1:])
    tpr = np.where(right > 0, tpr, 0.0)
    with np.errstate(invalid="ignore"):
        mu = np.nan_to_num(scipy.special.ndtri(tpr) - scipy.special.ndtri(fpr), nan=-np.inf)
    least = np.argmin(mu, axis=1)[:, None]
    return Values(*(np.take_along_axis(v, least, axis=1)[:, 0] for v in (mu, tpr, fpr)))
