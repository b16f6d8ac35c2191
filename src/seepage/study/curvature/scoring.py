"""The attacks of the study's tables, true-label LiRA and the released forms among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage import attacks
from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.attacks import Attack
from seepage.attacks.curvature import AsPublished
from seepage.metrics import operating_points, over_targets, roc
from seepage.metrics.intervals import reach
from seepage.plan import tuples

__all__ = ["ATTACKS", "Entry", "difference", "equal_error", "paired", "placed", "rows_of"]

FPRS = (0.01, 0.001)


@dataclass(frozen=True)
class Entry:
    """A row of the table: an attack, the measured signals that it reads, the views it looks at.

    signals: attack's name of a signal -> measured name. log: the measured signal is what the
    attack calls log curvature (the released rule is the same for curvature and confidence).
    """

    title: str
    attack: Attack
    signals: Mapping[str, str]
    single: bool = False
    log: bool = False

    def given(self, measured: Mapping[str, Float64Array]) -> dict[str, Float64Array]:
        """The signals under the attack's own names."""
        out = {}
        for own, name in self.signals.items():
            values = measured[name][..., :1] if self.single else measured[name]
            # e^700 is the largest that float64 holds; no float32 logits come near it.
            out[own] = np.exp(np.minimum(values, 700.0)) if self.log else values
        return out


def _curved(title: str, attack: Attack, name: str = "curvature_zo") -> Entry:
    return Entry(title, attack, {"curvature_zo": name})


_NLL, _LR = attacks.CurvatureNLL, attacks.CurvatureLR
_PUBLISHED = AsPublished()

ATTACKS: dict[str, Entry] = {
    "nll-published": _curved("Curv NLL, as published", _NLL(form=_PUBLISHED)),
    "nll": _curved("Curv NLL, corrected", _NLL()),
    "lr-published": _curved("Curv LR, as published", _LR(form=_PUBLISHED)),
    "lr": _curved("Curv LR, corrected", _LR()),
    "nll-published-32": _curved(
        "Curv NLL, as published, float32", _NLL(form=_PUBLISHED), "curvature_zo32"
    ),
    "lr-published-32": _curved(
        "Curv LR, as published, float32", _LR(form=_PUBLISHED), "curvature_zo32"
    ),
    "nll-exact": _curved("Curv NLL on the exact norm", _NLL(), "curvature_frobenius"),
    "lr-exact": _curved("Curv LR on the exact norm", _LR(), "curvature_frobenius"),
    "threshold": _curved("Curvature, threshold", attacks.CurvatureThreshold()),
    "mast": _curved("Curvature, MAST", attacks.CurvatureMAST()),
    "curv-attack-r": _curved("Curvature, Attack-R", attacks.CurvatureAttackR()),
    "curv-calibrated": _curved("Curvature, calibrated", attacks.CurvatureCalibrated()),
    "joint": Entry(
        "Curvature with confidence",
        attacks.CurvatureAndConfidence(),
        {"phi": "phi", "curvature_zo": "curvature_zo"},
    ),
    "joint-exact": Entry(
        "Exact norm with confidence",
        attacks.CurvatureAndConfidence(),
        {"phi": "phi", "curvature_zo": "curvature_frobenius"},
    ),
    "lira": Entry("LiRA, true label", attacks.LiRA(), {"phi": "phi"}),
    "lira-max": Entry("LiRA, largest probability", attacks.LiRA(), {"phi": "phi_max"}),
    "lira-released": Entry(
        "LiRA as released (largest probability, variance for deviation)",
        _LR(form=_PUBLISHED),
        {"curvature_zo": "phi_max"},
        log=True,
    ),
    "attack-r": Entry("Attack-R (Ye et al.)", attacks.AttackR(), {"loss": "loss"}, single=True),
    "loss-mast": Entry(
        "MAST (Sablayrolles et al.)",
        attacks.CurvatureMAST(),
        {"curvature_zo": "loss"},
        single=True,
        log=True,
    ),
    "calibrated": Entry(
        "Difficulty calibration (Watson et al.)",
        attacks.Calibrated(),
        {"loss": "loss"},
        single=True,
    ),
    "loss": Entry("LOSS (Yeom et al.)", attacks.LOSS(), {"loss": "loss"}, single=True),
    "mentr": Entry(
        "Modified entropy (Song et al.)", attacks.ModifiedEntropy(), {"mentr": "mentr"}, single=True
    ),
}
"""Every attack of the study, by its key."""


def equal_error(scores: Float64Array, member: BoolArray) -> float:
    """Balanced accuracy where FPR + TPR is closest to 1, as the released code reports it.

    >>> equal_error(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True]))
    0.5
    """
    r = roc(scores, member)
    at = int(np.abs(r.fpr + r.tpr - 1).argmin())
    return float(0.5 * (1 + r.tpr[at] - r.fpr[at]))


def rows_of(
    measured: Mapping[str, Float64Array], member: BoolArray, keys: list[str]
) -> dict[str, Any]:
    """Every attack on every model as the target, its tuple left out: what a table is made of."""
    out: dict[str, Any] = {}
    for key in keys:
        entry = ATTACKS[key]
        scores = entry.attack.leave_one_out(entry.given(measured), member)
        points = operating_points(scores, member, FPRS)
        balanced = np.array([equal_error(s, m) for s, m in zip(scores, member, strict=True)])
        e = over_targets(points.auc, member)
        out[key] = {
            "auc": _rounded(points.auc),
            "balanced": _rounded(balanced),
            "tpr at 0.01": _rounded(points.tpr[:, 0]),
            "tpr at 0.001": _rounded(points.tpr[:, 1]),
            "mean": e.mean,
            "low": e.low,
            "high": e.high,
        }
    return out


def placed(
    target: Mapping[str, Float64Array],
    references: Mapping[str, Float64Array],
    member_of: BoolArray,
    keys: list[str],
) -> dict[str, Float64Array]:
    """Scores of one target that is none of the references: (n, A), (R, n, A), (R, n) -> (n,)."""
    return {
        key: np.asarray(
            ATTACKS[key].attack.score(
                ATTACKS[key].given(target), ATTACKS[key].given(references), member_of
            ),
            dtype=np.float64,
        )
        for key in keys
    }


def difference(a: Float64Array, b: Float64Array, member: BoolArray) -> tuple[float, float]:
    """AUC of a − AUC of b on the same samples of one target, and its standard error.

    DeLong's: the variance of each sample's difference of placements, members and non-members
    apart. Samples are taken as independent; the shadows behind both scores as given.

    >>> difference(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, 4]),
    ...            np.array([False, True, False, True]))
    (0.0, 0.0)
    """
    inside = _placements(a[member], a[~member]) - _placements(b[member], b[~member])
    outside = _placements(-a[~member], -a[member]) - _placements(-b[~member], -b[member])
    variance = inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside)
    return float(inside.mean()), float(np.sqrt(variance))


def _placements(own: Float64Array, others: Float64Array) -> Float64Array:
    """Share of `others` that each value beats, ties half."""
    ranked = np.sort(others)
    below = np.searchsorted(ranked, own, "left") + np.searchsorted(ranked, own, "right")
    return np.asarray(below / (2 * len(ranked)))


def paired(
    a: Float64Array, b: Float64Array, twin: Int64Array, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean of a − b over targets, and its interval over pairs of runs.

    As wide as that of `over_targets`, because targets are each other's references. twin: the
    complementary run of each. level: 0.95, or nearer 1 where several are judged together. Without
    an interval, below three pairs, its limits are infinite.

    >>> twin = np.array([1, 0, 3, 2, 5, 4])
    >>> a = np.array([0.6, 0.6, 0.8, 0.8, 0.7, 0.7])
    >>> [round(v, 3) for v in paired(a, np.full(6, 0.5), twin)]
    [0.2, -1.267, 1.667]
    """
    lead = np.flatnonzero(twin > np.arange(len(a)))
    d = ((a - b)[lead] + (a - b)[twin[lead]]) / 2
    if len(d) < 3:
        return float(d.mean()), float("-inf"), float("inf")
    half = reach(len(d), level, shared=True) * float(d.std(ddof=1) / np.sqrt(len(d)))
    return float(d.mean()), float(d.mean()) - half, float(d.mean()) + half


def mean_auc_interval(entry: Mapping[str, Any], twin: Sequence[int]) -> tuple[float, float, float]:
    """Mean AUC of a stored attack and its interval, from its values by target, in [0, 1].

    Results stored earlier also hold limits of their own; those are narrower than `over_targets` is
    today.
    """
    each = np.array(entry["auc"], dtype=np.float64)
    mean, low, high = paired(each, np.zeros_like(each), np.array(twin))
    return mean, max(low, 0.0), min(high, 1.0)


def twin_list(member: BoolArray) -> list[int]:
    """The complementary run of each, for `paired`; −1 for a run in no pair."""
    number = tuples(member)
    out = np.full(len(number), -1)
    for i in range(int(number.max(initial=-1)) + 1):
        rows = np.flatnonzero(number == i)
        if len(rows) == 2:
            out[rows] = rows[::-1]
    return [int(v) for v in out]


def _rounded(values: Float64Array) -> list[float | None]:
    """Six significant digits; None for a rate that so few non-members cannot resolve."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values]
