"""What halves agree on: nothing where nothing leaks, the true movement where something does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from seepage.attacks import LiRA
from seepage.errors import InputError
from seepage.plan import subsets
from seepage.plane import (
    Permuted,
    TopShare,
    early_determination,
    split_half,
    trajectories,
)
from seepage.plane.early import expected_recall


@dataclass
class Fleet:
    """phi at every checkpoint: noise that lasts, noise that does not, a shift of members."""

    member: NDArray[np.bool_]
    phi: NDArray[np.float64]

    @property
    def checkpoints(self) -> NDArray[np.float64]:
        return np.array([0.0, 1.0, 2.0, 4.0])[: self.phi.shape[1]]

    def signal_at(self, name: str, t: int, /) -> NDArray[np.float64]:
        assert name == "phi"
        return self.phi[:, t]


def fleet(
    shift: NDArray[np.float64],
    *,
    models: int = 32,
    samples: int = 400,
    seed: int = 0,
    parts: int = 2,
):
    """shift (T, N) or (T, 1): how far members lie above others, in standard deviations."""
    rng = np.random.default_rng(seed)
    member = subsets(samples, models=models, parts=parts, seed=seed).member
    lasting = rng.normal(size=(models, 1, samples))
    fresh = rng.normal(size=(models, len(shift), samples))
    noise = np.sqrt(0.8) * lasting + np.sqrt(0.2) * fresh
    return Fleet(member, noise + shift[None] * member[:, None])


def test_without_leakage_halves_agree_on_nothing_where_one_fleet_moves_and_remembers():
    """The reason for halves: within one fleet both figures speak of noise that targets share."""
    still = fleet(np.zeros((4, 1)), samples=1500)
    paths = trajectories(still, attack=LiRA(), null=Permuted(0))
    within = early_determination(paths, vulnerable=TopShare(0.05))
    found = split_half(still, attack=LiRA(), splits=2)
    assert np.sqrt(paths.squared_speed().mean()) > 0.08
    assert within.recall_now.value[2] > 2.5 * within.chance.value[2]
    e = found.mean_squared_speed
    assert e.low < 0 < e.high
    assert abs(e.value) < 0.1 * paths.squared_speed().mean()
    assert np.abs(found.recall.value - found.chance.value).max() < 0.05


def test_movement_is_that_of_the_expected_place():
    """Rates of many fleets of half the size, averaged, move as two halves say."""
    rng = np.random.default_rng(1)
    size = rng.exponential(1.0, 300)
    shift = np.array([0.0, 0.5, 1.0, 2.0])[:, None] * size
    rates = []
    for seed in range(16):
        one = trajectories(
            fleet(shift, models=16, samples=300, seed=100 + seed), attack=LiRA(), null=Permuted(0)
        )
        rates.append([one.fpr, one.tpr])
    spans = np.array([1.0, 1.0, 2.0])
    half = [np.diff(np.mean(rates[k::2], axis=0), axis=1) for k in (0, 1)]
    true = (half[0] * half[1]).sum(axis=0).mean(axis=-1) / spans**2
    found = [
        split_half(fleet(shift, samples=300, seed=s), attack=LiRA(), splits=1).squared_speed
        for s in range(4)
    ]
    np.testing.assert_allclose(np.mean([e.value for e in found], axis=0), true, rtol=0.25)
    covered = np.mean([(e.low <= true) & (true <= e.high) for e in found])
    assert covered >= 0.8


def test_samples_that_leak_all_along_are_known_from_when_they_do():
    shift = np.zeros((4, 400))
    shift[2:, :20] = 4.0
    found = split_half(fleet(shift), attack=LiRA())
    assert found.chance.value == pytest.approx(0.05, abs=0.02)
    assert np.abs(found.known.value[:2]).max() < 0.15
    assert found.known.value[2] > 0.9
    assert found.known.value[3] == 1
    assert (found.recall.low[2:] > found.recall.null_high[2:]).all()
    assert found.models == 16


def test_order_of_samples_does_not_matter():
    run = fleet(np.linspace(0, 2, 4)[:, None] * np.linspace(0, 1, 120)[None], samples=120)
    turned = Fleet(run.member[:, ::-1].copy(), run.phi[:, :, ::-1].copy())
    a, b = (split_half(r, attack=LiRA(), splits=1, groups=4) for r in (run, turned))
    np.testing.assert_allclose(a.squared_speed.value, b.squared_speed.value)
    np.testing.assert_allclose(a.recall.value, b.recall.value)
    np.testing.assert_allclose(a.known.low, b.known.low)


def test_ties_count_as_random_orders_do():
    final = np.array([True, True, False, False])
    rows = np.array([[1.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0], [3.0, 2.0, 1.0, 0.0]])
    np.testing.assert_allclose(expected_recall(rows, final), [0.75, 0.5, 1.0])


def test_small_fleets_and_empty_requests_are_refused():
    run = fleet(np.zeros((2, 1)), models=14, samples=20)
    with pytest.raises(
        InputError, match="expected at least 8 complementary pairs or tuples to halve, got 7"
    ):
        split_half(run, attack=LiRA())
    run = fleet(np.zeros((1, 1)), models=16, samples=20)
    with pytest.raises(InputError, match="checkpoints: expected at least 2, got 1"):
        split_half(run, attack=LiRA())
    with pytest.raises(InputError, match="expected at least 1, 2 and 2 draws"):
        split_half(run, attack=LiRA(), null=Permuted(1))


def test_halves_of_tuples_agree_on_what_moves():
    still = split_half(fleet(np.zeros((3, 1)), models=40, parts=4), attack=LiRA(), groups=4)
    assert still.models == 20
    assert still.mean_squared_speed.low < 0 < still.mean_squared_speed.high
    moving = fleet(np.array([[0.0], [1.5], [3.0]]), models=40, parts=4)
    found = split_half(moving, attack=LiRA(), groups=4).mean_squared_speed
    assert found.value > 5 * abs(still.mean_squared_speed.value)
