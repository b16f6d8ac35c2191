"""Parts of the members and others of one model, and how well its main attack does within them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.errors import InputError, nearest
from seepage.findings.judging import Judging
from seepage.findings.slices import BY, SliceFinding, of_subjects, slices_of_values
from seepage.given_arrays import given_array
from seepage.metrics import Subjects
from seepage.signals.tasks import Task
from seepage.single.pool import Pool
from seepage.single.references import Measured

__all__ = ["Sliced", "parts_found", "parts_of"]

Sliced = Mapping[str, tuple[ArrayLike, ArrayLike]]
"""Name -> (a value of each member, a value of each other)."""


def parts_of(
    by: Sequence[str],
    slices: Sliced | None,
    pool: Pool,
    kept: Int64Array,
    given: int,
    task: Task,
    referenced: bool,
) -> dict[str, AnyArray | None]:
    """A value of every sample of the pool (N,) for each division, in the order they were asked for.

    None stands for what the references will tell, where there are any: referenced. by: "class"; "correctness" and "difficulty", which are those under references that did not see the
    sample; or a column of inputs that are a data frame. slices: further values, of all `given` members and others, of
    which the pool keeps those at `kept`. Raises InputError for a name that is none of these, for
    what cannot be had, and for values that are not one per sample.
    """
    if isinstance(by, str):
        raise InputError(f"by: expected a list of names, got the text {by!r}; write [{by!r}]")
    out = {name: _named(name, pool, task, referenced) for name in dict.fromkeys(by)}
    for name, pair in (slices or {}).items():
        if name in out:
            raise InputError(f"slices: expected names that `by` does not have, got {name!r} twice")
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InputError(
                f"slices[{name}]: expected a pair (of members, of others), got {type(pair).__name__}; "
                "pass both"
            )
        sides = [given_array(v, f"slices[{name}]") for v in pair]
        if {v.dtype.kind in "biuf" for v in sides} == {True, False}:
            raise InputError(
                f"slices[{name}]: expected numbers of both sides, or texts, got {sides[0].dtype} and "
                f"{sides[1].dtype}"
            )
        if any(v.ndim != 1 for v in sides) or sum(len(v) for v in sides) != given:
            shapes = " and ".join(str(v.shape) for v in sides)
            raise InputError(
                f"slices[{name}]: expected a value for each of the {given:,} members and others, got "
                f"shapes {shapes}"
            )
        out[name] = np.concatenate(sides)[kept]
    if isinstance(pool.unit, Subjects):
        # What divides a subject is refused before anything is asked.
        for name, values in out.items():
            if values is not None:
                of_subjects(values, pool.unit, name)
    return out


def parts_found(
    values: Mapping[str, AnyArray | None],
    found: Measured | None,
    scores: Float64Array,
    member: BoolArray,
    title: str,
    pool: Pool,
) -> tuple[SliceFinding, ...]:
    """One attack within the parts of every division; scores, member (U,) of what is judged."""
    judging = Judging(np.stack([member, ~member]), 0)
    told = {n: _by_references(n, found) if v is None else v for n, v in values.items()}
    return tuple(
        slices_of_values(v, scores[None], judging, title, name, unit=pool.unit)
        for name, v in told.items()
    )


def _named(name: str, pool: Pool, task: Task, referenced: bool) -> AnyArray | None:
    frame: Any = pool.inputs
    if name == "class":
        if pool.labels is None or not task.classes:
            raise InputError(
                f"by: class needs a class of every sample, which {task.name} does not give"
            )
        # Texts: ten digits are classes, no quarters of a number.
        return np.array([str(v) for v in np.ravel(pool.labels).tolist()])
    if name in BY:
        return None if referenced else _by_references(name, None)
    columns = [str(c) for c in frame.columns] if hasattr(frame, "iloc") else []
    if name not in columns:
        raise InputError(
            f"by: expected one of {', '.join((*BY, *columns[:5]))}, got {name!r}; "
            f"{nearest(name, (*BY, *columns))}, or pass values as slices"
        )
    return np.asarray(frame.iloc[:, columns.index(name)].to_numpy())


def _by_references(name: str, found: Measured | None) -> AnyArray:
    """The mean of what references say that did not see the sample; unknown where all did."""
    signal, sign = ("correct", 1.0) if name == "correctness" else ("loss", 1.0)
    if name == "difficulty" and found is not None and "loss" not in found.signals:
        signal, sign = ("phi", -1.0) if "phi" in found.signals else ("residual", 1.0)
    if found is None or signal not in found.signals:
        raise InputError(
            f"by: {name} is told by references that did not see a sample, for parts made of the answers "
            "that are judged show a leak where there is none; pass references, or values as slices"
        )
    out = ~found.member
    said = np.abs(found.signals[signal]) if signal == "residual" else found.signals[signal]
    count = out.sum(axis=0)
    mean = sign * np.where(out, said, 0.0).sum(axis=0) / np.maximum(count, 1)
    if name == "difficulty":
        return np.where(count > 0, mean, np.nan)
    words = np.where(mean >= 0.5, "mostly right", "mostly wrong")
    return np.where(count > 0, words, "")
