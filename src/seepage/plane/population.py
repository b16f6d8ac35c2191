"""All population metrics at once, each with its interval over models and its null band.

A replicate keeps half of the pairs of runs, and every sample's decisions are counted again: the
replicates' weights times packed decisions is a matrix product, a few thousand samples at a time.
From the counts of a block its rates, steps and moves between regions are added up; no replicate's
trajectories are ever stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from seepage.array_types import Float64Array, FloatArray, Int64Array
from seepage.errors import InputError
from seepage.native.library import limited
from seepage.plan import partitions
from seepage.plane import dynamics
from seepage.plane.lattice import BLOCK, PackedPairs, by_tuple, kept, lattice_sums
from seepage.plane.rates import RateSeries
from seepage.plane.regions import Grid, Regions
from seepage.plane.resampling import Bootstrap, Estimate, cores, estimate, standard_error
from seepage.short_repr import short_repr

__all__ = ["Population", "population"]


# Samples at a time: the replicates' counts of a block stay in a core's cache.
_BLOCK = 2048


@short_repr
@dataclass(frozen=True, eq=False)
class Population:
    """Population metrics over training; T checkpoints, T−1 intervals between them, S regions.

    centre (T, 2) mean FPR and TPR; advantage (T,) mean TPR − FPR; displacement (T,) of the centre
    since the first checkpoint, displacement_net () its last, displacement_path () along its path;
    speed (T−1,) mean ‖Δv‖ per epoch; signed_speed (T−1,); rms_speed (T−1,) root mean squared speed
    free of counting noise, NaN for closed-form rates; mean_speed () the speed over samples and
    training time; shares (T, S) of samples per region; transitions (T−1, S, S); to_high, to_high_of_all (T−1,)
    probability of moving into the last region over the samples not yet there and over all;
    peak_to_high () the largest `to_high`; entropy (T,) in bits; entropy_change () = H(t_T) −
    H(t_0).

    What is counted between checkpoints depends on how far these are apart: moves into a region and
    their peak are per interval, not per epoch, and paths (displacement_path, speed) are longer the
    more checkpoints there are. Compare runs with the same checkpoints.

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


@dataclass(eq=False)
class _Sums:
    """Sums over samples by checkpoint and replicate: all that population metrics depend on.

    The last three belong to the interval that ends at a checkpoint; at the first one steps and
    squares are 0, and moves lead from each region to itself.
    """

    centre: Float64Array  # (T, B, 2)
    cells: Int64Array  # (T, B, C)
    steps: Float64Array  # (T, B)
    squares: Float64Array  # (T, B)
    moves: Int64Array  # (T, B, S, S)

    @classmethod
    def zeros(cls, checkpoints: int, replicates: int, regions: int, cells: int) -> _Sums:
        shape = (checkpoints, replicates)
        return cls(
            np.zeros((*shape, 2)),
            np.zeros((*shape, cells), dtype=np.int64),
            np.zeros(shape),
            np.zeros(shape),
            np.zeros((*shape, regions, regions), dtype=np.int64),
        )

    def add(self, other: _Sums) -> None:
        for f in fields(self):
            mine = getattr(self, f.name)
            mine += getattr(other, f.name)


def _table(pairs: int, regions: Regions, grid: Grid) -> NDArray[np.uint32]:
    """Region · 2¹⁶ + cell of every point of the lattice (hits_out, hits_in) / pairs."""
    rates = np.arange(pairs + 1) / pairs
    x, y = np.meshgrid(rates, rates, indexing="ij")
    region, cell = (r.assign(x, y, pairs, pairs) for r in (regions, grid))
    return np.asarray(region * 2**16 + cell, dtype=np.uint32)


def _pair_sums(rates: RateSeries, weights: FloatArray, regions: Regions, grid: Grid) -> _Sums:
    """Sums of every replicate where all runs come in complete pairs."""
    assert rates.decisions is not None
    sums = _Sums.zeros(len(rates.fpr), len(weights), len(regions), len(grid))
    # Row 0 keeps all pairs, every other row half of them.
    parts = [(rows, kept(weights[rows])) for rows in (slice(0, 1), slice(1, None))]
    parts = [(rows, chosen) for rows, chosen in parts if len(chosen)]
    tables = [_table(chosen.shape[1], regions, grid) for _, chosen in parts]
    for first in range(0, rates.samples, BLOCK):
        block = slice(first, min(first + BLOCK, rates.samples))
        pairs = PackedPairs.of(rates.decisions, rates.member, block)
        for (rows, chosen), table in zip(parts, tables, strict=True):
            found = lattice_sums(pairs, chosen, table, len(grid), len(regions))
            for f in fields(sums):
                mine = getattr(sums, f.name)[:, rows]
                mine += getattr(found, f.name).swapaxes(0, 1)
    return sums


class _UnpairedCounts:
    """The same where not all runs are pairs: numbers of targets differ by sample."""

    def __init__(self, rates: RateSeries, weights: FloatArray) -> None:
        assert rates.decisions is not None
        self.decisions = rates.decisions
        self.tuple_of = partitions(rates.member)
        self.truth = rates.member
        self.weights = np.ascontiguousarray(weights, dtype=np.float32)
        self.size = np.bincount(self.tuple_of).astype(np.float32)

    def trials(self, block: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Targets counted over, (n_in, n_out), each (B, n)."""
        inside = np.zeros((len(self.size), block.stop - block.start), dtype=np.float32)
        np.add.at(inside, self.tuple_of, self.truth[:, block].astype(np.float32))
        return self.weights @ inside, self.weights @ (self.size[:, None] - inside)

    def counts(self, block: slice) -> Iterator[list[NDArray[np.float32]]]:
        """Per checkpoint: hits_in, hits_out, turns_in, turns_out, each (B, n)."""
        n, width = block.stop - block.start, slice(block.start // 8, -(-block.stop // 8))
        truth = self.truth[:, block]
        before = None
        for packed in self.decisions:
            said = np.unpackbits(packed[:, width], axis=1, count=n).view(np.bool_)
            turned = np.zeros_like(said) if before is None else said ^ before
            each = (said & truth, said & ~truth, turned & truth, turned & ~truth)
            yield [self.weights @ by_tuple(a, self.tuple_of) for a in each]
            before = said


class _FixedRates:
    """Rates as they are, and without each group of pairs: closed-form, or decisions not kept."""

    def __init__(self, rates: RateSeries) -> None:
        self.rates = rates
        self.replicates = 1 + (0 if rates.jackknife is None else len(rates.jackknife))

    def trials(self, block: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Targets counted over, (n_in, n_out), each (B, n)."""
        shape = (self.replicates, block.stop - block.start)
        return (
            np.broadcast_to(self.rates.n_in[block], shape).astype(np.float32),
            np.broadcast_to(self.rates.n_out[block], shape).astype(np.float32),
        )

    def counts(self, block: slice) -> Iterator[list[NDArray[np.float32]]]:
        """Per checkpoint: hits_in, hits_out, turns_in, turns_out, each (B, n)."""
        of, (n_in, n_out) = self.rates, self.trials(block)
        for t in range(len(of.fpr)):
            tpr, fpr = of.tpr[t, block][None], of.fpr[t, block][None]
            if of.jackknife is not None:
                fpr = np.concatenate([fpr, of.jackknife[:, 0, t, block]])
                tpr = np.concatenate([tpr, of.jackknife[:, 1, t, block]])
            turns_in, turns_out = np.zeros_like(n_in), np.zeros_like(n_out)
            if t and of.turns_in is not None and of.turns_out is not None:
                turns_in[:], turns_out[:] = of.turns_in[t - 1, block], of.turns_out[t - 1, block]
            hits = (tpr * n_in).astype(np.float32), (fpr * n_out).astype(np.float32)
            yield [*hits, turns_in, turns_out]


def _histogram(values: Int64Array, shape: tuple[int, ...]) -> Int64Array:
    return np.bincount(values.ravel(), minlength=int(np.prod(shape))).reshape(shape)


def _sums_of(
    source: _UnpairedCounts | _FixedRates,
    checkpoints: int,
    regions: Regions,
    grid: Grid,
    block: slice,
) -> _Sums:
    """The work on one block of samples, without assuming that counts lie on one lattice."""
    n_in, n_out = source.trials(block)
    # A replicate without a target of a kind for a sample keeps that sample's own counts.
    lost = (n_in < 1) | (n_out < 1)
    n_in, n_out = np.where(lost, n_in[:1], n_in), np.where(lost, n_out[:1], n_out)
    sums = _Sums.zeros(checkpoints, len(n_in), len(regions), len(grid))
    hits_in_last = hits_out_last = np.zeros_like(n_in)
    region_last = np.zeros(n_in.shape, dtype=np.int64)
    for t, counts in enumerate(source.counts(block)):
        hits_in, hits_out, turns_in, turns_out = (np.where(lost, a[:1], a) for a in counts)
        # In float64: a cut may fall on a rate, and rounding must not decide.
        x, y = np.divide(hits_out, n_out, dtype=float), np.divide(hits_in, n_in, dtype=float)
        found = [r.assign(x, y, n_out, n_in) for r in (regions, grid)]
        if any((f < 0).any() for f in found):
            raise InputError(
                "rates: expected both rates of every sample, got NaN; train more models, in pairs"
            )
        region, cell = (f.astype(np.int64) for f in found)
        count, kinds, rows = len(grid), len(regions), np.arange(len(n_in))[:, None]
        origin = region_last if t else region
        sums.centre[t] = np.stack([x.sum(axis=1), y.sum(axis=1)], axis=1)
        sums.cells[t] = _histogram(rows * count + cell, sums.cells[t].shape)
        moved = (rows * kinds + origin) * kinds + region
        sums.moves[t] = _histogram(moved, sums.moves[t].shape)
        if t:
            d_in, d_out = (
                np.subtract(now, last, dtype=float)
                for now, last in ((hits_in, hits_in_last), (hits_out, hits_out_last))
            )
            m_in, m_out = n_in.astype(float), n_out.astype(float)
            sums.steps[t] = np.hypot(d_in / m_in, d_out / m_out).sum(axis=1)
            square = (d_in**2 - turns_in) / np.maximum(m_in * (m_in - 1), 1.0)
            square += (d_out**2 - turns_out) / np.maximum(m_out * (m_out - 1), 1.0)
            sums.squares[t] = square.sum(axis=1)
        hits_in_last, hits_out_last, region_last = hits_in, hits_out, region
    return sums


def _by_block(
    source: _UnpairedCounts | _FixedRates,
    rates: RateSeries,
    regions: Regions,
    grid: Grid,
    bootstrap: Bootstrap,
) -> _Sums:
    """`_sums_of` all samples."""
    starts = range(0, rates.samples, _BLOCK)
    blocks = [slice(first, min(first + _BLOCK, rates.samples)) for first in starts]
    times = len(rates.fpr)
    total: _Sums | None = None
    with (
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor(bootstrap.threads or cores()) as pool,
    ):
        # Blocks are added in their order, so the result does not depend on the threads.
        for part in pool.map(lambda b: _sums_of(source, times, regions, grid, b), blocks):
            if total is None:
                total = part
            else:
                total.add(part)
    assert total is not None
    return total


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


def _metrics(sums: _Sums, samples: int, spans: FloatArray, unbiased: bool) -> dict[str, FloatArray]:
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
        "mean_speed": speed @ spans / spans.sum() if len(spans) else nothing,
        "shares": of["moves"].sum(axis=-2) / samples,
        "transitions": dynamics.rows_to_one(moves),
        "to_high": to_high,
        "to_high_of_all": of_all,
        "peak_to_high": to_high.max(axis=-1) if len(spans) else nothing,
        "entropy": entropy,
        "entropy_change": entropy[:, -1] - entropy[:, 0],
    }


def _replicated(
    rates: RateSeries, regions: Regions, grid: Grid, bootstrap: Bootstrap
) -> tuple[dict[str, FloatArray], dict[str, FloatArray], int]:
    """(metrics of the whole, their standard errors or NaN, degrees of freedom)."""
    if (rates.n_in < 1).any() or (rates.n_out < 1).any():
        raise InputError(
            "member: expected at least one target of each kind for every sample; "
            "train more models, in pairs"
        )
    counted = rates.decisions is not None and rates.jackknife is None
    if counted:
        weights = bootstrap.weights(int(partitions(rates.member).max()) + 1)
        groups = weights.shape[1]
        scale = bootstrap.scale(groups)
        if PackedPairs.complete(rates.member):
            with limited(threads=bootstrap.threads):
                total = _pair_sums(rates, weights, regions, grid)
        else:
            total = _by_block(_UnpairedCounts(rates, weights), rates, regions, grid, bootstrap)
    else:
        fixed = _FixedRates(rates)
        groups = fixed.replicates - 1
        # The delete-a-group jackknife: replicates differ by little, so their spread is scaled up.
        scale = (groups - 1) / np.sqrt(max(groups, 1))
        total = _by_block(fixed, rates, regions, grid, bootstrap)
    unbiased = rates.turns_in is not None and bool(min(rates.n_in.min(), rates.n_out.min()) >= 2)
    metrics = _metrics(total, rates.samples, np.diff(rates.checkpoints), unbiased)
    errors = {name: standard_error(values[1:], scale) for name, values in metrics.items()}
    return {k: v[0] for k, v in metrics.items()}, errors, max(groups - 1, 1)


def population(
    rates: RateSeries,
    nulls: Sequence[RateSeries],
    regions: Regions,
    grid: Grid,
    bootstrap: Bootstrap,
) -> Population:
    """All population metrics, with intervals over pairs of runs and null bands.

    nulls: the same under permuted membership, one entry per draw.

    Time grows with replicates · checkpoints · samples · pairs as one matrix product; memory with
    none of them beyond the packed decisions. Raises InputError when a sample has no target of a
    kind.
    """
    value, error, freedom = _replicated(rates, regions, grid, bootstrap)
    permuted = [_replicated(null, regions, grid, bootstrap)[:2] for null in nulls]
    estimates = {
        name: estimate(
            v,
            error[name],
            [(null[name], spread[name]) for null, spread in permuted],
            level=bootstrap.level,
            freedom=freedom,
            within=_RANGES[name],
        )
        for name, v in value.items()
    }
    estimates["rms_speed"] = estimates.pop("squared_speed").root()
    return Population(
        **estimates,
        checkpoints=rates.checkpoints,
        regions=regions.names,
        pairs=int(partitions(rates.member).max()) + 1,
        models=rates.models,
        samples=rates.samples,
        level=bootstrap.level,
    )
