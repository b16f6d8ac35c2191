"""What a dry run takes into account besides training."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from seepage.cli import foreseeing
from seepage.cli.foreseeing import age, foreseen, report_seconds
from seepage.config.audit import read_config
from seepage.config.prepare import Prepared, prepare
from seepage.fleet.cost import Rates
from seepage.fleet.held_memory import HeldMemory


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    out = tmp_path_factory.mktemp("dry") / "run"
    asked = ("data.limit=200", "plan.models=8", "recipe.epochs=2", 'attacks.names=["lira"]')
    return prepare(read_config(None, (*asked, f'out="{out}"')))


def test_the_report_is_tried_on_parts_of_the_pool(
    audit: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes = foreseeing._reported, []

    def slow(run: object, path: Path, audit: Prepared, part: object) -> None:
        sizes.append(len(part))  # type: ignore[arg-type]
        if len(sizes) == 1:
            real(run, path, audit, part)
            assert path.exists()
        time.sleep(0.002 * len(part))  # type: ignore[arg-type]

    monkeypatch.setattr(foreseeing, "_reported", slow)
    monkeypatch.setattr(foreseeing, "_SAMPLES", 100)
    found = report_seconds(audit)
    assert sizes == [50, 50, 100]
    assert found is not None
    assert found > 0.002 * 200, "what the first took, and 2 ms for each sample"


def test_parts_of_time(audit: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreseeing, "measure", lambda *a, **k: (Rates(0.1, 0.001, 2.0), 2))
    monkeypatch.setattr(foreseeing, "report_seconds", lambda audit: 7.0)
    work, workers, cost = foreseen(audit, opening=3.0)
    assert (work.samples, work.models, workers) == (200, 8, 2)
    assert cost.seconds["opening"] == 3.0
    assert cost.seconds["report"] == 7.0
    assert "scoring" not in cost.seconds
    assert cost.train_seconds == pytest.approx(cost.total_seconds - 7.0)
    monkeypatch.setattr(foreseeing, "report_seconds", lambda audit: None)
    assert "scoring" in foreseen(audit)[2].seconds, "of signals that cannot be made up"
    assert age() > 0


def test_memory_that_is_held_is_seen() -> None:
    with HeldMemory() as idle:
        pass
    with HeldMemory() as seen:
        held = np.ones(2**24)
        time.sleep(0.5)
    assert held.sum() == 2**24
    assert seen.most - idle.most > 0.9 * 2**27
