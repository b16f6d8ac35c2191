"""Scores of subjects of one model, and what it changes that records belong together.

With one model there are no other targets: a score without a zero of its own is taken relative to its
mean over the others' records, and its correlation within subjects is that among the others in this
model. Of log-ratios it is that of the signal over the references.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seepage.array_types import BoolArray, Float64Array
from seepage.findings import SubjectFinding
from seepage.findings.judging import Judging
from seepage.findings.subjects import grown
from seepage.metrics import Subjects, Unit, Within, discounted, score_correlation

__all__ = ["scores_of_units", "subjects_found"]


def scores_of_units(
    scores: Mapping[str, Float64Array],
    within: Mapping[str, Within],
    member: BoolArray,
    unit: Unit,
) -> tuple[dict[str, Float64Array], dict[str, Float64Array], dict[str, Within]]:
    """Scores (N,) by attack as scores of what is judged (U,), those of records, and correlations.

    within: of the attacks that give log-ratios, the correlation of their signal over references.
    """
    if not isinstance(unit, Subjects):
        return dict(scores), dict(scores), {}
    alone = {n: s if n in within else s - s[~member].mean() for n, s in scores.items()}
    found = {
        n: within[n] if n in within else score_correlation(s[None], member[None], unit)
        for n, s in alone.items()
    }
    return {n: discounted(s, unit, found[n].used) for n, s in alone.items()}, alone, found


def subjects_found(
    title: str,
    alone: Float64Array,
    scores: Float64Array,
    within: Within,
    log_ratio: bool,
    member: BoolArray,
    unit: Unit,
) -> SubjectFinding | None:
    """Sizes and correlation of the main attack's subjects; None where samples are judged."""
    if not isinstance(unit, Subjects):
        return None
    # Every record is OUT of its complement, so that all of them are judged.
    both = np.stack([member, ~member])
    judging = Judging(np.asarray(unit.member(both)), 0)
    return grown(title, log_ratio, alone[None], scores[None], within, both, unit, judging)
