"""ε from one training run: guesses about many canaries, each included by its own coin flip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array
from seepage.epsilon.multi_run import check_level, said, scored
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_floats
from seepage.metrics import EACH, Unit
from seepage.plan import tuples

__all__ = [
    "Analysis",
    "BinomialTail",
    "BothEnds",
    "GuessStrategy",
    "HighestOnly",
    "LowestOnly",
    "OneRunBound",
    "ceiling_of_runs",
    "check_counts",
    "epsilon_of_runs",
    "joint_epsilon",
    "one_run",
    "one_run_from_scores",
]


@dataclass(frozen=True)
class OneRunBound:
    """With probability at least `level`, ε at `delta` is not below `epsilon`.

    correct of guesses guesses among canaries were right. ceiling: the largest value that so
    many guesses can give at this level, all of them right; a bound there (`at_ceiling`) says how
    many guesses were counted and not how large the leak is. mu: the lower bound on μ, of `FDP(Gaussian())`
    alone.

    >>> print(one_run(80, 80, 80)), print(one_run(70, 80, 80))
    ε at least 3.27 (the most that 80 guesses can show)
    ε at least 1.37 (80 guesses can show at most 3.27)
    (None, None)
    """

    epsilon: float
    level: float
    delta: float
    correct: int
    guesses: int
    canaries: int
    ceiling: float
    mu: float | None = None

    @property
    def at_ceiling(self) -> bool:
        """Whether so many guesses could not have given more: all were right."""
        return _is_ceiling(self.epsilon, self.ceiling)

    def __str__(self) -> str:
        return said(self.epsilon, self.mu, self.ceiling, self.at_ceiling, f"{self.guesses} guesses")


class GuessStrategy(ABC):
    """Which canaries to guess, by rank of their scores; it abstains on the others."""

    @abstractmethod
    def sides(self, guesses: int) -> tuple[int, int]:
        """How many of the lowest to call non-members, and of the highest members."""


@dataclass(frozen=True)
class BothEnds(GuessStrategy):
    """Half of the guesses from either end: highest are members, lowest are not."""

    def sides(self, guesses: int) -> tuple[int, int]:
        return guesses // 2, guesses - guesses // 2


@dataclass(frozen=True)
class HighestOnly(GuessStrategy):
    """Only the highest scores are guessed, as members."""

    def sides(self, guesses: int) -> tuple[int, int]:
        return 0, guesses


@dataclass(frozen=True)
class LowestOnly(GuessStrategy):
    """Only the lowest scores are guessed, as non-members: where absence shows more than presence."""

    def sides(self, guesses: int) -> tuple[int, int]:
        return guesses, 0


class Analysis(ABC):
    """What the count of right guesses refutes."""

    @abstractmethod
    def bound(
        self, correct: int, guesses: int, canaries: int, *, delta: float, level: float
    ) -> OneRunBound:
        """From `correct` of `guesses` guesses about `canaries`, at one level."""


@dataclass(frozen=True)
class BinomialTail(Analysis):
    """`one_run`: right guesses are dominated by a binomial, up to what δ allows."""

    def bound(
        self, correct: int, guesses: int, canaries: int, *, delta: float, level: float
    ) -> OneRunBound:
        return one_run(correct, guesses, canaries, delta=delta, level=level)


def check_counts(correct: int, guesses: int, canaries: int) -> None:
    """Refuse counts that no guessing gives."""
    if not 0 <= correct <= guesses <= canaries or guesses < 1:
        raise InputError(
            f"correct, guesses, canaries: expected 0 <= correct <= guesses <= canaries and a "
            f"guess, got {correct}, {guesses}, {canaries}; count abstentions as no guess"
        )


@dataclass(frozen=True, eq=False)
class _PValue:
    """P[Bin(r, q) ≥ v] + 2mδ · max over i of P[v − i ≤ Bin < v]/i, for v ≥ 1, at many ε."""

    correct: int
    guesses: int
    excess: float
    below: Float64Array
    log_choose: Float64Array

    @classmethod
    def of(cls, correct: int, guesses: int, canaries: int, delta: float) -> _PValue:
        below = np.arange(correct - 1.0, -1, -1)
        n = float(guesses)
        log_choose = scipy.special.gammaln(n + 1) - scipy.special.gammaln(below + 1)
        log_choose -= scipy.special.gammaln(n - below + 1)
        return cls(correct, guesses, 2 * canaries * delta, below, log_choose)

    def __call__(self, epsilon: Float64Array) -> Float64Array:
        """(E,) of ε (E,)."""
        q = scipy.special.expit(epsilon)
        tail = scipy.special.betainc(self.correct, self.guesses - self.correct + 1, q)
        # log (1 − q) = −log(1 + e^ε), and log q is ε more.
        log_rest = -np.logaddexp(0.0, epsilon)[:, None]
        mass = np.exp(self.log_choose + self.below * epsilon[:, None] + self.guesses * log_rest)
        each = np.cumsum(mass, axis=1) / np.arange(1, self.correct + 1)
        return np.asarray(tail + self.excess * each.max(axis=1))


def one_run(
    correct: int, guesses: int, canaries: int, *, delta: float = 0.0, level: float = 0.95
) -> OneRunBound:
    """Lower bound on ε from v = `correct` of r = `guesses` guesses about m = `canaries`.

    If a mechanism is (ε, δ)-DP, then with q = e^ε/(1 + e^ε)

    P[V ≥ v] ≤ P[Bin(r, q) ≥ v] + 2mδ · max_i P[v − i ≤ Bin(r, q) < v]/i,   i = 1 ... m,

    and every ε whose right side is at most 1 − level is refuted; i > v adds nothing. At δ = 0 the
    bound has a closed form, the logit of the lower Clopper-Pearson limit; else the first crossing
    is taken, so that the bound holds even where the right side does not increase.

    Assumes that each canary was included by its own fair coin flip, independently, all in *one*
    run, and that the guesses were made without knowledge of those flips. Plans that put exactly
    half of the samples in a run (`seepage.half_split`) are close to that for many canaries, but the
    theorem assumes coin flips. Tuples of more than two runs (`seepage.subsets`, `fresh_draws`) put
    a sample in with another probability: it does not hold there, and `one_run_from_scores` refuses
    them. r must be fixed beforehand; for a choice among several use `one_run_from_scores`. With r
    guesses it cannot exceed logit((1 − level)^(1/r)), the `ceiling` of the result, and is vacuous
    once 2mδ nears 1. Source: Steinke, Nasr and Jagielski, arXiv 2305.08846.

    >>> [round(one_run(m, m, m).epsilon, 4) for m in (10, 100, 1000)]
    [1.0519, 3.493, 5.8091]
    >>> round(one_run(90, 100, 1000, delta=1e-5).epsilon, 3) < one_run(90, 100, 1000).epsilon
    True
    """
    check_level(level, delta)
    check_counts(correct, guesses, canaries)
    epsilon = _refuted(correct, guesses, canaries, delta, 1 - level)
    ceiling = epsilon
    if correct < guesses:
        ceiling = _refuted(guesses, guesses, canaries, delta, 1 - level)
    return OneRunBound(epsilon, level, delta, correct, guesses, canaries, ceiling)


def _refuted(correct: int, guesses: int, canaries: int, delta: float, size: float) -> float:
    """The bound itself; size: 1 − level."""
    if not correct:
        return 0.0
    q = scipy.special.betaincinv(correct, guesses - correct + 1, size)
    epsilon = max(0.0, float(scipy.special.logit(q)))
    if delta > 0 and epsilon > 0:
        # At this epsilon the binomial tail alone uses up the level: the crossing is below.
        epsilon = _first_crossing(epsilon, correct, guesses, canaries, delta, size)
    return epsilon


def _first_crossing(
    top: float, correct: int, guesses: int, canaries: int, delta: float, size: float
) -> float:
    p_value = _PValue.of(correct, guesses, canaries, delta)
    grid = np.linspace(0.0, top, 33)
    # A part at a time: the largest part holds a few million numbers.
    step = max(1, 2_000_000 // correct)
    low, high = 0.0, top
    for k in range(0, len(grid), step):
        above = np.flatnonzero(p_value(grid[k : k + step]) > size)
        if above.size:
            first = k + int(above[0])
            low, high = float(grid[max(first - 1, 0)]), float(grid[first])
            break
    while high - low > 1e-9 * max(1.0, top):
        middle = (low + high) / 2
        if p_value(np.array([middle]))[0] > size:
            high = middle
        else:
            low = middle
    return low


def one_run_from_scores(
    scores: ArrayLike,
    member: ArrayLike,
    guesses: int | Sequence[int],
    strategy: GuessStrategy | None = None,
    *,
    delta: float = 0.0,
    level: float = 0.95,
    unit: Unit = EACH,
    analysis: Analysis | None = None,
) -> OneRunBound:
    """`one_run` with guesses made from the scores (m,) of all canaries of one run.

    guesses: how many, fixed before the scores were seen. Several counts are each tested at level
    1 − (1 − level)/K and the largest bound is returned, under the level asked for. strategy:
    `BothEnds()` (default), `HighestOnly()` or `LowestOnly()`. analysis: `BinomialTail()` (default) or
    `FDP(...)`, chosen beforehand too. Ties at a cut are guessed *wrong* first, so that the
    order of the array, which may reveal members, cannot help. The result's `ceiling` is that of
    the count that gave the bound; larger counts could show more. Assumptions as in `one_run`;
    membership that fair coin flips give in less than one of 10⁵ runs is refused. unit: with
    `Subjects(groups)` a subject is one canary with one coin, its scores are summed, and the bound is on
    the ε of a subject; records that share a coin are no canaries of their own.

    >>> member = np.arange(200) % 2 == 0
    >>> one_run_from_scores(np.where(member, 1.0, -1.0), member, (20, 100)).guesses
    100
    """
    check_level(level, delta)
    s, y = scored(scores, member, unit)
    _fair(y)
    counts = [guesses] if isinstance(guesses, (int, np.integer)) else list(guesses)
    if not counts or not all(1 <= r <= len(s) for r in counts):
        raise InputError(
            f"guesses: expected counts between 1 and {len(s)} canaries, got {guesses}; "
            "guess every canary at most once"
        )
    # Ascending; among equal scores members first, so that at either end wrong guesses come first.
    ranked = y[np.lexsort((~y, s))]
    each = 1 - (1 - level) / len(counts)
    rule = BinomialTail() if analysis is None else analysis
    bounds = []
    for r in counts:
        low, high = (BothEnds() if strategy is None else strategy).sides(int(r))
        right = int((~ranked[:low]).sum()) + int(ranked[len(ranked) - high :].sum())
        bounds.append(rule.bound(right, int(r), len(s), delta=delta, level=each))
    best = max(bounds, key=lambda b: b.epsilon)
    return replace(best, level=level)


def _fair(member: BoolArray) -> None:
    """Refuse membership that was hardly drawn by fair coin flips."""
    inside = int(member.sum())
    if scipy.stats.binomtest(inside, len(member)).pvalue < 1e-5:
        raise InputError(
            f"member: expected about half of the canaries IN, as by fair coin flips, got {inside} of "
            f"{len(member)}; the bound does not hold for tuples of k > 2 runs or fresh draws, use "
            "seepage.half_split"
        )


LEVEL = 0.95


SHARES = (0.125, 0.25, 0.5, 1.0)


def epsilon_of_runs(
    scores: ArrayLike,
    member: ArrayLike,
    *,
    delta: float = 1e-5,
    level: float = LEVEL,
    unit: Unit = EACH,
    analysis: Analysis | None = None,
) -> Float64Array:
    """A lower bound on ε from each run alone, at 1 − (1 − level)/2, so that `joint_epsilon` is at `level`.

    scores (R, M) of R targets, higher = more likely a member, each scored without itself and the
    other of its pair; member (R, M) bool. Each run is audited in one run (Steinke et al., arXiv 2305.08846) by
    guessing an eighth, a quarter, half and all of its M samples from both ends, corrected for that
    choice. Assumes that every sample is IN a run with probability ½, which a half-split of many samples is close to.
    It refutes smaller ε; a 0 shows nothing. unit, analysis: as of `one_run_from_scores`.
    """
    check_level(level, delta)
    s, y = given_floats(scores, "scores"), given_array(member, "member")
    if s.ndim != 2 or y.shape != s.shape or y.dtype != np.bool_:
        raise InputError(
            f"scores, member: expected (runs, samples) floats and bools of one shape, got "
            f"{s.shape} and {y.dtype} of shape {y.shape}; pass all targets of a fleet"
        )
    if np.bincount(tuples(y) + 1)[1:].max(initial=0) > 2:
        raise InputError(
            "member: expected pairs of runs or independent coin flips, got tuples of more than two "
            "runs, in which a sample is IN with probability 1/k and the bound does not hold; use "
            "seepage.half_split"
        )
    s, y = np.asarray(unit.scores(s), dtype=np.float64), np.asarray(unit.member(y))
    counts = _counts(s.shape[1])
    each = 1 - (1 - level) / 2
    return np.array(
        [
            one_run_from_scores(a, b, counts, delta=delta, level=each, analysis=analysis).epsilon
            for a, b in zip(s, y, strict=True)
        ]
    )


def _counts(samples: int) -> list[int]:
    return sorted({max(1, round(share * samples)) for share in SHARES})


def ceiling_of_runs(
    epsilon: float, samples: int, *, delta: float = 1e-5, level: float = LEVEL
) -> int | None:
    """The number of guesses, all of them right, that gives exactly this bound; None: some were wrong.

    epsilon: of `epsilon_of_runs`, or of `joint_epsilon` over them, with so many samples a run. A
    bound at such a ceiling tells how many guesses were counted, not how large the leak is.

    >>> ceiling_of_runs(2.7121554944723094, 160), ceiling_of_runs(2.7, 160)
    (80, None)
    """
    check_level(level, delta)
    counts = _counts(samples)
    size = (1 - level) / 2 / len(counts)
    for r in counts:
        if _is_ceiling(epsilon, _refuted(r, r, samples, delta, size)):
            return r
    return None


def _is_ceiling(epsilon: float, ceiling: float) -> bool:
    return bool(ceiling > 0 and abs(epsilon - ceiling) <= 1e-6 * ceiling)


def joint_epsilon(bounds: Sequence[float] | Float64Array) -> float:
    """The lower median of bounds that each hold at 1 − α/2: a bound at 1 − α, however they depend.

    Were it above the truth, at least half of the R bounds would be; their expected share is at most
    α/2, so by Markov's inequality that happens with probability at most α. The largest of them
    would have no such level.

    >>> joint_epsilon([0.0, 3.0, 1.0, 2.0])
    1.0
    """
    held = np.sort(given_floats(bounds, "bounds"))
    if held.ndim != 1 or not held.size:
        raise InputError(f"bounds: expected one per run, got shape {held.shape}")
    return float(held[(len(held) - 1) // 2])
