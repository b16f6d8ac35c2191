"""What a causal model answers for every token of a pool: flat arrays, a block of documents at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from seepage.array_types import AnyArray, Int64Array

__all__ = ["TOKEN_SIGNALS", "TokenAnswers", "documents_at_once", "offsets_of", "token_statistics"]

TOKEN_SIGNALS = {
    "token_logp": "float32",
    "token_first": "uint8",
    "token_mean": "float16",
    "token_std": "float16",
}
"""Signals of tokens by name, and the type that they are stored in."""

# Bytes of logits (B, L, V) of one forward pass, and of those that are looked at together: near caches.
_LOGITS, _WORK = 2**28, 2**22


def documents_at_once(length: int, pieces: int) -> int:
    """How many documents of `length` tokens go through a network together: at most 256 MiB of logits.

    >>> documents_at_once(128, 256), documents_at_once(1024, 50257)
    (2048, 1)
    """
    return max(1, _LOGITS // (4 * length * pieces))


def offsets_of(inputs: AnyArray) -> Int64Array:
    """Where each document's predicted tokens begin in flat arrays: rows (N, L) -> (N + 1,).

    A document of n tokens has n − 1 predicted ones; −1 stands where it has ended.

    >>> offsets_of(np.array([[5, 6, 7], [8, 9, -1]])).tolist()
    [0, 2, 3]
    """
    lengths = (np.asarray(inputs) >= 0).sum(axis=1) - 1
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def token_statistics(
    logits: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """log p of given tokens, whether none is likelier, and mean and deviation of log p.

    logits (S, V), tokens (S,) int64 -> four of (S,) float64, log p in nats. Mean and deviation are over
    the vocabulary under the model's own answer: μ = Σ p_v log p_v, σ = √(Σ p_v (log p_v − μ)²) (Min-K %++,
    arXiv 2404.02936). With d_v = z_v − max z and S = Σ e^{d_v} over all but the largest,
    log p_y = d_y − log(1 + S), μ = Σ p_v d_v − log(1 + S), which do not cancel where p is near 1. Each term
    in float32, which errs by 1e-6 of a value at most; what follows from the sums in float64.

    >>> found = token_statistics(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    >>> [round(float(v[0]), 3) for v in found]
    [-0.693, 1.0, -0.693, 0.0]
    """
    top, at = logits.float().max(1, keepdim=True)
    # Below e^−80 is nothing beside 1; a masked output, −∞, times its p of 0 would be NaN.
    d = (logits - top).clamp_min_(-80.0)
    own = (logits.gather(1, tokens[:, None]) - top)[:, 0].double()
    e = d.exp().scatter_(1, at, 0.0)
    rest = e.sum(1).double()
    first = e.mul_(d).sum(1).double()  # d of the largest is 0
    second = e.mul_(d).sum(1).double()
    log_sum, total = rest.log1p(), 1.0 + rest
    shift = first / total
    std = (second / total - shift.square()).clamp_min(0.0).sqrt()
    return own - log_sum, (own >= 0).double(), shift - log_sum, std


class TokenAnswers:
    """Fills the flat arrays of a pool's tokens, documents in order, from batches of logits.

    offsets (N + 1,) as of `offsets_of`. wanted: whether tokens are kept, beside the documents.
    """

    def __init__(self, offsets: Int64Array, wanted: bool) -> None:
        self.offsets = offsets
        count = int(offsets[-1])
        self.values: dict[str, AnyArray] = (
            {name: np.empty(count, dtype=kind) for name, kind in TOKEN_SIGNALS.items()}
            if wanted
            else {}
        )
        documents = len(offsets) - 1
        self.logp: NDArray[np.float32] = np.empty(documents, dtype=np.float32)

    def see(self, logits: torch.Tensor, rows: torch.Tensor, first: int) -> None:
        """Answers (B, L, V) to documents (B, L) from position `first` of the pool on."""
        each = max(1, _WORK // (4 * logits.shape[1] * logits.shape[2]))
        for begin in range(0, len(rows), each):
            part = rows[begin : begin + each].long()
            self._block(logits[begin : begin + each], part, first + begin)

    def _block(self, logits: torch.Tensor, rows: torch.Tensor, first: int) -> None:
        there = rows[:, 1:] >= 0
        logp, *others = token_statistics(logits[:, :-1][there], rows[:, 1:][there])
        begin, end = self.offsets[first], self.offsets[first + len(rows)]
        for name, values in zip(self.values, (logp, *others), strict=False):
            self.values[name][begin:end] = values.cpu().numpy()
        whole = torch.zeros(there.shape, dtype=torch.float64, device=rows.device)
        whole[there] = logp
        self.logp[first : first + len(rows)] = (whole.sum(1) / there.sum(1)).float().cpu().numpy()

    def found(self) -> dict[str, AnyArray]:
        """Documents' `loss` and `logp` (N,), and the tokens' arrays (S,) where they were wanted."""
        return {"loss": -self.logp, "logp": self.logp, **self.values}
