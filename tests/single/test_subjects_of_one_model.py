"""One model audited by subject: discounted sums, their closed form, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import seepage
from seepage.attacks import LiRA
from seepage.metrics import Subjects, auc, discounted, signal_correlation, subject_auc
from seepage.plan import half_split
from seepage.single import Recorded, RecordedReferences

# 200 subjects of each side, of 1 to 20 records.
SIZES = np.random.default_rng(0).integers(1, 21, 400)
WHOSE = np.repeat(np.arange(400), SIZES)
MEMBER = WHOSE < 200
UNIT = Subjects(WHOSE)
RHO, SHIFT = 0.3, 0.4


def phi(member: np.ndarray, seed: int) -> np.ndarray:
    """φ (R, N) of unit variance, records of a subject alike by RHO."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(len(member), 400))[:, WHOSE]
    rest = rng.normal(size=member.shape)
    return np.sqrt(RHO) * own + np.sqrt(1 - RHO) * rest + SHIFT * member


def audit(values: np.ndarray, **options: Any) -> Any:
    first = int(MEMBER.sum())
    signals = [{"phi": v, "loss": np.logaddexp(0, -v)} for v in (values[:first], values[first:])]
    groups = WHOSE[:first], WHOSE[first:]
    return seepage.audit(Recorded(*signals), None, None, groups=groups, **options)


def test_references_give_the_correlation_and_the_closed_form(tmp_path: Path) -> None:
    rows = half_split(len(WHOSE), models=64, groups=WHOSE, seed=1).member
    target, shadows = phi(MEMBER[None], 2)[0], phi(rows, 3)
    one = audit(target, references=RecordedReferences(rows, signals={"phi": shadows}))
    x = one.whose
    assert one.main == "lira"
    assert x.sizes.tolist() == SIZES.tolist()
    assert x.within == signal_correlation(shadows, rows, UNIT)
    assert abs(x.within.value - RHO) < 0.03
    scores = LiRA().score(target, shadows, rows)
    by_hand = auc(discounted(scores, UNIT, x.within.used), np.arange(400) < 200)
    assert one.attack("lira").auc.mean == by_hand
    assert one.attack("lira").auc.groups == 400
    want = subject_auc(SIZES[:200], SIZES[200:], SHIFT, RHO)
    assert one.attack("lira").auc.covers(want)
    assert x.by_record.mean < x.whole.mean
    assert set(one.skipped).isdisjoint(a.name for a in one.attacks)
    seepage.write_report(one, tmp_path / "one.html")
    text = (tmp_path / "one.html").read_text()
    assert "What do several records of one person tell?" in text
    assert f"{x.within.value:.2f}" in text
    summary = json.loads((tmp_path / "one.json").read_text())
    assert [s["records"] for s in summary["subjects"]] == SIZES.tolist()
    assert summary["subjects_of_records"]["records"] == len(WHOSE)


def test_without_references_scores_are_discounted_by_what_others_show() -> None:
    values = phi(MEMBER[None], 4)[0]
    one = audit(values)
    want = subject_auc(SIZES[:200], SIZES[200:], SHIFT, RHO)
    assert one.attack("loss").auc.covers(want)
    assert abs(one.whose.within.value - RHO) < 0.1
    assert not one.whose.log_ratio
    # Copies of one record each tell no more than one of them.
    hard = np.random.default_rng(5).normal(size=400)[WHOSE] + SHIFT * MEMBER
    copies = audit(hard)
    firsts = np.unique(WHOSE, return_index=True)[1]
    alone = auc(hard[firsts], np.arange(400) < 200)
    assert abs(copies.attack("loss").auc.mean - alone) < 0.01


def test_p_values_of_subjects_hold_where_nothing_leaks() -> None:
    """Records alike, sizes unequal: of members that leak nothing one in ten has a p of 0.1."""
    first = int(MEMBER.sum())
    shares = []
    for seed in range(20):
        values = phi(np.zeros((1, len(WHOSE)), dtype=bool), 100 + seed)[0]
        one = seepage.audit(
            Recorded({"phi": values[:first]}, {"phi": values[first:]}),
            None,
            None,
            groups=(WHOSE[:first], WHOSE[first:]),
            blind=False,
        )
        shares.append(float((one.p[one.member] <= 0.1).mean()))
        assert not one.named.any()
    assert abs(np.mean(shares) - 0.1) < 0.025
