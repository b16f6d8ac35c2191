"""A fleet of unigram models whose counts are known: log p of every token in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seepage.plan import half_split

F = np.ndarray


@dataclass(frozen=True)
class Unigrams:
    """Documents of a small vocabulary; model r knows (its members' counts + 1)/(their number + V).

    words: tokens of each document. logp (R, S), first (R, S), mean and std (R, S) over the vocabulary,
    reference (S,): log p under the law that the words were drawn from.
    """

    words: list[F]
    member: F
    logp: F
    first: F
    mean: F
    std: F
    reference: F
    counts: F

    @property
    def offsets(self) -> F:
        return np.concatenate([[0], np.cumsum([len(w) for w in self.words])])

    def arrays(self) -> dict[str, F]:
        """As they are imported, at one checkpoint."""
        return {
            "member": self.member,
            "token_logp": self.logp,
            "token_first": self.first,
            "token_mean": self.mean,
            "token_std": self.std,
            "token_reference": self.reference,
            "offsets": self.offsets,
            "texts": np.array([" ".join(map(str, w.tolist())) for w in self.words]),
        }


def unigrams(models: int = 8, documents: int = 40, vocabulary: int = 60, seed: int = 0) -> Unigrams:
    rng = np.random.default_rng(seed)
    law = rng.dirichlet(np.full(vocabulary, 0.3))
    lengths = rng.integers(1, 50, documents)
    words = [rng.choice(vocabulary, n, p=law) for n in lengths]
    member = half_split(documents, models=models, seed=seed).member
    counts = np.stack([np.bincount(w, minlength=vocabulary) for w in words])
    total = member.astype(float) @ counts + 1
    q = np.log(total / total.sum(axis=1, keepdims=True))
    flat = np.concatenate(words)
    mean = (np.exp(q) * q).sum(axis=1)
    std = np.sqrt((np.exp(q) * q**2).sum(axis=1) - mean**2)
    whole = np.ones((1, len(flat)))
    return Unigrams(
        words,
        member,
        q[:, flat],
        (q[:, flat] >= q.max(axis=1, keepdims=True)).astype(np.uint8),
        mean[:, None] * whole,
        std[:, None] * whole,
        np.log(law[flat]),
        total,
    )
