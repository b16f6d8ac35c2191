"""Units on memorisation: which labels were replaced, detected by curvature averaged over training."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from seepage.config.recipe import Recipe
from seepage.curvature import CurvatureSignal, CurvatureWarning, ExactGaussNewton, FiniteDifference
from seepage.data.transform import relabel
from seepage.metrics import auc
from seepage.study.curvature.runs import StudyRuns, plan_of
from seepage.study.curvature.settings import MislabelSettings
from seepage.study.dynamics.analyse import provenance

__all__ = ["mislabel_unit"]

READ = {
    "curvature_fd": "finite difference",
    "curvature_trace": "exact trace",
    "curvature_frobenius": "exact norm",
    "loss": "loss",
}


def mislabel_unit(
    runs: StudyRuns, given: MislabelSettings, name: str, rate: float
) -> dict[str, Any]:
    """AUROC of finding replaced labels among the training samples of one model, seed by seed.

    A model is trained on the whole noisy pool; scores are the mean over checkpoints at equal
    distances (Garg et al.) and the last checkpoint alone, of the finite-difference score, the
    exact trace and norm, and the loss. Every seed replaces other labels and starts another model.
    """
    clean = runs.load(given.data)
    epochs = Recipe(**given.recipe).epochs
    times = tuple(float(t) for t in range(given.every, epochs + 1, given.every))
    found: list[dict[str, Any]] = []
    trained = []
    for seed in range(given.seeds):
        noisy = relabel(clean, rate, seed=given.seed + seed)
        wrong = (noisy.labels != clean.labels).numpy()
        plan = plan_of(np.ones((1, len(clean)), dtype=np.bool_), given.seed + seed)
        with warnings.catch_warnings():
            # Of finite-difference traces across ReLU boundaries; the score is read, whose ranking
            # survives.
            warnings.simplefilter("ignore", CurvatureWarning)
            run = runs.train(
                f"mislabel-{name}-{100 * rate:g}-{seed}", noisy, plan, given, checkpoints=times,
                extra=[
                    CurvatureSignal(ExactGaussNewton(), batch=runs.batch),
                    CurvatureSignal(FiniteDifference(n=given.probes), batch=runs.batch),
                ],
                keep="none",
            )  # fmt: skip
        trained.append(run)
        one: dict[str, Any] = {"mislabelled": int(wrong.sum())}
        for signal in READ:
            values = run.signal(signal)[0].astype(np.float64)
            one[signal] = {
                "mean": auc(values.mean(axis=0), wrong),
                "last": auc(values[-1], wrong),
            }
        right = run.signal_at("correct", -1)[0]
        one["fitted"] = [float(right[~wrong].mean()), float(right[wrong].mean())]
        found.append(one)
    return {
        "data": name,
        "rate": rate,
        "settings": given.model_dump(mode="json"),
        "samples": len(clean),
        "checkpoints": list(times),
        "seeds": found,
        "provenance": provenance(trained[-1]),
    }
