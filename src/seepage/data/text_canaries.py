"""Canaries for language models: texts that no pool holds, drawn to be planted in it and found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from seepage.array_types import Int64Array
from seepage.data.dataset import Dataset
from seepage.errors import InputError
from seepage.plan import Canaries

__all__ = ["TEXT_CANARIES", "insert_texts"]

TEXT_CANARIES = ("random", "rare")
"""Kinds of inserted texts: all tokens drawn uniformly, or a tail of tokens that are rare in the pool."""

# Of the vocabulary, the part that counts as rare.
_RARE = 0.25
_TRIES = 100


def insert_texts(
    data: Dataset,
    *,
    random: int = 0,
    rare: int = 0,
    repeats: Sequence[int] = (1,),
    candidates: int = 255,
    length: int = 32,
    seed: int = 0,
) -> tuple[Dataset, Canaries]:
    """The pool (N texts) with canaries after it, and what each of them is; `seepage.plan.insert_canaries` plans them.

    random, rare: how many of each kind; they take the `repeats` in turn, how often a training set
    holds a canary in each epoch if its coin is in. candidates: of each kind so many texts more, drawn in the
    same way, which no run holds (`repeats` of 0): among them a canary's exposure is ranked, at most
    log2(candidates + 1) bits. length: tokens of each. seed: of the draw.

    A `random` canary is `length` tokens, uniform over the vocabulary. A `rare` one begins as a text of the pool
    does that is drawn for it and ends in ⌊length/2⌋ tokens drawn uniformly among the quarter of the vocabulary that occurs least in
    the pool, ties in random order; only that tail is secret (`Canaries.begin`). All texts are
    different. Of random tokens a model that did not see a canary knows nothing, so that whatever it
    knows was learnt; they are outliers too, which training data seldom are.

    Assumes texts as token numbers (`task = "language"`) in memory. Raises InputError for other data, too few
    tokens for so many different texts, and lengths beyond the pool's rows. Source: random canaries and
    candidates Carlini et al., arXiv 1802.08232, there of a fixed format; tails of rare tokens after arXiv
    2503.06808, a reconstruction: the paper was not at hand in full, its canaries may be drawn
    and scored otherwise.

    >>> from seepage.data import from_texts
    >>> pool, canaries = insert_texts(from_texts(["to be", "or not"]), random=2, repeats=(1, 4), candidates=1, length=4)
    >>> pool.ids.tolist()
    ['train/0', 'train/1', 'canary/random/0', 'canary/random/1', 'candidate/random/0']
    >>> canaries.repeats.tolist(), canaries.begin.tolist()
    ([1, 4, 0], [1, 1, 1])
    """
    often = _checked(data, {"random": random, "rare": rare}, repeats, candidates, length)
    width = int(data.inputs.shape[1])
    stream = np.random.SeedSequence(seed, spawn_key=(12,))
    rows: list[Int64Array] = []
    ids: list[str] = []
    kinds: list[str] = []
    times: list[int] = []
    begin: list[int] = []
    for (kind, count), own in zip(
        (("random", random), ("rare", rare)), stream.spawn(2), strict=True
    ):
        if not count:
            continue
        rng = np.random.default_rng(own)
        rows.append(_different(data, kind, count + candidates, length, rng))
        ids += [f"canary/{kind}/{i}" for i in range(count)]
        ids += [f"candidate/{kind}/{i}" for i in range(candidates)]
        kinds += [kind] * (count + candidates)
        times += [often[i % len(often)] for i in range(count)] + [0] * candidates
        begin += [1 if kind == "random" else length - length // 2] * (count + candidates)
    found = np.concatenate(rows)
    table = np.full((len(found), width), -1, dtype=np.float32)
    table[:, :length] = found
    there = set(data.ids.tolist())
    taken = next((i for i in ids if i in there), None)
    if taken is not None:
        raise InputError(f"plan.canaries: expected texts of other ids, got {taken!r} in the pool")
    n = len(data)
    record = {
        "random": random,
        "rare": rare,
        "repeats": list(often),
        "candidates": candidates,
        "length": length,
        "seed": seed,
    }
    whole = replace(
        data,
        inputs=torch.cat([data.inputs, torch.from_numpy(table).to(data.inputs.dtype)]),
        labels=torch.cat([data.labels, torch.zeros(len(found), dtype=data.labels.dtype)]),
        ids=np.concatenate([data.ids, np.array(ids)]).astype(np.str_),
        groups=None
        if data.groups is None
        else np.concatenate([data.groups, np.array(ids)]).astype(np.str_),
        source={"inserted": record, "of": data.source} if data.source else {},
    )
    return whole, Canaries(
        np.arange(n, n + len(found)),
        tuple(kinds),
        np.zeros(len(found), dtype=np.int64),
        np.full(len(found), -1, dtype=np.int64),
        np.array(times, dtype=np.int64),
        np.array(begin, dtype=np.int64),
    )


def _checked(
    data: Dataset, counts: dict[str, int], repeats: Sequence[int], candidates: int, length: int
) -> tuple[int, ...]:
    """The repeats; raises InputError for what cannot be inserted."""
    if data.task != "language" or data.file is not None:
        raise InputError(
            "plan.canaries.random, rare: expected texts in memory, task 'language', got "
            f"{data.task}; plant mislabelled, blank or duplicated samples"
        )
    for kind, count in counts.items():
        if count < 0:
            raise InputError(f"plan.canaries.{kind}: expected 0 or more, got {count}")
    if not any(counts.values()):
        raise InputError("plan.canaries: expected some random or rare ones, got none; set a number")
    often = tuple(int(k) for k in repeats)
    if not often or min(often) < 1 or len(set(often)) != len(often):
        raise InputError(
            f"plan.canaries.repeats: expected different numbers of at least 1, got {list(repeats)}"
        )
    few = min(c for c in counts.values() if c)
    if few < len(often):
        raise InputError(
            f"plan.canaries: expected at least one canary of a kind for each of {len(often)} repeats, got "
            f"{few}; draw more"
        )
    if candidates < 1:
        raise InputError(
            f"plan.canaries.candidates: expected at least 1 to rank among, got {candidates}"
        )
    width = int(data.inputs.shape[1])
    if not 2 <= length <= width:
        raise InputError(
            f"plan.canaries.length: expected 2 to {width} tokens, as the pool's texts have, got {length}"
        )
    return often


def _different(
    data: Dataset, kind: str, count: int, length: int, rng: np.random.Generator
) -> Int64Array:
    """So many different rows of tokens (count, length)."""
    pieces = len(data.classes)
    tail = length if kind == "random" else length // 2
    inputs = data.inputs.numpy()
    prefixes = np.empty((0, 0), dtype=np.int64)
    allowed = np.arange(pieces)
    if kind == "rare":
        long = np.flatnonzero(inputs[:, length - tail - 1] >= 0)
        if not long.size:
            raise InputError(
                f"plan.canaries.rare: expected a text of at least {length - tail} tokens to begin as, got "
                "none; lower plan.canaries.length"
            )
        prefixes = inputs[long, : length - tail].astype(np.int64)
        seen = np.bincount(inputs[inputs >= 0].astype(np.int64), minlength=pieces)
        order = rng.permutation(pieces)
        allowed = order[np.argsort(seen[order], kind="stable")][: max(2, int(_RARE * pieces))]

    def draw(many: int) -> Int64Array:
        ends = allowed[rng.integers(len(allowed), size=(many, tail))]
        if kind == "random":
            return np.asarray(ends)
        return np.concatenate([prefixes[rng.integers(len(prefixes), size=many)], ends], axis=1)

    rows = draw(count)
    for _ in range(_TRIES):
        first = np.unique(rows, axis=0, return_index=True)[1]
        again = np.setdiff1d(np.arange(count), first)
        if not again.size:
            return rows
        rows[again] = draw(again.size)
    raise InputError(
        f"plan.canaries.length: expected so many tokens that {count} {kind} texts can differ, got {length} "
        f"over {pieces} pieces; raise it"
    )
