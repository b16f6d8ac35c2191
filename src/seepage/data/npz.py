"""Named arrays, in an .npz file or a folder of .npy files, and arrays that a caller already has."""

from __future__ import annotations

import difflib
import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch
from numpy.typing import ArrayLike, NDArray

from seepage.array_types import AnyArray, BoolArray, Int64Array
from seepage.data.archive import LARGE, map_archive, map_folder
from seepage.data.dataset import Dataset, Kind
from seepage.data.frame import encode_frame
from seepage.data.free_memory import most_bytes
from seepage.data.mapped import MappedArray
from seepage.data.reading import Part, Raw, as_text, check_missing, name_labels, row_ids
from seepage.data.row_file import RowFile
from seepage.data.targets import Asked, target_values
from seepage.errors import InputError
from seepage.frames import is_frame
from seepage.given_arrays import given_array
from seepage.plan import Groups, group_codes
from seepage.signals.tasks import task as task_named

__all__ = ["from_arrays", "read_named"]

_CHANNELS = (1, 3, 4)
# Of an object array, by what all of its values are.
_LABEL_KINDS: tuple[tuple[tuple[type, ...], type], ...] = (
    ((str,), np.str_),
    ((bool, np.bool_), np.bool_),
    ((int, np.integer), np.int64),
    ((int, float, np.integer, np.floating), np.float64),
)
_WHOLE = (
    ("inputs", "labels"),
    ("x", "y"),
    ("x_train", "y_train"),
    ("train_images", "train_labels"),
)
# Further parts beside the first one, as Keras and as MedMNIST call them.
_FURTHER = {
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


def from_arrays(
    inputs: ArrayLike | Any,
    labels: ArrayLike,
    *,
    ids: ArrayLike | None = None,
    groups: Groups | None = None,
    classes: tuple[str, ...] | None = None,
    name: str = "arrays",
    task: str = "classification",
    targets: ArrayLike | None = None,
    missing: Literal["refuse", "indicator", "keep"] = "refuse",
) -> Dataset:
    """A dataset from arrays, or from a data frame of pandas or polars.

    inputs: images (N, H, W), (N, C, H, W) or (N, H, W, C), uint8 or float, or a table (N, D); of a
    DataFrame the columns of numbers, truth values, categories and text become those that `load` makes
    of the same table written as CSV, its index is passed over, and a column of type category is one
    that `categorical` names there. `seepage.sklearn.fit(…, inputs=frame)` trains on the frame itself.
    labels (N,) whole numbers 0..K−1, text, or truth values, which are 0 and 1; ids (N,) unique, "train/0" ... when not given;
    groups (N,) names or numbers of whose sample each is, if that is known.
    task: what labels are (`seepage.signals.tasks.TASKS`): of "regression" they are real numbers (N,),
    of "multi-label" 0 and 1 (N, L), of "soft-labels" distributions (N, K); classes name the target,
    the labels or the classes. targets: distributions (N, K) beside the labels of "classification".
    missing: what NaN in a table is: refused, or kept as a missing value for estimators that take such
    (docs/estimators.md); of a DataFrame also "indicator", as in `load`, with a fill of 0. Inputs that numpy.load(..., mmap_mode="r") gave stay in their file where they
    are much for the free memory.
    All columns of an array count as numeric. Such a dataset has no source: a report cannot load
    it again and shows its samples without pictures.

    >>> from_arrays([[0.0, 1.0], [2.0, 5.0]], ["sick", "well"]).classes
    ('sick', 'well')
    """
    frame = is_frame(inputs)
    check_missing(missing, ("refuse", "indicator", "keep") if frame else ("refuse", "keep"))
    given = _plain_objects(f"{name}: labels", given_array(labels, f"{name}: labels"))
    asked = _asked(name, {"train": given}, task, classes)
    named, names = asked.labels, asked.classes
    soft = asked.targets.get("train")
    if targets is not None:
        if task != "classification":
            raise InputError(
                f"{name}: targets: expected beside labels with task = 'classification' alone, got "
                f"{task!r}; pass them as labels"
            )
        given = given_array(targets, f"{name}: targets")
        soft = target_values(name, {"train": given}, "soft-labels", names).targets["train"]
    y = named["train"]
    columns: tuple[str, ...] = ()
    numeric: BoolArray | None = None
    file = None
    kind: Kind
    if frame:
        x, columns, numeric = encode_frame(name, inputs, missing)
        kind = "table"
    else:
        whole = given_array(inputs, f"{name}: inputs")
        file = _mapped_by_caller(inputs, name)
        if file is None:
            x, kind = _as_inputs(name, whole)
            width = x.shape[1]
        else:
            kind = "image" if len(file.shape) == 4 else "table"
            width = file.shape[1]
        if kind == "table":
            columns = tuple(f"x{j}" for j in range(width))
            numeric = np.ones(width, dtype=np.bool_)
    whose = None
    if groups is not None:
        if isinstance(groups, np.ndarray):
            groups = given_array(groups, f"{name}: groups")
        codes, named_groups = group_codes(groups, len(y))
        whose = np.array(named_groups, dtype=np.str_)[codes]
    at = (
        row_ids("train", len(y))
        if ids is None
        else as_text(f"{name}: ids", given_array(ids, f"{name}: ids"))
    )
    if at.ndim != 1:
        raise InputError(f"{name}: ids: expected one per sample, got shape {at.shape}")
    return Dataset(
        torch.tensor(x) if file is None else file.mapped,
        torch.tensor(named["train"]),
        at,
        names,
        name,
        kind,
        columns,
        numeric,
        groups=whose,
        task=task_named(task).name,
        targets=None if soft is None else torch.tensor(soft),
        missing=missing == "keep",
        file=file,
    )


def _plain_objects(where: str, labels: AnyArray) -> AnyArray:
    """Labels of an object array, as a Series has them, as text or numbers where all are of one kind."""
    if labels.dtype != object:
        return labels
    values = labels.ravel().tolist()
    gone = [
        v is None
        or type(v).__name__ in ("NAType", "NaTType")
        or (isinstance(v, float | np.floating) and v != v)
        for v in values
    ]
    if any(gone):
        row = gone.index(True)
        raise InputError(
            f"{where}: expected one for every sample, got {values[row]!r} at row {row}; drop such samples"
        )
    for kinds, plain in _LABEL_KINDS:
        if all(isinstance(v, kinds) for v in values):
            return labels.astype(plain)
    found = sorted({type(v).__name__ for v in values})
    raise InputError(
        f"{where}: expected text alone or whole numbers alone, got {' and '.join(found[:4])}; "
        "convert them, such as labels.astype(str)"
    )


def _mapped_by_caller(inputs: object, name: str) -> RowFile | None:
    """The file of a whole `numpy.load(..., mmap_mode="r")` that is much for the free memory."""
    # Of a part of an array in a file the base is that array.
    if not isinstance(inputs, np.memmap) or type(inputs.base).__name__ != mmap.mmap.__name__:
        return None
    if inputs.nbytes <= most_bytes() or inputs.mode != "r" or inputs.filename is None:
        return None
    order = inputs.flags.f_contiguous and not inputs.flags.c_contiguous
    path = Path(inputs.filename)
    return _row_file(path, MappedArray(path, inputs.offset, inputs.shape, inputs.dtype, order))


def read_named(
    path: Path, drop: tuple[str, ...], task: str = "classification", mapped: bool | None = None
) -> Raw:
    """All parts of an .npz or a folder of .npy files, by the names of the arrays.

    inputs/labels, x/y, x_train/y_train or train_images/train_labels; beside the latter two also val
    and test, named alike. Optional arrays: `classes` (K,) text, `ids` and `groups` (with several parts
    ids_train, ids_test, ...), whose sample each is. Columns of a table are called x0, x1, ... and may
    be dropped. Any other array is refused, unless drop names it: what was meant as `groups` must not
    be passed over. Object arrays are refused: they would be pickles. mapped: whether inputs stay in the
    file; None is where they are much for the free memory.
    """
    held = map_folder(path) if path.is_dir() else map_archive(path, mapped=mapped is not False)
    pairs = {"train": next((p for p in _WHOLE if p[0] in held and p[1] in held), None)}
    if pairs["train"] is None:
        raise InputError(
            f"{path}: expected arrays inputs and labels, x and y, x_train and y_train, or "
            f"train_images and train_labels, got {', '.join(sorted(held)) or 'none'}; rename them"
        )
    for part, names_of in _FURTHER.items():
        found = next((p for p in names_of if p[0] in held and p[1] in held), None)
        if found is not None:
            pairs[part] = found
    drop = _others(path, held, pairs, drop)
    keys = {p: k for p, k in pairs.items() if k}
    stays = _staying(path, {p: held[k[0]] for p, k in keys.items()}, mapped)
    arrays = {n: a[...] for n, a in held.items() if n not in {keys[p][0] for p in stays}}
    labels = {p: arrays[k[1]] for p, k in keys.items()}
    classes = class_names(path, arrays["classes"]) if "classes" in arrays else None
    asked = _asked(path, labels, task, classes)
    named, names = asked.labels, asked.classes
    inputs: dict[str, AnyArray | RowFile] = {}
    kinds: set[Kind] = set()
    for part, (key, _) in keys.items():
        kind: Kind
        x: AnyArray | RowFile
        if part in stays:
            x = stays[part]
            kind = "image" if len(x.shape) == 4 else "table"
        else:
            x, kind = _as_inputs(f"{path}: {key}", arrays[key])
        inputs[part] = x
        kinds.add(kind)
        if len(x) != len(named[part]):
            raise InputError(
                f"{path}: expected as many inputs as labels in part {part!r}, got {len(x)} and "
                f"{len(named[part])}; check the arrays' first axis"
            )
    forms = {p: (_shape_of(x), np.dtype(x.dtype)) for p, x in inputs.items()}
    if len(set(forms.values())) > 1:
        raise InputError(
            f"{path}: expected inputs of all parts of one shape and type, got "
            + " and ".join(f"{dtype} {shape}" for shape, dtype in forms.values())
            + "; convert them"
        )
    columns: tuple[str, ...] = ()
    if kinds == {"table"}:
        inputs, columns = _table_columns(path, inputs, drop)
    elif drop:
        raise InputError(f"{path}: expected drop only for tables, these are images; leave it out")
    parts = {}
    for p, x in inputs.items():
        ids = _texts(path, arrays, "ids", p, len(x), len(inputs))
        groups = _texts(path, arrays, "groups", p, len(x), len(inputs))
        at = row_ids(p, len(x)) if ids is None else ids
        parts[p] = Part(x, named[p], at, groups, asked.targets.get(p))
    if len({part.groups is None for part in parts.values()}) > 1:
        raise InputError(
            f"{path}: expected groups of every part or of none, got them of "
            f"{', '.join(p for p, part in parts.items() if part.groups is not None)}; save the others"
        )
    numeric = np.ones(len(columns), dtype=np.bool_) if columns else None
    return Raw(parts, names, path.stem, kinds.pop(), columns, numeric, task)


def _others(
    path: Path,
    arrays: dict[str, AnyArray | MappedArray],
    pairs: dict[str, tuple[str, str] | None],
    drop: tuple[str, ...],
) -> tuple[str, ...]:
    """Take away arrays that `drop` names, refuse those that nothing reads; what is left: columns."""
    read = {name for keys in pairs.values() if keys for name in keys}
    left_out = {name for name in drop if name in arrays and name not in read}
    for name in left_out:
        del arrays[name]
    whose = [f"{what}_{part}" for what in ("ids", "groups") for part in pairs]
    known = ["classes", "ids", "groups", *whose]
    other = next((name for name in arrays if name not in read and name not in known), None)
    if other is not None:
        close = difflib.get_close_matches(other, known, n=1, cutoff=0.75)
        meant = (
            f"did you mean {close[0]!r}? It"
            if close
            else "rename what says whose sample each is to groups; it"
        )
        raise InputError(
            f"{path}: array {other!r} is read by nothing; beside {', '.join(sorted(read))} are read "
            f'{", ".join(known)}; {meant} is left out by drop=["{other}"]'
        )
    return tuple(name for name in drop if name not in left_out)


def _staying(
    path: Path, inputs: dict[str, AnyArray | MappedArray], mapped: bool | None
) -> dict[str, RowFile]:
    """Inputs that stay in their file, by part."""
    need = sum(a.size * a.dtype.itemsize for a in inputs.values())
    if mapped is None and need <= most_bytes():
        return {}
    can_read = mapped is None and need <= psutil.virtual_memory().available
    stays = {}
    for part, array in inputs.items():
        if isinstance(array, MappedArray) and mapped is not False:
            if not can_read or _fits(array):
                stays[part] = _row_file(path, array)
        elif mapped:
            raise InputError(
                f"{path}: mapped: expected inputs that are not compressed, larger than "
                f"{LARGE >> 20} MiB, got others in part {part!r}; save them with numpy.savez or numpy.save"
            )
    return stays


def _fits(array: MappedArray) -> bool:
    """Whether inputs can be read row by row as they lie in the file."""
    shape, dtype = array.shape, array.dtype
    images = len(shape) == 3 or (
        len(shape) == 4 and (shape[1] in _CHANNELS or shape[3] in _CHANNELS)
    )
    byte, single = dtype == np.uint8, dtype == np.dtype(np.float32)
    kind = (images and (byte or single)) or (len(shape) == 2 and single)
    return kind and not array.fortran and dtype.isnative


def _row_file(path: Path, array: MappedArray) -> RowFile:
    if not _fits(array):
        order = ", in column order" if array.fortran else ""
        raise InputError(
            f"{path}: expected inputs that can stay in their file, images (N, H, W), (N, C, H, W) or "
            f"(N, H, W, C) of uint8 or float32 or a table (N, D) of float32, got {array.dtype.str} "
            f"{array.shape}{order}; convert them block by block with numpy.lib.format.open_memmap"
        )
    dtype: Literal["uint8", "float32"] = "uint8" if array.dtype == np.uint8 else "float32"
    return RowFile.of(array.path, array.offset, array.shape, dtype)


def _shape_of(x: AnyArray | RowFile) -> tuple[int, ...]:
    """Shape of one input as a dataset holds it."""
    if isinstance(x, RowFile) and x.channels_last:
        return x.shape[3], x.shape[1], x.shape[2]
    return tuple(x.shape[1:])


def _asked(
    where: object, labels: dict[str, AnyArray], task: str, classes: tuple[str, ...] | None
) -> Asked:
    """Labels of all parts, and targets of a task that has some."""
    if not task_named(task).classes:
        return target_values(where, labels, task, classes)
    named, names = name_labels(where, {p: _flat(where, y) for p, y in labels.items()}, classes)
    return Asked(named, names, {})


def _flat(where: object, labels: AnyArray) -> AnyArray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(
            f"{where}: expected labels of one axis, got shape {labels.shape}; "
            "turn one-hot labels into class numbers, or say task='multi-label'"
        )
    return labels


def _as_inputs(where: object, x: AnyArray) -> tuple[AnyArray, Kind]:
    """Images as (N, C, H, W) uint8 or float32, tables as (N, D) float32; never a view of `x`."""
    if x.dtype.kind not in "buif":
        raise InputError(f"{where}: expected numbers, got {_what(x)}")
    if x.ndim == 2:
        with np.errstate(over="ignore"):  # an overflow becomes infinity, which Dataset refuses
            return x.astype(np.float32), "table"
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[1] not in _CHANNELS and x.shape[3] in _CHANNELS:
        x = x.transpose(0, 3, 1, 2)
    elif x.ndim != 4 or x.shape[1] not in _CHANNELS:
        raise InputError(
            f"{where}: expected a table (N, D) or images (N, H, W), (N, C, H, W) or (N, H, W, C) "
            f"with 1, 3 or 4 channels, got shape {x.shape}; reshape the inputs"
        )
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.array(x, dtype=np.float32, order="C"), "image"
    if x.size and (x.min() < 0 or x.max() > 255):
        raise InputError(
            f"{where}: expected integer pixels in 0..255, got {x.min()}..{x.max()}; "
            "convert the inputs to float32"
        )
    return np.array(x, dtype=np.uint8, order="C"), "image"


def _what(x: AnyArray) -> str:
    """What inputs hold that are no numbers, and what helps."""
    if x.dtype.kind not in "OUS":
        return f"{x.dtype}; convert the inputs"
    values = x.ravel().tolist() if x.dtype == object else []
    if values and all(isinstance(v, (bool, int, float, np.number, np.bool_)) for v in values):
        return "objects that are numbers; pass inputs.astype(float)"
    text = next((v for v in (values or x.ravel()[:1].tolist()) if isinstance(v, str | bytes)), None)
    return (
        f"{x.dtype}{'' if text is None else f' with text, {str(text)[:40]!r}'}; pass the pandas or polars "
        "DataFrame itself, whose columns are encoded as those of a CSV, or turn text into numbers"
    )


def _table_columns(
    path: Path, inputs: dict[str, AnyArray | RowFile], drop: tuple[str, ...]
) -> tuple[dict[str, AnyArray | RowFile], tuple[str, ...]]:
    width = next(iter(inputs.values())).shape[1]
    columns = [f"x{j}" for j in range(width)]
    unknown = [c for c in drop if c not in columns]
    if unknown:
        raise InputError(
            f"drop: expected columns among x0..x{width - 1}, got {unknown[0]!r}; correct the name"
        )
    kept = [j for j, c in enumerate(columns) if c not in drop]
    if drop and any(isinstance(x, RowFile) for x in inputs.values()):
        raise InputError(
            f"{path}: drop: expected a table that memory holds, got one that stays in its file; save "
            "it without these columns"
        )
    if drop:
        inputs = {p: x[:, kept] for p, x in inputs.items() if not isinstance(x, RowFile)}
    constant = _constant(inputs.values(), len(kept))
    if constant.size:
        name = columns[kept[constant[0]]]
        raise InputError(
            f"{path}: expected columns that vary, got {constant.size} constant, first {name!r}; "
            f'pass drop=["{name}"] to leave it out'
        )
    return inputs, tuple(columns[j] for j in kept)


def _constant(parts: Iterable[AnyArray | RowFile], width: int) -> Int64Array:
    """Columns that have one value throughout; read until none is left."""
    first, same = None, np.ones(width, dtype=np.bool_)
    for part in parts:
        for x in part.blocks() if isinstance(part, RowFile) else [part]:
            if not len(x):
                continue
            first = x[:1] if first is None else first
            same &= (x == first).all(axis=0)
            if not same.any():
                return np.flatnonzero(same)
    return np.flatnonzero(same) if first is not None else np.zeros(0, np.int64)


def _texts(
    path: Path, arrays: dict[str, AnyArray], what: str, part: str, n: int, parts: int
) -> NDArray[np.str_] | None:
    """Ids or groups of one part, None where the file has none."""
    key = f"{what}_{part}" if f"{what}_{part}" in arrays else what
    if key not in arrays:
        return None
    if key == what and parts > 1:
        if what == "groups":
            raise InputError(
                f"{path}: expected groups_{part} beside several parts, got groups; save one array "
                "for each part"
            )
        return None
    texts = as_text(f"{path}: {key}", arrays[key])
    if texts.shape != (n,):
        raise InputError(
            f"{path}: expected {n} {key}, got shape {texts.shape}; one {what[:-1]} per sample"
        )
    return texts


def class_names(where: object, names: AnyArray) -> tuple[str, ...]:
    if names.ndim != 1:
        raise InputError(
            f"{where}: expected classes as names (K,), got shape {names.shape}; save one per class"
        )
    return tuple(as_text(f"{where}: classes", names).tolist())
