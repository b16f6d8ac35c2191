"""From the analysed fleets of a study to verdicts on the claims B1 to B8 of arXiv 2507.23291.

The claims are known from the paper's abstract and a secondary summary; its formulas were not at
hand, so every metric is a *reconstruction* (see `seepage.plane`) and only directions and ratios are
judged. Rules, fixed before anything was measured:

A difference of two fleets is *larger* when the 95 % interval of its difference lies above 0,
*smaller* when it lies below, else *open*; the interval joins both fleets' half-widths, and the null
bands' where the null is taken off, as if independent (conservative for fleets that share a plan).
No difference is called too small to matter, since no margin was stated before the first look: what
is open is undecided.

A fleet is *at the ceiling* when more than half of its samples may end in the high region of the
plane (by the upper end of that share's interval). Its displacement, speed and entropy are held down
then, since most points have nowhere left to go. So a lead over a fleet at the ceiling decides
nothing, and neither does a fleet at the ceiling that lies behind.

B1 displacement: net displacement, less its null, is larger at every step of the order of datasets
   -> holds; smaller at any step -> does not hold; else undecided. Shown beside it and not judged:
   the mean advantage at the end, since a net displacement also counts a way along the diagonal, as
   of an attack with one threshold for all that comes to answer "member" for nearly everyone.
B2 encoding speed: the same for the squared speed that two disjoint halves of a fleet agree on
   (`seepage.plane.split_half`), mean over samples and over training time, less its null.
B3 heterogeneity: the same for the change of spatial entropy, less its null. A step decides nothing
   where noise fills the plane: where the entropy under permuted membership is more than half of
   what the lattice of rates can show. Leakage then moves points out of the noise into one corner,
   and the more of it there is, the less entropy, whatever the heterogeneity.
B4 architecture: speed (as in B2) and net displacement of the richest architecture are both larger
   than those of the poorest -> holds; either smaller -> does not hold; else undecided. The
   published ratio of more than 3 is shown and not part of the verdict. Shown and not judged: the
   advantage at the last checkpoint at which neither is at the ceiling.
B5 SAM, two-sided: the peak probability of moving into the high region is smaller under SAM ->
   holds; larger -> does not hold; else undecided.
B6 difficulty: in a fleet, a measure counts when the interval of its Spearman's rho with the final
   advantage lies above 0 and above the interval's end under permuted membership. Two or more
   measures in every fleet -> holds; fewer than two can still count in some fleet (the others lie
   below 0 or inside the null) -> does not hold; else undecided. LT-IQR counts only where it is
   about training time (`ANALYSIS` 2 of the study); before, it is shown and not judged.
B7 early: when half of the final leak is there, one half of the fleet tells of the finally highest
   5 % of another half. Leak is the mean advantage less its null; figures are interpolated between
   the checkpoint before half of it and the one after, ends of intervals alike. The part known of
   what can be told (`SplitHalf.known`) has its interval above 0.7, the published share, and the
   recall above chance has its interval above that of the null, in every fleet -> holds; the
   interval of the known part lies below 0.7 in some fleet -> does not hold; else undecided. A fleet
   in which nothing can be told at the end, or whose leak is not above its null, is undecided.
B8 other attacks: B1 to B7 under each other attack. No claim has the opposite verdict, and all that
   the main attack decides are decided alike -> holds; an opposite verdict -> does not hold; else
   undecided.

`CHANGES` says which rules were changed after which look at the figures. What the rules before a
change say is shown with each claim.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from seepage.metrics.verdict import Outcome, Verdict, by_sign, combined
from seepage.plane import Grid
from seepage.study.dynamics.settings import Factors

__all__ = ["CHANGES", "by_second_rule", "claims"]

CHANGES: tuple[tuple[str, str], ...] = (
    (
        "22 November 2026, before anything was measured",
        "The rules of B1 to B8 were fixed.",
    ),
    (
        "27 November 2026, after fleets of other members and seeds, before the fleets on this page "
        "were trained",
        "B2 and the speed of B4 took the speed freed of each target's own counting noise, and B7 the "
        "recall within one fleet. Neither tells leakage from its absence: under permuted membership "
        "that speed was as high as without (0.10 against 0.09 to 0.10 per epoch) and that recall "
        "reached 0.42 to 0.88, because targets share references and checkpoints share models. Both "
        "come from disjoint halves of a fleet since. Rows “first rule” show what was said before.",
    ),
    (
        "29 November 2026, after the figures on this page were seen",
        "B7 was judged at the last checkpoint in the first half of training, where most of the final "
        "leak was there already (its rows “second rule” show how much), so that “early” was late; it "
        "is judged when half of the leak is there, and a recall inside the null no longer counts as evidence against it. Fleets at the "
        "ceiling no longer decide B1 to B4 where the ceiling speaks, and B3 is not judged where noise "
        "fills the plane: its “does not hold” was the ceiling. B6 no longer counts an LT-IQR that "
        "took unevenly spaced checkpoints as if they were even. Rows “second rule” show what was said "
        "before. A verdict by a rule that was changed after the look describes these fleets; it is a "
        "test of the claim only on fleets trained later.",
    ),
)
"""(when, what): every change of the rules, and what had been seen by then."""

Results = Mapping[str, Mapping[str, Any]]
KNOWN_SHARE = 0.7
EARLY_PART = 0.5
CEILING = 0.5
SECOND = "second rule says"
TIMED_TRACES = 2
"""The `ANALYSIS` of the study since which LT-IQR is about training time."""


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
    before = [
        replace(
            v,
            outcome=by_second_rule(v),
            by_attack={a: replace(o, outcome=by_second_rule(o)) for a, o in v.by_attack.items()},
        )
        for v in out
    ]
    last = _b8(out)
    return [*out, replace(last, figures=(*last.figures, _second(_b8(before).outcome)))]


def _direct(results: Results, factors: Factors, attack: str) -> list[Verdict]:
    def order(names: Sequence[str], figure: Any, ratio: Any = None) -> _Order:
        found = [(n, figure(results[n], attack) if n in results else None) for n in names]
        return _Order.of(found, ratio or _ratio)

    far = order(factors.datasets, _displacement)
    fast = order(factors.datasets, _speed, _root_ratio)
    mixed = order(factors.datasets, _entropy)
    across = [(f"advantage at the end, {a}", b, c) for a, b, c in order(factors.datasets, _advantage).rows]  # fmt: skip
    before = order(factors.datasets, _counted_speed)
    b2_first = _first(before.rows, before.unchecked)
    models = factors.architectures
    ends = models[:1] + models[-1:] if len(models) > 1 else ()
    speed, displacement = order(models, _speed, _root_ratio), order(models, _displacement)
    fast_ends, far_ends = order(ends, _speed, _root_ratio), order(ends, _displacement)
    counted = order(ends, _counted_speed)
    rows9 = _first(
        order(models, _counted_speed).rows, combined((counted.unchecked, far_ends.unchecked))
    )
    b4 = combined((fast_ends.outcome, far_ends.outcome))
    b5, rows6, why5 = _b5(results, factors, attack)
    b6, rows7, why6 = _b6(results, attack)
    b7, rows8, why7 = _b7(results, attack)
    return [
        Verdict("B1", far.outcome, "More complex data: larger displacement of the centre of mass",
                why=far.why, published="CINIC-10 : MNIST = 10.5 (as summarised)",
                figures=(*far.rows, *far.steps, *across, _second(far.unchecked))),
        Verdict("B2", fast.outcome, "More complex data: faster membership encoding",
                why=fast.why, published="CINIC-10 : MNIST nearly 3 (as summarised)",
                figures=(*fast.rows, *fast.steps, *b2_first, _second(fast.unchecked))),
        Verdict("B3", mixed.outcome, "More complex data: more heterogeneous vulnerability",
                why=mixed.why, published="change of entropy −0.08 on MNIST, 4.20 on CINIC-10, unit "
                "unknown (as summarised)",
                figures=(*mixed.rows, *mixed.steps, _second(mixed.unchecked))),
        Verdict("B4", b4, "A richer architecture encodes faster and ends worse",
                why="; ".join(f"{w}: {o.why}" for w, o in
                              (("speed", fast_ends), ("displacement", far_ends)) if o.why),
                published="displacement of WRN28-2 more than 3 times a shallow CNN's "
                "(as summarised)",
                figures=(
                    *_named("speed", [*speed.rows, *fast_ends.steps]),
                    *_named("displacement", [*displacement.rows, *far_ends.steps]),
                    *_before_the_ceiling(results, ends, attack), *rows9,
                    _second(combined((fast_ends.unchecked, far_ends.unchecked))))),
        Verdict("B5", b5, "SAM suppresses leakage (tested two-sided)", why=why5,
                published="peak probability of moving to high 2.7 % with SGD, 0.9 % with SAM (as "
                "summarised); arXiv 2310.00488 reports the opposite", figures=tuple(rows6)),
        Verdict("B6", b6, "Samples that are harder to learn are more vulnerable", why=why6,
                published="a robust correlation; coefficient unknown", figures=tuple(rows7)),
        Verdict("B7", b7, "Which samples end up vulnerable is settled early", why=why7,
                published="about 70 % known by about epoch 150 of an unknown total "
                "(as summarised)", figures=tuple(rows8)),
    ]  # fmt: skip


Row = tuple[str, str, str]
"""What is shown, the figure, and a remark."""


@dataclass(frozen=True)
class Figure:
    """A figure of one fleet: what is compared, how it is shown, and what limits it.

    ceiling: the fleet is at the ceiling, which holds the figure down; noise: noise fills the plane,
    and the figure says nothing; unit: in which differences are shown, of what is compared.
    """

    span: Span
    text: str
    remark: str = ""
    ceiling: bool = False
    noise: bool = False
    unit: float = 1.0


@dataclass(frozen=True)
class _Order:
    """Fleets in the order of a claim that says larger at every step.

    unchecked: the outcome if ceilings and noise are not asked about.
    """

    outcome: Outcome
    unchecked: Outcome
    rows: list[Row]
    steps: list[Row]
    why: str

    @classmethod
    def of(cls, found: Sequence[tuple[str, Figure | None]], ratio: Any) -> _Order:
        """From every fleet's figure, None where it is not there."""
        rows: list[Row] = [(n, f.text, f.remark) if f else (n, "not there", "") for n, f in found]
        outcomes, unchecked, steps = [], [], []
        for (a, poor), (b, rich) in itertools.pairwise(found):
            if poor is None or rich is None:
                outcomes.append(by_sign(0))
                unchecked.append(by_sign(0))
                continue
            gap = rich.span.minus(poor.span)
            decided, word = _step(gap.sign, poor, rich)
            outcomes.append(decided)
            unchecked.append(by_sign(gap.sign))
            shown = Span(*(v / rich.unit for v in (gap.value, gap.low, gap.high)))
            squares = "" if rich.unit == 1 else ", 10⁴ × squares"
            steps.append((f"step, {b} − {a}", f"{shown.text()}{squares}, {word}", ""))
        ends = found[0][1] if found else None, found[-1][1] if found else None
        if len(found) > 1 and ends[0] is not None and ends[1] is not None:
            rows.append((f"{found[-1][0]} : {found[0][0]}", ratio(ends[1].span, ends[0].span), ""))
        why = "; ".join(f"{a.removeprefix('step, ')}: {b}" for a, b, _ in steps)
        return cls(combined(outcomes), combined(unchecked), rows, steps, why)


def _step(sign: int, poor: Figure, rich: Figure) -> tuple[Outcome, str]:
    """What a step of a claim "larger" says, and in which words."""
    word = {1: "larger", -1: "smaller", 0: "open"}[sign]
    if poor.noise or rich.noise:
        return "undecided", "not judged: noise fills the plane"
    if (sign > 0 and poor.ceiling) or (sign < 0 and rich.ceiling):
        return "undecided", f"{word}, not judged: at the ceiling"
    return by_sign(sign), word


def _named(what: str, rows: Sequence[Row]) -> list[Row]:
    return [(f"{what}, {a}", b, c) for a, b, c in rows]


def _second(outcome: Outcome) -> Row:
    return (SECOND, outcome, "")


def by_second_rule(v: Verdict) -> Outcome:
    """What the rule before the last change says; the verdict itself where it was not changed."""
    said = next((figure for what, figure, _ in v.figures if what == SECOND), v.outcome)
    return cast("Outcome", said)


def _high(found: Mapping[str, Any], t: int = -1) -> Span:
    """Share of the samples in the high region at a checkpoint."""
    shares = found["population"]["shares"]
    return Span(*(float(shares[k][t][-1]) for k in ("value", "low", "high")))


def _at_ceiling(found: Mapping[str, Any], t: int = -1) -> bool:
    return _high(found, t).high > CEILING


def _before_the_ceiling(results: Results, ends: Sequence[str], attack: str) -> list[Row]:
    """The advantage of two fleets at the last checkpoint at which neither is at the ceiling."""
    if len(ends) < 2 or any(n not in results for n in ends):
        return []
    both = [results[n]["attacks"][attack] for n in ends]
    times = range(min(len(f["population"]["shares"]["value"]) for f in both))
    t = max((t for t in times if not any(_at_ceiling(f, t) for f in both)), default=None)
    if t is None:
        return []
    rows: list[Row] = []
    for name, found in zip(ends, both, strict=True):
        e = {k: v[t] for k, v in found["population"]["advantage"].items()}
        epoch = results[name]["checkpoints"][t]
        rows.append(
            (
                f"advantage before the ceiling, {name}",
                f"{_span(e).minus(_null(e)).text()} at epoch {epoch:g}",
                "not judged",
            )
        )
    return rows


def _span(e: Mapping[str, Any]) -> Span:
    return Span(*(float("nan") if e[k] is None else float(e[k]) for k in ("value", "low", "high")))


def _null(e: Mapping[str, Any]) -> Span:
    names = ("null", "null_low", "null_high")
    return Span(*(float("nan") if e[k] is None else float(e[k]) for k in names))


def _excess(e: Mapping[str, Any], *, ceiling: bool = False, noise: bool = False) -> Figure:
    span = _span(e).minus(_null(e))
    remark = f"{_span(e).text()} before, null {_null(e).text()}"
    return Figure(span, span.text(), remark, ceiling, noise)


def _displacement(fleet: Mapping[str, Any], attack: str) -> Figure:
    found = fleet["attacks"][attack]
    e = _excess(found["population"]["displacement_net"], ceiling=_at_ceiling(found))
    return replace(e, remark=f"{e.remark}; {_high(found).text()} in high")


def _advantage(fleet: Mapping[str, Any], attack: str) -> Figure | None:
    """Mean TPR − FPR at the last checkpoint, less its null: √2 times the distance from the diagonal."""
    e = fleet["attacks"][attack]["population"].get("advantage")
    return None if e is None else _excess({k: v[-1] for k, v in e.items()})


def _entropy(fleet: Mapping[str, Any], attack: str) -> Figure:
    found = fleet["attacks"][attack]
    population = found["population"]
    # Points lie on the lattice of counts over half of the models, and are told apart by cells.
    most = math.log2(min(len(Grid()), (fleet["models"] // 2 + 1) ** 2))
    noise = float(population["entropy"]["null"][-1])
    e = _excess(population["entropy_change"], ceiling=_at_ceiling(found), noise=noise > most / 2)
    return replace(e, remark=f"{e.remark}; null {noise:.2f} of at most {most:.2f} bits at the end")


def _speed(fleet: Mapping[str, Any], attack: str) -> Figure | None:
    """Squared speed that halves agree on, less its null; shown as its root."""
    found = fleet["attacks"][attack]
    halves = found.get("halves")
    if halves is None:
        return None
    e = halves["mean_squared_speed"]
    span = _span(e).minus(_null(e))
    root = Span(*(math.sqrt(max(v, 0.0)) for v in (span.value, span.low, span.high)))
    squares = [Span(*(1e4 * v for v in (x.value, x.low, x.high))) for x in (_span(e), _null(e))]
    remark = f"10⁴ × its square: {squares[0].text(2)}, null {squares[1].text(2)}"
    return Figure(span, root.text(4), remark, _at_ceiling(found), unit=1e-4)


def _counted_speed(fleet: Mapping[str, Any], attack: str) -> Figure:
    """Root mean square speed over training time; interval ends joined as if fully dependent."""
    population = fleet["attacks"][attack]["population"]
    e, times = population["rms_speed"], population["intervals"]
    weight = np.asarray(times) / np.sum(times)
    names = ("value", "low", "high", "null", "null_low", "null_high")
    parts = [np.array([np.nan if v is None else v for v in e[k]], dtype=np.float64) for k in names]
    v, low, high, null, null_low, null_high = (float(np.sqrt(weight @ p**2)) for p in parts)
    # Counting noise is taken off within the metric; what permuted membership leaves is shown.
    span = Span(v, low, high)
    return Figure(span, span.text(), f"null {Span(null, null_low, null_high).text()}")


def _first(rows: Sequence[Row], outcome: Outcome) -> list[Row]:
    return [*_named("first rule", rows), ("first rule says", outcome, "")]


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


def _b5(results: Results, factors: Factors, attack: str) -> tuple[Outcome, list[Row], str]:
    rows: list[Row] = []
    names = [n for n in (factors.sgd, factors.sam) if n is not None]
    pair = [results[n]["attacks"][attack] for n in names if n in results]
    if len(pair) < 2:
        return "undecided", rows, ""
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
    return verdict, rows, f"peak to high, SAM − SGD: {gap.text(4)}"


def _b6(results: Results, attack: str) -> tuple[Outcome, list[Row], str]:
    rows: list[Row] = []
    outcomes: list[Outcome] = []
    unchecked: list[Outcome] = []
    tally = []
    for name, fleet in results.items():
        count = possible = judged = 0
        before = [0, 0]
        for measure, columns in fleet["attacks"][attack]["difficulty"].items():
            c = columns["advantage"]
            if c["rho"] is None:
                continue
            bar = max(0.0, c["null_high"] if c["null_high"] is not None else 0.0)
            before[0] += c["low"] > bar
            before[1] += c["high"] > bar
            remark = f"null {_span({k: c[f'null_{v}'] for k, v in _RHO.items()}).text()}"
            if measure == "loss_iqr" and fleet.get("analysis", 1) < TIMED_TRACES:
                remark += "; not judged: checkpoints taken as evenly spaced"
            else:
                judged += 1
                count += c["low"] > bar
                possible += c["high"] > bar
            rows.append((f"{name}, {measure}", Span(c["rho"], c["low"], c["high"]).text(), remark))
        outcomes.append(_two_measures(count, possible))
        unchecked.append(_two_measures(*before))
        tally.append((count, judged))
    worst = min(tally, default=None)
    why = f"at least {worst[0]} of {worst[1]} measures count in every fleet" if worst else ""
    return combined(outcomes), [*rows, _second(combined(unchecked))], why


def _two_measures(count: int, possible: int) -> Outcome:
    return by_sign(1 if count >= 2 else -1 if possible < 2 else 0)


_RHO = {"value": "rho", "low": "low", "high": "high"}


def _b7(results: Results, attack: str) -> tuple[Outcome, list[Row], str]:
    rows: list[Row] = []
    outcomes: list[Outcome] = []
    shown: list[Span] = []
    for name, fleet in results.items():
        found = fleet["attacks"][attack]
        halves = found.get("halves")
        half = _half_of_leak(found["population"]["advantage"])
        if halves is None or half is None:
            outcomes.append(by_sign(0))
            reason = (
                "fewer than 8 pairs" if halves is None else "no leak above its null to share out"
            )
            rows.append((name, "not there", reason))
            continue
        known = _between(halves["known"], half, _span)
        above, null = _above_chance(halves, half)
        last, last_null = _above_chance(halves, (len(halves["fraction"]) - 1, 0.0))
        told = last.low > last_null.high
        holds = told and known.low > KNOWN_SHARE and above.low > null.high
        outcomes.append(by_sign(1 if holds else -1 if told and known.high < KNOWN_SHARE else 0))
        shown.append(known)
        t, part = half
        checkpoints = fleet["checkpoints"]
        epoch = checkpoints[t] + part * (
            checkpoints[min(t + 1, len(checkpoints) - 1)] - checkpoints[t]
        )
        rows.append(
            (
                f"{name}, known when half of the leak is there",
                known.text(),
                f"epoch {epoch:.1f}; recall above chance {above.text()}, null {null.text()}; at the "
                f"end {last.text()}, null {last_null.text()}; the finally highest, ties included, are "
                f"{halves['chance']['value']:.3f} of all",
            )
        )
    if shown:
        least, most = min(s.low for s in shown), max(s.high for s in shown)
        ends = f"intervals from {least:.3f} to {most:.3f}"
        why = f"known when half of the leak is there: {_range(shown)}, {ends}; bar {KNOWN_SHARE:g}"
    else:
        why = ""
    rows += [*_b7_half_of_training(results, attack), *_b7_within(results, attack)]
    return combined(outcomes), rows, why


def _range(spans: Sequence[Span]) -> str:
    values = sorted(s.value for s in spans)
    return f"{values[0]:.3f} to {values[-1]:.3f} in {len(values)} fleets"


def _half_of_leak(advantage: Mapping[str, Any]) -> tuple[int, float] | None:
    """Where half of the final leak is there: a checkpoint, and the part of the way to the next.

    Leak: the mean advantage less its null. The last checkpoint with at most half of it; None where
    the final leak's interval is not above 0, or the first checkpoint has more than half.
    """
    end = {k: v[-1] for k, v in advantage.items()}
    if not _span(end).minus(_null(end)).low > 0:
        return None
    leak = np.array(advantage["value"], dtype=np.float64)
    leak = leak - np.array(advantage["null"], dtype=np.float64)
    share = leak / leak[-1]
    early = np.flatnonzero(share <= 0.5)
    if not early.size:
        return None
    t = int(early[-1])
    return t, float((0.5 - share[t]) / (share[t + 1] - share[t]))


def _between(
    curve: Mapping[str, Any], at: tuple[int, float], read: Callable[[Mapping[str, Any]], Span]
) -> Span:
    """A curve between two checkpoints; the ends of its interval are interpolated like its value."""
    t, part = at
    spans = [read({k: v[i] for k, v in curve.items()}) for i in (t, t + 1)[: 2 if part else 1]]
    if len(spans) == 1:
        return spans[0]
    a, b = spans
    ends = ((a.value, b.value), (a.low, b.low), (a.high, b.high))
    return Span(*((1 - part) * x + part * y for x, y in ends))


def _above_chance(halves: Mapping[str, Any], at: tuple[int, float]) -> tuple[Span, Span]:
    """Recall less what random samples have, and the same under permuted membership.

    Each with its own chance: ties make the set of the finally highest larger in one than the other.
    """
    chance = halves["chance"]
    return (
        _between(halves["recall"], at, _span).minus(_span(chance)),
        _between(halves["recall"], at, _null).minus(_null(chance)),
    )


def _b7_half_of_training(results: Results, attack: str) -> list[Row]:
    """The second rule: the same at the last checkpoint in the first half of training."""
    outcomes: list[Outcome] = []
    rows: list[Row] = []
    for name, fleet in results.items():
        found = fleet["attacks"][attack]
        halves = found.get("halves")
        if halves is None:
            outcomes.append(by_sign(0))
            continue
        t = _half_way(halves["fraction"])
        known = _between(halves["known"], (t, 0.0), _span)
        recall, null = (_between(halves["recall"], (t, 0.0), f) for f in (_span, _null))
        above = known.low > KNOWN_SHARE and recall.low > null.high
        below = known.high < KNOWN_SHARE or recall.high <= null.high
        outcomes.append(by_sign(1 if above else -1 if below else 0))
        a = found["population"]["advantage"]
        leak = [a["value"][i] - a["null"][i] for i in (t, -1)]
        rows.append(
            (
                f"second rule, {name}",
                known.text(),
                f"{halves['fraction'][t]:.2f} of training, {leak[0] / leak[1]:.0%} of the leak",
            )
        )
    return [*rows, _second(combined(outcomes))]


def _half_way(fractions: Sequence[float]) -> int:
    """The last checkpoint in the first part of training."""
    return int(np.flatnonzero(np.asarray(fractions) <= EARLY_PART + 1e-9)[-1])


def _b7_within(results: Results, attack: str) -> list[Row]:
    """The first rule: recall within one fleet, half-way through training."""
    rows: list[Row] = []
    outcomes: list[Outcome] = []
    for name, fleet in results.items():
        early = fleet["attacks"][attack]["early"]["top 5 %"]
        t = _half_way(early["fraction"])
        recall, null = (_between(early["recall_now"], (t, 0.0), f) for f in (_span, _null))
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
    return _first(rows, combined(outcomes))


def _b8(found: Sequence[Verdict]) -> Verdict:
    opposite = {("holds", "does not hold"), ("does not hold", "holds")}
    rows: list[Row] = []
    alike = 0
    outcome: Outcome = "holds" if found and found[0].by_attack else "undecided"
    for v in found:
        for attack, other in v.by_attack.items():
            rows.append((f"{v.claim}, {attack}", other.outcome, f"main attack: {v.outcome}"))
            alike += other.outcome == v.outcome
            if (v.outcome, other.outcome) in opposite:
                outcome = "does not hold"
            elif other.outcome != v.outcome != "undecided" and outcome == "holds":
                outcome = "undecided"
    return Verdict(
        "B8",
        outcome if any(v.outcome != "undecided" for v in found) else "undecided",
        "The conclusions hold for other attacks",
        why=f"{alike} of {len(rows)} verdicts as by the main attack" if rows else "",
        published="said of a Shokri-type attack (as summarised)",
        figures=tuple(rows),
    )
