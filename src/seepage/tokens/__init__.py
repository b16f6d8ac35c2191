"""Language models token by token: ragged arrays of log-probabilities, and what they say of a document.

A document of n predicted tokens has n values; those of all documents stand one after the other in
flat arrays, document i's at `offsets[i]:offsets[i + 1]`. Every rule here is pure, and works on blocks
of documents of one length, so that nothing is padded and memory does not grow with the pool.
"""

from seepage.tokens.canaries import exposure, exposure_by_chance, secret_logp
from seepage.tokens.documents import DOCUMENT_SIGNALS, DocumentSignal, document_signal
from seepage.tokens.extraction import (
    Sampling,
    Split,
    extractable,
    generated_greedily,
    logp_of_suffix,
    queries_needed,
    sampled_logp,
)
from seepage.tokens.others import AmongOthers, evidence
from seepage.tokens.ragged import Block, Tokens, over_documents, windows
from seepage.tokens.reading import FROM_TOKENS, documents_at, follows, holds_tokens, lacks_tokens

__all__ = [
    "DOCUMENT_SIGNALS",
    "FROM_TOKENS",
    "AmongOthers",
    "Block",
    "DocumentSignal",
    "Sampling",
    "Split",
    "Tokens",
    "document_signal",
    "documents_at",
    "evidence",
    "exposure",
    "exposure_by_chance",
    "extractable",
    "follows",
    "generated_greedily",
    "holds_tokens",
    "lacks_tokens",
    "logp_of_suffix",
    "over_documents",
    "queries_needed",
    "sampled_logp",
    "secret_logp",
    "windows",
]
