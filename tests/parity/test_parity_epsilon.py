"""The same numbers through seepage and four packages that bound ε; run by `run.sh` beside this file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seepage.epsilon import (
    FDP,
    Explicit,
    TradeOff,
    dp_sgd,
    gdp,
    jeffreys,
    joint_beta,
    multi_run,
    one_run,
)

pytestmark = pytest.mark.parity
HERE = Path(__file__).resolve().parent
DELTA = 1e-5
TABLES = np.array([[100, 500, 0, 500], [60, 100, 20, 100], [5, 50, 5, 60], [480, 500, 300, 500]])
PRIVATE = np.array([[1.0, 0.01, 100], [0.6, 0.017, 40], [5.0, 0.535, 40], [2.0, 1.0, 16]])
FPR = np.array([1e-3, 1e-2, 0.1, 0.5])


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Their answers, and the scores of members and of others of every audit."""
    python = os.environ.get("SEEPAGE_PARITY_EPSILON_PYTHON")
    assert python, (
        "set SEEPAGE_PARITY_EPSILON_PYTHON to an interpreter with the peers, or use run.sh"
    )
    folder = tmp_path_factory.mktemp("parity")
    rng = np.random.default_rng(0)
    scores = [
        (rng.normal(mu, 1, n), rng.normal(0, 1, n))
        for mu in (0.0, 0.5, 1.0, 2.0)
        for n in (100, 1000)
    ]
    given, answer = folder / "given.npz", folder / "answers.json"
    arrays = {
        f"{side}_{k}": v
        for k, pair in enumerate(scores)
        for side, v in zip(("in", "out"), pair, strict=True)
    }
    np.savez(given, audits=len(scores), tables=TABLES, private=PRIVATE, fpr=FPR, **arrays)
    subprocess.run([python, str(HERE / "peer_epsilon.py"), str(given), str(answer)], check=True)
    return json.loads(answer.read_text()), scores


def told(what: str, ours: list[float], theirs: list[float]) -> float:
    worst = float(np.abs(np.array(ours) - np.array(theirs)).max())
    sys.stdout.write(f"\n{what}: largest difference {worst:.3g}\n")
    return worst


def test_clopper_pearson_and_one_run_are_those_of_jax_privacy(both):
    theirs, scores = both
    cp, one, curve = [], [], []
    for inside, outside in scores:
        s, member = np.append(inside, outside), np.arange(2 * len(inside)) < len(inside)
        cp.append(multi_run(s, member, delta=DELTA, threshold=Explicit(0.5)).epsilon)
        right, all_of = int((inside >= 0.5).sum()), int((s >= 0.5).sum())
        one.append(one_run(right, all_of, len(s), delta=DELTA).epsilon)
        curve.append(FDP().bound(right, all_of, len(s), delta=DELTA, level=0.95).epsilon)
    for what, ours, name in (
        ("multi-run at one threshold", cp, "clopper-pearson"),
        ("one run", one, "one-run"),
        ("one run by f-DP", curve, "f-dp"),
    ):
        assert told(what, ours, [a[name] for a in theirs["audits"]]) < 2e-6


def test_the_gaussian_bound_is_as_tight_as_the_mended_one(both):
    """Without its absolute value theirs tries the corners of the ROC's hull and does not pay for that choice."""
    theirs, scores = both
    ours = []
    for inside, outside in scores:
        s, member = np.append(inside, outside), np.arange(2 * len(inside)) < len(inside)
        ours.append(gdp(s, member, delta=DELTA).epsilon)
    gain = np.array(ours) - np.array([a["gdp"] for a in theirs["audits"]])
    sys.stdout.write(f"\nμ-GDP: ours less theirs {gain.round(3).tolist()}\n")
    assert (gain >= -1e-9).all()
    assert ours[0] == ours[1] == 0
    truth = [0, 0, 1.993, 1.993, 4.377, 4.377, 9.997, 9.997]
    assert (np.array(ours) <= truth).all()


def test_credible_ends_are_those_of_privacy_estimates(both):
    theirs, _ = both
    for name, one in (("jeffreys", jeffreys), ("joint beta", joint_beta)):
        ours = [one(*map(int, row), delta=DELTA).epsilon for row in TABLES]
        # Theirs is solved to three digits.
        assert told(name, ours, [t[name] for t in theirs["credible"]]) < 5e-3
    ours = []
    for right, members, wrong, others in TABLES.tolist():
        s = np.concatenate([np.arange(members) < right, np.arange(others) < wrong]).astype(float)
        member = np.arange(members + others) < members
        ours.append(multi_run(s, member, delta=DELTA, threshold=Explicit(0.5)).epsilon)
    assert told("Clopper-Pearson", ours, [t["beta"] for t in theirs["credible"]]) < 1e-6


def test_the_accountant_s_curve_is_that_of_dp_accounting_and_riskcal(both):
    theirs, _ = both
    for (noise, rate, steps), found in zip(PRIVATE.tolist(), theirs["accounted"], strict=True):
        curve = dp_sgd(noise, rate, int(steps))
        delta = np.interp([0.0, 0.5, 1.0, 2.0], curve.epsilon, curve.delta)
        assert told(f"δ(ε), {curve.name}", delta.tolist(), found["delta"]) < 1e-4
        assert told(f"TPR, {curve.name}", curve.tpr(FPR).tolist(), found["tpr"]) < 1e-3
        assert abs(curve.advantage - found["advantage"]) < 1e-4
    gaussian = TradeOff.gaussian(1.0)
    assert told("TPR, 1-GDP", gaussian.tpr(FPR).tolist(), theirs["gaussian"]["tpr"]) < 1e-5
    assert abs(gaussian.advantage - theirs["gaussian"]["advantage"]) < 1e-9
