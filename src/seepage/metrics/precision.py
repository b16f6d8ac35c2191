"""Precision: of those that an attack calls members, how many are, given how many there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import Float64Array
from seepage.errors import InputError
from seepage.given_arrays import given_floats, of_one_shape
from seepage.metrics.intervals import Estimate

__all__ = ["PRIORS", "precision", "precision_interval"]

PRIORS = (0.5, 0.1, 0.01)
"""Shares of members among the candidates under which precision is shown."""


def precision(tpr: ArrayLike, fpr: ArrayLike, prior: ArrayLike) -> Float64Array:
    """Share of true names among all names, the positive predictive value.

        PPV = π TPR / (π TPR + (1 − π) FPR)

    tpr, fpr: rates of the rule; prior π: share of members among the candidates it is applied to; any
    shapes that broadcast. An AUC or a TPR is about one member and one non-member, which is π = ½; where
    members are rare most names are wrong unless the FPR is far below π. NaN where nobody is called a
    member (TPR = FPR = 0). Assumes that members and non-members among the candidates are like those
    whose rates were measured.

    Raises InputError for values outside [0, 1] and shapes that do not broadcast.

    >>> precision(0.5, 0.01, [0.5, 0.1, 0.01]).round(3).tolist()
    [0.98, 0.847, 0.336]
    """
    t, f, p = (_share(v, n) for v, n in ((tpr, "tpr"), (fpr, "fpr"), (prior, "prior")))
    t, f, p = of_one_shape(t, f, p, what="tpr, fpr, prior")
    true, false = p * t, (1 - p) * f
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(true / (true + false), dtype=np.float64)


def precision_interval(
    tpr: Estimate,
    fpr: float,
    prior: float,
    *,
    fpr_low: float | None = None,
    fpr_high: float | None = None,
) -> Estimate:
    """`precision` with the interval that the rates' intervals give.

    low = PPV(TPR low, FPR high), high = PPV(TPR high, FPR low): PPV rises with the TPR and falls with
    the FPR, so that it lies there whenever both rates lie in their intervals. fpr_low, fpr_high: of
    rates that hold jointly (`seepage.metrics.joint_rates`), whose level is then that of the result;
    without them the FPR is the one to expect of a further non-member (`null` of `tpr_at_fpr`) and
    the level that of the TPR. Where nobody is called a member at an end, that end is 0 or 1.

    >>> e = precision_interval(Estimate(0.5, 0.4, 0.6, 0.95, 8), 0.01, 0.01)
    >>> [round(v, 3) for v in (e.low, e.mean, e.high)]
    [0.288, 0.336, 0.377]
    """
    low_f = fpr if fpr_low is None else fpr_low
    high_f = fpr if fpr_high is None else fpr_high
    mean = float(precision(tpr.mean, fpr, prior)) if np.isfinite(tpr.mean) else float("nan")
    low = high = float("nan")
    if np.isfinite([tpr.low, tpr.high]).all():
        low, high = (
            float(precision(t, f, prior)) for t, f in ((tpr.low, high_f), (tpr.high, low_f))
        )
        low, high = (0.0 if np.isnan(low) else low), (1.0 if np.isnan(high) else high)
    return Estimate(mean, low, high, tpr.level, tpr.groups)


def _share(values: ArrayLike, name: str) -> Float64Array:
    out = given_floats(values, name)
    if not ((out >= 0) & (out <= 1)).all():
        raise InputError(
            f"{name}: expected values in 0..1, got {float(out[~((out >= 0) & (out <= 1))].flat[0])!r}; 0.01 is 1 %"
        )
    return out
