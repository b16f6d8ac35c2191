"""[label_game]: from the configuration to the bound, kept for the report, and the same again from the run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import seepage
from seepage.cli import main
from seepage.config.audit import read_config
from seepage.config.prepare import prepare
from seepage.epsilon import label_game
from seepage.errors import InputError
from seepage.findings.label_inference import label_inference_of_run

CONFIG = """
out = "run"
data = { name = "digits", limit = 80 }
plan = { models = 4 }
model = { name = "mlp", options = { hidden = [4] } }
recipe = { epochs = 1, batch = 16, lr = 0.05 }
record = { checkpoints = [1], logits = true, keep = "none" }
execution = { executor = "inline", device = "cpu" }
attacks = { names = ["loss"], main = "loss" }
label_game = { canaries = 40, seed = 3 }
"""


def test_an_audit_plays_it_and_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("labels.toml").write_text(CONFIG)
    Path("without.toml").write_text(CONFIG.replace("canaries = 40", "canaries = 0"))

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    status, out, _ = command("audit", "labels.toml")
    assert status == 0
    assert "run: labels of 4 models, 20 canaries each" in out
    _, game = label_game(seepage.load("digits", limit=80), canaries=40, seed=3)
    run = seepage.open("run")
    assert (run.labels[game.positions] == game.labels).all()
    found = label_inference_of_run(run, game)
    page = Path("run/report.html").read_text()
    assert "How much leaks of labels?" in page
    assert f"<td><b>{found.accuracy.share:.3f}</b></td>" in page
    assert f"<td><b>{found.epsilon:.3f}</b></td>" in page

    status, again, _ = command("epsilon", "labels", "run", "--config", "labels.toml")
    assert status == 0
    assert again in out
    for words, message in (
        (("--config", "without.toml"), "--config: expected [label_game] with canaries, got none"),
        ((), "--game, --config: expected one of them, got neither"),
        (("--config", "labels.toml", "--game", "g.json"), "expected one of them, got both"),
    ):
        status, _, err = command("epsilon", "labels", "run", *words)
        assert (status, message in err) == (2, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("label_game.canaries=81", "label_game.canaries: expected 1 to 80"),
        ("label_game.law=[0.5, 0.5]", r"label_game.law: expected P\(y\) of shape \(10,\)"),
        ("record.logits=false", "label_game.canaries: expected outputs to judge labels by"),
        ("plan.canaries.blank=2", "label_game.canaries: expected without plan.canaries"),
    ],
)
def test_a_game_that_cannot_be_judged_is_refused(change: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.toml"
    file.write_text(CONFIG)
    with pytest.raises(InputError, match=message):
        prepare(read_config(file, [change]))
