"""Reference models of one target, given, recorded or trained, and every attack that reads some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import AnyArray, BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks import Attack, AttackError, usual
from seepage.attacks.binding import bind, inputs, unrecorded
from seepage.errors import InputError
from seepage.given_arrays import given_array
from seepage.metrics import Estimate, Within, auc_interval, signal_correlation
from seepage.metrics.unit import EACH, Subjects, Unit
from seepage.short_repr import short_repr
from seepage.single.by_task import Question
from seepage.single.input_curvature import CURVATURE
from seepage.single.observing import Observing
from seepage.single.outputs import Form, Observed
from seepage.single.pool import Pool
from seepage.single.reference_free import ON_REQUEST, Scored
from seepage.single.released import HIDDEN, Seen
from seepage.single.trained import TrainedReferences, trained

__all__ = [
    "Measured",
    "RecordedReferences",
    "balance",
    "measured",
    "referenced_scores",
]

Progress = Callable[[str, int, int], object]


@short_repr
@dataclass(frozen=True, eq=False)
class RecordedReferences:
    """Outputs of R reference models at members and then others, N samples in all.

    member (R, N) bool: which samples each was trained on. One of logits (R, N, K), probabilities
    (R, N, K), predictions (R, N) of a regression, or signals {name: (R, N)} as of `Recorded`.
    """

    member: ArrayLike
    logits: AnyArray | None = None
    probabilities: AnyArray | None = None
    signals: Mapping[str, AnyArray] = field(default_factory=dict)
    predictions: AnyArray | None = None


@short_repr
@dataclass(frozen=True, eq=False)
class Measured:
    """Signals of references: member (R, N) bool, signals {name: (R, N)}, what is said of them.

    rounded: whether they were kept in single precision; what they are compared with is rounded alike.
    released: by variant's name the signals of references that are released so.
    """

    member: BoolArray
    signals: Mapping[str, Float64Array]
    notes: tuple[str, ...] = ()
    rounded: bool = False
    released: Mapping[str, Mapping[str, Float64Array]] = field(default_factory=dict)


def measured(
    references: Any,
    pool: Pool,
    kept: Int64Array,
    given: int,
    target: Observed,
    observing: Observing,
    observe: Callable[[Any, BoolArray], Seen],
    progress: Progress,
) -> Measured:
    """Signals of whatever was passed as references.

    kept: positions of the pool's samples among the `given` ones, on which masks are given.
    target: the audited model's own signals. observing, observe: how models are asked, and a model
    that was passed, with the samples that it was not trained on -> its signals at the pool.
    """
    if isinstance(references, RecordedReferences):
        return _recorded(references, observing, kept, given)
    if isinstance(references, TrainedReferences):
        made = trained(references, pool, target, observing, progress)
        return Measured(made.member, made.signals, made.notes, rounded=True)
    if not isinstance(references, Sequence) or not references:
        raise InputError(
            "references: expected pairs (model, member mask), RecordedReferences or "
            f"TrainedReferences, got {type(references).__name__}; pass at least one"
        )
    rows, found = [], []
    for k, pair in enumerate(references):
        progress("asking references", k, len(references))
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise InputError(
                f"references: expected pairs (model, member mask), got {type(pair).__name__} at {k}"
            )
        rows.append(_mask(pair[1], given, f"references: mask {k}")[kept])
        found.append(observe(pair[0], ~rows[-1]))
    return _of(np.stack(rows), found)


def _recorded(
    references: RecordedReferences, observing: Observing, kept: Int64Array, given: int
) -> Measured:
    member = given_array(references.member, "references: member")
    if member.ndim != 2 or member.shape[1] != given or not len(member):
        raise InputError(
            f"references: expected member of shape (models, {given}), members first and then others, "
            f"got {member.shape}"
        )
    rows = np.stack([_mask(m, given, f"references: row {k}") for k, m in enumerate(member)])
    found = []
    form: Form = "predictions" if observing.question.task.name == "regression" else "logits"
    whole = references.predictions if form == "predictions" else references.logits
    if whole is None and references.probabilities is not None:
        form, whole = "probabilities", references.probabilities
    for r in range(len(rows)):
        outside = ~rows[r][kept]
        if whole is not None:
            found.append(observing.of_outputs(_at(whole, r, rows, kept), form, outside))
            continue
        signals = {k: _at(v, r, rows, kept) for k, v in references.signals.items()}
        found.append(observing.of_signals(signals, outside))
    return _of(rows[:, kept], found)


def _at(values: AnyArray, row: int, member: BoolArray, kept: Int64Array) -> AnyArray:
    a = np.asarray(values)
    if a.shape[:2] != member.shape:
        raise InputError(
            f"references: expected outputs of shape {member.shape} and on, as member has, got {a.shape}"
        )
    return np.asarray(a[row][kept])


def _mask(values: Any, n: int, what: str) -> BoolArray:
    mask = given_array(values, what)
    if mask.shape != (n,) or mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
        raise InputError(
            f"{what}: expected a truth value for each of the {n} members and then others, got "
            f"{mask.dtype} of shape {mask.shape}; say which samples the model was trained on"
        )
    return mask.astype(np.bool_)


def _of(member: BoolArray, found: Sequence[Seen]) -> Measured:
    names = found[0].released
    released = {v: _stacked([seen.released[v] for seen in found]) for v in names}
    return Measured(member, _stacked([seen.plain for seen in found]), released=released)


def _stacked(found: Sequence[Observed]) -> dict[str, Float64Array]:
    """Signals that all of them have: (R, N)."""
    names = set.intersection(*(set(o.signals) for o in found))
    return {name: np.stack([o.signals[name] for o in found]) for name in sorted(names)}


def balance(references: BoolArray, member: BoolArray, unit: Unit) -> Estimate | None:
    """How well the *number* of references trained on a sample tells who is a member.

    AUC of that number with its interval; None where all samples have as many. Chance if references
    were drawn without looking at who is a member; above it every attack reads the plan, not the
    model.

    >>> from seepage.metrics import Samples
    >>> references = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0]], dtype=bool)
    >>> balance(references, np.arange(6) < 3, Samples()).mean
    1.0
    """
    count = references.sum(axis=0).astype(np.float64)
    if np.ptp(count) == 0:
        return None
    counts = np.asarray(unit.scores(count - count.mean()), dtype=np.float64)
    return auc_interval(counts, np.asarray(unit.member(member)))


class _OneTarget:
    """The target, row 0, and its references as a source that attacks are bound to."""

    def __init__(
        self, target: Observed, references: Measured, member: BoolArray, question: Question
    ) -> None:
        self.member = np.concatenate([member[None], references.member])
        self.checkpoints = np.zeros(1)
        self.labels = question.labels
        both = sorted(set(target.signals) & set(references.signals))
        own = {name: target.signals[name] for name in both}
        if references.rounded:
            own = {k: v.astype(np.float32).astype(np.float64) for k, v in own.items()}
        self._held = {
            name: np.concatenate([own[name][None], references.signals[name]]) for name in both
        }
        self.signals = tuple(both)
        self.manifest: dict[str, Any] = {
            "data": {"task": question.task.name},
            "key": {"labels": question.labels is not None},
        }

    def signal_at(self, name: str, t: int, /) -> FloatArray:
        """(R + 1, N)."""
        return self._held[name]


def referenced_scores(
    target: Observed,
    references: Measured,
    member: BoolArray,
    question: Question,
    attacks: Iterable[Attack] | None = None,
    unit: Unit = EACH,
) -> Scored:
    """Every attack that can be bound, on the one target: scores (N,), and why the others cannot.

    attacks: all of `seepage.attacks.usual()` with their defaults unless given. The target's own
    membership is read by no attack: its references are all R models. unit: with `Subjects(groups)`
    the correlation of subjects' records over the references comes with log-ratios.
    """
    source = _OneTarget(target, references, member, question)
    refused = question.task.refused
    wanted = usual() if attacks is None else list(attacks)
    scores: dict[str, Float64Array] = {}
    skipped: dict[str, str] = {}
    within: dict[str, Within] = {}
    for attack in wanted:
        try:
            bound = bind(attack, source)
            missing = unrecorded(bound, source)
            undefined = next((n for n in missing if n in refused), None)
            if undefined is not None:
                skipped[attack.name] = f"needs {undefined}: {refused[undefined]}"
                continue
            if missing:
                skipped[attack.name] = (
                    target.lacking.get(CURVATURE, ON_REQUEST)
                    if CURVATURE in missing and CURVATURE not in target.signals
                    else f"reads {', '.join(missing)}, which {HIDDEN}"
                    if target.lacking.get(missing[0]) == HIDDEN
                    else f"needs {', '.join(missing)} of the model and of every reference"
                )
                continue
            held = inputs(bound, source, 0)
            scores[attack.name] = np.asarray(
                bound.score(
                    {k: v[0] for k, v in held.items()},
                    {k: v[1:] for k, v in held.items()},
                    references.member,
                ),
                dtype=np.float64,
            )
            if isinstance(unit, Subjects) and bound.log_ratio:
                read = held[bound.requires[0]][1:]
                within[attack.name] = signal_correlation(read, references.member, unit)
        except (InputError, AttackError) as error:
            skipped[attack.name] = (
                str(error).removeprefix("models: ").removeprefix(f"{attack.name}: ")
            )
    return Scored(scores, skipped, within)
