"""Which models figures are about, and that the strongest attack pays for having been chosen."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from tests.fake_run import FakeRun

from seepage.attacks import LOSS, LiRA
from seepage.errors import InputError
from seepage.findings import collect
from seepage.findings.judging import Judging, target_row
from seepage.metrics import Estimate, Samples, Subjects, auc, auc_interval, strongest
from seepage.plan import fixed_target, half_split
from seepage.report import render


def one_model(leak: float, *, samples: int = 200, shadows: int = 16) -> FakeRun:
    """A target that leaks by `leak` standard deviations for every member; shadows hardly leak."""
    member = fixed_target(np.arange(samples) < samples // 2, models=shadows, seed=1).member
    run = FakeRun(
        samples=samples, member=member, shift=0.5, leaky=1.0, checkpoints=(0.0, 4.0, 16.0)
    )
    run.manifest["plan"] = {"kind": "fixed_target", "seed": 1, "models": shadows + 1}
    for phi in run._phi:
        phi[0] += np.float32(leak) * member[0]
    return run


def test_a_fixed_target_is_judged_alone() -> None:
    run = one_model(2.0)
    scores = LiRA().leave_one_out(run.signal_at("phi", -1), run.member)
    own = auc(scores[0], run.member[0])
    every = np.mean([auc(s, m) for s, m in zip(scores, run.member, strict=True)])
    assert own > every + 0.1
    f = collect(run, attacks=[LiRA(), LOSS()], permutations=2, blind=False)
    assert f.target == 0
    assert f.main_attack.auc.mean == pytest.approx(own, abs=1e-12)
    assert f.main_attack.auc.low > every
    assert f.risk.auc[-1] == pytest.approx(own, abs=1e-12)
    assert abs(f.risk.null[-1] - 0.5) < 0.1
    # Its figures per sample are those of the shadows alone.
    assert f.paths.n_in.max() == f.paths.n_out.max() == 8
    text = render(f, run.data())
    assert "This model leaks" in text
    assert "members of this model can be named by LiRA" in text
    assert "shadows" in text


def test_the_rectangle_of_a_fixed_target_has_thresholds_of_other_non_members() -> None:
    run = one_model(2.0, samples=2000)
    judging = Judging.of(run)
    scores = LiRA().leave_one_out(run.signal_at("phi", -1), run.member)
    one, tenth = judging.rates(scores, (0.01, 0.0001))
    assert one.resolved
    assert one.realised_low <= one.realised <= one.realised_high
    assert one.tpr.low <= one.tpr.mean <= one.tpr.high
    assert not tenth.resolved
    assert np.isnan(tenth.tpr.mean)
    assert tenth.negatives == 1000


def test_without_the_target_its_shadows_say_nothing_of_it() -> None:
    run = one_model(2.0)
    run.models = run.models[1:]
    run.member = run.member[1:]
    with pytest.raises(InputError, match="expected the fixed target, run 0, to be done, got 16"):
        target_row(run)


def test_every_model_is_a_target_of_other_plans(run: Any) -> None:
    assert target_row(run) is None
    judging = Judging.of(run)
    assert judging.negatives == 100
    again = judging.redrawn(np.random.default_rng(0))
    assert (again.member.sum(axis=0) == judging.member.sum(axis=0)).all()
    assert (again.member != judging.member).any()


def test_a_target_redrawn_keeps_its_subjects_whole() -> None:
    groups = np.arange(200) // 4
    member = fixed_target(groups < 25, models=6, groups=groups).member
    judging = Judging(member, 0, Subjects(groups), groups)
    again = judging.redrawn(np.random.default_rng(0)).member
    assert (again[1:] == member[1:]).all()
    assert again[0].sum() == member[0].sum()
    assert (Subjects(groups).member(again[0]) != Subjects(groups).member(member[0])).any()


def test_samples_of_one_subject_widen_the_interval_of_a_target() -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(400) // 8
    member = fixed_target(groups < 25, models=6, groups=groups).member
    scores = rng.normal(size=50)[groups] + 0.1 * rng.normal(size=(7, 400))
    (clustered,) = Judging(member, 0, groups=groups).auc(scores)
    plain = auc_interval(scores[0], member[0])
    assert clustered.mean == pytest.approx(plain.mean)
    assert clustered.high - clustered.low > 2 * (plain.high - plain.low)


def test_samples_that_no_run_trained_on_are_not_judged() -> None:
    rng = np.random.default_rng(0)
    member = np.concatenate([half_split(100, models=6).member, np.zeros((6, 50), bool)], axis=1)
    scores = rng.normal(size=(6, 150))
    scores[:, 100:] = 100.0  # as non-members they would spoil every rate
    judging = Judging(member)
    assert judging.negatives == 50
    expected = np.mean([auc(s[:100], m[:100]) for s, m in zip(scores, member, strict=True)])
    assert judging.auc(scores)[0].mean == pytest.approx(expected, abs=1e-12)


def test_the_largest_of_many_noises_is_not_called_a_leak() -> None:
    rng = np.random.default_rng(0)
    member = half_split(400, models=16).member
    judging = Judging(member)
    false = 0
    for _ in range(60):
        found: dict[str, tuple[Estimate, Estimate]] = {}
        for k in range(12):
            one, wide = judging.auc(rng.normal(size=member.shape), 0.95, 1 - 0.05 / 12)
            found[str(k)] = one, wide
        best = strongest(found)
        assert best.estimate.mean == max(e.mean for e, _ in found.values())
        assert best.estimate.high == max(e.high for e, _ in found.values())
        false += best.estimate.low > 0.5
    assert false <= 6


def test_an_interval_that_is_missing_leaves_no_strongest_interval() -> None:
    missing = Estimate(0.6, np.nan, np.nan, 0.95, 1)
    best = strongest({"a": (missing, missing)})
    assert best.attack == "a"
    assert np.isnan(best.estimate.high)


def test_a_rate_that_few_non_members_cannot_resolve_has_no_number() -> None:
    run = one_model(2.0, samples=40)
    f = collect(run, attacks=[LiRA()], permutations=1, blind=False)
    assert f.negatives == 20
    assert f.strongest_at_low_fpr is None
    text = render(f, run.data())
    assert text.count("cannot be resolved with 20 non-members") >= 4
    assert "nan" not in re.sub(r"<script.*?</script>", "", text, flags=re.S).lower().split()


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("tuples", "the other runs of its pair or tuple"),
        ("exact counts", "together with a random run of the other side"),
        ("coin flips", "drawn for each run by itself"),
    ],
)
def test_the_report_says_which_references_a_target_does_without(layout: str, words: str) -> None:
    rng = np.random.default_rng(0)
    member = half_split(300, models=24).member
    if layout == "exact counts":
        member = rng.permuted(np.arange(24)[:, None] + np.zeros((1, 300)), axis=0) < 12
    elif layout == "coin flips":
        member = rng.random((24, 300)) < 0.5
    run = FakeRun(samples=300, member=member, shift=0.0, checkpoints=(16.0,))
    f = collect(run, attacks=[LiRA()], permutations=1, blind=False)
    assert words in render(f, None)
    assert abs(f.main_attack.auc.mean - 0.5) < 0.03


@pytest.mark.parametrize("target", [None, 0])
@pytest.mark.parametrize("subjects", [False, True])
def test_areas_and_rates_at_once_are_those_of_each(target: int | None, subjects: bool) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), 2) if subjects else np.arange(600)
    member = half_split(300, models=8, seed=0).member[:, groups] if subjects else half_split(600, models=8, seed=0).member  # fmt: skip
    scores = rng.normal(size=member.shape) + member
    unit = Subjects(groups.astype(str)) if subjects else Samples()
    judging = Judging(member, target, unit)
    areas, rates = judging.areas_and_rates(scores, (0.05, 0.01), 0.95, 0.99)
    assert areas == judging.auc(scores, 0.95, 0.99)
    assert repr(rates) == repr(judging.rates(scores, (0.05, 0.01)))
