"""Units on the size of the training set: prefixes in random order, and least curved first."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from seepage.array_types import BoolArray, Int64Array
from seepage.curvature import CurvatureSignal, ExactGaussNewton, running_mean
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet.rebuild import rebuild
from seepage.metrics import auc, tpr_at_fpr
from seepage.plan import half_split
from seepage.record import Memory, Recorder, Resident
from seepage.store import Run
from seepage.store.files import plain
from seepage.study.curvature.runs import Signals, StudyRuns, plan_of
from seepage.study.curvature.scoring import difference, equal_error, placed, rows_of, twin_list
from seepage.study.curvature.settings import MatchedSettings, SizeSettings
from seepage.study.curvature.table import scored_rows, table_signals

__all__ = ["COMPARED", "matched_unit", "size_unit"]


KEYS = [
    "nll-published", "nll", "lr-published", "lr", "nll-exact", "lr-exact", "threshold", "joint",
    "lira", "lira-max", "lira-released", "attack-r", "loss",
]  # fmt: skip
COMPARED = [
    (form, other)
    for form in ("nll-published", "nll")
    for other in ("loss", "lira-released", "lira")
]
"""Pairs whose difference of AUC gets a standard error, size by size."""


def curvature_order(runs: StudyRuns, asked: SizeSettings) -> Int64Array:
    """Positions of the pool, least curved first.

    By the exact ‖H‖_F averaged over checkpoints of models trained on the whole pool: the released
    order is of a finite-difference proxy of the same norm, summed over all epochs.
    """
    given = runs.settings.tables[asked.table]
    data = runs.load(given.data)
    plan = plan_of(np.ones((2, len(data)), dtype=np.bool_), given.seed + 1)
    epochs = int(given.recipe.get("epochs", 20))
    times = tuple(float(t) for t in range(asked.every, epochs + 1, asked.every)) or (float(epochs),)
    run = runs.train(
        "order", data, plan, given, checkpoints=times,
        extra=[CurvatureSignal(ExactGaussNewton(), batch=runs.batch)], keep="none",
    )  # fmt: skip
    mean = running_mean(run.signal("curvature_frobenius"), axis=1)[:, -1].mean(axis=0)
    return np.asarray(np.argsort(mean, kind="stable"), dtype=np.int64)


def nested_order(rng: np.random.Generator, scored: Int64Array, samples: int) -> Int64Array:
    """A random order of the pool whose prefixes are training sets: half of `scored` first.

    The other half comes last, so that a prefix of any size has members and others among the few
    samples that are scored. As these were drawn at random themselves, a prefix is a random subset.

    >>> order = nested_order(np.random.default_rng(0), np.array([1, 3]), 6)
    >>> sorted(order[[0, -1]].tolist()), sorted(order.tolist()) == list(range(6))
    ([1, 3], True)
    """
    drawn = rng.permutation(scored)
    rest = rng.permutation(np.setdiff1d(np.arange(samples), scored))
    half = len(drawn) // 2
    return np.asarray(np.concatenate([drawn[:half], rest, drawn[half:]]), dtype=np.int64)


def _targets(runs: StudyRuns, asked: SizeSettings, order: str) -> tuple[Run, Dataset]:
    """All targets of one order in one fleet: rows m-major, `targets` of each size."""
    given = runs.settings.tables[asked.table]
    data = runs.load(given.data)
    if max(asked.sizes) >= len(data):
        raise InputError(f"sizes: expected less than the pool of {len(data)}, got {asked.sizes}")
    lowest = curvature_order(runs, asked) if order == "lowest" else None
    member = np.zeros((len(asked.sizes) * asked.targets, len(data)), dtype=np.bool_)
    for i, m in enumerate(asked.sizes):
        for j in range(asked.targets):
            ranks = lowest
            if ranks is None:
                rng = np.random.default_rng([given.seed, 2, j])
                ranks = nested_order(rng, scored_rows(given, len(data)), len(data))
            member[i * asked.targets + j, ranks[:m]] = True
    seed = given.seed + (3 if order == "lowest" else 2)
    return runs.train(f"targets-{order}", data, plan_of(member, seed), given), data


def size_unit(runs: StudyRuns, asked: SizeSettings, order: str, size: int) -> dict[str, Any]:
    """Targets trained on `size` samples, attacked with the table's shadows, as the protocol has it.

    Shadows are those of half the pool for every size of the target (C.6 #8 of the notes: the
    mismatch is part of the protocol); `matched_unit` trains shadows of the same size.
    """
    given = runs.settings.tables[asked.table]
    shadow_run, known, shadows = table_signals(runs, asked.table)
    run, data = _targets(runs, asked, order)
    test = runs.test_part(given.data)
    rng = np.random.default_rng([given.seed, size])
    rows_out = []
    for j in range(asked.targets):
        k = asked.sizes.index(size) * asked.targets + j
        member = run.member[k]
        judged = _some(rng, member[known], asked.scored)
        rows = known[judged]
        measured = runs.measure(run, data, rows, models=[k], estimators=_less(runs), seed=k)
        target = {n: v[0] for n, v in measured.items()}
        references = {n: v[:, judged] for n, v in shadows.items() if n in target}
        scores = placed(target, references, shadow_run.member[:, rows], KEYS)
        rows_out.append(
            _judged(scores, member[rows]) | {"accuracy": _accuracy(target, member[rows])}
            | ({"test accuracy": _test(run, k, data, test)} if test is not None else {})
        )  # fmt: skip
    return {
        "order": order,
        "size": size,
        "pool": len(data),
        "shadows": len(shadow_run.models),
        "settings": given.model_dump(mode="json"),
        "targets": rows_out,
    }


def matched_unit(runs: StudyRuns, given: MatchedSettings, size: int) -> dict[str, Any]:
    """A fleet of complementary pairs of `size` samples each: targets and shadows alike."""
    data = runs.load(given.data.model_copy(update={"limit": 2 * size}))
    plan = half_split(len(data), models=given.models, seed=given.seed + 4)
    run = runs.train(f"matched-{size}", data, plan, given)
    rng = np.random.default_rng([given.seed, size, 1])
    rows = np.sort(rng.choice(len(data), min(given.scored, len(data)), replace=False))
    measured = runs.measure(run, data, rows, estimators=_less(runs))
    member = run.member[:, rows]
    right = measured["correct"][..., 0]
    return {
        "order": "matched",
        "size": size,
        "pool": len(data),
        "models": len(member),
        "samples": len(rows),
        "settings": given.model_dump(mode="json"),
        "accuracy": [float((right * s).sum() / s.sum()) for s in (member, ~member)],
        "attacks": rows_of(measured, member, KEYS),
        "twin": twin_list(member),
    }


def _less(runs: StudyRuns) -> dict[str, Any]:
    return runs.estimators(published=False)


def _some(rng: np.random.Generator, member: BoolArray, count: int) -> Int64Array:
    """At most `count` positions, half of them members where there are as many."""
    inside, outside = np.flatnonzero(member), np.flatnonzero(~member)
    a = rng.permutation(inside)[: count // 2]
    b = rng.permutation(outside)[: count - count // 2]
    return np.asarray(np.sort(np.concatenate([a, b])), dtype=np.int64)


def _judged(scores: dict[str, Any], member: BoolArray) -> dict[str, Any]:
    points = {
        key: {
            "auc": auc(s, member),
            "balanced": equal_error(s, member),
            "tpr at 0.01": plain(tpr_at_fpr(s, member, 0.01).tpr),
        }
        for key, s in scores.items()
    }
    gaps = {
        f"{a} - {b}": difference(scores[a], scores[b], member) for a, b in COMPARED
    }  # fmt: skip
    return {"members": int(member.sum()), "others": int((~member).sum()),
            "attacks": points, "differences": gaps}  # fmt: skip


def _accuracy(target: Signals, member: BoolArray) -> list[float]:
    right = target["correct"][:, 0]
    return [float(right[member].mean()), float(right[~member].mean())]


def _test(run: Run, k: int, data: Dataset, test: Dataset) -> float:
    """Accuracy on the test part, normalised by the target's own members."""
    built = rebuild(run, k, data=data)
    scale = data.member_scale(np.flatnonzero(built.member))
    looking = Recorder(Resident.of(test), [0.0], Memory(), signals=(), scale=scale)
    with torch.no_grad():
        x = looking.inputs(np.arange(len(test)))
        logits = torch.cat([built.model(part) for part in torch.split(x, 500)])
    return float((logits.argmax(1) == test.labels).double().mean())
