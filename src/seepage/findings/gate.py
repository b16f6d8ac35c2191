"""Limits on what a run leaks: each is judged by the end of its interval that errs towards safety.

What decides, and why:

- AUC and TPR: the *upper* end of the interval, so that too few models fail rather than pass. Of
  several attacks the largest upper end, which needs no correction for the choice.
- ε: the *lower* bound is all that an audit can give: a limit fails where the run refutes it. One
  that the run could not have refuted, whatever leaks, fails too, so that too few guesses never pass.
- Exposed: the names that a test at a false-discovery rate gives, false ones among them. A limit
  below the smallest number that this plan can name at all fails: what it forbids could not be seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seepage.array_types import Float64Array
from seepage.attacks import Attack, usual
from seepage.attacks.binding import ReadOnce
from seepage.config.limits import Limits
from seepage.errors import InputError
from seepage.findings.at_fpr import AtFpr
from seepage.findings.blind import blind_of_run, shift_words
from seepage.findings.epsilon import LargestEpsilon, largest_epsilon
from seepage.findings.judging import Judging
from seepage.findings.notes import import_doubts
from seepage.findings.samples import ExposedAtEnd, exposed_at_end
from seepage.findings.source import Shadows
from seepage.findings.subjects import by_unit
from seepage.findings.unjudged import unjudged
from seepage.fleet.contradictions import contradictions
from seepage.metrics import Estimate, Samples, Subjects, Unit, strongest
from seepage.scoring import applicable, score
from seepage.short_repr import short_repr
from seepage.store.computed import computed
from seepage.tokens import holds_tokens

__all__ = [
    "Checked",
    "Compared",
    "Judged",
    "Row",
    "Scored",
    "against",
    "check",
    "compared",
    "judge",
    "judge_epsilon",
    "judge_exposed",
    "judge_rate",
    "scored",
]


@dataclass(frozen=True)
class Row:
    """One attack against a limit: what was measured, and `estimate`, whose upper end is compared.

    strongest_of: how many attacks it is the strongest of, whose choice `estimate` pays for; 0 for
    an attack that was named.
    """

    attack: str
    measured: Estimate | AtFpr
    estimate: Estimate
    held: bool
    strongest_of: int = 0


@dataclass(frozen=True)
class Judged:
    """One limit: whether it holds, why in one sentence, and the attacks that were compared.

    name: the figure, such as "AUC"; untold: attacks that have no figure here.
    """

    name: str
    limit: float
    holds: bool
    why: str
    rows: tuple[Row, ...] = ()
    untold: Mapping[str, Estimate | AtFpr] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The limit in words."""
        return f"{self.name} at most {self.limit:g}"


@dataclass(frozen=True)
class Checked:
    """What a gate says of a run, one `Judged` per limit, and why there is no verdict, or "".

    attacks: which were run; skipped: which were not, and why; left_out: samples that no figure is
    about, in words. doubts: what the import of a run doubted of its inputs and classes.
    """

    path: str
    judged: tuple[Judged, ...]
    no_verdict: str
    attacks: tuple[str, ...]
    skipped: Mapping[str, str]
    left_out: str
    doubts: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether there is a verdict and every limit holds."""
        return not self.no_verdict and all(j.holds for j in self.judged)


def judge_rate(
    name: str,
    limit: float,
    found: Mapping[str, tuple[Estimate | AtFpr, Estimate | AtFpr]],
    asked: Sequence[str] = (),
) -> Judged:
    """Whether an AUC or a TPR stays within its limit, of the strongest attack and of those named.

    found: attack -> the figure, with its interval and with the one that the choice of the strongest
    needs (`seepage.metrics.strongest`). Holds where the largest upper end is at most the limit.
    Where there is no interval, or the rate cannot be resolved, nothing is known but that no rate
    exceeds 1.

    >>> few = Estimate(0.55, 0.5, 0.63, 0.95, 8)
    >>> judge_rate("AUC", 0.6, {"lira": (few, few)}).why
    'AUC may exceed the limit 0.6: the upper end of its 95 % interval is 0.63 (lira, strongest of 1)'
    >>> judge_rate("AUC", 0.7, {"lira": (few, few)}).holds
    True
    """
    estimates = {a: (_estimate(near), _estimate(far)) for a, (near, far) in found.items()}
    told = {a: e for a, e in estimates.items() if math.isfinite(e[0].mean)}
    best = strongest(told or estimates)
    rows = []
    for a in dict.fromkeys([best.attack, *asked]):
        chosen = a == best.attack
        e = best.estimate if chosen else estimates[a][0]
        rows.append(Row(a, found[a][0], e, _high(e) <= limit, best.compared if chosen else 0))
    decides = next((r for r in rows if not r.held), rows[0])
    held = all(r.held for r in rows)
    return Judged(
        name=name,
        limit=limit,
        holds=held,
        why=f"{name} {'stays within' if held else 'may exceed'} the limit {limit:g}: {_end(decides)}",
        rows=tuple(rows),
        untold={a: near for a, (near, _) in found.items() if a not in told} if told else {},
    )


def _estimate(figure: Estimate | AtFpr) -> Estimate:
    return figure.tpr if isinstance(figure, AtFpr) else figure


def _high(e: Estimate) -> float:
    return e.high if math.isfinite(e.high) else 1.0


def _end(row: Row) -> str:
    """What decides a limit on a rate, in words."""
    whose = f"{row.attack}, strongest of {row.strongest_of}" if row.strongest_of else row.attack
    e, measured = row.estimate, row.measured
    if math.isfinite(e.high):
        return f"the upper end of its {100 * e.level:g} % interval is {e.high:.6g} ({whose})"
    if isinstance(measured, AtFpr) and not measured.resolved:
        why = f"it {measured.unresolved}"
    else:
        why = "there are too few models for an interval"
    return f"{why}, so that nothing is known but that it is at most 1 ({whose})"


def judge_epsilon(limit: float, found: LargestEpsilon) -> Judged:
    """Whether the run leaves ε at most `limit` possible, and could have refuted it.

    Fails where the largest lower bound of all attacks lies above the limit, and where the bound of a
    perfect attack, the most that so many guesses can show, does not: such a limit no leak could
    fail. Holding is no proof that ε is smaller.

    >>> found = LargestEpsilon("lira", 2, 1.5, 3.2, 1, 100, 0.95, 1e-5)
    >>> judge_epsilon(1.0, found).why
    'ε at δ = 1e-05 exceeds the limit 1: the run shows at least 1.5 (95 %, lira, largest of 2)'
    >>> [judge_epsilon(limit, found).holds for limit in (1.0, 2.0, 3.2)]
    [False, True, False]
    """
    name = f"ε at δ = {found.delta:g}"
    of = f"{100 * found.level:g} %, {found.attack}, largest of {found.compared}"
    shows = f"the run shows at least {found.bound:.6g} ({of})"
    if found.bound > limit:
        why = f"{name} exceeds the limit {limit:g}: {shows}"
    elif found.ceiling <= limit:
        why = (
            f"{name} could exceed the limit {limit:g} unseen: {found.units:,} guesses about each of "
            f"{found.models} models can show at most {found.ceiling:.6g}, whatever leaks"
        )
    else:
        why = (
            f"{name} is not shown to exceed the limit {limit:g}: {shows}; a lower bound, which does "
            "not prove that ε is smaller"
        )
    return Judged(name, limit, found.bound <= limit < found.ceiling, why)


def judge_exposed(limit: float, found: ExposedAtEnd, units: str = "samples") -> Judged:
    """Whether at most so many samples (subjects) are individually exposed, and more could be seen.

    limit: a whole number is a count, a float a share of all. Fails where more are named at the
    expected false share `found.level`, false names counted with the rest, and where the smallest
    number that can be named at all exceeds the first count that the limit forbids.

    >>> seen = ExposedAtEnd(12, 1000, fewest=2, level=0.05, basis="30 models", false=1)
    >>> [judge_exposed(limit, seen).holds for limit in (11, 12, 0.02, 0)]
    [False, True, True, False]
    >>> judge_exposed(11, seen).why
    'exposed samples exceed the limit 11: 12 of 1,000 are named, of which at most 1 falsely (95 %)'
    """
    counted = isinstance(limit, int)
    allowed = int(limit) if counted else math.floor(limit * found.of + 1e-9)
    name = f"exposed {units}"
    shown = f"{limit:,}" if counted else f"{limit:g} ({allowed:,} of {found.of:,})"
    named = f"{found.count:,} of {found.of:,} are named"
    if found.count and found.false is not None:
        named += f", of which at most {found.false:,} falsely (95 %)"
    held = found.count <= allowed
    if not held:
        why = f"{name} exceed the limit {shown}: {named}"
    elif allowed < found.of and found.fewest > allowed + 1:
        held = False
        why = (
            f"{name} could exceed the limit {shown} unseen: with {found.basis} no fewer than "
            f"{found.fewest:,} of {found.of:,} can be named at an expected false share of "
            f"{100 * found.level:g} %; more of them are needed"
        )
    else:
        why = f"{name} stay within the limit {shown}: {named}"
    return Judged(name, limit, held, why)


def judge(
    limits: Limits,
    scores: Mapping[str, Float64Array],
    run: Any,
    asked: Sequence[str] = (),
    units: str = "samples",
) -> tuple[Judged, ...]:
    """Every limit, in the order AUC, TPRs, ε, exposed.

    scores: attack -> (R, N) of what `run` counts (`seepage.findings.subjects.by_unit`), all that
    compete for the strongest. A rate is pooled over targets where that can be resolved, else it has
    a threshold for each target.

    Raises InputError where ε or exposure cannot be judged by this plan or these signals.
    """
    judging = Judging.of(run, Samples())
    wide = 1 - 0.05 / len(scores)
    out = []
    if limits.max_auc is not None:
        found = {a: judging.auc(s, 0.95, wide) for a, s in scores.items()}
        out.append(judge_rate("AUC", limits.max_auc, _pairs(found), asked))
    for one in limits.max_tpr:
        pairs = {a: _at(judging, s, one.fpr, wide) for a, s in scores.items()}
        out.append(judge_rate(f"TPR at {one.fpr:g} FPR", one.tpr, pairs, asked))
    if limits.max_eps is not None:
        bounds = largest_epsilon(scores, judging.member, delta=limits.delta, target=judging.target)
        out.append(judge_epsilon(limits.max_eps, bounds))
    if limits.max_exposed is not None:
        fleet = run if judging.target is None else Shadows(run, judging.target)
        out.append(judge_exposed(limits.max_exposed, exposed_at_end(fleet), units))
    return tuple(out)


def _pairs(
    found: Mapping[str, tuple[Estimate, ...]],
) -> dict[str, tuple[Estimate | AtFpr, Estimate | AtFpr]]:
    return {a: (e[0], e[1]) for a, e in found.items()}


def _at(
    judging: Judging, scores: Float64Array, fpr: float, wide: float
) -> tuple[Estimate | AtFpr, Estimate | AtFpr]:
    (near,), (far,) = (judging.pooled(scores, [fpr], level) for level in (0.95, wide))
    if not near.resolved:
        (own,), (own_far,) = (judging.rates(scores, [fpr], level) for level in (0.95, wide))
        if own.resolved:
            return own, own_far
    return near, far


@short_repr
@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of every attack that a gate compares, (R, N) or of subjects (R, G).

    counted: the run by what `unit` counts; named: attacks that were asked for; skipped: which could not
    be run, and why; left_out: samples that no figure is about, in words.
    """

    counted: Any
    unit: Unit
    scores: Mapping[str, Float64Array]
    named: tuple[str, ...]
    skipped: Mapping[str, str]
    left_out: str

    @property
    def units(self) -> str:
        """ "samples" or "subjects"."""
        return "samples" if isinstance(self.unit, Samples) else "subjects"


def scored(run: Any, attacks: Iterable[Attack], unit: Unit | None, model: Any) -> Scored:
    """`attacks`, and every other that the recorded signals allow, at the last checkpoint of a run."""
    named = list(attacks)
    own = {a.name for a in named}
    others = [a for a in usual(tokens=holds_tokens(run)) if a.name not in own]
    without = unjudged(run, [*named, *others])
    part, named = without.part(run), without.attacks(named)
    counted, who = by_unit(part, unit)
    scores, skipped = _every_score(part, named, others, model, who)
    return Scored(counted, who, scores, tuple(a.name for a in named), skipped, without.words)


def _every_score(
    run: Any, named: Sequence[Attack], others: Sequence[Attack], model: Any, unit: Unit
) -> tuple[dict[str, Float64Array], dict[str, str]]:
    """Scores, (R, N) or of subjects (R, G), of all that are named and of every other that applies; why the rest do not."""
    chosen, skipped = applicable(run, others)
    scores = {a.name: score(run, a, model=model, unit=unit) for a in named}
    source = ReadOnce(run)
    for a in chosen:
        try:
            scores[a.name] = score(source, a, unit=unit)
        except InputError as error:
            skipped[a.name] = str(error)
    if not scores:
        first, why = next(iter(skipped.items()))
        raise InputError(
            f"{run.path}: expected a run that some attack can be run on, got one where {first} {why}"
        )
    return scores, skipped


@dataclass(frozen=True)
class Compared:
    """Limits against a run: what was judged, and of what.

    attacks: all that compete; named: those that were asked for; skipped: which could not be run, and
    why; subjects: how many are judged, None of samples; left_out: samples that no figure is about.
    """

    judged: tuple[Judged, ...]
    attacks: tuple[str, ...]
    named: tuple[str, ...]
    skipped: Mapping[str, str]
    subjects: int | None
    left_out: str


def against(limits: Limits, found: Scored) -> Compared:
    """Every limit against these scores."""
    return Compared(
        judge(limits, found.scores, found.counted, found.named, found.units),
        tuple(found.scores),
        found.named,
        found.skipped,
        len(found.unit.names) if isinstance(found.unit, Subjects) else None,
        found.left_out,
    )


def compared(
    run: Any, limits: Limits, attacks: Iterable[Attack], unit: Unit | None, model: Any
) -> Compared:
    """`scored` and `judge` of a run as it was trained; of a run folder once (`seepage.store.computed`)."""
    named = list(attacks)

    def compute() -> Compared:
        return against(limits, scored(run, named, unit, model))

    if model is not None or applicable(run, named)[1]:
        # What is measured on kept weights depends on more than on what was recorded.
        return compute()
    asked = {"limits": limits.model_dump(), "attacks": named, "unit": unit}
    return computed(run, "limits", asked, Compared, compute)


def check(
    run: Any,
    limits: Limits,
    *,
    attacks: Iterable[Attack] = (),
    unit: Unit | None = None,
    model: Any = None,
    learnt_nothing: bool = False,
) -> Checked:
    """Whether what a run leaks stays within limits, at its last checkpoint: `seepage check`.

    Every attack that the recorded signals allow competes; `attacks` are judged beside the strongest.
    There is none either where members differ from non-members without any model, where the pool can be
    found again (`seepage.metrics.blind_baseline`). unit: subjects where the run has groups, unless `Samples()` is given. model: the factory again,
    where an attack needs kept weights of one. learnt_nothing: judge models too whose answers tell
    nothing of their members' labels; else there is no verdict for them, and none holds.

    Raises InputError without a limit, where lists of members are not their models' own or models are
    copies of one, where no attack can be run, and as `judge` does.
    """
    if not limits.stated:
        raise InputError("limits: expected a limit, got none; pass Limits(max_auc=0.6) or another")
    odd = contradictions(run)
    if odd.alike or odd.lists:
        raise InputError(
            f"{run.path}: {odd.alike or odd.lists}; no limit is compared with such figures"
        )
    found = compared(run, limits, attacks, unit, model)
    shift = shift_words(blind_of_run(run))
    return Checked(
        path=str(run.path),
        judged=found.judged,
        no_verdict=shift or ("" if learnt_nothing else odd.answers),
        attacks=found.attacks,
        skipped=found.skipped,
        left_out=found.left_out,
        doubts=import_doubts(run),
    )
