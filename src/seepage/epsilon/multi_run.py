"""ε from an attack's error rates over independent training runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from seepage.array_types import BoolArray, Float64Array
from seepage.epsilon.thresholds import Bonferroni, Objective, Threshold
from seepage.epsilon.trade_off import gdp_epsilon
from seepage.errors import InputError

__all__ = ["Bound", "gdp", "multi_run"]


@dataclass(frozen=True)
class Bound:
    """With probability at least `level`, the mechanism's ε at `delta` is not below `epsilon`.

    tpr_low, fpr_high, threshold: the operating point that gave it. method: how. mu: the lower
    bound on μ, of `gdp` only.
    """

    epsilon: float
    level: float
    delta: float
    tpr_low: float
    fpr_high: float
    threshold: float
    method: str
    mu: float | None = None


def check_level(level: float, delta: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"level: expected a number between 0 and 1, got {level}; use 0.95")
    if not 0 <= delta < 1:
        raise InputError(f"delta: expected a number in [0, 1), got {delta}; use 0 or 1e-5")


def scored(scores: ArrayLike, member: ArrayLike) -> tuple[Float64Array, BoolArray]:
    """The scores (n,) as float64 and their membership (n,), checked."""
    s, y = np.asarray(scores, np.float64), np.asarray(member)
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
    return s, y


def _best(
    scores: ArrayLike,
    member: ArrayLike,
    level: float,
    threshold: Threshold | None,
    objective: Objective,
) -> tuple[float, float, float, float, str]:
    s, y = scored(scores, member)
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
    return (
        max(0.0, float(value[i])),
        float(points.tpr_low[i]),
        float(points.fpr_high[i]),
        float(points.threshold[i]),
        type(strategy).__name__,
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
) -> Bound:
    """Lower bound on ε from attack scores of independent trials, by Clopper-Pearson.

    ε ≥ max{log((TPR⁻ − δ)/FPR⁺), log((1 − FPR⁺ − δ)/(1 − TPR⁻)), 0}

    with TPR⁻ and FPR⁺ the lower and upper bound of the rates, each at (1 − level)/2. scores (n,)
    float, higher = more likely a member; member (n,) bool. threshold: `Bonferroni()` (default),
    `Split(...)` or `Explicit(t)`, which correct for choosing the threshold on the scores at hand;
    the arg-max of uncorrected bounds has no confidence level and is not offered.

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
    about 3.7/n, so that ε stays below log(n/3.7). Raises InputError for shapes, non-finite scores,
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

    epsilon, tpr_low, fpr_high, at, method = _best(scores, member, level, threshold, objective)
    return Bound(epsilon, level, delta, tpr_low, fpr_high, at, method)


def gdp(
    scores: ArrayLike,
    member: ArrayLike,
    *,
    delta: float = 1e-5,
    level: float = 0.95,
    threshold: Threshold | None = None,
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

    mu, tpr_low, fpr_high, at, method = _best(scores, member, level, threshold, objective)
    return Bound(gdp_epsilon(mu, delta), level, delta, tpr_low, fpr_high, at, method, mu)
