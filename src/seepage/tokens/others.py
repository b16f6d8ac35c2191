"""Each model against the others of its fleet, token by token: where a document's evidence lies.

The evidence of a token is log p − log p̄ in nats, p̄ the mean probability under the models that are not
the target and not of its tuple, IN and OUT alike. What it reads of the plan is which models form a tuple
and nothing else, so that signals that know nothing of membership give evidence that knows nothing either.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seepage.array_types import AnyArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.tokens.ragged import Tokens, over_documents

__all__ = ["AmongOthers", "evidence"]

# log of the least mean probability that is told from none.
_LEAST = -700.0


class AmongOthers:
    """Sums of probability over tuples of models, from which each tuple can be left out exactly.

    Of every token it keeps the largest sum of a tuple, whose that is, and the rest: what is left without
    a tuple never is a small difference of large numbers. 20 bytes per token, however many models.

    read: (model) -> log p of every token, (S,). tuples (R,): number of the tuple of each model, as
    `seepage.plan.partitions` gives it; at least two of them.

    >>> p = np.log([[0.5, 0.5], [0.25, 0.5], [0.1, 0.5], [0.3, 0.1]])
    >>> others = AmongOthers(p.__getitem__, np.array([0, 0, 1, 1]))
    >>> np.exp(others.mean_without(0)).round(3).tolist()
    [0.2, 0.3]
    """

    def __init__(self, read: Callable[[int], AnyArray], tuples: Int64Array) -> None:
        names = np.unique(tuples)
        if len(names) < 2:
            raise InputError(
                f"models: expected at least two tuples of runs to compare, got {len(names)}; train more"
            )
        self._read, self._tuples = read, tuples
        for e in names.tolist():
            own = self._sum(e)
            if e == names[0]:
                self._most, self._rest = own, np.zeros_like(own)
                self._whose = np.full(len(own), e, dtype=np.int32)
                continue
            more = own > self._most
            self._rest += np.where(more, self._most, own)
            self._whose[more] = e
            np.maximum(self._most, own, out=self._most)
        self._held: tuple[int, Float64Array] | None = None

    def _sum(self, e: int) -> Float64Array:
        rows = np.flatnonzero(self._tuples == e)
        found = np.exp(self._read(int(rows[0])).astype(np.float64))
        for r in rows[1:].tolist():
            found += np.exp(self._read(r).astype(np.float64))
        return np.asarray(found)

    def mean_without(self, row: int) -> Float64Array:
        """log p̄ of every token under the models that are not of the tuple of `row`: (S,) nats."""
        e = int(self._tuples[row])
        if self._held is None or self._held[0] != e:
            own = self._whose == e
            left = np.where(
                own, self._rest, self._most + (self._rest - np.where(own, 0.0, self._sum(e)))
            )
            count = int((self._tuples != e).sum())
            with np.errstate(divide="ignore"):
                self._held = e, np.maximum(np.log(np.maximum(left, 0.0) / count), _LEAST)
        return self._held[1]

    def documents(self, row: int, offsets: Int64Array) -> Float64Array:
        """Evidence per token of every document under one model: (N,) nats."""
        tokens = Tokens(offsets, self._read(row), reference=self.mean_without(row))
        return over_documents(tokens, lambda block: block.gain.mean(axis=1))


def evidence(logp: AnyArray, reference: AnyArray) -> Float64Array:
    """Each token's share of the evidence of its document, in nats: log p − log p̄, (n,), (n,) -> (n,).

    What the tokens of a document say together is the sum. Above 0 the token is likelier than it would be
    had the model not seen the text.

    >>> evidence(np.log([0.9, 0.5]), np.log([0.1, 0.5])).round(2).tolist()
    [2.2, 0.0]
    """
    return np.asarray(logp, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
