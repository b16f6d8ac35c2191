"""Shares of a set that a model was trained on, and ranges of which any sample was."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from oracles import leaking_signals
from seepage import attacks
from seepage.attacks.ranges import range_members, range_scores
from seepage.attacks.usage import usage
from seepage.errors import InputError
from seepage.metrics import operating_points
from seepage.plan import half_split

RNG = np.random.default_rng


def test_shares_are_without_bias_whatever_they_are() -> None:
    """Pairs of models with 20 and 80 % of a set: mistakes alone would say 41 and 59 %."""
    member = half_split(1200, models=32, seed=0).member
    part = np.arange(400)
    member[::2, part] = RNG(0).random((16, 400)) < np.array([0.2, 0.8])[np.arange(16) % 2, None]
    member[1::2, part] = ~member[::2, part]
    phi = RNG(1).normal(size=member.shape) + 0.8 * member
    found = usage(attacks.LOSS(), -phi, member, part)
    rough = found.truth < 0.5
    for side in (rough, ~rough):
        assert abs((found.share - found.truth)[side].mean()) < 0.03
    # One normal 0.8 from another, at the best threshold: TPR Φ(.4), FPR 1 − Φ(.4).
    right = stats.norm.cdf(0.4)
    said = 0.2 * right + 0.8 * (1 - right)
    assert said > 0.37
    np.testing.assert_array_equal(found.truth, member[:, part].mean(axis=1))


def test_intervals_cover_as_often_as_they_say() -> None:
    """Models differ by more than chance: every model moves all its scores."""
    hit = []
    for seed in range(25):
        member = half_split(300, models=12, seed=seed).member
        moved = 0.2 * RNG(seed).normal(size=(12, 1))
        phi = RNG(100 + seed).normal(size=member.shape) + member + moved
        hit.append(usage(attacks.LOSS(), -phi, member, np.arange(120), level=0.9).covered)
    # 300 models, those of a pair not independent: 150 for sure.
    assert np.mean(hit) > 0.9 - 3 * np.sqrt(0.09 / 150)
    assert np.mean(hit) < 0.99


def test_the_target_s_members_do_not_move_its_share() -> None:
    member = half_split(200, models=16, seed=0).member
    phi = leaking_signals(RNG(0), member, shift=2.0)["phi"]
    other = member.copy()
    other[:2] = member[1::-1]
    a, b = (usage(attacks.LiRA(), phi, m) for m in (member, other))
    np.testing.assert_allclose(a.share[:2], b.share[:2], rtol=1e-9)
    np.testing.assert_allclose(a.high[:2], b.high[:2], rtol=1e-9)


def test_what_says_nothing_of_a_set_is_refused() -> None:
    member = half_split(60, models=8, seed=0).member
    loss = RNG(0).gamma(1.0, size=member.shape)
    equal = RNG(0).permuted(np.tile(np.arange(8)[:, None], 60), axis=0) < 4
    for call, says in (
        (lambda: usage(attacks.LOSS(), 0 * loss, member), "TPR above FPR"),
        (lambda: usage(attacks.LOSS(), loss, member, level=2.0), "level: expected a number"),
        (lambda: usage(attacks.LOSS(), loss, member, [1, 1]), "every position once"),
        (lambda: usage(attacks.LOSS(), loss, equal), "complementary tuples or independent"),
        (lambda: usage(attacks.LiRA(), loss, member[:6]), r"expected bool of shape|models"),
        (lambda: range_scores(loss, np.arange(60) % 7), "sizes 8 to 9; take as many"),
        (lambda: range_scores(loss, np.arange(60) % 6, keep=0.0), "keep: expected a share"),
        (lambda: range_scores(loss, np.arange(59)), "a whole number for each of 60 samples"),
    ):
        with pytest.raises(InputError, match=says):
            call()


def test_ranges_with_a_member_stand_above_those_without() -> None:
    """One member of four moved by 2: the maximum of 4 is better than the mean, noise reads ½."""
    ranges = np.arange(2000) // 4
    member = np.zeros((6, 2000), dtype=bool)
    member[:, ::4] = RNG(0).random((6, 500)) < 0.5
    truth = range_members(member, ranges)
    np.testing.assert_array_equal(truth, member[:, ::4])
    scores = RNG(1).normal(size=member.shape)

    def area(values, keep: float) -> float:
        found = range_scores(values, ranges, keep=keep)
        return float(operating_points(found, truth, ()).auc.mean())

    assert area(scores, 0.25) == pytest.approx(0.5, abs=0.03)
    # Means of 4: 0.5 with a deviation of ½.
    assert area(scores + 2 * member, 1.0) == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.02)
    assert area(scores + 2 * member, 0.25) > area(scores + 2 * member, 1.0) + 0.02
