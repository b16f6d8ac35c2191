"""A small causal transformer for text: what comes next, at every token of a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import nn
from torch.nn import functional

from seepage.errors import InputError
from seepage.models.base import Network, check_classes, check_count

__all__ = ["Causal", "gpt"]


class _Block(nn.Module):
    """Attention to what came before, then two layers on each token; both on normalised input, added."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.read = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.before_layers = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.relu = nn.ReLU()
        self.narrow = nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        read = self.read(self.before_attention(x))
        parts = read.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.drop(self.mix(seen.transpose(1, 2).reshape(batch, length, width)))
        made: torch.Tensor = self.drop(self.narrow(self.relu(self.widen(self.before_layers(x)))))
        return x + made


@final
class Causal(Network):
    """Token and place embeddings, blocks of attention, and a head that shares the tokens' embedding.

    Rows of token numbers (B, L), −1 where a document has ended, in whatever number type; position t
    answers for token t + 1, and no answer depends on what comes after t. What has ended reads as token 0,
    and comes after every token that is asked about.
    """

    def __init__(
        self, context: int, pieces: int, width: int, depth: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.context = context
        self.tokens = nn.Embedding(pieces, width)
        self.places = nn.Embedding(context, width)
        self.blocks_of_attention = nn.ModuleList(
            _Block(width, heads, dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, pieces, bias=False)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                # As GPT-2: layers that are added to the stream start smaller the more of them there are.
                added = name.endswith(("mix.weight", "narrow.weight"))
                nn.init.normal_(p, std=0.02 / (2 * depth) ** 0.5 if added else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        self.head.weight = self.tokens.weight

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Token numbers (B, L) -> the head's inputs (B, L, width)."""
        if x.ndim != 2 or x.shape[1] > self.context:
            raise InputError(
                f"model: expected rows of at most {self.context} tokens, got shape {tuple(x.shape)}; "
                "make documents that fit the context"
            )
        ids = x.long().clamp_min(0)
        h = self.tokens(ids) + self.places.weight[: x.shape[1]]
        for block in self.blocks_of_attention:
            h = block(h)
        normed: torch.Tensor = self.norm(h)
        return normed

    def body(self) -> Mapping[str, nn.Module]:
        parts: dict[str, nn.Module] = {"places": self.places}
        parts |= {f"block{i}": b for i, b in enumerate(self.blocks_of_attention, start=1)}
        return parts | {"norm": self.norm}


def gpt(
    in_shape: tuple[int, ...],
    classes: int,
    *,
    width: int = 128,
    depth: int = 5,
    heads: int = 4,
    dropout: float = 0.0,
) -> Causal:
    """Causal transformer, normalised before each part, with ReLU and tied embeddings; GPT-2's start.

    in_shape: (context,), the most tokens of a document; classes: pieces of the vocabulary. dropout: share
    of what attention and layers add that is dropped in training. Text alone (`task = "language"`). Source:
    Radford et al. 2019; here ReLU in place of GELU, which a processor computes faster.

    >>> sum(p.numel() for p in gpt((128,), 256).parameters())
    1040768
    """
    if len(in_shape) != 1:
        raise InputError(
            f"in_shape: gpt expects rows of tokens (length,), got {tuple(in_shape)}; use 'cnn' for images"
        )
    context = check_count("context", in_shape[0], 2)
    check_count("depth", depth, 1)
    check_count("heads", heads, 1)
    check_count("width", width, 1)
    if width % heads:
        raise InputError(
            f"width: expected a multiple of the {heads} heads, got {width}; choose {width - width % heads}"
        )
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise InputError(f"dropout: expected a share in [0, 1), got {dropout!r}")
    return Causal(context, check_classes(classes), width, depth, heads, float(dropout))
