"""What a privacy figure is read beside: the models' accuracy, and an attack that sees no model."""

from __future__ import annotations

import numpy as np

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.findings.result import Blind, Utility
from seepage.findings.source import Progress, ReportSource, sides
from seepage.metrics import blind_baseline, over_targets

__all__ = ["accuracy_of", "blind_of", "utility_of"]


def _correct(run: ReportSource, t: int) -> Float64Array:
    values = np.asarray(run.signal_at("correct", t), dtype=np.float64)
    # The first view is the identity: what the model answers in use.
    return values[..., 0] if values.ndim == 3 else values


def accuracy_of(run: ReportSource) -> tuple[Float64Array, Float64Array]:
    """Each sample's accuracy at the end, as a member and as a non-member: (N,), (N,)."""
    if "correct" not in run.signals:
        nothing = np.full(run.member.shape[1], np.nan)
        return nothing, nothing
    return sides(_correct(run, len(run.checkpoints) - 1), run.member)


def utility_of(run: ReportSource, say: Progress) -> Utility | None:
    """Accuracy at every checkpoint; None where it was not recorded."""
    if "correct" not in run.signals:
        return None
    member = run.member
    rows = []
    for t in range(len(run.checkpoints)):
        say("utility", t, len(run.checkpoints))
        right = _correct(run, t)
        row: list[float] = []
        for side in (member, ~member):
            e = over_targets((right * side).sum(axis=1) / side.sum(axis=1), member)
            row += [e.mean, e.low, e.high]
        rows.append(row)
    return Utility(*np.array(rows).T)


def blind_of(data: Dataset | None, member: BoolArray, labels: Int64Array) -> Blind:
    """The blind baseline, or the reason why it could not be run."""
    if data is None:
        return Blind(None, "the data could not be found again from its source")
    rows = np.arange(len(data))
    note = ""
    if len(rows) > 10_000:
        # A linear classifier has long converged; the whole pool would only cost memory.
        rows = np.sort(np.random.default_rng(0).choice(len(rows), 10_000, replace=False))
        note = "It was run on 10,000 samples drawn from the pool."
    try:
        found = blind_baseline(data.inputs.numpy()[rows], member[:, rows], labels[rows], runs=4)
    except InputError as error:
        return Blind(None, str(error))
    return Blind(found.estimate, note)
