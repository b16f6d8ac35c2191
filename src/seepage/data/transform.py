"""Datasets from datasets: pooled parts, subsets, planted canaries, label noise.

Every result remembers in `source` what was done to what, so that `reload` can do it again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from seepage.array_types import Int64Array
from seepage.data.dataset import Dataset
from seepage.errors import InputError
from seepage.plan import Canaries

__all__ = ["apply_canaries", "pool", "relabel", "subset"]

_CANARY_KINDS = ("mislabelled", "blank", "duplicated")


def pool(train: Dataset, test: Dataset) -> Dataset:
    """Both parts as one pool, train first; ids are "train/17" and "test/3".

    A model's own training part is often not exchangeable with its test part; a pool of both, split
    afresh by the plan, is. Ids that lack the name of their part get it in front; groups keep their
    names, so that who has samples in both parts is one.

    >>> from seepage.data import from_arrays
    >>> a = from_arrays([[0.0], [1.0]], [0, 1], ids=["p7", "p9"])
    >>> b = from_arrays([[2.0], [3.0]], [1, 0], ids=["p7", "p8"])
    >>> pool(a, b).ids.tolist()
    ['train/p7', 'train/p9', 'test/p7', 'test/p8']
    """
    for what, a, b in (
        ("kind", train.kind, test.kind),
        ("classes", train.classes, test.classes),
        ("shape", train.shape, test.shape),
        ("type", train.inputs.dtype, test.inputs.dtype),
        ("columns", train.columns, test.columns),
        ("task", train.task, test.task),
        ("targets", train.targets is None, test.targets is None),
    ):
        if a != b:
            raise InputError(
                f"pool: expected parts of the same {what}, got {_short(a)} and {_short(b)}; "
                "load them together with part='both'"
            )
    if (train.groups is None) != (test.groups is None):
        raise InputError("pool: expected groups in both parts or in none, got them in one")
    for data in (train, test):
        if data.file is not None:
            raise InputError(
                f"pool: expected parts that memory holds, got {data.name} of "
                f"{data.file.nbytes / 2**30:.1f} GiB, which stays in its file; save both as one part"
            )
    ids = [
        np.array([i if i.startswith(f"{part}/") else f"{part}/{i}" for i in data.ids.tolist()])
        for part, data in (("train", train), ("test", test))
    ]
    return replace(
        train,
        inputs=torch.cat([train.inputs, test.inputs]),
        labels=torch.cat([train.labels, test.labels]),
        ids=np.concatenate(ids),
        name=train.name if train.name == test.name else f"{train.name} + {test.name}",
        source={"pool": [train.source, test.source]},
        groups=None
        if train.groups is None or test.groups is None
        else np.concatenate([train.groups, test.groups]),
        targets=None
        if train.targets is None or test.targets is None
        else torch.cat([train.targets, test.targets]),
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def subset(data: Dataset, n: int, *, seed: int = 0) -> Dataset:
    """A random n of the samples, in their old order and with their ids.

    Drawn as the first n of one permutation per seed, so a smaller subset lies in a larger one.

    >>> from seepage.data import load
    >>> subset(load("digits"), 3, seed=0).ids.tolist()
    ['train/114', 'train/130', 'train/1127']
    """
    if not 1 <= n <= len(data):
        raise InputError(f"limit: expected 1 to {len(data)} (the samples), got {n}")
    rows = np.sort(_rng(seed, 10).permutation(len(data))[:n])
    return replace(
        data.take(rows), source={"subset": {"n": int(n), "seed": int(seed)}, "of": data.source}
    )


def relabel(data: Dataset, fraction: float, *, seed: int = 0) -> Dataset:
    """Label noise: round(fraction·N) random samples get a label uniform among the other classes.

    Ids stay, so that noisy and clean runs can be compared sample by sample. Which samples were
    changed, and what they were, is in `source["relabel"]`: `rows` ascending, `was` the old labels.

    >>> from seepage.data import load
    >>> clean = load("digits")
    >>> noisy = relabel(clean, 0.1, seed=1)
    >>> int((noisy.labels != clean.labels).sum()), len(noisy.source["relabel"]["rows"])
    (180, 180)
    """
    if not 0.0 <= fraction <= 1.0:
        raise InputError(f"fraction: expected 0 to 1, got {fraction}")
    data.needs_classes("data.label_noise")
    rng = _rng(seed, 11)
    rows = np.sort(rng.permutation(len(data))[: round(fraction * len(data))])
    labels = data.labels.numpy().copy()
    was = labels[rows]
    labels[rows] = _other_labels(was, len(data.classes), rng)
    record = {
        "fraction": float(fraction),
        "seed": int(seed),
        "rows": rows.tolist(),
        "was": was.tolist(),
    }
    return replace(
        data,
        labels=torch.from_numpy(labels),
        source={"relabel": record, "of": data.source},
    )


def apply_canaries(data: Dataset, canaries: Canaries) -> Dataset:
    """The dataset with its canaries planted: labels replaced, inputs blanked or copied.

    "mislabelled" takes the canary's `label`; "blank" sets the whole input to zero and takes
    `label`; "duplicated" copies input and label of the untouched sample at `source`. A canary's
    content is no longer that of its id, so its kind is appended: "train/17#blank".

    A duplicate and its source are members independently of each other: a run that holds out one
    of them may still have trained on the same content.
    """
    data.needs_classes("plan.canaries")
    if data.file is not None:
        raise InputError(
            f"plan.canaries: expected a pool that memory holds, got {data.name} of "
            f"{data.file.nbytes / 2**30:.1f} GiB, which stays in its file and is not written; plant "
            "them in the file, or set data.limit"
        )
    index = np.asarray(canaries.index, dtype=np.int64)
    label = np.asarray(canaries.label, dtype=np.int64)
    source = np.asarray(canaries.source, dtype=np.int64)
    if not len(index) == len(canaries.kind) == len(label) == len(source):
        raise InputError(
            f"canaries: expected index, kind, label and source of one length, got {len(index)}, "
            f"{len(canaries.kind)}, {len(label)} and {len(source)}"
        )
    n, k = len(data), len(data.classes)
    if len(np.unique(index)) != len(index) or (index.size and not _within(index, n)):
        raise InputError(f"canaries: expected distinct positions in 0..{n - 1}; plan another pool")
    inputs = data.inputs.clone()
    labels = data.labels.clone()
    ids = data.ids.astype(object)
    for at, kind, y, copied in zip(
        index.tolist(), canaries.kind, label.tolist(), source.tolist(), strict=True
    ):
        if kind not in _CANARY_KINDS:
            raise InputError(f"canaries: expected kinds {', '.join(_CANARY_KINDS)}, got {kind!r}")
        if kind == "duplicated":
            if not 0 <= copied < n or copied in index:
                raise InputError(
                    f"canaries: expected an untouched source in 0..{n - 1} for the duplicate at "
                    f"{at}, got {copied}"
                )
            inputs[at] = data.inputs[copied]
            y = int(data.labels[copied])
        elif kind == "blank":
            inputs[at] = 0
        if not 0 <= y < k:
            raise InputError(f"canaries: expected labels in 0..{k - 1}, got {y} at position {at}")
        labels[at] = y
        ids[at] = f"{ids[at]}#{kind}"
    record = {
        "index": index.tolist(),
        "kind": list(canaries.kind),
        "label": label.tolist(),
        "source": source.tolist(),
    }
    return replace(
        data,
        inputs=inputs,
        labels=labels,
        ids=ids.astype(np.str_),
        source={"canaries": record, "of": data.source},
    )


def _within(index: Int64Array, n: int) -> bool:
    return bool(index.min() >= 0 and index.max() < n)


def _rng(seed: int, use: int) -> np.random.Generator:
    """A stream per use: a subset and label noise of one seed must not pick the same samples."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(use,)))


def _other_labels(labels: Int64Array, classes: int, rng: np.random.Generator) -> Int64Array:
    """A label for each, uniform among the classes - 1 others."""
    step = rng.integers(1, classes, size=len(labels))
    return (labels + step) % classes
