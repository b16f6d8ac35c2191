"""What the accountant of a run under DP-SGD allows on the plane, beside what was measured there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.array_types import Float64Array
from seepage.epsilon import dp_sgd
from seepage.errors import InputError
from seepage.short_repr import short_repr

__all__ = ["AT", "AccountantFinding", "accountant_finding", "spent_most"]

AT = (0.001, 0.01, 0.1)
"""False-positive rates at which the largest TPR is told."""


@short_repr
@dataclass(frozen=True, eq=False)
class AccountantFinding:
    """The trade-off curve of noise σ, rate q and T steps: no attack on a record lies above it.

    fpr, tpr (P,): the curve, empty where it could not be had, which `missing` explains. at: the largest
    TPR at each FPR of `AT`; advantage: the largest TPR − FPR. epsilon at delta: what the run says it
    spent. holds, why_not: whether that is a guarantee (`seepage.defenses.DPSGD`). above: points of the
    plane above the curve at the last checkpoint; null_above: the same under permuted membership.
    """

    noise: float
    rate: float
    steps: int
    epsilon: float
    delta: float
    holds: bool
    why_not: str
    fpr: Float64Array
    tpr: Float64Array
    at: tuple[float, ...]
    advantage: float
    above: int = 0
    null_above: int = 0
    missing: str = ""


def spent_most(run: Any) -> dict[str, Any] | None:
    """Facts of the usable run of a fleet that spent most; None where none was trained by DP-SGD."""
    records = getattr(run, "records", {})
    rows = np.asarray(getattr(run, "models", ())).tolist()
    facts = [(records.get(row) or {}).get("facts") or {} for row in rows]
    private = [f for f in facts if {"noise", "sampling_rate", "steps", "delta"} <= set(f)]
    if not private or len(private) < len(facts):
        return None
    return max(
        private, key=lambda f: (math.inf if f["epsilon"] is None else f["epsilon"], f["steps"])
    )


def accountant_finding(
    run: Any,
    measured: tuple[Float64Array, Float64Array],
    permuted: tuple[Float64Array, Float64Array],
) -> AccountantFinding | None:
    """The curve of the run of a fleet that spent most; None where one run was not under DP-SGD.

    measured, permuted: (fpr, tpr), each (N,), at the last checkpoint and under permuted membership.
    """
    f = spent_most(run)
    if f is None:
        return None
    fpr = np.concatenate([[0.0], np.geomspace(1e-6, 0.05, 120), np.linspace(0.05, 1, 96)[1:]])
    tpr, at, advantage, missing, above = np.zeros(0), (), float("nan"), "", [0, 0]
    try:
        curve = dp_sgd(float(f["noise"]), float(f["sampling_rate"]), int(f["steps"]))
        tpr, at = curve.tpr(fpr), tuple(curve.tpr(AT).tolist())
        advantage = curve.advantage
        for k, (x, y) in enumerate((measured, permuted)):
            seen = np.isfinite(x) & np.isfinite(y)
            above[k] = int((y[seen] > curve.tpr(x[seen]) + 1e-12).sum())
    except InputError as e:
        fpr, missing = np.zeros(0), str(e)
    return AccountantFinding(
        float(f["noise"]),
        float(f["sampling_rate"]),
        int(f["steps"]),
        math.inf if f["epsilon"] is None else float(f["epsilon"]),
        float(f["delta"]),
        bool(f["epsilon_holds"]),
        str(f.get("epsilon_why_not") or ""),
        fpr,
        tpr,
        at,
        advantage,
        above[0],
        above[1],
        missing,
    )
