"""A dataset is inputs, labels, ids and groups, as tensors, with a digest of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Int64Array
from seepage.data.documents import check_documents
from seepage.data.free_memory import most_bytes
from seepage.data.moments import Moments, byte_moments, channel_moments, column_moments
from seepage.data.row_file import RowFile
from seepage.data.targets import faulty
from seepage.errors import InputError
from seepage.remedies import of_data
from seepage.short_repr import short_repr
from seepage.signals.tasks import task

__all__ = ["Dataset", "check_dataset", "check_targets"]

# What a pass over all inputs holds at a time, in bytes; moments of floats in values.
_BLOCK = 2**24
VALUES = 2**25

Kind = Literal["image", "table"]


@short_repr
@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs, labels and ids of a pool, whole in memory or, where `file` is given, with inputs in it.

    inputs: images uint8 (N, C, H, W) — floats are accepted — or tables float32 (N, D);
    labels int64 (N,), values 0..K−1; ids (N,) of str, unique, stable across runs;
    classes: K names. `numeric` bool marks the columns of a table (D,), or the channels of
    images (C,), that are standardised (one-hot columns are not); `columns` names them. `source` says how `seepage.data.reload` makes
    it again, step by step; empty for a dataset made of arrays in memory. groups (N,) of str, or
    None: whose sample each is; plans keep a group together and statistics can count it as one.

    task: what is asked of a model, one of `seepage.signals.tasks.TASKS`. targets: what it is asked
    for where that is no class: (N,) real numbers of "regression", whose one class is the target's
    name; (N, L) of 0 and 1 of "multi-label", whose classes are the labels' names; (N, K)
    distributions of "soft-labels", or of "classification" beside hard labels. Labels of the first
    two are 0, and of "language", whose classes are the pieces of the vocabulary and whose inputs are rows
    of token numbers, −1 after the end (`seepage.data.from_texts`).

    missing: whether NaN in a table stands for a missing value, which estimators such as boosted trees
    take; networks do not, and training them on it is refused.

    Raw values are kept: normalisation is computed per training run from its members alone
    (`member_scale`), never from the whole pool.

    Raises `InputError` for no samples, unequal lengths, fewer than two classes, labels outside
    0..K−1, NaN or infinity, ids that are not unique, or groups without a name.

    >>> data = Dataset(torch.tensor([[0.0], [4.0], [2.0]]), torch.tensor([0, 1, 1]),
    ...                np.array(["a", "b", "c"]), ("no", "yes"), "tiny", "table")
    >>> scale, shift = data.member_scale(np.array([0, 1]))
    >>> (data.inputs.numpy() * scale + shift).ravel().tolist()
    [-1.0, 1.0, 0.0]
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    ids: NDArray[np.str_]
    classes: tuple[str, ...]
    name: str
    kind: Kind
    columns: tuple[str, ...] = ()
    numeric: BoolArray | None = None
    source: dict[str, Any] = field(default_factory=dict)
    groups: NDArray[np.str_] | None = None
    task: str = "classification"
    targets: torch.Tensor | None = None
    missing: bool = False
    file: RowFile | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        if n == 0:
            raise InputError(f"{self.name}: expected at least one sample, got none")
        if len(self.inputs) != n or len(self.ids) != n:
            raise InputError(
                f"{self.name}: expected as many inputs and ids as labels ({n}), got "
                f"{len(self.inputs)} inputs and {len(self.ids)} ids"
            )
        if self.file is not None and self.inputs.data_ptr() != self.file.mapped.data_ptr():
            raise InputError(
                f"{self.name}: expected the inputs that lie in its file, got others; say file=None with "
                "inputs of your own"
            )
        axes = 4 if self.kind == "image" else 2
        if self.inputs.ndim != axes:
            raise InputError(
                f"{self.name}: expected inputs of {axes} axes for kind {self.kind!r}, got shape "
                f"{tuple(self.inputs.shape)}; images are (N, C, H, W), tables (N, D)"
            )
        if self.labels.dtype != torch.int64 or self.labels.ndim != 1:
            raise InputError(
                f"{self.name}: expected int64 labels of one axis, got "
                f"{self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )
        check_targets(self)
        k = len(self.classes)
        if k < 2 and self.task not in ("regression", "multi-label"):
            raise InputError(
                f"{self.name}: expected at least two classes, got {k}; "
                "membership of a constant classifier cannot be evaluated"
            )
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= k:
            bad = low if low < 0 else high
            where = int((self.labels == bad).nonzero()[0, 0])
            raise InputError(
                f"{self.name}: expected labels in 0..{k - 1}, got {bad} at row {where}; "
                "check the label column or the class list"
            )
        self._check_numbers()
        if len(np.unique(self.ids)) != n:
            names, counts = np.unique(self.ids, return_counts=True)
            raise InputError(
                f"{self.name}: expected unique ids, got {str(names[counts.argmax()])!r} "
                f"{counts.max()} times; results are joined on ids"
            )
        if self.groups is not None:
            if self.groups.shape != (n,) or self.groups.dtype.kind != "U":
                raise InputError(
                    f"{self.name}: expected groups as text, one per sample ({n}), got "
                    f"{self.groups.dtype} of shape {self.groups.shape}"
                )
            if (self.groups == "").any():
                row = int((self.groups == "").argmax())
                raise InputError(
                    f"{self.name}: expected a group for every sample, got none at row {row} "
                    f"({self.ids[row]}); give samples without a subject a name of their own"
                )

    def _check_numbers(self) -> None:
        """Refuse infinity, and NaN unless it stands for a missing value of a table."""
        if self.missing and self.kind != "table":
            raise InputError(f"{self.name}: missing: expected of tables alone, got images")
        if not self.inputs.dtype.is_floating_point:
            return
        if self.file is not None and self.file.finite:
            return
        begin, empty, whole = 0, torch.ones(self.shape[0], dtype=torch.bool), True
        for x in self.blocks():
            odd = ~torch.isfinite(x).flatten(1)
            if self.missing:
                absent = torch.isnan(x)
                empty &= absent.all(0)
                whole &= not bool(absent.any())
                odd &= ~absent
            if bool(odd.any()):
                raise self._odd(begin + int(odd.any(1).nonzero()[0, 0]))
            begin += len(x)
        if self.missing and bool(empty.any()):
            column = int(empty.nonzero()[0, 0])
            name = self.columns[column] if self.columns else f"x{column}"
            raise InputError(
                f"{self.name}: expected values in every column, got none in {name!r}; leave it out"
            )
        if self.file is not None and whole:
            object.__setattr__(self.file, "finite", True)

    def _odd(self, row: int) -> InputError:
        what = "infinity" if self.missing else "NaN or infinity"
        keep = (
            ""
            if self.missing or self.kind != "table"
            else ', or, for estimators that take missing values, pass missing="keep"'
        )
        return InputError(
            f"{self.name}: expected finite inputs, got {what} in row {row} "
            f"({self.ids[row]}); drop or impute it{keep}"
        )

    @property
    def has_missing(self) -> bool:
        """Whether any value is missing."""
        return self._first_missing() is not None

    def _first_missing(self) -> int | None:
        """The first row with a missing value, or None."""
        if not self.missing or (self.file is not None and self.file.finite):
            return None
        begin = 0
        for x in self.blocks():
            absent = torch.isnan(x).any(1)
            if bool(absent.any()):
                return begin + int(absent.nonzero()[0, 0])
            begin += len(x)
        return None

    def needs_values(self, what: str) -> None:
        """Raise InputError, naming a row, where a value is missing that `what` cannot do without."""
        row = self._first_missing()
        if row is not None:
            raise InputError(
                f"{self.name}: expected a value everywhere for {what}, got NaN in row {row} "
                f"({self.ids[row]}); impute it, or train an estimator that takes missing values "
                "(docs/estimators.md)"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def takes_defense(self, name: str, of_texts: bool) -> None:
        """Raise InputError where a defence is defined on classes, and on texts unless it says so."""
        if not (of_texts and self.task == "language"):
            self.needs_classes(f"defense {name}")

    def needs_classes(self, what: str) -> None:
        """Raise InputError, naming the task, where `what` is defined on classes alone."""
        if not task(self.task).classes or self.targets is not None:
            soft = "classification by distributions" if self.task == "classification" else self.task
            raise InputError(
                f"{what}: expected the task classification, on whose classes it is defined, got "
                f"{soft}; leave it out"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input, without the sample axis."""
        return tuple(self.inputs.shape[1:])

    def rows(self, rows: Int64Array) -> torch.Tensor:
        """Inputs of the positions `rows`, in that order, in memory.

        Raises InputError where the inputs lie in a file and memory does not hold so many.
        """
        if self.file is None:
            return self.inputs[torch.from_numpy(np.asarray(rows, dtype=np.int64))]
        need, room = len(rows) * self.file.row_bytes, most_bytes()
        if need > room:
            raise InputError(
                f"{self.name}: expected samples that memory holds, at most {room >> 20} MiB, got "
                f"{len(rows):,} of {need >> 20} MiB; inputs stay in their file where the whole pool "
                "is used (docs/data.md)"
            )
        read = self.file.as_inputs(self.file.read(np.asarray(rows, dtype=np.int64)))
        return torch.from_numpy(np.ascontiguousarray(read))

    def blocks(
        self, rows: Int64Array | None = None, count: int | None = None
    ) -> Iterator[torch.Tensor]:
        """All inputs, or those of `rows`, in order and some at a time: `count`, or as memory suggests.

        >>> from seepage.data import load
        >>> [len(x) for x in load("digits").blocks(count=1000)]
        [1000, 797]
        """
        if self.file is not None:
            for read in self.file.blocks(rows, count):
                yield torch.from_numpy(self.file.as_inputs(read))
            return
        number = len(self) if rows is None else len(rows)
        one = max(1, self.inputs[0].numel() * self.inputs.element_size())
        each = max(1, _BLOCK // one) if count is None else count
        for begin in range(0, number, each):
            end = min(begin + each, number)
            yield self.inputs[begin:end] if rows is None else self.rows(rows[begin:end])

    @cached_property
    def extremes(self) -> tuple[float, float]:
        """The least and the greatest value among all inputs."""
        ends = [(float(x.min()), float(x.max())) for x in self.blocks()]
        return min(low for low, _ in ends), max(high for _, high in ends)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over inputs, labels, ids, classes and groups; the same on every machine."""
        h = hashlib.sha256()
        h.update(repr((str(self.inputs.dtype), tuple(self.inputs.shape), self.classes)).encode())
        for x in self.blocks():
            h.update(one_nan(x).contiguous().numpy().view(np.uint8).data)
        h.update(np.ascontiguousarray(self.labels.numpy()).astype("<i8").tobytes())
        h.update("\0".join(self.ids.tolist()).encode())
        if self.numeric is not None:
            h.update(self.numeric.tobytes())
        if self.task != "classification" or self.targets is not None:
            h.update(f"\0task\0{self.task}".encode())
        if self.targets is not None:
            h.update(np.ascontiguousarray(self.targets.numpy()).astype("<f4").tobytes())
        if self.groups is not None:
            h.update(b"\0groups\0")
            h.update("\0".join(self.groups.tolist()).encode())
        return h.hexdigest()

    def take(self, rows: Int64Array) -> Dataset:
        """The samples at positions `rows`, in that order."""
        rows = np.asarray(rows)
        if rows.dtype == np.bool_ or rows.ndim != 1:
            raise InputError(
                f"rows: expected positions of one axis, got {rows.dtype} of shape {rows.shape}; "
                "pass numpy.flatnonzero(mask) for a mask"
            )
        rows = rows.astype(np.int64)
        if len(rows) == len(self) > 2 and np.isin(rows, (0, 1)).all():
            raise InputError(
                f"rows: expected positions, got 0 and 1 for each of {len(self)} samples; pass "
                "numpy.flatnonzero(mask) for a mask"
            )
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise InputError(
                f"rows: expected positions in 0..{len(self) - 1}, got {rows.min()}..{rows.max()}"
            )
        at = torch.from_numpy(rows)
        return replace(
            self,
            inputs=self.rows(rows),
            file=None,
            labels=self.labels[at],
            ids=self.ids[rows],
            source={"take": rows.tolist(), "of": self.source},
            groups=None if self.groups is None else self.groups[rows],
            targets=None if self.targets is None else self.targets[at],
        )

    def member_scale(self, members: Int64Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scale and shift of x·scale + shift, from the members alone.

        Images: per channel, (C,), to mean 0 and standard deviation 1 over the members' pixels.
        Tables: per column, (D,). Where `numeric` says which, others pass unchanged. A constant channel
        or column gets scale 1, so that it becomes 0 instead of dividing by zero.
        """
        members = np.asarray(members)
        if members.dtype == np.bool_ or members.size == 0:
            raise InputError(
                f"members: expected positions of at least one sample, got {members.dtype} of "
                f"{members.size}; pass numpy.flatnonzero(mask) for a mask"
            )
        mean, std = self.moments(members)
        if self.numeric is not None:
            mean = np.where(self.numeric, mean, 0.0)
            std = np.where(self.numeric, std, 1.0)
        scale = 1.0 / np.where(std > 0, std, 1.0)
        return scale.astype(np.float32), (-mean * scale).astype(np.float32)

    def moments(self, rows: Int64Array) -> Moments:
        """Mean and standard deviation of `rows` in float64, one pass, a block at a time.

        Images: per channel, (C,); tables: per column, (D,). Of what never varies the deviation is 0.
        """
        rows = np.asarray(rows).astype(np.int64)

        def some(values: int) -> Iterator[torch.Tensor]:
            return self.blocks(rows, max(1, VALUES // values))

        if self.kind == "table":
            return column_moments(some(self.shape[0]))
        of_channel = self.shape[1] * self.shape[2]
        if self.inputs.dtype == torch.uint8:
            return byte_moments(self.blocks(rows))
        return channel_moments(some(of_channel))


def one_nan(values: torch.Tensor) -> torch.Tensor:
    """The same values with every NaN of the same bits, so that what is equal has equal bytes."""
    if not values.dtype.is_floating_point or not bool(torch.isnan(values).any()):
        return values
    return torch.where(torch.isnan(values), torch.full_like(values, torch.nan), values)


def check_dataset(given: object) -> None:
    """Raise InputError, with what makes one of it, unless `given` is a `Dataset`."""
    if not isinstance(given, Dataset):
        raise InputError(
            f"data: expected a seepage.Dataset, got {type(given).__name__}; {of_data(given)}"
        )


def check_targets(data: Dataset) -> None:
    """Raise InputError unless the targets are those of the data's task."""
    kind, name, n, k = task(data.task), data.name, len(data.labels), len(data.classes)
    y = data.targets
    if kind.name == "language":
        _check_rows_of_tokens(data)
        return
    if kind.name == "binary" and k != 2:
        raise InputError(
            f"{name}: expected two classes with task = 'binary', got {k}; set task = 'classification'"
        )
    needed = kind.name in ("multi-label", "regression", "soft-labels")
    if y is None and not needed:
        return
    shapes = {"regression": (n,), "binary": None}
    shape = shapes.get(kind.name, (n, k))
    if y is None or shape is None or y.dtype != torch.float32 or tuple(y.shape) != shape:
        got = "none" if y is None else f"{y.dtype} of shape {tuple(y.shape)}"
        wanted = (
            "no targets beside labels" if shape is None else f"float32 targets of shape {shape}"
        )
        raise InputError(f"{name}: expected {wanted} with task = {kind.name!r}, got {got}")
    bad, why = faulty(y.numpy(), kind.name)
    if bad.any():
        row = int(bad.argmax())
        shown = ", ".join(f"{v:g}" for v in y[row].reshape(-1)[:4].tolist())
        raise InputError(
            f"{name}: expected {why} with task = {kind.name!r}, got {shown} in row {row} "
            f"({data.ids[row]}); correct it or leave the sample out"
        )
    if kind.name == "regression" and n > 1 and float(y.min()) == float(y.max()):
        raise InputError(
            f"{name}: expected targets that differ, got {float(y[0]):g} for every sample; choose "
            "another target"
        )


def _check_rows_of_tokens(data: Dataset) -> None:
    held = data.kind == "table" and data.file is None and data.inputs.dtype == torch.float32
    plain = data.numeric is not None and not data.numeric.any()
    if not held or not plain or data.targets is not None:
        got = (
            f"{data.kind}s of {data.inputs.dtype}" if not held else "columns that are standardised"
        )
        got = "targets beside them" if data.targets is not None else got
        raise InputError(
            f"{data.name}: expected rows of token numbers in memory with task = 'language', got {got}; "
            "make them by seepage.data.from_tokens or seepage.data.from_texts"
        )
    check_documents(data.inputs.numpy(), data.name, data.ids, len(data.classes))
