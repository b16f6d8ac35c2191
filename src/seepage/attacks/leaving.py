"""Which references a target does without, where the plan has complementary tuples and where not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.plan import judged, partitions

__all__ = ["Matched", "Way", "how_left_out", "realigned", "way_of"]

Way = Literal["tuples", "independent", "matched", "unbalanced"]
"""How `Attack.leave_one_out` leaves out references under a plan: see `how_left_out`."""

# Independent draws give counts whose variance is off by so many standard errors, or this share.
_ERRORS, _SHARE, _MOST = 4.0, 0.05, 0.5
# Below so many runs, samples that are not of one group often share a column by chance.
_MANY = 20
_SEED = 20_241


def how_left_out(member: BoolArray) -> Way:
    """How a target's references are chosen so that they do not reveal its membership: (R, N).

    "tuples": the plan has complementary tuples (`seepage.plan.tuples`); the target's whole tuple,
    or what is left of it, is left out. "independent": the runs were drawn independently of each
    other (coin flips, a random half for each); the target alone is left out, since the others
    know nothing of it. "matched": samples are IN equally often, or nearly so, without tuples (the
    layout of LiRA's released code); see `Matched`. "unbalanced": counts differ so much that equal
    ones would cost more than half of the references; the target alone is left out, which is biased.

    Independent draws are told by the counts: over samples, the number of runs that a sample is IN
    has the variance Σ p_r (1 − p_r), p_r the share of the pool in run r, within 4 standard errors
    or 5 %, and within half in any case. Only samples that are IN some run and OUT of some run are looked at.

    >>> rng = np.random.default_rng(0)
    >>> how_left_out(rng.random((16, 500)) < 0.5)
    'independent'
    >>> how_left_out(rng.permuted(np.arange(16)[:, None] + np.zeros((1, 500)), axis=0) < 8)
    'matched'
    """
    member = np.asarray(member, dtype=np.bool_)
    return way_of(member, partitions(member))


def way_of(member: BoolArray, partition: Int64Array) -> Way:
    """`how_left_out` where `seepage.plan.partitions` is known: (R, N), (R,)."""
    size = np.bincount(partition, minlength=1)[partition]
    if np.count_nonzero(size == 1) < 2:
        return "tuples"
    alone = member[size == 1]
    several = bool((size > 1).any())
    keep = judged(member)
    alone, known = alone[:, keep], member[:, keep]
    if known.shape[1] < 2:
        return "tuples"
    expected = _variance(alone, truncated=not several)
    if expected == 0:
        return "tuples"
    spread = float(alone.sum(axis=0).var()) / expected
    if several:
        # What is left of pairs is independent; fewer runs, or subjects, make the variance uncertain.
        if spread >= 0.5 or abs(spread - 1) <= _ERRORS * np.sqrt(2 / known.shape[1]):
            return "tuples"
    else:
        draws = known.shape[1]
        if len(member) >= _MANY:  # samples of one subject are drawn together
            packed = np.ascontiguousarray(np.packbits(known, axis=0).T)
            draws = len(np.unique(packed.view(f"V{packed.shape[1]}")))
        if abs(spread - 1) <= min(max(_SHARE, _ERRORS * np.sqrt(2 / draws)), _MOST):
            return "independent"
    inside = known.sum(axis=0)
    outside = len(member) - inside
    equal = all(n.min() >= np.median(n) / 2 for n in (inside, outside))
    return "matched" if equal else "unbalanced"


def _variance(member: BoolArray, *, truncated: bool) -> float:
    """Variance over samples of the number of runs they are IN, had these been drawn independently.

    truncated: only samples that are IN some run and OUT of some run are among them.
    """
    models = len(member)
    share = member.mean(axis=1)
    p, mean = float(share.mean()), float(share.sum())
    if not truncated or (1 - p) ** models + p**models < 1e-9:
        return float((share * (1 - share)).sum())
    count = np.arange(1, models)
    ways = scipy.special.gammaln(models + 1) - scipy.special.gammaln(count + 1)
    ways -= scipy.special.gammaln(models - count + 1)

    def moments(p: float) -> tuple[float, float]:
        mass = np.exp(ways + count * np.log(p) + (models - count) * np.log1p(-p))
        mass /= mass.sum()
        middle = float(mass @ count)
        return middle, float(mass @ (count - middle) ** 2)

    low, high = 1e-9, 1 - 1e-9
    for _ in range(60):
        p = (low + high) / 2
        low, high = (p, high) if moments(p)[0] < mean else (low, p)
    return max(moments(p)[1] - models * float(share.var()), 0.0)


def realigned(signal: FloatArray, which: Int64Array) -> FloatArray:
    """For each sample the runs that `which` (M, N) names: (R, N, …) -> (M, N, …).

    >>> realigned(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1, 0]])).tolist()
    [[3.0, 2.0]]
    """
    at = which.reshape(which.shape + (1,) * (signal.ndim - 2))
    return np.take_along_axis(signal, at, axis=0)


@dataclass(frozen=True, eq=False)
class Matched:
    """Equally many references of each kind for every sample, whatever the target's membership.

    With a the least number of runs that any sample is IN, and b that it is OUT of, every target is
    scored on each sample with a − 1 IN and b − 1 OUT references. For a sample that is IN a runs
    and OUT of b, they are all but the target and one run of the other side, its partner there: a
    complementary pair that holds for this sample alone. Runs are exchangeable where signals do not
    depend on membership, and then the law of a score is the same for IN and OUT: noise reads ½.

    Partners are drawn at random with a fixed seed. `order` (N, R) lists, for each sample, the runs
    that it is OUT of, then those it is IN; outside (N,) is how many the former are. a, b: see above.
    """

    order: Int64Array
    outside: Int64Array
    a: int
    b: int

    @classmethod
    def of(cls, member: BoolArray) -> Matched:
        """Of membership (R, N) in which every sample is IN some run and OUT of some run."""
        models, samples = member.shape
        key = np.random.default_rng(_SEED).random((samples, models), dtype=np.float32)
        order = np.argsort(key + member.T, axis=1)
        inside = member.sum(axis=0, dtype=np.int64)
        outside = models - inside
        return cls(order, outside, int(inside.min()), int(outside.min()))

    @property
    def rows(self) -> tuple[BoolArray, BoolArray]:
        """Membership (b + a,) and use (b + a, b + a) of realigned runs: OUT ones, then IN ones."""
        a, b = self.a, self.b
        use = ~np.eye(a + b, dtype=np.bool_)
        use[np.arange(b), b + np.arange(b) % a] = False
        use[b + np.arange(a), np.arange(a) % b] = False
        return np.arange(a + b) >= b, use

    def passes(self) -> Iterator[tuple[Int64Array, BoolArray]]:
        """Which runs to realign, and which of them have not been scored: (b + a, N) each.

        One pass where all samples are IN equally often; more where some have runs to spare.
        """
        models = self.order.shape[1]
        counts = (self.outside, models - self.outside)
        steps = (self.b, self.a)
        many = max(int(-(-n.max() // step)) for n, step in zip(counts, steps, strict=True))
        for p in range(many):
            at = [p * step + np.arange(step)[:, None] for step in steps]
            fresh = np.concatenate([i < n for i, n in zip(at, counts, strict=True)])
            place = np.concatenate([at[0] % counts[0], self.outside + at[1] % counts[1]])
            yield np.take_along_axis(self.order, place.T, axis=1).T, fresh

    def scores(
        self,
        run_all: Callable[[Mapping[str, FloatArray], BoolArray, BoolArray], FloatArray],
        signals: Mapping[str, FloatArray],
    ) -> Float64Array:
        """Scores of all targets by realigning runs sample by sample: {name: (R, N, A)} -> (R, N).

        What an attack takes from all samples together then comes from realigned runs as well.
        """
        samples, models = self.order.shape
        out = np.empty((models, samples))
        row, use = self.rows
        member = np.repeat(row[:, None], samples, axis=1)
        column = np.broadcast_to(np.arange(samples), member.shape)
        for which, fresh in self.passes():
            moved = {k: realigned(v, which) for k, v in signals.items()}
            found = run_all(moved, member, use)
            out[which[fresh], column[fresh]] = found[fresh]
        return out

    def partner(self, r: int) -> Int64Array | None:
        """Sample by sample the one run left out with target r, (N,); None where there are more."""
        samples, models = self.order.shape
        if not (self.outside == self.b).all() or self.a + self.b != models:
            return None
        place = (self.order == r).argmax(axis=1)
        other = np.where(place < self.b, self.b + place % self.a, (place - self.b) % self.b)
        return np.asarray(self.order[np.arange(samples), other])

    def references(self, r: int) -> tuple[Int64Array, BoolArray]:
        """The references of target r, sample by sample: runs (a + b − 2, N), and which are IN."""
        samples, models = self.order.shape
        place = (self.order == r).argmax(axis=1)
        out = place < self.outside
        inside = models - self.outside
        # The next ones round the circle: with equal counts all but the partner, as in `rows`.
        begin = np.where(out, place, place - self.outside) + 1
        of_out = (begin + np.arange(self.b - 1)[:, None]) % self.outside
        of_in = self.outside + (begin + np.arange(self.a - 1)[:, None]) % inside
        which = np.take_along_axis(self.order, np.concatenate([of_out, of_in]).T, axis=1).T
        member = np.arange(self.a + self.b - 2)[:, None] >= self.b - 1
        return which, np.repeat(member, samples, axis=1)
