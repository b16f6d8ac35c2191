"""Decision rules that hold a rate for each sample, and how far rates differ between samples."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from scipy import stats
from tests.fake_run import FakeRun

from seepage.attacks import LiRA
from seepage.errors import InputError
from seepage.plan import half_split, partitions, subsets
from seepage.plane import GlobalFPR, OwnFPR, Permuted, fpr_spread, points, trajectories


def _slow_cut(scores: np.ndarray, member: np.ndarray, rule: OwnFPR) -> np.ndarray:
    part = partitions(member)
    cuts = np.empty(scores.shape)
    for r in range(len(scores)):
        for i in range(scores.shape[1]):
            own = scores[(part != part[r]) & ~member[:, i], i]
            n = len(own)
            if rule.law == "ranks":
                cuts[r, i] = np.sort(own)[::-1][int(rule.fpr * (n + 1) + 1e-9) - 1]
            else:
                spread = own.std(ddof=1) * np.sqrt(1 + 1 / n)
                cuts[r, i] = own.mean() + spread * stats.t.ppf(1 - rule.fpr, n - 1)
    return cuts


@pytest.mark.parametrize("law", ["normal", "ranks"])
@pytest.mark.parametrize("parts", [2, 3])
def test_thresholds_are_those_of_the_definition(
    law: Literal["normal", "ranks"], parts: int
) -> None:
    rng = np.random.default_rng(0)
    member = subsets(9, models=12, parts=parts, seed=1).member
    scores = np.round(rng.normal(size=member.shape), 1) + 100.0
    rule = OwnFPR(0.3, law)
    want = _slow_cut(scores, member, rule)
    np.testing.assert_allclose(rule.cut(scores, member, None), want, rtol=1e-12)
    # A target's own membership and those of its tuple change nothing of its thresholds.
    other = member.copy()
    other[:parts] = np.roll(other[:parts], 1, axis=0)
    np.testing.assert_allclose(rule.cut(scores, other, None)[0], want[0], rtol=1e-12)


def test_one_threshold_for_all_samples_gives_each_another_rate() -> None:
    """A score without calibration by sample: scales log-normal with σ = 0.6."""
    rng = np.random.default_rng(1)
    member = half_split(4000, models=128, seed=1).member
    scores = rng.lognormal(0.0, 0.6, 4000) * rng.normal(size=member.shape) + 1.0 * member
    pooled, own, normal = (
        fpr_spread(*_rates(rule.decide(scores, member), member))
        for rule in (GlobalFPR(0.01), OwnFPR(0.01), OwnFPR(0.01, "normal"))
    )
    for spread in (pooled, own, normal):
        assert spread.mean == pytest.approx(0.01, abs=0.001)
    assert pooled.top > 0.14
    assert pooled.sd > 2 * pooled.sd_counting
    assert own.top <= own.top_counting + 1 / 64
    assert own.sd < 1.1 * own.sd_counting
    # Calibrated on the scores that are then counted, so a little more even than independent counts.
    assert own.zero_counting - 0.08 < own.zero <= own.zero_counting + 0.02
    assert pooled.zero > pooled.zero_counting + 0.1


def _rates(decisions: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    state = points(decisions, member)
    return state.fpr, state.n_out


def test_ranks_hold_the_rate_for_any_law() -> None:
    rng = np.random.default_rng(2)
    member = half_split(3000, models=64, seed=2).member
    scores = rng.lognormal(0.0, 0.6, 3000) * rng.standard_t(2, size=member.shape)
    fpr, _ = _rates(OwnFPR(1 / 32, "ranks").decide(scores, member), member)
    # 31 calibration scores and the target's own: one of 32 is the highest.
    assert fpr.mean() == pytest.approx(1 / 32, abs=4 * np.sqrt(1 / 32 / (3000 * 32)))
    with pytest.raises(InputError, match=r"fpr: expected at least 0\.0312"):
        OwnFPR(0.03, "ranks").decide(scores, member)


def test_constant_scores_are_never_members() -> None:
    member = half_split(6, models=8).member
    for value in (0.1, 1e9 / 3):
        for rule in (OwnFPR(0.4), OwnFPR(0.4, "normal"), OwnFPR(0.4, "ranks")):
            assert not rule.decide(np.full(member.shape, value), member).any()
            # Nor does one change what holds for the others.
            rng = np.random.default_rng(1)
            scores = rng.normal(size=member.shape)
            scores[:, 0] = value
            said = rule.decide(scores, member)
            assert said[:, 1:].any()
            assert not said[:, 0].any()


def test_infinite_scores_need_ranks() -> None:
    member = half_split(6, models=12).member
    scores = np.where(member, np.inf, 0.0)
    with pytest.raises(InputError, match="ranks"):
        OwnFPR(0.3).decide(scores, member)
    np.testing.assert_array_equal(OwnFPR(0.3, "ranks").decide(scores, member), member)
    with pytest.raises(InputError, match="models: expected 2 targets"):
        OwnFPR(0.3).decide(scores[:4], member[:4])
    with pytest.raises(InputError, match="fpr: expected between"):
        OwnFPR(1.5)
    with pytest.raises(InputError, match="law: expected"):
        OwnFPR(0.1, "normals")  # type: ignore[arg-type]


def test_scaled_thresholds_hold_the_mean_rate_of_heavy_tails() -> None:
    rng = np.random.default_rng(5)
    member = half_split(3000, models=64, seed=5).member
    scores = rng.lognormal(0.0, 0.6, 3000) * rng.standard_t(3, size=member.shape)
    rule = OwnFPR(0.01)
    spread = fpr_spread(*_rates(rule.decide(scores, member), member))
    assert spread.mean == pytest.approx(0.01, abs=0.0005)
    assert spread.top <= spread.top_counting + 1 / 32
    normal = fpr_spread(*_rates(OwnFPR(0.01, "normal").decide(scores, member), member))
    assert normal.mean > 0.012


def test_trajectories_take_the_rule() -> None:
    run = FakeRun(models=24, samples=60, checkpoints=(0.0, 4.0), leaky=1.0)
    paths = trajectories(run, attack=LiRA(), rule=OwnFPR(0.1), null=Permuted(1))
    assert paths.tpr[-1].mean() > paths.fpr[-1].mean() + 0.2
    assert "OwnFPR" in paths.description["rule"]


def test_the_spread_of_counting_alone_is_the_binomials() -> None:
    rng = np.random.default_rng(4)
    n = np.where(np.arange(200_000) % 2, 16, 30)
    spread = fpr_spread(rng.binomial(n, 0.05) / n, n)
    assert spread.sd == pytest.approx(spread.sd_counting, rel=0.02)
    assert spread.zero == pytest.approx(spread.zero_counting, abs=0.01)
    assert spread.top == pytest.approx(spread.top_counting)
    rates = np.array([np.nan, 0.5, 0.0])
    assert fpr_spread(rates, np.array([0, 2, 2])).samples == 2
    with pytest.raises(InputError, match="fpr: expected rates"):
        fpr_spread(np.array([np.nan]), np.array([0]))
