"""Figures of the gate about samples or subjects, where a run knows whose its samples are."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import seepage
from seepage.cli import main
from seepage.metrics import Samples, Subjects, operating_points, over_targets

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six runs over 30 subjects of four digits each."""
    data = seepage.load("digits", limit=120)
    data = replace(data, groups=np.array([f"person-{i // 4}" for i in range(120)]))
    out = tmp_path_factory.mktemp("grouped") / "run"
    seepage.train(
        data,
        seepage.half_split(len(data), models=6, seed=0, groups=data.groups),
        out=out,
        recipe=seepage.Recipe(epochs=3, batch=20, precision="fp32"),
        record=seepage.Record(checkpoints=(0, 3), keep="none"),
        execution=seepage.Execution(executor="inline", device="cpu"),
    )
    return out


def test_the_run_keeps_whose_its_samples_are(grouped: Path) -> None:
    run = seepage.open(grouped)
    assert run.groups is not None
    assert run.groups.tolist() == [f"person-{i // 4}" for i in range(120)]
    assert run.manifest["data"]["subjects"] == 30
    assert (Subjects(run.groups).member(run.member).sum(axis=0) == 3).all()


def test_the_gate_judges_subjects_unless_asked_for_samples(grouped: Path, command: Command) -> None:
    run = seepage.open(grouped)
    assert run.groups is not None
    whose = Subjects(run.groups)
    for words, unit, member, says in (
        ([], whose, whose.member(run.member), "lira, by subject (30): AUC"),
        (["--unit", "sample"], Samples(), run.member, "lira: AUC"),
    ):
        scores = seepage.score(run, seepage.attacks.LiRA(), unit=unit)
        auc = operating_points(scores, member, (0.01,)).auc
        expected = over_targets(auc, run.member)
        status, out, _ = command("check", str(grouped), "--max-auc", "1", "-a", "lira", *words)
        assert status == 0
        assert says in out
        shown = re.search(re.escape(says) + r" ([\d.]+)", out)
        assert shown is not None
        assert float(shown[1]) == pytest.approx(expected.mean, abs=1e-4)
    status, out, _ = command("attack", str(grouped), "-a", "lira")
    assert status == 0
    assert "by subject (30)" in out
    plain = operating_points(
        seepage.score(run, seepage.attacks.LiRA()), run.member, (), unit=whose
    ).auc.mean()
    assert f"{plain:.4f}" in out
    assert "120 records of 30 subjects, 4 to 4 each (median 4)" in out
    assert re.search(r"correlation of phi within subjects [-.\d]+ \[", out)


def test_dynamics_are_of_subjects_unless_asked_for_samples(grouped: Path, command: Command) -> None:
    status, out, _ = command("dynamics", "show", str(grouped))
    assert status == 0
    assert "by subject (30)" in out
    status, out, _ = command("dynamics", "show", str(grouped), "--unit", "sample")
    assert status == 0
    assert "120 samples" in out
    status, _, err = command("dynamics", "show", str(grouped), "--rates", "gaussian")
    assert status == 2
    assert "--unit sample" in err


def test_subjects_are_refused_where_there_are_none(trained: Path, command: Command) -> None:
    status, _, err = command("check", str(trained), "--unit", "subject", "--max-auc", "1")
    assert status == 2
    assert "expected a run whose data has groups, got none" in err
    assert err.strip().count("\n") == 0
