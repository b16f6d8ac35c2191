"""How early the finally vulnerable samples can be identified, by the attack or by a proxy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from seepage.array_types import BoolArray, FloatArray
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_bools, given_floats
from seepage.metrics import auc
from seepage.native.library import limited
from seepage.plan import partitions
from seepage.plane.lattice import BLOCK, PackedPairs, by_tuple, chosen_sets, kept, tally_of
from seepage.plane.paths import Trajectories
from seepage.plane.rates import advantage
from seepage.plane.regions import ByAdvantage, Regions
from seepage.plane.resampling import Bootstrap, Estimate, cores, estimate, standard_error
from seepage.short_repr import short_repr

__all__ = [
    "EarlyDetermination",
    "HighRegion",
    "KnownFrom",
    "PredictorEvaluation",
    "TopShare",
    "Vulnerable",
    "early_determination",
    "evaluate_predictor",
    "expected_recall",
]


# Replicates at a time: a few tens of MiB of counts at 50,000 samples.
_CHUNK = 32


@dataclass(frozen=True)
class Vulnerable(ABC):
    """Which samples count as vulnerable at a checkpoint.

    pointwise: a sample's own rates decide, so that samples can be processed in blocks.
    """

    pointwise: ClassVar[bool] = False

    @abstractmethod
    def select(
        self, fpr: FloatArray, tpr: FloatArray, n_out: ArrayLike, n_in: ArrayLike
    ) -> BoolArray:
        """Rates (..., N) -> (..., N) bool."""


@final
@dataclass(frozen=True)
class HighRegion(Vulnerable):
    """Samples in the last, highest of the regions."""

    pointwise: ClassVar[bool] = True
    regions: Regions = field(default_factory=ByAdvantage)

    def select(
        self, fpr: FloatArray, tpr: FloatArray, n_out: ArrayLike, n_in: ArrayLike
    ) -> BoolArray:
        """In the last region, (..., N) bool."""
        chosen: BoolArray = self.regions.assign(fpr, tpr, n_out, n_in) == len(self.regions) - 1
        return chosen


@final
@dataclass(frozen=True)
class TopShare(Vulnerable):
    """The `share` of samples with the largest advantage; ties at the border all count.

    Advantages are multiples of 1/n, so with few models more than the share can be chosen: compare
    recall with `chance`.
    """

    share: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError(f"share: expected between 0 and 1, got {self.share}; 0.05 is usual")

    def size(self, samples: int) -> int:
        """How many of the samples are chosen at least."""
        return max(1, round(self.share * samples))

    def select(
        self, fpr: FloatArray, tpr: FloatArray, n_out: ArrayLike, n_in: ArrayLike
    ) -> BoolArray:
        """At or above the border, (..., N) bool."""
        a = advantage(fpr, tpr)
        keep = self.size(a.shape[-1])
        border = np.partition(a, -keep, axis=-1)[..., -keep, None]
        return np.asarray(a >= border - 1e-9)


@dataclass(frozen=True)
class KnownFrom:
    """The earliest checkpoint (an epoch) at which a share of the final set is known.

    One with no more of the final set than as many samples drawn at random would hold tells nothing
    and is passed over: before training all are equal, and all of them at the border. Its resolution
    is that of the checkpoints: the share was reached after the one before.
    low, high: where the upper and the lower end of recall's interval reach the share; NaN without.
    """

    share: float
    epoch: float
    low: float
    high: float


@short_repr
@dataclass(frozen=True, eq=False)
class EarlyDetermination:
    """Early determination of V_T, the samples vulnerable at the last checkpoint; (T,) curves.

    recall_now |V_t ∩ V_T| / |V_T|; recall_ever |∪_{s≤t} V_s ∩ V_T| / |V_T|; precision
    |V_t ∩ V_T| / |V_t|; jaccard |V_t ∩ V_T| / |V_t ∪ V_T|; chance |V_t| / N is the recall of as
    many samples drawn at random, chance_ever |∪ V_s| / N of `recall_ever`. NaN over empty sets.
    The union is over checkpoints: it, and recall_ever with it, grows with their number.

    Recall exceeds chance without any leakage, because neighbouring checkpoints share models and so
    share noise: read it against the same curve under permuted membership. final (N,) bool is V_T.
    """

    checkpoints: FloatArray
    recall_now: Estimate
    recall_ever: Estimate
    precision: Estimate
    jaccard: Estimate
    chance: Estimate
    chance_ever: Estimate
    known: tuple[KnownFrom, ...]
    final: BoolArray

    @property
    def fraction(self) -> FloatArray:
        """Checkpoints as a fraction of training, (T,)."""
        return np.asarray(self.checkpoints / self.checkpoints[-1])


def early_determination(
    paths: Trajectories,
    *,
    vulnerable: Vulnerable | None = None,
    known: Sequence[float] = (0.5, 0.7, 0.9),
    bootstrap: Bootstrap | None = None,
) -> EarlyDetermination:
    """How much of the finally vulnerable set is already known at each checkpoint.

    vulnerable: `HighRegion()` by default, or `TopShare(0.05)`. known: shares whose earliest
    checkpoint is reported. bootstrap: over pairs of runs; needs stored decisions, else intervals
    are NaN. *Reconstruction*: arXiv 2507.23291 reports that about 70 % are known early; the
    definition of its set was not available.
    """
    vulnerable = HighRegion() if vulnerable is None else vulnerable
    bootstrap = Bootstrap() if bootstrap is None else bootstrap
    value, error, freedom = _curves(paths, vulnerable, bootstrap)
    nulls = [_curves(null, vulnerable, bootstrap)[:2] for null in paths.null]
    curves = {
        name: estimate(
            v,
            error[name],
            [(null[name], spread[name]) for null, spread in nulls],
            level=bootstrap.level,
            freedom=freedom,
            within=(0, 1),
        )
        for name, v in value.items()
    }
    recall, epochs = curves["recall_now"], paths.checkpoints
    reached = (recall.value, recall.high, recall.low)
    tells = recall.value > curves["chance"].value + 1e-9
    return EarlyDetermination(
        epochs,
        **curves,
        known=tuple(
            KnownFrom(x, *(_first(epochs, np.where(tells, c, 0.0), x) for c in reached))
            for x in known
        ),
        final=vulnerable.select(paths.fpr[-1], paths.tpr[-1], paths.n_out, paths.n_in),
    )


def _first(epochs: FloatArray, curve: FloatArray, share: float) -> float:
    reached = curve >= share - 1e-9
    return float(epochs[np.argmax(reached)]) if reached.any() else float("nan")


def _curves(
    paths: Trajectories, vulnerable: Vulnerable, bootstrap: Bootstrap
) -> tuple[dict[str, FloatArray], dict[str, FloatArray], int]:
    """(curves of the whole, standard errors, degrees of freedom)."""
    n_out, n_in = paths.n_out, paths.n_in
    plain = [
        vulnerable.select(f, t, n_out, n_in) for f, t in zip(paths.fpr, paths.tpr, strict=True)
    ]
    counts: list[FloatArray] = [tally_of(np.stack(plain))[:, None]]
    groups = 1
    if paths.decisions is not None and bootstrap.replicates:
        groups = int(partitions(paths.member).max()) + 1
        weights = bootstrap.weights(groups)[1:].astype(np.float32)
        known = isinstance(vulnerable, TopShare) or vulnerable.pointwise
        if len(weights) and known and PackedPairs.complete(paths.member):
            with limited(threads=bootstrap.threads):
                counts.append(_on_lattice(paths, vulnerable, weights))
        else:
            chunks = [weights[k : k + _CHUNK] for k in range(0, len(weights), _CHUNK)]
            with (
                threadpool_limits(1, "blas"),
                ThreadPoolExecutor(bootstrap.threads or cores()) as pool,
            ):
                counts += pool.map(lambda w: _resampled(paths, vulnerable, w), chunks)
    tally = np.concatenate(counts, axis=1)
    both, now, ever_both, ever, final = tally
    with np.errstate(divide="ignore", invalid="ignore"):
        curves = {
            "recall_now": both / final,
            "recall_ever": ever_both / final,
            "precision": both / now,
            "jaccard": both / (now + final - both),
            "chance": now / paths.samples,
            "chance_ever": ever / paths.samples,
        }
    scale = bootstrap.scale(groups)
    errors = {k: standard_error(v[1:], scale) for k, v in curves.items()}
    return {k: v[0] for k, v in curves.items()}, errors, max(groups - 1, 1)


def _resampled(paths: Trajectories, vulnerable: Vulnerable, weights: FloatArray) -> FloatArray:
    """`tally_of` replicates whose pairs have these weights (B, U)."""
    assert paths.decisions is not None
    tuple_of, member = partitions(paths.member), paths.member
    inside = by_tuple(member, tuple_of)
    outside = np.bincount(tuple_of).astype(np.float32)[:, None] - inside
    n_in, n_out = weights @ inside, weights @ outside
    # A replicate without a target of a kind for a sample keeps that sample's own rates.
    lost = (n_in < 1) | (n_out < 1)
    n_in, n_out = np.where(lost, paths.n_in, n_in), np.where(lost, paths.n_out, n_out)
    chosen = []
    for t, packed in enumerate(paths.decisions):
        said = np.unpackbits(packed, axis=1, count=paths.samples).view(np.bool_)
        hits_in, hits_out = (
            weights @ by_tuple(a, tuple_of) for a in (said & member, said & ~member)
        )
        tpr = np.where(lost, paths.tpr[t], np.divide(hits_in, n_in, dtype=float))
        fpr = np.where(lost, paths.fpr[t], np.divide(hits_out, n_out, dtype=float))
        chosen.append(vulnerable.select(fpr, tpr, n_out, n_in))
    return np.stack([tally_of(of) for of in np.stack(chosen, axis=1)], axis=1)


def _on_lattice(paths: Trajectories, vulnerable: Vulnerable, weights: FloatArray) -> FloatArray:
    """The same where all runs come in complete pairs of equal weight."""
    assert paths.decisions is not None
    chosen = kept(weights)
    if isinstance(vulnerable, TopShare):
        whole = PackedPairs.of(paths.decisions, paths.member, slice(0, paths.samples))
        return chosen_sets(whole, chosen, keep=vulnerable.size(paths.samples))
    pairs = chosen.shape[1]
    rates = np.arange(pairs + 1) / pairs
    x, y = np.meshgrid(rates, rates, indexing="ij")
    table = np.ascontiguousarray(vulnerable.select(x, y, pairs, pairs))
    # Sizes of sets add up over blocks of samples.
    total = np.zeros((5, len(weights), len(paths.fpr)))
    for first in range(0, paths.samples, BLOCK):
        block = slice(first, min(first + BLOCK, paths.samples))
        total += chosen_sets(
            PackedPairs.of(paths.decisions, paths.member, block), chosen, table=table
        )
    return total


@short_repr
@dataclass(frozen=True, eq=False)
class PredictorEvaluation:
    """How well a score that needs no attack predicts V_T; (T,) or () as the score.

    recall: share of V_T among the |V_T| highest scores (precision is the same number), the expected
    one over random orders of ties. auc: of the score as a detector of V_T. chance: |V_T| / N.
    """

    recall: FloatArray
    auc: FloatArray
    chance: float


def evaluate_predictor(score: FloatArray, final: BoolArray) -> PredictorEvaluation:
    """Recall and AUC of a score, such as LT-IQR up to each checkpoint, for the final set.

    score (N,) or (T, N), high = presumed vulnerable, NaN = lowest of all; final (N,) bool.

    >>> evaluate_predictor(np.array([0.9, 0.1, 0.5]), np.array([True, False, True])).recall
    array(1.)
    """
    final = given_bools(final, "final")
    rows = np.atleast_2d(given_floats(score, "score"))
    if rows.ndim != 2 or rows.shape[1] != final.size:
        raise InputError(
            f"score: expected (N,) or (T, N) with N = {final.size}, got shape {np.shape(score)}"
        )
    size = int(final.sum())
    if size in (0, final.size):
        raise InputError(
            f"final: expected some but not all samples, got {size} of {final.size}; "
            "choose another definition of vulnerable"
        )
    rows = np.where(np.isnan(rows), -np.inf, rows)
    shape = np.shape(score)[:-1]
    area = np.array([auc(row, final) for row in rows])
    recall = expected_recall(rows, final)
    return PredictorEvaluation(recall.reshape(shape), area.reshape(shape), size / final.size)


def expected_recall(rows: FloatArray, final: BoolArray) -> FloatArray:
    """Share of `final` among as many highest scores, mean over random orders of ties.

    rows (T, N), final (N,) bool of at least one sample -> (T,).
    """
    rows, final = given_array(rows, "rows"), given_bools(final, "final")
    size = int(final.sum())
    border = np.partition(rows, -size, axis=1)[:, -size, None]
    above, tied = rows > border, rows == border
    room = size - above.sum(axis=1)
    hits = (above & final).sum(axis=1) + (tied & final).sum(axis=1) * room / tied.sum(axis=1)
    return np.asarray(hits / size)
