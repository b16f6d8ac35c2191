"""Which indicator ranks layers as an attack does, compared with their depth and width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from seepage.array_types import Float64Array
from seepage.study.layers.claims import ATTACKS, CHANGES, agree, change, grouped, rank_sum
from seepage.study.layers.permute import Rho, layer_agreement
from seepage.study.layers.plan import DOF, RANKS
from seepage.study.layers.results import Found

__all__ = [
    "DEFAULTS",
    "beyond_depth",
    "hidden_alone",
    "indicators",
    "ranking",
]

Indicator = Callable[[Mapping[str, Any]], Float64Array]

BOTH = "rank sum of k95 and rank_1e2 at the end"
DEFAULTS = ("mcr of k95", "reduction of k95", BOTH)
"""What A4, A5 and A6 are judged by."""


def indicators() -> dict[str, Indicator]:
    """Everything that could rank layers: depth, width, values at the end, changes."""

    def last(name: str) -> Indicator:
        return lambda r: np.array(r["series"][name][-1], dtype=np.float64)

    out: dict[str, Indicator] = {
        "depth": lambda r: np.arange(len(r["layers"]), dtype=np.float64),
        "width": lambda r: np.array(r["width"], dtype=np.float64),
        BOTH: rank_sum("k95", "rank_1e2"),
    }
    for m in (*DOF, *RANKS):
        out[f"{m} at the end"] = last(m)
        out |= {f"{v} of {m}": change(m, v) for v in (*CHANGES, "reduction", "fall", "cv_rise")}
    return out


def ranking(found: Found, attacks: Sequence[str] = ATTACKS) -> list[tuple[str, dict[str, Rho]]]:
    """(indicator, attack -> ρ), the indicator that ranks layers best by the first attack first."""
    rows = [(name, {a: agree(found, f, a) for a in attacks}) for name, f in indicators().items()]

    def order(row: tuple[str, dict[str, Rho]]) -> float:
        value = row[1][attacks[0]].value
        return -abs(value) if math.isfinite(value) else 1.0

    return sorted(rows, key=order)


def beyond_depth(found: Found, indicator: Indicator, attack: str) -> Rho:
    """ρ of what is left of both rankings once the place of a layer is taken out.

    Within each unit ranks are centred and regressed on depth; the residuals are ranked no further,
    so that this is Spearman's partial correlation pooled over units; p by permuting the residuals'
    layers, one order for all units of an architecture.
    """
    pairs = {}
    for name, (a, b) in grouped(found, indicator, attack).items():
        depth = np.arange(a.shape[1], dtype=np.float64)
        pairs[name] = (_left(a, depth), _left(b, depth))
    return layer_agreement(pairs, ranked=False)


def hidden_alone(found: Found, indicator: Indicator, attack: str) -> Rho:
    """ρ over hidden layers: the logits, few and close to the loss, may carry an agreement alone."""
    pairs = grouped(found, indicator, attack)
    return layer_agreement({k: (a[:, :-1], b[:, :-1]) for k, (a, b) in pairs.items()})


def _left(values: Float64Array, depth: Float64Array) -> Float64Array:
    """Residuals of the ranks within each row after a straight line in depth."""
    ranks = np.asarray(rankdata(values, axis=1), dtype=np.float64)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    line = depth - depth.mean()
    slope = ranks @ line / (line @ line)
    left: Float64Array = ranks - slope[:, None] * line
    # A ranking that is depth itself leaves rounding, which is nothing.
    left[np.abs(left) < 1e-9] = 0.0
    return left
