"""Risk and ε of a defended fleet by subject, where its data has groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import seepage
from seepage.attacks import LiRA
from seepage.comparison.evaluate import evaluate
from seepage.epsilon.one_run import epsilon_of_runs
from seepage.metrics import Subjects, operating_points


def test_attacks_and_epsilon_of_a_defended_fleet_are_of_subjects(tmp_path: Path) -> None:
    data = seepage.load("digits", limit=120)
    data = replace(data, groups=np.array([f"person-{i // 4}" for i in range(120)]))
    run = seepage.train(
        data,
        seepage.half_split(len(data), models=6, seed=0, groups=data.groups),
        out=tmp_path / "run",
        recipe=seepage.Recipe(epochs=3, batch=20, precision="fp32"),
        record=seepage.Record(checkpoints=(0, 3), keep="none"),
        execution=seepage.Execution(executor="inline", device="cpu"),
    )
    found = evaluate(run, run, attacks=[LiRA()], fprs=(0.1,))
    assert run.groups is not None
    unit = Subjects(run.groups)
    member = np.asarray(unit.member(run.member))
    scores = seepage.score(run, LiRA(), unit=unit)
    each = operating_points(scores, member, ()).auc
    np.testing.assert_allclose(
        np.mean(found.values["lira/adaptive/pool/auc"]), each.mean(), atol=1e-9
    )
    assert found.facts["epsilon_samples"] == 30
    np.testing.assert_allclose(found.facts["epsilon_low"], epsilon_of_runs(scores, member))
    assert found.non_members["pool"] == int((~member).sum())
    # Rates and accuracy of single records are there as before.
    assert len(found.samples["fpr"]) == 120
