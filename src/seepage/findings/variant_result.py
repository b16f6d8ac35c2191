"""What is known of a run as released: every variant, and the worst; kept as JSON and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seepage.findings.at_fpr import AtFpr
from seepage.metrics import Estimate, Strongest, strongest
from seepage.store.files import plain

__all__ = ["VariantFinding", "Variants", "read_variants"]


@dataclass(frozen=True)
class VariantFinding:
    """One variant, at the last checkpoint.

    members, others: accuracy, mean over models (of the fixed target) on its members and on others. attacks: name ->
    (AUC with a 95 % interval, the same at the level that choosing among this variant's attacks
    needs, and among those of all judged variants). rates: TPR at 1 % and 0.1 % FPR of the attack
    with the largest AUC, one threshold for all targets. null_auc: its AUC under permuted membership.
    skipped: attack -> why it was not run. judged: whether the verdict on the release counts it.
    """

    name: str
    members: float
    others: float
    attacks: Mapping[str, tuple[Estimate, Estimate, Estimate]]
    rates: tuple[AtFpr, ...]
    null_auc: float
    skipped: Mapping[str, str]
    judged: bool

    @property
    def strongest(self) -> Strongest:
        """The largest AUC of its attacks, with an interval that pays for that choice."""
        return strongest({name: (e, wide) for name, (e, wide, _) in self.attacks.items()})

    @property
    def said(self) -> str:
        """ "leaks", "not shown", or "no interval" of too few runs."""
        low = self.strongest.estimate.low
        if not np.isfinite(low):
            return "no interval"
        return "leaks" if low > 0.5 else "not shown"


@dataclass(frozen=True)
class Variants:
    """A run as released: `found`, the model as trained first, for comparison unless it is judged.

    path: of the run; unit: "samples" or "subjects"; target: whether one fixed target is judged;
    left_out: samples that no figure is about, in words.
    """

    path: str
    unit: str
    target: bool
    found: tuple[VariantFinding, ...]
    left_out: str = ""

    @property
    def worst(self) -> tuple[VariantFinding, Strongest]:
        """The judged variant with the largest AUC of any attack, and an interval that pays for
        choosing among all attacks on all judged variants."""
        at = {
            (v.name, a): (e, widest)
            for v in self.found
            if v.judged
            for a, (e, _, widest) in v.attacks.items()
        }
        keys = {f"{a} on {v}": (v, a) for v, a in at}
        best = strongest({k: at[pair] for k, pair in keys.items()})
        name, attack = keys[best.attack]
        one = next(v for v in self.found if v.name == name)
        return one, replace(best, attack=attack)

    @property
    def skipped(self) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        """Why attacks did not run: (reason, attacks, variants) for each reason."""
        where: dict[tuple[str, str], list[str]] = {}
        for v in self.found:
            for attack, why in v.skipped.items():
                where.setdefault((why, attack), []).append(v.name)
        lines: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for (why, attack), on in where.items():
            lines.setdefault((why, tuple(on)), []).append(attack)
        return [(why, tuple(attacks), on) for (why, on), attacks in lines.items()]

    @property
    def said(self) -> str:
        """The verdict on the release, that of the worst: "leaks", "not shown" or "no interval"."""
        low = self.worst[1].estimate.low
        if not np.isfinite(low):
            return "no interval"
        return "leaks" if low > 0.5 else "not shown"

    def summary(self) -> dict[str, Any]:
        """JSON values; `read_variants` reads them."""
        worst, figure = self.worst
        return {
            "unit": self.unit,
            "target": self.target,
            "left_out": self.left_out,
            "variants": [
                {**{k: plain(getattr(v, k)) for k in _FIELDS}, "verdict": v.said}
                for v in self.found
            ],
            "worst": {"variant": worst.name, **plain(figure)},
            "verdict": self.said,
        }


_FIELDS = ("name", "members", "others", "attacks", "rates", "null_auc", "skipped", "judged")


def read_variants(path: str, told: Mapping[str, Any]) -> Variants:
    """What `Variants.summary` wrote."""
    found = tuple(
        VariantFinding(
            name=str(v["name"]),
            members=_number(v["members"]),
            others=_number(v["others"]),
            attacks={a: tuple(_estimate(e) for e in each) for a, each in v["attacks"].items()},  # type: ignore[misc]
            rates=tuple(_rate(r) for r in v["rates"]),
            null_auc=_number(v["null_auc"]),
            skipped=dict(v["skipped"]),
            judged=bool(v["judged"]),
        )
        for v in told["variants"]
    )
    return Variants(path, str(told["unit"]), bool(told["target"]), found, str(told["left_out"]))


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _estimate(told: Mapping[str, Any]) -> Estimate:
    mean, low, high = (_number(told[k]) for k in ("mean", "low", "high"))
    return Estimate(mean, low, high, float(told["level"]), int(told["groups"]))


def _rate(told: Mapping[str, Any]) -> AtFpr:
    numbers = {k: _number(told[k]) for k in ("fpr", "realised", "null", "realised_low", "realised_high")}  # fmt: skip
    return AtFpr(
        tpr=_estimate(told["tpr"]),
        resolved=bool(told["resolved"]),
        negatives=int(told["negatives"]),
        least=int(told["least"]),
        **numbers,
    )
