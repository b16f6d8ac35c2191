"""Population metrics: brute-force resampling, the null band, coverage of the intervals."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t

from seepage.attacks.base import Attack
from seepage.errors import InputError
from seepage.plan import half_split, partitions, permute_membership, subsets
from seepage.plane import (
    Bootstrap,
    ByAdvantage,
    ByEpsilon,
    Counting,
    Grid,
    NaturalThreshold,
    Regions,
    Trajectories,
    dynamics,
    points,
)


@dataclasses.dataclass(frozen=True)
class Zero(Attack):
    """Only its threshold is used: the tests bring scores of their own."""

    name: ClassVar[str] = "zero"
    threshold: ClassVar[float | None] = 0.0

    def run(self, target, references, member):
        raise AssertionError("scores are given")


def paths_of(scores: np.ndarray, member: np.ndarray, null: Sequence[Trajectories] = ()):
    """Trajectories straight from scores (T, R, N)."""
    track = Counting().start(member, len(scores), NaturalThreshold(), Zero(), keep=True)
    for k, s in enumerate(scores):
        track.add(k, {}, s)
    epochs = np.cumsum(np.arange(len(scores)) + 1.0)
    return Trajectories(epochs, member=member, null=tuple(null), **track.finish())


def moving_scores(rng: np.random.Generator, member: np.ndarray, checkpoints: int) -> np.ndarray:
    """Noise that two checkpoints share in part, and a shift of members that grows."""
    lasting = rng.normal(size=member.shape)
    fresh = rng.normal(size=(checkpoints, *member.shape))
    shift = np.linspace(0, 1.5, checkpoints)[:, None, None]
    return 0.7 * lasting + 0.7 * fresh + shift * (member - 0.5)


def brute_metrics(
    decisions: np.ndarray, member: np.ndarray, epochs: np.ndarray, regions: Regions, grid: Grid
) -> dict[str, np.ndarray]:
    """Every metric from repeated rows of decisions (T, R, N), sample by sample where it matters."""
    states = [points(d, member) for d in decisions]
    fpr, tpr = (np.stack([getattr(p, k) for p in states]) for k in ("fpr", "tpr"))
    n_in, n_out = states[0].n_in, states[0].n_out
    c = np.stack([p.centre for p in states])
    spans = np.diff(epochs)
    area = regions.assign(fpr, tpr, n_out, n_in)
    moves = np.zeros((len(spans), len(regions), len(regions)))
    for k in range(len(spans)):
        for a, b in zip(area[k], area[k + 1], strict=True):
            moves[k, a, b] += 1
    high = len(regions) - 1
    to_high = moves[:, :high, high].sum(1) / np.maximum(moves[:, :high].sum((1, 2)), 1)
    cells = grid.assign(fpr, tpr, n_out, n_in)
    entropy = []
    for row in cells:
        p = np.unique(row, return_counts=True)[1] / row.size
        entropy.append(-(p * np.log2(p)).sum())
    steps = np.sqrt(np.diff(fpr, axis=0) ** 2 + np.diff(tpr, axis=0) ** 2)
    return {
        "centre": c,
        "advantage": (tpr - fpr).mean(1),
        "displacement": np.linalg.norm(c - c[0], axis=-1),
        "displacement_net": np.array(np.linalg.norm(c[-1] - c[0])),
        "displacement_path": np.array(sum(np.linalg.norm(b - a) for a, b in itertools.pairwise(c))),
        "speed": steps.mean(1) / spans,
        "signed_speed": np.diff((tpr - fpr).mean(1)) / spans,
        "mean_speed": np.array(steps.mean(axis=1).sum() / spans.sum()),
        "shares": np.stack([np.bincount(r, minlength=len(regions)) / r.size for r in area]),
        "transitions": np.stack(
            [
                [
                    row / row.sum() if row.sum() else np.eye(len(regions))[a]
                    for a, row in enumerate(m)
                ]
                for m in moves
            ]
        ),
        "to_high": to_high,
        "to_high_of_all": moves[:, :high, high].sum(1) / member.shape[1],
        "peak_to_high": np.array(to_high.max()),
        "entropy": np.array(entropy),
        "entropy_change": np.array(entropy[-1] - entropy[0]),
    }


@pytest.mark.parametrize("regions", [ByAdvantage(), ByEpsilon(two_sided=True), ByAdvantage((0.3,))])
@pytest.mark.parametrize(("parts", "failed"), [(2, 0), (2, 3), (4, 0), (4, 1), (4, 2)])
def test_population_equals_brute_force_resampling(regions, parts, failed):
    rng = np.random.default_rng(4 + failed)
    member = subsets(700, models=16, parts=parts, seed=3).member[failed:]
    scores = moving_scores(rng, member, 4)
    paths = paths_of(scores, member)
    bootstrap, grid = Bootstrap(replicates=6, seed=5, threads=2), Grid(7)
    population = paths.population(regions, grid, bootstrap)
    tuple_of = partitions(member)
    weights = bootstrap.weights(tuple_of.max() + 1).astype(int)
    brute = []
    for w in weights:
        rows = np.repeat(np.arange(len(member)), w[tuple_of])
        brute.append(
            brute_metrics(scores[:, rows] >= 0, member[rows], paths.checkpoints, regions, grid)
        )
    pairs = weights.shape[1]
    quantile = t.ppf(0.975, pairs - 1)
    for name, estimate in population.estimates().items():
        if name == "rms_speed":
            continue
        np.testing.assert_allclose(estimate.value, brute[0][name], atol=1e-12, err_msg=name)
        values = np.stack([b[name] for b in brute[1:]])
        spread = (
            quantile * np.sqrt((pairs // 2) / (pairs - pairs // 2)) * values.std(axis=0, ddof=1)
        )
        upper = estimate.value + spread
        free = (estimate.high > 0) & (estimate.high < 1)
        np.testing.assert_allclose(estimate.high[free], upper[free], atol=1e-10, err_msg=name)
        assert np.isnan(estimate.null).all()
    rms = np.sqrt(np.maximum(paths.squared_speed().mean(axis=1), 0))
    np.testing.assert_allclose(population.rms_speed.value, rms, atol=1e-12)
    # Methods and population agree.
    np.testing.assert_allclose(population.speed.value, paths.speed().mean(1), atol=1e-12)
    np.testing.assert_allclose(population.entropy.value, paths.entropy(grid), atol=1e-12)
    np.testing.assert_allclose(population.transitions.value, paths.transitions(regions))
    np.testing.assert_allclose(population.to_high.value, paths.to_high(regions)[0])
    np.testing.assert_allclose(population.displacement_net.value, paths.displacement()[0])
    # Without stored decisions the same values, no intervals.
    bare = dataclasses.replace(paths, decisions=None).population(regions, grid, bootstrap)
    for name, estimate in bare.estimates().items():
        np.testing.assert_allclose(
            estimate.value, getattr(population, name).value, atol=1e-6, err_msg=name
        )
        assert np.isnan(estimate.high).all()


def test_threads_do_not_change_the_result():
    member = half_split(1100, models=8, seed=0).member
    paths = paths_of(moving_scores(np.random.default_rng(0), member, 3), member)
    a = paths.population(bootstrap=Bootstrap(10, threads=1))
    b = paths.population(bootstrap=Bootstrap(10, threads=2))
    for name, estimate in a.estimates().items():
        np.testing.assert_array_equal(estimate.high, getattr(b, name).high, err_msg=name)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), samples=st.integers(1, 30), pairs=st.integers(2, 5))
def test_laws_of_the_population(seed, samples, pairs):
    rng = np.random.default_rng(seed)
    member = half_split(samples + 1, models=2 * pairs, seed=seed).member
    paths = paths_of(moving_scores(rng, member, 3), member)
    p = paths.population(bootstrap=Bootstrap(4))
    np.testing.assert_allclose(p.transitions.value.sum(axis=-1), 1)
    np.testing.assert_allclose(p.shares.value.sum(axis=-1), 1)
    assert (p.entropy.value >= 0).all()
    assert (p.entropy.value <= np.log2(samples + 1) + 1e-12).all()
    assert p.displacement_net.value <= p.displacement_path.value + 1e-12
    assert (np.abs(p.signed_speed.value) <= np.sqrt(2) * p.speed.value + 1e-12).all()
    assert (p.to_high_of_all.value <= p.to_high.value + 1e-12).all()
    # The shares move as the transitions say.
    moved = np.einsum("ts,tsr->tr", p.shares.value[:-1], p.transitions.value)
    np.testing.assert_allclose(moved, p.shares.value[1:], atol=1e-12)
    order = rng.permutation(samples + 1)
    q = paths_of(np.stack([paths_scores(paths)[t][:, order] for t in range(3)]), member[:, order])
    np.testing.assert_allclose(
        q.population(bootstrap=Bootstrap(4)).entropy.high, p.entropy.high, atol=1e-12
    )


def paths_scores(paths: Trajectories) -> np.ndarray:
    """±1 for the stored decisions, (T, R, N)."""
    bits = np.unpackbits(paths.decisions, axis=2, count=paths.samples)
    return 2.0 * bits - 1.0


def test_permuted_membership_lies_within_the_stated_null_band():
    """On signals without any leakage the truth is one more permuted draw: 95 % lie in the band."""
    inside: dict[str, list[bool]] = {}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        member = half_split(120, models=24, seed=seed).member
        scores = moving_scores(rng, np.full_like(member, False), 3)
        null = paths_of(scores, permute_membership(member, rng))
        p = paths_of(scores, member, [null]).population(bootstrap=Bootstrap(60, seed=seed))
        for name in ("displacement_net", "mean_speed", "entropy_change", "advantage"):
            outside = getattr(p, name).outside_null
            # Bands hold pointwise: of the advantage, the last checkpoint.
            inside.setdefault(name, []).append(not outside.reshape(-1)[-1])
    for name, hits in inside.items():
        # Binomial(60, 0.95) is at least 51 with probability 0.999.
        assert np.sum(hits) >= 51, (name, np.sum(hits))


def test_intervals_cover_the_value_at_this_number_of_models():
    """Of fleets drawn alike, 95 % of the intervals hold the fleets' mean metric."""
    estimates: dict[str, list[tuple[float, float, float]]] = {}
    names = ("displacement_net", "mean_speed", "entropy_change", "peak_to_high", "rms_speed")
    samples = 150
    strength = np.random.default_rng(1).normal(0, 1.0, samples)
    for seed in range(80):
        rng = np.random.default_rng(seed + 100)
        member = half_split(samples, models=32, seed=seed).member
        # Every model also has a mood of its own, so that samples are not independent.
        mood = rng.normal(0, 0.5, size=(32, 1))
        scores = moving_scores(rng, member, 3) + mood
        scores[1:] += strength * (member - 0.5) * np.array([1.0, 2.0])[:, None, None]
        p = paths_of(scores, member).population(bootstrap=Bootstrap(80, seed=seed))
        for name in names:
            e = getattr(p, name)
            at = (0,) if np.ndim(e.value) else ()
            estimates.setdefault(name, []).append((e.value[at], e.low[at], e.high[at]))
    for name, triples in estimates.items():
        value, low, high = np.array(triples).T
        covered = np.mean((low <= value.mean()) & (value.mean() <= high))
        # Nominal 0.95; 80 fleets leave ±0.05.
        assert covered >= 0.86, (name, covered)
        # Nor are they idle: drawing pairs with replacement makes them several times this wide.
        width = (high - low)[low > 0].mean() / 2 / t.ppf(0.975, 15)
        assert width < 1.7 * value.std(ddof=1), name


def test_noise_free_speed_is_unbiased():
    rng = np.random.default_rng(0)
    member = half_split(4000, models=20, seed=0).member
    still = np.broadcast_to(rng.normal(size=(1, 20, 4000)), (2, 20, 4000)) * 0.5
    jitter = rng.normal(size=(2, 20, 4000))
    quiet = paths_of(still + jitter, member)
    # Decisions turn, rates do not: apparent speed, no true one.
    assert quiet.speed().mean() > 0.1
    error = quiet.squared_speed().std() / np.sqrt(4000)
    assert abs(quiet.squared_speed().mean()) < 4 * error
    shift = np.array([0.0, 1.0])[:, None, None] * (member - 0.5)
    moved = paths_of(jitter + shift, member)
    step = norm.cdf(0.5) - 0.5
    truth = 2 * step**2 / np.diff(moved.checkpoints)[0] ** 2
    error = moved.squared_speed().std() / np.sqrt(4000)
    assert abs(moved.squared_speed().mean() - truth) < 4 * error


def test_plans_without_pairs_survive_replicates_that_lose_a_side():
    rng = np.random.default_rng(0)
    member = np.arange(40) % 5 == np.arange(5)[:, None]
    member[0, 1] = True  # no longer one tuple, which would be one draw
    paths = paths_of(moving_scores(rng, member, 3), member)
    p = paths.population(bootstrap=Bootstrap(30))
    for name, estimate in p.estimates().items():
        # Samples with one IN target: the noise-free speed does not exist, everything else does.
        assert np.isfinite(estimate.high).all() == (name != "rms_speed"), name


def test_one_checkpoint_and_one_pair():
    member = half_split(9, models=2, seed=0).member
    p = paths_of(np.ones((1, 2, 9)), member).population()
    assert p.speed.value.shape == (0,)
    assert p.displacement_net.value == 0
    assert p.entropy.value.shape == (1,)
    assert np.isnan(p.entropy.high).all()


def test_population_names_what_is_wrong():
    member = np.ones((2, 3), dtype=bool)
    member[0, 0] = False
    paths = dataclasses.replace(
        paths_of(np.ones((2, 2, 4)), half_split(4, models=2, seed=0).member), n_out=np.zeros(4, int)
    )
    with pytest.raises(InputError, match="member: expected at least one target of each kind"):
        paths.population()
    with pytest.raises(InputError, match="replicates: expected 0, or at least 2"):
        Bootstrap(1)
    with pytest.raises(InputError, match="level: expected between 0 and 1"):
        Bootstrap(level=1.0)
    with pytest.raises(InputError, match="models: expected at least 2 targets"):
        paths_of(np.ones((2, 2, 4)), half_split(4, models=2, seed=0).member).squared_speed()
    with pytest.raises(InputError, match="cuts: expected ascending"):
        ByAdvantage((0.5, 0.2))
    with pytest.raises(InputError, match="n: expected 1 to 256 cells"):
        Grid(0)
    with pytest.raises(InputError, match="checkpoints: expected 3 ascending"):
        dynamics.speed(np.zeros((3, 2)), np.zeros((3, 2)), np.array([0.0, 1.0]))
    with pytest.raises(InputError, match="base: expected more than 1"):
        dynamics.entropy(np.zeros((1, 2), int), 2, base=1.0)
