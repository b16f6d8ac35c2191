"""The parts of a pool that a report looks at: classes, right and wrong, easy and hard, columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks import Attack
from seepage.errors import InputError, nearest
from seepage.findings.judging import Judging
from seepage.metrics import EACH, Subjects, Unit
from seepage.metrics.slices import Slice, slice_sizes, slices
from seepage.plan import judged
from seepage.short_repr import short_repr
from seepage.store.files import plain

if TYPE_CHECKING:
    from seepage.data import Dataset

__all__ = [
    "BY",
    "OneSlice",
    "SliceFinding",
    "all_slices",
    "column_of",
    "divided",
    "of_subjects",
    "slices_of",
    "slices_of_values",
]

BY = ("class", "correctness", "difficulty")
"""What every run can be divided by."""

# Members, and others, that every target needs in a part for figures of it.
_LEAST = 5
# Parts of numbers, and how many values a column may have to be taken as they are.
_QUARTERS, _VALUES = 4, 10
# Parts of one division at most; the smallest are joined.
_MOST = 24


@dataclass(frozen=True)
class OneSlice:
    """A part by name. joined: the names of small parts that it was made of. found: None where it is
    too small, and `why` says it."""

    name: str
    samples: float
    found: Slice | None
    joined: tuple[str, ...] = ()
    why: str = ""


@short_repr
@dataclass(frozen=True, eq=False)
class SliceFinding:
    """One attack within the parts of one division, at the last checkpoint.

    by: "class", "correctness", "difficulty" or the name of a column; how: how parts were made, in a
    sentence. fpr: the false-positive rate that thresholds are set for. compared: how many parts have
    figures, for which intervals pay.
    """

    by: str
    how: str
    attack: str
    fpr: float
    parts: tuple[OneSlice, ...]

    @property
    def compared(self) -> int:
        """Parts with figures."""
        return sum(p.found is not None for p in self.parts)

    @property
    def words(self) -> str:
        """How to read the intervals and both thresholds."""
        return (
            f"{self.how} Intervals hold for all {self.compared} parts at once (95 %). TPR and FPR are at the "
            f"one threshold that {100 * self.fpr:g} % of all non-members pass; beside it the TPR at a "
            "threshold of each part's own, for an attacker who knows the part of a sample."
        )

    def summary(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "by": self.by,
            "how": self.how,
            "attack": self.attack,
            "fpr": self.fpr,
            "threshold": "tpr and fpr: one for all samples; own: one for each part",
            "compared": self.compared,
            "parts": [plain(p) for p in self.parts],
        }


@dataclass(frozen=True, eq=False)
class _MeanOut(Attack):
    """The mean of a signal over the references that did not see the sample: of each target its own."""

    signal: str = "loss"

    name: ClassVar[str] = "mean-out"
    title: ClassVar[str] = "Mean over references without the sample"
    min_out: ClassVar[int] = 1
    first_view: ClassVar[bool] = True
    aligns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "requires", (self.signal,))

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> Float64Array:
        values = references[self.signal][..., 0].astype(np.float64)
        count = (~member).sum(axis=0)
        total = np.where(member, 0.0, values).sum(axis=0)
        return np.asarray(total / np.maximum(count, 1))


def slices_of(
    run: Any, scores: Float64Array, judging: Judging, attack: str, by: str, *, fpr: float = 0.01
) -> SliceFinding:
    """One attack by "class", "correctness" or "difficulty".

    run: what `judging` counts, samples or subjects (`seepage.findings.subjects.by_unit`); scores
    (R, N). Correctness and difficulty of a sample are those under the references of each target that
    did not see it, the target and its tuple left out: were the target's own answers among them,
    samples that it finds hard would be its non-members, and noise would read as a leak.

    Raises InputError where the run has not what it needs.
    """
    if by == "class":
        codes = np.asarray(run.labels, dtype=np.int64)
        names = [str(c) for c in run.classes]
        return _finding(scores, judging, attack, by, "Parts are classes.", codes, names, fpr)
    task = str(run.manifest.get("data", {}).get("task", "classification"))
    if by == "correctness":
        if "correct" not in run.signals:
            raise InputError(
                f"by: correctness needs the signal 'correct', which a run of the task {task} does not "
                "hold; divide it by difficulty"
            )
        right = _mean_out(run, "correct")
        codes = (right < 0.5).astype(np.int64)
        names = ["mostly right", "mostly wrong"]
        how = "Mostly right are samples that at least half of the references without them answer right."
        return _finding(scores, judging, attack, by, how, codes, names, fpr)
    if by != "difficulty":
        raise InputError(f"by: expected one of {', '.join(BY)}, got {by!r}")
    signal, sign = next(
        ((n, s) for n, s in (("loss", 1.0), ("phi", -1.0), ("residual", 1.0)) if n in run.signals),
        ("", 1.0),
    )
    if not signal:
        raise InputError(
            "by: difficulty needs the signal 'loss' or 'phi', which this run does not hold; record it"
        )
    hard = sign * _mean_out(run, signal)
    if signal == "residual":
        hard = np.abs(hard)
    codes = _quarters(hard, judged(judging.member))
    names = ["easiest quarter", "second quarter", "third quarter", "hardest quarter"]
    how = (
        f"Difficulty is the mean {signal if sign > 0 else 'of −φ'} of the references without the sample, "
        "in quarters of each target."
    )
    return _finding(scores, judging, attack, by, how, codes, names, fpr)


def slices_of_values(
    values: ArrayLike,
    scores: Float64Array,
    judging: Judging,
    attack: str,
    by: str,
    *,
    unit: Unit = EACH,
    fpr: float = 0.01,
) -> SliceFinding:
    """One attack by a value of each record: numbers in quarters, what has at most ten values as it is.

    values (N,) numbers or texts, NaN and "" for unknown; of subjects all of a subject's records must
    have the same. Raises InputError on other shapes, and where they do not.
    """
    given = np.asarray(values)
    whole = judging.member.shape[1] if not isinstance(unit, Subjects) else len(unit.codes)
    if given.ndim != 1 or len(given) != whole:
        raise InputError(
            f"slices[{by}]: expected one value per sample ({whole}), got shape {given.shape}"
        )
    if isinstance(unit, Subjects):
        given = of_subjects(given, unit, by)
    if given.dtype.kind in "biuf" and len(np.unique(given[~_unknown(given)])) > _VALUES:
        x = given.astype(np.float64)
        ends = np.nanquantile(x, [0.25, 0.5, 0.75])
        codes = np.searchsorted(ends, x, side="left").astype(np.int64)
        low, middle, high = (f"{e:.4g}" for e in ends)
        names = [f"at most {low}", f"{low} to {middle}", f"{middle} to {high}", f"above {high}"]
        how = f"Parts are quarters of {by}."
    else:
        texts = [_shown(v) for v in given.tolist()]
        names = list(dict.fromkeys(sorted(set(texts), key=_order)))
        number = {n: k for k, n in enumerate(names)}
        codes = np.array([number[t] for t in texts], dtype=np.int64)
        how = f"Parts are values of {by}."
    unknown = _unknown(given)
    if unknown.any():
        codes = np.where(unknown, len(names), codes)
        names = [*names, "unknown"]
    return _finding(scores, judging, attack, by, how, codes, names, fpr)


def divided(
    run: Any,
    scores: Float64Array,
    judging: Judging,
    attack: str,
    by: str,
    *,
    data: Dataset | None,
    unit: Unit = EACH,
    fpr: float = 0.01,
) -> SliceFinding:
    """One attack by a name: of `BY`, or a column of the table `data`.

    run: what `judging` counts; data: its records.
    """
    if by in BY:
        return slices_of(run, scores, judging, attack, by, fpr=fpr)
    return slices_of_values(column_of(data, by), scores, judging, attack, by, unit=unit, fpr=fpr)


def all_slices(
    run: Any,
    scores: Float64Array,
    judging: Judging,
    attack: str,
    *,
    data: Dataset | None,
    unit: Unit = EACH,
    by: Sequence[str] = (),
    values: Mapping[str, ArrayLike] | None = None,
) -> tuple[SliceFinding, ...]:
    """What a report shows: every division of `BY` that makes at least two parts, `by`, and `values`."""
    out = []
    for name in BY:
        try:
            found = slices_of(run, scores, judging, attack, name)
        except InputError:
            continue
        if name in by or found.compared > 1:
            out.append(found)
    out += [
        divided(run, scores, judging, attack, name, data=data, unit=unit)
        for name in dict.fromkeys(by)
        if name not in BY
    ]
    for name, given in (values or {}).items():
        out.append(slices_of_values(given, scores, judging, attack, name, unit=unit))
    return tuple(out)


def column_of(data: Dataset | None, name: str) -> NDArray[Any]:
    """The values of a table's column, of a category its levels: (N,). InputError where there is none."""
    if data is None:
        raise InputError(
            f"by: the data could not be found again to look for {name!r}; divide by "
            f"{', '.join(BY)}, or pass a file of values"
        )
    columns = list(data.columns)
    levels = [k for k, c in enumerate(columns) if c.startswith(f"{name}=")]
    if name not in columns and not levels:
        known = list(dict.fromkeys([*BY, *(c.partition("=")[0] for c in columns)]))
        raise InputError(f"by: expected one of {', '.join(BY)} or a column of the table, got {name!r}; {nearest(name, known)}")  # fmt: skip
    rows = np.arange(len(data))
    x = data.rows(rows).numpy()
    if name in columns:
        found: NDArray[Any] = x[:, columns.index(name)].astype(np.float64)
        return found
    at = x[:, levels]
    texts = np.array([columns[k].partition("=")[2] for k in levels] + [""])
    return np.asarray(texts[np.where(at.any(axis=1), at.argmax(axis=1), len(levels))])


def _mean_out(run: Any, signal: str) -> Float64Array:
    values = run.signal_at(signal, len(run.checkpoints) - 1)
    return np.asarray(_MeanOut(signal).leave_one_out(values, np.asarray(run.member, np.bool_)))


def _quarters(values: Float64Array, among: BoolArray) -> Int64Array:
    """The quarter of each value among those of its row, (R, N); −1 of samples that nobody judges."""
    codes = np.full(values.shape, -1, dtype=np.int64)
    at = np.flatnonzero(among)
    rank = np.argsort(np.argsort(values[:, at], axis=1, kind="stable"), axis=1)
    codes[:, at] = rank * _QUARTERS // len(at)
    return codes


def _unknown(values: NDArray[Any]) -> BoolArray:
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    return np.array([v is None or v == "" or v != v for v in values.tolist()], dtype=np.bool_)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _order(text: str) -> tuple[bool, float, str]:
    """Numbers by size, then texts."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def of_subjects(values: NDArray[Any], unit: Subjects, by: str) -> NDArray[Any]:
    """The value of all of a subject's records, (G,)."""
    texts = np.array([_shown(v) for v in values.tolist()])
    first = np.full(len(unit.names), -1, dtype=np.int64)
    order = np.arange(len(values))[::-1]
    first[unit.codes[order]] = order
    odd = np.flatnonzero(texts != texts[first][unit.codes])
    if odd.size:
        raise InputError(
            f"slices[{by}]: expected one value for all records of a subject, got several of "
            f"{unit.names[int(unit.codes[odd[0]])]!r}; judge samples (unit=Samples(), --unit sample)"
        )
    return np.asarray(values[first])


def _finding(
    scores: Float64Array,
    judging: Judging,
    attack: str,
    by: str,
    how: str,
    codes: Int64Array,
    names: Sequence[str],
    fpr: float,
) -> SliceFinding:
    """Figures of all parts; small ones joined, and refused where that is not enough."""
    s, y = judging.compared(scores)
    wide = np.broadcast_to(codes, judging.member.shape).astype(np.float64)
    parts = judging.compared(wide)[0].astype(np.int64)
    sizes, fewest = slice_sizes(np.where(parts < 0, -1, parts), y)
    sizes = np.append(sizes, np.zeros(len(names) - len(sizes)))
    fewest = np.append(fewest, np.zeros(len(names) - len(fewest), dtype=np.int64))
    present = np.flatnonzero(sizes > 0)
    small = present[fewest[present] < _LEAST]
    large = present[fewest[present] >= _LEAST]
    if len(large) > _MOST:
        kept = np.sort(large[np.argsort(-sizes[large], kind="stable")[: _MOST - 1]])
        small, large = np.setdiff1d(present, kept), kept
    number = np.full(len(names) + 1, -1, dtype=np.int64)  # the last stands for −1
    number[large] = np.arange(len(large))
    rest: list[OneSlice] = []
    if small.size:
        joined = tuple(names[k] for k in small)
        count = float(sizes[small].sum())
        number[small] = len(large)
        enough = slice_sizes(number[parts], y)[1][len(large)] >= _LEAST
        name = joined[0] if len(joined) == 1 else f"{len(joined)} small parts together"
        if not enough:
            number[small] = -1
        why = "" if enough else f"fewer than {_LEAST} members or others of some target"
        rest = [OneSlice(name, count, None, joined if len(joined) > 1 else (), why)]
    moved = number[parts]
    found: list[Slice] = []
    if moved.max(initial=-1) >= 0:
        plan = judging.member if judging.target is None else y
        found = list(slices(s, y, moved, fpr=fpr, plan=plan))
    shown = [
        OneSlice(names[k], f.samples, f) for k, f in zip(large, found[: len(large)], strict=True)
    ]
    if rest and not rest[0].why:
        shown.append(OneSlice(rest[0].name, found[-1].samples, found[-1], rest[0].joined))
    elif rest:
        shown += rest
    return SliceFinding(by, how, attack, fpr, tuple(shown))
