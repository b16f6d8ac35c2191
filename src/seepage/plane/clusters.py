"""Clusters of samples on the plane, with indices of how distinct they are.

scikit-learn is imported where it is used, because the import takes about a second.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from seepage.array_types import FloatArray, Int64Array
from seepage.errors import InputError
from seepage.plane.rates import Points
from seepage.short_repr import short_repr

__all__ = ["HDBSCAN", "ClusterMethod", "Clusters", "KMeans", "find_clusters"]


# scikit-learn's HDBSCAN and silhouette compare pairs; beyond this many samples they are
# sub-sampled.
_PAIRWISE = 5000


@short_repr
@dataclass(frozen=True, eq=False)
class Clusters:
    """A clustering of the samples at one checkpoint.

    labels (N,) 0 to C−1 by rising mean advantage, −1 for noise; centres (C, D) means of the
    clustered coordinates; shares (C,) of all samples; noise share (). silhouette in [−1, 1], on at
    most 5,000 samples, and Davies-Bouldin (lower = clearer), over clustered samples; NaN with
    fewer than two clusters.
    """

    labels: Int64Array
    centres: FloatArray
    shares: FloatArray
    noise: float
    silhouette: float
    davies_bouldin: float


@dataclass(frozen=True)
class ClusterMethod(ABC):
    """How points are grouped."""

    @abstractmethod
    def labels(self, x: FloatArray, rng: np.random.Generator) -> Int64Array:
        """Coordinates (N, D) -> (N,) labels from 0, −1 for noise."""


@final
@dataclass(frozen=True)
class KMeans(ClusterMethod):
    """k-means with k clusters, the best of `starts` k-means++ initialisations.

    Samples on the same lattice point are one weighted point, which is exact and fast.
    """

    k: int = 3
    starts: int = 10

    def labels(self, x: FloatArray, rng: np.random.Generator) -> Int64Array:
        """(N,) labels; fewer than k clusters where there are fewer distinct points."""
        from sklearn import cluster

        distinct, back, weight = np.unique(x, axis=0, return_inverse=True, return_counts=True)
        k = min(self.k, len(distinct))
        seed = int(rng.integers(2**31 - 1))
        model = cluster.KMeans(k, n_init=self.starts, random_state=seed, tol=1e-6)
        # Threads would add what they summed in any order, and wait for each other for longer.
        with threadpool_limits(1):
            found = model.fit(distinct, sample_weight=weight).labels_
        return np.asarray(found[back.ravel()], dtype=np.int64)


@final
@dataclass(frozen=True)
class HDBSCAN(ClusterMethod):
    """Density clusters of at least `share` of the samples; everything between them is noise.

    Counted rates lie on a lattice, whose points density estimation would take for clusters: uniform
    noise of one lattice step is added to each coordinate first, drawn from the generator. Beyond
    5,000 samples it is fitted on a random 5,000 and the rest take the label of their nearest fitted
    sample.
    """

    share: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.share <= 0.5:
            raise InputError(f"share: expected above 0 and up to 0.5, got {self.share}")

    def labels(self, x: FloatArray, rng: np.random.Generator) -> Int64Array:
        """(N,) labels, −1 for noise."""
        from sklearn import cluster, neighbors

        spread = x + _lattice_step(x) * (rng.random(x.shape) - 0.5)
        rows = np.sort(rng.permutation(len(x))[:_PAIRWISE])
        least = max(2, round(self.share * len(rows)))
        model = cluster.HDBSCAN(min_cluster_size=least, copy=True)
        fitted = model.fit_predict(spread[rows])
        if len(rows) == len(x):
            return np.asarray(fitted, dtype=np.int64)
        nearest = neighbors.KNeighborsClassifier(1).fit(spread[rows], fitted)
        return np.asarray(nearest.predict(spread), dtype=np.int64)


def _lattice_step(x: FloatArray) -> FloatArray:
    """Smallest distance between different values of each column, 0 for a constant one."""
    steps = []
    for column in x.T:
        gaps = np.diff(np.unique(column))
        gaps = gaps[gaps > 1e-9]
        steps.append(gaps.min() if gaps.size else 0.0)
    return np.asarray(steps)


def find_clusters(
    points: Points,
    rng: np.random.Generator,
    *,
    method: ClusterMethod | None = None,
    by_epsilon: bool = False,
) -> Clusters:
    """Cluster the samples of one checkpoint by their place, or by privacy loss alone.

    points: `paths.points(t)`; for the null, the same of `paths.null[k]`. method: `KMeans(3)` by
    default. by_epsilon: cluster ε_i instead of (FPR, TPR), the "iso-privacy-loss" clusters; fixed
    bands are `ByEpsilon(cuts)`. *Reconstruction*: arXiv 2507.23291 measures cluster structure; its
    algorithm and indices were not available. k-means splits binomial noise into k clusters as well:
    compare the indices with those of the null before claiming that there are clusters.
    """
    from sklearn import metrics

    method = KMeans() if method is None else method
    x = (
        np.asarray(points.epsilon)[:, None]
        if by_epsilon
        else np.stack([points.fpr, points.tpr], axis=1)
    )
    if not np.isfinite(x).all():
        raise InputError(
            "points: expected both rates for every sample; leave out samples without targets"
        )
    raw = method.labels(x, rng)
    kept = np.unique(raw[raw >= 0])
    gain = [points.advantage[raw == c].mean() for c in kept]
    labels = np.full(len(raw), -1, dtype=np.int64)
    for new, c in enumerate(kept[np.argsort(gain, kind="stable")]):
        labels[raw == c] = new
    inside = labels >= 0
    silhouette = bouldin = float("nan")
    if len(kept) > 1:
        rows = np.flatnonzero(inside)
        some = rng.permutation(rows)[:_PAIRWISE]
        if 1 < len(np.unique(labels[some])) < len(some):
            silhouette = float(metrics.silhouette_score(x[some], labels[some]))
        if len(kept) < len(rows):
            bouldin = float(metrics.davies_bouldin_score(x[inside], labels[inside]))
    return Clusters(
        labels,
        np.array([x[labels == c].mean(axis=0) for c in range(len(kept))]).reshape(-1, x.shape[1]),
        np.bincount(labels[inside], minlength=len(kept)) / len(x),
        float(1 - inside.mean()),
        silhouette,
        bouldin,
    )
