"""Run folders that version 0.1.0 wrote (commit faf2258) open, score and report as they did then.

`tests/golden/run-of-version-0.1.0.zip` is such a folder: six perceptrons on 24 digits, two
checkpoints, no weights. The figures below were printed by that commit.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

import seepage
from seepage.errors import InputError
from seepage.metrics import operating_points
from tiny_fleet import contents

GOLDEN = Path(__file__).parent.parent / "golden" / "run-of-version-0.1.0.zip"
SIGNALS = "5ad169d9cb3d87d1ca47202d1a6023467a3e5de32f470aed9b6de0a3c8a45a0d"
# LiRA's prior is fitted to quartiles of log s² since; 0.1.0 itself reads 0.5336.
AUC = {"lira": 0.5266203703703703, "rmia": 0.6319444444444444, "loss": 0.6597222222222222}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with zipfile.ZipFile(GOLDEN) as archive:
        archive.extractall(tmp_path / "run")
    return tmp_path / "run"


def test_signals_are_the_same_bits(old: Path) -> None:
    run = seepage.open(old)
    assert run.manifest["format"] == 1
    h = hashlib.sha256()
    for name in sorted(run.signals):
        for t in range(len(run.checkpoints)):
            h.update(np.ascontiguousarray(run.signal_at(name, t)).tobytes())
    assert h.hexdigest() == SIGNALS


@pytest.mark.parametrize("name", AUC)
def test_attacks_give_the_same_figures(old: Path, name: str) -> None:
    run = seepage.open(old)
    attack = seepage.attacks.get(name)
    signals = {k: run.signal_at(k, -1) for k in attack.requires}
    scores = attack.leave_one_out(signals, run.member)
    assert operating_points(scores, run.member, (0.1,)).auc.mean() == pytest.approx(
        AUC[name], abs=1e-12
    )


def test_training_still_gives_what_it_gave(old: Path, tmp_path: Path) -> None:
    """Up to the rounding of another processor; if this fails, raise `TRAINING_VERSION`."""
    before = seepage.open(old)
    again = seepage.train(
        seepage.load("digits", limit=24),
        seepage.half_split(24, models=6, seed=1),
        out=tmp_path / "again",
        model=seepage.Model(options={"hidden": (8,)}),
        recipe=seepage.Recipe(epochs=2, batch=8, precision="fp32"),
        record=seepage.Record(checkpoints=(0, 2), keep="none"),
        execution=seepage.Execution(executor="inline", device="cpu"),
    )
    for name in before.signals:
        np.testing.assert_allclose(again.signal(name), before.signal(name), atol=1e-4)


def test_it_is_reported(old: Path, tmp_path: Path) -> None:
    seepage.write_report(seepage.open(old), tmp_path / "report.html")
    assert "digits" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("ended", "says"), [(6, "it opens, scores and reports as it is"), (5, "5 of its 6 runs have")]
)
def test_it_is_not_trained_on(old: Path, ended: int, says: str) -> None:
    for row in range(ended, 6):
        (old / "records" / f"{row:05d}.json").unlink()
    before = contents(old)
    data = seepage.load("digits", limit=24)
    with pytest.raises(InputError, match=f"was begun by seepage 0.1.0.*{says}"):
        seepage.train(
            data,
            seepage.half_split(24, models=6, seed=1),
            out=old,
            model=seepage.Model(options={"hidden": (8,)}),
            recipe=seepage.Recipe(epochs=2, batch=8, precision="fp32"),
            checkpoints=[0, 2],
        )
    assert contents(old) == before
