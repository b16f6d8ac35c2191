"""The tail of losses of a run: what one model tells of how much LiRA finds, without references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.findings.at_fpr import AtFpr
from seepage.findings.judging import ENOUGH, Judging
from seepage.metrics import Estimate, operating_points, over_targets
from seepage.metrics.tail import tail_estimate

__all__ = ["RATE", "TailFinding", "loss_of", "tail_finding", "tail_of"]

RATE = 0.01


@dataclass(frozen=True)
class TailFinding:
    """The loss attack's TNR where it misses a share `rate` of members, an estimate of LiRA's TPR.

    tnr: mean over targets, or of the one model. lira: the TPR that LiRA reaches at that FPR, where it
    was run.
    """

    rate: float
    tnr: Estimate
    lira: Estimate | None = None

    @property
    def words(self) -> str:
        """The estimate in two sentences, and what it is not."""
        e = self.tnr
        text = (
            f"The tail of losses: {100 * e.mean:.2f} % [{100 * e.low:.2f}, {100 * e.high:.2f}] of non-members "
            f"have a loss that {100 * self.rate:g} % of members exceed; without a leak it is "
            f"{100 * self.rate:g} %. It estimates LiRA's TPR at {100 * self.rate:g} % FPR without any "
            "reference: an estimate and no bound (a reconstruction of arXiv 2510.19773)"
        )
        if self.lira is None or not np.isfinite(self.lira.mean):
            return f"{text}."
        m = self.lira
        return (
            f"{text}; measured with references, LiRA reaches {100 * m.mean:.2f} % "
            f"[{100 * m.low:.2f}, {100 * m.high:.2f}]."
        )


def loss_of(source: Any, t: int) -> Any:
    """Losses, or the size of residuals, at a checkpoint, view 0: (R, N); None where none was recorded."""
    for name in ("loss", "phi", "residual"):
        if name in source.signals:
            values = np.asarray(source.signal_at(name, t), dtype=np.float64)
            values = values[..., 0] if values.ndim == 3 else values
            # log(1 + e^−φ) = −log p, which orders as −φ does.
            return {"phi": -values, "residual": np.abs(values)}.get(name, values)
    return None


def tail_of(run: Any, judging: Judging, *, t: int = -1, rate: float = RATE) -> Estimate | None:
    """The TNR of a run's models, mean over targets, or of the fixed target; None where unresolved.

    run: what `judging` counts. Fewer than 5/rate members of a target do not resolve it, as for TPRs;
    of a single target fewer than 1/rate − 1.
    """
    loss = loss_of(run, range(len(run.checkpoints))[t])
    if loss is None:
        return None
    s, y = judging.compared(loss)
    if judging.target is not None:
        one = tail_estimate(s[0], y[0], rate)
        return one if np.isfinite(one.mean) else None
    if rate * (y.sum(axis=1).min() + 1) < ENOUGH - 1e-9:
        return None
    each = operating_points(s, ~y, [rate])
    if not np.isfinite(each.tpr).all():
        return None
    # No model is a reference of another.
    return over_targets(each.tpr[:, 0], judging.member, shared=False)


def tail_finding(run: Any, judging: Judging, lira: AtFpr | None) -> TailFinding | None:
    """What a report shows, with what LiRA reaches at the same rate."""
    found = tail_of(run, judging)
    if found is None:
        return None
    known = lira is not None and lira.resolved and abs(lira.fpr - RATE) < 1e-12
    return TailFinding(RATE, found, lira.tpr if lira is not None and known else None)
