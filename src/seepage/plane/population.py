"""All population metrics in one pass, each with its interval over models and its null band.

A replicate keeps half of the pairs of runs and recounts every sample's decisions, a few thousand
samples at a time (`seepage.plane.counted`); no replicate's trajectories are ever stored.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from seepage.array_types import FloatArray
from seepage.errors import InputError
from seepage.plan import partitions, tuples
from seepage.plane import dynamics
from seepage.plane.counted import Given, Pairs, Sums, Units, sums_of
from seepage.plane.regions import Grid, Regions
from seepage.plane.resampling import Bootstrap, Estimate, cores, estimate, standard_error

if TYPE_CHECKING:
    from seepage.plane.paths import Trajectories

__all__ = ["Population", "population"]


# Samples at a time: the replicates' counts of a block stay in a core's cache.
_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class Population:
    """Population metrics over training; T checkpoints, T−1 intervals between them, S regions.

    centre (T, 2) mean FPR and TPR; advantage (T,) mean TPR − FPR; displacement (T,) of the centre since
    the first checkpoint, displacement_net () its last, displacement_path () along its path; speed (T−1,) mean ‖Δv‖ per epoch; signed_speed (T−1,);
    rms_speed (T−1,) root mean squared speed free of counting noise, NaN for closed-form rates;
    mean_speed () over samples and intervals; shares (T, S) of samples per region; transitions
    (T−1, S, S); to_high, to_high_of_all (T−1,) probability of moving into the last region over the
    samples not yet there and over all; peak_to_high () the largest `to_high`; entropy (T,) in
    bits; entropy_change () = H(t_T) − H(t_0).

    All are *reconstructions* (arXiv 2507.23291): see `seepage.plane.dynamics` for the formulas.
    """

    centre: Estimate
    advantage: Estimate
    displacement: Estimate
    displacement_net: Estimate
    displacement_path: Estimate
    speed: Estimate
    signed_speed: Estimate
    rms_speed: Estimate
    mean_speed: Estimate
    shares: Estimate
    transitions: Estimate
    to_high: Estimate
    to_high_of_all: Estimate
    peak_to_high: Estimate
    entropy: Estimate
    entropy_change: Estimate
    checkpoints: FloatArray
    regions: tuple[str, ...]
    pairs: int
    models: int
    samples: int
    level: float

    def estimates(self) -> dict[str, Estimate]:
        """Every metric by name."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Estimate)}

    def summary(self) -> dict[str, Estimate]:
        """The metrics that are one number each."""
        return {k: e for k, e in self.estimates().items() if np.ndim(e.value) == 0}


# How far each metric can go at all; intervals are cut there.
_RANGES: dict[str, tuple[float, float]] = {
    "centre": (0, 1),
    "advantage": (-1, 1),
    "displacement": (0, np.inf),
    "displacement_net": (0, np.inf),
    "displacement_path": (0, np.inf),
    "speed": (0, np.inf),
    "signed_speed": (-np.inf, np.inf),
    "squared_speed": (-np.inf, np.inf),
    "mean_speed": (0, np.inf),
    "shares": (0, 1),
    "transitions": (0, 1),
    "to_high": (0, 1),
    "to_high_of_all": (0, 1),
    "peak_to_high": (0, 1),
    "entropy": (0, np.inf),
    "entropy_change": (-np.inf, np.inf),
}


def _metrics(sums: Sums, samples: int, spans: FloatArray, unbiased: bool) -> dict[str, FloatArray]:
    """Metrics of every replicate from its sums: name -> (B, ...)."""
    of = {f.name: np.moveaxis(getattr(sums, f.name), 0, 1) for f in fields(sums)}
    centre = of["centre"] / samples
    speed = of["steps"][:, 1:] / samples / spans
    squared = of["squares"][:, 1:] / samples / spans**2
    gap = centre[..., 1] - centre[..., 0]
    entropy = dynamics.entropy_of(of["cells"])
    moves = of["moves"][:, 1:]
    to_high, of_all = dynamics.arrivals(moves)
    nothing = np.zeros(len(centre))
    since = np.sqrt(((centre - centre[:, :1]) ** 2).sum(axis=-1))
    return {
        "centre": centre,
        "advantage": gap,
        "displacement": since,
        "displacement_net": since[:, -1],
        "displacement_path": np.sqrt((np.diff(centre, axis=1) ** 2).sum(axis=-1)).sum(axis=-1),
        "speed": speed,
        "signed_speed": np.diff(gap, axis=1) / spans,
        "squared_speed": squared if unbiased else np.full_like(squared, np.nan),
        "mean_speed": speed.mean(axis=-1) if len(spans) else nothing,
        "shares": of["moves"].sum(axis=-2) / samples,
        "transitions": dynamics.rows_to_one(moves),
        "to_high": to_high,
        "to_high_of_all": of_all,
        "peak_to_high": to_high.max(axis=-1) if len(spans) else nothing,
        "entropy": entropy,
        "entropy_change": entropy[:, -1] - entropy[:, 0],
    }


def _replicated(
    paths: Trajectories, regions: Regions, grid: Grid, bootstrap: Bootstrap
) -> tuple[dict[str, FloatArray], dict[str, FloatArray], int]:
    """(metrics of the whole, their standard errors or NaN, degrees of freedom)."""
    if (paths.n_in < 1).any() or (paths.n_out < 1).any():
        raise InputError(
            "member: expected at least one target of each kind for every sample; "
            "train more models, in pairs"
        )
    counted = paths.decisions is not None and paths.groups is None
    work: Callable[[slice], Sums]
    if counted:
        weights = bootstrap.weights(int(partitions(paths.member).max()) + 1)
        groups = weights.shape[1]
        scale = bootstrap.scale(groups)
        if np.array_equal(np.bincount(tuples(paths.member) + 1), [0] + [2] * groups):
            work = Pairs(paths, weights, regions, grid).sums
        else:
            work = partial(sums_of, Units(paths, weights), len(paths.fpr), regions, grid)
    else:
        given = Given(paths)
        groups = given.replicates - 1
        # The delete-a-group jackknife: replicates differ by little, their spread is blown up.
        scale = (groups - 1) / np.sqrt(max(groups, 1))
        work = partial(sums_of, given, len(paths.fpr), regions, grid)
    blocks = [
        slice(first, min(first + _BLOCK, paths.samples))
        for first in range(0, paths.samples, _BLOCK)
    ]
    threads = bootstrap.threads or cores()
    total: Sums | None = None
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        # Blocks are added in their order, so the result does not depend on the threads.
        for part in pool.map(work, blocks):
            if total is None:
                total = part
            else:
                total.add(part)
    assert total is not None
    unbiased = paths.turns_in is not None and bool(min(paths.n_in.min(), paths.n_out.min()) >= 2)
    metrics = _metrics(total, paths.samples, np.diff(paths.checkpoints), unbiased)
    errors = {name: standard_error(values[1:], scale) for name, values in metrics.items()}
    return {k: v[0] for k, v in metrics.items()}, errors, max(groups - 1, 1)


def population(
    paths: Trajectories, regions: Regions, grid: Grid, bootstrap: Bootstrap
) -> Population:
    """All population metrics of `paths`, with intervals over pairs of runs and null bands.

    Time grows with replicates · checkpoints · samples · pairs as one matrix product; memory with
    none of them beyond the packed decisions. Raises InputError when a sample has no target of a
    kind.
    """
    value, error, freedom = _replicated(paths, regions, grid, bootstrap)
    nulls = [_replicated(null, regions, grid, bootstrap)[:2] for null in paths.null]
    estimates = {
        name: estimate(
            v,
            error[name],
            [(null[name], spread[name]) for null, spread in nulls],
            level=bootstrap.level,
            freedom=freedom,
            within=_RANGES[name],
        )
        for name, v in value.items()
    }
    estimates["rms_speed"] = estimates.pop("squared_speed").root()
    return Population(
        **estimates,
        checkpoints=paths.checkpoints,
        regions=regions.names,
        pairs=int(partitions(paths.member).max()) + 1,
        models=paths.models,
        samples=paths.samples,
        level=bootstrap.level,
    )
