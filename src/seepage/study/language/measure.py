"""What the study measures of one fleet of language models, as plain numbers small enough to keep in git."""

from __future__ import annotations

from typing import Any

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.data.repeats import copy_numbers, one_of_each
from seepage.errors import InputError
from seepage.metrics import blind_baseline, operating_points, over_targets
from seepage.metrics.blind_inputs import said_in
from seepage.scoring import lacks
from seepage.store import Run
from seepage.study.attacks.measure import (
    FPRS,
    WHOLE,
    fleet_facts,
    measure,
    paired_order,
    plain,
    scored_rows,
)
from seepage.study.attacks.reading import read
from seepage.study.attacks.settings import FleetPart
from seepage.study.language.named import attack_named

__all__ = ["at_the_end", "by_copies", "course", "text_facts"]

BLIND_RUNS = 4


def text_facts(run: Run) -> dict[str, Any]:
    """What a fleet is: `fleet_facts`, texts and tokens, losses by checkpoint, the blind baseline."""
    rows = one_of_each(run.ids)
    copies = copy_numbers(run.ids)[rows]
    numbers, texts = np.unique(copies, return_counts=True)
    offsets = run.offsets
    tokens = None if offsets is None else int(np.diff(offsets)[rows].sum())
    return {
        **fleet_facts(run),
        "texts": len(rows),
        "predicted tokens": tokens,
        "copies": {str(n): int(k) for n, k in zip(numbers.tolist(), texts.tolist(), strict=True)},
        "losses": _losses(run, rows),
        "blind": _blind(run, rows),
    }


def _losses(run: Run, rows: Int64Array) -> list[list[float]]:
    """Mean loss of members and of others by checkpoint, nats a token, mean over models: (T, 2)."""
    member = run.member[:, rows]
    found = []
    for t in range(len(run.checkpoints)):
        loss = np.asarray(run.signal_at("loss", t)[:, rows], dtype=np.float64)
        loss = loss[..., 0] if loss.ndim == 3 else loss
        found.append([_mean_of(loss, member), _mean_of(loss, ~member)])
    return found


def _mean_of(values: Float64Array, which: BoolArray) -> float:
    each = np.where(which, values, 0.0).sum(axis=1) / which.sum(axis=1)
    return float(f"{each.mean():.6g}")


def _blind(run: Run, rows: Int64Array) -> dict[str, Any]:
    """The blind baseline on one copy of each text: who never sees a model. {"lacks": why} without one."""
    data = run.data()
    if data is None:
        return {"lacks": "the texts could not be found again from their source"}
    part = data.take(rows)
    try:
        found = blind_baseline(
            part.inputs.numpy(),
            run.member[:, rows],
            part.labels.numpy(),
            texts=said_in(part.inputs.numpy(), part.classes),
            runs=BLIND_RUNS,
        )
    except InputError as error:
        return {"lacks": str(error)}
    return {"auc": plain(found.estimate), "by": found.by, "runs": BLIND_RUNS}


def at_the_end(run: Run, name: str, *, part: FleetPart = WHOLE, draws: int = 1) -> dict[str, Any]:
    """`seepage.study.attacks.measure` of one attack at the last checkpoint, on one copy of each text.

    With `named`, under which the study runs it. part: the models and texts looked at.
    """
    return _measured(run, name, -1, draws, part)


def _measured(run: Run, name: str, t: int, draws: int, part: FleetPart = WHOLE) -> dict[str, Any]:
    rows = one_of_each(run.ids)
    rows = rows[scored_rows(len(rows), part.samples)]
    found = measure(run, attack_named(name), part=part, draws=draws, rows=rows, checkpoint=t)
    found.pop("pairs", None)
    if "lacks" in found:
        # Where the run lies is no reason.
        found["lacks"] = found["lacks"].removeprefix(f"{run.path}: ")
    return {**found, "named": name}


def course(run: Run, name: str, *, draws: int = 1) -> list[dict[str, Any]]:
    """AUC, its null and TPR of an attack at every checkpoint, or {"lacks": why}: one each."""
    kept = ("auc", "null_auc", *(f"tpr at {fpr:g}" for fpr in FPRS))
    steps = []
    for t in range(len(run.checkpoints)):
        one = _measured(run, name, t, draws)
        steps.append({k: one[k] for k in (("lacks",) if "lacks" in one else kept)})
    return steps


def by_copies(run: Run, name: str) -> dict[str, Any]:
    """AUC and TPR of an attack by how often a text is held: {"copies": {number: [one a checkpoint]}}.

    One copy of each text is scored, under all texts; each number of copies is then judged by itself, at
    a threshold that its own non-members give, so that what differs between the numbers is the leak and
    not the threshold. An attack that compares with other models fits its laws to all numbers together.
    Intervals are over pairs of models. {"lacks": why} where the attack cannot be run.
    """
    rows = one_of_each(run.ids)
    copies = copy_numbers(run.ids)[rows]
    order = paired_order(run.member)
    member = run.member[np.ix_(order, rows)]
    attack = attack_named(name)
    why = lacks(run, attack)
    if why is not None:
        return {"lacks": why}
    found: dict[str, list[Any]] = {str(c): [] for c in np.unique(copies).tolist()}
    for t in range(len(run.checkpoints)):
        bound, signals, _ = read(run, attack, order, rows, checkpoint=t)
        scores = bound.leave_one_out(signals, member)
        for number, steps in found.items():
            at = copies == int(number)
            steps.append(_rates(scores[:, at], member[:, at]))
    return {"copies": found}


def _rates(scores: FloatArray, member: BoolArray) -> dict[str, Any]:
    points = operating_points(scores, member, FPRS[:1])
    return {
        "auc": plain(over_targets(points.auc, member)),
        f"tpr at {FPRS[0]:g}": plain(over_targets(points.tpr[:, 0], member)),
        "non-members": int(points.n_out.min()),
    }
