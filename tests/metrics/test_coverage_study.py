"""The coverage study runs in small, fails where a printed interval does, and its page is its result."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.coverage")


@pytest.mark.parametrize("only", ["fleets, leak, R = 8", "one target, R = 8", "null AUC"])
def test_a_case_in_small(study: Any, only: str, tmp_path: Path, capsys: Any) -> None:
    """Coarser than the study: it would notice an interval that covers less than about .7."""
    out = tmp_path / "coverage.json"
    study.main(["--quick", "--only", only, "--workers", "1", "--out", str(out)])
    stored = json.loads(out.read_text())
    assert len(stored["cases"][only]["rows"]) >= 5
    assert f"== {only}" in capsys.readouterr().out
    assert "Every printed interval holds." in study.page(stored)


def test_a_printed_interval_that_fails_is_an_error(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    cases = importlib.import_module("benchmarks.coverage_cases")
    tally = cases.Tally()
    for hit in range(400):
        tally.add(0.0, 1.0, 0.5 if hit % 10 else 2.0)
    row = cases.coverage_row("an interval", "a law", 8, tally, cases.Size())
    assert row.measured == pytest.approx(0.9)
    assert not row.holds
    for printed in (True, False):
        made = dataclasses.replace(row, printed=printed)
        case = cases.Case("made up", lambda size, made=made: [made])
        monkeypatch.setattr(study, "CASES", [case])
        arguments = ["--quick", "--workers", "1", "--out", str(tmp_path / "x.json")]
        if printed:
            with pytest.raises(SystemExit, match=r"an interval, a law, R = 8: 0\.9000"):
                study.main(arguments)
        else:
            study.main(arguments)
        assert "fails" in capsys.readouterr().out.lower()


def test_the_page_is_made_of_the_stored_result_and_every_printed_interval_holds(study: Any) -> None:
    stored = json.loads(study.STORED.read_text())
    assert study.PAGE.read_text() == study.page(stored)
    assert study.failures(stored) == []
    assert stored["fleets"] == 2000
    assert set(stored["cases"]) <= {case.name for case in study.CASES}
    rows = study.rows_of(stored)
    models = {r["models"] for r in rows if r["figure"].startswith("AUC of a fleet")}
    assert models == {8, 16, 32, 64}
