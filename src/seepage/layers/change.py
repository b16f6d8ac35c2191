"""How an indicator of a layer changes over training: change values, ratios and the two phases.

Huang et al. (arXiv 2412.00696) name a *change value* (CV) and a *modified change ratio* (MCR) of a
layer; neither formula was available, nor whether they are taken on DoF, on the Jacobian's rank or
on both. All variants here are therefore **reconstructions**, each under a name of its own, and
apply to any indicator m. With e_0 the first checkpoint measured, E the last, and m_min the least
value:

    cv_total   m(E) − m(e_0)
    cv_drop    m_min − m(e_0)                       ≤ 0; the reduction R is −cv_drop
    cv_rise    m(E) − m_min                         ≥ 0
    cr         cv_total / m(e_0)                    NaN where m(e_0) = 0
    mcr        cv_total / max(m(e_0), m(E))         the default MCR, in [−1, 1]; 0 where both are 0
    mcr_rec    cv_rise / (R + 1)                    how much of the drop is recovered
    mcr_step   mean over steps of |Δm| / (m + 1)    activity over training
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_floats
from seepage.short_repr import short_repr

__all__ = ["CHANGES", "Phases", "change_values", "phases"]


CHANGES = ("cv_total", "cv_drop", "cv_rise", "cr", "mcr", "mcr_rec", "mcr_step")


def _series(series: ArrayLike) -> Float64Array:
    m = given_floats(series, "series")
    if m.ndim < 1 or len(m) < 2:
        raise InputError(
            f"series: expected at least 2 checkpoints along the first axis, got shape {m.shape}"
        )
    if not np.isfinite(m).all() or (m < 0).any():
        raise InputError(
            "series: expected finite values of at least 0, got "
            f"{'negative' if np.isfinite(m).all() else 'non-finite'} ones; "
            "leave out checkpoints that were not measured"
        )
    return m


def change_values(series: ArrayLike) -> dict[str, Float64Array]:
    """Every variant of CV and MCR by name: (T, …) ≥ 0, checkpoints first, -> mapping to (…).

    >>> v = change_values([10.0, 4.0, 7.0])
    >>> {k: round(float(x), 3) for k, x in v.items()}
    {'cv_total': -3.0, 'cv_drop': -6.0, 'cv_rise': 3.0, 'cr': -0.3, 'mcr': -0.3, 'mcr_rec': 0.429,
     'mcr_step': 0.573}
    """
    m = _series(series)
    first, last, least = m[0], m[-1], m.min(axis=0)
    total = last - first
    rise, reduction = last - least, first - least
    larger = np.maximum(first, last)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = np.where(first > 0, total / first, np.nan)
        guarded = np.where(larger > 0, total / larger, 0.0)
    return {
        "cv_total": np.asarray(total),
        "cv_drop": np.asarray(-reduction),
        "cv_rise": np.asarray(rise),
        "cr": np.asarray(ratio),
        "mcr": np.asarray(guarded),
        "mcr_rec": np.asarray(rise / (reduction + 1)),
        "mcr_step": np.asarray((np.abs(np.diff(m, axis=0)) / (m[:-1] + 1)).mean(axis=0)),
    }


@short_repr
@dataclass(frozen=True, eq=False)
class Phases:
    """Where the minimum of an indicator lies, its fall before and its rise after.

    index, epoch: of the first minimum; fall, rise: shares m_min / m(e_0) and m(E) / m_min as
    losses and gains (0.2 = 20 %; `rise` infinite from a minimum of 0); both: falls *then* rises.
    """

    index: Int64Array
    epoch: Float64Array
    fall: Float64Array
    rise: Float64Array
    both: BoolArray


def phases(
    series: ArrayLike, epochs: Sequence[float] | Float64Array, margin: float = 0.05
) -> Phases:
    """Fall then rise: an interior minimum, m_min ≤ (1 − margin) m(e_0), m(E) ≥ (1 + margin) m_min.

    series (T, …) ≥ 0, checkpoints first; epochs (T,) ascending. The minimum of DoF comes within an
    epoch or two of initialisation: measured from epoch 1 on, the fall is missed and the curve only
    rises. margin 0.05 is this library's choice.

    >>> p = phases([10.0, 4.0, 7.0], [0, 1, 2])
    >>> float(p.epoch), bool(p.both)
    (1.0, True)
    """
    m = _series(series)
    e = given_floats(epochs, "epochs")
    if e.shape != (len(m),) or not (np.diff(e) > 0).all():
        raise InputError(f"epochs: expected {len(m)} ascending numbers, got {e.tolist()}")
    if not 0 <= margin < 1:
        raise InputError(f"margin: expected a share in [0, 1), got {margin}")
    index = m.argmin(axis=0)
    first, last, least = m[0], m[-1], m.min(axis=0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        fall = np.where(first > 0, 1 - least / first, 0.0)
        rise = np.where(least > 0, last / least - 1, np.where(last > 0, np.inf, 0.0))
    inside = (index > 0) & (index < len(m) - 1)
    falls = (least <= (1 - margin) * first) & (first > 0)
    rises = (last >= (1 + margin) * least) & (last > least)
    return Phases(np.asarray(index), e[index], fall, rise, np.asarray(inside & falls & rises))
