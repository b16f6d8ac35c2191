"""What the tokens of a document say of it: one number per document, higher = more likely a member.

Each rule is a reduction over the tokens of single documents; attacks read its values as signals. All
are in nats unless said otherwise. `D` below is log p − log p by the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seepage.array_types import Float64Array
from seepage.errors import InputError
from seepage.tokens.ragged import Block, Tokens, over_documents

__all__ = [
    "DOCUMENT_SIGNALS",
    "DocumentSignal",
    "document_signal",
    "error_zone",
    "hard_tokens",
    "lempel_ziv",
    "loss_shape",
    "lowest",
    "min_k",
    "min_k_pp",
    "reference_ratio",
    "window_share",
    "zlib_ratio",
]

K = 0.2
"""Share of tokens that Min-K %, Min-K %++ and HT-MIA read, as their public code has it."""

LEAST_STD = 1e-4
"""A deviation over the vocabulary counts as at least this, where a model is sure of one token."""

WIDTHS = (2, 3, 4, 6, 9, 13, 18, 25, 32, 40)
"""Widths of the windows of WBC, in tokens, as its released code has them."""

ADDED = 1.0
"""Nats that stand on either side of EZ-MIA's ratio."""


def lowest(values: Float64Array, share: float = K) -> Float64Array:
    """Mean of the lowest int(share · n), at least 1, of each row: (documents, n) -> (documents,).

    By selection. Public implementations take int(share · n) too and have no number where that is 0.

    >>> lowest(np.array([[3.0, 1.0, 2.0, 5.0]]), 0.5).tolist()
    [1.5]
    """
    k = _count(values.shape[1], share)
    if k == values.shape[1]:
        return np.asarray(values.mean(axis=1))
    return np.asarray(np.partition(values, k - 1, axis=1)[:, :k].mean(axis=1))


def _count(n: int, share: float) -> int:
    if not 0 < share <= 1:
        raise InputError(
            f"share: expected a share of the tokens above 0 and at most 1, got {share}"
        )
    return max(1, int(share * n))


def zlib_ratio(block: Block) -> Float64Array:
    """mean log p / bytes of zlib.compress(text): Carlini et al. 2021, arXiv 2012.07805, as in mimir."""
    size = block.need("zlib")
    if (size < 1).any():
        raise InputError(
            "zlib: expected the compressed size of every text, got 0; give the texts with the tokens"
        )
    return np.asarray(block.logp.mean(axis=1) / size)


def min_k(block: Block, share: float = K) -> Float64Array:
    """Mean log p of the least likely tokens: Shi et al., arXiv 2310.16789."""
    return lowest(block.logp, share)


def min_k_pp(block: Block, share: float = K) -> Float64Array:
    """The same of (log p − μ)/σ, μ and σ of log p over the vocabulary: Zhang et al., arXiv 2404.02936."""
    std = np.maximum(block.need("std"), LEAST_STD)
    return lowest((block.logp - block.need("mean")) / std, share)


def reference_ratio(block: Block) -> Float64Array:
    """Mean of D: the log-likelihood against that of a reference model, per token."""
    return np.asarray(block.gain.mean(axis=1))


def hard_tokens(block: Block, share: float = K) -> Float64Array:
    """Mean of D over the tokens that the *reference* finds least likely: HT-MIA, arXiv 2601.20885.

    Tokens that are as likely as the last of them share the places that are left.
    """
    reference, gain = block.need("reference"), block.gain
    n = reference.shape[1]
    k = _count(n, share)
    last = np.partition(reference, k - 1, axis=1)[:, k - 1 : k]
    below, tied = reference < last, reference == last
    rest = k - below.sum(axis=1)
    shared = (gain * tied).sum(axis=1) / tied.sum(axis=1)
    return np.asarray(((gain * below).sum(axis=1) + rest * shared) / k)


def window_share(block: Block) -> Float64Array:
    """Share of windows on which the target's loss is below the reference's, mean over `WIDTHS`.

    WBC, arXiv 2601.02751. Of a document that is shorter than a width that width says nothing; of one
    with a single token the token is the window. From 0 to 1.
    """
    gain = block.gain
    n = gain.shape[1]
    whole = np.concatenate([np.zeros((len(gain), 1)), np.cumsum(gain, axis=1)], axis=1)
    widths = [w for w in WIDTHS if w <= n] or [n]
    found = np.zeros(len(gain))
    for w in widths:
        found += (whole[:, w:] > whole[:, :-w]).mean(axis=1)
    return found / len(widths)


def error_zone(block: Block) -> Float64Array:
    """log((ΣD⁺ + 1)/(Σ|D⁻| + 1)) over the tokens that the target does not rank first.

    EZ-MIA, arXiv 2601.12104, whose score is ΣD⁺/Σ|D⁻|. Differs from the released code in the nat that
    stands on either side, and where a document has no token that is ranked otherwise than first: the code
    says 0, the least suspicious score, of the texts that are memorised best; here all tokens are read then.
    """
    wrong = block.need("first") == 0
    wrong[~wrong.any(axis=1)] = True
    gain = np.where(wrong, block.gain, 0.0)
    up, down = np.maximum(gain, 0.0).sum(axis=1), np.maximum(-gain, 0.0).sum(axis=1)
    return np.asarray(np.log((up + ADDED) / (down + ADDED)))


LEVELS = (-1.0, -2.0, -3.0)
SYMBOLS = 4


def loss_shape(block: Block) -> Float64Array:
    """Eight features of a document's sequence of losses, each higher for members: (documents, 8).

    Mean log p of the whole, of its first half and its first quarter; −slope of the loss over positions;
    shares of tokens with log p of at least −1, −2, −3; −the complexity of Lempel and Ziv of log p in four
    bins between its least and 0, distinct phrases per token. After CAMIA, arXiv 2409.13745, whose cuts lie
    at 200 and 300 tokens and which has further features of repeated texts and of token numbers.
    """
    logp = block.logp
    n = logp.shape[1]
    cuts = [logp[:, : -(-n // parts)].mean(axis=1) for parts in (1, 2, 4)]
    place = np.arange(n) - (n - 1) / 2
    slope = logp @ place / (float(place @ place) if n > 1 else 1.0)
    levels = [(logp >= level).mean(axis=1) for level in LEVELS]
    low = logp.min(axis=1, keepdims=True)
    scale = np.where(low < 0, low, -1.0)
    bins = np.minimum((SYMBOLS * (1 - logp / scale)).astype(np.int64), SYMBOLS - 1)
    return np.stack([*cuts, slope, *levels, -lempel_ziv(bins, SYMBOLS)], axis=1)


def lempel_ziv(symbols: np.ndarray, alphabet: int) -> Float64Array:
    """Phrases of the parsing of Lempel and Ziv (1978) per symbol, of each row: (m, n) -> (m,).

    A phrase is the shortest that was not one before; what is left at the end is none. All rows are
    parsed together, position by position.

    >>> lempel_ziv(np.array([[1, 0, 0, 1, 1, 1]]), 2).tolist()
    [0.6666666666666666]
    """
    m, n = symbols.shape
    # Phrases are the nodes of a tree for each row; 0 is its root.
    below = np.zeros((m, n + 1, alphabet), dtype=np.int32)
    rows, node = np.arange(m), np.zeros(m, dtype=np.int64)
    count = np.zeros(m, dtype=np.int32)
    for s in symbols.T:
        known = below[rows, node, s]
        new = known == 0
        count += new
        below[rows[new], node[new], s[new]] = count[new]
        node = np.where(new, 0, known)
    return np.asarray(count / n, dtype=np.float64)


@dataclass(frozen=True)
class DocumentSignal:
    """One rule and what it reads besides `token_logp`: names of fields of `Tokens`."""

    rule: Callable[[Block], Float64Array]
    reads: tuple[str, ...] = ()


DOCUMENT_SIGNALS: dict[str, DocumentSignal] = {
    "loss": DocumentSignal(lambda block: -block.logp.mean(axis=1)),
    "logp": DocumentSignal(lambda block: block.logp.mean(axis=1)),
    "zlib_ratio": DocumentSignal(zlib_ratio, ("zlib",)),
    "min_k": DocumentSignal(min_k),
    "min_k_pp": DocumentSignal(min_k_pp, ("mean", "std")),
    "reference_ratio": DocumentSignal(reference_ratio, ("reference",)),
    "hard_tokens": DocumentSignal(hard_tokens, ("reference",)),
    "window_share": DocumentSignal(window_share, ("reference",)),
    "error_zone": DocumentSignal(error_zone, ("first", "reference")),
    "loss_shape": DocumentSignal(loss_shape),
}
"""Signals of documents by name; higher = more likely a member, but for `loss`, nats per token."""


def document_signal(tokens: Tokens, name: str) -> Float64Array:
    """One of `DOCUMENT_SIGNALS` of every document: (N,), or (N, 8) of `loss_shape`.

    >>> tokens = Tokens(np.array([0, 2, 3]), np.array([-1.0, -3.0, -2.0]))
    >>> document_signal(tokens, "min_k").tolist()
    [-3.0, -2.0]
    """
    return over_documents(tokens, DOCUMENT_SIGNALS[name].rule)
