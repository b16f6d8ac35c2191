"""From the analysed fleets of a study to verdicts on the claims B1 to B8 of arXiv 2507.23291.

The claims are known from the paper's abstract and a secondary summary; its formulas were not at
hand, so every metric is a *reconstruction* (see `seepage.plane`) and only directions and ratios are
judged. Rules, fixed before anything was measured:

A difference of two fleets is *larger* when the 95 % interval of its difference lies above 0,
*smaller* when it lies below, else *open*; the interval joins both fleets' half-widths, and the null
bands' where the null is taken off, as if independent (conservative for fleets that share a plan).

B1 displacement: net displacement, less its null, is larger at every step of the order of datasets
   -> holds; smaller at any step -> does not hold; else undecided. Shown beside it and not judged:
   the mean advantage at the end, since a net displacement also counts a way along the diagonal, as
   of an attack with one threshold for all that comes to answer "member" for nearly everyone.
B2 encoding speed: the same for the squared speed that two disjoint halves of a fleet agree on
   (`seepage.plane.split_half`), mean over samples and over training time, less its null.
B3 heterogeneity: the same for the change of spatial entropy, less its null.
B4 architecture: speed (as in B2) and net displacement of the richest architecture are both larger
   than those of the poorest -> holds; either smaller -> does not hold; else undecided. The
   published ratio of more than 3 is shown and not part of the verdict.
B5 SAM, two-sided: the peak probability of moving into the high region is smaller under SAM ->
   holds; larger -> does not hold; else undecided.
B6 difficulty: in a fleet, a measure counts when the interval of its Spearman's rho with the final
   advantage lies above 0 and above the interval's end under permuted membership. Two or more
   measures in every fleet -> holds; fewer than two can still count in some fleet (the others lie
   below 0 or inside the null) -> does not hold; else undecided.
B7 early: at the last checkpoint in the first half of training, one half of the fleet tells of the
   finally highest 5 % of another half: the part known of what can be told (`SplitHalf.known`) has
   its interval above 0.7, and the recall its interval above the null band, in every fleet -> holds;
   known below 0.7 or the recall inside the null band in some fleet -> does not hold; else
   undecided. Half of training is our choice: the published epoch (about 150) is of an unknown
   total.
B8 other attacks: B1 to B7 under each other attack. No claim has the opposite verdict, and all that
   the main attack decides are decided alike -> holds; an opposite verdict -> does not hold; else
   undecided.

The rules of B2, B4's speed and B7 were changed once, before the fleets that they now judge were
trained. At first B2 and B4 took the speed freed of each target's own counting noise, and B7 the
recall within one fleet. Earlier fleets (other members, other seeds) showed that neither can tell
leakage from its absence: under permuted membership that speed was as high as without (0.10 against
0.09 to 0.10 per epoch) and that recall reached 0.42 to 0.88, because targets share references and
checkpoints share models. What the first rules say is shown as well, as `first rule`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seepage.metrics.verdict import Outcome, Verdict, by_sign, combined
from seepage.study.dynamics.settings import Factors

__all__ = ["claims"]

Results = Mapping[str, Mapping[str, Any]]
KNOWN_SHARE = 0.7
EARLY_PART = 0.5


@dataclass(frozen=True)
class Span:
    """A figure with its interval."""

    value: float
    low: float
    high: float

    def minus(self, other: Span) -> Span:
        """The difference, half-widths joined as if independent."""
        value = self.value - other.value
        below = math.hypot(self.value - self.low, other.high - other.value)
        above = math.hypot(self.high - self.value, other.value - other.low)
        return Span(value, value - below, value + above)

    @property
    def sign(self) -> int:
        """1 above 0, −1 below, 0 open."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0

    def text(self, digits: int = 3) -> str:
        """The figure and its interval."""
        if math.isnan(self.value):
            return "none"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def claims(results: Results, factors: Factors, attacks: Sequence[str]) -> list[Verdict]:
    """Claims B1 to B8 from analysed fleets: name -> what `analyse` returned.

    attacks: the main one first, then those that B8 checks it with. Fleets that are not there yet
    make their claims undecided.
    """
    main, *others = attacks
    first = _direct(results, factors, main)
    checks = {a: _direct(results, factors, a) for a in others}
    out = [
        replace(c, by_attack={a: found[k] for a, found in checks.items()})
        for k, c in enumerate(first)
    ]
    return [*out, _b8(out)]


def _direct(results: Results, factors: Factors, attack: str) -> list[Verdict]:
    def order(
        names: Sequence[str], figure: Any, ratio: Any = None
    ) -> tuple[Outcome, list[tuple[str, str, str]]]:
        rows = []
        spans: list[Span | None] = []
        for name in names:
            found = figure(results[name]["attacks"][attack]) if name in results else None
            spans.append(found[0] if found else None)
            rows.append((name, found[1] if found else "not there", found[2] if found else ""))
        steps = [
            by_sign(b.minus(a).sign if a is not None and b is not None else 0)
            for a, b in itertools.pairwise(spans)
        ]
        if len(spans) > 1 and spans[0] is not None and spans[-1] is not None:
            both = (ratio or _ratio)(spans[-1], spans[0])
            rows.append((f"{names[-1]} : {names[0]}", both, ""))
        return combined(steps), rows

    b1, rows1 = order(factors.datasets, _displacement)
    across = order(factors.datasets, _advantage)[1]
    rows1 += [(f"advantage at the end, {a}", b, c) for a, b, c in across]
    b2, rows2 = order(factors.datasets, _speed, _root_ratio)
    rows2 += _first(*order(factors.datasets, _counted_speed))
    b3, rows3 = order(factors.datasets, _entropy)
    ends = factors.architectures[:1] + factors.architectures[-1:]
    fast, rows4 = order(factors.architectures, _speed, _root_ratio)
    far, rows5 = order(factors.architectures, _displacement)
    before, rows9 = order(factors.architectures, _counted_speed)
    if len(ends) == 2:
        fast, far, before = (order(ends, f)[0] for f in (_speed, _displacement, _counted_speed))
    rows9 = _first(combined((before, far)), rows9)
    b5, rows6 = _b5(results, factors, attack)
    b6, rows7 = _b6(results, attack)
    b7, rows8 = _b7(results, attack)
    speed = [("speed, " + a, b, c) for a, b, c in rows4]
    displacement = [("displacement, " + a, b, c) for a, b, c in rows5]
    return [
        Verdict("B1", b1, "More complex data: larger displacement of the centre of mass",
                published="CINIC-10 : MNIST = 10.5 (as summarised)", figures=tuple(rows1)),
        Verdict("B2", b2, "More complex data: faster membership encoding",
                published="CINIC-10 : MNIST nearly 3 (as summarised)", figures=tuple(rows2)),
        Verdict("B3", b3, "More complex data: more heterogeneous vulnerability",
                published="change of entropy −0.08 on MNIST, 4.20 on CINIC-10, unit unknown "
                "(as summarised)", figures=tuple(rows3)),
        Verdict("B4", combined((fast, far)), "A richer architecture encodes faster and ends worse",
                published="displacement of WRN28-2 more than 3 times a shallow CNN's "
                "(as summarised)", figures=(*speed, *displacement, *rows9)),
        Verdict("B5", b5, "SAM suppresses leakage (tested two-sided)",
                published="peak probability of moving to high 2.7 % with SGD, 0.9 % with SAM (as "
                "summarised); arXiv 2310.00488 reports the opposite", figures=tuple(rows6)),
        Verdict("B6", b6, "Samples that are harder to learn are more vulnerable",
                published="a robust correlation; coefficient unknown", figures=tuple(rows7)),
        Verdict("B7", b7, "Which samples end up vulnerable is settled early",
                published="about 70 % known by about epoch 150 of an unknown total "
                "(as summarised)", figures=tuple(rows8)),
    ]  # fmt: skip


def _span(e: Mapping[str, Any]) -> Span:
    return Span(*(float("nan") if e[k] is None else float(e[k]) for k in ("value", "low", "high")))


def _null(e: Mapping[str, Any]) -> Span:
    names = ("null", "null_low", "null_high")
    return Span(*(float("nan") if e[k] is None else float(e[k]) for k in names))


Figure = tuple[Span, str, str]
"""What is compared, how it is shown, and a remark."""


def _excess(e: Mapping[str, Any]) -> Figure:
    span = _span(e).minus(_null(e))
    return span, span.text(), f"{_span(e).text()} before, null {_null(e).text()}"


def _displacement(found: Mapping[str, Any]) -> Figure:
    return _excess(found["population"]["displacement_net"])


def _advantage(found: Mapping[str, Any]) -> Figure | None:
    """Mean TPR − FPR at the last checkpoint, less its null: √2 times the distance from the diagonal."""
    e = found["population"].get("advantage")
    return None if e is None else _excess({k: v[-1] for k, v in e.items()})


def _entropy(found: Mapping[str, Any]) -> Figure:
    return _excess(found["population"]["entropy_change"])


def _speed(found: Mapping[str, Any]) -> Figure | None:
    """Squared speed that halves agree on, less its null; shown as its root."""
    halves = found.get("halves")
    if halves is None:
        return None
    e = halves["mean_squared_speed"]
    span = _span(e).minus(_null(e))
    root = Span(*(math.sqrt(max(v, 0.0)) for v in (span.value, span.low, span.high)))
    squares = [Span(*(1e4 * v for v in (x.value, x.low, x.high))) for x in (_span(e), _null(e))]
    return span, root.text(4), f"10⁴ × its square: {squares[0].text(2)}, null {squares[1].text(2)}"


def _counted_speed(found: Mapping[str, Any]) -> Figure:
    """Root mean square speed over training time; interval ends joined as if fully dependent."""
    e, times = found["population"]["rms_speed"], found["population"]["intervals"]
    weight = np.asarray(times) / np.sum(times)
    names = ("value", "low", "high", "null", "null_low", "null_high")
    parts = [np.array([np.nan if v is None else v for v in e[k]], dtype=np.float64) for k in names]
    v, low, high, null, null_low, null_high = (float(np.sqrt(weight @ p**2)) for p in parts)
    # Counting noise is taken off within the metric; what permuted membership leaves is shown.
    span = Span(v, low, high)
    return span, span.text(), f"null {Span(null, null_low, null_high).text()}"


def _first(outcome: Outcome, rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [(f"first rule, {a}", b, c) for a, b, c in rows] + [("first rule says", outcome, "")]


def _root_ratio(a: Span, b: Span) -> str:
    if not (a.value > 0 and b.value > 0):
        return "ratio undefined"
    spread = math.hypot((a.high - a.value) / a.value, (b.high - b.value) / b.value) / 2
    r = math.sqrt(a.value / b.value)
    return f"ratio {r:.2f} [{r * math.exp(-spread):.2f}, {r * math.exp(spread):.2f}]"


def _ratio(a: Span, b: Span) -> str:
    if not (a.value > 0 and b.value > 0):
        return "ratio undefined"
    spread = math.hypot((a.high - a.value) / a.value, (b.high - b.value) / b.value)
    r = a.value / b.value
    return f"ratio {r:.2f} [{r * math.exp(-spread):.2f}, {r * math.exp(spread):.2f}]"


def _b5(
    results: Results, factors: Factors, attack: str
) -> tuple[Outcome, list[tuple[str, str, str]]]:
    rows: list[tuple[str, str, str]] = []
    names = [n for n in (factors.sgd, factors.sam) if n is not None]
    pair = [results[n]["attacks"][attack] for n in names if n in results]
    if len(pair) < 2:
        return "undecided", rows
    sgd, sam = pair
    for name, found in (("SGD", sgd), ("SAM", sam)):
        for metric in ("peak_to_high", "displacement_net"):
            e = found["population"][metric]
            rows.append((f"{metric.replace('_', ' ')}, {name}", _span(e).text(4), f"null {_null(e).text(4)}"))  # fmt: skip
        last = Span(*(found["roc"]["auc"][k][-1] for k in ("value", "low", "high")))
        rows.append((f"AUC at the end, {name}", last.text(), ""))
    a, b = (_span(f["population"]["peak_to_high"]) for f in (sam, sgd))
    gap = a.minus(b)
    rows.append(("peak to high, SAM − SGD", gap.text(4), _ratio(a, b)))
    verdict: Outcome = "undecided"
    if gap.sign:
        verdict = "holds" if gap.sign < 0 else "does not hold"
    return verdict, rows


def _b6(results: Results, attack: str) -> tuple[Outcome, list[tuple[str, str, str]]]:
    rows, outcomes = [], []
    for name, fleet in results.items():
        count = possible = 0
        for measure, columns in fleet["attacks"][attack]["difficulty"].items():
            c = columns["advantage"]
            if c["rho"] is None:
                continue
            bar = max(0.0, c["null_high"] if c["null_high"] is not None else 0.0)
            count += c["low"] > bar
            possible += c["high"] > bar
            null = Span(*(float("nan") if c[k] is None else c[k] for k in ("null_rho", "null_low", "null_high")))  # fmt: skip
            rows.append((f"{name}, {measure}", Span(c["rho"], c["low"], c["high"]).text(), f"null {null.text()}"))  # fmt: skip
        outcomes.append(by_sign(1 if count >= 2 else -1 if possible < 2 else 0))
    return combined(outcomes), rows


def _b7(results: Results, attack: str) -> tuple[Outcome, list[tuple[str, str, str]]]:
    rows, outcomes = [], []
    for name, fleet in results.items():
        halves = fleet["attacks"][attack].get("halves")
        if halves is None:
            outcomes.append(by_sign(0))
            rows.append((name, "not there", "fewer than 8 pairs"))
            continue
        t = _half_way(halves["fraction"])
        known = _span({k: v[t] for k, v in halves["known"].items()})
        at = {k: v[t] for k, v in halves["recall"].items()}
        recall, null = _span(at), _null(at)
        above = known.low > KNOWN_SHARE and recall.low > null.high
        below = known.high < KNOWN_SHARE or recall.high <= null.high
        outcomes.append(by_sign(1 if above else -1 if below else 0))
        end = {k: v[-1] for k, v in halves["recall"].items()}
        rows.append(
            (
                f"{name}, known at {halves['fraction'][t]:.2f} of training",
                known.text(),
                f"recall {recall.text()}, null {null.text()}, chance "
                f"{halves['chance']['value']:.3f}; at the end {_span(end).text()}",
            )
        )
    return combined(outcomes), rows + _first(*_b7_within(results, attack))


def _half_way(fractions: Sequence[float]) -> int:
    """The last checkpoint in the first part of training."""
    return int(np.flatnonzero(np.asarray(fractions) <= EARLY_PART + 1e-9)[-1])


def _b7_within(results: Results, attack: str) -> tuple[Outcome, list[tuple[str, str, str]]]:
    rows, outcomes = [], []
    for name, fleet in results.items():
        early = fleet["attacks"][attack]["early"]["top 5 %"]
        t = _half_way(early["fraction"])
        at = {k: v[t] for k, v in early["recall_now"].items()}
        recall, null = _span(at), _null(at)
        above = recall.low > KNOWN_SHARE and recall.low > null.high
        below = recall.high < KNOWN_SHARE or recall.high <= null.high
        outcomes.append(by_sign(1 if above else -1 if below else 0))
        chance = early["chance"]["value"][t]
        rows.append(
            (
                f"{name}, recall",
                recall.text(),
                f"null {null.text()}, chance {chance:.3f}, {early['size']} samples",
            )
        )
    return combined(outcomes), rows


def _b8(found: Sequence[Verdict]) -> Verdict:
    opposite = {("holds", "does not hold"), ("does not hold", "holds")}
    rows: list[tuple[str, str, str]] = []
    outcome: Outcome = "holds" if found and found[0].by_attack else "undecided"
    for v in found:
        for attack, other in v.by_attack.items():
            rows.append((f"{v.claim}, {attack}", other.outcome, f"main attack: {v.outcome}"))
            if (v.outcome, other.outcome) in opposite:
                outcome = "does not hold"
            elif other.outcome != v.outcome != "undecided" and outcome == "holds":
                outcome = "undecided"
    return Verdict(
        "B8",
        outcome if any(v.outcome != "undecided" for v in found) else "undecided",
        "The conclusions hold for other attacks",
        published="said of a Shokri-type attack (as summarised)",
        figures=tuple(rows),
    )
