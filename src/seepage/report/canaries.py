"""The report's section on canaries among texts: a row for each kind and number of repeats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from seepage.findings.canaries import CanaryFinding, canary_rows
from seepage.findings.clock import Clock

__all__ = ["canary_values"]


def canary_values(f: CanaryFinding, clock: Clock) -> Mapping[str, Any]:
    """What the section's template reads."""
    times = [f"{t:g}" for t in f.checkpoints.tolist()]
    over = [
        (f"{g.kind}, {g.repeats}×", [f"{b:.2f}" if np.isfinite(b) else "–" for b in g.held.mean])
        for g in f.groups
    ]
    return {
        "c": f,
        "rows": canary_rows(f),
        "times": times,
        "over": over,
        "clock": clock.unit,
    }
