"""Language models token by token: ragged arrays of log-probabilities, and what they say of a document.

A document of n predicted tokens has n values; those of all documents stand one after the other in
flat arrays, document i's at `offsets[i]:offsets[i + 1]`. Every rule here is pure, and works on blocks
of documents of one length, so that nothing is padded and memory does not grow with the pool.
"""

from seepage.tokens.canaries import exposure
from seepage.tokens.documents import DOCUMENT_SIGNALS, DocumentSignal, document_signal
from seepage.tokens.others import AmongOthers, evidence
from seepage.tokens.ragged import Block, Tokens, over_documents, windows

__all__ = [
    "DOCUMENT_SIGNALS",
    "AmongOthers",
    "Block",
    "DocumentSignal",
    "Tokens",
    "document_signal",
    "evidence",
    "exposure",
    "over_documents",
    "windows",
]
