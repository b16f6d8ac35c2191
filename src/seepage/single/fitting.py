"""Whether what was given of one model fits itself: its labels, copies, the lists of its references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seepage.array_types import BoolArray, Int64Array
from seepage.errors import InputError
from seepage.metrics import Subjects, auc_interval
from seepage.metrics.own_labels import renumbered, told
from seepage.metrics.own_lists import misfits, own_auc
from seepage.models.preparations import BetterPrepared
from seepage.single.outputs import Observed
from seepage.single.pool import Pool
from seepage.single.references import Measured

__all__ = ["Doubt", "answers_fit", "copies_in_words", "references_fit", "references_know"]

_NOTHING = "members' answers tell nothing of their labels"
_BELOW = "members are right less often than the most frequent class alone would be"
_UNKNOWN = (
    "the references do not know their own masks, so that figures with references cannot be trusted"
)
# Higher is a surer model.
_SIGN = {"phi": 1.0, "loss": -1.0, "mentr": -1.0, "correct": 1.0}


@dataclass(frozen=True)
class Doubt:
    """Why figures may be of something else: clause, for the headline; note, with the figures."""

    clause: str
    note: str


def answers_fit(
    observed: Observed,
    labels: Int64Array | None,
    member: BoolArray,
    prepared: BetterPrepared | None = None,
) -> tuple[Doubt, ...]:
    """Why members' answers tell nothing of their labels, or less than one class alone would.

    Nothing where another preparation of the inputs makes members right far more often, which is then the
    reason. Raises InputError where another numbering of the classes makes most members right.
    """
    if labels is None:
        return ()
    if observed.answers is not None:
        other = renumbered(observed.answers[member], labels[member], observed.classes)
        best = other.better if other is not None and other.likely else 0.0
        if prepared is not None and prepared.far and prepared.balanced[1] >= best:
            return ()
        if other is not None and other.likely:
            raise InputError(f"labels: {other.words}")
        if other is not None:
            return (Doubt(_NOTHING, f"answers: {other.words}"),)
    if "correct" not in observed.signals:
        return ()
    found = told(observed.signals["correct"], labels, member)
    if found is not None and found.nothing:
        return (Doubt(_NOTHING, found.words),)
    if found is not None and found.below:
        return (Doubt(_BELOW, f"accuracy: {found.below_in_words}"),)
    return ()


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


def references_fit(
    references: Measured, target: Observed, pool: Pool, doubted: Sequence[str] = ()
) -> None:
    """Refuse references whose lists of members are not theirs, by name.

    doubted: what is said of labels and inputs, which comes first: models are surer of others than of their
    own members where labels are not theirs, whatever the lists. Two or more are compared with each other (`seepage.metrics.own_lists`), a single one with the
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
    cause = f"{doubted[0]}; besides, " if doubted else ""
    raise InputError(
        f"{cause}references: expected masks of whom each was trained on, got {len(found)} of "
        f"{len(references.member)} that are surer of other samples ({'; '.join(shown)}{more}); give each "
        "its own, true for its members, or leave it out"
    )


def references_know(references: Measured, target: Observed, pool: Pool) -> tuple[Doubt, ...]:
    """A doubt where references are no surer of the samples of their masks, and the model is of its members.

    By `seepage.metrics.own_lists.own_auc`, whose interval must hold ½ or less, and end below that of the
    target's own AUC without references. Masks in another order are so; so are references that learnt
    little by heart beside a target that learnt much, which is why it is no refusal.
    """
    name = next((n for n in _SIGN if n in references.signals and n in target.signals), None)
    if name is None:
        return ()
    values, lists = _SIGN[name] * references.signals[name], references.member
    surely = _SIGN[name] * target.signals[name]
    if len(lists) == 1:
        # Difficulty is what models share: of one reference it is what it shares with the target.
        found = own_auc(
            np.stack([values[0], surely]), np.stack([lists[0], np.zeros_like(lists[0])])
        )
    else:
        found = own_auc(values, lists, pool.groups)
    if found is None or found[1] > 0.5 or np.isnan(surely).any():
        return ()
    own = auc_interval(surely, pool.member, groups=pool.groups)
    if own.low <= max(found[2], 0.5):
        return ()
    return (
        Doubt(
            _UNKNOWN,
            f"references: the {len(lists)} are no surer of the samples that their masks list (AUC "
            f"{found[0]:.2f} [{found[1]:.2f}, {found[2]:.2f}], the difficulty of samples removed), though the "
            f"model is of its members ({own.mean:.2f} [{own.low:.2f}, {own.high:.2f}]): are the masks in the "
            "order of members and then others, and not of the pool? References that learnt far less by heart "
            "than the model read the same",
        ),
    )
