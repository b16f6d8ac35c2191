"""From scores of records to scores of subjects: the one rule, for every attack.

- An attack whose score is a log-ratio (`Attack.log_ratio`) has a zero of its own. Its scores are
  summed over a subject's records and discounted by the correlation of these records' signal over
  the models that are not the target's, given membership.
- Any other score (a loss, a rank, a share) is taken relative to its mean over the pool under the
  same target, which reads no membership; else a subject's number of records alone would rank it.
  It is then summed, and discounted by the correlation of the *scores* of a subject's records among
  the non-members of other targets.

Both are fixed beforehand and never chosen by their result. The plain sum is
`unit.scores(attack.leave_one_out(signals, member))`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks.base import Attack
from seepage.metrics.unit import EACH, Subjects, Unit
from seepage.metrics.within_subject import by_target, discounted

__all__ = ["centred", "of_unit"]


def centred(attack: Attack, scores: FloatArray) -> Float64Array:
    """Scores (..., N) with a zero of their own: as they are, or relative to their mean over the pool."""
    s = np.asarray(scores, dtype=np.float64)
    return s if attack.log_ratio else s - s.mean(axis=-1, keepdims=True)


def of_unit(
    attack: Attack,
    scores: FloatArray,
    signals: Mapping[str, FloatArray],
    member: BoolArray,
    unit: Unit = EACH,
) -> Float64Array:
    """Leave-one-out scores (R, N) of records as scores of what is judged: (R, N), or (R, G).

    signals: what the bound attack read, {name: (R, N[, A])}; the first that it requires is the one
    whose correlation counts. member (R, N) bool.
    """
    if not isinstance(unit, Subjects):
        return np.asarray(scores, dtype=np.float64)
    s = centred(attack, scores)
    if attack.log_ratio:
        rho = by_target(attack.leading(signals), member, unit)
    else:
        rho = by_target(s, member, unit, scores=True)
    return discounted(s, unit, rho)
