"""Datasets of other libraries: any map-style PyTorch `Dataset`, and Hugging Face `datasets`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from seepage.array_types import AnyArray
from seepage.data.dataset import Dataset
from seepage.data.npz import from_arrays
from seepage.errors import InputError, nearest
from seepage.plan import Groups
from seepage.remedies import of_data
from seepage.signals.tasks import task as task_named

__all__ = ["from_hugging_face", "from_torch"]

# Items, spread over all, that are read twice to see that a transform gives the same each time.
_TWICE = 64


def from_torch(
    dataset: Any,
    *,
    classes: Sequence[str] | None = None,
    groups: Groups | None = None,
    name: str | None = None,
    task: str = "classification",
) -> Dataset:
    """A pool from a map-style PyTorch `Dataset` of (input, label) items, whole in memory.

    dataset: anything with `len` and `[i]`, so torchvision's and a `Subset` of one as well. An input
    is a tensor, an array or a picture, (D,), (H, W), (C, H, W) or (H, W, C); transforms that it has
    are applied, and must give the same each time: a random one would make every look at a sample
    another sample. classes: names of the labels 0..K−1; by default `dataset.classes` where there is
    one. groups (N,): whose sample each is. task: what labels are, one of `seepage.signals.tasks.TASKS`: a
    class number, a real number, or a vector of 0 and 1 or of shares. Ids are positions, "train/0" ...

    Such a pool has no source that a report could load again. Raises InputError for an iterable
    dataset, items of other forms, inputs of several shapes, or a random transform.

    >>> from torch.utils.data import TensorDataset
    >>> pairs = TensorDataset(torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 1]))
    >>> data = from_torch(pairs)
    >>> data.shape, data.labels.tolist()
    ((2,), [0, 1, 1])
    """
    called = type(dataset).__name__ if name is None else name
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise InputError(
            f"dataset: expected a map-style dataset with a length and items, got {called}; "
            + (
                of_data(dataset)
                if hasattr(dataset, "dataset")
                else "draw its samples into arrays and pass seepage.data.from_arrays(inputs, labels)"
            )
        )
    if len(dataset) == 0:
        raise InputError(f"{called}: expected at least one sample, got none; check the dataset")
    kind = task_named(task)
    inputs, labels = [], []
    step = max(1, len(dataset) // _TWICE)
    for i in range(len(dataset)):
        x, y = _item(dataset, called, i, kind.classes)
        if i % step == 0 and not np.array_equal(
            x, _item(dataset, called, i, kind.classes)[0], equal_nan=True
        ):
            raise InputError(
                f"{called}: expected the same input each time, got another at the second reading of "
                f"item {i}; pass the dataset without augmentation, training applies its own"
            )
        inputs.append(x)
        labels.append(y)
    return from_arrays(
        _stacked(called, inputs),
        np.array(labels) if kind.classes else _stacked(called, labels, "labels"),
        classes=_class_names(dataset) if classes is None else tuple(classes),
        groups=groups,
        name=called,
        task=kind.name,
    )


def _item(dataset: Any, called: str, i: int, classes: bool) -> tuple[AnyArray, Any]:
    """Input and label at `i`; the label is a whole number where it is one of classes."""
    item = dataset[i]
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise InputError(
            f"{called}: expected items (input, label), got {type(item).__name__} at {i}; wrap the "
            "dataset so that it returns both"
        )
    x, y = item[0], item[1]
    label = np.asarray(y)
    if not classes:
        if label.dtype.kind not in "iubf":
            raise InputError(
                f"{called}: expected numbers as label, got {type(y).__name__} {str(y)[:40]!r} at item "
                f"{i}; turn it into numbers"
            )
        return _as_array(called, x, i), label
    if label.size != 1 or label.dtype.kind not in "iub":
        raise InputError(
            f"{called}: expected a class number as label, got {type(y).__name__} "
            f"{str(y)[:40]!r} at item {i}; turn it into 0..K-1"
        )
    return _as_array(called, x, i), int(label.reshape(()))


def _as_array(called: str, x: Any, i: int) -> AnyArray:
    if isinstance(x, torch.Tensor):
        plain = x.detach().cpu()
        return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    if isinstance(x, Image.Image):
        if x.mode in ("1", "L", "LA"):
            return np.asarray(x.convert("L"))
        return np.asarray(x.convert("RGB")).transpose(2, 0, 1)
    values = np.asarray(x)
    if x is None:
        raise InputError(
            f"{called}: expected a value for every sample, got none at item {i}; leave such samples out"
        )
    if values.dtype.kind not in "buif":
        raise InputError(
            f"{called}: expected a tensor, an array or a picture as input, got {type(x).__name__} "
            f"at item {i}; add a transform that makes one"
        )
    return values


def _stacked(called: str, inputs: list[AnyArray], what: str = "inputs") -> AnyArray:
    shapes = {x.shape for x in inputs}
    if len(shapes) > 1:
        a, b = sorted(shapes)[:2]
        raise InputError(
            f"{called}: expected {what} of one shape, got {a} and {b}; resize or pad them"
        )
    whole = np.stack(inputs)
    return whole[:, None] if whole.ndim == 1 and what == "inputs" else whole


def _class_names(dataset: Any) -> tuple[str, ...] | None:
    """`classes` of the dataset, or of the one that a Subset is of."""
    while dataset is not None:
        found = getattr(dataset, "classes", None)
        if found is not None:
            return tuple(str(c) for c in found)
        dataset = getattr(dataset, "dataset", None)
    return None


def from_hugging_face(
    dataset: Any,
    *,
    inputs: str | Sequence[str],
    label: str,
    group: str | None = None,
    id_column: str | None = None,
    name: str | None = None,
    task: str = "classification",
) -> Dataset:
    """A pool from one split of a Hugging Face `datasets.Dataset`, whole in memory.

    inputs: a column of pictures or of equally long lists of numbers, or several columns of numbers,
    which become a table. label: the column of classes; names come from its `ClassLabel` feature.
    group: whose sample each row is. id_column: ids that are unique. task: what labels are, one of
    `seepage.signals.tasks.TASKS`; of "multi-label" and "soft-labels" the column holds lists.

    Raises InputError for a dictionary of splits (names them), a stream, unknown columns, text (tokenise
    it first) and missing values. Without `datasets` installed nothing else in seepage changes.
    """
    if isinstance(dataset, Mapping):
        raise InputError(
            f"dataset: expected one split, got {', '.join(map(str, dataset))}; pass "
            f"dataset[{str(next(iter(dataset), 'train'))!r}]"
        )
    if not hasattr(dataset, "__len__"):
        raise InputError(
            f"dataset: expected a split with a length, got {type(dataset).__name__}, a stream that may "
            "give its rows in another order each time; load it without streaming"
        )
    if not len(dataset):
        raise InputError("dataset: expected at least one row, got none; check the split")
    if getattr(dataset, "format", {}).get("type") not in (None, "custom"):
        # Tensors, arrays or data frames: values are read as they are stored.
        dataset = dataset.with_format(None)
    columns = list(getattr(dataset, "column_names", None) or [])
    wanted = [inputs] if isinstance(inputs, str) else list(inputs)
    for column in (*wanted, label, *(c for c in (group, id_column) if c is not None)):
        if column not in columns:
            raise InputError(f"dataset: expected a column {column!r}, {nearest(column, columns)}")
    called = str(getattr(getattr(dataset, "info", None), "dataset_name", None) or "dataset")
    called = called if name is None else name
    held = [_column(called, dataset, c) for c in wanted]
    x = (
        held[0]
        if len(held) == 1
        else np.stack([_flat(called, c, v) for c, v in zip(wanted, held, strict=True)], axis=1)
    )
    names = getattr(dataset.features.get(label), "names", None)
    told = list(dataset[label])
    missing = next((i for i, v in enumerate(told) if v is None), None)
    if missing is not None:
        raise InputError(
            f"{called}: expected a label for every sample, got none in row {missing} of column "
            f"{label!r}; leave such rows out"
        )
    kind = task_named(task)
    data = from_arrays(
        x,
        np.asarray(told)
        if kind.classes
        else _stacked(called, [np.asarray(v) for v in told], "labels"),
        classes=None if names is None else tuple(names),
        groups=None if group is None else list(dataset[group]),
        ids=None if id_column is None else np.array([str(v) for v in dataset[id_column]]),
        name=called,
        task=kind.name,
    )
    return data if len(held) == 1 else replace(data, columns=tuple(wanted))


def _column(called: str, dataset: Any, column: str) -> AnyArray:
    values = list(dataset[column])
    if values and isinstance(values[0], str):
        raise InputError(
            f"{called}: expected pictures or numbers in column {column!r}, got text; turn it into "
            "numbers of one length first"
        )
    rows = [_as_array(called, v, i) for i, v in enumerate(values)]
    return _stacked(called, rows)


def _flat(called: str, column: str, values: AnyArray) -> NDArray[np.float64]:
    if values.shape != (len(values), 1):
        raise InputError(
            f"{called}: expected one number a row in column {column!r}, got {values.shape[1:]}; "
            "pass it alone as inputs"
        )
    return values[:, 0].astype(np.float64)
