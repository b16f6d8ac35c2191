"""Units on fleets of complementary pairs: the attack tables, and the estimators compared."""

from __future__ import annotations

import copy
import time
import warnings
from typing import Any

import numpy as np
import torch
from scipy.stats import mannwhitneyu, spearmanr

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.attacks import CurvatureLR
from seepage.curvature import (
    CurvatureWarning,
    ExactGaussNewton,
    FiniteDifference,
    Hutchinson,
    LogitProbes,
    ZerothOrder,
    curvature,
)
from seepage.curvature.base import Estimator
from seepage.data import Dataset
from seepage.fleet.rebuild import rebuild
from seepage.metrics import operating_points, over_targets
from seepage.plan import half_split
from seepage.store import Run
from seepage.study.curvature.runs import Signals, StudyRuns, norm_of
from seepage.study.curvature.scoring import ATTACKS, rows_of, twin_list
from seepage.study.curvature.settings import EstimatorSettings, TableSettings
from seepage.study.dynamics.analyse import provenance

__all__ = [
    "against_smooth",
    "estimators_unit",
    "scored_rows",
    "table_fleet",
    "table_signals",
    "table_unit",
]


def table_fleet(runs: StudyRuns, name: str) -> tuple[Run, Dataset]:
    """The trained fleet of a table and its pool."""
    given = runs.settings.tables[name]
    data = runs.load(given.data)
    plan = half_split(len(data), models=given.models, seed=given.seed)
    return runs.train(f"table-{name}", data, plan, given), data


def scored_rows(given: TableSettings, samples: int) -> Int64Array:
    """Positions of the pool that are measured, in order.

    >>> scored_rows(TableSettings(), 3)
    array([0, 1, 2])
    >>> len(scored_rows(TableSettings(scored=20), 50))
    20
    """
    if given.scored is None or given.scored >= samples:
        return np.arange(samples)
    drawn = np.random.default_rng([given.seed, 3]).choice(samples, given.scored, replace=False)
    return np.asarray(np.sort(drawn), dtype=np.int64)


def table_signals(runs: StudyRuns, name: str) -> tuple[Run, Int64Array, Signals]:
    """The fleet, the positions of its pool that are scored, and all that was measured there."""
    given = runs.settings.tables[name]
    run, data = table_fleet(runs, name)
    rows = scored_rows(given, len(data))
    return run, rows, runs.measure(run, data, rows, seed=given.seed)


def table_unit(runs: StudyRuns, name: str) -> dict[str, Any]:
    """Every attack on every model of the table, and what claims C1, C2, C3 and C8 rest on."""
    began = time.perf_counter()
    run, rows, measured = table_signals(runs, name)
    seen = time.perf_counter()
    member = run.member[:, rows]
    curved = np.log(measured["curvature_zo"][..., 0] + 1e-22)
    tests = [
        (float(mannwhitneyu(c[~m], c[m], alternative="greater").pvalue),
         float(c[~m].mean() - c[m].mean()))
        for c, m in zip(curved, member, strict=True)
    ]  # fmt: skip
    exact = measured["curvature_frobenius"][..., 0]
    right = measured["correct"][..., 0]
    given: TableSettings = runs.settings.tables[name]
    return {
        "settings": given.model_dump(mode="json"),
        "models": len(member),
        "pool": int(run.member.shape[1]),
        "samples": int(member.shape[1]),
        "views": int(measured["phi"].shape[-1]),
        "accuracy": [float((right * s).sum() / s.sum()) for s in (member, ~member)],
        "attacks": rows_of(measured, member, list(ATTACKS)),
        "twin": twin_list(member),
        "c1": {"p": [p for p, _ in tests], "gap": [g for _, g in tests]},
        "zeroth_order_against_exact": _mean_rho(measured["curvature_zo"][..., 0], exact),
        "float32_against_exact": _mean_rho(measured["curvature_zo32"][..., 0], exact),
        "against_smooth": against_smooth(
            measured["curvature_zo"][..., 0],
            runs.settings.step * exact,
            measured["loss"][..., 0],
            right.astype(np.bool_),
        ),
        "zero_probes": {
            n: float(measured[f"{n}_zeros"].mean() / runs.settings.probes)
            for n in ("curvature_zo", "curvature_zo32")
        },
        "seconds": {"train and measure": round(seen - began, 1)},
        "provenance": provenance(run),
    }


def against_smooth(
    score: Float64Array, exact: Float64Array, loss: Float64Array, right: BoolArray
) -> dict[str, float] | None:
    """How far the zeroth-order score is from what it would be were the loss smooth, (R, N) each.

    score / (h‖H‖_F), given h‖H‖_F as `exact`, lies between 2/π and √(2/π) for a smooth loss. Steps
    across the ReLU boundaries of a piecewise-linear network add jumps of the slope, which depend on
    the label as H does not. "right" and "wrong": the median ratio where the label is the largest
    logit and elsewhere, mean over models that have both (None if none has); "loss": its rank
    correlation with the loss.

    >>> found = against_smooth(np.array([[1.4, 8, 9]]), np.array([[2.0, 2, 2]]),
    ...                        np.array([[0.1, 2, 3]]), np.array([[True, False, False]]))
    >>> {k: round(v, 2) for k, v in found.items()}
    {'right': 0.7, 'wrong': 4.25, 'loss': 1.0}
    """
    ratio = score / np.maximum(exact, np.finfo(np.float64).tiny)
    both = [k for k in range(len(ratio)) if 0 < right[k].sum() < right.shape[1]]
    if not both:
        return None
    return {
        "right": float(np.mean([np.median(ratio[k][right[k]]) for k in both])),
        "wrong": float(np.mean([np.median(ratio[k][~right[k]]) for k in both])),
        "loss": _mean_rho(ratio, loss),
    }


def _mean_rho(a: Float64Array, b: Float64Array) -> float:
    return float(np.mean([spearmanr(x, y)[0] for x, y in zip(a, b, strict=True)]))


def estimators_unit(runs: StudyRuns, asked: EstimatorSettings, name: str) -> dict[str, Any]:
    """Quality of each estimator's score against its cost, on some models and samples of a table.

    Quality: rank correlation with the exact ‖H‖_F in float64 within a model, and AUC of
    `CurvatureLR` (corrected) on the score. Cost: passes through the model forward and backward,
    and seconds on this machine, in the model's own precision unless it says otherwise.
    """
    run, data = table_fleet(runs, name)
    models = min(asked.models, len(run.models)) // 2 * 2
    rng = np.random.default_rng([runs.settings.tables[name].seed, 1])
    rows = np.sort(rng.choice(len(data), min(asked.samples, len(data)), replace=False))
    device, at = torch.device(runs.device), torch.from_numpy(rows)
    kinds = _kinds(asked, len(run.classes), runs.settings.step)
    scores: dict[str, list[Float64Array]] = {k: [] for k in kinds}
    seconds = dict.fromkeys(kinds, 0.0)
    truth = []
    with warnings.catch_warnings():
        # Of traces across ReLU boundaries; only norms are compared.
        warnings.simplefilter("ignore", CurvatureWarning)
        for k in range(models):
            built = rebuild(run, k, data=data)
            x, y = built.inputs[at].to(device), built.labels[at].to(device)
            model = built.model.to(device)
            wide = copy.deepcopy(model).double()
            truth.append(
                norm_of(curvature(wide, x.double(), y, ExactGaussNewton(), batch=runs.batch))
            )
            for i, (label, (estimator, _, _)) in enumerate(kinds.items()):
                if k == 0:
                    # First calls choose kernels.
                    curvature(model, x[:8], y[:8], estimator, generator=np.random.default_rng(0))
                _wait(device)
                start = time.perf_counter()
                found = curvature(
                    model, x, y, estimator, batch=runs.batch,
                    generator=np.random.default_rng([k, i]),
                )  # fmt: skip
                _wait(device)
                seconds[label] += time.perf_counter() - start
                own = isinstance(estimator, ExactGaussNewton | Hutchinson)
                scores[label].append(norm_of(found) if own else found.score)
    member = run.member[:models][:, rows]
    out = []
    reference = np.stack(truth)
    for label, (_, forwards, backwards) in kinds.items():
        values = np.stack(scores[label])
        signal = {"curvature_zo": values[..., None]}
        auc = operating_points(CurvatureLR().leave_one_out(signal, member), member, (0.01,)).auc
        e = over_targets(auc, member)
        out.append(
            {"name": label, "forwards": forwards, "backwards": backwards,
             "seconds per 1000": 1000 * seconds[label] / (models * len(rows)),
             "spearman": _mean_rho(values, reference),
             "auc": e.mean, "low": e.low, "high": e.high}
        )  # fmt: skip
    return {
        "table": name,
        "models": models,
        "samples": len(rows),
        "device": runs.device,
        "threads": torch.get_num_threads(),
        "batch": runs.batch,
        "estimators": out,
        "provenance": provenance(run),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _kinds(
    asked: EstimatorSettings, classes: int, step: float
) -> dict[str, tuple[Estimator, int, int]]:
    """Estimator, forward and backward passes per sample, by name."""
    out: dict[str, tuple[Estimator, int, int]] = {"exact": (ExactGaussNewton(), 1, classes - 1)}
    for n in asked.probes:
        if 3 <= n < classes:
            out[f"logit probes n={n}"] = (ExactGaussNewton(LogitProbes(n)), 1, n)
        out[f"Hutchinson n={n}"] = (Hutchinson(n), 1, 2 * n + 1)
        out[f"finite difference n={n}"] = (FiniteDifference(step, n), n + 1, n + 1)
        out[f"zeroth order n={n}, float64"] = (ZerothOrder(step, n), 4 * n + 1, 0)
        out[f"zeroth order n={n}, float32"] = (
            ZerothOrder(step, n, precision=torch.float32), 4 * n + 1, 0
        )  # fmt: skip
    return out
