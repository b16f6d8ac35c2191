"""`seepage config`, a training function named in a file, and what a user is told in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import seepage
from seepage.cli import main

Command = Callable[..., tuple[int, str, str]]

LOOP = """
import torch
from torch import nn

import seepage

DATA = seepage.load("digits", limit=60)
EPOCHS = 2


def train(members, seed, recorder):
    torch.manual_seed(seed % 2**63)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = DATA.inputs[members].flatten(1) / 16, DATA.labels[members]
    recorder.start(model, preprocess=lambda x: x / 16)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        recorder.epoch_end()
    return model
"""
AUDIT = """
out = "run"
[data]
name = "digits"
limit = 60
[plan]
models = 6
[train]
function = "loop_named_in_a_file:train"
[recipe]
epochs = 2
[record]
checkpoints = [0, 2]
[execution]
executor = "inline"
[attacks]
names = ["loss"]
main = "loss"
"""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        return (0 if code is None else int(code)), said.out, said.err

    return call


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "loop_named_in_a_file", raising=False)
    (tmp_path / "loop_named_in_a_file.py").write_text(LOOP)
    (tmp_path / "audit.toml").write_text(AUDIT)
    return tmp_path


# What they train learns hardly anything, and says so.
@pytest.mark.filterwarnings("default::seepage.fleet.ContradictionWarning")
def test_a_function_named_in_a_file_is_trained_and_resumed(
    here: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, err = command("train", "audit.toml")
    assert status == 0, err
    run = seepage.open("run")
    assert len(run.models) == 6
    assert run.manifest["key"]["function"]["name"] == "train"
    assert command("train", "audit.toml")[0] == 0
    monkeypatch.setattr("loop_named_in_a_file.EPOCHS", 3)
    status, _, err = command("train", "audit.toml")
    assert status == 2
    assert "function.digest is" in err
    assert err.strip().count("\n") == 0


# What they train learns hardly anything, and says so.
@pytest.mark.filterwarnings("default::seepage.fleet.ContradictionWarning")
def test_a_function_named_in_a_file_is_tried_first(here: Path, command: Command) -> None:
    wrong = LOOP.replace("DATA.inputs[members]", "DATA.inputs[: len(members)]")
    wrong = wrong.replace("DATA.labels[members]", "DATA.labels[: len(members)]")
    (here / "loop_of_no_members.py").write_text(wrong)
    given = ("train", "audit.toml", "-s", "train.function=loop_of_no_members:train")
    # In this process, and in one of its own as workers are.
    for executor in ("inline", "local"):
        status, _, err = command(*given, "-s", f"execution.executor={executor}")
        assert status == 2
        assert "expected train to train on its 30 members alone" in err
        assert err.strip().count("\n") == 0
        assert not (here / "run").exists()
    status, _, err = command(*given, "-s", "train.check=false")
    assert status == 0, err
    assert "training function: not checked (switched off)" in err
    status, _, err = command("train", "audit.toml", "-o", "other")
    assert status == 0, err
    assert "training function: members obeyed (two members replaced), repeats bit for bit" in err


def test_a_name_that_is_no_function_is_one_line(here: Path, command: Command) -> None:
    for name, says in (
        ("loop_named_in_a_file:EPOCHS", "expected 'loop_named_in_a_file:EPOCHS' to name a func"),
        ("loop_named_in_a_file:fit", "expected 'fit' in 'loop_named_in_a_file', found none"),
        ("not_here_at_all:train", "expected a module 'not_here_at_all'"),
        ("train", "train.function: expected a known name or 'package.module:Name', got 'train'"),
    ):
        status, _, err = command("train", "audit.toml", "-s", f"train.function={name}")
        assert status == 2
        assert says in " ".join(err.split())
        assert err.strip().count("\n") == 0
    assert not (here / "run").exists()


def test_config_prints_tables_and_refuses_others(command: Command) -> None:
    status, out, _ = command("config", "recipe")
    assert status == 0
    assert "weight_decay" in out
    assert "workers" not in out
    status, out, _ = command("config", "--markdown")
    assert out.startswith("# Configuration reference")
    status, _, err = command("config", "recip")
    assert status == 2
    assert "did you mean 'recipe'" in err


SIGNALS = """
import numpy as np


def margin(logits, labels):
    top = logits.double().topk(2, dim=1).values
    return top[:, 0] - top[:, 1]


class Norm:
    names = ("weight_norm",)

    def wanted(self, checkpoint):
        return True

    def measure(self, model, inputs, labels, generator):
        total = sum(float(p.detach().square().sum()) for p in model.parameters())
        return {"weight_norm": np.full(len(labels), total ** 0.5, dtype=np.float32)}
"""


def test_signals_of_ones_own_are_recorded_by_name(here: Path, command: Command) -> None:
    (here / "signals_of_a_user.py").write_text(SIGNALS)
    names = '["phi", "loss", "signals_of_a_user:margin", "signals_of_a_user:Norm"]'
    status, _, err = command("train", "audit.toml", "-s", f"record.signals={names}")
    assert status == 0, err
    run = seepage.open("run")
    assert set(run.signals) == {"phi", "loss", "margin", "weight_norm"}
    assert (run.signal("margin") >= 0).all()
    assert (run.signal_at("weight_norm", -1) > 0).all()
    (here / "signals_of_a_user.py").write_text(SIGNALS.replace("top[:, 1]", "2 * top[:, 1]"))
    sys.modules.pop("signals_of_a_user")
    status, _, err = command("train", "audit.toml", "-s", f"record.signals={names}")
    assert status == 2
    assert "holds runs of another configuration: signals is" in err
