"""The numbers of a comparison of defences that are not stored: changes, fronts, classes, regions.

A difference between two fleets counts as *better* or *worse* where its 95 % interval over the pairs
of runs that both have excludes zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.array_types import BoolArray
from seepage.comparison.evaluate import UNBOUNDED, over_pairs
from seepage.comparison.results import UNDEFENDED, PoolResults, Row, figure_key
from seepage.comparison.verdicts import front
from seepage.metrics import Estimate

__all__ = [
    "BesidePrivate",
    "Carried",
    "Change",
    "Part",
    "RegionLine",
    "Shorter",
    "auc_key",
    "beside_private",
    "canary_key",
    "carried",
    "change",
    "everywhere",
    "figure_lines",
    "on_front",
    "parts",
    "region_lines",
    "retrained",
    "shorter",
    "tpr_key",
    "worst_classes",
]

# Standard deviation of accuracy over pairs of runs above which training is called unstable.
UNSTABLE = 0.05


def auc_key(p: PoolResults, attack: str | None = None, kind: str = "adaptive") -> str:
    """Name of an attack's AUC over the pool among a row's values; the main attack by default."""
    return figure_key(attack or p.main, "pool", "auc", kind)


def tpr_key(p: PoolResults) -> str:
    """Name of the main attack's TPR over the pool at the lowest FPR."""
    return figure_key(p.main, "pool", f"tpr@{p.fprs[-1]:g}")


def canary_key(p: PoolResults, figure: str | None = None) -> str:
    """Name of the main attack's figure over the canaries: by default TPR at the lowest FPR."""
    return figure_key(p.main, "canaries", figure or f"tpr@{p.fprs[-1]:g}")


def figure_lines(pools: Sequence[PoolResults]) -> Iterator[dict[str, Any]]:
    """Every figure of every defence on every pool, with its change against undefended."""
    for p in pools:
        for row in p.rows:
            for metric in sorted(row.values):
                e, d = row.estimate(metric), row.against(p.undefended, metric)
                yield {
                    "pool": p.pool, "defence": row.label, "metric": metric,
                    "mean": e.mean, "low": e.low, "high": e.high, "pairs": e.groups,
                    "realised_fpr": row.realised.get(metric), "null": row.null.get(metric),
                    "change": d.mean, "change_low": d.low, "change_high": d.high,
                }  # fmt: skip


def on_front(
    p: PoolResults, metric: str, keep: Callable[[Row], bool] = lambda _: True
) -> BoolArray:
    """Which of the rows that `keep` selects lie on the Pareto front of accuracy and `metric`.

    It compares means; rows whose intervals overlap a neighbour's may belong to it as well.
    """
    rows = [r for r in p.rows if keep(r)]
    return front(
        [r.estimate("accuracy_out").mean for r in rows], [r.estimate(metric).mean for r in rows]
    )


def worst_classes(p: PoolResults, row: Row) -> dict[str, Any]:
    """The class that loses most accuracy against undefended, and the one with the largest AUC."""
    names = row.setting["data"]["classes"]
    lost = [_class_change(row, p.undefended, k) for k in range(len(names))]
    risk = [_of_class(row, "auc", k) for k in range(len(names))]
    means = [e.mean for e in risk]
    out: dict[str, Any] = {"lost": None, "risk": None}
    if row is not p.undefended and np.isfinite(lost).any():
        k = int(np.nanargmin(lost))
        out["lost"] = (names[k], lost[k])
    if np.isfinite(means).any():
        k = int(np.nanargmax(means))
        out["risk"] = (names[k], risk[k])
    return out


def _of_class(row: Row, name: str, k: int) -> Estimate:
    """One class's figure with its interval over pairs."""
    held = [v[k] for v in row.classes.get(name, {}).values()]
    if not held or any(v is None for v in held):
        return Estimate(*(float("nan"),) * 3, 0.95, 0)
    return over_pairs([float(v) for v in held if v is not None], shared=name == "auc")


def _class_change(row: Row, plain: Row, k: int) -> float:
    """Accuracy of class k against undefended, over the pairs of runs that both have."""
    a, b = (r.classes.get("accuracy_out", {}) for r in (row, plain))
    both = [(a[key][k], b[key][k]) for key in a if key in b]
    gaps = [x - y for x, y in both if x is not None and y is not None]
    return float(np.mean(gaps)) if gaps else float("nan")


@dataclass(frozen=True)
class RegionLine:
    """One region of a network: by each way of locating, (utility carried, risk carried, D).

    layers: the indicator of the layers, None without it; chosen: whether the defence protects it.
    """

    name: str
    parameters: int
    carried: tuple[tuple[Estimate, Estimate, float], ...]
    layers: float | None
    chosen: bool


def region_lines(found: Mapping[str, Any]) -> list[RegionLine]:
    """What each region carries, with intervals over models; found: one of `PoolResults.regions`."""
    return [
        RegionLine(
            name=name,
            parameters=found["parameters"][k],
            carried=tuple(
                (
                    over_pairs([row[k] for row in t["utility"]], bounds=UNBOUNDED),
                    over_pairs([row[k] for row in t["privacy"]], bounds=UNBOUNDED),
                    t["chosen_by"][k],
                )
                for t in found["tables"].values()
            ),
            layers=None if found["layers"] is None else found["layers"][k],
            chosen=name in found["chosen"],
        )
        for k, name in enumerate(found["regions"])
    ]


@dataclass(frozen=True)
class Change:
    """Paired differences of one fleet minus another: accuracy of non-members, main attack's AUC."""

    accuracy: Estimate
    auc: Estimate

    @property
    def better(self) -> tuple[str, ...]:
        """In which of the two the first fleet is better."""
        found = (("accuracy", self.accuracy.low > 0), ("AUC", self.auc.high < 0))
        return tuple(name for name, on in found if on)

    @property
    def worse(self) -> tuple[str, ...]:
        """In which of the two the first fleet is worse."""
        found = (("accuracy", self.accuracy.high < 0), ("AUC", self.auc.low > 0))
        return tuple(name for name, on in found if on)


def change(p: PoolResults, a: Row, b: Row) -> Change:
    """How `a` differs from `b`."""
    return Change(a.against(b, "accuracy_out"), a.against(b, auc_key(p)))


def retrained(p: PoolResults) -> list[tuple[Row, Row, Change]]:
    """Fleets that were trained again on another machine, their first training, the difference."""
    here = {r.label: r for r in p.rows}
    pairs = [(row, here[row.label]) for row in p.elsewhere if row.label in here]
    return [(row, first, change(p, row, first)) for row, first in pairs]


@dataclass(frozen=True)
class BesidePrivate:
    """All other rows compared with the DP-SGD of highest accuracy (`reference`).

    better: better in accuracy or AUC, worse in neither; worse: the reverse; mixed: better in one,
    worse in the other; equal: not distinguishable.
    """

    reference: Row
    better: tuple[Row, ...]
    mixed: tuple[Row, ...]
    equal: tuple[Row, ...]
    worse: tuple[Row, ...]


def beside_private(p: PoolResults) -> BesidePrivate | None:
    """Every row compared with the DP-SGD of highest accuracy; None without DP-SGD."""
    private = [r for r in p.rows if r.defense["name"] == "dp-sgd"]
    if not private:
        return None
    reference = max(private, key=lambda r: r.estimate("accuracy_out").mean)
    found: dict[tuple[bool, bool], list[Row]] = {}
    for row in p.rows:
        if row not in private:
            c = change(p, row, reference)
            found.setdefault((bool(c.better), bool(c.worse)), []).append(row)
    order = ((True, False), (True, True), (False, False), (False, True))
    return BesidePrivate(reference, *(tuple(found.get(key, ())) for key in order))


@dataclass(frozen=True)
class Carried:
    """Where utility and risk lie by one way of locating: the regions of either peak.

    shares: of the risk that lies in single regions, and of the utility, that the protected regions
    carry; None where none is protected. separation: rank correlation of the two profiles, or None.
    """

    way: str
    utility_peak: str
    risk_peak: str
    shares: tuple[float, float] | None
    separation: float | None


def carried(found: Mapping[str, Any]) -> list[Carried]:
    """Of one of `PoolResults.regions`; a region whose exchange raises the risk carries none."""
    out = []
    names = found["regions"]
    for way, t in found["tables"].items():
        utility = np.abs(np.array(t["utility"])).mean(axis=0)
        risk = np.maximum(0.0, -np.mean(t["privacy"], axis=0))
        at = [names.index(r) for r in found["chosen"] if r in names]
        some = bool(at) and risk.sum() > 0 and utility.sum() > 0
        shares = (
            (float(risk[at].sum() / risk.sum()), float(utility[at].sum() / utility.sum()))
            if some
            else None
        )
        peaks = names[int(utility.argmax())], names[int(risk.argmax())]
        out.append(Carried(way, *peaks, shares, t["separation"]))
    return out


def everywhere(p: PoolResults) -> list[tuple[Row, Change]]:
    """Each base of PPTP applied to the whole network, against undefended."""
    rows = {r.label: r for r in p.rows}
    labels = dict.fromkeys(r["label"] for r in p.roles if r["kind"] == "everywhere")
    found = [rows[label] for label in labels if label in rows]
    return [(row, change(p, row, p.undefended)) for row in found]


@dataclass(frozen=True)
class Part:
    """A base applied to part of the network: everywhere, regions, complement or random regions.

    on_front: no other part of the same base and variant is better in accuracy and AUC. unstable:
    accuracy spreads over pairs of runs by a standard deviation above `UNSTABLE`.
    """

    kind: str
    accuracy: float
    auc: float
    on_front: bool
    unstable: bool


def parts(p: PoolResults) -> list[tuple[str, str, list[Part]]]:
    """(base, variant, parts) of every base and variant of PPTP that was compared with others."""
    rows = {r.label: r for r in p.rows}
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for role in p.roles:
        if role["label"] in rows:
            found = groups.setdefault((role["base"], role["variant"]), {})
            found[role["kind"]] = rows[role["label"]]
    out = []
    for (base, variant), held in groups.items():
        if "regions" not in held or len(held) < 2:
            continue
        accuracy = [r.estimate("accuracy_out").mean for r in held.values()]
        auc = [r.estimate(auc_key(p)).mean for r in held.values()]
        best = front(accuracy, auc)
        each = [
            Part(kind, accuracy[k], auc[k], bool(best[k]), _spread(row) > UNSTABLE)
            for k, (kind, row) in enumerate(held.items())
        ]
        out.append((base, variant, each))
    return out


def _spread(row: Row) -> float:
    return float(np.std(list(row.values["accuracy_out"].values()), ddof=1))


@dataclass(frozen=True)
class Shorter:
    """A fleet that differs from another in its number of epochs alone.

    same: another row with the very same figures, None without one. against: parts of PPTP for which
    the shorter training is the natural control, with their role and their change against it.
    """

    short: Row
    long: Row
    change: Change
    same: Row | None
    against: tuple[tuple[Row, Mapping[str, str], Change], ...]


def shorter(p: PoolResults) -> list[Shorter]:
    """Every fleet of fewer epochs whose defence was trained in full as well."""
    rows = {r.label: r for r in p.rows}
    whole = p.undefended.setting["epochs"]
    out = []
    for short in p.rows:
        if short.setting["epochs"] >= whole:
            continue
        full = (r for r in p.rows if r.defense == short.defense and r.setting["epochs"] == whole)
        long = next(full, None)
        if long is None:
            continue
        equal = (r for r in p.rows if r is not short and _equal(r, short))
        held = [(rows[role["label"]], role) for role in p.roles if role["label"] in rows]
        against = tuple(
            (row, role, change(p, row, short))
            for row, role in held
            if _comparable(role, short, long, whole)
        )
        out.append(Shorter(short, long, change(p, short, long), next(equal, None), against))
    return out


def _equal(a: Row, b: Row) -> bool:
    """Whether two fleets trained to the very same networks, as far as figures show."""
    return a.values["accuracy_out"] == b.values["accuracy_out"]


def _comparable(role: Mapping[str, str], short: Row, long: Row, whole: int) -> bool:
    """Whether this part of PPTP trains no longer than the shorter fleet, so that it must do better."""
    if (role["variant"], role["kind"]) == ("two-phase", "complement"):
        return role["base"] == long.label
    plain = long.label == UNDEFENDED and 2 * short.setting["epochs"] == whole
    return (role["variant"], role["kind"]) == ("alternating", "regions") and plain
