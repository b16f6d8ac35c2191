"""Samples with too few references: left out of every figure, counted, named; never a reason to stop."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import seepage
from fake_run import FakeRun
from seepage.attacks import LOSS, RMIA, AttackP, LiRA, LiRAOfflineOneSided, how_left_out
from seepage.config.prepare import ReferencesWarning, check_references
from seepage.errors import InputError
from seepage.findings import collect
from seepage.findings.unjudged import unjudged
from seepage.fleet.imported import import_arrays
from seepage.metrics import operating_points
from seepage.plan import SubsetPlan, refuse_offline
from seepage.report import write_report
from tiny_fleet import fleet, table


def coins(models: int, samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([models, seed]).random((models, samples)) < 0.5


def scarce(models: int = 16, samples: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Coin flips in which 5 samples are IN one run alone and 4 OUT of one; which they are."""
    member = coins(models, 3 * samples)
    inside = member.sum(axis=0)
    member = member[:, (inside > 3) & (inside < models - 3)][:, :samples]
    few = np.arange(samples) % 27 == 3
    at = np.flatnonzero(few)
    member[:, at] = False
    member[np.arange(5), at[:5]] = True
    member[:, at[5:]] = True
    member[np.arange(4), at[5:]] = False
    return member, few


def mean_auc(scores: np.ndarray, member: np.ndarray) -> float:
    return float(operating_points(scores, member, [0.1]).auc.mean())


def test_figures_are_those_of_the_other_samples() -> None:
    member, few = scarce()
    whole = FakeRun(member=member, samples=member.shape[1], models=16)
    found = collect(whole, attacks=[LiRA(), LOSS()], permutations=1)
    scores = LiRA().leave_one_out(whole.signal_at("phi", -1)[:, ~few], member[:, ~few])
    assert found.main_attack.auc.mean == pytest.approx(mean_auc(scores, member[:, ~few]))
    loss = mean_auc(-whole.signal_at("loss", -1)[:, ~few], member[:, ~few])
    assert found.attacks[1].auc.mean == pytest.approx(loss)
    assert found.samples == (~few).sum()
    assert found.ids.tolist() == whole.ids[~few].tolist()
    assert not found.skipped
    assert found.unjudged == (
        "9 of 240 samples left out: 9 have fewer than 2 IN or 2 OUT references (s003, s030, s057, …)"
    )


def test_samples_that_no_run_or_every_run_trained_on_are_counted_too() -> None:
    member, few = scarce()
    member[:, 0] = False
    member[:, 1:3] = True
    found = unjudged(FakeRun(member=member, samples=240), [LiRA()])
    assert found.few.tolist() == few.tolist()
    assert found.words.startswith("12 of 240 samples left out: 9 have fewer than ")
    assert found.words.endswith("; no run trained on 1; every run trained on 2")


def test_what_is_needed_decides_what_is_left_out() -> None:
    member, few = scarce()
    run = FakeRun(member=member, samples=240)
    assert not unjudged(run, [LOSS()]).few.any()
    assert unjudged(run, [LOSS()]).part(run) is run
    offline = unjudged(run, [LiRAOfflineOneSided()])
    assert offline.few.tolist() == (few & (member.sum(axis=0) > 8)).tolist()
    assert "have fewer than 2 OUT references" in offline.words


def test_an_attack_that_most_samples_lack_references_for_is_not_run() -> None:
    """Then nothing is left out for it: another plan is needed."""
    run = FakeRun(models=4)
    found = unjudged(run, [LiRA(), RMIA()])
    assert not found.few.any()
    assert found.words == ""
    told = collect(run, attacks=[LiRA(), RMIA()], permutations=1)
    assert re.search(
        "got 1 and 1 from 4 models; train more models, at least 6", told.skipped["lira"]
    )


def test_the_function_names_the_samples_and_their_number() -> None:
    member, few = scarce()
    at = np.flatnonzero(few)
    with pytest.raises(InputError, match=(
        "needs at least 2 IN and 2 OUT references for every sample, got 0 and 0 at the worst from 16 "
        f"models: 9 of 240 samples have too few, at positions {at[0]}, {at[1]}, {at[2]}, …; leave "
        r"them out, .*unjudged\(run, \[attack\]\)\.part\(run\) is the run without them\), or train more"
    )):  # fmt: skip
        LiRA().leave_one_out(np.zeros(member.shape), member)
    with pytest.raises(
        InputError, match="7 of 238 samples have too few, at positions 30, 57, 84, …"
    ):
        LiRA().score(np.zeros(240), np.zeros((15, 240)), member[1:])


def test_a_population_by_position_stays_the_same_samples() -> None:
    run = FakeRun(member=scarce()[0], samples=240)
    found = unjudged(run, [LiRA()])
    (moved,) = found.attacks([AttackP(population=[2, 3, 4, 200])])
    assert found.part(run).ids[moved.population].tolist() == ["s002", "s004", "s200"]


@pytest.mark.parametrize("models", [8, 12])
def test_what_is_left_reads_nothing_from_noise(models: int) -> None:
    """Leaving samples out by counts cuts a binomial off; references are then matched."""
    seen = []
    for seed in range(4):
        member = coins(models, 2000, seed)
        run = FakeRun(member=member, samples=2000, checkpoints=(0.0,))
        found = unjudged(run, [LiRA()])
        assert found.few.any()
        part = found.part(run)
        assert how_left_out(part.member) == "matched"
        noise = np.random.default_rng(seed).normal(size=part.member.shape)
        seen.append(mean_auc(LiRA().leave_one_out(noise, part.member), part.member))
    assert abs(np.mean(seen) - 0.5) < 0.01


def test_pictures_stay_with_their_samples(tmp_path: Path) -> None:
    member, few = scarce()
    run = FakeRun(member=member, samples=240)
    write_report(run, tmp_path / "r.html", permutations=1)
    rows = pq.read_table(tmp_path / "r.samples.parquet").to_pydict()
    assert rows["id"] == run.ids[~few].tolist()
    text = (tmp_path / "r.html").read_text()
    assert "9 of 240 samples left out: 9 have fewer than 2 IN or 2 OUT references" in text


def test_the_plan_is_told_before_training() -> None:
    member, _ = scarce()
    plan = SubsetPlan(member, np.zeros(16, np.uint64), "given", 0)
    with pytest.warns(
        ReferencesWarning, match="9 of 240 samples have too few IN or OUT references"
    ):
        check_references(plan, (LiRA(),))
    few = SubsetPlan(member[:4], np.zeros(4, np.uint64), "given", 0)
    with pytest.raises(InputError, match=r"plan.models: lira needs 2 IN and 2 OUT"):
        check_references(few, (LiRA(),))


ALL = np.ones((4, 10), dtype=np.bool_)
OFFLINE = [
    (np.where(np.arange(10) < 5, ALL, False), "got none: 5 that no run trained on, 5 that every run"),
    (
        np.concatenate([
            np.arange(40)[None] < 10, (np.arange(40) >= 20) & coins(7, 40)
        ]),
        "got run 0, none of whose 10 members another run trained on; such a target is offline",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("member", "message"), OFFLINE, ids=["alike", "target"])
def test_offline_audits_are_refused_by_name(member: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        refuse_offline(member, "plan")
    phi = np.random.default_rng(0).normal(size=member.shape)
    np.savez(tmp_path / "theirs.npz", member=member, phi=phi)
    with pytest.raises(InputError, match=message) as told:
        import_arrays(tmp_path / "theirs.npz", tmp_path / "run")
    assert "\n" not in str(told.value)
    assert [p.name for p in tmp_path.iterdir()] == ["theirs.npz"]
    with pytest.raises(InputError, match=message):
        collect(FakeRun(member=member, samples=member.shape[1]), permutations=1)


def test_references_that_saw_none_of_the_samples_are_told_where_they_go(tmp_path: Path) -> None:
    member = np.zeros((9, 20), dtype=np.bool_)
    member[0, :10] = True
    np.savez(tmp_path / "theirs.npz", member=member, phi=np.ones(member.shape))
    with pytest.raises(
        InputError, match=r"none in run 1; .* offline target, which run folders cannot"
    ):
        import_arrays(tmp_path / "theirs.npz", tmp_path / "run")


def test_a_plan_with_an_offline_target_is_refused_before_training(tmp_path: Path) -> None:
    data = table(40)
    member = OFFLINE[1][0]
    plan = SubsetPlan(np.asarray(member), np.arange(8, dtype=np.uint64), "given", 0)
    with pytest.raises(InputError, match="plan: expected every run to share members with others"):
        fleet(tmp_path / "run", data=data, plan=plan)
    assert not list(tmp_path.iterdir())


def test_runs_on_the_same_members_may_still_be_trained(tmp_path: Path) -> None:
    """Layers and curvature need no other membership."""
    member = np.repeat(np.arange(40)[None] < 20, 2, axis=0)
    plan = SubsetPlan(member, np.arange(2, dtype=np.uint64), "given", 0)
    assert len(fleet(tmp_path / "run", data=table(40), plan=plan).models) == 2


def test_the_function_serves_offline_references() -> None:
    """Members shifted by 1.5 standard deviations of a signal that 16 references know: AUC .85."""
    rng = np.random.default_rng(0)
    inside, centre = np.arange(400) < 200, 3 * rng.normal(size=400)
    references = centre + rng.normal(size=(16, 400))
    target = centre + rng.normal(size=400) + 1.5 * inside
    none = np.zeros((16, 400), dtype=np.bool_)
    scores = LiRAOfflineOneSided().score(target, references, none)
    assert abs(seepage.metrics.auc(scores, inside) - 0.856) < 0.05
