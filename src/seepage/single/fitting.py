"""Whether what was given of one model fits itself: its labels, copies, the lists of its references."""

from __future__ import annotations

import numpy as np

from seepage.array_types import BoolArray, Int64Array
from seepage.errors import InputError
from seepage.metrics import Subjects
from seepage.metrics.own_labels import renumbered, told
from seepage.metrics.own_lists import misfits
from seepage.single.outputs import Observed
from seepage.single.pool import Pool
from seepage.single.references import Measured

__all__ = ["answers_fit", "copies_in_words", "references_fit"]

# Higher is a surer model.
_SIGN = {"phi": 1.0, "loss": -1.0, "mentr": -1.0, "correct": 1.0}


def answers_fit(observed: Observed, labels: Int64Array | None, member: BoolArray) -> str:
    """Why members' answers tell nothing of their labels, or "".

    Raises InputError where another numbering of the classes makes members right.
    """
    if labels is None:
        return ""
    if observed.answers is not None:
        other = renumbered(observed.answers[member], labels[member], observed.classes)
        if other is not None:
            raise InputError(f"labels: {other.words}")
    if "correct" not in observed.signals:
        return ""
    found = told(observed.signals["correct"], labels, member)
    return found.words if found is not None and found.nothing else ""


def copies_in_words(pool: Pool) -> tuple[str, ...]:
    """What copies within members, and within others, mean for the intervals; nothing of subjects."""
    if isinstance(pool.unit, Subjects) or not any(pool.repeats):
        return ()
    sizes = int(pool.member.sum()), int((~pool.member).sum())
    told = [
        f"{k:,} of {n:,} {what}"
        for k, n, what in zip(pool.repeats, sizes, ("members", "others"), strict=True)
        if k
    ]
    return (
        f"copies: {' and '.join(told)} are exact copies of others of their side; each is counted, and "
        "intervals take each for evidence of its own and are too narrow: leave copies out, or give "
        "them one group (groups=)",
    )


def references_fit(references: Measured, target: Observed, pool: Pool) -> None:
    """Refuse references whose lists of members are not theirs, by name.

    Two or more are compared with each other (`seepage.metrics.own_lists`), a single one with the
    target. Raises InputError.
    """
    name = next((n for n in _SIGN if n in references.signals and n in target.signals), None)
    if name is None:
        return
    values, lists = references.signals[name], references.member
    alone = len(lists) == 1
    if alone:
        values = np.concatenate([values, target.signals[name][None]])
        lists = np.concatenate([lists, pool.member[None]])
    found = [
        m for m in misfits(_SIGN[name] * values, lists, pool.groups) if not alone or not m.model
    ]
    if not found:
        return
    shown = []
    for m in found[:3]:
        whose = f"of reference {m.row}" if m.row < len(references.member) else "of the target"
        whose = "its own" if m.row == m.model else whose
        part = f"those outside of {whose}" if m.inverted else f"that {whose}"
        shown.append(f"reference {m.model} fits {part}, AUC {m.there:.2f}, its mask {m.own:.2f}")
    more = f"; … ({len(found)} in all)" if len(found) > 3 else ""
    raise InputError(
        f"references: expected masks of whom each was trained on, got {len(found)} of "
        f"{len(references.member)} that are surer of other samples ({'; '.join(shown)}{more}); give each "
        "its own, true for its members, or leave it out"
    )
