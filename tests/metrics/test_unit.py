"""Samples and subjects: one option of every statistic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from seepage.attacks import LiRA, Pooled
from seepage.errors import InputError
from seepage.metrics import (
    Samples,
    Subjects,
    auc,
    average_roc,
    blind_baseline,
    evidence,
    operating_points,
    over_targets,
    pooled_points,
    roc,
    row_auc,
    tpr_at_fpr,
    unit_of,
)
from seepage.plan import half_split, subsets


def test_samples_change_nothing_and_copy_nothing() -> None:
    scores, member = np.ones((2, 3)), np.ones((2, 3), dtype=bool)
    assert Samples().scores(scores) is scores
    assert Samples().member(member) is member
    assert Samples().ids(["a", 1]) == ["a", "1"]
    assert unit_of(None) == Samples()


def test_subjects_sum_scores_in_the_order_they_first_appear() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 20, 100)
    unit = unit_of(groups)
    assert isinstance(unit, Subjects)
    scores = rng.normal(size=(3, 100))
    names = list(dict.fromkeys(groups.tolist()))
    assert unit.ids(range(100)) == [str(g) for g in names]
    want = np.stack([scores[:, groups == g].sum(axis=1) for g in names], axis=1)
    np.testing.assert_allclose(unit.scores(scores), want, rtol=1e-12)
    np.testing.assert_allclose(unit.scores(scores[1]), want[1], rtol=1e-12)
    assert unit.sizes.tolist() == [(groups == g).sum() for g in names]


def test_a_subject_on_both_sides_is_refused() -> None:
    unit = Subjects(["ann", "bob", "ann"])
    with pytest.raises(InputError, match=r"got 'ann' with 1 of 2 samples IN run 1; split the"):
        unit.member(np.array([[True, False, True], [True, False, False]]))
    with pytest.raises(InputError, match=r"got 'ann' with 1 of 2 samples IN; split the plan"):
        unit.member(np.array([True, False, False]))
    with pytest.raises(InputError, match=r"scores: expected one per sample of the groups \(3\)"):
        unit.scores(np.ones((2, 4)))
    with pytest.raises(InputError, match="groups: expected a name for every sample"):
        Subjects(["ann", None])


def test_every_statistic_of_subjects_is_that_of_their_sums() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 3)
    member = half_split(120, models=6, seed=1, groups=groups).member
    scores = rng.normal(size=member.shape) + member
    unit = Subjects(groups)
    s, m = scores.reshape(6, 40, 3).sum(axis=2), member[:, ::3]
    np.testing.assert_allclose(unit.scores(scores), s, rtol=1e-12)
    s = unit.scores(scores)
    assert auc(scores[0], member[0], unit=unit) == auc(s[0], m[0])
    assert (roc(scores[0], member[0], unit=unit).tpr == roc(s[0], m[0]).tpr).all()
    assert tpr_at_fpr(scores[0], member[0], 0.1, unit=unit) == tpr_at_fpr(s[0], m[0], 0.1)
    for points in (operating_points, pooled_points):
        assert (points(scores, member, [0.1], unit=unit).tpr == points(s, m, [0.1]).tpr).all()
    assert (row_auc(scores, member, unit=unit) == row_auc(s, m)).all()
    assert (evidence(scores, member, unit=unit) == evidence(s, m)).all()
    a, b = average_roc(scores, member, [0.1, 1.0], unit=unit), average_roc(s, m, [0.1, 1.0])
    assert (a.tpr == b.tpr).all()
    assert (a.low == b.low).all()


@pytest.mark.parametrize("parts", [2, 3])
def test_subjects_leak_as_the_closed_form_says(parts: int) -> None:
    """g independent records that each move by δ: the sum of log-ratios has AUC Φ(δ √(g/2))."""
    rng = np.random.default_rng(2)
    size, shift = 4, 0.5
    groups = np.repeat(np.arange(1000), size)
    member = subsets(4000, models=20 * parts, parts=parts, seed=2, groups=groups).member
    phi = rng.normal(size=member.shape) + shift * member
    unit = Subjects(groups)
    known = shift * (phi - shift / 2)
    for judged, records in ((Samples(), 1), (unit, size)):
        found = operating_points(known, member, (), unit=judged).auc
        error = found.std(ddof=1) / np.sqrt(len(found))
        assert abs(found.mean() - norm.cdf(shift * np.sqrt(records / 2))) < 4 * error
    fitted = LiRA(variance=Pooled()).leave_one_out(phi, member)
    of_samples = operating_points(fitted, member).auc.mean()
    assert operating_points(fitted, member, unit=unit).auc.mean() > of_samples + 0.05


def test_the_null_of_subjects_is_a_half() -> None:
    groups = np.random.default_rng(3).integers(0, 300, 900)
    member = half_split(900, models=16, seed=3, groups=groups).member
    phi = np.random.default_rng(4).normal(size=member.shape)
    points = operating_points(LiRA().leave_one_out(phi, member), member, (), unit=Subjects(groups))
    assert over_targets(points.auc, member, level=0.99).covers(0.5)


def test_the_blind_baseline_does_not_take_a_subject_for_a_shift() -> None:
    """Records of one subject resemble each other: folds of samples recognise them."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(60), 10)
    member = half_split(600, models=8, seed=5, groups=groups).member
    x = rng.normal(size=(60, 64))[groups] + 0.1 * rng.normal(size=(600, 64))
    wrong = blind_baseline(x, member)
    sound = blind_baseline(x, member, unit=Subjects(groups))
    assert wrong.estimate.low > 0.6
    assert sound.estimate.covers(0.5)
    assert sound.scores.shape == (4, 60)
