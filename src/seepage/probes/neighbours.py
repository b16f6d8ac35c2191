"""The network asked about neighbours of each text: the text with some of its tokens replaced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse
import torch
from torch import nn

from seepage.array_types import Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Access
from seepage.curvature.base import stream_key
from seepage.errors import InputError
from seepage.probes.base import Asked, Probe
from seepage.probes.text_answers import check_texts, mean_over, rows_at_once, token_answers
from seepage.short_repr import short_repr

__all__ = ["Neighbours", "PairLaw", "neighbour_logp", "neighbours"]


@short_repr
@dataclass(frozen=True, eq=False)
class PairLaw:
    """The law of a token between two others, from counts of pairs in a set of texts.

    p(v | l, r) ∝ p(v | l) p(r | v) with p(b | a) = (c(a, b) + q(b))/(c(a) + 1): c counts how often b
    follows a, q is the share of tokens that are b, whose weight is that of one more occurrence. A chain
    whose next token depends on the last one alone has exactly this law. After the last token of a text it
    is p(v | l).

    share (V,): q. after (V, V) sparse: c(a, b). total (V,): c(a).
    """

    share: Float64Array
    after: scipy.sparse.csr_array
    total: Float64Array

    @staticmethod
    def of(rows: Int64Array) -> PairLaw:
        """From rows of token numbers (N, L), −1 after the end.

        Raises InputError where all tokens are alike.

        >>> law = PairLaw.of(np.array([[0, 1, 0, 2]]))
        >>> law.between(np.array([0]), np.array([1])).round(3).tolist()   # tokens after 0 and before 1
        [[0.308, 0.231, 0.462]]
        """
        there = rows >= 0
        pieces = int(rows.max()) + 1
        share = np.bincount(rows[there], minlength=pieces).astype(np.float64)
        if (share > 0).sum() < 2:
            raise InputError(
                "inputs: expected texts of at least two different tokens, got one; there is no token to "
                "replace it by"
            )
        pair = there[:, 1:]
        a, b = rows[:, :-1][pair], rows[:, 1:][pair]
        counts = scipy.sparse.coo_array((np.ones(len(a)), (a, b)), shape=(pieces, pieces))
        after = counts.tocsr()
        after.sum_duplicates()
        return PairLaw(share / share.sum(), after, np.asarray(after.sum(axis=1)).ravel())

    def between(self, left: Int64Array, right: Int64Array) -> Float64Array:
        """p(v | l, r) of pairs (B,), (B,) -> (B, V). right: −1 where the text ends."""
        found = self.after[left].toarray() + self.share
        ends = right < 0
        then = np.maximum(right, 0)
        # p(r | v) over v is a column of the counts.
        following = self.after[:, then].toarray().T + self.share[then, None]
        found *= np.where(ends[:, None], 1.0, following / (self.total + 1))
        return np.asarray(found / found.sum(axis=1, keepdims=True))


def neighbours(
    text: Int64Array,
    law: PairLaw,
    copies: int,
    share: float,
    *,
    generator: np.random.Generator,
) -> Int64Array:
    """Copies of one text with some tokens replaced by others: (n,) -> (copies, n).

    Of the n − 1 tokens that are predicted max(1, round(share · (n − 1))) are replaced, at places drawn
    uniformly without repetition; by a token of the law given the tokens that stand beside it in the text,
    the one that was there left out. The first token stays.

    >>> law = PairLaw.of(np.array([[0, 1, 2, 0, 1, 2]]))
    >>> made = neighbours(np.array([0, 1, 2]), law, 5, 0.5, generator=np.random.default_rng(0))
    >>> (made != np.array([0, 1, 2])).sum(axis=1).tolist()
    [1, 1, 1, 1, 1]
    """
    n = len(text)
    changed = max(1, round(share * (n - 1)))
    p = law.between(text[:-1], np.append(text[2:], -1))
    p[np.arange(n - 1), text[1:]] = 0.0
    cumulative = np.cumsum(p, axis=1)
    cumulative /= cumulative[:, -1:]
    places = generator.random((copies, n - 1)).argsort(axis=1)[:, :changed]
    drawn = generator.random((copies, changed))
    made = np.tile(text, (copies, 1))
    for k in range(changed):
        at = places[:, k]
        token = (drawn[:, k, None] >= cumulative[at]).sum(axis=1)
        made[np.arange(copies), at + 1] = token
    return made


def neighbour_logp(
    model: nn.Module,
    inputs: torch.Tensor,
    copies: int = 25,
    share: float = 0.05,
    *,
    generator: np.random.Generator,
) -> tuple[Float64Array, Float64Array]:
    """Mean log p of a token in every text, and in its neighbours: (N,) and (N, copies), in nats.

    inputs (N, L): rows of token numbers, −1 after the end, from which the law of what tokens are replaced
    by is counted too (`PairLaw`). One number is drawn from the generator, and each text has a stream of its
    own: batches change nothing, and the same generator makes the same neighbours for another network.
    Raises InputError as `token_answers` does, and where all tokens are alike.

    >>> class Even(nn.Module):
    ...     def forward(self, x):
    ...         return torch.zeros(*x.shape, 4)
    >>> own, near = neighbour_logp(
    ...     Even().eval(), torch.tensor([[1.0, 2.0, 3.0]]), 2, generator=np.random.default_rng(0))
    >>> own.round(3).tolist(), near.round(3).tolist()
    ([-1.386], [[-1.386, -1.386]])
    """
    rows = check_texts(inputs).cpu()
    law = PairLaw.of(rows.numpy())
    key = stream_key(generator, "Neighbours")
    each = rows_at_once(rows.shape[1], len(law.share))
    near = _with_neighbours(rows, law, copies, share, key, max(1, each // (copies + 1)))
    batches = (part for whole in near for part in torch.split(whole, each))
    means = [mean_over(found, part) for part, found in token_answers(model, batches)]
    logp = np.concatenate(means).reshape(len(rows), copies + 1)
    return logp[:, 0], logp[:, 1:]


def _with_neighbours(
    rows: torch.Tensor, law: PairLaw, copies: int, share: float, key: int, each: int
) -> Iterator[torch.Tensor]:
    """`each` texts at a time, every one with its neighbours behind it: (each · (copies + 1), L)."""
    for begin in range(0, len(rows), each):
        part = rows[begin : begin + each]
        made = part.repeat_interleave(copies + 1, dim=0)
        for i, row in enumerate(part.numpy()):
            stream = np.random.Generator(np.random.Philox(key=[key, begin + i]))
            text = row[row >= 0]
            near = neighbours(text, law, copies, share, generator=stream)
            first = i * (copies + 1) + 1
            made[first : first + copies, : len(text)] = torch.from_numpy(near)
        yield made


@dataclass(frozen=True)
class Neighbours(Probe):
    """Mean log p of a text less that of its neighbours: "neighbour_gap", in nats a token.

    copies, share: as `neighbour_logp` has them. seed: of the neighbours, which are the same for every
    network, so that networks are compared on the same question. Neighbours read the texts that are asked
    about and no membership.

    >>> Neighbours(copies=10).queries
    11
    """

    copies: int = 25
    share: float = 0.05
    seed: int = 0

    name: ClassVar[str] = "neighbours"
    access: ClassVar[Access] = "scores"
    of_texts: ClassVar[bool] = True
    timed_on: ClassVar[int] = 24

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise InputError(f"copies: expected at least 1, got {self.copies}")
        if not 0 < self.share <= 1:
            raise InputError(
                f"share: expected a share of the tokens above 0 and at most 1, got {self.share}"
            )
        if self.seed < 0:
            raise InputError(f"seed: expected at least 0, got {self.seed}")

    @property
    def signals(self) -> tuple[str, ...]:
        return ("neighbour_gap",)

    @property
    def queries(self) -> int:
        return self.copies + 1

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        own, near = neighbour_logp(
            asked.network,
            asked.inputs,
            self.copies,
            self.share,
            generator=np.random.default_rng(self.seed),
        )
        return {"neighbour_gap": np.asarray(own - near.mean(axis=1), dtype=np.float32)}
