"""The blind baseline of a run's pool, and what is said where it tells members from others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from seepage.array_types import AnyArray, BoolArray, Int64Array
from seepage.errors import InputError
from seepage.findings.judging import target_row
from seepage.findings.result import Blind
from seepage.metrics import EACH, Subjects, Unit, blind_baseline
from seepage.metrics.blind_inputs import said_in, token_texts
from seepage.plan import judged
from seepage.store.computed import computed

if TYPE_CHECKING:
    from seepage.data import Dataset

__all__ = ["blind_of", "blind_of_run", "shift_words", "whole_unit"]

# How many samples the blind baseline is run on at most, and values of them, which it holds in float64.
_SAMPLES, _VALUES = 10_000, 2**27


def blind_of(
    data: Dataset | None, member: BoolArray, labels: Int64Array, unit: Unit = EACH
) -> Blind:
    """The blind baseline of a plan (R, N) on its pool, or the reason why it could not be run."""
    if data is None:
        return Blind(None, "the data could not be found again from its source")
    rows = np.arange(len(data))
    note = ""
    most = min(_SAMPLES, max(500, _VALUES // math.prod(data.shape)))
    if len(rows) > most:
        # The whole pool would only cost memory.
        rows = _some(unit, len(rows), most)
        note = f"It was run on {len(rows):,} samples drawn from the pool."
    if isinstance(unit, Subjects):
        unit = Subjects(unit.codes[rows])
    inputs = data.rows(rows).numpy()
    try:
        found = blind_baseline(
            inputs,
            member[:, rows],
            labels[rows],
            targets=None if data.targets is None else data.targets.numpy()[rows],
            texts=_texts(data, inputs),
            runs=4,
            unit=unit,
        )
    except InputError as error:
        return Blind(None, str(error))
    return Blind.of(found, note)


def _texts(data: Dataset, inputs: AnyArray) -> list[str] | None:
    """What documents say, in words where their vocabulary is of bytes, else token by token."""
    if data.task != "language":
        return token_texts(inputs)
    return said_in(inputs, data.classes)


def whole_unit(run: Any, split: BoolArray) -> Unit:
    """Subjects where the run has groups and the split (R, N) keeps each whole, else samples.

    A subject on both sides of a fold would be recognised, whatever figures count.
    """
    groups = getattr(run, "groups", None)
    if groups is None:
        return EACH
    try:
        unit = Subjects(groups)
        unit.member(split)
    except InputError:
        return EACH
    return unit


def blind_of_run(run: Any) -> Blind:
    """The blind baseline of a run's split, of the fixed target's where it has one.

    Of samples that some run trained on and another did not.
    """
    # Where the pool cannot be found now, it may be found the next time.
    return computed(
        run, "blind", {}, Blind, lambda: _blind_of_run(run), worth=lambda b: b.auc is not None
    )


def _blind_of_run(run: Any) -> Blind:
    data = run.data()
    member = np.asarray(run.member, dtype=np.bool_)
    at = np.flatnonzero(judged(member))
    if data is None or not at.size:
        return blind_of(None, member, run.labels)
    row = target_row(run)
    split = member if row is None else member[row][None]
    unit = whole_unit(run, split)
    if isinstance(unit, Subjects):
        unit = Subjects(unit.codes[at])
    part = data if len(at) == len(data) else data.take(at)
    return blind_of(part, split[:, at], np.asarray(run.labels)[at], unit)


def shift_words(found: Blind) -> str:
    """Why there is no verdict, in a clause: members are told without the model; "" where they are not.

    >>> from seepage.metrics import Estimate
    >>> shift_words(Blind(Estimate(0.7, 0.65, 0.75, 0.95, 8), "", "gradient boosting"))
    'members and others differ without any model: gradient boosting on the samples alone tells them apart with AUC 0.700 [0.650, 0.750]'
    >>> shift_words(Blind(Estimate(0.5, 0.45, 0.55, 0.95, 8), ""))
    ''
    """
    e = found.auc
    if e is None or not found.shifted:
        return ""
    return (
        f"members and others differ without any model: {found.by or 'a classifier'} on the samples "
        f"alone tells them apart with AUC {e.mean:.3f} [{e.low:.3f}, {e.high:.3f}]"
    )


def _some(unit: Unit, samples: int, most: int) -> Int64Array:
    """Some `most` samples of the pool, subjects whole."""
    rng = np.random.default_rng(0)
    if not isinstance(unit, Subjects):
        return np.sort(rng.choice(samples, most, replace=False))
    order = rng.permutation(len(unit.names))
    kept = order[: max(10, int(np.searchsorted(np.cumsum(unit.sizes[order]), most)))]
    return np.flatnonzero(np.isin(unit.codes, kept))
