"""The same arrays through seepage and through PrivacyGuard; run by `run.sh` beside this file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seepage.attacks import RMIA, LiRA, PerSample
from seepage.plan import half_split

pytestmark = pytest.mark.parity
HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Our scores and theirs, (R, N) each, and the arrays they came from."""
    python = os.environ.get("SEEPAGE_PARITY_PYTHON")
    assert python, "set SEEPAGE_PARITY_PYTHON to an interpreter with PrivacyGuard, or use run.sh"
    folder = tmp_path_factory.mktemp("parity")
    rng = np.random.default_rng(0)
    member = half_split(1500, models=16, seed=0).member
    phi = rng.normal(2, 3, 1500) + rng.normal(size=member.shape) * rng.uniform(0.3, 3, 1500)
    phi = (phi + member).astype(np.float32)
    loss = np.logaddexp(0, -phi).astype(np.float32)
    population = rng.permutation(1500)[:700]
    given, answer = folder / "arrays.npz", folder / "scores.npz"
    np.savez(given, phi=phi, loss=loss, member=member, population=population)
    subprocess.run([python, str(HERE / "peer.py"), str(given), str(answer)], check=True)
    theirs = np.load(answer)
    ours = {
        "lira": LiRA(variance=PerSample()).leave_one_out(phi, member),
        "rmia": RMIA(population=population).leave_one_out(loss, member),
    }
    return ours, theirs, loss, member, population


def test_mean_based_lira(both):
    ours, theirs, *_ = both
    worst = np.abs(ours["lira"] - theirs["lira"]).max()
    sys.stdout.write(f"\nLiRA, mean: largest difference {worst:.3g}\n")
    assert worst < 1e-8


def test_online_rmia(both):
    """Theirs counts ratios above 1, ours at or above γ = 1: a sample in the population adds one."""
    ours, theirs, _, member, population = both
    itself = np.isin(np.arange(member.shape[1]), population) / len(population)
    worst = np.abs(ours["rmia"] - itself - theirs["rmia"]).max()
    sys.stdout.write(f"\nRMIA, online: largest difference {worst:.3g}\n")
    assert worst < 1e-8
