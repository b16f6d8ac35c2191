"""Points, decision rules and trajectories against closed forms and brute force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from seepage.attacks.base import Attack
from seepage.errors import InputError
from seepage.plan import half_split, partitions
from seepage.plan.counting import how_many
from seepage.plane import (
    ByAdvantage,
    ByEpsilon,
    ClosedForm,
    Counting,
    GlobalFPR,
    Grid,
    HighRegion,
    NaturalThreshold,
    Permuted,
    dynamics,
    epsilon,
    epsilon_two_sided,
    points,
    trajectories,
)


@dataclass(frozen=True)
class KnownGaussians(Attack):
    """log N(x; d, 1) − log N(x; 0, 1) − η with the laws known: nothing is estimated."""

    name: ClassVar[str] = "known"
    threshold: ClassVar[float | None] = 0.0
    shift: float = 1.0
    eta: float = 0.0

    def run(
        self,
        target: Mapping[str, np.ndarray],
        references: Mapping[str, np.ndarray],
        member: np.ndarray,
    ) -> np.ndarray:
        x = target["phi"].mean(axis=-1).astype(np.float64)
        return self.shift * x - self.shift**2 / 2 - self.eta


@dataclass(frozen=True)
class FittedMeans(Attack):
    """Distance to the OUT mean less distance to the IN mean, both estimated from references."""

    name: ClassVar[str] = "fitted"
    threshold: ClassVar[float | None] = 0.0
    min_in: ClassVar[int] = 1
    min_out: ClassVar[int] = 1

    def run(
        self,
        target: Mapping[str, np.ndarray],
        references: Mapping[str, np.ndarray],
        member: np.ndarray,
    ) -> np.ndarray:
        x = target["phi"][..., 0].astype(np.float64)
        ref = references["phi"][..., 0].astype(np.float64)
        mu_in = (ref * member).sum(axis=0) / member.sum(axis=0)
        mu_out = (ref * ~member).sum(axis=0) / (~member).sum(axis=0)
        return (x - mu_out) ** 2 - (x - mu_in) ** 2


class NoThreshold(KnownGaussians):
    threshold = None


@dataclass
class Arrays:
    member: np.ndarray
    checkpoints: np.ndarray
    phi: np.ndarray

    def signal_at(self, name: str, t: int) -> np.ndarray:
        assert name == "phi"
        return self.phi[:, t]


def gaussian_run(
    models: int = 64, samples: int = 300, shifts: tuple[float, ...] = (0.0, 1.0, 2.0), seed: int = 0
) -> Arrays:
    plan = half_split(samples, models=models, seed=seed)
    rng = np.random.default_rng(seed + 1)
    phi = rng.normal(size=(models, len(shifts), samples))
    phi += plan.member[:, None, :] * np.asarray(shifts)[None, :, None]
    return Arrays(plan.member, np.arange(len(shifts)) * 2.0, phi.astype(np.float32))


def brute_points(decisions: np.ndarray, member: np.ndarray) -> tuple[list[float], list[float]]:
    fpr, tpr = [], []
    for i in range(member.shape[1]):
        said_in = [decisions[r, i] for r in range(len(member)) if member[r, i]]
        said_out = [decisions[r, i] for r in range(len(member)) if not member[r, i]]
        tpr.append(sum(said_in) / len(said_in))
        fpr.append(sum(said_out) / len(said_out))
    return fpr, tpr


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), pairs=st.integers(1, 5), samples=st.integers(2, 9))
def test_points_are_shares_of_decisions_and_commute_with_permutations(seed, pairs, samples):
    rng = np.random.default_rng(seed)
    member = half_split(samples, models=2 * pairs, seed=seed).member
    decisions = rng.random(member.shape) < 0.5
    p = points(decisions, member)
    fpr, tpr = brute_points(decisions, member)
    np.testing.assert_allclose(p.fpr, fpr, rtol=0, atol=1e-15)
    np.testing.assert_allclose(p.tpr, tpr, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(p.n_in + p.n_out, 2 * pairs)
    order, rows = rng.permutation(samples), rng.permutation(2 * pairs)
    q = points(decisions[rows][:, order], member[rows][:, order])
    np.testing.assert_array_equal(q.tpr, p.tpr[order])
    np.testing.assert_array_equal(q.fpr, p.fpr[order])
    # The other hypothesis: swapping membership swaps the axes.
    swapped = points(decisions, ~member)
    np.testing.assert_array_equal(swapped.fpr, p.tpr)
    np.testing.assert_array_equal(p.advantage, p.tpr - p.fpr)


def test_points_without_targets_of_a_kind_are_nan():
    p = points(np.ones((2, 1), bool), np.ones((2, 1), bool))
    assert np.isnan(p.fpr[0])
    assert p.tpr[0] == 1


def test_points_name_what_is_wrong():
    member = np.ones((2, 3), bool)
    with pytest.raises(InputError, match="decisions: expected bool"):
        points(np.ones((2, 3)), member)
    with pytest.raises(InputError, match=r"decisions: expected shape \(2, 3\)"):
        points(np.ones((2, 4), bool), member)


@pytest.mark.parametrize(("shift", "eta"), [(1.0, 0.0), (2.0, 0.0), (1.5, 0.7), (0.8, -0.3)])
def test_gaussian_shift_lands_at_its_closed_form_within_intervals(shift, eta):
    run = gaussian_run(models=128, samples=400, shifts=(shift,))
    paths = trajectories(run, attack=KnownGaussians(shift, eta), null=Permuted(0))
    tpr, fpr = norm.cdf(shift / 2 - eta / shift), norm.cdf(-shift / 2 - eta / shift)
    p = paths.points(0)
    for (low, high), truth in ((p.tpr_interval(), tpr), (p.fpr_interval(), fpr)):
        # Clopper-Pearson covers at least 95 %; 400 samples leave a binomial spread of 1.1 %.
        assert np.mean((low <= truth) & (truth <= high)) > 0.92
    np.testing.assert_allclose(p.centre, [fpr, tpr], atol=4 * 0.5 / np.sqrt(400 * 64))


def test_natural_threshold_needs_one():
    run = gaussian_run(models=4, samples=5)
    with pytest.raises(InputError, match="rule: known has no natural threshold; use GlobalFPR"):
        trajectories(run, attack=NoThreshold())
    with pytest.raises(InputError, match="rule: no attack has no natural threshold"):
        NaturalThreshold().decide(np.zeros((2, 2)), np.eye(2, dtype=bool))
    with pytest.raises(InputError, match="scores: expected shape"):
        NaturalThreshold().decide(np.zeros(2), np.eye(2, dtype=bool))


def test_natural_threshold_says_member_at_equality():
    scores = np.array([[0.0, -1e-300], [1e-300, -1.0]])
    decisions = NaturalThreshold().decide(scores, np.eye(2, dtype=bool), KnownGaussians())
    assert decisions.tolist() == [[True, False], [True, False]]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), fpr=st.sampled_from([0.1, 0.25, 0.5, 0.9]), ties=st.booleans())
def test_global_fpr_is_calibrated_on_the_other_pairs_alone(seed, fpr, ties):
    rng = np.random.default_rng(seed)
    member = half_split(11, models=6, seed=seed).member
    scores = rng.integers(0, 4, member.shape).astype(float) if ties else rng.normal(size=(6, 11))
    cuts = GlobalFPR(fpr).cut(scores, member, None)
    pair = partitions(member)
    for r in range(6):
        others = scores[pair != pair[r]][~member[pair != pair[r]]]
        allowed = int(np.floor(fpr * len(others) + 1e-9))
        assert (others > cuts[r]).sum() <= allowed
        # The smallest such threshold: the next lower score value would let too many pass.
        assert (others >= cuts[r]).sum() > allowed
    decisions = GlobalFPR(fpr).decide(scores, member)
    np.testing.assert_array_equal(decisions, scores > cuts[:, None])
    # The target's own membership and scores are never read.
    changed, other = scores.copy(), member.copy()
    changed[pair == pair[0]] = 99.0
    other[pair == pair[0]] = member[pair == pair[0]][::-1]
    np.testing.assert_array_equal(GlobalFPR(fpr).cut(changed, other, None)[0], cuts[0])


def test_global_fpr_of_infinite_scores_keeps_its_rate():
    member = half_split(10, models=4, seed=0).member
    scores = np.full((4, 10), np.inf)
    assert not GlobalFPR(0.2).decide(scores, member).any()


def test_global_fpr_names_what_is_wrong():
    member = half_split(4, models=4, seed=0).member
    with pytest.raises(InputError, match=r"fpr: expected at least 0.25, one of 4 calibration"):
        GlobalFPR(0.1).decide(np.zeros((4, 4)), member)
    with pytest.raises(InputError, match="fpr: expected between 0 and 1"):
        GlobalFPR(1.0)


def test_epsilon_by_hand():
    tpr, fpr = np.array([1.0, 0.5, 0.25]), np.array([0.0, 0.5, 0.5])
    a = 1 / 20
    np.testing.assert_allclose(
        epsilon(fpr, tpr, 10, 10), np.log([(1 + a) / a, 1.0, (0.25 + a) / (0.5 + a)])
    )
    np.testing.assert_allclose(
        epsilon_two_sided(fpr, tpr, 10, 10),
        np.log([(1 + a) / a, 1.0, (0.5 + a) / (0.75 + a)]),
    )
    with pytest.raises(InputError, match="trials: expected at least one target of each kind"):
        epsilon(fpr, tpr, 0, 10)


def test_trajectories_equal_points_of_leave_one_out_at_every_checkpoint():
    run = gaussian_run(models=16, samples=40)
    attack = FittedMeans()
    calls = []
    paths = trajectories(run, attack=attack, progress=lambda k, n: calls.append((k, n)))
    for t in range(3):
        decisions = attack.leave_one_out(run.phi[:, t], run.member) >= 0
        p = points(decisions, run.member)
        np.testing.assert_array_equal(paths.fpr[t], p.fpr)
        np.testing.assert_array_equal(paths.tpr[t], p.tpr)
        stored = np.unpackbits(paths.decisions[t], axis=1, count=40).astype(bool)
        np.testing.assert_array_equal(stored, decisions)
        np.testing.assert_allclose(paths.centre()[t], [p.fpr.mean(), p.tpr.mean()])
        if t:
            turned = stored ^ np.unpackbits(paths.decisions[t - 1], axis=1, count=40).astype(bool)
            np.testing.assert_array_equal(paths.turns_in[t - 1], (turned & run.member).sum(0))
            np.testing.assert_array_equal(paths.turns_out[t - 1], (turned & ~run.member).sum(0))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert paths.auc[2] > 0.8 > 0.6 > paths.auc[0] > 0.4
    assert len(paths.null) == 1
    assert abs(paths.null[0].advantage.mean()) < 0.1 < paths.advantage[2].mean()


def test_swapped_samples_swap_their_paths():
    run = gaussian_run(models=8, samples=12)
    order = np.arange(12)
    order[[2, 7]] = order[[7, 2]]
    swapped = Arrays(run.member[:, order], run.checkpoints, run.phi[:, :, order])
    a = trajectories(run, attack=FittedMeans(), null=Permuted(0))
    b = trajectories(swapped, attack=FittedMeans(), null=Permuted(0))
    np.testing.assert_array_equal(b.tpr, a.tpr[:, order])
    np.testing.assert_array_equal(b.fpr, a.fpr[:, order])
    np.testing.assert_array_equal(b.speed(), a.speed()[:, order])


def test_rows_choose_models():
    run = gaussian_run(models=12, samples=10)
    part = Arrays(run.member[4:], run.checkpoints, run.phi[4:])
    chosen = trajectories(run, attack=FittedMeans(), models=np.arange(12) >= 4, null=Permuted(0))
    direct = trajectories(part, attack=FittedMeans(), null=Permuted(0))
    np.testing.assert_array_equal(chosen.tpr, direct.tpr)
    with pytest.raises(InputError, match="models: expected rows within 0 to 11"):
        trajectories(run, attack=FittedMeans(), models=[12])


def test_checkpoints_must_ascend():
    run = gaussian_run(models=4, samples=5)
    run.checkpoints = np.array([0.0, 2.0, 2.0])
    with pytest.raises(InputError, match="checkpoints: expected ascending"):
        trajectories(run, attack=FittedMeans())
    with pytest.raises(InputError, match="draws: expected 0 or more"):
        Permuted(-1)


@settings(deadline=None, max_examples=30)
@given(m=st.integers(1, 80), g=st.integers(1, 30), k=st.integers(0, 80))
def test_grid_edges_are_off_the_lattice_of_counts(m, g, k):
    k = min(k, m)
    # In whole numbers: the cell of k/m is the last edge at or below it, the top one closed.
    expected = min(k * g // m, g - 1)
    got = Grid(g).assign(np.array(k / m), np.array(0.0), m, 1)
    assert int(got) == expected * g


def test_a_sample_without_a_rate_is_in_no_region() -> None:
    nan = np.nan
    fpr, tpr = (
        np.array([[0.0, nan, 0.2], [0.0, nan, nan]]),
        np.array([[1.0, 1.0, nan], [0.1, 1, 1]]),
    )
    n_out, n_in = np.array([4, 0, 4]), np.array([4, 4, 0])
    for regions in (ByAdvantage(), ByEpsilon(), ByEpsilon(two_sided=True), Grid(4)):
        states = regions.assign(fpr, tpr, n_out, n_in)
        assert (states == -1).tolist() == [[False, True, True]] * 2
        # Not high, not in any transition, in no cell.
        moves = dynamics.transition_counts(states, len(regions))
        assert moves.sum() == 1
        assert moves[0, states[0, 0], states[1, 0]] == 1
        assert dynamics.entropy(states, len(regions)).tolist()[0] == 0.0
    assert not HighRegion().select(fpr, tpr, n_out, n_in)[0, 1:].any()
    assert np.isnan(dynamics.entropy(np.array([[-1, -1]]), 4)).all()


def test_rates_of_more_models_than_a_byte_counts():
    rng = np.random.default_rng(0)
    member, decisions = rng.random((2, 600, 5)) < 0.9
    p = points(decisions, member)
    np.testing.assert_array_equal(p.n_in, member.sum(axis=0))
    np.testing.assert_array_equal(p.tpr, (decisions & member).sum(axis=0) / member.sum(axis=0))
    np.testing.assert_array_equal(p.fpr, (decisions & ~member).sum(axis=0) / (~member).sum(axis=0))


@pytest.mark.parametrize(
    "rates", [Counting(), ClosedForm(jackknife=False)], ids=["counted", "fitted"]
)
def test_the_auc_is_left_out_of_what_was_asked_alone(rates: Counting | ClosedForm) -> None:
    run = gaussian_run(models=16, samples=60)
    whole, own, none = (
        trajectories(run, attack=FittedMeans(), rates=rates, null=Permuted(2), area=area)
        for area in ("all", "own", "none")
    )
    assert np.isfinite([whole.auc, *(n.auc for n in whole.null)]).all()
    np.testing.assert_array_equal(own.auc, whole.auc)
    assert np.isnan([none.auc, *(n.auc for n in (*own.null, *none.null))]).all()
    for other in (own, none):
        assert other.description == whole.description
        for one, two in zip((other, *other.null), (whole, *whole.null), strict=True):
            np.testing.assert_array_equal(one.fpr, two.fpr)
            np.testing.assert_array_equal(one.tpr, two.tpr)


@pytest.mark.parametrize("runs", [0, 1, 254, 255, 256, 700])
def test_flags_are_counted_sample_by_sample(runs: int) -> None:
    flags = np.random.default_rng(0).random((runs, 9)) < 0.9
    flags[:, 0] = True
    for some in (flags, flags[:, ::2], flags[::3]):
        assert how_many(some).tolist() == some.sum(axis=0).tolist()
