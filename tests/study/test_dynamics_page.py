"""The page of the study of dynamics: what stands beside its rates, and what it says of old figures."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from seepage.study.dynamics.claims import claims
from seepage.study.dynamics.page import dynamics_page
from seepage.study.dynamics.settings import Factors
from seepage.study.dynamics.study import DynamicsStudy

ROOT = Path(__file__).parents[2]
STORED = ROOT / "docs" / "reproductions" / "results" / "dynamics"


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    return json.loads((STORED / "mnist-cnn-2.json").read_text())


def page_of(result: dict[str, Any]) -> str:
    results = {"mnist-cnn-2": result}
    judged = claims(results, Factors(), list(result["attacks"]))
    return dynamics_page(results, judged, None, ["mnist-cnn-2"], "study.toml")


def test_rates_of_old_results_stand_beside_the_null_of_their_rule(stored):
    """40 and 4 of 4,000 non-members passed: noise reads 41/4001 and 5/4001."""
    text = page_of(stored)
    assert "null 0.0102 |" in text
    assert "null 0.00125 |" in text
    few = copy.deepcopy(stored)
    few["samples"] = 1900
    text = page_of(few)
    # 9 of 950.
    assert f"null {10 / 951:.3g} |" in text
    assert "cannot be resolved with 950 non-members" in text


def test_rates_of_new_results_bring_their_own_null_and_realised_rate(stored):
    new = copy.deepcopy(stored)
    roc = new["attacks"]["lira"]["roc"]
    roc["non-members"] = 4000
    for name, null in (("tpr at 0.01", 0.009998), ("tpr at 0.001", 0.000999750)):
        roc[name] |= {"null": [null], "fpr": [null - 1 / 4001]}
    assert "null 0.01, FPR 0.00975 |" in page_of(new)


def test_half_way_is_half_of_training_and_old_lt_iqr_is_called_so(stored):
    text = page_of(stored)
    assert "| mnist-cnn-2 | LT-IQR, checkpoints as if even | 0.630 (epoch 18) |" in text
    assert "not judged: checkpoints taken as evenly spaced" in text
    new = copy.deepcopy(stored) | {"analysis": 2}
    text = page_of(new)
    assert "| mnist-cnn-2 | LT-IQR | 0.630 (epoch 18) |" in text
    assert "taken as evenly spaced" not in text
    assert "as if even " not in text


def test_the_page_of_the_repository_follows_from_its_results(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    content = tomllib.loads(Path("studies/dynamics.toml").read_text())
    study = DynamicsStudy.read(content, "studies/dynamics.toml", (), {})
    assert study.settings.page is not None
    results = {n: json.loads((STORED / f"{n}.json").read_text()) for n in study.names}
    written = study.markdown(results, "studies/dynamics.toml")
    assert written.rstrip("\n") == Path(study.settings.page).read_text().rstrip("\n")
