"""The tail of losses: its closed form, its null, who resolves it, and where it is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import seepage
from seepage.attacks import LiRA
from seepage.errors import InputError
from seepage.findings import collect
from seepage.findings.judging import Judging
from seepage.findings.tail import tail_of
from seepage.metrics import tail_estimate
from seepage.report.html import render
from seepage.single import Recorded


def test_it_is_the_share_of_others_beyond_what_members_leave() -> None:
    rng = np.random.default_rng(0)
    member = np.arange(4000) < 2000
    loss = np.where(member, rng.exponential(1.0, 4000), rng.exponential(3.0, 4000))
    # P(3E > c) with P(E > c) = .01 is .01^(1/3).
    e = tail_estimate(loss, member)
    assert e.low < 0.01 ** (1 / 3) < e.high
    assert 0.03 < e.high - e.low < 0.2
    np.testing.assert_allclose(tail_estimate(5 * loss, member).mean, e.mean)
    still = [tail_estimate(rng.permutation(loss), member) for _ in range(20)]
    assert sum(e.covers(0.01) for e in still) >= 19


def test_few_members_or_ties_do_not_resolve_it() -> None:
    member = np.arange(160) < 80
    assert np.isnan(tail_estimate(np.arange(160.0), member).mean)
    assert np.isfinite(tail_estimate(np.arange(160.0), member, 0.05).mean)
    with pytest.raises(InputError, match="loss, member: expected floats and bools of one shape"):
        tail_estimate(np.zeros(3), np.zeros(4, bool))


def test_a_report_and_an_audit_say_it_is_an_estimate(make_run: Any) -> None:
    run = make_run(models=8, samples=1200, checkpoints=(0.0, 4.0), leaky=0.5)
    found = collect(run, attacks=[LiRA()], permutations=1, blind=False)
    assert found.tail is not None
    loss = run.signal_at("loss", 1).astype(np.float64)
    each = [tail_estimate(s, y).mean for s, y in zip(loss, run.member, strict=True)]
    assert found.tail.tnr.mean == pytest.approx(np.mean(each), abs=0.01)
    assert found.tail.lira == found.attacks[0].per_target[0].tpr
    assert "measured with references, LiRA reaches" in found.tail.words
    assert found.summary()["tail_estimate"]["tnr"]["mean"] == found.tail.tnr.mean
    assert "an estimate and no bound (a reconstruction of arXiv 2510.19773)" in render(found)
    assert tail_of(make_run(models=4), Judging.of(make_run(models=4))) is None
    member = run.member[0]
    sides = Recorded({"loss": loss[0][member]}, {"loss": loss[0][~member]})
    one = seepage.audit(sides, None, None, blind=False)
    assert one.tail is not None
    assert one.tail.tnr.mean == pytest.approx(each[0])
    assert one.tail.lira is None
