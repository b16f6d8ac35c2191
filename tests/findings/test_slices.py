"""Parts of a pool: figures by brute force, the null within parts, small ones, columns, subjects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fake_run import FakeRun
from seepage.attacks import LOSS
from seepage.errors import InputError
from seepage.findings import collect
from seepage.findings.judging import Judging
from seepage.findings.slices import BY, column_of, slices_of, slices_of_values
from seepage.metrics import EACH, Samples, Subjects, auc, called_members
from seepage.metrics.slices import slices
from seepage.plan import half_split
from seepage.report.html import render
from seepage.scoring import score


def test_figures_of_parts_are_those_of_the_parts() -> None:
    rng = np.random.default_rng(0)
    member = half_split(300, models=12, seed=1).member
    codes = rng.integers(0, 3, 300)
    s = rng.normal(size=member.shape) + member * np.array([0.0, 1.0, 3.0])[codes]
    found = slices(s, member, codes, fpr=0.05)
    called = called_members(s, member, 0.05)
    assert called is not None
    for k, part in enumerate(found):
        at = codes == k
        each = [auc(row[at], truth[at]) for row, truth in zip(s, member, strict=True)]
        assert part.auc.mean == pytest.approx(np.mean(each))
        assert part.tpr.mean == pytest.approx(called[:, at][member[:, at]].mean())
        assert part.fpr.mean == pytest.approx(called[:, at][~member[:, at]].mean())
        inside, outside = s[:, at][member[:, at]], np.sort(s[:, at][~member[:, at]])[::-1]
        cut = outside[int(0.05 * (len(outside) + 1)) - 1]
        assert part.own.mean == pytest.approx((inside >= cut).mean(), abs=0.01)
        assert part.auc.level == part.tpr.level == pytest.approx(1 - 0.05 / 3)
        assert part.auc.low < part.auc.mean < part.auc.high
    assert found[0].auc.covers(0.5)
    assert found[0].tpr.covers(found[0].fpr.mean)
    assert found[2].tpr.low > found[1].tpr.mean
    alone = slices(s[:1], member[:1], codes, fpr=0.05)
    assert alone[2].auc.low > 0.8
    assert alone[2].tpr.low > 0.5
    assert 0.5 < alone[2].own.low < alone[2].own.mean < 1.0
    with pytest.raises(InputError, match="a member and a non-member of every target in each part"):
        slices(s, member, np.where(np.arange(300) == 0, 1, 0))


def test_noise_reads_a_half_in_every_part_and_parts_of_ones_own_answers_do_not(
    make_run: Any,
) -> None:
    still = make_run(shift=0.0, models=8, samples=1500, checkpoints=(0.0, 4.0), seed=3)
    loss = score(still, LOSS())
    judging = Judging.of(still, Samples())
    for by in BY:
        found = slices_of(still, loss, judging, "LOSS", by)
        assert found.compared >= 2
        for part in found.parts:
            assert part.found is not None
            assert abs(part.found.auc.mean - 0.5) < 0.03, (by, part)
            assert part.found.auc.covers(0.5)
            assert part.found.tpr.covers(part.found.fpr.mean)
    # Quarters by the mean over all models without the sample, the target's own answer among them.
    hard = np.nanmean(np.where(still.member, np.nan, -loss), axis=0)
    wrong = slices(loss, still.member, np.argsort(np.argsort(hard)) * 4 // 1500)
    assert wrong[0].auc.mean < 0.45
    assert wrong[3].auc.mean > 0.55


def test_small_parts_are_joined_and_a_part_that_stays_small_has_no_figure(make_run: Any) -> None:
    run = make_run(models=8, samples=200, checkpoints=(0.0, 4.0))
    scores, judging = score(run, LOSS()), Judging.of(run, Samples())
    names = np.array(["a"] * 150 + ["b"] * 38 + ["c"] * 5 + ["d"] * 5 + ["e"] * 2)
    found = slices_of_values(names, scores, judging, "LOSS", "letter")
    assert [p.name for p in found.parts] == ["a", "b", "3 small parts together"]
    assert found.parts[-1].joined == ("c", "d", "e")
    few = found.parts[-1]
    assert few.found is None
    assert few.why == "fewer than 5 members or others of some target"
    assert few.samples == 12
    assert found.compared == 2
    more = np.array(["a"] * 120 + list("bcdefghijk") * 8)
    joined = slices_of_values(more, scores, judging, "LOSS", "letter").parts[-1]
    assert joined.name == "10 small parts together"
    assert joined.found is not None
    assert joined.samples == 80
    numbers = np.where(np.arange(200) < 30, np.nan, np.arange(200.0))
    parts = slices_of_values(numbers, scores, judging, "LOSS", "age").parts
    assert [p.name for p in parts][-1] == "unknown"
    assert len(parts) == 5
    with pytest.raises(InputError, match=r"slices\[age\]: expected one value per sample \(200\)"):
        slices_of_values(numbers[:3], scores, judging, "LOSS", "age")


def test_columns_and_subjects_by_name(make_run: Any) -> None:
    data = make_run(kind="table", samples=60, models=4).data()
    assert column_of(data, "column 3").tolist() == data.inputs[:, 3].tolist()
    with pytest.raises(InputError, match="expected one of class, correctness, difficulty or a"):
        column_of(data, "colum 3")
    with pytest.raises(InputError, match="could not be found again"):
        column_of(None, "age")
    unit = Subjects(np.repeat(np.arange(30), 2))
    member = np.repeat(half_split(30, models=8, seed=0).member, 2, axis=1)
    judging = Judging(np.asarray(unit.member(member)))
    scores = np.random.default_rng(0).normal(size=(8, 30))
    sex = np.repeat(np.where(np.arange(30) < 14, "f", "m"), 2)
    found = slices_of_values(sex, scores, judging, "LOSS", "sex", unit=unit)
    assert [(p.name, p.samples) for p in found.parts] == [("f", 14), ("m", 16)]
    odd = sex.copy()
    odd[1] = "m"
    with pytest.raises(
        InputError, match="one value for all records of a subject, got several of '0'"
    ):
        slices_of_values(odd, scores, judging, "LOSS", "sex", unit=unit)
    assert slices_of_values(sex[::2], scores, judging, "LOSS", "sex", unit=EACH).compared == 2


def test_a_report_shows_them_and_a_fixed_target_is_judged_alone(make_run: Any) -> None:
    run: FakeRun = make_run(models=8, checkpoints=(0.0, 4.0), kind="table")
    leaky = np.where(run.hardness == 1.0, "leaky", "tame")
    found = collect(
        run, attacks=[LOSS()], permutations=1, blind=False, by=["column 1"], slices={"kind": leaky}
    )
    assert [s.by for s in found.slices] == [*BY, "column 1", "kind"]
    told = found.summary()["slices"][-1]
    assert told["parts"][0]["name"] == "leaky"
    assert told["parts"][0]["found"]["auc"]["mean"] > told["parts"][1]["found"]["auc"]["mean"] + 0.1
    text = render(found)
    assert "LOSS by kind, at the last checkpoint" in text
    assert "Intervals hold for all 2 parts at once (95 %)" in text
    run.manifest["plan"]["kind"] = "fixed_target"
    alone = slices_of_values(leaky, score(run, LOSS()), Judging.of(run), "LOSS", "kind")
    one = alone.parts[1].found
    assert one is not None
    assert one.samples == (leaky == "tame").sum()
    assert one.auc.groups == one.samples
