"""Claims C1 to C8 on input loss curvature, tested on stored results by rules fixed beforehand.

The rules. An order between two attacks is judged by the difference of a figure paired within
targets, with its 95 % interval over pairs of runs: *holds* when the whole interval lies on the
claimed side of 0, *does not hold* when wholly on the other, else *undecided*. "Strongest" is the
highest mean of the figure among the attacks named, chosen after the fact. What needs a unit that
was not run is *not run*. The opponents are the other seven attacks of the released table in their
released form, and, in addition, LiRA on the true label.

- C1, per table: log curvature of non-members above members. Rank-sum test per target at 5 % after
  Bonferroni, one-sided: rejecting for all targets holds, for none does not hold.
- C2, per table: Curv NLL above the strongest opponent, in AUC and in balanced accuracy (at equal
  errors). Both orders must hold; one that does not decides against it.
- C3, per table: Curv LR above the strongest opponent in TPR at 0.1 % FPR, Curv NLL in TPR at 1 %.
  A rate needs 1 / rate non-members a target (1,000 at 0.1 %); with fewer it is undecided.
- C4: as the training set grows (shadows fixed), NLL goes from below to above LOSS, and likewise
  the released LiRA. Sizes whose mean difference exceeds two standard errors (DeLong's, over
  targets) have a sign: holds when signs are negative first and positive after; does not hold when a
  negative one comes last; undecided when no size has a sign or all are positive.
- C5: from 6 % of the pool on, Spearman of size and AUC of NLL at most −0.9, of size and accuracy
  on the test part (on non-members where there is none) at least 0.9: holds. Above −0.5 for the
  AUC: does not hold. Needs four sizes. Judged with fixed shadows, and with shadows of matched size
  (all sizes there, each having a pool of its own).
- C6, least curved first: Spearman of size and AUC of NLL at least 0.9 holds, below 0.5 does not.
- C7, three parts, per attack. Grows: Spearman over budgets (then "inf", then "none") at least 0.9,
  and AUC without privacy above that at the smallest budget: holds; the latter reversed, or Spearman
  at most 0: does not hold. Tends to chance: the interval at the smallest budget has 0.5 in it:
  holds; its lower end above 0.52: does not. Saturates as 1 − e^(−ε): the gain from the budget at or
  next above 4 to the largest finite one at most 0.01 (its interval) holds, more than that does not.
- C8, per table: LiRA above Curv LR, both as released; and LiRA on the true label above both forms.
- Ours, per table: curvature joined with confidence above LiRA on the true label, and above Curv LR
  alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from seepage.array_types import Float64Array
from seepage.metrics.verdict import Outcome, Verdict, by_sign, combined
from seepage.study.curvature.scoring import ATTACKS, paired
from seepage.study.curvature.settings import CurvatureSettings

__all__ = ["accuracy", "judge", "mean_auc"]

Results = Mapping[str, Any]

HOLDS: Outcome = "holds"
FAILS: Outcome = "does not hold"
OPEN: Outcome = "undecided"
NOT_RUN: Outcome = "not run"
RELEASED = (
    "nll-published", "lr-published", "lira-released", "loss", "loss-mast", "calibrated",
    "attack-r", "mentr",
)  # fmt: skip


def judge(results: Results, study: CurvatureSettings) -> list[Verdict]:
    """Every claim on every unit that was run; results by the name of the unit."""
    out: list[Verdict] = []
    for name in study.tables:
        r = results.get(f"table-{name}")
        out += _missing(name, "C1 C2 C3 C8 ours") if r is None else _table(name, r)
    out += _sizes(results, study)
    if study.matched:
        where = f"{study.matched.data.name}, matched shadows"
        series = _series(results, study, "matched")
        out += [_falls(where, series, form, 0) for form in ("nll-published", "nll")]
    out += _private(results, study)
    return sorted(out, key=lambda v: (v.claim == "ours", v.claim))


def _missing(where: str, claims: str) -> list[Verdict]:
    return [Verdict(c, "not run", where=where, why="no result") for c in claims.split()]


def _ordered(low: float, high: float) -> Outcome:
    """Of a claim that a difference is positive."""
    return by_sign(1 if low > 0 else -1 if high < 0 else 0)


def _text(d: tuple[float, float, float], scale: float = 1.0, unit: str = "") -> str:
    return f"{scale * d[0]:+.4g}{unit} [{scale * d[1]:+.4g}, {scale * d[2]:+.4g}]"


@dataclass(frozen=True)
class _Fleet:
    """Figures of a fleet's attacks, target by target."""

    r: Mapping[str, Any]

    def of(self, key: str, figure: str = "auc") -> Float64Array:
        return np.array(self.r["attacks"][key][figure], np.float64)

    def gap(self, a: str, b: str, figure: str = "auc") -> tuple[float, float, float]:
        return paired(self.of(a, figure), self.of(b, figure), np.array(self.r["twin"]))

    def strongest(self, keys: Sequence[str], figure: str) -> str:
        return max(keys, key=lambda k: float(self.of(k, figure).mean()))


def _verdict(claim: str, where: str, says: str, why: str, outcome: Outcome) -> Verdict:
    return Verdict(claim, outcome, says, where, why)


def _table(name: str, r: Mapping[str, Any]) -> list[Verdict]:
    fleet = _Fleet(r)
    p = np.array(r["c1"]["p"])
    rejected = int((p < 0.05 / len(p)).sum())
    first = _verdict(
        "C1", name, "log curvature of non-members above that of members, every target",
        f"{rejected} of {len(p)} targets, mean gap {np.mean(r['c1']['gap']):+.3f}",
        HOLDS if rejected == len(p) else FAILS if rejected == 0 else OPEN,
    )  # fmt: skip
    return [first, *_c2(name, fleet), *_c3(name, fleet, r), *_c8(name, fleet), *_ours(name, fleet)]


def _c2(name: str, fleet: _Fleet) -> list[Verdict]:
    out = []
    for form in ("nll-published", "nll-published-32", "nll"):
        others = [k for k in RELEASED if k != "nll-published"]
        for opponents, words in (
            (others, "every released opponent"),
            (["lira"], "LiRA, true label"),
        ):
            found, outcomes = [], []
            for figure in ("auc", "balanced"):
                best = fleet.strongest(opponents, figure)
                d = fleet.gap(form, best, figure)
                outcomes.append(_ordered(d[1], d[2]))
                what = "AUC" if figure == "auc" else "balanced accuracy"
                found.append(f"{what} {_text(d)} against {ATTACKS[best].title}")
            out.append(
                _verdict("C2", name, f"{ATTACKS[form].title} above {words}",
                        "; ".join(found), combined(outcomes))
            )  # fmt: skip
    return out


def _c3(name: str, fleet: _Fleet, r: Mapping[str, Any]) -> list[Verdict]:
    out = []
    outside = int(r["samples"]) // 2
    for form, figure, fpr, needed in (
        ("lr-published", "tpr at 0.001", "0.1 %", 1000), ("lr", "tpr at 0.001", "0.1 %", 1000),
        ("nll-published", "tpr at 0.01", "1 %", 100), ("nll", "tpr at 0.01", "1 %", 100),
    ):  # fmt: skip
        others = [k for k in RELEASED if k != form]
        for opponents, words in (
            (others, "every released opponent"),
            (["lira"], "LiRA, true label"),
        ):
            best = fleet.strongest(opponents, figure)
            d = fleet.gap(form, best, figure)
            out.append(
                _verdict("C3", name, f"TPR at {fpr} FPR of {ATTACKS[form].title} above {words}",
                        f"{_text(d, 100, ' points')} against {ATTACKS[best].title}"
                        + (f"; {outside:,} non-members a target" if outside < needed else ""),
                        _ordered(d[1], d[2]) if outside >= needed else OPEN)
            )  # fmt: skip
    out.append(
        _verdict("C3", name, "TPR at 0.01 % FPR of the released LiRA above the others",
                f"{outside:,} non-members a target: the rate is less than one of them", OPEN)
    )  # fmt: skip
    return out


def _c8(name: str, fleet: _Fleet) -> list[Verdict]:
    out = []
    for lira, form in (
        ("lira-released", "lr-published"), ("lira", "lr-published"), ("lira", "lr"),
        ("lira", "lr-exact"),
    ):  # fmt: skip
        d = fleet.gap(lira, form)
        out.append(
            _verdict("C8", name, f"AUC of {ATTACKS[lira].title} above {ATTACKS[form].title}",
                    _text(d), _ordered(d[1], d[2]))
        )  # fmt: skip
    return out


def _ours(name: str, fleet: _Fleet) -> list[Verdict]:
    out = []
    for joint in ("joint", "joint-exact"):
        for other in ("lira", "lr" if joint == "joint" else "lr-exact"):
            d = fleet.gap(joint, other)
            out.append(
                _verdict("ours", name, f"AUC of {ATTACKS[joint].title} above {ATTACKS[other].title}",
                        _text(d), _ordered(d[1], d[2]))
            )  # fmt: skip
    return out


def _series(results: Results, study: CurvatureSettings, order: str) -> list[tuple[int, Any]]:
    """Stored units of one order by size; those that are not there are left out."""
    part = study.matched if order == "matched" else study.sizes
    sizes = part.sizes if part else ()
    found = [(m, results.get(f"size-{order}-m{m}")) for m in sorted(sizes)]
    return [(m, r) for m, r in found if r is not None]


def mean_auc(r: Mapping[str, Any], key: str) -> float:
    """Mean over targets of an attack's AUC in a unit on sizes or budgets."""
    if "targets" in r:
        return float(np.mean([t["attacks"][key]["auc"] for t in r["targets"]]))
    return float(np.mean(r["attacks"][key]["auc"]))


def accuracy(r: Mapping[str, Any]) -> float:
    """On the test part where it was measured, else on the pool's non-members."""
    if "targets" in r:
        return float(np.mean([t.get("test accuracy", t["accuracy"][1]) for t in r["targets"]]))
    return float(r["accuracy"][1])


def _sizes(results: Results, study: CurvatureSettings) -> list[Verdict]:
    if study.sizes is None:
        return []
    where = f"{study.sizes.table}, random"
    pool = study.tables[study.sizes.table].data.limit or 0
    random = _series(results, study, "random")
    lowest = _series(results, study, "lowest")
    out: list[Verdict] = []
    for form in ("nll-published", "nll"):
        for other in ("loss", "lira-released", "lira"):
            says = f"{ATTACKS[form].title} overtakes {ATTACKS[other].title} as m grows"
            out.append(_crossing(where, says, random, f"{form} - {other}"))
        out.append(_falls(where, random, form, pool))
        says = f"AUC of {ATTACKS[form].title} rises with m"
        if len(lowest) < 4:
            out.append(
                _verdict("C6", f"{study.sizes.table}, least curved first", says,
                        f"{len(lowest)} sizes", NOT_RUN)
            )  # fmt: skip
            continue
        rho = _rho([m for m, _ in lowest], [mean_auc(r, form) for _, r in lowest])
        out.append(
            _verdict("C6", f"{study.sizes.table}, least curved first", says,
                    f"Spearman {rho:+.2f} over {len(lowest)} sizes",
                    HOLDS if rho >= 0.9 else FAILS if rho < 0.5 else OPEN)
        )  # fmt: skip
    return out


def _rho(a: Sequence[float], b: Sequence[float]) -> float:
    return float(spearmanr(a, b)[0])


def _crossing(where: str, says: str, series: list[tuple[int, Any]], key: str) -> Verdict:
    if len(series) < 2:
        return _verdict("C4", where, says, f"{len(series)} sizes", NOT_RUN)
    signs, words = [], []
    for m, r in series:
        gaps = np.array([t["differences"][key] for t in r["targets"]])
        mean, error = gaps[:, 0].mean(), math.sqrt((gaps[:, 1] ** 2).sum()) / len(gaps)
        signs.append(0 if abs(mean) <= 2 * error else 1 if mean > 0 else -1)
        words.append(f"{m:,}: {mean:+.3f} ± {2 * error:.3f}")
    told = [s for s in signs if s]
    ahead = told.index(1) if 1 in told else len(told)
    if told and told[-1] < 0:
        outcome = FAILS
    elif told and 0 < ahead < len(told) and -1 not in told[ahead:]:
        outcome = HOLDS
    else:
        outcome = OPEN
    return _verdict("C4", where, says, "; ".join(words), outcome)


def _falls(where: str, series: list[tuple[int, Any]], form: str, pool: int) -> Verdict:
    says = f"AUC of {ATTACKS[form].title} falls and accuracy rises with m"
    kept = [(m, r) for m, r in series if m >= 0.06 * pool]
    if len(kept) < 4:
        return _verdict("C5", where, says, f"{len(kept)} sizes", NOT_RUN)
    sizes = [m for m, _ in kept]
    fall = _rho(sizes, [mean_auc(r, form) for _, r in kept])
    rise = _rho(sizes, [accuracy(r) for _, r in kept])
    outcome = FAILS if fall > -0.5 else HOLDS if fall <= -0.9 and rise >= 0.9 else OPEN
    found = f"Spearman {fall:+.2f} of AUC, {rise:+.2f} of accuracy over {len(kept)} sizes"
    return _verdict("C5", where, says, found, outcome)


def _private(results: Results, study: CurvatureSettings) -> list[Verdict]:
    if study.private is None:
        return []
    where = f"{study.private.data.name}, DP-SGD"
    finite = sorted(study.private.epsilons)
    there = [(e, results[f"dp-eps-{e:g}"]) for e in finite if f"dp-eps-{e:g}" in results]
    rest = [results.get(f"dp-eps-{n}") for n in ("inf", "none")]
    if len(there) < 2 or rest[1] is None or there[0][0] != finite[0]:
        found = f"{len(there)} finite budgets"
        return [_verdict("C7", where, "AUC grows with ε and saturates", found, NOT_RUN)]
    ladder = [r for _, r in there] + [r for r in rest if r is not None]
    twin = np.array(ladder[0]["twin"])
    out = []
    for key in ("lr-published", "nll-published", "lr", "lira"):
        title = ATTACKS[key].title
        aucs = [np.array(r["attacks"][key]["auc"]) for r in ladder]
        means = [float(a.mean()) for a in aucs]
        rho = _rho(list(range(len(means))), means)
        d = paired(aucs[-1], aucs[0], twin)
        grows = (
            FAILS if d[2] < 0 or rho <= 0 else HOLDS if d[1] > 0 and rho >= 0.9 else OPEN
        )  # fmt: skip
        out.append(
            _verdict("C7", where, f"AUC of {title} grows with ε",
                    f"Spearman {rho:+.2f}; none − smallest {_text(d)}", grows)
        )  # fmt: skip
        low, high = (ladder[0]["attacks"][key][k] for k in ("low", "high"))
        chance = HOLDS if low <= 0.5 <= high else FAILS if low > 0.52 else OPEN
        out.append(
            _verdict("C7", where, f"AUC of {title} tends to 0.5 as ε falls",
                    f"{means[0]:.4f} [{low:.4f}, {high:.4f}] at ε = {there[0][0]:g}", chance)
        )  # fmt: skip
        middle = next((i for i, (e, _) in enumerate(there) if e >= 4), None)
        if middle is None or middle == len(there) - 1:
            out.append(
                _verdict("C7", where, f"AUC of {title} saturates as 1 − e^(−ε)",
                        "fewer than two finite budgets from 4 on", NOT_RUN)
            )  # fmt: skip
            continue
        gain = paired(aucs[len(there) - 1], aucs[middle], twin)
        flat = HOLDS if gain[2] <= 0.01 else FAILS if gain[1] > 0.01 else OPEN
        out.append(
            _verdict("C7", where, f"AUC of {title} saturates as 1 − e^(−ε)",
                    f"{_text(gain)} from ε = {there[middle][0]:g} to {there[-1][0]:g}", flat)
        )  # fmt: skip
    return out
