"""Which records of one model an attacker can name as members, at a false-discovery rate.

The question is about *one* model: of a list of candidates, which can be called members such that at
most a share q of the names is false on average. `seepage.metrics.evidence` answers another one:
does training on a record raise its signal, over the runs of a fleet.

The attacker calibrates on records that are known not to be members of that very model and that are
not among the candidates; ranks among those need no model of the scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_floats
from seepage.metrics.exposure import benjamini_hochberg
from seepage.metrics.intervals import Estimate, over_targets
from seepage.metrics.unit import EACH, Unit
from seepage.plan import tuples
from seepage.short_repr import short_repr

__all__ = [
    "Named",
    "NamedOverTargets",
    "conformal_p",
    "fewest_named",
    "name_members",
    "name_over_targets",
]


def _scores(values: ArrayLike, what: str) -> Float64Array:
    out = given_floats(values, "values")
    if out.ndim != 1 or not out.size or np.isnan(out).any():
        raise InputError(
            f"{what}: expected numbers (n,), at least one, got shape {out.shape} with "
            f"{int(np.isnan(out).sum())} NaN; leave those records out"
        )
    return out


def _rate(q: float) -> None:
    if not 0 < q < 1:
        raise InputError(f"q: expected a number between 0 and 1, got {q}; use 0.05")


def conformal_p(tested: ArrayLike, calibration: ArrayLike) -> Float64Array:
    """Share of non-members that score as high: (m,), (n,) -> p (m,) in [1/(n + 1), 1].

    p = (1 + #{calibration >= s}) / (n + 1)

    tested: scores of the candidates, higher = more likely a member; calibration: scores of known
    non-members of the same model, none of them among the candidates. For a candidate that is no
    member P(p <= t) <= t, if it and the calibration records are exchangeable: drawn alike, no
    matter how their scores depend on each other.

    >>> conformal_p([0.5, 2.0], [1.0, 0.0, -1.0]).tolist()
    [0.5, 0.25]
    """
    s, c = _scores(tested, "tested"), np.sort(_scores(calibration, "calibration"))
    as_high = len(c) - np.searchsorted(c, s, "left")
    return np.asarray((1 + as_high) / (len(c) + 1), dtype=np.float64)


def fewest_named(tested: int, calibration: int, q: float = 0.05) -> int:
    """The smallest number of records that can be named at all: ⌈m / (q (n + 1))⌉.

    m candidates tested, n calibration scores: no p lies below 1/(n + 1), so that fewer names than
    this never reach the rate q, however strongly single records leak. It is a limit of the
    calibration set, not a sign of safety. More than m: no record can be named.

    >>> fewest_named(750, 250), fewest_named(10, 5000)
    (60, 1)
    """
    _rate(q)
    if tested < 1 or calibration < 1:
        raise InputError(
            f"tested, calibration: expected at least 1 each, got {tested}, {calibration}"
        )
    return int(np.ceil(round(tested / (q * (calibration + 1)), 9)))


@short_repr
@dataclass(frozen=True, eq=False)
class Named:
    """The records of one model that were named.

    p (m,) conformal; named (m,) bool. q: the rate asked for; fewest: the smallest number that can
    be named at all (with the estimate of the share of non-members, if one was used); non_members:
    that share, 1 without an estimate. false_share: of the names, the share that is false, 0 where
    none is named; None where the truth was not given.
    """

    p: Float64Array
    named: BoolArray
    q: float
    fewest: int
    non_members: float = 1.0
    false_share: float | None = None

    @property
    def count(self) -> int:
        """How many were named."""
        return int(self.named.sum())


def name_members(
    tested: ArrayLike,
    calibration: ArrayLike,
    *,
    q: float = 0.05,
    estimate_share: bool = False,
    member: ArrayLike | None = None,
) -> Named:
    """Name members among the candidates of one model, at an expected false share of at most q.

    `conformal_p`, then Benjamini and Hochberg's rule at q: all candidates up to the largest p_(k)
    <= q k / m. tested (m,), calibration (n,): as of `conformal_p`. member (m,) bool: the truth, to
    count false names.

    Benjamini and Hochberg bound the expected false share by q times the share of non-members among
    the candidates. estimate_share divides q by Storey's estimate of that share (1 + #{p > λ}) /
    (m (1 − λ)), λ the multiple of 1/(n + 1) next below ½, which names more where many candidates
    are members.

    Assumes that the calibration records and the candidates that are no members are exchangeable.
    The p-values share one calibration set, which makes them positively dependent, and the rule then
    still controls the *expected* share (Bates, Candès, Lei, Romano and Sesia, arXiv 2104.08279;
    Marandon, Lei, Mary and Roquain, arXiv 2208.06685); in a single list of names it may be larger.
    It fails where non-members of the two sets differ: other sources, other times, other subjects.

    *Reconstruction* of the decision rule of MIAFdR (Zhao, Qian, Chen and Huai, arXiv 2508.07066),
    whose text was not at hand in full: its conformity score is a classifier trained on surrogate
    models, ours is any attack's score.

    >>> calibration = np.arange(99.0)
    >>> found = name_members([200.0, 150.0, 3.0], calibration, member=[True, True, False])
    >>> found.named.tolist(), found.fewest, found.false_share
    ([True, True, False], 1, 0.0)
    """
    _rate(q)
    p = conformal_p(tested, calibration)
    m, n = len(p), np.size(calibration)
    share = 1.0
    if estimate_share:
        at = (n + 1) // 2 / (n + 1)
        share = float(min(1.0, (1 + (p > at + 1e-12).sum()) / (m * (1 - at))))
    named = benjamini_hochberg(p) <= q / share + 1e-12
    false_share = None
    if member is not None:
        truth = given_array(member, "member")
        if truth.shape != p.shape or truth.dtype != np.bool_:
            raise InputError(
                f"member: expected one bool per candidate ({m}), got {truth.dtype} of shape "
                f"{truth.shape}"
            )
        false_share = float((named & ~truth).sum() / max(int(named.sum()), 1))
    # With the share estimated, q / share may exceed 1: every candidate is then named.
    fewest = int(np.ceil(round(m * share / (q * (n + 1)), 9)))
    return Named(p, named, q, fewest, share, false_share)


@short_repr
@dataclass(frozen=True, eq=False)
class NamedOverTargets:
    """What can be named of each model of a fleet, every one the target once.

    count, false_share (R,): names and their false share by target. q; fewest: the smallest number
    that can be named of the median target. false: mean false share over targets, with an interval
    over tuples of runs. members, calibration: median number of members among the candidates, and
    of calibration records. named_in, named_out (N,): in how many targets the sample was named while
    a member, and while it was none; n_in, n_out (N,): in how many it was a candidate of that kind.
    """

    count: Int64Array
    false_share: Float64Array
    false: Estimate
    q: float
    fewest: int
    members: int
    calibration: int
    named_in: Int64Array
    n_in: Int64Array
    named_out: Int64Array
    n_out: Int64Array

    @property
    def mean_count(self) -> float:
        """Names per target, mean."""
        return float(self.count.mean())

    @property
    def found(self) -> float:
        """Share of the members that are named, mean over targets and members."""
        return float(self.named_in.sum() / max(int(self.n_in.sum()), 1))


def name_over_targets(
    scores: FloatArray,
    member: BoolArray,
    generator: np.random.Generator,
    *,
    q: float = 0.05,
    estimate_share: bool = False,
    unit: Unit = EACH,
    level: float = 0.95,
) -> NamedOverTargets:
    """`name_members` for every target of a fleet: leave-one-out scores (R, N), member (R, N) bool.

    The non-members of each target are split at random into a calibration half and a tested half;
    candidates are the members and the tested half. scores: of an attack's `leave_one_out`, which
    leaves the target's whole tuple out of the references. unit: `Subjects(groups)` names subjects.
    level: of the interval of the mean false share, over tuples of runs.

    As the split is random, the non-members of both halves are exchangeable whatever references they
    share, and the expected false share is at most q for any score. What is named is the *model's*
    leak only if the score does not read the plan: in complementary tuples every candidate has
    equally many IN and OUT references. Where runs were drawn independently the counts do not depend
    on the target. Plans in which every sample is IN equally often without complementary tuples are
    refused: there the number of IN references is the target's membership.

    The generator is advanced. Raises InputError for shapes, NaN and targets without two
    non-members or without members.

    >>> from seepage.plan import half_split
    >>> member = half_split(400, models=4).member
    >>> found = name_over_targets(5.0 * member, member, np.random.default_rng(0))
    >>> found.count.tolist(), found.false.mean, found.fewest
    ([200, 200, 200, 200], 0.0, 60)
    """
    _rate(q)
    scores = np.asarray(unit.scores(scores), dtype=np.float64)
    member = np.asarray(unit.member(member))
    if scores.ndim != 2 or member.shape != scores.shape or member.dtype != np.bool_:
        raise InputError(
            f"scores, member: expected (models, samples) and bools alike, got {scores.shape} and "
            f"{member.dtype} of shape {member.shape}; pass leave-one-out scores"
        )
    inside = member.sum(axis=1)
    outside = member.shape[1] - inside
    if inside.min() < 1 or outside.min() < 2:
        raise InputError(
            f"member: expected a member and 2 non-members in every run, got {int(inside.min())} "
            f"and {int(outside.min())}; one half of the non-members calibrates"
        )
    counts = member.sum(axis=0)
    if (counts == counts[0]).all() and (tuples(member) < 0).any():
        raise InputError(
            "member: expected complementary tuples or independent draws, got samples that are all "
            f"IN {int(counts[0])} runs and runs in no tuple: the count of IN references then is the "
            "target's membership; use seepage.half_split"
        )
    models, samples = member.shape
    count = np.empty(models, dtype=np.int64)
    false_share = np.empty(models)
    hits = np.zeros((2, samples), dtype=np.int64)
    trials = np.zeros((2, samples), dtype=np.int64)
    fewest = np.empty(models)
    for r in range(models):
        others = generator.permutation(np.flatnonzero(~member[r]))
        calibration, tested_out = np.split(others, [(len(others) + 1) // 2])
        tested = np.concatenate([np.flatnonzero(member[r]), tested_out])
        found = name_members(
            scores[r, tested],
            scores[r, calibration],
            q=q,
            estimate_share=estimate_share,
            member=member[r, tested],
        )
        count[r], fewest[r] = found.count, found.fewest
        false_share[r] = found.false_share
        side = (~member[r, tested]).astype(np.int64)
        trials[side, tested] += 1
        hits[side, tested] += found.named
    return NamedOverTargets(
        count=count,
        false_share=false_share,
        false=over_targets(false_share, member, level),
        q=q,
        fewest=int(np.median(fewest)),
        members=int(np.median(inside)),
        calibration=int(np.median((outside + 1) // 2)),
        named_in=hits[0],
        n_in=trials[0],
        named_out=hits[1],
        n_out=trials[1],
    )
