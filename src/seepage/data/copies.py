"""Exact copies in a pool: noticed, counted, kept together or dropped.

A run that holds out one of two copies may train on the other, and then nothing tells its members
from its non-members: the leak is there and the figures do not show it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Int64Array
from seepage.data.dataset import Dataset, one_nan

__all__ = ["Copies", "CopiesWarning", "count_copies", "drop_copies", "group_copies"]


class CopiesWarning(UserWarning):
    """Copies in the pool that the plan gives to different runs."""


@dataclass(frozen=True)
class Copies:
    """How many samples share their content with another.

    samples: those with at least one exact copy; contents: different contents among them; split:
    those of them that the plan does not keep with all of their copies in every run.
    """

    samples: int
    contents: int
    split: int


def count_copies(
    data: Dataset, member: BoolArray, *, leave_out: Int64Array | None = None
) -> Copies:
    """Exact copies (the same inputs and the same label) in a pool and under a plan (R, N).

    leave_out: positions of samples that are copies on purpose, such as planted canaries. Contents
    are compared by a hash of 128 bits; 0.0 and -0.0 are the same, and so are all missing values. Near copies are not found.

    >>> from seepage.data import from_arrays
    >>> data = from_arrays([[1.0], [1.0], [2.0], [1.0]], [0, 0, 1, 1])
    >>> count_copies(data, np.array([[True, False, True, False]]))
    Copies(samples=2, contents=1, split=2)
    >>> count_copies(data, np.array([[True, True, False, False]])).split
    0
    """
    first = _first_of_each(data, () if leave_out is None else leave_out.tolist())
    sizes = np.bincount(first, minlength=len(data))
    held = np.flatnonzero(sizes[first] > 1)
    apart = (member[:, held] != member[:, first[held]]).any(axis=0)
    broken = np.unique(first[held[apart]])
    return Copies(
        samples=len(held),
        contents=int((sizes > 1).sum()),
        split=int(np.isin(first[held], broken).sum()),
    )


def group_copies(data: Dataset) -> Dataset:
    """The same pool with exact copies in one group, so that plans keep them together.

    Groups that it has are joined where they share a content. Without copies the pool is returned
    as it is.

    >>> from seepage.data import from_arrays
    >>> data = from_arrays([[1.0], [2.0], [1.0]], [0, 1, 0], ids=["a", "b", "c"])
    >>> group_copies(data).groups.tolist()
    ['a', 'b', 'a']
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first = _first_of_each(data)
    rows = np.arange(len(data))
    if (first == rows).all():
        return data
    names, group = data.ids, rows
    if data.groups is not None:
        names, at, group = np.unique(data.groups, return_index=True, return_inverse=True)
        if (group == group[first]).all():
            return data
    links = coo_array((np.ones(len(data)), (group, group[first])), shape=(len(names),) * 2)
    joined = connected_components(links, directed=False)[1][group]
    # Named after the first sample or group of each.
    _, at = np.unique(joined, return_index=True)
    return replace(
        data,
        groups=names[group[at]][joined].astype(np.str_),
        source={"copies": "group", "of": data.source},
    )


def drop_copies(data: Dataset) -> Dataset:
    """The first sample of every content, in their old order and with their ids.

    >>> from seepage.data import from_arrays
    >>> drop_copies(from_arrays([[1.0], [2.0], [1.0]], [0, 1, 0], ids=["a", "b", "c"])).ids.tolist()
    ['a', 'b']
    """
    first = _first_of_each(data)
    rows = np.flatnonzero(first == np.arange(len(data)))
    if len(rows) == len(data):
        return data
    kept = data.take(rows.astype(np.int64))
    return replace(kept, source={"copies": "drop", "of": data.source})


def _first_of_each(data: Dataset, leave_out: Sequence[int] = ()) -> Int64Array:
    """Position of the first sample with the same inputs and label, (N,); their own of `leave_out`."""
    out = np.arange(len(data))
    kept = np.ones(len(data), dtype=np.bool_)
    kept[list(leave_out)] = False
    content = _contents(data)[kept]
    # Stable, so that the first of equals comes first.
    order = np.lexsort((content[:, 1], content[:, 0]))
    ordered = content[order]
    new = np.r_[True, (ordered[1:] != ordered[:-1]).any(axis=1)][: len(order)]
    at = np.flatnonzero(kept)
    out[at[order]] = at[order[np.flatnonzero(new)[np.cumsum(new) - 1]]]
    return out


def _contents(data: Dataset) -> NDArray[np.uint64]:
    """A hash of every sample's inputs and label, (N, 2), in one pass over the inputs."""
    labels = np.ascontiguousarray(data.labels.numpy().astype("<i8"))
    targets = None
    if data.targets is not None:
        targets = np.ascontiguousarray(data.targets.numpy() + 0.0)
    told = bytearray()
    # As the inputs lie: their order within a sample is the same for all.
    blocks = data.blocks() if data.file is None else map(torch.from_numpy, data.file.blocks())
    for x in blocks:
        if x.dtype.is_floating_point:
            x = one_nan(x + 0.0)  # -0.0 is 0.0
        for raw in x.contiguous().flatten(1).view(torch.uint8).numpy():
            i = len(told) // 16
            h = hashlib.blake2b(raw.data, digest_size=16)
            h.update(labels[i].data)
            if targets is not None:
                h.update(targets[i].data)
            told += h.digest()
    return np.frombuffer(bytes(told), dtype=np.uint64).reshape(-1, 2)
