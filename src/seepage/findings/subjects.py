"""A run of which subjects are judged: every figure of it counts people, not records."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.attacks import Attack, bind, of_unit
from seepage.attacks.binding import inputs
from seepage.attacks.subjects import centred
from seepage.errors import InputError
from seepage.findings.judging import Judging
from seepage.findings.result import BySize, SubjectFinding
from seepage.findings.source import sides
from seepage.metrics import (
    Subjects,
    Unit,
    Within,
    score_correlation,
    signal_correlation,
    subject_auc,
    unit_of,
)
from seepage.metrics.within_subject import distance_of

__all__ = ["SEVERAL", "OfSubjects", "by_unit", "grown", "subject_finding", "telling_records"]

SEVERAL = "several classes"
"""The class of a subject whose records are of more than one."""


class OfSubjects:
    """A run, subject by subject: membership (R, G), names, and signals as means over records.

    What has a score of its own is scored on the records (`records`) and then by `unit`; the rest,
    such as accuracy, curvature and the test of exposure, reads the mean over a subject's records.
    Raises InputError where the plan divides a subject.
    """

    groups = None

    def __init__(self, run: Any, unit: Subjects) -> None:
        self.records = run
        self.unit = unit
        self._member: BoolArray = np.asarray(unit.member(run.member))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.records, name)

    @property
    def member(self) -> BoolArray:
        """(R, G) bool."""
        return self._member

    @property
    def ids(self) -> NDArray[np.str_]:
        """Names of subjects, (G,)."""
        return np.asarray(self.unit.names, dtype=np.str_)

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the records, and one more where some subject has several."""
        own = tuple(self.records.classes)
        return (*own, SEVERAL) if (self.labels == len(own)).any() else own

    @property
    def labels(self) -> Int64Array:
        """The class of all of a subject's records, or the number after the last class, (G,)."""
        labels = np.asarray(self.records.labels, dtype=np.int64)
        lowest = np.full(len(self.unit.names), np.iinfo(np.int64).max)
        highest = np.full(len(self.unit.names), -1, dtype=np.int64)
        np.minimum.at(lowest, self.unit.codes, labels)
        np.maximum.at(highest, self.unit.codes, labels)
        return np.where(lowest == highest, lowest, len(self.records.classes))

    def signal_at(self, name: str, t: int, /) -> NDArray[np.float32]:
        """One checkpoint of a signal, mean over a subject's records, (R, G[, A]); of layers as it is."""
        values: NDArray[np.float32] = self.records.signal_at(name, t)
        if name.startswith("layer_"):
            return values
        columns = np.moveaxis(np.asarray(values, dtype=np.float64), 1, -1)
        means = np.asarray(self.unit.scores(columns)) / self.unit.sizes
        return np.moveaxis(means, -1, 1).astype(np.float32)


def by_unit(run: Any, unit: Unit | None = None) -> tuple[Any, Unit]:
    """The run by what is judged, and the unit: subjects where it has groups, unless told otherwise.

    Raises InputError where the plan divides a subject.
    """
    chosen = unit_of(getattr(run, "groups", None)) if unit is None else unit
    if not isinstance(chosen, Subjects):
        return run, chosen
    return OfSubjects(run, chosen), chosen


def telling_records(run: Any, unit: Subjects) -> Int64Array:
    """Of every subject the record whose signal membership raises most at the end, (G,) positions."""
    name, sign = ("phi", 1.0) if "phi" in run.signals else ("loss", -1.0)
    signal = sign * np.asarray(run.signal_at(name, len(run.checkpoints) - 1), dtype=np.float64)
    signal = signal.mean(axis=2) if signal.ndim == 3 else signal
    inside, outside = sides(signal, run.member)
    gap = np.nan_to_num(inside - outside, nan=-np.inf)
    # By subject, then by gap: the first of each subject.
    order = np.lexsort((-gap, unit.codes))
    return order[np.unique(unit.codes[order], return_index=True)[1]].astype(np.int64)


def subject_finding(run: Any, attack: Attack, unit: Subjects, judging: Judging) -> SubjectFinding:
    """Sizes, correlation within subjects, and how the risk grows with the records of one.

    run: by record; attack: the main one; judging: of the subjects. Its scores at the last
    checkpoint are compared by record, as plain sums and discounted.
    """
    bound = bind(attack, run)
    signals = inputs(bound, run, len(run.checkpoints) - 1)
    member = np.asarray(run.member, dtype=np.bool_)
    alone = np.asarray(bound.leave_one_out(signals, member), dtype=np.float64)
    scores = of_unit(bound, alone, signals, member, unit)
    if bound.log_ratio:
        within = signal_correlation(bound.leading(signals), member, unit)
    else:
        within = score_correlation(centred(bound, alone), member, unit)
    return grown(
        bound.title, bound.log_ratio, centred(bound, alone), scores, within, member, unit, judging
    )


def grown(
    title: str,
    log_ratio: bool,
    alone: Float64Array,
    scores: Float64Array,
    within: Within,
    member: BoolArray,
    unit: Subjects,
    judging: Judging,
) -> SubjectFinding:
    """How the figures grow from records to subjects.

    alone, member (R, N): scores of records, with a zero of their own; scores (R, G): of subjects;
    judging: of subjects.
    """
    (by_record,) = Judging(member, judging.target, groups=unit.codes).auc(alone)
    (plain,) = judging.auc(np.asarray(unit.scores(alone), dtype=np.float64))
    (whole,) = judging.auc(scores)
    distance = distance_of(by_record.mean)
    return SubjectFinding(
        sizes=unit.sizes,
        records=len(unit.codes),
        attack=title,
        log_ratio=log_ratio,
        within=within,
        by_record=by_record,
        plain=plain,
        whole=whole,
        by_size=tuple(
            _of_size(first, last, scores, unit.sizes, judging, distance, within.used)
            for first, last in _classes(unit.sizes)
        ),
    )


def _classes(sizes: Int64Array) -> list[tuple[int, int]]:
    """Sizes 1, 2 to 3, 4 to 7, ... that occur, each with the smallest and largest in it."""
    power = np.floor(np.log2(sizes)).astype(np.int64)
    return [(int(sizes[power == k].min()), int(sizes[power == k].max())) for k in np.unique(power)]


def _of_size(
    first: int,
    last: int,
    scores: Float64Array,
    sizes: Int64Array,
    judging: Judging,
    distance: float,
    correlation: float,
) -> BySize:
    at = (sizes >= first) & (sizes <= last)
    auc = None
    part = judging.member[:, at]
    rows = part if judging.target is None else part[judging.target][None]
    if ((rows.sum(axis=1) > 1) & ((~rows).sum(axis=1) > 1)).all():
        try:
            (auc,) = Judging(part, judging.target).auc(scores[:, at])
        except InputError:
            auc = None
    return BySize(
        first,
        last,
        int(at.sum()),
        auc,
        subject_auc(sizes[at], sizes[at], distance, correlation),
        subject_auc(sizes[at], sizes[at], distance),
    )
