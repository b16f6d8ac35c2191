from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seepage.attacks import LiRA
from seepage.errors import InputError
from seepage.findings import collect
from seepage.findings.runs_compared import differences
from seepage.report import write_comparison


def test_runs_stand_side_by_side(
    make_run: Callable[..., Any], findings: Any, tmp_path: Path
) -> None:
    tamer = collect(make_run(shift=1.0), attacks=[LiRA()], permutations=1, blind=False)
    path = write_comparison({"wild": findings, "<tame>": tamer}, tmp_path / "c.html")
    text = path.read_text()
    assert "&lt;tame&gt;" in text
    assert "<tame>" not in text
    assert f"{tamer.main_attack.auc.mean:.3f}" in text
    numbers = json.loads((tmp_path / "c.json").read_text())
    assert numbers["wild"]["attacks"][1]["auc"]["mean"] == findings.main_attack.auc.mean
    net = tamer.population.displacement_net
    assert numbers["<tame>"]["dynamics"]["displacement_net"]["value"] == float(net.value)
    assert "Dynamics side by side" in text
    assert text.count("one line per run") >= 4
    assert "script-src 'none'" in text


def test_what_makes_it_unfair_is_said(findings: Any) -> None:
    assert differences({"a": findings, "b": findings}) == ()
    other = replace(findings, models=8, main="loss", provenance={"data": {"digest": "x"}})
    said = differences({"a": findings, "b": other})
    assert [s.split(" (")[0].split(":")[0] for s in said] == [
        "The runs differ in models",
        "The runs differ in main attack",
        "The runs differ in pool",
    ]


def test_bad_comparisons(findings: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at least 2 to compare, got 1"):
        write_comparison({"a": findings}, tmp_path / "c.html")
    with pytest.raises(InputError, match=r"expected a name that ends in \.html"):
        write_comparison({"a": findings, "b": findings}, tmp_path / "c.txt")
