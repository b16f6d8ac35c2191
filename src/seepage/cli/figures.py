"""Figures as tables and lines of commands show them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seepage.findings.at_fpr import AtFpr
    from seepage.metrics import Estimate

__all__ = ["interval", "rate"]


def interval(e: Estimate) -> str:
    """A figure with its interval, or without where there is none."""
    if not math.isfinite(e.low):
        return f"{e.mean:.4f} (no interval)"
    return f"{e.mean:.4f} [{e.low:.4f}, {e.high:.4f}]".replace("[", "\\[")


def rate(r: AtFpr) -> str:
    """A true-positive rate with its interval, its null and the false-positive rate that was reached."""
    if not r.resolved:
        return r.unresolved
    reached = f"FPR {r.realised:.5f}"
    if math.isfinite(r.realised_low):
        reached += f" \\[{r.realised_low:.5f}, {r.realised_high:.5f}]"
    return f"{interval(r.tpr)}\nnoise {r.null:.5f}, {reached}"
