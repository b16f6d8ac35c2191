"""`seepage import`: each door by what lies there, one line where it cannot."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.cli import main
from seepage.plan import half_split

NET = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def called(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["seepage", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two checkpoints on digits, their factory in a file, the data in a configuration."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "nets"
    folder.mkdir()
    for r in range(2):
        # Of some untrained networks answers look like those of other labels, which is warned of.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(r)
            net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        torch.save({f"module.{k}": v for k, v in net.state_dict().items()}, folder / f"{r}.pt")
    np.save(folder / "members.npy", half_split(60, models=2, seed=0).member)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "net.py").write_text(NET)
    (tmp_path / "data.toml").write_text('[data]\nname = "digits"\nlimit = 60\n')
    return tmp_path


CHECKPOINTS = ("import", "nets", "run", "--model", "code/net.py:make", "--data", "data.toml")


@pytest.mark.filterwarnings("always::seepage.fleet.imported.ImportedWarning")
def test_checkpoints_with_a_factory_in_a_file(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, *CHECKPOINTS, "--divide", "16") == 0
    told = capsys.readouterr()
    assert "inputs divided by 16" in told.out
    assert "note: run: the networks are right on" in told.err  # nothing trained them
    assert "module. was removed from the names in 2 of 2 files" in told.out
    assert "accuracy at the last checkpoint, mean of 2 models" in told.out
    assert seepage.open("run").verify() == []
    words = ("layers", "run", "--models", "1", "--samples", "30", "--no-jacobian", "--top", "1")
    assert called(monkeypatch, *words) == 2
    assert "a name in a run folder is never imported" in capsys.readouterr().err
    assert called(monkeypatch, *words, "--model", "code/net.py:make") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("import", "nets", "run"),
            "nets: a folder of checkpoints needs the factory of its networks",
        ),
        ((*CHECKPOINTS[:3], "--model", "code/no.py:make", "--data", "digits"), "No such file"),
        (
            (*CHECKPOINTS[:3], "--model", "code/net.py:mk", "--data", "digits"),
            "did you mean 'make'?",
        ),
        ((*CHECKPOINTS, "--labels", "y.npy"), "standardise alone, got labels; leave it out"),
        (("import", "code", "run"), "code: expected a folder of .npy files, of experiments with"),
        (
            ("import", "nowhere", "run"),
            "nowhere: expected an .npz file of arrays, found no such file",
        ),
        (("import", "code/net.py", "run"), "code/net.py: expected an .npz file of arrays"),
    ],
)
def test_one_line_where_it_cannot(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    assert called(monkeypatch, *words) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (place / "run").exists()
