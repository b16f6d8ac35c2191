"""What to know before a figure is believed is said beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

import seepage
from seepage.attacks import IHA, LiRA
from seepage.cli import app
from seepage.findings import collect
from seepage.plan import half_split


def test_the_caveat_of_an_attack_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    member = half_split(60, models=6, seed=0).member
    noise = rng.normal(size=(2, *member.shape)).astype(np.float32)
    run = seepage.import_run(
        {"member": member, "phi": noise[0], "inverse_hessian": noise[1]}, tmp_path / "run"
    )
    done = CliRunner().invoke(app, ["attack", str(run.path), "-a", "iha", "-a", "lira", "--json"])
    assert "note: iha: its attacker knows every other member" in " ".join(done.stderr.split())
    assert "note: lira" not in done.stderr
    found = collect(run, attacks=[IHA(), LiRA()])
    assert sum("knows every other member" in n for n in found.notes) == 1
    assert not LiRA.caveat
