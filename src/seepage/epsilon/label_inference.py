"""Label inference: which of two candidate labels was trained on, and the ε that right guesses refute.

data, game = epsilon.label_game(data, canaries=500, seed=1)       # then train on `data`
found = epsilon.label_inference(logits[game.positions], game)     # of one model that was
found.bound.epsilon, found.accuracy, found.blind
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array
from seepage.epsilon.label_game import LabelGame
from seepage.epsilon.multi_run import check_level
from seepage.epsilon.one_run import SHARES, Analysis, BinomialTail, OneRunBound
from seepage.errors import InputError
from seepage.given_arrays import given_floats
from seepage.metrics import clopper_pearson

__all__ = [
    "Guesses",
    "LabelInference",
    "fair_accuracy",
    "label_inference",
    "label_scores",
    "prior_accuracy",
]


def fair_accuracy(epsilon: ArrayLike) -> Float64Array:
    """How often ε-label-DP lets a guess be right at most in the fair game: e^ε/(1 + e^ε).

    The fair game: two candidates, of which a fair coin chose the one that was trained on
    (`draw_game`). Source: Steinke, Nasr and Jagielski, arXiv 2305.08846, of one guess.

    >>> fair_accuracy([0.0, 1.0, 2.0, 4.0]).round(4).tolist()
    [0.5, 0.7311, 0.8808, 0.982]
    """
    return np.asarray(scipy.special.expit(given_floats(epsilon, "epsilon")))


def prior_accuracy(epsilon: ArrayLike, prior: ArrayLike) -> Float64Array:
    """The same where a guess is right with probability `prior` before the model is seen.

    ε-label-DP lets the odds grow by at most e^ε:  p e^ε / (p e^ε + 1 − p).

    Under a uniform prior over K labels p = 1/K, and the label itself is guessed right with at
    most e^ε/(e^ε + K − 1), which is more than chance and less than `fair_accuracy`; p = ½ is the
    fair game. epsilon, prior: of shapes that broadcast. An accuracy above `fair_accuracy` refutes
    nothing where the prior already gives it away: that of digits is no coin.

    >>> prior_accuracy([1, 2, 4], 1 / 10).round(4).tolist()          # randomised response over ten
    [0.232, 0.4509, 0.8585]
    >>> prior_accuracy(1.0, 0.5).round(4).item(), prior_accuracy(0.0, 0.97).item()
    (0.7311, 0.97)
    """
    p = given_floats(prior, "prior")
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("prior: expected probabilities between 0 and 1, got others")
    return np.asarray(p / (p + (1 - p) * np.exp(-given_floats(epsilon, "epsilon"))))


@dataclass(frozen=True)
class Guesses:
    """How many of how many guesses were right; abstentions are none.

    Both are means over models where several were asked. low, high: exact 95 % interval of the share,
    for guesses that are independent of each other, as those of no knowledge are.

    >>> print(Guesses(60.0, 100.0))
    0.600 [0.497, 0.697] of 100
    """

    right: float
    count: float

    @property
    def share(self) -> float:
        """Right guesses over all, NaN of none."""
        return self.right / self.count if self.count else float("nan")

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson's, (0, 1) of no guesses."""
        low, high = clopper_pearson(self.right, self.count, level)
        return float(low), float(high)

    @property
    def low(self) -> float:
        """Lower end at 95 %."""
        return self.interval()[0]

    @property
    def high(self) -> float:
        """Upper end at 95 %."""
        return self.interval()[1]

    def is_chance(self, level: float = 0.999) -> bool:
        """Whether the interval at this level holds ½."""
        low, high = self.interval(level)
        return low <= 0.5 <= high

    def __str__(self) -> str:
        if not self.count:
            return "no guesses"
        return f"{self.share:.3f} [{self.low:.3f}, {self.high:.3f}] of {self.count:g}"

    @staticmethod
    def of(scores: ArrayLike, first: BoolArray) -> Guesses:
        """Of scores (m,), positive for the first candidate; 0 abstains. first (m,): the coins.

        >>> Guesses.of([2.0, -1.0, 0.0], np.array([True, True, False]))
        Guesses(right=1.0, count=2.0)
        """
        s = given_floats(scores, "scores")
        return Guesses(float(((s > 0) == first)[s != 0].sum()), float((s != 0).sum()))


@dataclass(frozen=True)
class LabelInference:
    """What one model tells of the labels that it was trained on.

    bound: the lower bound on ε-label-DP, of `natural` games an estimate and no bound. accuracy: of a
    guess about every canary. blind: of a guesser who knows inputs and the law and sees no model;
    in the fair game its accuracy is ½ whatever it knows. It stands beside the bound and never in it.
    """

    bound: OneRunBound
    accuracy: Guesses
    blind: Guesses
    natural: bool

    @property
    def fair(self) -> bool:
        """Whether the blind guesser is no better than chance, as coins make it, at 99.9 %."""
        return self.blind.is_chance()

    @property
    def holds(self) -> bool:
        """Whether the figure is a bound: coins chose what was trained on, and nobody foresaw them."""
        return not self.natural and self.fair

    def __str__(self) -> str:
        word = "" if self.holds else " (an estimate, no bound)"
        return f"{self.bound}{word}; accuracy {self.accuracy}; blind {self.blind}"


def label_scores(
    outputs: ArrayLike, game: LabelGame, *, reference: ArrayLike | None = None
) -> Float64Array:
    """log p(a | x) − log p(b | x) of the candidates of every canary, (m,): positive for the first.

    outputs (m, K): logits or log-probabilities of the canaries, in the game's order; the
    difference is the same of either, computed in float64 without the normaliser. reference (m, K):
    the same of a model that no coin has touched; its difference is subtracted, so that what
    anybody could tell from the input does not drown what the model was taught. A model that was trained
    on *other* canaries of the same game is no such reference: its labels are coins too.

    Raises InputError for outputs that are not finite or do not fit the game.

    >>> game = LabelGame(np.array([0]), np.array([[2, 0]]), np.array([True]), np.full((1, 2), 1/3), 1, 3)
    >>> label_scores([[0.5, 9.0, 2.0]], game), label_scores([[0.5, 9.0, 2.0]], game, reference=[[0, 0, 1]])
    (array([1.5]), array([0.5]))
    """
    own = _difference(outputs, game, "outputs")
    return own if reference is None else own - _difference(reference, game, "reference")


def _difference(outputs: ArrayLike, game: LabelGame, what: str) -> Float64Array:
    z = given_floats(outputs, what)
    if z.shape != (len(game), game.classes):
        raise InputError(
            f"{what}: expected logits of the game's canaries ({len(game)}, {game.classes}), got shape "
            f"{z.shape}; pass logits[game.positions]"
        )
    rows = np.arange(len(game))
    a, b = z[rows, game.candidates[:, 0]], z[rows, game.candidates[:, 1]]
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        bad = int((~(np.isfinite(a) & np.isfinite(b))).sum())
        raise InputError(
            f"{what}: expected finite logits, got others for {bad} of {len(game)} canaries; pass "
            "logits, or logarithms of probabilities that are not 0"
        )
    return np.asarray(a - b)


def label_inference(
    outputs: ArrayLike,
    game: LabelGame,
    *,
    reference: ArrayLike | None = None,
    blind: ArrayLike | None = None,
    delta: float = 0.0,
    level: float = 0.95,
    guesses: int | Sequence[int] | None = None,
    analysis: Analysis | None = None,
) -> LabelInference:
    """Guess the coins of a game from one model's outputs, and bound ε of its labels from below.

    The guesser takes the candidate that the model prefers (`label_scores`, where outputs (m, K) and
    reference are explained) for the r canaries with the largest |score| and abstains on the others. If
    training is (ε, δ)-DP in each label, right guesses V obey the one-run theorem (`one_run`; at δ = 0
    V is dominated by Bin(r, e^ε/(1 + e^ε))): the coins are fair, independent, and the pairs are
    fixed without them. Guesses are *wrong* first among equal |scores| and at 0.

    guesses: r, fixed before outputs were seen; several are each tested at level
    1 − (1 − level)/n and the largest bound is returned. By default an eighth, a quarter, half and
    all of the m canaries. blind (m, K): outputs of a model that was trained on no coin's label, for the
    blind guesser; without, it prefers the candidate that the law does. analysis: as of
    `one_run_from_scores`.

    Assumes that the model, and nothing else the guesser has, was trained on the coins' labels,
    each canary once. Changing a label is a special case of exchanging a sample, whose ε is therefore at
    least as large; the converse does not hold. It fails to show a leak of a model that was not trained on the canaries, and
    never shows that there is none. Of a natural game the figure is an estimate.
    Source: the game of label inference in Malek et al., arXiv 2106.03408, and the bound
    of Steinke et al., arXiv 2305.08846; joined here.

    >>> from seepage.epsilon import draw_game
    >>> game = draw_game(np.full((400, 10), 0.1), np.random.default_rng(0))
    >>> learnt = np.eye(10)[game.labels]
    >>> print(label_inference(learnt, game))
    ε at least 4.51 (the most that 400 guesses can show); accuracy 1.000 [0.991, 1.000] of 400; blind no guesses
    >>> label_inference(np.random.default_rng(1).normal(size=(400, 10)), game).bound.epsilon
    0.0
    """
    scores = label_scores(outputs, game, reference=reference)
    if blind is None:
        beforehand = game.prior[:, 0] - game.prior[:, 1]
    else:
        beforehand = _difference(blind, game, "blind")
    return LabelInference(
        _bound(scores, game.first, guesses, delta, level, analysis),
        Guesses.of(scores, game.first),
        Guesses.of(beforehand, game.first),
        game.natural,
    )


def _bound(
    scores: Float64Array,
    first: BoolArray,
    guesses: int | Sequence[int] | None,
    delta: float,
    level: float,
    analysis: Analysis | None,
) -> OneRunBound:
    check_level(level, delta)
    m = len(scores)
    if scipy.stats.binomtest(int(first.sum()), m).pvalue < 1e-5:
        raise InputError(
            f"game: expected fair coins, got {int(first.sum())} of {m} for the first candidate; draw a "
            "game with draw_game or label_game"
        )
    if guesses is None:
        counts = sorted({max(1, round(share * m)) for share in SHARES})
    else:
        counts = [guesses] if isinstance(guesses, (int, np.integer)) else list(guesses)
    if not counts or not all(1 <= r <= m for r in counts):
        raise InputError(
            f"guesses: expected counts between 1 and {m} canaries, got {guesses}; guess every canary "
            "at most once"
        )
    right = ((scores > 0) == first) & (scores != 0)
    # Surest first; among equals wrong guesses, so that no order of theirs can help.
    ranked = right[np.lexsort((right, -np.abs(scores)))].cumsum()
    each = 1 - (1 - level) / len(counts)
    rule = BinomialTail() if analysis is None else analysis
    bounds = [rule.bound(int(ranked[r - 1]), int(r), m, delta=delta, level=each) for r in counts]
    return replace(max(bounds, key=lambda b: b.epsilon), level=level)
