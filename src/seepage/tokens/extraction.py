"""Extraction: how probable it is that a model, given the beginning of a text, generates what follows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_floats

if TYPE_CHECKING:
    import torch

__all__ = [
    "Sampling",
    "Split",
    "extractable",
    "generated_greedily",
    "logp_of_suffix",
    "queries_needed",
    "sampled_logp",
]


@dataclass(frozen=True)
class Split:
    """Where a text is cut: its first `prefix` tokens are given, the next `suffix` are to be generated.

    Raises InputError for either below 1: the first token of a text is not predicted by what comes before.

    >>> Split(50, 50).tokens
    100
    """

    prefix: int = 50
    suffix: int = 50

    def __post_init__(self) -> None:
        for name, value in (("prefix", self.prefix), ("suffix", self.suffix)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name}: expected a whole number of at least 1, got {value!r}")

    @property
    def tokens(self) -> int:
        """How many tokens a text must have."""
        return self.prefix + self.suffix

    def rows(self, offsets: Int64Array) -> Int64Array:
        """Which documents are long enough, by offsets (N + 1,) of their predicted tokens."""
        return np.flatnonzero(np.diff(np.asarray(offsets)) + 1 >= self.tokens)


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn: from softmax(logits / temperature), of the k likeliest alone if `top_k`.

    With ties at the k-th place all tied tokens stay in. Raises InputError for a temperature that is not above 0 and
    a `top_k` below 1.

    >>> Sampling().plain, Sampling(top_k=40).plain
    (True, False)
    """

    temperature: float = 1.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise InputError(
                f"temperature: expected a finite number above 0, got {self.temperature}; greedy generation "
                "is judged beside it"
            )
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k: expected at least 1, got {self.top_k}")

    @property
    def plain(self) -> bool:
        """Whether it draws from the model's own answer, so that recorded log p of tokens is enough."""
        return self.temperature == 1.0 and self.top_k is None


def sampled_logp(logits: torch.Tensor, tokens: torch.Tensor, how: Sampling) -> torch.Tensor:
    """log p of given tokens where the next one is drawn so: (S, V), (S,) int64 -> (S,) float64, in nats.

    −∞ for a token that is not among the k likeliest, which is never drawn.

    >>> import torch
    >>> z = torch.tensor([[0.0, 0.0, 5.0]])
    >>> round(float(sampled_logp(z, torch.tensor([0]), Sampling(temperature=5.0))[0].exp()), 3)
    0.212
    >>> float(sampled_logp(z, torch.tensor([0]), Sampling(top_k=1))[0])
    -inf
    """
    z = logits.double() / how.temperature
    if how.top_k is not None and how.top_k < z.shape[1]:
        least = z.topk(how.top_k, dim=1).values[:, -1:]
        z = z.masked_fill(z < least, -math.inf)
    found: torch.Tensor = z.log_softmax(1).gather(1, tokens[:, None])[:, 0]
    return found


def logp_of_suffix(
    logp: AnyArray, offsets: Int64Array, rows: Int64Array, split: Split
) -> Float64Array:
    """log p_z, the log-probability that the suffix of each text is generated after its prefix: (S,) -> (C,).

    The sum of log p of its tokens, in nats: p_z is exact, nothing is sampled. logp (S,), offsets (N + 1,): as a run
    holds them. rows (C,): documents of enough tokens, as of `Split.rows`.

    >>> logp = np.log([0.5, 0.5, 0.1, 0.2])
    >>> np.exp(logp_of_suffix(logp, np.array([0, 2, 4]), np.array([0, 1]), Split(1, 2))).round(3).tolist()
    [0.25, 0.02]
    """
    return np.asarray(
        _suffixes(np.asarray(logp, dtype=np.float64), offsets, rows, split).sum(axis=1)
    )


def generated_greedily(
    first: AnyArray, offsets: Int64Array, rows: Int64Array, split: Split
) -> BoolArray:
    """Whether each suffix is what always taking the likeliest token generates: (S,) 0 or 1 -> (C,) bool.

    first (S,): whether no token is likelier than the text's own, as `token_first` records it.

    >>> generated_greedily(np.array([1, 1, 1, 0]), np.array([0, 2, 4]), np.array([0, 1]), Split(1, 2)).tolist()
    [True, False]
    """
    return np.asarray(_suffixes(np.asarray(first), offsets, rows, split).all(axis=1))


def _suffixes(values: AnyArray, offsets: Int64Array, rows: Int64Array, split: Split) -> AnyArray:
    at = np.asarray(offsets, dtype=np.int64)
    chosen = np.asarray(rows, dtype=np.int64)
    if (np.diff(at)[chosen] + 1 < split.tokens).any():
        raise InputError(
            f"rows: expected texts of at least {split.tokens} tokens, got shorter ones; take Split.rows"
        )
    # Token j of a text is its predicted one j − 1.
    begin = at[chosen] + split.prefix - 1
    return np.asarray(values[begin[:, None] + np.arange(split.suffix)])


def extractable(logp_z: ArrayLike, queries: int, probability: float = 0.5) -> BoolArray:
    """Whether n = `queries` generations hold the suffix at least once with probability ≥ p: (n, p)-discoverable.

    1 − (1 − p_z)ⁿ ≥ p, of log p_z of any shape. Assumes generations that are independent given the
    prefix. Source: Hayes et al., arXiv 2410.19482; n = 1 with greedy generation is the older notion
    (`generated_greedily`).

    Raises InputError for no query, a probability outside of (0, 1), and log p above 0.

    >>> extractable(np.log([0.5, 0.07, 0.06]), 10).tolist()
    [True, True, False]
    """
    if isinstance(queries, bool) or queries < 1:
        raise InputError(f"queries: expected at least 1, got {queries}")
    missed = _log_missed(logp_z)
    # Rounding must not decide where p_z is p itself.
    return np.asarray(queries * missed <= _log_rest(probability) * (1 - 1e-12))


def queries_needed(logp_z: ArrayLike, probability: float = 0.5) -> Float64Array:
    """The fewest n with which a suffix is extracted with probability ≥ p: ⌈log(1 − p)/log(1 − p_z)⌉, ∞ for p_z = 0.

    Errors as of `extractable`.

    >>> queries_needed(np.log([1.0, 0.5, 0.01])).tolist(), queries_needed(-np.inf).tolist()
    ([1.0, 1.0, 69.0], inf)
    """
    missed = _log_missed(logp_z)
    rest = _log_rest(probability)
    with np.errstate(divide="ignore"):
        return np.asarray(np.maximum(1.0, np.ceil(rest / missed * (1 - 1e-12))))


def _log_rest(probability: float) -> float:
    if not 0 < probability < 1:
        raise InputError(
            f"probability: expected a number between 0 and 1, got {probability}; use 0.5"
        )
    return math.log1p(-probability)


def _log_missed(logp_z: ArrayLike) -> Float64Array:
    """log(1 − p_z): that one generation is another text."""
    z = given_floats(logp_z, "logp_z")
    if np.isnan(z).any() or (z > 0).any():
        raise InputError("logp_z: expected log-probabilities of at most 0, got others")
    with np.errstate(divide="ignore"):
        return np.asarray(np.log1p(-np.exp(z)))
