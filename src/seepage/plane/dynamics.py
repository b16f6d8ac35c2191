"""Dynamics of the paths: speed, centre of mass, transitions, spatial entropy.

Pure functions of rates over checkpoints. arXiv 2507.23291 names these quantities; its formulas were
not available, so each is a *reconstruction* whose choices its docstring states. Counting noise
changes all of them: compare each with the same value under permuted membership.
"""

from __future__ import annotations

import math

import numpy as np

from seepage.array_types import FloatArray, Int64Array, IntArray
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_floats

__all__ = [
    "arrivals",
    "centre",
    "displacement",
    "entropy",
    "entropy_of",
    "rows_to_one",
    "signed_speed",
    "speed",
    "squared_step",
    "to_last",
    "transition_counts",
    "transitions",
]


def _spans(checkpoints: FloatArray, length: int) -> FloatArray:
    spans = np.diff(given_floats(checkpoints, "checkpoints"))
    if len(spans) + 1 != length or (spans <= 0).any():
        raise InputError(
            f"checkpoints: expected {length} ascending epochs as the rates have, got "
            f"{given_array(checkpoints, 'checkpoints').tolist()}"
        )
    return spans


def centre(fpr: FloatArray, tpr: FloatArray) -> FloatArray:
    """Centre of mass c(t) = (1/N) Σ_i v_i(t): (T, N), (T, N) -> (T, 2), FPR first."""
    rates = given_array(fpr, "fpr"), given_array(tpr, "tpr")
    return np.stack([np.mean(rate, axis=-1) for rate in rates], axis=-1)


def displacement(centres: FloatArray) -> tuple[float, float]:
    """Displacement of the centre of mass, (T, 2) -> (net, path).

    net D = ‖c(T) − c(t₀)‖₂ ≤ √2; path L = Σ_k ‖c(t_{k+1}) − c(t_k)‖₂ ≥ D. Lengths within the unit
    square. *Reconstruction*: whether the paper means net or path, and in which unit, was not at
    hand; compare ratios.

    >>> net, path = displacement(np.array([[0.5, 0.5], [0.25, 0.5], [0.25, 0.75]]))
    >>> round(net, 3), path
    (0.354, 0.5)
    """
    c = given_floats(centres, "centres")
    steps = np.sqrt((np.diff(c, axis=0) ** 2).sum(axis=-1))
    return float(np.sqrt(((c[-1] - c[0]) ** 2).sum())), float(steps.sum())


def speed(fpr: FloatArray, tpr: FloatArray, checkpoints: FloatArray) -> FloatArray:
    """Membership encoding speed s_i(t_k) = ‖v_i(t_{k+1}) − v_i(t_k)‖₂ / (t_{k+1} − t_k).

    (T, N), (T, N), (T,) epochs -> (T−1, N) per epoch; the population's is the mean over axis 1.
    Counting noise alone makes it positive: see `squared_step` and the null. *Reconstruction*.
    """
    spans = _spans(checkpoints, len(fpr))
    moved = (np.diff(given_array(v, name), axis=0) for v, name in ((fpr, "fpr"), (tpr, "tpr")))
    return np.asarray(np.hypot(*moved) / spans[:, None])


def signed_speed(fpr: FloatArray, tpr: FloatArray, checkpoints: FloatArray) -> FloatArray:
    """s⁺_i(t_k) = [A_i(t_{k+1}) − A_i(t_k)] / (t_{k+1} − t_k), (T−1, N) per epoch.

    Positive towards leakage; its mean is 0 under permuted membership, whatever the noise.
    *Reconstruction*.
    """
    spans = _spans(checkpoints, len(fpr))
    return np.diff(given_array(tpr, "tpr") - given_array(fpr, "fpr"), axis=0) / spans[:, None]


def squared_step(step: FloatArray, turns: IntArray, trials: IntArray) -> FloatArray:
    """Unbiased square of the change of a rate between two checkpoints.

    A rate's step is the mean over n targets of δ ∈ {−1, 0, 1}, the change of each decision. Its
    square overestimates the squared true step by Var(δ)/n. Without each target's product with
    itself it is unbiased: (S² − F) / (n(n−1)) with S = n·step = Σδ and F = Σδ² = `turns`, the
    number of decisions that changed. Exact for independent targets; needs n ≥ 2.

    step (T−1, N); turns (T−1, N); trials (N,) -> (T−1, N), negative where noise exceeds movement.

    >>> squared_step(np.array([[0.0]]), np.array([[2]]), np.array([4])).round(3).tolist()
    [[-0.167]]
    """
    n = given_floats(trials, "trials")
    if (n < 2).any():
        raise InputError(
            "models: expected at least 2 targets of each kind for every sample; train more models"
        )
    total = given_floats(step, "step") * n
    return (total**2 - turns) / (n * (n - 1))


def transition_counts(states: IntArray, regions: int) -> Int64Array:
    """How many samples went from region a to region b: (T, N) -> (T−1, S, S) int64.

    A sample that is in no region (−1) at either end of an interval is not counted in it.
    """
    states = given_array(states, "states")
    counts = np.zeros((len(states) - 1, regions, regions), dtype=np.int64)
    for k, out in enumerate(counts):
        known = (states[k] >= 0) & (states[k + 1] >= 0)
        moves = states[k].astype(np.int64) * regions + states[k + 1]
        out[:] = np.bincount(moves[known], minlength=regions * regions).reshape(regions, regions)
    return counts


def transitions(states: IntArray, regions: int) -> FloatArray:
    """P_ab(k) = #{a at t_k, b at t_{k+1}} / #{a at t_k}: (T, N) -> (T−1, S, S), rows sum to 1.

    The row of a region without samples is the identity's. *Reconstruction*.
    """
    return rows_to_one(transition_counts(states, regions))


def rows_to_one(counts: IntArray | FloatArray) -> FloatArray:
    """Counts of moves (..., S, S) as probabilities; empty rows become the identity's."""
    counts = given_array(counts, "counts")
    total = counts.sum(axis=-1, keepdims=True)
    identity = np.broadcast_to(np.eye(counts.shape[-1]), counts.shape)
    return np.where(total > 0, counts / np.maximum(total, 1), identity)


def to_last(states: IntArray, regions: int) -> tuple[FloatArray, FloatArray]:
    """Probability of moving into the last region per interval, with either denominator.

    (#{¬last → last} / #{¬last}, the same count / N), each (T−1,); 0 when all are already there.
    *Reconstruction*: the denominator of the published percentages was not available, so both.
    """
    counts = transition_counts(states, regions)
    return arrivals(counts)


def arrivals(counts: IntArray | FloatArray) -> tuple[FloatArray, FloatArray]:
    """Moves into the last region from counts (..., S, S): (over others, over all)."""
    counts = given_array(counts, "counts")
    moved = counts[..., :-1, -1].sum(axis=-1)
    others = counts[..., :-1, :].sum(axis=(-2, -1))
    everyone = counts.sum(axis=(-2, -1))
    return moved / np.maximum(others, 1), moved / np.maximum(everyone, 1)


def entropy(states: IntArray, regions: int, base: float = 2.0) -> FloatArray:
    """Spatial entropy H(t) = −Σ_g p_g log p_g over regions, (T, N) -> (T,), bits by default.

    p_g is the share of samples in cell g, of those in any (not −1); NaN where none is; ΔH = H(t_T) − H(t_0). Binomial noise alone spreads points
    over cells, so H depends on the number of models: keep it equal across conditions and compare
    with the null. *Reconstruction*: grid and base of the paper were not available.
    """
    counts = np.stack(
        [np.bincount(row[row >= 0], minlength=regions) for row in given_array(states, "states")]
    )
    return entropy_of(counts, base)


def entropy_of(counts: IntArray | FloatArray, base: float = 2.0) -> FloatArray:
    """Entropy of shares from counts (..., cells) -> (...)."""
    counts = given_array(counts, "counts")
    total = counts.sum(axis=-1, keepdims=True)
    p = counts / np.where(total > 0, total, np.nan)
    terms = p * np.log(np.where(p > 0, p, 1.0))
    return np.asarray(np.abs(terms.sum(axis=-1))) * _from_nats(base)


def _from_nats(base: float) -> float:
    """Factor from nats to the unit of `base`: 2 gives bits, e gives nats."""
    if base <= 1:
        raise InputError(f"base: expected more than 1, got {base}; 2 is bits, math.e is nats")
    return 1 / math.log(base)
