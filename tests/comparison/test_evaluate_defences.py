"""Honest evaluation: attackers, intervals, calibration, robustness, verdicts, each against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from seepage.attacks import RMIA, LiRA
from seepage.comparison.evaluate import (
    calibration_error,
    non_adaptive,
    over_pairs,
    per_pair,
    risk,
    whole_pairs,
)
from seepage.comparison.robustness import fgsm_accuracy, fgsm_limits
from seepage.comparison.verdicts import (
    Plane,
    d1_peaks_apart,
    d2_keeps_utility,
    d3_beats_controls,
    d4_several_bases,
    d5_stable,
    front,
)
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.metrics import over_targets, pooled_points, row_auc
from seepage.metrics.verdict import Verdict
from seepage.plan import half_split


def fleet(models=12, samples=60, shift=2.0, seed=0):
    rng = np.random.default_rng(seed)
    member = half_split(samples, models=models, seed=seed).member
    phi = (rng.normal(size=member.shape) + shift * member).astype(np.float32)
    return {"phi": phi, "loss": np.log1p(np.exp(-phi))}, member


@pytest.mark.parametrize("attack", [LiRA(), RMIA()])
def test_an_attacker_with_the_same_fleet_is_the_adaptive_one(attack):
    signals, member = fleet()
    same = non_adaptive(attack, signals, signals, member)
    np.testing.assert_allclose(same, attack.leave_one_out(signals, member), rtol=1e-6, atol=1e-9)


def test_the_targets_pair_never_serves_as_its_reference():
    target, member = fleet()
    references, _ = fleet(seed=1)
    before = non_adaptive(LiRA(), target, references, member)[4]
    changed = {k: v.copy() for k, v in references.items()}
    changed["phi"][4:6] = 99.0
    after = non_adaptive(LiRA(), target, changed, member)
    np.testing.assert_array_equal(after[4], before)
    assert (after[0] != non_adaptive(LiRA(), target, references, member)[0]).any()


def test_a_shift_of_all_answers_fools_only_who_does_not_know_of_it():
    # A defence that lifts every φ by the same amount hides nothing from adaptive shadows.
    undefended, member = fleet(models=32, samples=400)
    defended = {"phi": undefended["phi"] + 5.0}
    adaptive = LiRA().leave_one_out(defended, member)
    np.testing.assert_allclose(
        adaptive, LiRA().leave_one_out(undefended, member), rtol=1e-3, atol=1e-2
    )
    static = non_adaptive(LiRA(), defended, undefended, member)
    known = risk(adaptive, member, (0.01,))
    unknown = risk(static, member, (0.01,))
    assert known is not None
    assert unknown is not None
    assert known.auc.mean() > 0.85 > unknown.auc.mean()


def test_tprs_of_the_targets_average_to_the_pooled_one():
    signals, member = fleet(models=8, samples=80)
    scores = LiRA().leave_one_out(signals, member)
    found = risk(scores, member, (0.05, 0.01))
    pooled = pooled_points(scores, member, (0.05, 0.01))
    assert found is not None
    np.testing.assert_allclose(found.tpr.mean(axis=0), pooled.tpr[0])
    np.testing.assert_array_equal(found.fpr, pooled.fpr[0])
    assert (found.fpr <= [0.05, 0.01]).all()


def test_what_a_rate_reads_without_leakage_stands_beside_it():
    """3 of 240 pooled non-members at 1 %: j = 2 of 241 expected; 24 fleets of noise read that."""
    read = []
    for seed in range(24):
        signals, member = fleet(models=8, samples=60, shift=0.0, seed=seed)
        found = risk(signals["phi"].astype(float), member, (0.01, 0.001))
        assert found.non_members == 240
        assert found.null[0] == pytest.approx(2 / 241)
        assert np.isnan(found.null[1])
        read.append(found.tpr[:, 0].mean())
    assert abs(np.mean(read) - 2 / 241) < 4 * np.std(read) / 24**0.5


def test_scores_of_a_leave_one_out_are_no_signal_of_a_sample():
    """Of noise the AUC per sample is ½ from the signal, and less from scores that share references."""
    signals, member = fleet(models=16, samples=4000, shift=0.0)
    scores = LiRA().leave_one_out(signals, member)
    assert row_auc(scores, member).mean() < 0.47
    assert abs(row_auc(signals["phi"], member).mean() - 0.5) < 0.01


def test_a_target_without_members_cannot_be_judged():
    assert risk(np.zeros((2, 3)), np.array([[True] * 3, [False] * 3]), (0.1,)) is None


@pytest.mark.parametrize("shared", [False, True])
def test_interval_over_pairs_is_that_over_targets(shared):
    member = half_split(10, models=10).member
    values = np.random.default_rng(0).uniform(0.4, 0.6, 10)
    a = over_pairs(per_pair(values, member), shared=shared)
    b = over_targets(values, member, shared=shared)
    assert a.mean == pytest.approx(b.mean)
    assert (a.low, a.high, a.groups) == pytest.approx((b.low, b.high, b.groups))


def test_one_pair_has_no_interval():
    assert np.isnan(over_pairs([0.5]).low)
    with pytest.raises(InputError, match="values: expected one per pair"):
        over_pairs([])


def test_pairs_are_averaged_and_needed():
    member = half_split(6, models=4).member
    np.testing.assert_allclose(per_pair([1.0, 3.0, 5.0, 9.0], member), [2.0, 7.0])
    with pytest.raises(InputError, match="expected complementary pairs"):
        per_pair([1.0, 2.0, 3.0], member[:3])


def test_a_pair_with_a_failed_run_is_left_out_whole():
    member = half_split(6, models=6).member
    rows = whole_pairs(member, [np.array([0, 1, 2, 3, 5]), np.array([1, 2, 3, 4, 5])])
    assert rows.tolist() == [2, 3]


def test_calibration_error_by_brute_force():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(300, 4)) * 2, rng.integers(0, 4, 300)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = 0.0
    for b in range(15):
        at = (p.max(1) >= b / 15) & (p.max(1) < (b + 1) / 15)
        if at.any():
            right = (p.argmax(1) == labels)[at].mean()
            expected += at.mean() * abs(right - p.max(1)[at].mean())
    assert calibration_error(logits, labels) == pytest.approx(expected)


def test_calibration_error_of_certain_answers_is_their_error():
    logits = np.array([[900.0, 0.0]] * 4)
    assert calibration_error(logits, [0, 0, 0, 1]) == pytest.approx(0.25)


def test_fgsm_flips_what_lies_nearer_than_the_step():
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        net.bias.zero_()
    x = torch.tensor([[0.5, 0.0], [1.5, 0.0], [-0.5, 0.0], [-1.5, 0.0]])
    y = torch.tensor([1, 1, 0, 0])
    far = torch.tensor(99.0)
    assert fgsm_accuracy(net, x, y, torch.tensor(0.4), -far, far) == 1.0
    assert fgsm_accuracy(net, x, y, torch.tensor(1.0), -far, far, batch=3) == 0.5
    # Clipping keeps a sample from leaving the range of its pixels.
    assert fgsm_accuracy(net, x, y, torch.tensor(1.0), torch.tensor(0.1), far) == 0.5


def test_limits_of_bytes_are_those_of_pixels():
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, 2, 3, 3), generator=g).to(torch.uint8)
    data = Dataset(pixels, torch.arange(6) % 2, np.arange(6).astype(str), ("a", "b"), "t", "image")
    member = np.arange(6) < 3
    step, low, high = fgsm_limits(data, member, 8 / 255)
    scale, shift = data.member_scale(np.flatnonzero(member))
    np.testing.assert_allclose(step.flatten(), 8 * scale, rtol=1e-6)
    np.testing.assert_allclose(low.flatten(), shift, rtol=1e-6)
    np.testing.assert_allclose(high.flatten(), 255 * scale + shift, rtol=1e-6)
    with pytest.raises(InputError, match=r"fgsm\.epsilon: expected a number above 0, got 0"):
        fgsm_limits(data, member, 0)


def test_only_numeric_columns_of_a_table_move():
    x = torch.tensor([[1.0, 0.0], [3.0, 1.0]])
    data = Dataset(
        x, torch.tensor([0, 1]), np.array(["a", "b"]), ("n", "y"), "t", "table",
        numeric=np.array([True, False]),
    )  # fmt: skip
    step, low, _ = fgsm_limits(data, np.array([True, True]), 0.1)
    assert step.tolist() == pytest.approx([0.1, 0.0])
    assert torch.isinf(low).all()


@settings(max_examples=30, deadline=None)
@given(arrays(np.int64, (7, 2), elements=st.integers(0, 4)))
def test_front_is_what_nothing_dominates(points):
    found = front(points[:, 0], points[:, 1])
    for i, (a, r) in enumerate(points):
        beaten = any(
            (b >= a and s <= r) and (b > a or s < r) for j, (b, s) in enumerate(points) if j != i
        )
        assert found[i] == (not beaten)


def noisy(mean, scale=0.002, n=8, seed=0):
    return np.asarray(mean) + np.random.default_rng(seed).normal(0, scale, (n, *np.shape(mean)))


def test_d1_separates_peaks_from_noise():
    assert d1_peaks_apart(noisy([0.3, 0.05, 0.0]), -noisy([0.0, 0.02, 0.2])).outcome == "holds"
    assert d1_peaks_apart(noisy([0.3, 0.0]), -noisy([0.2, 0.0])).outcome == "does not hold"
    assert d1_peaks_apart(np.ones((1, 3)), -np.ones((1, 3))).outcome == "undecided"
    drawn = [
        d1_peaks_apart(noisy([0.0] * 4, seed=s), noisy([0.0] * 4, seed=99 + s)).outcome
        for s in range(60)
    ]
    assert drawn.count("holds") <= 3


def plane(accuracy, auc, seed=0):
    return Plane(noisy(accuracy, seed=seed), noisy(auc, seed=seed + 50))


def test_d2_has_three_outcomes():
    base = plane(0.80, 0.60)
    assert d2_keeps_utility(plane(0.85, 0.59, 1), base).outcome == "holds"
    assert d2_keeps_utility(plane(0.75, 0.59, 2), base).outcome == "does not hold"
    assert d2_keeps_utility(plane(0.85, 0.66, 3), base).outcome == "does not hold"
    assert d2_keeps_utility(plane(0.80, 0.60, 4), base).outcome == "undecided"
    assert d2_keeps_utility(base, base).outcome == "holds"
    with pytest.raises(InputError, match="expected the same pairs"):
        d2_keeps_utility(base, Plane([0.5, 0.5], [0.5, 0.5]))


def test_d3_must_dominate_every_control():
    ours = plane(0.85, 0.55)
    worse, same, better = plane(0.80, 0.60, 1), plane(0.85, 0.55, 2), plane(0.90, 0.60, 3)
    assert d3_beats_controls(ours, {"a": worse}).outcome == "holds"
    assert d3_beats_controls(ours, {"a": worse, "b": same}).outcome == "undecided"
    assert d3_beats_controls(ours, {"a": worse, "b": better}).outcome == "does not hold"
    assert d3_beats_controls(ours, {}).outcome == "undecided"


def test_d4_counts_bases():
    yes, no, open_ = (Verdict("D3", o, "") for o in ("holds", "does not hold", "undecided"))
    assert d4_several_bases({"a": [yes, yes], "b": [yes]}).outcome == "holds"
    assert d4_several_bases({"a": [yes, no], "b": [yes]}).outcome == "does not hold"
    assert d4_several_bases({"a": [yes], "b": [open_]}).outcome == "undecided"
    assert d4_several_bases({"a": [no]}).outcome == "undecided"


def test_d5_wants_agreement_of_independent_models():
    rng = np.random.default_rng(0)
    assert d5_stable(noisy([1.0, 2.0, 3.0, 4.0], 0.01)).outcome == "holds"
    assert d5_stable(rng.normal(size=(10, 5))).outcome == "does not hold"
    assert d5_stable([[1.0, 2.0]] * 5).outcome == "undecided"
    assert d5_stable([[0.0, 0.0, 0.0]] * 5).outcome == "undecided"
