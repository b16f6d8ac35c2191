"""The report of a run whose records belong to subjects counts subjects throughout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.fake_run import FakeRun

from seepage.attacks import LOSS, RMIA, LiRA
from seepage.attacks.subjects import of_unit
from seepage.errors import InputError
from seepage.findings import collect
from seepage.findings.subjects import SEVERAL, by_unit, telling_records
from seepage.metrics import (
    Samples,
    Subjects,
    auc,
    evidence,
    signal_correlation,
    tpr_at_fpr,
)
from seepage.plan import fixed_target, half_split
from seepage.plane import points
from seepage.report import write_report

SIZES = np.random.default_rng(3).integers(1, 8, 60)
WHOSE = np.array([f"person {i}" for i in np.repeat(np.arange(60), SIZES)])
ATTACKS = (LiRA(), LOSS(), RMIA())


def grouped(member: Any = None, **options: Any) -> FakeRun:
    n = len(WHOSE)
    plan = half_split(n, models=12, groups=WHOSE).member if member is None else member
    run = FakeRun(samples=n, member=plan, shift=2.0, checkpoints=(0.0, 4.0, 16.0), **options)
    run.groups = WHOSE  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def run() -> FakeRun:
    return grouped()


@pytest.fixture(scope="module")
def findings(run: FakeRun) -> Any:
    return collect(run, attacks=ATTACKS, permutations=2)


def test_every_figure_counts_subjects(run: FakeRun, findings: Any) -> None:
    unit = Subjects(WHOSE)
    member = np.asarray(unit.member(run.member))
    phi = run.signal_at("phi", 2)
    alone = LiRA().leave_one_out(phi, run.member)
    scores = of_unit(LiRA(), alone, {"phi": phi}, run.member, unit)
    assert (findings.unit, findings.units, findings.samples) == ("subject", "subjects", 60)
    assert findings.ids.tolist() == list(unit.names)
    by_hand = np.mean([auc(s, m) for s, m in zip(scores, member, strict=True)])
    assert findings.main_attack.auc.mean == pytest.approx(by_hand, abs=1e-12)
    assert findings.risk.auc[-1] == pytest.approx(by_hand, abs=1e-12)
    pooled = tpr_at_fpr(scores.ravel(), member.ravel(), 0.01)
    assert findings.main_attack.pooled[0].tpr.mean == pytest.approx(pooled.tpr, abs=1e-12)
    place = points(scores >= 0, member)
    fpr, tpr = findings.paths.rates()
    np.testing.assert_allclose(fpr[-1], place.fpr)
    np.testing.assert_allclose(tpr[-1], place.tpr)
    means = np.asarray(unit.scores(phi)) / unit.sizes
    np.testing.assert_allclose(findings.exposure.p, evidence(means, member), atol=1e-12)
    # Accuracy stays one of records.
    right = [r[m].mean() for r, m in zip(run.signal_at("correct", 2), run.member, strict=True)]
    assert findings.utility.member[-1] == pytest.approx(np.mean(right), abs=1e-6)
    assert findings.naming.members <= 60
    assert findings.negatives == int((~member).sum(axis=1).min())


def test_what_belonging_together_changes_is_told(run: FakeRun, findings: Any) -> None:
    x = findings.subjects
    unit = Subjects(WHOSE)
    assert x.sizes.tolist() == SIZES.tolist()
    assert x.records == len(WHOSE)
    found = signal_correlation(run.signal_at("phi", 2), run.member, unit)
    assert x.within == found
    assert x.by_record.mean < x.plain.mean
    assert x.whole == findings.main_attack.auc
    assert [(b.first, b.last) for b in x.by_size] == [(1, 1), (2, 3), (4, 7)]
    assert sum(b.subjects for b in x.by_size) == 60
    assert x.by_size[0].apart < x.by_size[1].apart < x.by_size[2].apart


def test_permuted_membership_moves_subjects_whole_and_shows_nothing() -> None:
    still = grouped(seed=5)
    still._phi = [
        np.random.default_rng(9).normal(size=p.shape).astype(np.float32) for p in still._phi
    ]
    f = collect(still, attacks=[LiRA()], permutations=2, blind=False)
    assert abs(f.main_attack.auc.mean - 0.5) < 0.06
    assert abs(f.risk.null[-1] - 0.5) < 0.06
    assert not f.exposure.exposed.any()


def test_copies_kept_together_give_what_one_of_each_gives() -> None:
    member = half_split(80, models=12, seed=4).member
    once = FakeRun(samples=80, member=member, checkpoints=(0.0, 16.0), seed=4)
    twice = FakeRun(samples=80, member=member, checkpoints=(0.0, 16.0), seed=4)
    twice.member = np.concatenate([member, member], axis=1)
    twice.labels = np.concatenate([once.labels, once.labels])
    twice.ids = np.array([f"r{i}" for i in range(160)])
    twice._phi = [np.concatenate([p, p], axis=1) for p in once._phi]
    twice.groups = np.concatenate([once.ids, once.ids])  # type: ignore[attr-defined]
    a, b = (collect(r, attacks=ATTACKS[:2], blind=False, permutations=1) for r in (once, twice))
    assert b.subjects.within.value == pytest.approx(1.0)
    assert a.ids.tolist() == b.ids.tolist()
    for one, two in zip(a.attacks, b.attacks, strict=True):
        assert two.auc.mean == pytest.approx(one.auc.mean, abs=1e-9)
    # A loss is centred for each target, which moves the one threshold of all.
    one, two = a.main_attack, b.main_attack
    assert two.pooled[0].tpr.mean == pytest.approx(one.pooled[0].tpr.mean, abs=1e-9)
    np.testing.assert_array_equal(a.paths.tp, b.paths.tp)
    np.testing.assert_allclose(a.exposure.p, b.exposure.p)
    assert a.exposure.order.tolist() == b.exposure.order.tolist()


def test_the_files_name_subjects_and_their_records(
    run: FakeRun, findings: Any, tmp_path: Path
) -> None:
    path = write_report(run, tmp_path / "r.html", findings=findings)
    text = path.read_text()
    summary = json.loads((tmp_path / "r.json").read_text())
    assert (summary["unit"], summary["samples"]) == ("subject", len(WHOSE))
    assert summary["subjects"]["subjects"] == 60
    first = summary["exposed"]["most_exposed"][0]
    sizes = dict(zip(Subjects(WHOSE).names, SIZES.tolist(), strict=True))
    assert summary["exposed"]["records_of_most_exposed"][0] == sizes[first]
    table = pq.read_table(tmp_path / "r.samples.parquet")
    assert table["id"].to_pylist() == list(sizes)
    assert table["records"].to_pylist() == list(sizes.values())
    assert "60 subjects" in text
    assert "discounted sums" in text
    assert "The most exposed subjects" in text
    assert f"{findings.subjects.within.value:.2f}" in text


def test_the_record_that_is_shown_is_the_one_that_leaks_most(run: FakeRun, findings: Any) -> None:
    unit = Subjects(WHOSE)
    shown = telling_records(run, unit)
    assert findings.shown.tolist() == shown.tolist()
    assert [WHOSE[i] for i in shown] == list(unit.names)
    phi, m = run.signal_at("phi", 2).astype(float), run.member
    gap = (phi * m).sum(0) / m.sum(0) - (phi * ~m).sum(0) / (~m).sum(0)
    for name, i in zip(unit.names, shown, strict=True):
        assert gap[i] == gap[name == WHOSE].max()


def test_a_subject_of_several_classes_has_a_class_of_its_own(run: FakeRun) -> None:
    counted, unit = by_unit(run)
    assert isinstance(unit, Subjects)
    for name, k in zip(unit.names, counted.labels.tolist(), strict=True):
        own = set(run.labels[name == WHOSE].tolist())
        assert counted.classes[k] == (SEVERAL if len(own) > 1 else run.classes[own.pop()])


def test_samples_are_judged_where_asked_for(run: FakeRun) -> None:
    f = collect(run, attacks=[LiRA()], permutations=1, blind=False, unit=Samples())
    assert (f.unit, f.samples, f.subjects) == ("sample", len(WHOSE), None)


def test_a_plan_that_divides_a_subject_is_refused_in_one_line() -> None:
    split = grouped(half_split(len(WHOSE), models=12).member)
    with pytest.raises(InputError, match="expected every subject whole on one side, got 'person"):
        collect(split, attacks=[LiRA()])


def test_a_fixed_target_is_judged_by_its_subjects() -> None:
    owner = np.isin(WHOSE, [f"person {i}" for i in range(30)])
    plan = fixed_target(owner, models=12, groups=WHOSE)
    one = grouped(plan.member)
    one.manifest["plan"]["kind"] = "fixed_target"
    f = collect(one, attacks=[LiRA()], permutations=1, blind=False)
    unit = Subjects(WHOSE)
    phi = one.signal_at("phi", 2)
    scores = of_unit(LiRA(), LiRA().leave_one_out(phi, one.member), {"phi": phi}, one.member, unit)
    truth = np.asarray(unit.member(one.member))[0]
    assert f.main_attack.auc.mean == pytest.approx(auc(scores[0], truth), abs=1e-12)
    assert f.main_attack.auc.groups == 60
    assert f.target == 0
    assert f.subjects.whole == f.main_attack.auc
