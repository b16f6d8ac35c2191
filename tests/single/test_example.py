"""The example runs on data that comes with scikit-learn, and stays short."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "one_model.py"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(EXAMPLE.read_text().splitlines()) < 60
    spec = importlib.util.spec_from_file_location("one_model_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    alone, beside, people = module.main(seconds=60.0)
    assert alone.said == "leaks"
    assert beside.references == 16
    # References remove the difficulty of samples.
    assert beside.strongest.estimate.mean > alone.strongest.estimate.mean
    assert (people.members, people.unit) == (142, "subjects")
    assert (tmp_path / "one-model.html").exists()
