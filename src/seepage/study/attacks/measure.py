"""One attack on one fleet, as plain numbers small enough to keep in git."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks import Attack
from seepage.errors import InputError
from seepage.metrics import Estimate, operating_points, over_targets
from seepage.plan import partitions
from seepage.plane import GlobalFPR, Permuted
from seepage.probes.imitation import Imitation
from seepage.scoring import lacks
from seepage.store import Run
from seepage.study.attacks.reading import read
from seepage.study.attacks.settings import FleetPart
from seepage.study.dynamics.analyse import provenance

__all__ = [
    "FPRS",
    "WHOLE",
    "by_models",
    "fleet_facts",
    "measure",
    "paired_order",
    "plain",
    "scored_rows",
]

FPRS = (0.01, 0.001)
SEED = 0
WHOLE = FleetPart()


def fleet_facts(run: Run) -> dict[str, Any]:
    """What a fleet is: its size, how well it learnt, what it cost, where it came from."""
    accuracy = [run.records[int(r)].get("accuracy") or [] for r in run.models]
    return {
        "models": len(run.models),
        "failed": {str(k): v for k, v in run.failed.items()},
        "samples": int(run.member.shape[1]),
        "checkpoints": run.checkpoints.tolist(),
        "accuracy": np.mean(accuracy, axis=0).tolist() if all(accuracy) else [],
        "provenance": provenance(run),
    }


def measure(
    run: Run,
    attack: Attack,
    *,
    sizes: Sequence[int] = (),
    part: FleetPart = WHOLE,
    draws: int = 1,
    imitators: Sequence[int] = (),
    rows: Int64Array | None = None,
    checkpoint: int = -1,
) -> dict[str, Any]:
    """An attack at a checkpoint: rates with intervals, null, cost, and by number of models.

    sizes: numbers of models below all, at which it is run too where it reads references. part: the
    models and samples looked at. imitators: numbers of networks that imitate each target with which it is
    run too, where it reads what these say. rows: positions that are looked at in place of those of
    `part`. checkpoint: its index, the last one where not given. draws: permuted memberships behind every null. Seconds are of the
    processor, of all threads together, so that what runs beside does not count much; of one pass over
    all targets, the last one, when everything is compiled, and of measuring on kept weights. Where
    the attack cannot be run, {"lacks": why}.
    """
    head = {
        "attack": attack.name,
        "title": attack.title,
        "reference": attack.reference,
        "reconstruction": attack.reconstruction,
        "access": attack.access,
        "least": attack.models,
        "fitted": attack.fitted,
        "options": repr(attack),
    }
    why = lacks(run, attack)
    if why is not None:
        return head | {"lacks": why}
    if rows is None:
        rows = scored_rows(run.member.shape[1], part.samples)
    order = paired_order(run.member)[: part.models]
    member = run.member[np.ix_(order, rows)]
    try:
        bound, signals, measuring = read(run, attack, order, rows, checkpoint=checkpoint)
    except InputError as error:
        # What a probe refuses only shows when it is asked, such as too large a network.
        return head | {"lacks": str(error).removeprefix(f"{attack.name}: ")}
    steps = range(len(run.checkpoints))[checkpoint] + 1 if bound.trajectory else 1
    views = 1 if bound.first_view else max(1, len(run.manifest.get("views", ())))
    out = head | {
        "queries": bound.queries * steps * views,
        "models": len(member),
        "samples": member.shape[1],
        "measuring_seconds": round(measuring, 2),
        **_figures(bound, signals, member, draws),
    }
    smaller = [s for s in sizes if bound.models <= s < len(member) and bound.models > 1]
    if smaller:
        out["by_models"] = {str(s): by_models(bound, signals, member, s, draws) for s in smaller}
    by_imitators: dict[str, Any] = {}
    for count in imitators:
        probe = Imitation(models=count)
        if set(probe.signals) & set(bound.requires):
            bound, signals, measuring = read(
                run, attack, order, rows, (probe,), checkpoint=checkpoint
            )
            by_imitators[str(count)] = {
                "measuring_seconds": round(measuring, 2),
                **_figures(bound, signals, member, draws),
            }
    return out | ({"by_imitators": by_imitators} if by_imitators else {})


def scored_rows(samples: int, count: int | None, seed: int = SEED) -> Int64Array:
    """Positions of the pool that are looked at, in order; the same for every attack.

    >>> scored_rows(3, None).tolist(), len(scored_rows(50, 20))
    ([0, 1, 2], 20)
    """
    if count is None or count >= samples:
        return np.arange(samples)
    drawn = np.random.default_rng(seed).choice(samples, count, replace=False)
    return np.asarray(np.sort(drawn), dtype=np.int64)


def paired_order(member: BoolArray) -> Int64Array:
    """Models in an order in which those of a complementary pair are neighbours.

    >>> paired_order(np.array([[1, 0], [1, 1], [0, 1], [0, 0]], bool)).tolist()
    [0, 2, 1, 3]
    """
    return np.argsort(partitions(member), kind="stable").astype(np.int64)


def by_models(
    attack: Attack, signals: Mapping[str, FloatArray], member: BoolArray, size: int, draws: int = 1
) -> dict[str, Any]:
    """The same figures where an attacker has so many models, over all blocks of that many.

    Pairs are neighbours, and blocks are disjoint: every model is once the target of the others of
    its block, so that the number of targets is about the same at every size. What is left over of
    the models is no block. Raises InputError where the attack needs more models.
    """
    whole = len(member) // size * size
    blocks = [slice(b, b + size) for b in range(0, whole, size)]
    part = {k: v[:whole] for k, v in signals.items()}
    return _figures(attack, part, member[:whole], draws, blocks)


def _figures(
    attack: Attack,
    signals: Mapping[str, FloatArray],
    member: BoolArray,
    draws: int,
    blocks: Sequence[slice] = (slice(None),),
) -> dict[str, Any]:
    """Rates over targets of all blocks, each the target of the others of its block."""

    def scores(truth: BoolArray) -> Float64Array:
        return np.concatenate(
            [attack.leave_one_out({k: v[b] for k, v in signals.items()}, truth[b]) for b in blocks]
        )

    found = scores(member)
    null = []
    for permuted in Permuted(draws, SEED).members(member):
        began = time.process_time()
        chance = scores(permuted)
        seconds = time.process_time() - began
        null.append(operating_points(chance, permuted, ()).auc)
    points = operating_points(found, member, FPRS)
    out: dict[str, Any] = {
        "auc": plain(over_targets(points.auc, member)),
        "null_auc": plain(over_targets(np.mean(null, axis=0), member)),
        "seconds": float(f"{seconds:.3g}"),
    }
    for k, fpr in enumerate(FPRS):
        out[f"tpr at {fpr:g}"] = plain(over_targets(points.tpr[:, k], member))
        out[f"calibrated at {fpr:g}"] = _calibrated(found, member, fpr)
    out["pairs"] = {
        "auc": _by_pair(points.auc, member),
        "tpr at 0.01": _by_pair(points.tpr[:, 0], member),
    }
    return out


def _calibrated(scores: Float64Array, member: BoolArray, fpr: float) -> dict[str, Any] | None:
    """Both rates at the threshold that so many of other targets' non-members pass.

    None where the other targets have too few non-members.
    """
    try:
        said = GlobalFPR(fpr).decide(scores, member)
    except InputError:
        return None
    rates = {
        "tpr": (said & member).sum(axis=1) / member.sum(axis=1),
        "fpr": (said & ~member).sum(axis=1) / (~member).sum(axis=1),
    }
    return {name: plain(over_targets(values, member)) for name, values in rates.items()}


def _by_pair(values: Float64Array, member: BoolArray) -> list[float | None]:
    """Means over the targets of each tuple, four significant digits."""
    number = partitions(member)
    means = np.bincount(number, weights=values) / np.bincount(number)
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in means]


def plain(e: Estimate) -> dict[str, float | None]:
    """An estimate as JSON has it: six significant digits, None for what does not exist."""
    given = {"value": e.mean, "low": e.low, "high": e.high}
    return {k: float(f"{v:.6g}") if np.isfinite(v) else None for k, v in given.items()}
