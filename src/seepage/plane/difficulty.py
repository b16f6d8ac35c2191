"""How hard a sample is to learn, read from runs that the attack does not use.

Difficulty from the attack's own runs would share their noise with the vulnerability it is
compared to: `split_models` holds out whole pairs of runs. The measure behind arXiv 2507.23291's
correlation was not available; these are the usual ones, each under its own name.

Checkpoints are usually log-spaced, so a statistic that treats them alike counts the first epochs
several times. Statistics of losses are therefore about training time: the losses are interpolated
between checkpoints (`by_epoch`, `mean_loss`). Right and wrong cannot be interpolated:
`epoch_learned` and `forgetting_events` have the resolution of the checkpoints, and figures of
different checkpoints are not comparable. What either loses is measured in docs/dynamics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seepage.array_types import BoolArray, FloatArray, Int64Array, IntArray
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_bools, given_floats
from seepage.plan import partitions
from seepage.plane.paths import SignalSource
from seepage.short_repr import short_repr
from seepage.signals.traces import by_epoch, fits, loss_iqr

__all__ = [
    "Correlation",
    "Difficulty",
    "by_epoch",
    "consistency",
    "epoch_learned",
    "forgetting_events",
    "learning_difficulty",
    "loss_iqr",
    "mean_loss",
    "prediction_depth",
    "spearman",
    "split_models",
    "time_mean",
]


def split_models(
    member: BoolArray, share: float, rng: np.random.Generator
) -> tuple[Int64Array, Int64Array]:
    """Rows for the attack and rows held out for difficulty, whole pairs together.

    share: of the pairs to set aside, at least one. Raises InputError when that leaves nothing.

    >>> member = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], dtype=bool)
    >>> attack, aside = split_models(member, 0.5, np.random.default_rng(0))
    >>> sorted([*attack.tolist(), *aside.tolist()])
    [0, 1, 2, 3]
    """
    if not 0 < share < 1:
        raise InputError(f"share: expected between 0 and 1, got {share}; 0.25 is usual")
    tuple_of = partitions(member)
    pairs = int(tuple_of.max()) + 1
    aside = max(1, round(share * pairs))
    if aside >= pairs:
        raise InputError(
            f"share: expected pairs on both sides, got {aside} of {pairs} set aside; "
            "train more models"
        )
    chosen = np.isin(tuple_of, rng.permutation(pairs)[:aside])
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def epoch_learned(correct: FloatArray, checkpoints: FloatArray) -> FloatArray:
    """The epoch from which a sample stays correctly classified to the end: (..., T, N) -> (..., N).

    Wrong at the end: one epoch after the last checkpoint. Correct throughout: the first checkpoint.
    Its resolution is that of the checkpoints: the sample was learned after the checkpoint before
    and by this one, and a lapse between two checkpoints is not seen.

    >>> correct = np.array([[0, 1, 0], [1, 0, 1], [1, 1, 0]])
    >>> epoch_learned(correct, np.array([0.0, 5.0, 10.0])).tolist()
    [5.0, 10.0, 11.0]
    """
    right = given_array(correct, "correct") > 0.5
    epochs = given_floats(checkpoints, "checkpoints")
    fits(right, epochs)
    stays = np.flip(np.logical_and.accumulate(np.flip(right, axis=-2), axis=-2), axis=-2)
    # Number of checkpoints before the sample stays correct: the index of the first such one.
    late = np.append(epochs, epochs[-1] + 1)
    return np.asarray(late[(~stays).sum(axis=-2)])


def mean_loss(loss: FloatArray, checkpoints: FloatArray) -> FloatArray:
    """Mean loss over training time, in nats: (..., T, N) -> (..., N); `time_mean` of the losses."""
    return time_mean(loss, checkpoints)


def time_mean(values: FloatArray, checkpoints: FloatArray) -> FloatArray:
    """Mean of a trace over training time: (..., T, N), (T,) epochs -> (..., N).

    The trapezoidal mean over epochs, so that log-spaced checkpoints do not weigh the start more.

    >>> time_mean(np.array([[4.0], [2.0], [0.0]]), np.array([0.0, 1.0, 5.0])).tolist()
    [1.4]
    """
    trace = given_floats(values, "values")
    epochs = given_floats(checkpoints, "checkpoints")
    fits(trace, epochs)
    if len(epochs) == 1:
        return np.asarray(trace[..., 0, :])
    return np.asarray(np.trapezoid(trace, epochs, axis=-2) / (epochs[-1] - epochs[0]))


def forgetting_events(correct: FloatArray) -> FloatArray:
    """How often a sample went from right to wrong between checkpoints: (..., T, N) -> (..., N).

    A sample that was never right counts T, above any other. Source: Toneva et al., arXiv
    1812.05159, which counts at every presentation and calls never-learned ones infinitely
    forgotten. Here events between checkpoints are not seen: the count is a lower bound that rises
    with the number of checkpoints, and log-spaced ones hardly see the later epochs.

    >>> forgetting_events(np.array([[1, 0], [0, 0], [1, 0]])).tolist()
    [1.0, 3.0]
    """
    right = given_array(correct, "correct") > 0.5
    forgotten = (right[..., :-1, :] & ~right[..., 1:, :]).sum(axis=-2).astype(np.float64)
    return np.where(right.any(axis=-2), forgotten, float(right.shape[-2]))


def consistency(correct: FloatArray, member: BoolArray) -> FloatArray:
    """Held-out correctness: share of the runs not trained on a sample that get it right.

    correct (R, N) at the checkpoint of interest, member (R, N) -> (N,) in [0, 1], high = easy; NaN
    where every run trained on it. Source: Jiang et al., arXiv 2002.03206 (there by subset size).
    """
    out = ~given_bools(member, "member")
    return _masked_mean(given_array(correct, "correct") > 0.5, out)


def _masked_mean(values: ArrayLike, mask: BoolArray) -> FloatArray:
    v = given_floats(values, "values")
    n = mask.sum(axis=0)
    total = np.where(mask, v, 0.0).sum(axis=0)
    out = np.full(n.shape, np.nan)
    np.divide(total, n, out=out, where=n > 0)
    return out


def prediction_depth(
    features: Sequence[FloatArray],
    labels: IntArray,
    *,
    support: BoolArray | None = None,
    final: IntArray | None = None,
    neighbours: int = 30,
) -> Int64Array:
    """The layer from which k-NN probes agree with the end: (N,) int64, 0 to L.

    features: one (N, d_l) array per layer, from input to output; labels (N,) ints. A probe after
    each layer votes among the k nearest support samples (L2, inverse-distance weights, the sample
    itself left out; support: all unless given, normally the run's members). The depth is the first
    layer from which all probes to the last agree with `final` (N,), the network's predictions; with
    None, with the last probe, whose own depth is then at most L − 1. L: not even the last probe
    agrees. Harder samples are decided deeper. Source: Baldock et al., arXiv 2106.09647.
    """
    if not features:
        raise InputError("features: expected at least one layer, got none")
    labels = given_array(labels, "labels")
    use = (
        np.ones(len(labels), dtype=np.bool_) if support is None else given_array(support, "support")
    )
    rows = np.flatnonzero(use)
    if neighbours < 1 or len(rows) <= neighbours:
        raise InputError(
            f"neighbours: expected 1 to {len(rows) - 1} with {len(rows)} support samples, got "
            f"{neighbours}"
        )
    classes, coded = np.unique(labels, return_inverse=True)
    votes = np.stack([_probe(f, coded, rows, use, neighbours, len(classes)) for f in features])
    if final is None:
        end = votes[-1]
    else:
        # A prediction outside the known labels agrees with no probe.
        end = np.searchsorted(classes, final).clip(0, len(classes) - 1)
        end = np.where(classes[end] == given_array(final, "final"), end, -1)
    agree = votes == end
    stays = np.logical_and.accumulate(agree[::-1], axis=0)[::-1]
    return np.asarray((~stays).sum(axis=0), dtype=np.int64)


def _probe(
    features: FloatArray,
    coded: IntArray,
    rows: Int64Array,
    use: BoolArray,
    neighbours: int,
    classes: int,
) -> Int64Array:
    x = given_floats(features, "features").reshape(len(features), -1)
    if len(x) != len(coded) or not np.isfinite(x).all():
        raise InputError(
            f"features: expected {len(coded)} finite rows per layer, got shape {x.shape}"
        )
    from sklearn.neighbors import NearestNeighbors

    # One more than asked for, since a support sample finds itself.
    index = NearestNeighbors(n_neighbors=neighbours + 1).fit(x[rows])
    distance, found = index.kneighbors(x)
    found = rows[found]
    own = found == np.arange(len(x))[:, None]
    # Drop the sample itself where it is among them, else the farthest.
    own[~own.any(axis=1), -1] = True
    keep = ~own
    found = found[keep].reshape(len(x), neighbours)
    distance = distance[keep].reshape(len(x), neighbours)
    # Copies of the sample decide alone.
    zero = distance == 0
    weight = np.where(zero.any(axis=1, keepdims=True), zero, 1 / np.where(zero, 1.0, distance))
    votes = np.zeros((len(x), classes))
    np.add.at(votes, (np.arange(len(x))[:, None], coded[found]), weight)
    return np.asarray(votes.argmax(axis=1), dtype=np.int64)


@short_repr
@dataclass(frozen=True, eq=False)
class Difficulty:
    """Learning difficulty of every sample, (N,) each, NaN where no run gives a value.

    epoch_learned, mean_loss, loss_iqr, forgetting: means over the runs trained on the sample, high
    = hard (LT-IQR: high = the loss moved much). consistency: over the runs not trained on it, high
    = easy. models: plan rows they were read from.
    """

    epoch_learned: FloatArray
    mean_loss: FloatArray
    loss_iqr: FloatArray
    forgetting: FloatArray
    consistency: FloatArray
    models: Int64Array

    def as_dict(self) -> dict[str, FloatArray]:
        """Every measure by name, oriented as high = hard; consistency as 1 − consistency."""
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "models"}
        columns["inconsistency"] = 1 - columns.pop("consistency")
        return columns


def learning_difficulty(run: SignalSource, models: ArrayLike) -> Difficulty:
    """Every measure from the signals "loss" and "correct" of the rows `models` of a run.

    models: rows that the attack does not use, whole pairs, as `split_models` sets aside. Memory:
    two float32 traces of (rows, checkpoints, samples), and one of a run at every epoch. Signals with views are averaged over them.
    """
    member = np.asarray(run.member, dtype=np.bool_)
    rows = given_array(models, "models")
    if rows.dtype == np.bool_:
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or not rows.size or rows.min() < 0 or rows.max() >= len(member):
        raise InputError(f"models: expected rows within 0 to {len(member) - 1}, got {rows!r}")
    epochs = np.asarray(run.checkpoints, dtype=np.float64)
    member = member[rows]
    traces = {}
    for name in ("loss", "correct"):
        trace = np.empty((len(rows), len(epochs), member.shape[1]), dtype=np.float32)
        for t in range(len(epochs)):
            values = np.asarray(run.signal_at(name, t))[rows]
            trace[:, t] = values.mean(axis=-1) if values.ndim == 3 else values
        traces[name] = trace
    loss, correct = traces["loss"], traces["correct"]
    return Difficulty(
        epoch_learned=_masked_mean(epoch_learned(correct, epochs), member),
        mean_loss=_masked_mean(mean_loss(loss, epochs), member),
        loss_iqr=_masked_mean(loss_iqr(loss, epochs), member),
        forgetting=_masked_mean(forgetting_events(correct), member),
        consistency=consistency(correct[:, -1], member),
        models=rows.astype(np.int64),
    )


@dataclass(frozen=True)
class Correlation:
    """Spearman's ρ with its bootstrap interval over samples; n samples had both values."""

    rho: float
    low: float
    high: float
    n: int


def spearman(
    x: ArrayLike,
    y: ArrayLike,
    rng: np.random.Generator,
    *,
    replicates: int = 500,
    level: float = 0.95,
) -> Correlation:
    """Spearman's rank correlation of two columns (N,), ties at mid-rank, NaN pairs left out.

    Percentile bootstrap over samples, re-ranked in each replicate. It treats samples as
    independent, though they share models; and noise of counted rates attenuates ρ.

    >>> spearman([1, 2, 3, 4], [1, 4, 9, 16], np.random.default_rng(0), replicates=20).rho
    1.0
    """
    a, b = given_floats(x, "x"), given_floats(y, "y")
    if a.ndim != 1 or a.shape != b.shape:
        raise InputError(f"x, y: expected two columns of one length, got {a.shape} and {b.shape}")
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    n = len(a)
    if n < 3:
        raise InputError(f"x, y: expected at least 3 samples with both values, got {n}")
    (order_a, group_a), (order_b, group_b) = _ordered(a), _ordered(b)
    rho = np.empty(1 + replicates)
    weight = np.ones(n)
    for k in range(1 + replicates):
        if k:
            weight = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
        ra, rb = _midranks(weight, order_a, group_a), _midranks(weight, order_b, group_b)
        ra, rb = ra - np.average(ra, weights=weight), rb - np.average(rb, weights=weight)
        norm = np.sqrt((weight * ra**2).sum() * (weight * rb**2).sum())
        rho[k] = (weight * ra * rb).sum() / norm if norm > 0 else np.nan
    if np.isnan(rho[0]):
        raise InputError("x, y: expected columns that vary, got a constant one")
    low, high = (
        np.nanquantile(rho[1:], [(1 - level) / 2, (1 + level) / 2])
        if np.isfinite(rho[1:]).any()  # of few samples every resample may be constant
        else (np.nan, np.nan)
    )
    # Rounding only: a perfect order is 1, not 1 + 2e-16.
    return Correlation(float(np.clip(rho[0], -1, 1)), float(low), float(high), n)


def _ordered(values: FloatArray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(ascending order, where each group of equal values starts in it)."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    return order, np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))


def _midranks(weight: FloatArray, order: NDArray[np.intp], groups: NDArray[np.intp]) -> FloatArray:
    """Mid-ranks when sample i occurs weight_i times, without sorting again."""
    mass = np.add.reduceat(weight[order], groups)
    middle = np.cumsum(mass) - mass / 2
    ranks = np.empty(len(weight))
    ranks[order] = np.repeat(middle, np.diff(np.append(groups, len(weight))))
    return ranks
