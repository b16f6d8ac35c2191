"""What a defence costs and what it saves, from the stored signals of two fleets on one plan.

The adaptive attacker trains shadow models with the target's defence: references and target come
from the defended fleet. The non-adaptive one does not know of it: references from the undefended
fleet, target from the defended one. Both leave the target's pair out of the references.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import AnyArray, BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks import Attack, LiRA, of_unit, reference_rows
from seepage.attacks.base import WIDE
from seepage.attacks.binding import bind, inputs, signals_at
from seepage.comparison.spent import joint_spending
from seepage.epsilon.one_run import epsilon_of_runs
from seepage.errors import InputError
from seepage.metrics import (
    Estimate,
    Subjects,
    operating_points,
    pooled_by_target,
    pooled_points,
    row_auc,
)
from seepage.metrics.intervals import around, reach
from seepage.plan import tuples
from seepage.plane import Permuted, trajectories
from seepage.short_repr import short_repr
from seepage.store import Run

__all__ = [
    "Evaluation",
    "Risk",
    "calibration_error",
    "evaluate",
    "non_adaptive",
    "over_pairs",
    "per_pair",
    "risk",
    "whole_pairs",
]

UNBOUNDED = (-np.inf, np.inf)


def over_pairs(
    values: ArrayLike,
    *,
    shared: bool = False,
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = 0.95,
) -> Estimate:
    """Mean over pairs of runs with its interval; (G,) one value per complementary pair.

    mean ± t_{G−1} · s/√G, clipped to `bounds`; wider if `shared` (scores of a leave-one-out, whose
    targets are each other's references): as `seepage.metrics.over_targets`, which says why, but for
    values that are means of pairs already, and for differences. Pairs of several seeds may be
    joined. NaN limits for one pair, for two if `shared`.

    >>> e = over_pairs([-0.1, 0.1], bounds=(-1, 1))
    >>> e.mean, e.groups, e.low < -0.5
    (0.0, 2, True)
    """
    v = np.asarray(values, np.float64)
    if v.ndim != 1 or not v.size:
        raise InputError(f"values: expected one per pair of runs, got shape {v.shape}")
    mean, groups = float(v.mean()), len(v)
    half = reach(groups, level, shared=shared)
    if np.isnan(half) or np.isnan(mean):
        return Estimate(mean, float("nan"), float("nan"), level, groups)
    half *= float(v.std(ddof=1) / np.sqrt(groups))
    if bounds == (0.0, 1.0):
        return Estimate(mean, *around(mean, half), level, groups)
    low, high = bounds
    return Estimate(mean, max(low, mean - half), min(high, mean + half), level, groups)


def per_pair(values: ArrayLike, member: BoolArray) -> Float64Array:
    """Values of runs averaged within pairs: (R, ...), (R, N) -> (R/2, ...).

    >>> per_pair([0.6, 0.8], np.array([[True, False], [False, True]])).round(2).tolist()
    [0.7]
    """
    v, order = np.asarray(values, np.float64), _in_pairs(member)
    if len(v) != len(member) or order.size != len(member):
        raise InputError(
            "member: expected complementary pairs of runs and a value for each; "
            "use plan.kind = 'half_split'"
        )
    return np.asarray((v[order[:, 0]] + v[order[:, 1]]) / 2)


def _in_pairs(member: BoolArray) -> Int64Array:
    """Both runs of every pair, (G, 2); tuples of more than two are left out."""
    number = tuples(member)
    size = np.bincount(number + 1, minlength=1)[1:]
    paired = np.flatnonzero(np.append(size, 0)[number] == 2)
    order = paired[np.argsort(number[paired], kind="stable")]
    return np.asarray(order.reshape(-1, 2), dtype=np.int64)


def whole_pairs(member: BoolArray, usable: Sequence[Int64Array]) -> Int64Array:
    """Plan rows that, with the other of their pair, are usable in every fleet; ascending.

    member (planned, N); usable: per fleet the plan rows that did not fail. A pair of which one run
    diverged is left out whole: alone it would unbalance the references.

    >>> m = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=bool)
    >>> whole_pairs(m, [np.array([0, 1, 2]), np.arange(4)]).tolist()
    [0, 1]
    """
    ok = np.ones(len(member), dtype=np.bool_)
    for rows in usable:
        ok &= np.isin(np.arange(len(member)), rows)
    pairs = _in_pairs(member)
    return np.sort(pairs[ok[pairs].all(axis=1)].ravel())


def non_adaptive(
    attack: Attack,
    target: Mapping[str, FloatArray],
    references: Mapping[str, FloatArray],
    member: BoolArray,
) -> Float64Array:
    """Scores when the attacker's shadow models lack the defence: {name: (R, N)} twice -> (R, N).

    target: signals of the defended fleet; references: of the undefended one on the same plan;
    member (R, N). Target r is scored against the undefended runs without r and its pair.
    """
    use = reference_rows(member)
    return np.stack(
        [
            attack.score(
                {k: target[k][r] for k in attack.requires},
                {k: references[k][use[r]] for k in attack.requires},
                member[use[r]],
            )
            for r in range(len(member))
        ]
    )


@short_repr
@dataclass(frozen=True, eq=False)
class Risk:
    """Per target: auc (R,), tpr (R, F) at one threshold for all targets; realised fpr (F,).

    null (F,): what scores without leakage read as TPR there; non_members: pooled, of all targets.
    """

    auc: Float64Array
    tpr: Float64Array
    fpr: Float64Array
    null: Float64Array
    non_members: int


def risk(scores: Float64Array, member: BoolArray, fprs: Sequence[float]) -> Risk | None:
    """AUC and TPR at low FPR of every target; None where a target lacks members or non-members.

    The threshold at each nominal FPR is one for all targets, that of `seepage.metrics.pooled_points`:
    with R·N/2 non-members pooled, rates far below 1/N can be told; one that cannot is NaN. tpr is
    what each target adds (`pooled_by_target`): it averages to the pooled TPR and gives it an
    interval over pairs. scores, member (R, N).
    """
    inside = member.sum(axis=1)
    if member.shape[1] == 0 or (inside == 0).any() or (inside == member.shape[1]).any():
        return None
    pooled = pooled_points(scores, member, fprs)
    tpr = pooled_by_target(scores, member, fprs)
    auc = operating_points(scores, member, ()).auc
    return Risk(auc, tpr, pooled.fpr[0], pooled.null[0], int(pooled.n_out[0]))


def calibration_error(logits: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error Σ_b (n_b/n)·|accuracy_b − confidence_b| over equal-width bins.

    logits (n, K), labels (n,); confidence is the largest posterior. Biased upwards by about the
    binomial spread of a bin where samples are few. Source: Guo et al., arXiv 1706.04599.

    >>> calibration_error([[0.0, 0.0], [0.0, 0.0]], [0, 1])
    0.0
    """
    z, y = np.asarray(logits, np.float64), np.asarray(labels)
    top = np.exp(z.max(axis=1) - scipy.special.logsumexp(z, axis=1))
    right = z.argmax(axis=1) == y
    at = np.minimum((top * bins).astype(np.int64), bins - 1)
    gap = np.bincount(at, weights=right - top, minlength=bins)
    return float(np.abs(gap).sum() / len(y))


@short_repr
@dataclass(frozen=True)
class Evaluation:
    """One fleet under one defence: every value per pair of runs, so that seeds can be joined.

    values: metric -> (G,). Metrics: "accuracy_in", "accuracy_out", "ece" (non-members, planted
    canaries left out), "cost" (training seconds over those of the undefended pair), and
    "<attack>/<adaptive|static>/<pool|canaries>/<auc|tpr@FPR>". realised: the FPR behind each TPR;
    null: what it reads without leakage; non_members: "pool" and "canaries" -> non-members over all
    targets, which say what FPR can be told.
    by_class: "accuracy_out" and "auc" of the main attack, (G, K), NaN where a class is too small.
    paths: "epoch", "auc", "fpr", "tpr" and, with canaries, "canaries" (mean advantage), each (T,).
    samples: "separation" (per-sample AUC over models, of the signal phi: scores of a leave-one-out
    share references, and read less than ½ without leakage), "fpr", "tpr", "canary", each (N,). facts:
    what belongs to the fleet as a whole, "pairs", the first plan row of each of the G pairs, and
    "epsilon_low", `epsilon_of_runs` of the main attack on the canaries (without them, on the pool),
    and "epsilon_samples", how many those are.
    """

    values: dict[str, list[float]]
    realised: dict[str, float]
    null: dict[str, float]
    non_members: dict[str, int]
    by_class: dict[str, list[list[float | None]]]
    paths: dict[str, list[float]]
    samples: dict[str, AnyArray] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def evaluate(
    run: Run,
    undefended: Run,
    *,
    attacks: Sequence[Attack],
    fprs: Sequence[float] = (0.01, 0.001),
    extra: Callable[[Run, Int64Array], Mapping[str, Sequence[float]]] | None = None,
) -> Evaluation:
    """Utility, risk and cost of a defended fleet compared with the undefended one of the same plan.

    Where records belong to subjects the attacks and ε are of subjects, accuracy and what is per
    sample stay of records. The most vulnerable samples are the planted mislabelled canaries (Aerni et al., arXiv
    2404.17399); without them only the pool is evaluated. extra(run, at) adds metrics, each a list
    of one value per model measured; `at` are the positions in `run` of the pairs' runs (e.g.
    robustness). Attacks whose signals are missing raise InputError, as do fleets of different plans
    and fleets with fewer than two whole pairs left.
    """
    if run.manifest["plan"]["digest"] != undefended.manifest["plan"]["digest"]:
        raise InputError(f"{run.path}: expected the plan of {undefended.path}, got another one")
    plan = run.plan_member
    rows = whole_pairs(plan, [run.models, undefended.models])
    if len(rows) < 4:
        raise InputError(
            f"{run.path}: expected at least two pairs of runs that did not fail, got "
            f"{len(rows) // 2}; train more models or weaken the defence"
        )
    member = plan[rows]
    at, base = np.searchsorted(run.models, rows), np.searchsorted(undefended.models, rows)
    canary = canaries(run)
    values: dict[str, Float64Array] = {}
    realised: dict[str, float] = {}
    null: dict[str, float] = {}
    non_members: dict[str, int] = {}
    attacks = [bind(attack, run) for attack in attacks]
    correct = np.asarray(_view0(signals_at(run, ["correct"], -1)["correct"][at]), np.float64)
    main: Float64Array | None = None
    exposed = canary if canary.any() else ~canary
    judged_epsilon: tuple[Float64Array, BoolArray] | None = None
    for attack in attacks:
        here, there = (
            {n: _first_view(attack, n, v[rows_of]) for n, v in inputs(attack, fleet, -1).items()}
            for fleet, rows_of in ((run, at), (undefended, base))
        )
        found: dict[str, tuple[Float64Array, dict[str, FloatArray]]] = {
            "adaptive": (np.asarray(attack.leave_one_out(here, member), np.float64), here),
            "static": (non_adaptive(attack, here, there, member), there),
        }
        main = found["adaptive"][0] if main is None else main
        if judged_epsilon is None:
            judged_epsilon = _of_units(run, attack, *found["adaptive"], member, exposed)
        for kind, (scores, read) in found.items():
            for where, cols in (("pool", np.ones(len(canary), np.bool_)), ("canaries", canary)):
                key = f"{attack.name}/{kind}/{where}"
                judged = None
                if cols.any():
                    judged = risk(*_of_units(run, attack, scores, read, member, cols), fprs)
                if judged is None:
                    continue
                values[f"{key}/auc"] = judged.auc
                non_members[where] = judged.non_members
                for k, fpr in enumerate(fprs):
                    # A rate that so few non-members, or tied scores, cannot resolve is no figure.
                    if not np.isfinite(judged.tpr[:, k]).all():
                        continue
                    values[f"{key}/tpr@{fpr:g}"] = judged.tpr[:, k]
                    realised[f"{key}/tpr@{fpr:g}"] = float(judged.fpr[k])
                    null[f"{key}/tpr@{fpr:g}"] = float(judged.null[k])
    assert main is not None
    assert judged_epsilon is not None
    plain = ~canary
    inside, outside = member & plain, ~member & plain
    values["accuracy_in"] = (correct * inside).sum(1) / inside.sum(1)
    values["accuracy_out"] = (correct * outside).sum(1) / outside.sum(1)
    if "logits" in run.signals:
        logits = run.signal_at("logits", -1)[at]
        values["ece"] = np.array(
            [
                calibration_error(z[out], run.labels[out])
                for z, out in zip(logits, outside, strict=True)
            ]
        )
    paired = {k: per_pair(v, member) for k, v in values.items()}
    for name, count in (("cost", _seconds), ("passes", _passes)):
        spent, plainly = count(run, rows), count(undefended, rows)
        if spent is not None and plainly is not None:
            paired[name] = per_pair(spent, member) / per_pair(plainly, member)
    if extra is not None:
        paired |= {k: np.asarray(v, np.float64) for k, v in extra(run, at).items()}
    path = trajectories(run, attack=LiRA(), null=Permuted(0), models=at, keep_decisions=False)
    paths = {
        "epoch": path.checkpoints,
        "auc": path.auc,
        "fpr": path.fpr[:, plain].mean(1),
        "tpr": path.tpr[:, plain].mean(1),
    }
    if canary.any():
        paths["canaries"] = path.advantage[:, canary].mean(1)
    return Evaluation(
        values={k: v.tolist() for k, v in paired.items()},
        realised=realised,
        null=null,
        non_members=non_members,
        by_class=_by_class(main, correct, member, outside, run.labels, plain, len(run.classes)),
        paths={k: np.asarray(v, np.float64).tolist() for k, v in paths.items()},
        samples={
            "separation": row_auc(_phi(run)[at], member),
            "fpr": path.fpr[-1],
            "tpr": path.tpr[-1],
            "canary": canary,
        },
        facts=_facts(run, rows)
        | {
            "pairs": rows[_in_pairs(member)[:, 0]].tolist(),
            "epsilon_low": epsilon_of_runs(*judged_epsilon).tolist(),
            "epsilon_samples": judged_epsilon[0].shape[1],
        },
    )


def _of_units(
    run: Run,
    attack: Attack,
    scores: Float64Array,
    signals: Mapping[str, FloatArray],
    member: BoolArray,
    cols: BoolArray,
) -> tuple[Float64Array, BoolArray]:
    """Scores and membership of what is judged among these samples: of subjects where there are any.

    The canaries of one subject share its coin, and so are one.
    """
    if run.groups is None:
        return scores[:, cols], member[:, cols]
    unit = Subjects(run.groups[cols])
    inside = member[:, cols]
    read = {name: values[:, cols] for name, values in signals.items()}
    return of_unit(attack, scores[:, cols], read, inside, unit), np.asarray(unit.member(inside))


def _phi(run: Run) -> Float64Array:
    """LiRA's signal at the end of training, (R, N), higher for members."""
    attack = bind(LiRA(), run)
    return np.asarray(_view0(inputs(attack, run, -1)["phi"]), np.float64)


def canaries(run: Run) -> BoolArray:
    """Which samples are planted mislabelled canaries, (N,)."""
    out = np.zeros(run.manifest["data"]["samples"], dtype=np.bool_)
    planted = run.manifest["plan"]["canaries"]
    if planted is not None:
        at = [
            i for i, k in zip(planted["index"], planted["kind"], strict=True) if k == "mislabelled"
        ]
        out[at] = True
    return out


def _view0(a: FloatArray) -> FloatArray:
    return a if a.ndim == 2 else a[..., 0]


def _first_view(attack: Attack, name: str, a: FloatArray) -> FloatArray:
    """The first view of what an attack reads; a trajectory keeps its checkpoints, and its views."""
    return a if attack.trajectory or name in WIDE else _view0(a)


def _seconds(run: Run, rows: Int64Array) -> Float64Array:
    """Seconds of training, without evaluation."""
    kept = [run.records[r] for r in rows.tolist()]
    return np.array([max(r["seconds"] - r.get("looking", 0.0), 1e-9) for r in kept])


def _passes(run: Run, rows: Int64Array) -> Float64Array | None:
    """Forward passes of training plus twice the backward ones, in samples; None if not counted."""
    told = [run.records[r].get("facts") or {} for r in rows.tolist()]
    if not all("forward" in f for f in told):
        return None
    return np.array([f["forward"] + 2.0 * f["backward"] for f in told])


def _by_class(
    scores: Float64Array,
    correct: Float64Array,
    member: BoolArray,
    outside: BoolArray,
    labels: Int64Array,
    plain: BoolArray,
    classes: int,
) -> dict[str, list[list[float | None]]]:
    accuracy = np.full((len(member), classes), np.nan)
    area = np.full((len(member), classes), np.nan)
    for k in range(classes):
        cols = plain & (labels == k)
        out = outside[:, cols]
        if (out.sum(1) > 0).all():
            accuracy[:, k] = (correct[:, cols] * out).sum(1) / out.sum(1)
        judged = risk(scores[:, cols], member[:, cols], ())
        if judged is not None:
            area[:, k] = judged.auc
    return {
        name: [[None if np.isnan(x) else float(x) for x in row] for row in per_pair(v, member)]
        for name, v in (("accuracy_out", accuracy), ("auc", area))
    }


def _facts(run: Run, rows: Int64Array) -> dict[str, Any]:
    """Failed runs, and what the accountant gave: the largest ε of all runs, if it holds for all."""
    facts: dict[str, Any] = {
        "models": len(rows),
        "failed": len(run.failed),
        "seconds": float(np.mean(_seconds(run, rows))),
    }
    told = [run.records[r].get("facts") or {} for r in rows.tolist()]
    facts |= joint_spending(told)
    regions = {tuple(f["pptp_regions"]) for f in told if "pptp_regions" in f}
    if regions:
        facts["regions"] = sorted(list(r) for r in regions)
    return facts
