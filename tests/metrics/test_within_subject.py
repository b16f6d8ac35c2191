"""Scores of subjects against closed forms: records independent, alike, identical."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from seepage.attacks import LOSS, LiRA
from seepage.attacks.subjects import of_unit
from seepage.errors import InputError
from seepage.metrics import (
    Subjects,
    auc,
    discounted,
    operating_points,
    score_correlation,
    signal_correlation,
    subject_auc,
)
from seepage.metrics.within_subject import by_target
from seepage.plan import half_split

# 200 subjects of 1 to 20 records.
SIZES = np.random.default_rng(7).integers(1, 21, 200)
UNIT = Subjects(np.repeat(np.arange(200), SIZES))
SHIFT = 0.3


def signal(
    member: NDArray[np.bool_], rho: float, shift: float = SHIFT, seed: int = 0, common: float = 0.0
) -> NDArray[np.float64]:
    """φ of unit variance: any two records of a subject have the correlation ρ in every model."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(len(member), len(UNIT.names)))[:, UNIT.codes]
    every = rng.normal(size=(len(member), 1))
    noise = np.sqrt(rho) * own + np.sqrt(1 - rho) * rng.normal(size=member.shape)
    return np.sqrt(common) * every + np.sqrt(1 - common) * noise + shift * member


def plan(models: int, seed: int = 0) -> NDArray[np.bool_]:
    return half_split(len(UNIT.codes), models=models, seed=seed, groups=UNIT.codes).member


@pytest.mark.parametrize("rho", [0.0, 0.15, 0.5])
def test_200_subjects_of_1_to_20_records_leak_as_the_closed_form_says(rho: float) -> None:
    member = plan(200)
    x = signal(member, rho)
    log_ratio = SHIFT * (x - SHIFT / 2)
    truth = np.asarray(UNIT.member(member))
    found = by_target(x, member, UNIT)
    np.testing.assert_allclose(found, rho, atol=0.02)
    for scores, discount in ((discounted(log_ratio, UNIT, found), True),
                             (UNIT.scores(log_ratio), False)):  # fmt: skip
        each = operating_points(scores, truth, ()).auc
        # Of the sizes that each run happened to be trained on.
        want = [subject_auc(SIZES[m], SIZES[~m], SHIFT, rho, discount=discount) for m in truth]
        error = float((each - want).std() / np.sqrt(len(each)))
        assert abs(float(np.mean(each - want))) < 3.5 * error
        assert error < 0.004


def test_lira_of_200_models_reaches_the_closed_form() -> None:
    member = plan(200, seed=1)
    x = signal(member, 0.3, seed=1)
    attack = LiRA()
    scores = of_unit(attack, attack.leave_one_out(x, member), {"phi": x}, member, UNIT)
    truth = np.asarray(UNIT.member(member))
    each = operating_points(scores, truth, ()).auc
    want = np.mean([subject_auc(SIZES[m], SIZES[~m], SHIFT, 0.3) for m in truth])
    assert abs(each.mean() - want) < 0.01
    plain = operating_points(UNIT.scores(attack.leave_one_out(x, member)), truth, ()).auc
    alone = operating_points(attack.leave_one_out(x, member), member, ()).auc
    assert each.mean() > plain.mean() + 0.002
    assert plain.mean() > alone.mean() + 0.03


def test_the_discounted_sum_is_the_log_ratio_of_all_records_together() -> None:
    n, rho, shift = 5, 0.4, 0.7
    covariance = (1 - rho) * np.eye(n) + rho
    x = np.random.default_rng(0).normal(size=n)
    solve = np.linalg.solve(covariance, np.full(n, shift))
    together = solve @ (x - shift / 2)
    each = shift * (x - shift / 2)
    assert discounted(each, Subjects([0] * n), rho)[0] == pytest.approx(together, rel=1e-12)
    assert discounted(each, Subjects([0] * n))[0] == pytest.approx(each.sum(), rel=1e-12)
    assert discounted(each, Subjects([0] * n), 1.0)[0] == pytest.approx(each.mean(), rel=1e-12)


def test_the_closed_form_is_what_two_normal_laws_give() -> None:
    assert subject_auc([1], [1], 1.0) == pytest.approx(norm.cdf(1 / np.sqrt(2)))
    # Independent records: the distance grows as √n; alike: below δ/√ρ.
    assert subject_auc([9], [9], 0.5) == pytest.approx(norm.cdf(1.5 / np.sqrt(2)))
    limit = norm.cdf(0.5 / np.sqrt(0.25) / np.sqrt(2))
    assert subject_auc([10**6], [10**6], 0.5, 0.25) == pytest.approx(limit, abs=1e-5)
    # Copies add nothing, whatever their number.
    assert subject_auc([3, 9], [1], 0.5, 1.0) == pytest.approx(subject_auc([1], [1], 0.5))
    # The log-ratio ranks best.
    mixed = [1, 2, 20]
    assert subject_auc(mixed, mixed, 0.3, 0.3) > subject_auc(mixed, mixed, 0.3, 0.3, discount=False)


def test_records_that_are_copies_speak_once() -> None:
    rng = np.random.default_rng(2)
    member = half_split(100, models=16, seed=2).member
    phi = rng.normal(size=member.shape) + 0.8 * member
    attack = LiRA()
    once = attack.leave_one_out(phi, member)
    twice = np.concatenate([phi, phi], axis=1)
    both = np.concatenate([member, member], axis=1)
    unit = Subjects([*range(100), *range(100)])
    scores = of_unit(attack, attack.leave_one_out(twice, both), {"phi": twice}, both, unit)
    np.testing.assert_allclose(scores, once, rtol=1e-9, atol=1e-12)


def test_correlation_of_few_runs_tells_what_all_have_in_common() -> None:
    member = plan(24, seed=3)
    x = signal(member, 0.4, seed=3, common=0.2)
    found = signal_correlation(x, member, UNIT)
    # Within: what all records of a model share, and what those of a subject do.
    assert found.value == pytest.approx(0.2 + 0.8 * 0.4, abs=0.06)
    assert found.between == pytest.approx(0.2, abs=0.06)
    assert found.low < found.value < found.high
    assert found.subjects == int((SIZES > 1).sum())
    views = np.stack([x, x], axis=2)
    assert signal_correlation(views, member, UNIT).value == pytest.approx(found.value)


def test_leakage_is_not_taken_for_likeness() -> None:
    """All records of a subject move up together when it is a member: that is no correlation."""
    member = plan(100, seed=4)
    found = signal_correlation(signal(member, 0.0, shift=3.0, seed=4), member, UNIT)
    assert abs(found.value) < 0.02
    scores = signal(member, 0.0, shift=3.0, seed=4)
    assert abs(score_correlation(scores, member, UNIT).value) < 0.02


def test_a_target_is_discounted_by_the_other_runs_alone() -> None:
    member = plan(20, seed=5)
    x = signal(member, 0.3, seed=5)
    before = by_target(x, member, UNIT)
    changed = x.copy()
    changed[4] = np.random.default_rng(0).normal(size=x.shape[1])[UNIT.codes[0] :][: x.shape[1]]
    changed[5] = 0.0
    after = by_target(changed, member, UNIT)
    assert before[4] == after[4]
    assert before[5] == after[5]
    assert before[6] != after[6]


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_scores_without_a_zero_do_not_rank_subjects_by_their_size(rho: float) -> None:
    """A loss is positive: its plain sum is a count of records, its centred sum is none."""
    member = plan(40, seed=6)
    rng = np.random.default_rng(6)
    # What records of a person share by themselves, equal in all models.
    hard = np.sqrt(rho) * rng.normal(size=len(UNIT.names))[UNIT.codes]
    hard = hard + np.sqrt(1 - rho) * rng.normal(size=len(UNIT.codes))
    loss = 5.0 + hard - SHIFT * member
    attack = LOSS()
    alone = attack.leave_one_out(loss, member)
    scores = of_unit(attack, alone, {"loss": loss}, member, UNIT)
    truth = np.asarray(UNIT.member(member))
    mean = operating_points(scores, truth, ()).auc.mean()
    plain = operating_points(UNIT.scores(alone), truth, ()).auc.mean()
    want = np.mean([subject_auc(SIZES[m], SIZES[~m], SHIFT, rho) for m in truth])
    assert mean == pytest.approx(want, abs=0.05)
    assert plain < 0.55 < mean
    assert np.abs(np.corrcoef(scores.mean(axis=0), SIZES)[0, 1]) < 0.2
    assert score_correlation(alone, member, UNIT).value == pytest.approx(rho, abs=0.08)


def test_what_cannot_be_estimated_is_a_plain_sum() -> None:
    member = half_split(6, models=4, groups=[0, 0, 1, 1, 2, 2]).member
    x = np.random.default_rng(0).normal(size=member.shape)
    assert by_target(x[:2], member[:2], Subjects([0, 0, 1, 1, 2, 2])).tolist() == [0.0, 0.0]
    lonely = signal_correlation(x, member, Subjects(range(6)))
    assert np.isnan(lonely.value)
    assert (lonely.used, lonely.subjects) == (0.0, 0)
    still = signal_correlation(np.ones((4, 6)), member, Subjects([0, 0, 1, 1, 2, 2]))
    assert (still.used, still.subjects) == (0.0, 0)


def test_bad_arguments_are_refused_in_one_line() -> None:
    unit = Subjects([0, 0, 1])
    with pytest.raises(InputError, match=r"correlation: expected numbers in 0..1, got 1.5 to 1.5"):
        discounted([1.0, 2.0, 3.0], unit, 1.5)
    with pytest.raises(InputError, match="signal, member: expected floats and bools of one shape"):
        signal_correlation(np.ones((2, 3)), np.ones((2, 2), dtype=bool), unit)
    split = np.array([[True, False, True], [False, True, False]])
    with pytest.raises(InputError, match="expected every subject whole on one side"):
        score_correlation(np.ones((2, 3)), split, unit)
    assert auc(discounted([3.0, 1.0, 0.0], unit, 0.5), np.array([True, False])) == 1.0


def test_of_a_large_pool_whole_subjects_are_looked_at() -> None:
    whose = np.repeat(np.arange(5000), 4)
    member = half_split(20_000, models=8, groups=whose, seed=1).member
    rng = np.random.default_rng(8)
    own = rng.normal(size=(8, 5000))[:, whose]
    x = np.sqrt(0.5) * own + np.sqrt(0.5) * rng.normal(size=member.shape)
    np.testing.assert_allclose(by_target(x, member, Subjects(whose)), 0.47, atol=0.03)
    np.testing.assert_allclose(by_target(x, member, Subjects(whose), scores=True), 0.5, atol=0.03)
