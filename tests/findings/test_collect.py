from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seepage.attacks import LOSS, AttackP, LiRA, ModifiedEntropy
from seepage.errors import InputError
from seepage.findings import collect
from seepage.metrics import Estimate, auc, row_auc, tpr_at_fpr
from seepage.plan import fixed_target, half_split, leave_out
from seepage.plane import Bootstrap, Permuted, early_determination, points, trajectories
from seepage.report import render
from seepage.report.words import first_screen


def test_figures_of_the_main_attack_are_those_of_the_attack(run: Any, findings: Any) -> None:
    scores = LiRA().leave_one_out(run.signal_at("phi", 5), run.member)
    by_hand = np.mean([auc(s, m) for s, m in zip(scores, run.member, strict=True)])
    assert findings.main == "lira"
    assert findings.main_attack.auc.mean == pytest.approx(by_hand, abs=1e-12)
    assert findings.risk.auc[-1] == pytest.approx(by_hand, abs=1e-12)
    pooled = tpr_at_fpr(scores.ravel(), run.member.ravel(), 0.01)
    assert findings.main_attack.pooled[0].tpr.mean == pytest.approx(pooled.tpr, abs=1e-12)
    assert findings.main_attack.pooled[0].realised == pooled.fpr
    place = points(scores >= 0, run.member)
    fpr, tpr = findings.paths.rates()
    np.testing.assert_allclose(fpr[-1], place.fpr)
    np.testing.assert_allclose(tpr[-1], place.tpr)


def test_utility_is_the_mean_accuracy_of_either_side(run: Any, findings: Any) -> None:
    right = run.signal_at("correct", 3)
    each = [r[m].mean() for r, m in zip(right, run.member, strict=True)]
    other = [r[~m].mean() for r, m in zip(right, run.member, strict=True)]
    assert findings.utility.member[3] == pytest.approx(np.mean(each), abs=1e-6)
    assert findings.utility.other[3] == pytest.approx(np.mean(other), abs=1e-6)
    assert (findings.utility.member_low <= findings.utility.member).all()


def test_the_planted_samples_are_named_first(run: Any, findings: Any) -> None:
    planted = np.flatnonzero(run.hardness == 1)
    exposed = np.flatnonzero(findings.exposure.exposed)
    assert len(np.intersect1d(planted, exposed)) >= 0.8 * len(planted)
    assert len(np.setdiff1d(exposed, planted)) <= 0.25 * len(exposed)
    assert np.isin(findings.exposure.order[:10], planted).all()
    assert findings.exposure.null_count[-1] < 0.25 * findings.exposure.count[-1]
    since = findings.exposure.since
    assert ((since >= 0) == findings.exposure.exposed).all()


def test_leakage_sets_in_after_initialisation(findings: Any) -> None:
    assert findings.leaks
    assert findings.onset is not None
    assert findings.onset > 0
    assert findings.halfway is not None
    assert findings.peak == len(findings.checkpoints) - 1
    assert abs(findings.risk.auc[0] - 0.5) < 0.05
    assert (findings.risk.null_low <= findings.risk.null).all()
    assert (findings.risk.null <= findings.risk.null_high).all()


def test_without_a_shift_nothing_is_found(make_run: Any) -> None:
    f = collect(make_run(shift=0.0, seed=2), attacks=[LiRA()], permutations=3, blind=False)
    assert not f.exposure.exposed.any()
    assert f.halfway is None
    assert abs(f.main_attack.auc.mean - 0.5) < 0.05


def test_groups_add_up(findings: Any) -> None:
    assert sum(g.samples for g in findings.groups) == findings.samples
    assert sum(g.exposed for g in findings.groups) == findings.exposure.exposed.sum()


def test_a_rate_below_one_false_alarm_is_marked(findings: Any) -> None:
    # 100 non-members per target, 1,600 pooled; a threshold of its own needs 5 of them.
    assert [p.resolved for p in findings.main_attack.per_target] == [False, False, False]
    assert [p.resolved for p in findings.main_attack.pooled] == [True, True, False]


def test_attacks_that_cannot_be_fed_are_left_out_and_named(make_run: Any) -> None:
    run = make_run(models=4, samples=60)
    run.signals = ("loss", "correct")
    f = collect(run, attacks=[ModifiedEntropy(), LOSS()], permutations=1, blind=False)
    assert [a.name for a in f.attacks] == ["loss"]
    assert f.skipped["mentr"].startswith("needs mentr, which was not recorded")
    assert "mentr, which was not recorded" in render(f, None)


def test_an_attack_without_a_threshold_gets_a_calibrated_one(run: Any) -> None:
    f = collect(run, attacks=[LOSS()], permutations=1, blind=False)
    assert "10%" in f.rule
    fpr, _ = f.paths.rates()
    assert fpr[-1].mean() == pytest.approx(0.1, abs=0.02)


def test_bad_options(run: Any, make_run: Any) -> None:
    with pytest.raises(InputError, match="permutations: expected at least 1, got 0"):
        collect(run, permutations=0)
    with pytest.raises(InputError, match="main: expected one of attack-p, got 'lira'"):
        collect(run, attacks=[AttackP()], main="lira")
    with pytest.raises(InputError, match="attacks: expected at least one"):
        collect(run, attacks=[])


def test_a_run_without_data_says_so(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    monkeypatch.setattr(run, "data", lambda: None)
    f = collect(run, attacks=[LiRA()], permutations=1)
    assert f.blind.auc is None
    assert "could not be found" in f.blind.note


def test_several_views(make_run: Any) -> None:
    run = make_run(samples=80, models=8, views=3)
    f = collect(run, attacks=[LiRA()], permutations=1, blind=False)
    right = run.signal_at("correct", 5)[..., 0]
    each = [r[m].mean() for r, m in zip(right, run.member, strict=True)]
    assert f.utility.member[-1] == pytest.approx(np.mean(each), abs=1e-6)
    assert f.main_attack.auc.mean > 0.52
    assert 'id="stage"' in render(f, run.data())


@pytest.mark.parametrize("kind", ["fixed target", "leave out", "a run failed", "few pairs"])
def test_other_plans(make_run: Any, kind: str) -> None:
    if kind == "fixed target":
        member = fixed_target(np.arange(80) % 3 == 0, models=8).member
    elif kind == "leave out":
        member = leave_out(80, folds=5).member
    else:
        member = half_split(80, models=8 if kind == "a run failed" else 4).member
        member = member[:-1] if kind == "a run failed" else member
    run = make_run(samples=80, member=member)
    f = collect(run, attacks=[LOSS()], permutations=2, blind=False)
    assert f.paths.n_in.tolist() == member.sum(axis=0).tolist()
    assert (f.exposure.p >= f.exposure.least).all()
    text = render(f, run.data())
    assert "nan" not in re.sub(r"<script.*?</script>", "", text, flags=re.S).lower().split()


def test_two_models_are_too_few(make_run: Any) -> None:
    with pytest.raises(InputError, match="models: expected at least 4 usable runs, got 2"):
        collect(make_run(samples=80, models=2), attacks=[LOSS()], permutations=1)


def test_without_any_interval_no_verdict_is_given(findings: Any) -> None:
    missing = Estimate(0.9, np.nan, np.nan, 0.95, 1)
    nothing = replace(findings.main_attack, auc=missing, auc_wide=missing)
    f = replace(findings, attacks=(nothing,))
    assert not f.judged
    assert not f.leaks
    assert "Too few models to say" in render(f, None)
    assert f.summary()["verdict"] == "too few models"


def test_an_interval_that_reaches_far_up_is_no_absence_of_leakage(findings: Any) -> None:
    for high, words, said in (
        (0.93, r"16 models cannot tell whether", "undecided"),
        (0.55, r"No leakage was measured", "not shown"),
    ):
        wide = Estimate(0.52, 0.24, high, 0.95, 8)
        only = replace(findings.main_attack, auc=wide, auc_wide=wide)
        f = replace(findings, attacks=(only,))
        first, told = first_screen(f), f.summary()
        assert (told["verdict"], told["leaks"]) == (said, False)
        assert told["undecided"] == (said == "undecided")
        assert re.match(words, first.headline)
        assert first.answers[0].tone == ("" if high > 0.6 else "calm")


def test_early_determination_is_that_of_the_plane(run: Any, findings: Any) -> None:
    paths = trajectories(run, attack=LiRA(), null=Permuted(draws=2, seed=0))
    first = replace(paths, null=paths.null[:1])
    known = early_determination(first, bootstrap=Bootstrap(replicates=0))
    np.testing.assert_array_equal(findings.early.recall, known.recall_now.value)
    np.testing.assert_array_equal(findings.early.precision, known.precision.value)
    np.testing.assert_array_equal(findings.early.chance, known.chance.value)
    np.testing.assert_array_equal(findings.early.null_recall, known.recall_now.null)
    assert findings.early.recall[-1] == 1.0


@pytest.mark.parametrize("models", [6, 20])
def test_high_is_decided_by_counts_and_not_by_rounding(make_run: Any, models: int) -> None:
    run = make_run(models=models, shift=2.0, leaky=0.9, checkpoints=(0.0, 8.0, 16.0))
    f = collect(run, attacks=[LOSS()], permutations=1, blind=False)
    p = f.paths
    tp, fp, n_in, n_out = (a.astype(np.int64) for a in (p.tp, p.fp, p.n_in, p.n_out))
    high = 2 * (tp * n_out - fp * n_in) >= n_in * n_out
    np.testing.assert_array_equal(f.exposure.high_count, high.sum(axis=1))
    tp, fp = p.null_tp.astype(np.int64), p.null_fp.astype(np.int64)
    null = 2 * (tp * n_out - fp * n_in) >= n_in * n_out
    np.testing.assert_array_equal(f.exposure.null_high_count, null.sum(axis=1))
    np.testing.assert_array_equal(f.early.chance, high.mean(axis=1))


def test_samples_without_both_rates_are_not_high(make_run: Any) -> None:
    member = half_split(60, models=8).member
    member[:, :20] = True  # these are never non-members
    run = make_run(samples=60, member=member, checkpoints=(16.0,))
    f = collect(run, attacks=[LOSS()], permutations=1, blind=False)
    assert np.isnan(f.paths.advantage()[-1, :20]).all()
    assert f.exposure.high_count[-1] == (f.paths.advantage()[-1] >= 0.5).sum()


def test_the_effect_of_every_sample_is_that_of_its_signal(run: Any, findings: Any) -> None:
    e = findings.exposure
    np.testing.assert_array_equal(e.auc, row_auc(run.signal_at("phi", 5), run.member))
    assert ((e.auc_low <= e.auc) & (e.auc <= e.auc_high)).all()
    planted = run.hardness == 1
    assert e.auc[planted].mean() > 0.9
    assert abs(e.auc[~planted].mean() - 0.5) < 0.1
    assert 0 <= e.at_most_false < e.exposed.sum()


def test_what_one_model_gives_away_is_another_question(run: Any, findings: Any) -> None:
    n = findings.naming
    assert (n.members, n.calibration) == (100, 50)
    assert n.fewest == 59  # ⌈150 / (0.05 · 51)⌉
    assert n.count < n.members
    assert "can name" in render(findings, None)
