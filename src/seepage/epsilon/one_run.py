"""ε from one training run: guesses about many canaries, each included by its own coin flip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from seepage.epsilon.multi_run import check_level, scored
from seepage.errors import InputError

__all__ = [
    "BothEnds",
    "GuessStrategy",
    "HighestOnly",
    "OneRunBound",
    "one_run",
    "one_run_from_scores",
]


@dataclass(frozen=True)
class OneRunBound:
    """With probability at least `level`, ε at `delta` is not below `epsilon`.

    correct of guesses guesses among canaries were right.
    """

    epsilon: float
    level: float
    delta: float
    correct: int
    guesses: int
    canaries: int


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


def _p_value(epsilon: float, correct: int, guesses: int, canaries: int, delta: float) -> float:
    """P[Bin(r, q) ≥ v] + 2mδ · max over i of P[v − i ≤ Bin < v]/i, for v ≥ 1."""
    q = float(special.expit(epsilon))
    tail = float(special.betainc(correct, guesses - correct + 1, q))
    below = np.cumsum(stats.binom.pmf(np.arange(correct - 1, -1, -1), guesses, q))
    return tail + 2 * canaries * delta * float((below / np.arange(1, correct + 1)).max())


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
    theorem assumes coin flips (and not tuples of more than two runs, `seepage.subsets`, which put a
    sample in with probability 1/k). r must be fixed beforehand; for a choice among several use
    `one_run_from_scores`. With r guesses it cannot exceed logit((1 − level)^(1/r)), and is vacuous
    once 2mδ nears 1. Source: Steinke, Nasr and Jagielski, arXiv 2305.08846.

    >>> [round(one_run(m, m, m).epsilon, 4) for m in (10, 100, 1000)]
    [1.0519, 3.493, 5.8091]
    >>> round(one_run(90, 100, 1000, delta=1e-5).epsilon, 3) < one_run(90, 100, 1000).epsilon
    True
    """
    check_level(level, delta)
    if not 0 <= correct <= guesses <= canaries or guesses < 1:
        raise InputError(
            f"correct, guesses, canaries: expected 0 <= correct <= guesses <= canaries and a "
            f"guess, got {correct}, {guesses}, {canaries}; count abstentions as no guess"
        )
    epsilon = 0.0
    if correct:
        q = special.betaincinv(correct, guesses - correct + 1, 1 - level)
        epsilon = max(0.0, float(special.logit(q)))
    if delta > 0 and epsilon > 0:
        # At this epsilon the binomial tail alone uses up the level: the crossing is below.
        epsilon = _first_crossing(epsilon, correct, guesses, canaries, delta, 1 - level)
    return OneRunBound(epsilon, level, delta, correct, guesses, canaries)


def _first_crossing(
    top: float, correct: int, guesses: int, canaries: int, delta: float, size: float
) -> float:
    low, high = 0.0, top
    for e in np.linspace(0.0, top, 33):
        if _p_value(float(e), correct, guesses, canaries, delta) > size:
            high = float(e)
            break
        low = float(e)
    while high - low > 1e-9 * max(1.0, top):
        middle = (low + high) / 2
        if _p_value(middle, correct, guesses, canaries, delta) > size:
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
) -> OneRunBound:
    """`one_run` with guesses made from the scores (m,) of all canaries of one run.

    guesses: how many, fixed before the scores were seen. Several counts are each tested at level
    1 − (1 − level)/K and the largest bound is returned, under the level asked for. strategy:
    `BothEnds()` (default) or `HighestOnly()`. Ties at a cut are guessed *wrong* first, so that the
    order of the array, which may reveal members, cannot help. Assumptions as in `one_run`.

    >>> member = np.arange(200) % 2 == 0
    >>> one_run_from_scores(np.where(member, 1.0, -1.0), member, (20, 100)).guesses
    100
    """
    check_level(level, delta)
    s, y = scored(scores, member)
    counts = [guesses] if isinstance(guesses, (int, np.integer)) else list(guesses)
    if not counts or not all(1 <= r <= len(s) for r in counts):
        raise InputError(
            f"guesses: expected counts between 1 and {len(s)} canaries, got {guesses}; "
            "guess every canary at most once"
        )
    # Ascending; among equal scores members first, so that at either end wrong guesses come first.
    ranked = y[np.lexsort((~y, s))]
    each = 1 - (1 - level) / len(counts)
    bounds = []
    for r in counts:
        low, high = (BothEnds() if strategy is None else strategy).sides(int(r))
        right = int((~ranked[:low]).sum()) + int(ranked[len(ranked) - high :].sum())
        bounds.append(one_run(right, int(r), len(s), delta=delta, level=each))
    best = max(bounds, key=lambda b: b.epsilon)
    return OneRunBound(best.epsilon, level, delta, best.correct, best.guesses, best.canaries)
