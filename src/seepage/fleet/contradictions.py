"""What a run's own signals say against what was given with them: lists of members, labels.

Every door to figures of a run asks here: import, training by a user's function, the commands, the
report. What is found is a note for a reader; `check` refuses where lists of members contradict.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.array_types import Float64Array, Int64Array
from seepage.metrics.own_labels import told
from seepage.metrics.own_lists import Misfit, misfits

__all__ = ["ContradictionWarning", "Contradictions", "contradictions", "lists_in_words", "warn_of"]

# Enough for any leak that matters; the cost grows with models² times samples.
_SAMPLES = 10_000
_WORK = 2e9
_SHOWN = 3
# The first that is there is looked at; of all of them lower means a surer model but of phi.
_CONFIDENCE = ("phi", "loss", "mentr")


class ContradictionWarning(UserWarning):
    """What was given does not fit itself: figures of it are of something else than they say."""


@dataclass(frozen=True)
class Contradictions:
    """Sentences, or "" where nothing was found.

    lists: lists of members that are not the models' own. answers: members' answers that tell
    nothing of their labels.
    """

    lists: str = ""
    answers: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """Those that were found."""
        return tuple(w for w in (self.lists, self.answers) if w)


def contradictions(run: Any) -> Contradictions:
    """What contradicts itself in a run, by its last checkpoint.

    Of at most 10,000 samples: lists by `seepage.metrics.own_lists.misfits` on phi, loss or mentr;
    answers by `seepage.metrics.own_labels.told` on correct, where labels are classes. Where nothing
    leaks wrong lists leave no trace, and none is found.
    """
    member = np.asarray(run.member, dtype=np.bool_)
    if not member.size:
        return Contradictions()
    return Contradictions(_lists(run, member), _answers(run, member))


def _lists(run: Any, member: Any) -> str:
    name = next((n for n in _CONFIDENCE if n in run.signals), None)
    if name is None or len(member) < 2:
        return ""
    rows = _some(len(member), member.shape[1])
    values = _first_view(run, name, rows)
    groups = getattr(run, "groups", None)
    found = misfits(
        values if name == "phi" else -values,
        member[:, rows],
        None if groups is None else np.asarray(groups)[rows],
    )
    names = np.asarray(getattr(run, "models", np.arange(len(member)))).tolist()
    return lists_in_words(found, [f"model {m}" for m in names], len(member))


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


def _answers(run: Any, member: Any) -> str:
    about = run.manifest.get("data", {})
    classes = about.get("task", "classification") in ("classification", "binary")
    if "correct" not in run.signals or not classes or len(run.classes) < 2:
        return ""
    rows = _some(*member.shape)
    right = _first_view(run, "correct", rows)
    found = told(right, np.asarray(run.labels)[rows], member[:, rows])
    return found.words if found is not None and found.nothing else ""


def _first_view(run: Any, name: str, rows: Int64Array) -> Float64Array:
    """A signal of some samples at the last checkpoint, (R, rows)."""
    values = np.asarray(run.signal_at(name, len(run.checkpoints) - 1))
    return (values[..., 0] if values.ndim == 3 else values)[:, rows].astype(np.float64)


def _some(models: int, samples: int) -> Int64Array:
    """Samples that are looked at: all, or some that are evenly spaced."""
    most = min(samples, _SAMPLES, max(500, int(_WORK / models**2)))
    return np.unique(np.linspace(0, samples - 1, most).astype(np.int64))


def warn_of(run: Any) -> None:
    """Warn of lists that are not the models' own in a run that was just made.

    Models that tell nothing of their labels may be what somebody wanted to train: figures say it.
    """
    found = _lists(run, np.asarray(run.member, dtype=np.bool_)) if len(run.member) else ""
    if found:
        warnings.warn(f"{run.path}: {found}", ContradictionWarning, stacklevel=3)
