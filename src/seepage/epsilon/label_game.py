"""The game that judges label privacy: two candidate labels a sample, a fair coin trains on one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_bools, given_floats
from seepage.plan import Canaries
from seepage.short_repr import short_repr

if TYPE_CHECKING:
    from seepage.data import Dataset

__all__ = ["LabelGame", "draw_game", "label_game", "natural_game"]

_KIND = "label-game"


@short_repr
@dataclass(frozen=True, eq=False)
class LabelGame:
    """Which samples are asked about, two candidate labels of each, and the coin that chose.

    positions (m,): ascending, in a pool of `samples`. candidates (m, 2): two different labels
    in 0..classes − 1; both are shown to the guesser. first (m,) bool, the secret: whether
    candidates[:, 0] is the one that is trained on. prior (m, 2): P(candidate | x), which the guesser
    knows too. natural: nobody's coin chose what is trained on, see `natural_game`.

    Raises InputError where these do not fit each other.
    """

    positions: Int64Array
    candidates: Int64Array
    first: BoolArray
    prior: Float64Array
    samples: int
    classes: int
    natural: bool = False

    def __post_init__(self) -> None:
        m = len(self.positions)
        shapes = {"candidates": (m, 2), "first": (m,), "prior": (m, 2)}
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(
                    f"game: expected {name} of shape {shape}, got {found}; draw a game"
                )
        if m == 0:
            raise InputError("game: expected at least one canary, got none; draw more")
        p, c = self.positions, self.candidates
        if p[0] < 0 or p[-1] >= self.samples or (np.diff(p) < 1).any():
            raise InputError(
                f"game: expected ascending positions in 0..{self.samples - 1}; draw a game"
            )
        if c.min() < 0 or c.max() >= self.classes or (c[:, 0] == c[:, 1]).any():
            raise InputError(
                f"game: expected two different labels in 0..{self.classes - 1} of each canary; draw a game"
            )
        if not ((self.prior >= 0) & (self.prior <= 1)).all():
            raise InputError("game: expected a prior of numbers between 0 and 1; draw a game")

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def labels(self) -> Int64Array:
        """The label that each canary is trained on, (m,)."""
        return np.where(self.first, self.candidates[:, 0], self.candidates[:, 1])

    @property
    def surrogates(self) -> Int64Array:
        """The other candidate of each, (m,)."""
        return np.where(self.first, self.candidates[:, 1], self.candidates[:, 0])

    def take(self, which: BoolArray) -> LabelGame:
        """The game of some canaries alone, (m,) bool."""
        return LabelGame(
            self.positions[which],
            self.candidates[which],
            self.first[which],
            self.prior[which],
            self.samples,
            self.classes,
            self.natural,
        )

    def content(self) -> dict[str, Any]:
        """Plain values for JSON, from which `from_content` makes the game again."""
        return {
            "kind": _KIND,
            "samples": int(self.samples),
            "classes": int(self.classes),
            "natural": bool(self.natural),
            "positions": self.positions.tolist(),
            "candidates": self.candidates.tolist(),
            "first": self.first.tolist(),
            "prior": self.prior.tolist(),
        }

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> LabelGame:
        """The game that `content` tells of. Raises InputError where it tells of none.

        >>> game = draw_game(np.full((4, 3), 1 / 3), np.random.default_rng(0))
        >>> LabelGame.from_content(game.content()).labels.tolist() == game.labels.tolist()
        True
        """
        if content.get("kind") != _KIND:
            raise InputError(
                f"game: expected one that label_game drew, got {str(content.get('kind'))[:40]!r}"
            )
        try:
            samples, classes, natural = (content[k] for k in ("samples", "classes", "natural"))
            if type(samples) is not int or type(classes) is not int or type(natural) is not bool:
                raise TypeError("samples, classes and natural of another type")
            arrays = [np.array(content[k]) for k in ("positions", "candidates", "first", "prior")]
            for values, kind, axes in zip(arrays, "iibf", (1, 2, 1, 2), strict=True):
                if values.dtype.kind != kind or values.ndim != axes:
                    raise TypeError(f"{values.dtype} of {values.ndim} axes for {kind!r} of {axes}")
        except (KeyError, TypeError, ValueError, OverflowError) as e:
            raise InputError(f"game: expected one as it was drawn, got {e}; draw another") from None
        at, candidates, first, prior = arrays
        return cls(
            at.astype(np.int64), candidates.astype(np.int64), first.astype(np.bool_),
            prior.astype(np.float64), samples, classes, natural,
        )  # fmt: skip


def _law(law: ArrayLike, rows: int | None = None) -> Float64Array:
    """Rows of P(y | x) that sum to 1, each with two labels that can occur."""
    p = given_floats(law, "law")
    if p.ndim != 2 or p.shape[1] < 2 or not len(p) or (rows is not None and len(p) != rows):
        raise InputError(
            f"law: expected P(y | x) of shape ({'samples' if rows is None else rows}, classes), got "
            f"{p.shape}; a row is a distribution over at least two classes"
        )
    if not np.isfinite(p).all() or (p < 0).any() or (abs(p.sum(axis=1) - 1) > 1e-6).any():
        raise InputError("law: expected rows of probabilities that sum to 1, got others")
    if ((p > 0).sum(axis=1) < 2).any():
        row = int(((p > 0).sum(axis=1) < 2).argmax())
        raise InputError(
            f"law: expected at least two labels that can occur, got one in row {row}; there is "
            "nothing to guess"
        )
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _drawn(weight: Float64Array, generator: np.random.Generator) -> Int64Array:
    """One index of every row, with probability in proportion to its weight; none of weight 0."""
    edge = weight.cumsum(axis=1)
    u = generator.random((len(weight), 1)) * edge[:, -1:]
    # Rounding may reach the last edge.
    last = weight.shape[1] - 1 - (weight[:, ::-1] > 0).argmax(axis=1)
    return np.asarray(np.minimum((u >= edge).sum(axis=1), last), dtype=np.int64)


def _coins(count: int, generator: np.random.Generator) -> BoolArray:
    return np.asarray(generator.integers(0, 2, count) == 1)


def draw_game(
    law: ArrayLike,
    generator: np.random.Generator,
    *,
    positions: ArrayLike | None = None,
    samples: int | None = None,
) -> LabelGame:
    """Two different labels of every canary, drawn from P(y | x), and a fair coin that trains on one.

    P(candidates = {a, b}) ∝ P(a | x) P(b | x), a ≠ b;  P(a is trained on | a, b) = ½.

    law (m, K): fixed by the auditor, a row for each canary. positions (m,) in a pool of `samples`;
    by default 0..m − 1 of m. The bound rests on the coins alone, whatever the law: given the pair, its
    coin is independent of all else that a guesser knows, so that without the model nobody is right
    more often than every other time. What the law decides is what is trained on instead of people's
    labels; one that no audited label has touched tells nothing of these either.

    >>> game = draw_game([[0.5, 0.5, 0.0]] * 6, np.random.default_rng(1))
    >>> sorted(set(game.candidates.ravel().tolist())), game.labels.tolist()
    ([0, 1], [1, 0, 1, 1, 1, 1])
    """
    p = _law(law)
    m = len(p)
    at = np.arange(m) if positions is None else given_array(positions, "positions")
    if at.shape != (m,) or at.dtype.kind not in "iu":
        raise InputError(
            f"positions: expected whole numbers, one per row of the law ({m}), got {at.dtype} of "
            f"shape {at.shape}"
        )
    pool = int(at.max()) + 1 if samples is None else samples
    rows = np.arange(m)
    # Of two draws that differ the first is a with probability in proportion to P(a)(1 − P(a)).
    a = _drawn(p * (p.sum(axis=1, keepdims=True) - p) + _tiny(p), generator)
    rest = p.copy()
    rest[rows, a] = 0.0
    b = _drawn(rest, generator)
    prior = np.stack([p[rows, a], p[rows, b]], axis=1)
    return LabelGame(
        at.astype(np.int64), np.stack([a, b], axis=1), _coins(m, generator), prior, pool, p.shape[1]
    )


def _tiny(p: Float64Array) -> Float64Array:
    """So that a row whose largest probability rounds to 1 can still be drawn from."""
    return np.where(p > 0, np.finfo(np.float64).tiny, 0.0)


def natural_game(
    labels: ArrayLike,
    law: ArrayLike,
    generator: np.random.Generator,
    *,
    positions: ArrayLike | None = None,
    samples: int | None = None,
) -> LabelGame:
    """The weaker game about labels as they are: the true one beside a surrogate drawn from P(y | x).

    labels (m,): what the model was trained on, unchanged. law (m, K). Where the surrogate is the
    label itself there is nothing to guess and the sample leaves the game, so that the rest are fewer
    than m. A coin shuffles the pair. Nobody's coin chose what was trained on: the guesser gains from every
    way in which labels differ from the law, as all labels do that depend on inputs. Its figures are
    therefore an *estimate*, and a bound only if each label was itself a draw from P(y | x).

    >>> game = natural_game([0, 1, 2, 0], np.full((4, 3), 1 / 3), np.random.default_rng(0))
    >>> game.natural, game.labels.tolist() == np.array([0, 1, 2, 0])[game.positions].tolist()
    (True, True)
    """
    y = given_array(labels, "labels")
    p = _law(law, len(y) if y.ndim == 1 else None)
    m = len(p)
    if y.shape != (m,) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= p.shape[1]:
        raise InputError(
            f"labels: expected whole numbers in 0..{p.shape[1] - 1}, one per row of the law ({m}), "
            f"got {y.dtype} of shape {y.shape}"
        )
    at = np.arange(m) if positions is None else given_array(positions, "positions")
    if at.shape != (m,) or at.dtype.kind not in "iu":
        raise InputError(f"positions: expected whole numbers, one per label ({m}), got {at.shape}")
    y = y.astype(np.int64)
    other, first = _drawn(p, generator), _coins(m, generator)
    rows, kept = np.arange(m), other != y
    pair = np.where(first[:, None], np.stack([y, other], 1), np.stack([other, y], 1))
    prior = np.stack([p[rows, pair[:, 0]], p[rows, pair[:, 1]]], axis=1)
    pool = int(at.max()) + 1 if samples is None else samples
    return LabelGame(
        at.astype(np.int64)[kept], pair[kept], first[kept], prior[kept], pool, p.shape[1], True
    )


def label_game(
    data: Dataset, *, canaries: int | ArrayLike, law: ArrayLike | None = None, seed: int = 0
) -> tuple[Dataset, LabelGame]:
    """A dataset whose canaries carry the labels that coins chose, and the game to judge runs on it by.

    Train any recipe, defence or function of your own on the dataset that is returned, and nothing else on the
    coins' labels; then `seepage.findings.label_inference.label_inference_of_run(run, game)`. canaries: how
    many, drawn at random, or their positions. law: P(y | x), None for uniform over the classes, (K,) for one
    law for all, or (N, K), a row for each sample of the pool, made without any audited label.
    seed: of the canaries, candidates and coins; keep it, and the game, from whoever guesses.

    As canaries of a plan, those of the game show it in their ids ("train/17#mislabelled"), also where
    the coin happens to give a sample its own label, and the dataset can be loaded again from its source.
    Canaries cost accuracy: to the model their labels are noise.

    Raises InputError for tasks without classes, inputs that stay in their file, and canaries that are
    not in the pool.

    >>> from seepage.data import load
    >>> data, game = label_game(load("digits"), canaries=500, seed=1)
    >>> len(game), (data.labels.numpy()[game.positions] == game.labels).all()
    (500, np.True_)
    """
    from seepage.data import apply_canaries
    from seepage.data.dataset import check_dataset

    check_dataset(data)
    data.needs_classes("label_game")
    n, k = len(data), len(data.classes)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(6,)))
    at = _positions(canaries, n, rng)
    if law is None:
        p = np.full((len(at), k), 1 / k)
    else:
        p = given_floats(law, "law")
        if p.shape not in ((k,), (n, k)):
            raise InputError(
                f"law: expected P(y) of shape ({k},) or P(y | x) of shape ({n}, {k}), got {p.shape}"
            )
        p = np.broadcast_to(p, (len(at), k)) if p.ndim == 1 else p[at]
    game = draw_game(p, rng, positions=at, samples=n)
    planted = Canaries(
        game.positions,
        ("mislabelled",) * len(game),
        game.labels,
        np.full(len(game), -1, dtype=np.int64),
    )
    return apply_canaries(data, planted), game


def _positions(canaries: int | ArrayLike, n: int, rng: np.random.Generator) -> Int64Array:
    if isinstance(canaries, (int, np.integer)) and not isinstance(canaries, bool):
        if not 1 <= canaries <= n:
            raise InputError(f"canaries: expected 1 to {n} (the samples), got {canaries}")
        return np.sort(rng.permutation(n)[: int(canaries)]).astype(np.int64)
    at = given_array(canaries, "canaries")
    if at.ndim == 1 and at.dtype == np.bool_ and len(at) == n:
        at = np.flatnonzero(given_bools(at, "canaries"))
    if at.ndim != 1 or at.dtype.kind not in "iu" or not at.size:
        raise InputError(
            f"canaries: expected a number, or positions of samples, got {at.dtype} of shape {at.shape}"
        )
    at = np.unique(at).astype(np.int64)
    if at[0] < 0 or at[-1] >= n:
        raise InputError(f"canaries: expected positions in 0..{n - 1}, got {at[0]}..{at[-1]}")
    return at
