"""How well what one run leaves behind foretells the full attack, by checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.errors import InputError
from seepage.metrics import over_targets
from seepage.plane.monitor import Monitor
from seepage.plane.paths import SignalSource

__all__ = ["Foretold", "foretell"]

FIGURES = ("rho", "precision", "auc")


@dataclass(frozen=True, eq=False)
class Foretold:
    """A proxy against the full attack, mean over the runs that were watched; T checkpoints.

    rho, precision, auc (T, 3): value, low, high of what `Monitor.judge` says of each run, with 95 %
    intervals over pairs of runs (their targets are the same samples, so they cover other runs, not
    other data); NaN where a proxy has no order yet. chance: precision of a random ranking.
    """

    checkpoints: FloatArray
    rho: FloatArray
    precision: FloatArray
    auc: FloatArray
    chance: float
    runs: int


def foretell(
    run: SignalSource,
    models: ArrayLike,
    final_risk: FloatArray,
    *,
    share: float = 0.05,
) -> dict[str, Foretold]:
    """Watch each of the runs `models` with a Monitor of its own and judge it at every checkpoint.

    models: rows that the attack behind `final_risk` did not use, whole pairs, as `split_models`
    sets aside. final_risk (N,): such as the final advantage. share: of a run's members that count as
    vulnerable. Reads the signals "loss" and "correct". Returns proxy -> figures.

    Raises InputError for rows that do not exist and risks that do not vary.
    """
    rows = np.asarray(models)
    if rows.dtype == np.bool_:
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or not rows.size or rows.min() < 0 or rows.max() >= len(run.member):
        raise InputError(f"models: expected rows within 0 to {len(run.member) - 1}, got {rows!r}")
    member = np.asarray(run.member, dtype=np.bool_)[rows]
    monitors = [Monitor() for _ in rows]
    times = len(run.checkpoints)
    rng = np.random.default_rng(0)
    found: dict[str, Float64Array] = {}
    chance = float("nan")
    for t, epoch in enumerate(np.asarray(run.checkpoints, dtype=np.float64)):
        loss, correct = (_identity(run.signal_at(name, t))[rows] for name in ("loss", "correct"))
        for r, monitor in enumerate(monitors):
            monitor.update(float(epoch), loss[r], correct[r], member[r])
            judged = monitor.judge(final_risk, rng, share=share, replicates=0)
            for name, j in judged.items():
                each = found.setdefault(name, np.full((len(FIGURES), times, len(rows)), np.nan))
                each[:, t, r] = j.correlation.rho, j.precision, j.auc
                chance = j.chance
    out = {}
    for name, each in found.items():
        spans = np.array([[_span(v, member) for v in figure] for figure in each])
        spans[1:] = spans[1:].clip(0, 1)
        figures = dict(zip(FIGURES, spans, strict=True))
        out[name] = Foretold(
            np.asarray(run.checkpoints, dtype=np.float64), **figures, chance=chance, runs=len(rows)
        )
    return out


def _span(values: FloatArray, member: BoolArray) -> tuple[float, float, float]:
    if not np.isfinite(values).all():
        return float("nan"), float("nan"), float("nan")
    # The runs watched are nobody's references: their figures are independent given the attack's.
    e = over_targets((values + 1) / 2, member, shared=False)
    return 2 * e.mean - 1, 2 * e.low - 1, 2 * e.high - 1


def _identity(values: FloatArray) -> FloatArray:
    v = np.asarray(values)
    return v[..., 0] if v.ndim == 3 else v
