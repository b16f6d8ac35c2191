"""The accountant's curve stands on the plane of a run under DP-SGD, and says what it allows."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import numpy as np
import pytest

from seepage.attacks import LOSS
from seepage.epsilon import dp_sgd
from seepage.findings import collect
from seepage.findings.accountant import accountant_finding
from seepage.report import render
from seepage.report.payload import blocks

FACTS = {
    "noise": 1.0, "sampling_rate": 0.2, "steps": 50, "delta": 1e-5, "epsilon": 9.5,
    "epsilon_holds": True, "epsilon_why_not": None,
}  # fmt: skip


class Private:
    """Another run, trained with DP-SGD as its records say; one run took more steps."""

    def __init__(self, inner: Any, **changed: Any) -> None:
        self._inner = inner
        facts = FACTS | changed
        self.records = {int(r): {"facts": facts} for r in inner.models}
        self.records[int(inner.models[1])] = {"facts": facts | {"steps": 60, "epsilon": 10.0}}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_the_line_is_that_of_the_run_that_spent_most(make_run: Any) -> None:
    run = Private(make_run(checkpoints=(0.0, 4.0), samples=60))
    found = collect(run, attacks=[LOSS()], permutations=1, blind=False)
    a, curve = found.accountant, dp_sgd(1.0, 0.2, 60)
    assert a is not None
    np.testing.assert_array_equal(a.tpr, curve.tpr(a.fpr))
    assert (a.steps, a.epsilon, a.holds) == (60, 10.0, True)
    fpr, tpr = found.paths.rates()
    assert a.above == sum(t > curve.tpr(f) for f, t in zip(fpr[-1], tpr[-1], strict=True))
    shown = json.loads(
        gzip.decompress(
            base64.b64decode(next(b.body for b in blocks(found, None) if b.name == "meta"))
        )
    )["limit"]
    np.testing.assert_allclose(shown["tpr"], a.tpr, atol=1e-6)
    assert (np.array(shown["tpr"]) >= np.array(shown["fpr"])).all()
    page = render(found)
    assert "The solid line is what that allows" in page
    assert f"{a.above} of 60 points lie above it" in page
    assert found.summary()["accountant"]["advantage"] == pytest.approx(curve.advantage)


def test_what_is_no_guarantee_or_cannot_be_drawn_says_so(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(checkpoints=(0.0, 4.0), samples=40)
    point = np.array([0.1, np.nan]), np.array([0.9, 0.2])
    assert accountant_finding(run, point, point) is None
    shuffled = Private(run, epsilon_holds=False, epsilon_why_not="batches are shuffled")
    found = accountant_finding(shuffled, point, (point[0], point[0]))
    assert found is not None
    assert (found.above, found.null_above, found.why_not) == (1, 0, "batches are shuffled")
    # One run of the fleet without it: nothing is promised of the fleet.
    shuffled.records[0] = {"facts": {}}
    assert accountant_finding(shuffled, point, point) is None
    monkeypatch.setitem(__import__("sys").modules, "dp_accounting.pld", None)
    gone = accountant_finding(Private(run, noise=1.125), point, point)
    assert gone is not None
    assert "pip install 'seepage[accounting]'" in gone.missing
    assert not gone.fpr.size
