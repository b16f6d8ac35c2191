"""The example of patients with several images each runs, and stays short."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "patients.py"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert len(EXAMPLE.read_text().splitlines()) < 60
    spec = importlib.util.spec_from_file_location("patients_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    people, images, one = module.main(images=900, epochs=20)
    assert people.subjects.records == images.samples == 900
    assert people.samples == len(set(people.ids.tolist())) < 200
    assert people.main_attack.auc.mean > images.main_attack.auc.mean > 0.55
    assert 0.1 < people.subjects.within.value < 1
    assert (one.unit, one.members + one.others) == ("subjects", people.samples)
    assert one.said == "leaks"
    summary = json.loads((tmp_path / "patients.json").read_text())
    assert summary["unit"] == "subject"
    assert "The most exposed subjects" in (tmp_path / "patients.html").read_text()
