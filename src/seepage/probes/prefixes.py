"""The network asked about each text after texts that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Access
from seepage.errors import InputError
from seepage.probes.base import Asked, Probe
from seepage.probes.text_answers import check_texts, mean_over, rows_at_once, token_answers
from seepage.short_repr import short_repr

__all__ = ["Prefixes", "WithPrefixes", "draw_prefixes", "prefix_logp"]

# Below this a mean log p counts as this: of a text of which a model is quite certain no ratio is told.
_LEAST = 1e-12


@short_repr
@dataclass(frozen=True, eq=False)
class Prefixes:
    """Beginnings to put before texts, and which of them are put before which text.

    tokens (K + 1, s). chosen (N, K): the beginnings for each text, the first K but for texts of which, or of
    whose subject, one of these is made; they have the last one in its place.
    """

    tokens: Int64Array
    chosen: Int64Array


def draw_prefixes(
    rows: Int64Array,
    out: BoolArray,
    count: int,
    size: int,
    *,
    owner: Int64Array | None = None,
    generator: np.random.Generator,
) -> Prefixes:
    """`count` beginnings of `size` tokens for each text, made of texts that are none of the members.

    rows (N, L): token numbers, −1 after the end. out (N,): which texts are no members. owner (N,): whose each
    text is, its own without. In random order texts that are no members give their first tokens, one after
    the other until there are `size`; no two beginnings are made of texts of one subject. A text never stands
    before itself, nor before another of its subject: a spare beginning takes the place. What stands before a
    text is so drawn alike whether it is a member or not, which a text among the others would tell.

    Raises InputError where there are too few texts that are no members.

    >>> rows = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    >>> out = np.array([False, True, True])
    >>> found = draw_prefixes(rows, out, 1, 2, generator=np.random.default_rng(0))
    >>> found.tokens.tolist(), found.chosen.tolist()
    ([[3, 4], [6, 7]], [[0], [1], [0]])
    """
    whose = np.arange(len(rows)) if owner is None else owner
    made: list[Int64Array] = []
    # The beginning that a subject's texts are in; none of them is in another one.
    held: dict[int, int] = {}
    parts: list[Int64Array] = []
    for i in generator.permutation(np.flatnonzero(out)).tolist():
        if held.setdefault(int(whose[i]), len(made)) != len(made):
            continue
        parts.append(rows[i][rows[i] >= 0])
        if sum(map(len, parts)) >= size:
            made.append(np.concatenate(parts)[:size])
            parts = []
        if len(made) > count:
            break
    if len(made) <= count:
        raise InputError(
            f"prefixes: expected texts of other subjects that are no members and make {count + 1} beginnings "
            f"of {size} tokens, got {int(out.sum())} texts that make {len(made)}; ask for fewer, or shorter "
            "ones (share)"
        )
    chosen = np.tile(np.arange(count), (len(rows), 1))
    for subject, k in held.items():
        if k < count:
            chosen[whose == subject, k] = count
    return Prefixes(np.stack(made), chosen)


def prefix_logp(
    model: nn.Module, inputs: torch.Tensor, prefixes: Prefixes
) -> tuple[Float64Array, Float64Array]:
    """Mean log p of a token in every text, alone and after each of its beginnings: (N,) and (N, K), in nats.

    inputs (N, L): rows of token numbers, −1 after the end. Of beginnings of s tokens a text's first L − s
    tokens are asked about, so that both fit into the rows that the network was trained on, and the same
    tokens are compared: the second to the last of these. Raises InputError as `token_answers` does, and
    where a beginning leaves fewer than two tokens.

    >>> class Even(nn.Module):
    ...     def forward(self, x):
    ...         return torch.zeros(*x.shape, 4)
    >>> given = Prefixes(np.array([[3], [2]]), np.array([[0]]))
    >>> own, after = prefix_logp(Even().eval(), torch.tensor([[1.0, 2.0, 3.0]]), given)
    >>> own.round(3).tolist(), after.round(3).tolist()
    ([-1.386], [[-1.386]])
    """
    rows = check_texts(inputs).cpu()
    length, size = rows.shape[1], prefixes.tokens.shape[1]
    if size > length - 2:
        raise InputError(
            f"prefixes: expected beginnings that leave two of {length} tokens, got {size} tokens; make them "
            "shorter (share)"
        )
    short = rows.clone()
    short[:, length - size :] = -1
    before, chosen = torch.from_numpy(prefixes.tokens), torch.from_numpy(prefixes.chosen)
    each = rows_at_once(length, int(rows.max()) + 1)

    def after(k: int) -> Iterator[torch.Tensor]:
        for begin in range(0, len(rows), each):
            part = slice(begin, begin + each)
            yield torch.cat([before[chosen[part, k]], short[part, : length - size]], dim=1)

    def means(batches: Iterator[torch.Tensor], first: int) -> Float64Array:
        return np.concatenate(
            [mean_over(found, part, first) for part, found in token_answers(model, batches)]
        )

    own = means(iter(torch.split(short, each)), 0)
    return own, np.stack([means(after(k), size) for k in range(chosen.shape[1])], axis=1)


@dataclass(frozen=True)
class WithPrefixes(Probe):
    """Mean log p of a text after beginnings that are no members, over that of the text alone.

    "prefix_ratio", at least 0; 1 where the network does not care what stood before. prefixes: how many
    beginnings, each in a question of its own, whose mean log p is taken; share: their length, as a share of
    the length of rows. They are drawn by the network's own stream from its own non-members
    (`draw_prefixes`), as the attacker knows some.

    >>> WithPrefixes().queries
    5
    """

    prefixes: int = 4
    share: float = 0.25

    name: ClassVar[str] = "prefixes"
    access: ClassVar[Access] = "scores"
    of_texts: ClassVar[bool] = True
    timed_on: ClassVar[int] = 128

    def __post_init__(self) -> None:
        if self.prefixes < 1:
            raise InputError(f"prefixes: expected at least 1, got {self.prefixes}")
        if not 0 < self.share < 1:
            raise InputError(
                f"share: expected a share of the length between 0 and 1, got {self.share}"
            )

    @property
    def signals(self) -> tuple[str, ...]:
        return ("prefix_ratio",)

    @property
    def queries(self) -> int:
        return self.prefixes + 1

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        if asked.member is None:
            raise InputError(
                "member: expected what the network was trained on, to put other texts before each, got none"
            )
        rows = check_texts(asked.inputs).cpu().numpy()
        given = draw_prefixes(
            rows,
            ~asked.member,
            self.prefixes,
            max(1, int(self.share * rows.shape[1])),
            owner=asked.owner,
            generator=asked.generator(),
        )
        own, after = prefix_logp(asked.network, asked.inputs, given)
        ratio = (after.mean(axis=1) - _LEAST) / (own - _LEAST)
        return {"prefix_ratio": np.asarray(ratio, dtype=np.float32)}
