"""A split that differs without a model has no verdict: in the report, in the gate, for one model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import seepage
from fake_run import FakeRun
from seepage.attacks import LOSS
from seepage.config import Limits
from seepage.data import from_texts
from seepage.findings import collect
from seepage.findings.blind import blind_of, blind_of_run, shift_words, whole_unit
from seepage.findings.gate import check
from seepage.metrics import EACH, Subjects
from seepage.report.words import first_screen
from seepage.single import Recorded


@pytest.fixture(scope="module")
def shifted() -> Any:
    """Members are, nine times in ten, samples of another spread; no mean differs."""
    rng = np.random.default_rng(0)
    wide = np.arange(120) % 2 == 0
    halves = [wide ^ (rng.random(120) < 0.1) for _ in range(4)]
    member = np.array([side for half in halves for side in (half, ~half)])
    run = FakeRun(models=8, samples=120, member=member, checkpoints=(0.0, 4.0), kind="table")
    x = rng.normal(size=(120, 12)) * np.where(wide, 3.0, 1.0)[:, None]
    run._data = replace(run._data, inputs=torch.from_numpy(x.astype(np.float32)))
    return run


def test_neither_report_nor_gate_gives_a_verdict(shifted: Any) -> None:
    found = collect(shifted, attacks=[LOSS()], permutations=1)
    assert found.said == found.summary()["verdict"] == "refused"
    assert found.blind.by == "gradient boosting"
    assert set(found.summary()["blind_baseline"]["each"]) == set(found.blind.each)
    screen = first_screen(found)
    assert screen.headline == f"No verdict: {shift_words(found.blind)}."
    assert "differ by themselves" in screen.warnings[0][0]
    told = check(shifted, Limits(max_auc=1.0), attacks=[LOSS()], learnt_nothing=True)
    assert not told.holds
    assert told.no_verdict == shift_words(blind_of_run(shifted))


def test_a_subject_is_held_out_whole_whatever_figures_count(shifted: Any) -> None:
    assert whole_unit(shifted, shifted.member) is EACH
    shifted.groups = np.repeat(np.arange(60), 2)
    try:
        assert whole_unit(shifted, shifted.member) is EACH  # the plan divides them
        assert isinstance(whole_unit(shifted, np.repeat(shifted.member[:, ::2], 2, 1)), Subjects)
    finally:
        del shifted.groups


def test_one_model_has_none_where_its_texts_or_spreads_differ() -> None:
    rng = np.random.default_rng(0)
    y, loss = rng.integers(0, 2, 160), rng.gamma(1.0, size=160)
    model = Recorded({"loss": loss[:80]}, {"loss": loss[80:]})
    x = rng.normal(size=(160, 4)) * np.where(np.arange(160) < 80, 3.0, 1.0)[:, None]
    one = seepage.audit(model, (x[:80], y[:80]), (x[80:], y[80:]))
    assert one.said == "refused"
    assert "strongest of 2: gradient boosting" in one.headline
    texts = [f"report {'of march' if i < 80 else 'of april'} {i % 9}" for i in range(160)]
    one = seepage.audit(model, (texts[:80], y[:80]), (texts[80:], y[80:]))
    assert one.said == "refused"
    assert "strongest of 3: bag of words" in one.headline


@pytest.mark.parametrize("differs", ["length", "dates", "nothing"])
def test_documents_differ_by_what_they_say_of_themselves(differs: str) -> None:
    """Hardly a year is named twice: what tells is how late it is."""
    rng = np.random.default_rng(0)
    member = rng.permutation(240) < 120
    sizes = 40 + rng.integers(0, 30, 240) + 20 * (member & (differs == "length"))
    years = 1900 + rng.integers(0, 120, 240) + 70 * (member & (differs == "dates"))
    texts = [f"on {y}: {'x' * n}" for y, n in zip(years.tolist(), sizes.tolist(), strict=True)]
    data = from_texts(texts, context=200)
    found = blind_of(data, member[None], data.labels.numpy())
    assert found.shifted == (differs != "nothing")
    assert (shift_words(found) != "") == found.shifted
