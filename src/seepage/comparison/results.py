"""What a comparison of defences found: stored results joined over seeds, ranked and tested."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seepage.array_types import Float64Array
from seepage.comparison.evaluate import UNBOUNDED, over_pairs
from seepage.comparison.spent import joint_spending
from seepage.comparison.verdicts import (
    Plane,
    d1_peaks_apart,
    d2_keeps_utility,
    d3_beats_controls,
    d4_several_bases,
    d5_stable,
    front,
)
from seepage.epsilon.one_run import ceiling_of_runs, joint_epsilon
from seepage.errors import InputError
from seepage.metrics import Estimate
from seepage.metrics.verdict import Verdict
from seepage.short_repr import short_repr
from seepage.store.result_files import read_result

__all__ = [
    "UNDEFENDED",
    "Judged",
    "PoolResults",
    "Row",
    "figure_key",
    "rank_rows",
    "read_pool",
    "read_rows",
]

UNDEFENDED = "none"


@short_repr
@dataclass(frozen=True, eq=False)
class Row:
    """One defence on one pool, its seeds joined: metric -> {(seed, pair): value}.

    realised, null: of every TPR, the FPR that its threshold gave and what it reads without leakage.
    non_members: "pool" and "canaries" -> non-members pooled over the targets of a fleet. before:
    whether it was stored by version 0.1, whose thresholds let ⌊α n⌋ of n non-members pass.
    """

    label: str
    defense: dict[str, Any]
    reconstruction: bool
    seeds: tuple[int, ...]
    values: dict[str, dict[tuple[int, int], float]]
    realised: dict[str, float]
    classes: dict[str, dict[tuple[int, int], list[float | None]]]
    paths: dict[str, Float64Array]
    facts: dict[str, Any]
    setting: dict[str, Any] = field(default_factory=dict)
    null: dict[str, float] = field(default_factory=dict)
    non_members: dict[str, int] = field(default_factory=dict)
    before: bool = False

    def has(self, metric: str) -> bool:
        """Whether it was measured."""
        return bool(self.values.get(metric))

    def estimate(self, metric: str) -> Estimate:
        """Mean and interval over pairs of all seeds; NaN where it was not measured."""
        held = self.values.get(metric)
        if not held:
            return Estimate(*(float("nan"),) * 3, 0.95, 0)
        top = np.inf if metric in ("cost", "passes") else 1.0
        return over_pairs(list(held.values()), shared="/" in metric, bounds=(0.0, top))

    def against(self, other: Row, metric: str) -> Estimate:
        """Paired difference self − other over the pairs both have."""
        a, b = self.values.get(metric, {}), other.values.get(metric, {})
        both = sorted(set(a) & set(b))
        if not both:
            return Estimate(*(float("nan"),) * 3, 0.95, 0)
        gaps = [a[k] - b[k] for k in both]
        return over_pairs(gaps, shared="/" in metric, bounds=UNBOUNDED)


def figure_key(main: str, where: str, figure: str, kind: str = "adaptive") -> str:
    return f"{main}/{kind}/{where}/{figure}"


def read_rows(results: Path, *, seed: int | None = None, canaries: int = 0) -> list[Row]:
    """Rows of one pool's results, undefended first; fleets that failed are left out.

    canaries: how many were planted, for results that do not say it.
    """
    grouped: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(results.glob("*-s*.json")):
        content = read_result(path)
        if "values" in content and (seed is None or content["seed"] == seed):
            grouped.setdefault(content["label"], []).append(content)
    rows = [_join(sorted(v, key=lambda c: int(c["seed"])), canaries) for v in grouped.values()]
    return sorted(rows, key=lambda r: (r.label != UNDEFENDED, r.label))


def _join(each: list[dict[str, Any]], canaries: int) -> Row:
    values: dict[str, dict[tuple[int, int], float]] = {}
    classes: dict[str, dict[tuple[int, int], list[float | None]]] = {}
    for c in each:
        pairs = c["facts"]["pairs"]
        for metric, found in c["values"].items():
            # Robustness is measured on some kept networks only; all else on every pair.
            keys = pairs if len(found) == len(pairs) else range(len(found))
            held = values.setdefault(metric, {})
            held |= {(c["seed"], int(k)): float(v) for k, v in zip(keys, found, strict=True)}
        for name, found in c["by_class"].items():
            mine = classes.setdefault(name, {})
            mine |= {(c["seed"], int(k)): v for k, v in zip(pairs, found, strict=True)}
    told = [c["facts"] for c in each]
    facts = {
        "models": sum(f["models"] for f in told),
        "failed": sum(f["failed"] for f in told),
        "regions": sorted({tuple(r) for f in told for r in f.get("regions", [])}),
        "machines": {int(c["seed"]): machine_of(c["hardware"]) for c in each},
    }
    if all("epsilon_low" in f for f in told):
        facts["epsilon_low"] = joint_epsilon([e for f in told for e in f["epsilon_low"]])
        samples = int(told[0].get("epsilon_samples", canaries))
        facts["epsilon_ceiling"] = (
            ceiling_of_runs(facts["epsilon_low"], samples) if samples else None
        )
    facts |= joint_spending(told)
    first = each[0]
    non_members = first.get("non_members") or _pooled(first, canaries)
    return Row(
        label=first["label"],
        defense=first["defense"],
        reconstruction=bool(first["reconstruction"]),
        seeds=tuple(int(c["seed"]) for c in each),
        values=values,
        realised=_means([c["realised"] for c in each]),
        null=_means([c.get("null") or _null_before(c, _pooled(c, canaries)) for c in each]),
        non_members=non_members,
        before=any("null" not in c for c in each),
        classes=classes,
        paths={
            k: np.mean([c["paths"][k] for c in each], axis=0)
            for k in first["paths"]
            if all(k in c["paths"] for c in each)
        },
        facts=facts,
        setting={k: first[k] for k in ("pool", "data", "model", "epochs", "hardware")},
    )


def _means(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every figure over the seeds that have it."""
    return {k: float(np.mean([c[k] for c in each if k in c])) for k in {k for c in each for k in c}}


def _pooled(content: Mapping[str, Any], canaries: int) -> dict[str, int]:
    """Non-members over all targets of a fleet, half of the samples of each; for older results."""
    models, samples = content["facts"]["models"], content["data"]["samples"]
    return {"pool": models * (samples // 2), "canaries": models * (canaries // 2)}


def _null_before(content: Mapping[str, Any], pooled: Mapping[str, int]) -> dict[str, float]:
    """What noise read by the threshold of version 0.1: (⌊α n⌋ + 1)/(n + 1) of n non-members."""
    found = {}
    for key in content["realised"]:
        where, figure = key.split("/")[-2:]
        n = pooled.get(where, 0)
        if n:
            found[key] = (np.floor(float(figure.removeprefix("tpr@")) * n + 1e-9) + 1) / (n + 1)
    return found


def machine_of(hardware: Mapping[str, Any]) -> str:
    """What a fleet was trained on, in words.

    >>> machine_of({"gpu": None, "cores": 2}), machine_of({"gpu": "NVIDIA H200", "cores": 16})
    ('2 processor cores', 'NVIDIA H200')
    """
    gpu = hardware.get("gpu")
    return str(gpu) if gpu else f"{hardware.get('cores')} processor cores"


def rank_rows(
    rows: Sequence[Row], main: str = "lira", *, controls: Container[str] = (), lost: float = 0.05
) -> list[Row]:
    """Best first: by Pareto layer in (accuracy of non-members, AUC), then by AUC.

    What loses more than `lost` of the undefended accuracy comes after all others: a network that
    learnt nothing leaks nothing and is always on the front. Neither the undefended fleet nor
    `controls` (labels of what PPTP is compared with only) are ranked.
    """
    plain = next((r for r in rows if r.label == UNDEFENDED), None)
    least = -np.inf if plain is None else plain.estimate("accuracy_out").mean - lost
    asked = [r for r in rows if r.label != UNDEFENDED and r.label not in controls]
    useful = [r.estimate("accuracy_out").mean >= least for r in asked]
    ranked: list[Row] = []
    for wanted in (True, False):
        left = [r for r, u in zip(asked, useful, strict=True) if bool(u) is wanted]
        while left:
            risk = [r.estimate(figure_key(main, "pool", "auc")).mean for r in left]
            on = front([r.estimate("accuracy_out").mean for r in left], risk)
            ranked += [left[i] for i in np.argsort(risk, kind="stable") if on[i]]
            left = [r for i, r in enumerate(left) if not on[i]]
    return ranked


def controls_of(roles: Sequence[Mapping[str, str]]) -> set[str]:
    """Labels of the fleets that serve as controls alone: complements and random regions."""
    return {r["label"] for r in roles if r["kind"] in ("complement", "random")}


@dataclass(frozen=True)
class Judged:
    """Verdicts of one base and variant of PPTP."""

    base: str
    variant: str
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, eq=False)
class PoolResults:
    """Everything the page says about one pool. main: the attack that ranks defences."""

    pool: str
    main: str
    fprs: tuple[float, ...]
    rows: list[Row]
    failed: list[dict[str, Any]]
    regions: list[dict[str, Any]]
    judged: list[Judged]
    roles: list[dict[str, str]] = field(default_factory=list)
    elsewhere: list[Row] = field(default_factory=list)
    """The same fleets trained on another machine, to see whether that makes a difference."""

    @property
    def undefended(self) -> Row:
        """The row that others are compared with."""
        return self.rows[0]


def read_pool(results: Path, main: str, fprs: Sequence[float], *, canaries: int = 0) -> PoolResults:
    """Results of one pool and what they say about D1 to D5.

    canaries: as of `read_rows`. Results under `elsewhere/` are of fleets that were trained again on another machine. Raises
    InputError when the undefended fleet was not evaluated.
    """
    rows = read_rows(results, canaries=canaries)
    if not rows or rows[0].label != UNDEFENDED:
        raise InputError(
            f"{results}: expected results of the undefended fleet, found none; "
            "run the same command without --only"
        )
    failed = [c for p in sorted(results.glob("*-s*.json")) if "failed" in (c := read_result(p))]
    located = [read_result(p) for p in sorted(results.glob("regions-*.json"))]
    at = results / "roles.json"
    roles = read_result(at)["roles"] if at.exists() else []
    judged = _judge(rows, roles, located, main)
    return PoolResults(
        pool=results.name,
        main=main,
        fprs=tuple(fprs),
        rows=rows,
        failed=failed,
        regions=located,
        judged=judged + _fourth(judged),
        roles=roles,
        elsewhere=read_rows(results / "elsewhere", canaries=canaries),
    )


def _fourth(judged: Sequence[Judged]) -> list[Judged]:
    """D4 of every variant, over the bases it was tried with."""
    variants: dict[str, dict[str, list[Verdict]]] = {}
    for j in judged:
        two = [v for v in j.verdicts if v.claim in ("D2", "D3")]
        if not two:
            continue
        variants.setdefault(j.variant, {})[j.base] = two
    return [Judged("all", name, (d4_several_bases(e),)) for name, e in variants.items()]


def _judge(
    rows: Sequence[Row],
    roles: Sequence[Mapping[str, str]],
    located: Sequence[Mapping[str, Any]],
    main: str,
) -> list[Judged]:
    by_label = {r.label: r for r in rows}
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for role in roles:
        if role["label"] in by_label:
            group = groups.setdefault((role["base"], role["variant"]), {})
            group[role["kind"]] = by_label[role["label"]]
    out = []
    for base in dict.fromkeys(f["base"] for f in located):
        tables = [f for f in located if f["base"] == base]
        utility, privacy, score = (
            np.concatenate([np.array(f["tables"]["swap"][k]) for f in tables])
            for k in ("utility", "privacy", "score")
        )
        apart = d1_peaks_apart(utility, privacy, tables[0]["regions"])
        out.append(Judged(base, "all", (apart, d5_stable(score))))
    for (base, variant), parts in groups.items():
        found: list[Verdict] = []
        if "regions" in parts and "everywhere" in parts:
            a, b = _planes(parts["regions"], parts["everywhere"], main)
            found.append(d2_keeps_utility(a, b))
        others: dict[str, Row] = {k: parts[k] for k in ("complement", "random") if k in parts}
        if "regions" in parts and others:
            found.append(_third(parts["regions"], others, main))
        out.append(Judged(base, variant, tuple(sorted(found, key=lambda v: v.claim))))
    return out


def _third(regions: Row, others: Mapping[str, Row], main: str) -> Verdict:
    every = [regions, *others.values()]
    at = sorted(set.intersection(*(set(r.values["accuracy_out"]) for r in every)))
    if len(at) < 2:
        return Verdict("D3", "undecided", why="fewer than two pairs of runs in common")
    return d3_beats_controls(
        _plane(regions, at, main), {k: _plane(r, at, main) for k, r in others.items()}
    )


def _planes(a: Row, b: Row, main: str) -> tuple[Plane, Plane]:
    at = sorted(set(a.values["accuracy_out"]) & set(b.values["accuracy_out"]))
    return _plane(a, at, main), _plane(b, at, main)


def _plane(row: Row, at: Sequence[tuple[int, int]], main: str) -> Plane:
    auc = row.values[figure_key(main, "pool", "auc")]
    return Plane([row.values["accuracy_out"][k] for k in at], [auc[k] for k in at])
