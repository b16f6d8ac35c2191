"""What a terminal says first: the version, and an audit's headline with what to do next."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from seepage.cli import main

QUICK = [
    "plan.models=8", "data.limit=120", "recipe.epochs=2", "recipe.batch=16",
    'recipe.precision="fp32"', "execution.workers=1", 'attacks.names=["loss"]',
    'attacks.main="loss"', "record.checkpoints=[0,2]",
]  # fmt: skip


def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["seepage", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), capsys.readouterr().out


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(monkeypatch, capsys, "--version") == (0, f"seepage {metadata.version('seepage')}\n")


def test_an_audit_ends_with_its_answers_and_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [w for value in QUICK for w in ("--set", value)]
    status, out = said(monkeypatch, capsys, "audit", "--out", "mine", *words)
    assert status == 0
    lines = out.splitlines()
    assert re.match(
        r"This training leaks\.|No leakage was measured|Too few models|\d+ models cannot tell",
        lines[0],
    )
    for question in ("How much?", "When?", "Who?", "How sure?"):
        assert any(line.startswith(question) for line in lines)
    assert "report: mine/report.html" in lines
    for command in ("check mine --max-auc", "dynamics show mine", "layers mine", "verify mine"):
        assert any(line.startswith(f"next: seepage {command}") for line in lines)
    page = (tmp_path / "mine" / "report.html").read_text()
    assert lines[0] in page
