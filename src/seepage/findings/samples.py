"""Which samples are exposed, since when, and in which classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.findings.result import Exposure, Group, Paths
from seepage.findings.source import Progress, ReportSource, sides
from seepage.metrics import SampleAuc, sample_auc
from seepage.metrics.exposure import (
    Evidence,
    at_most_false,
    benjamini_hochberg,
    cut_off,
    evidence,
    smallest,
)
from seepage.plan import judged
from seepage.plane import ByAdvantage, Permuted

__all__ = ["ExposedAtEnd", "exposed_at_end", "exposure_of", "groups_of", "high", "tested"]


def high(fpr: FloatArray, tpr: FloatArray) -> BoolArray:
    """Whether a point has an advantage of at least ½; False where a rate is undefined.

    It is the highest region of `seepage.plane.ByAdvantage`: 0.7 − 0.2 is ½, whatever the rounding.

    >>> high(np.array([0.2, 0.0, np.nan]), np.array([0.7, 0.4, 1.0])).tolist()
    [True, False, False]
    """
    regions = ByAdvantage()
    highest = regions.assign(fpr, tpr, 1, 1) == len(regions) - 1
    return np.asarray(highest & np.isfinite(tpr - fpr))


def _confidence(run: ReportSource, t: int) -> Float64Array:
    """The signal that membership raises, (R, N): phi, or where it was not recorded −loss; mean over views."""
    name, sign = ("phi", 1.0) if "phi" in run.signals else ("loss", -1.0)
    signal = sign * run.signal_at(name, t).astype(np.float64)
    return np.asarray(signal.mean(axis=2) if signal.ndim == 3 else signal)


@dataclass(frozen=True)
class ExposedAtEnd:
    """How many of `of` samples (subjects) are named as exposed at the last checkpoint.

    of: those that some run trained on and another did not. level: expected share of false names;
    fewest: the smallest number that `basis`, such as "16 models", can name at all; false: how many
    names are false at most, with 95 % confidence, None where the truth is known.
    """

    count: int
    of: int
    fewest: int
    level: float
    basis: str
    false: int | None = None


def exposed_at_end(run: ReportSource, level: float = 0.05) -> ExposedAtEnd:
    """The names that a report gives, counted: `evidence` of every sample, Benjamini-Hochberg at `level`."""
    p = evidence(_confidence(run, len(run.checkpoints) - 1), run.member)[judged(run.member)]
    exposed = p <= cut_off(p, level)
    least = smallest(run.member)
    return ExposedAtEnd(
        count=int(exposed.sum()),
        of=len(p),
        # The k-th smallest p must be at most level k/N.
        fewest=max(1, int(np.ceil(round(least * len(p) / level, 9)))),
        level=level,
        basis=f"{len(run.member)} models",
        false=at_most_false(p, exposed),
    )


class Tested(NamedTuple):
    """p (T, N); cuts (T,), the largest p that is named; false (T,), how many pass it under permuted
    membership, mean; since (N,), the first checkpoint from which the final cut is passed at every
    later one too, or −1; effect, the AUC of every sample's signal at the last checkpoint.
    """

    p: Float64Array
    cuts: Float64Array
    false: Float64Array
    since: Int64Array
    effect: SampleAuc


def tested(run: ReportSource, level: float, permutations: int, seed: int, say: Progress) -> Tested:
    """The test of every sample at every checkpoint, and the size of the effect at the last."""
    null = Permuted(draws=permutations, seed=seed, groups=getattr(run, "groups", None))
    tests = Evidence([run.member, *null.members(run.member)])
    times = len(run.checkpoints)
    p = np.empty((times, run.member.shape[1]))
    cuts, false = np.empty(times), np.empty(times)
    known = judged(run.member)
    for t in range(times):
        say("evidence per sample", t, times)
        signal = _confidence(run, t)
        p[t], *nulls = tests(signal)
        cuts[t] = cut_off(p[t, known], level)
        false[t] = np.mean([(q <= cuts[t]).sum() for q in nulls])
    stays = np.logical_and.accumulate((p <= cuts[-1])[::-1])[::-1]
    since = np.where(p[-1] <= cuts[-1], stays.argmax(axis=0), -1)
    return Tested(p, cuts, false, since, sample_auc(signal, run.member))


def exposure_of(
    run: ReportSource,
    paths: Paths,
    null_high: Float64Array,
    scores: Float64Array,
    level: float,
    tested: Tested,
) -> Exposure:
    p, cuts, false, since, effect = tested
    fpr, tpr = paths.rates()
    gain = np.nan_to_num(tpr[-1] - fpr[-1], nan=-1.0)
    exposed = p[-1] <= cuts[-1]
    known = judged(run.member)
    q = np.ones(len(known))
    q[known] = benjamini_hochberg(p[-1, known])
    # Counts tie on a lattice; within a tie the wider score gap is the more exposed.
    inside, outside = sides(scores, run.member)
    spread = scores.std(axis=0)
    gap = np.nan_to_num((inside - outside) / np.where(spread > 0, spread, 1.0))
    return Exposure(
        p=p[-1],
        q=q,
        exposed=exposed,
        order=np.lexsort((-gap, -gain, ~exposed)).astype(np.int64),
        since=since.astype(np.int64),
        level=level,
        count=(p <= cuts[:, None]).sum(axis=1),
        null_count=false,
        high_count=high(fpr, tpr).sum(axis=1),
        null_high_count=null_high,
        least=smallest(run.member),
        tested=int(known.sum()),
        at_most_false=at_most_false(p[-1, known], exposed[known]),
        auc=effect.auc,
        auc_low=effect.low,
        auc_high=effect.high,
    )


def groups_of(
    run: ReportSource,
    paths: Paths,
    exposure: Exposure,
    right_in: Float64Array,
    right_out: Float64Array,
) -> tuple[Group, ...]:
    gain, null = paths.advantage()[-1], paths.advantage(null=True)[-1]

    def mean(values: Float64Array) -> float:
        finite = values[np.isfinite(values)]
        return float(finite.mean()) if finite.size else float("nan")

    groups = []
    for k, name in enumerate(run.classes):
        of = run.labels == k
        if of.any():
            groups.append(
                Group(
                    name=name,
                    samples=int(of.sum()),
                    advantage=mean(gain[of]),
                    null=mean(null[of]),
                    exposed=int(exposure.exposed[of].sum()),
                    accuracy_in=mean(right_in[of]),
                    accuracy_out=mean(right_out[of]),
                )
            )
    return tuple(groups)
