"""What a run's own signals say against what was given with them: lists of members, labels.

Every door to figures of a run asks here: import, training by a user's function, the commands, the
report. What is found is a note for a reader; `check` refuses where lists of members contradict or
models are copies, and gives no verdict where answers tell nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.array_types import Float64Array, Int64Array
from seepage.metrics.own_labels import told
from seepage.metrics.own_lists import Misfit, Moved, misfits, moved
from seepage.store.computed import computed

__all__ = ["ContradictionWarning", "Contradictions", "contradictions", "lists_in_words", "warn_of"]

# Enough for any leak that matters; the cost grows with models² times samples.
_SAMPLES = 10_000
_WORK = 2e9
_SHOWN = 3
_NAMED = 8
# Samples at another value than most of their label: fewer, or two values alone, may be alike by chance.
_VARIED = 10
# The first that is there is looked at; of all of them lower means a surer model but of phi.
_CONFIDENCE = ("phi", "loss", "mentr")


class ContradictionWarning(UserWarning):
    """What was given does not fit itself: figures of it are of something else than they say."""


@dataclass(frozen=True)
class Contradictions:
    """Sentences, or "" where nothing was found.

    lists: lists of members that are not the models' own. alike: models trained on different samples
    that answer exactly alike. answers: members' answers that tell nothing of their labels. labels: whether
    those to others tell nothing of them either, so that labels or inputs are the likeliest cause of both.
    """

    lists: str = ""
    alike: str = ""
    answers: str = ""
    labels: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """Those that were found, the likeliest cause first."""
        found = (self.answers, self.lists) if self.labels else (self.lists, self.answers)
        return tuple(w for w in (self.alike, *found) if w)


def contradictions(run: Any) -> Contradictions:
    """What contradicts itself in a run, by its last checkpoint.

    Of at most 10,000 samples: lists, where they differ, by `moved` and `misfits` of `seepage.metrics.own_lists` on phi, loss or mentr;
    models that are alike by the same signal, bit by bit, unless they are as they began; answers by `seepage.metrics.own_labels.told` on correct, where labels are classes. Where nothing
    leaks wrong lists leave no trace, and none is found.
    """
    return computed(run, "contradictions", {}, Contradictions, lambda: _contradictions(run))


def _contradictions(run: Any) -> Contradictions:
    member = np.asarray(run.member, dtype=np.bool_)
    if not member.size:
        return Contradictions()
    answers, lists = _answers(run, member), _lists(run, member)
    labels = bool(answers and _answers(run, ~member))
    if labels and lists:
        lists += (
            "; but answers tell nothing of the labels of anybody, so that lists may be right and labels or "
            "inputs wrong: look at those first"
        )
    return Contradictions(lists, _alike(run, member), answers, labels)


def _lists(run: Any, member: Any) -> str:
    name = next((n for n in _CONFIDENCE if n in run.signals), None)
    if name is None or len(member) < 2:
        return ""
    rows = _disputed(member)
    values = _first_view(run, name, rows)
    groups = getattr(run, "groups", None)
    confidence = values if name == "phi" else -values
    other = moved(confidence, member, rows)
    if other is not None:
        return _moved_in_words(other)
    found = misfits(
        confidence,
        member[:, rows],
        None if groups is None else np.asarray(groups)[rows],
    )
    names = np.asarray(getattr(run, "models", np.arange(len(member)))).tolist()
    said = lists_in_words(found, [f"model {m}" for m in names], len(member))
    every = len(found) == len(member) and all(m.inverted and m.row == m.model for m in found)
    return _other_signal(name, values) + said if every else said


def _moved_in_words(found: Moved) -> str:
    counted = "counted from 1 where rows count from 0" if found.by < 0 else "one row short"
    return (
        f"lists of members: all of them fit with {found.by:+d} on every row, AUC {found.there:.2f}, as "
        f"they are {found.own:.2f}: they seem to be {counted}, so that figures are about other people "
        f"than they say; {'subtract 1 from' if found.by < 0 else 'add 1 to'} every row number"
    )


def _other_signal(name: str, values: Float64Array) -> str:
    """What a signal seems to be by which every model is surer of others than of its members; "" where it may be right.

    A loss is never below 0, and its negative never above; φ of models that are right more often than not is mostly
    above 0, and its negative below.
    """
    if name == "phi" and values.min() >= 0:
        what = "losses: save them as `loss` instead"
    elif name == "phi" and np.median(values) < 0 < values.max():
        what = "the negative of phi: save minus them"
    elif name != "phi" and values.max() <= 0 > values.min():
        what = f"the negative of {name}: save minus them"
    else:
        return ""
    way = "lower" if name == "phi" else "higher"
    return (
        f"{name}: values in {values.min():.3g}..{values.max():.3g}, of which every model has {way} ones for its "
        f"members, seem to be {what}; if they are what they are called, "
    )


def lists_in_words(found: Sequence[Misfit], names: Sequence[str], of: int) -> str:
    """One sentence for all lists that are not their models' own; "" for none."""
    if not found:
        return ""
    shown = []
    for m in found[:_SHOWN]:
        whose = "" if m.row == m.model else f" of {names[m.row]}"
        whose = f"those outside of the list{whose}" if m.inverted else f"the list{whose}"
        shown.append(f"{names[m.model]} fits {whose}, AUC {m.there:.2f}, its own {m.own:.2f}")
    more = f"; … ({len(found)} in all)" if len(found) > _SHOWN else ""
    inverted = all(m.inverted and m.row == m.model for m in found)
    remedy = (
        "say true for members and not for those left out, or give each model its list where two were exchanged"
        if inverted
        else "give every model the list it was trained on"
    )
    return (
        f"lists of members: {len(found)} of {of} models are surer of other samples than those listed as "
        f"theirs ({'; '.join(shown)}{more}): figures are about other people than they say; {remedy}"
    )


def _alike(run: Any, member: Any) -> str:
    """Models of different members whose signals are equal in every bit at the last checkpoint.

    None are those that are as they began (initialisation alone, or nothing changed since), and those
    whose values are too few to tell two models apart, such as 0 and 1 or one for each label.
    """
    name = next((n for n in _CONFIDENCE if n in run.signals), None)
    times = np.asarray(run.checkpoints)
    if name is None or len(member) < 2 or times[-1] == 0:
        return ""
    rows = _some(*member.shape)
    values = _first_view(run, name, rows)
    same: dict[bytes, list[int]] = {}
    for i, row in enumerate(values):
        same.setdefault(row.tobytes(), []).append(i)
    equal = [
        m
        for m in same.values()
        if (member[m] != member[m[0]]).any() and _varied(run, values[m[0]], rows)
    ]
    if equal and times[0] == 0:
        start = _first_view(run, name, rows, 0)
        equal = [m for m in equal if not np.array_equal(values[m], start[m], equal_nan=True)]
    if not equal:
        return ""
    names = np.asarray(getattr(run, "models", np.arange(len(member)))).tolist()
    shown = []
    for m in equal[:_SHOWN]:
        told = ", ".join(str(names[i]) for i in m[:_NAMED])
        shown.append(f"models {told}{f', … ({len(m)} in all)' if len(m) > _NAMED else ''}")
    more = " and others" if len(equal) > _SHOWN else ""
    return (
        f"copies: {'; '.join(shown)}{more} answer exactly alike though trained on different samples: "
        "was one file saved or copied several times? What one model says of its members is taken for "
        "what others say; give every model its own"
    )


def _varied(run: Any, row: Float64Array, rows: Int64Array) -> bool:
    """Whether values are so many that two models cannot share all of them by chance."""
    if len(np.unique(row)) < 3:
        return False
    labels = np.asarray(run.labels)[rows]
    labels = labels if labels.ndim == 1 else np.zeros(len(rows))
    pairs, counts = np.unique(np.stack([labels, row]), axis=1, return_counts=True)
    most = sum(counts[pairs[0] == k].max() for k in np.unique(pairs[0]))
    return bool(len(rows) - most >= _VARIED)


def _answers(run: Any, member: Any) -> str:
    about = run.manifest.get("data", {})
    classes = about.get("task", "classification") in ("classification", "binary")
    if "correct" not in run.signals or not classes or len(run.classes) < 2:
        return ""
    rows = _some(*member.shape)
    right = _first_view(run, "correct", rows)
    found = told(right, np.asarray(run.labels)[rows], member[:, rows])
    return found.words if found is not None and found.nothing else ""


def _first_view(run: Any, name: str, rows: Int64Array, at: int | None = None) -> Float64Array:
    """A signal of some samples at a checkpoint, by default the last, (R, rows)."""
    t = len(run.checkpoints) - 1 if at is None else at
    some = getattr(run, "some_at", None)
    values = np.asarray(run.signal_at(name, t)[:, rows] if some is None else some(name, t, rows))
    return (values[..., 0] if values.ndim == 3 else values).astype(np.float64)


def _disputed(member: Any) -> Int64Array:
    """Samples that lists tell apart, and their neighbours: all, or some evenly spaced among them."""
    apart = member.any(axis=0) & ~member.all(axis=0)
    apart[1:] |= apart[:-1]
    apart[:-1] |= apart[1:]
    near = np.flatnonzero(apart)
    return (
        np.asarray(near[_some(len(member), near.size)]) if near.size > 3 else _some(*member.shape)
    )


def _some(models: int, samples: int) -> Int64Array:
    """Samples that are looked at: all, or some that are evenly spaced."""
    most = min(samples, _SAMPLES, max(500, int(_WORK / models**2)))
    return np.unique(np.linspace(0, samples - 1, most).astype(np.int64))


def warn_of(run: Any, *, answers: bool = True, stacklevel: int = 3) -> None:
    """Warn of everything that contradicts itself in a run that was just made.

    answers: False where other words say already that the models know too little. stacklevel: as of
    `warnings.warn`, 3 for the caller of who calls this.
    """
    found = contradictions(run)
    for text in found.words:
        if answers or text != found.answers:
            warnings.warn(f"{run.path}: {text}", ContradictionWarning, stacklevel=stacklevel)
