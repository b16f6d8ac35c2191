"""Reference models of one target: given, recorded, or trained within a budget of seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import AnyArray, BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks import ATTACKS, Attack, AttackError
from seepage.attacks.binding import bind, inputs, unrecorded
from seepage.errors import InputError
from seepage.given_arrays import given_array
from seepage.metrics import Estimate, Within, auc_interval, signal_correlation
from seepage.metrics.unit import EACH, Subjects, Unit
from seepage.plan import half_split
from seepage.single.input_curvature import CURVATURE
from seepage.single.outputs import Observed, from_logits, from_probabilities, from_signals
from seepage.single.pool import Pool, chosen_rows
from seepage.single.reference_free import ON_REQUEST, Scored

__all__ = [
    "Measured",
    "RecordedReferences",
    "TrainedReferences",
    "balance",
    "measured",
    "referenced_scores",
]

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True, eq=False)
class RecordedReferences:
    """Outputs of R reference models at members and then others, N samples in all.

    member (R, N) bool: which samples each was trained on. One of logits (R, N, K), probabilities
    (R, N, K), or signals {name: (R, N)} as of `seepage.single.from_signals`.
    """

    member: ArrayLike
    logits: AnyArray | None = None
    probabilities: AnyArray | None = None
    signals: Mapping[str, AnyArray] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedReferences:
    """Reference models that are trained on random halves of members and others, as many as time
    allows.

    train: (inputs, labels, seed) -> a model of any kind that `seepage.audit` takes; it gets the
    samples of one half as they were given. seconds: the budget; the first model is timed, and the
    number, always even (complementary halves), is chosen so that all end within it. most: never
    more. It should train as the target was trained: the figures are as good as that likeness.
    """

    train: Callable[[Any, AnyArray, int], Any]
    seconds: float = 1200.0
    most: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if not callable(self.train) or not self.seconds > 0 or self.most < 2:
            raise InputError(
                "references: expected a function (inputs, labels, seed) -> model, seconds above 0 "
                f"and most of at least 2, got {self.seconds:g} seconds and most = {self.most}"
            )


@dataclass(frozen=True, eq=False)
class Measured:
    """Signals of references: member (R, N) bool, signals {name: (R, N)}, what is said of them."""

    member: BoolArray
    signals: Mapping[str, Float64Array]
    notes: tuple[str, ...] = ()


def measured(
    references: Any,
    pool: Pool,
    labels: Int64Array | None,
    kept: Int64Array,
    given: int,
    observe: Callable[[Any], Observed],
    progress: Progress,
) -> Measured:
    """Signals of whatever was passed as references.

    kept: positions of the pool's samples among the `given` ones, on which masks are given.
    observe: a model -> its signals at the pool.
    """
    if isinstance(references, RecordedReferences):
        return _recorded(references, labels, kept, given)
    if isinstance(references, TrainedReferences):
        return _trained(references, pool, observe, progress)
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
        found.append(observe(pair[0]))
    return Measured(np.stack(rows), _stacked(found))


def _trained(
    references: TrainedReferences,
    pool: Pool,
    observe: Callable[[Any], Observed],
    progress: Progress,
) -> Measured:
    if pool.inputs is None or pool.labels is None:
        raise InputError(
            "references: expected inputs and labels to train them on, got none; pass pairs "
            "(inputs, labels)"
        )
    n = len(pool.member)
    most = references.most - references.most % 2
    plan = half_split(n, models=most, seed=references.seed, groups=pool.groups)
    found: list[Observed] = []
    began = time.monotonic()
    number = most
    while len(found) < number:
        row = len(found)
        progress("training references", row, number)
        at = np.flatnonzero(plan.member[row])
        inputs, labels = chosen_rows(pool.inputs, at), pool.labels[at]
        seed = int(plan.seeds[row]) % (1 << 31)
        try:
            model = references.train(inputs, labels, seed)
        except InputError:
            raise
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise InputError(
                f"references: train raised {text}; it takes (inputs, labels, seed) and returns a model"
            ) from error
        found.append(observe(model))
        spent = time.monotonic() - began
        each = spent / len(found)
        if len(found) == 1:
            number = min(most, max(2, int(references.seconds / each) // 2 * 2))
        elif len(found) % 2 == 0 and spent + 2 * each > references.seconds:
            break
    progress("training references", len(found), len(found))
    spent = time.monotonic() - began
    note = (
        f"references: {len(found)} models trained in {spent:.1f} s on random halves of members and "
        f"others, {spent / len(found):.2g} s each, within {references.seconds:g} s"
    )
    if spent > references.seconds:
        note += "; the budget does not hold two models"
    return Measured(plan.member[: len(found)], _stacked(found), (note,))


def _recorded(
    references: RecordedReferences, labels: Int64Array | None, kept: Int64Array, given: int
) -> Measured:
    member = given_array(references.member, "references: member")
    if member.ndim != 2 or member.shape[1] != given or not len(member):
        raise InputError(
            f"references: expected member of shape (models, {given}), members first and then others, "
            f"got {member.shape}"
        )
    rows = np.stack([_mask(m, given, f"references: row {k}") for k, m in enumerate(member)])
    found = []
    for r in range(len(rows)):
        if references.logits is not None:
            found.append(from_logits(_at(references.logits, r, rows, kept), _labels(labels)))
        elif references.probabilities is not None:
            at = _at(references.probabilities, r, rows, kept)
            found.append(from_probabilities(at, _labels(labels)))
        else:
            found.append(
                from_signals({k: _at(v, r, rows, kept) for k, v in references.signals.items()})
            )
    return Measured(rows[:, kept], _stacked(found))


def _at(values: AnyArray, row: int, member: BoolArray, kept: Int64Array) -> AnyArray:
    a = np.asarray(values)
    if a.shape[:2] != member.shape:
        raise InputError(
            f"references: expected outputs of shape {member.shape} and on, as member has, got {a.shape}"
        )
    return np.asarray(a[row][kept])


def _labels(labels: Int64Array | None) -> Int64Array:
    if labels is None:
        raise InputError("labels: expected them with the outputs of references, got none")
    return labels


def _mask(values: Any, n: int, what: str) -> BoolArray:
    mask = given_array(values, what)
    if mask.shape != (n,) or mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
        raise InputError(
            f"{what}: expected a truth value for each of the {n} members and then others, got "
            f"{mask.dtype} of shape {mask.shape}; say which samples the model was trained on"
        )
    return mask.astype(np.bool_)


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

    def __init__(self, target: Observed, references: Measured, member: BoolArray, labels: Any):
        self.member = np.concatenate([member[None], references.member])
        self.checkpoints = np.zeros(1)
        self.labels = labels
        both = sorted(set(target.signals) & set(references.signals))
        self._held = {
            name: np.concatenate([target.signals[name][None], references.signals[name]])
            for name in both
        }
        self.signals = tuple(both)
        self.manifest: dict[str, Any] = {"key": {"labels": labels is not None}}

    def signal_at(self, name: str, t: int, /) -> FloatArray:
        """(R + 1, N)."""
        return self._held[name]


def referenced_scores(
    target: Observed,
    references: Measured,
    member: BoolArray,
    labels: Int64Array | None,
    attacks: Iterable[Attack] | None = None,
    unit: Unit = EACH,
) -> Scored:
    """Every attack that can be bound, on the one target: scores (N,), and why the others cannot.

    attacks: all of `seepage.attacks.ATTACKS` with their defaults unless given. The target's own
    membership is read by no attack: its references are all R models. unit: with `Subjects(groups)`
    the correlation of subjects' records over the references comes with log-ratios.
    """
    source = _OneTarget(target, references, member, labels)
    wanted = [cls() for cls in ATTACKS.values()] if attacks is None else list(attacks)
    scores: dict[str, Float64Array] = {}
    skipped: dict[str, str] = {}
    within: dict[str, Within] = {}
    for attack in wanted:
        try:
            bound = bind(attack, source)
            missing = unrecorded(bound, source)
            if missing:
                skipped[attack.name] = (
                    target.lacking.get(CURVATURE, ON_REQUEST)
                    if CURVATURE in missing and CURVATURE not in target.signals
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
