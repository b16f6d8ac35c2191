"""Canaries among texts and extraction, from the configuration to commands and report."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import seepage
from seepage.cli import main
from seepage.findings.canaries import canaries_of_run
from seepage.findings.extraction import extraction_of_run
from seepage.tokens import Sampling, Split

CONFIG = """
out = "run"
[data]
name = "texts.txt"
task = "language"
context = 20
[plan]
models = 4
[plan.canaries]
random = 24
repeats = [1, 5]
candidates = 31
length = 8
[model]
name = "gpt"
options = { width = 16, depth = 1, heads = 2 }
[recipe]
epochs = 40
batch = 8
optimizer = "adamw"
lr = 1e-2
precision = "fp32"
[record]
checkpoints = [0, 40]
[attacks]
names = ["loss"]
main = "loss"
[execution]
executor = "inline"
device = "cpu"
"""


def test_from_configuration_to_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("\n".join(f"text {i} of {i * i}" for i in range(24)))
    Path("a.toml").write_text(CONFIG)

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    status, out, _ = command("audit", "a.toml")
    assert status == 0
    assert "55 of 79 samples left out: 55 are canaries that were added" in " ".join(out.split())
    run = seepage.open("run")
    found = canaries_of_run(run)
    assert [(g.kind, g.repeats, len(g.ids)) for g in found.groups] == [
        ("random", 1, 12),
        ("random", 5, 12),
    ]
    often = found.groups[1]
    # What training shows five times in each of forty epochs stands out; what it never shows does not.
    assert often.held.mean[1] > 4 > 2.5 > often.out.mean[1]
    assert often.held.mean[0] < 2.5
    page = Path("run/report.html").read_text()
    assert "What do texts show that were planted?" in page
    assert f"<td><b>{often.held.mean[1]:.2f} [" in page

    status, out, _ = command("canaries", "run")
    assert status == 0
    assert f"all canaries: ε at least {found.epsilon:.3f}, 95 % bound" in out
    status, out, _ = command("canaries", "run", "--target", "1", "--level", "0.9", "--delta", "0")
    one = canaries_of_run(run, target=1, level=0.9, delta=0.0)
    assert status == 0
    assert (
        f"all canaries: ε at least {one.epsilon:.3f}, 90 % bound at δ = 0 from one run each" in out
    )

    split = ("--prefix", "6", "--suffix", "4")
    status, out, _ = command("extract", "run", *split, "-n", "3")
    told = extraction_of_run(run, split=Split(6, 4), queries=(3,))
    assert status == 0
    assert "24 texts of 10 tokens or more" in " ".join(out.split())
    assert f"{100 * told.members[1, 1, 0]:.2f} %" in out
    assert told.members[1, 1, 0] > told.others[1, 1, 0]
    status, out, _ = command("extract", "run", *split, "-n", "3", "--top-k", "2")
    cold = extraction_of_run(run, split=Split(6, 4), queries=(3,), sampling=Sampling(top_k=2))
    assert status == 0
    assert f"{100 * cold.members[0, 1, 0]:.2f} %" in out

    for words, said in (
        (("canaries", "run", "--target", "4"), "target: expected a usable run from 0 to 3, got 4"),
        (("extract", "run"), "prefix, suffix: expected texts of at least 100 tokens, got at most"),
        (("extract", "run", *split, "-p", "1"), "probability: expected a number between 0 and 1"),
        (("extract", "run", *split, "--temperature", "0"), "temperature: expected a finite number"),
    ):
        status, _, err = command(*words)
        assert status == 2
        assert said in " ".join(err.split())
