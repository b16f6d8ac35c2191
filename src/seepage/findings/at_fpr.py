"""One true-positive rate at a demanded false-positive rate, with what it is read beside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seepage.metrics import PRIORS, Estimate, precision_interval

__all__ = ["AtFpr"]


@dataclass(frozen=True)
class AtFpr:
    """True-positive rate at one demanded false-positive rate.

    realised: the share of these non-members that passes the threshold; realised_low and
    realised_high, of a single target: the other two sides of the rectangle that holds both rates
    jointly. null: the rate at which new non-members pass it, and what the TPR would be without any
    leak. resolved: False where `negatives` non-members are too few for this rate (fewer than
    least/fpr − 1) or scores tie there; `tpr` is then NaN.
    """

    fpr: float
    tpr: Estimate
    realised: float
    null: float
    resolved: bool
    negatives: int
    realised_low: float = float("nan")
    realised_high: float = float("nan")
    least: int = 1

    @property
    def precisions(self) -> tuple[Estimate, ...]:
        """Share of true names under each of `seepage.metrics.PRIORS`; none where nothing is resolved.

        The FPR is the one to expect of new non-members, `null`; of a single target the interval is
        that of both rates jointly.
        """
        if not self.resolved:
            return ()
        joint = np.isfinite([self.realised_low, self.realised_high]).all()
        ends = {"fpr_low": self.realised_low, "fpr_high": self.realised_high} if joint else {}
        return tuple(precision_interval(self.tpr, self.null, p, **ends) for p in PRIORS)

    @property
    def unresolved(self) -> str:
        """Why there is no figure, in words; empty where there is one."""
        if self.resolved:
            return ""
        if self.fpr * (self.negatives + 1) < self.least - 1e-9:
            return f"cannot be resolved with {self.negatives:,} non-members"
        return f"cannot be resolved: scores tie at this rate ({self.negatives:,} non-members)"
