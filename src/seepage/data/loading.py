"""Loading data: a name or a path in, a dataset out, and back again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from seepage.array_types import AnyArray
from seepage.data.cifar import read_cifar
from seepage.data.copies import drop_copies, group_copies
from seepage.data.dataset import Dataset
from seepage.data.documents import Long
from seepage.data.folder import read_folder
from seepage.data.idx import read_mnist
from seepage.data.npz import read_named
from seepage.data.official import Progress
from seepage.data.official import download as fetch_official
from seepage.data.reading import PARTS, Part, Raw, check_missing, check_regular, data_root, row_ids
from seepage.data.repeats import repeat
from seepage.data.row_file import RowFile
from seepage.data.table import CSV_SUFFIXES, PARQUET_SUFFIXES, TableOptions, read_table
from seepage.data.text_canaries import insert_texts
from seepage.data.texts import TOPICS, Documents, TextOptions, read_texts
from seepage.data.transform import apply_canaries, pool, relabel, subset
from seepage.errors import InputError, SeepageError, nearest
from seepage.extensions import names, outside, resolve
from seepage.local_paths import local_path
from seepage.plan import Canaries
from seepage.remedies import of_data
from seepage.signals.tasks import task as task_named

__all__ = ["NAMES", "load", "reload"]

_LARGEST_SIDE = 16_384

PartName = Literal["train", "val", "test", "both", "all"]

_ADULT_COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation",
    "relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week",
    "native-country", "income",
)  # fmt: skip


def load(
    name: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    part: PartName = "train",
    limit: int | None = None,
    seed: int = 0,
    download: bool = False,
    progress: Progress | None = None,
    size: int | tuple[int, int] | None = None,
    label: str | Sequence[str] | None = None,
    task: str = "classification",
    group: str | None = None,
    test: str | os.PathLike[str] | None = None,
    columns: Sequence[str] | None = None,
    header: bool = True,
    id_column: str | None = None,
    drop: Sequence[str] = (),
    categorical: Sequence[str] = (),
    missing: Literal["refuse", "indicator", "keep"] = "refuse",
    fill: float | Mapping[str, float] = 0.0,
    max_levels: int = 256,
    delimiter: str | None = None,
    comment: str = "#|",
    mapped: bool | None = None,
    context: int | None = None,
    long: Long | None = None,
    vocabulary: str | None = None,
    documents: Documents | None = None,
    text: str | None = None,
) -> Dataset:
    """Load a dataset by name or from a path, whole into memory unless its inputs stay in their file.

    name: "digits" (comes with scikit-learn), "mnist", "fashion-mnist", "cifar10", "cifar100",
    "adult" (official files below root), or a path to an .npz, a folder of .npy files, a .csv/.tsv/.parquet table
    (.gz too for text) or a folder of class folders with PNG or JPEG images. Paths are looked up
    as given, then below root. A reader of your own is named "package.module:function", or by its
    entry point: it returns a Dataset, and is called with root= where root is given.

    root: folder of the data; else the environment variable SEEPAGE_DATA, else ~/.cache/seepage.
    part: "train", "val", "test", "both" (train and test pooled) or "all" there are. limit: keep a random `limit` samples,
    the same for the same seed, ids kept. download: fetch missing official files, checked against
    their SHA-256; progress is called with (file, bytes done, bytes in all).
    size: resample the images of a folder to (height, width). group: whose sample each is: a column
    of a table, or "folder" for images in CLASS/SUBJECT/; an .npz has an array `groups`. task: what
    labels are, one of `seepage.signals.tasks.TASKS` (docs/tasks.md). mapped: whether the inputs of .npy
    files, or of an .npz that is not compressed, stay in their file; None is where they take more than
    a quarter of the free memory. Digest and runs are the same either way.

    Tables only. label: the label column, or the columns of several labels. test: a second file of the same form. columns: names for
    files without a header line; header=False: without names, columns are "0", "1", ... delimiter:
    what separates columns, a comma or in .tsv a tab unless given. id_column: use it as ids. drop: leave columns out, or arrays of an .npz. categorical:
    treat numbers as categories. missing: what a numeric column with gaps does: "refuse" raises,
    "indicator" writes `fill` (one number or one per column, never computed from the data) and adds
    a 0/1 column "NAME missing"; "keep", of an .npz too, leaves NaN for estimators that take missing
    values (docs/estimators.md). max_levels: most levels of a text column. comment: signs that mark
    comment lines at the beginning of a file.

    Texts only, with task "language" (docs/language-models.md), from "python-topics" (the help topics of the
    standard library), a text file, a column of a table or a folder of text files. context: the most tokens
    of a sample, 128; long: what becomes of longer texts, "window", "split", "cut" or "refuse"; vocabulary:
    "bytes" or the path of a tokenizer.json; documents: what a text file holds, "lines", "paragraphs" or
    one file, "files"; text: the column of a table. See `seepage.data.from_texts`.

    Values stay raw: nothing here reads more than one sample, except which levels and classes
    exist. Standardisation belongs to each training run (`Dataset.member_scale`).

    Raises `InputError` for anything missing, empty, truncated, corrupt, constant or out of range,
    naming the file, what was expected and the remedy.

    >>> data = load("digits", limit=100)
    >>> len(data), data.shape, data.inputs.dtype, len(data.classes)
    (100, (1, 8, 8), torch.uint8, 10)
    """
    if not isinstance(name, str | os.PathLike):
        raise InputError(
            f"data: expected a name or a path to load, got {type(name).__name__}; {of_data(name)}"
        )
    if part not in (*PARTS, "both", "all"):
        raise InputError(f"part: expected train, val, test, both or all, got {part!r}")
    if limit is not None and limit < 1:
        raise InputError(f"limit: expected at least 1, got {limit}")
    options = TableOptions(
        label if isinstance(label, str) or label is None else tuple(label),
        tuple(columns) if columns is not None else None,
        id_column,
        tuple(drop),
        tuple(categorical),
        missing,
        fill,
        max_levels,
        delimiter,
        comment,
        group,
        header,
        task_named(task).name,
    )
    wanted = {"both": ("train", "test"), "all": PARTS}.get(part, (part,))
    given = _given(options)
    texts = _stated_texts(context, long, vocabulary, documents, text)
    text = os.fspath(name)
    if root is not None:
        local_path(root, "root")
    base = data_root(root)
    if text not in NAMES:
        local_path(text, "data")
    if options.task == "language" and not _own_reader(text, base):
        _refuse_beside_texts(part, test, size, mapped, download)
        where = text if text == TOPICS else _find(text, base)
        source: dict[str, Any] = {"name": text if text == TOPICS else _portable(Path(where), root)}
        source |= given | texts
        if root is not None:
            source["root"] = str(Path(root).expanduser().resolve())
        data = read_texts(where, TextOptions(**texts), options, source)
        if limit is not None:
            data = subset(data, limit, seed=seed)
        _check_variety(data)
        return data
    if texts or text == TOPICS:
        named = next(iter(texts), "data")
        raise InputError(
            f"{named}: expected with task = 'language' alone, got {options.task!r}; set task = 'language'"
        )
    if text in _NAMED:
        extra = [*given, *_stated(size=size, test=test, mapped=mapped)]
        extra = [k for k in extra if k != "task"]
        if not task_named(task).classes:
            raise InputError(
                f"task: expected classification or binary of {text!r}, which holds classes, got {task!r}"
            )
        if extra:
            raise InputError(
                f"{extra[0]}: expected only for files of your own, got it with {text!r}; leave it out"
            )
        if download:
            fetch_official(text, base, progress)
        raw = replace(_NAMED[text](base, wanted), task=task)
        source = {"name": text} | given
    elif _own_reader(text, base):
        extra = [*given, *_stated(size=size, test=test, mapped=mapped)]
        if part != "train" or extra or download:
            raise InputError(
                f"{[*extra, 'download' if download else 'part'][0]}: expected only for names and "
                f"files that seepage reads, got it with {text!r}; leave it out"
            )
        data = _read_own(text, root)
        if limit is not None:
            data = subset(data, limit, seed=seed)
        _check_variety(data)
        return data
    else:
        path = _find(text, base)
        size_hw = (size, size) if isinstance(size, int) else size
        if size_hw is not None and (len(size_hw) != 2 or min(size_hw) < 1):
            raise InputError(f"size: expected (height, width) of at least 1, got {size_hw}")
        if size_hw is not None and max(size_hw) > _LARGEST_SIDE:
            raise InputError(
                f"size: expected at most {_LARGEST_SIDE} a side, got {size_hw}; lower it"
            )
        test_path = _find(os.fspath(test), base) if test is not None else None
        raw = _read_path(path, test_path, size_hw, options, given, mapped)
        raw = replace(raw, missing=options.missing == "keep")
        source = {"name": _portable(path, root)}
        if size_hw is not None:
            source["size"] = list(size_hw)
        if test_path is not None:
            source["test"] = _portable(test_path, root)
        if mapped is not None:
            source["mapped"] = mapped
        source |= given
    if root is not None:
        source["root"] = str(Path(root).expanduser().resolve())
    source["part"] = part
    data = _dataset(raw, wanted, source)
    if limit is not None:
        data = subset(data, limit, seed=seed)
    _check_variety(data)
    return data


def _stated_texts(
    context: int | None,
    long: Long | None,
    vocabulary: str | None,
    documents: Documents | None,
    text: str | None,
) -> dict[str, Any]:
    """Options of texts that were given."""
    given = {"context": context, "long": long, "vocabulary": vocabulary, "documents": documents}
    return {k: v for k, v in (given | {"text": text}).items() if v is not None}


def _refuse_beside_texts(part: str, test: Any, size: Any, mapped: Any, download: bool) -> None:
    """Raise InputError for options that texts do not have."""
    others = _stated(test=test, size=size, mapped=mapped)
    others += ["part"] if part != "train" else []
    others += ["download"] if download else []
    if others:
        raise InputError(
            f"{others[0]}: expected none with task = 'language', whose files are one part; leave it out"
        )


def _stated(**options: Any) -> list[str]:
    """Names of the options that were given."""
    return [k for k, v in options.items() if v is not None]


def _own_reader(text: str, root: Path) -> bool:
    """Whether a name is that of a reader from outside: a path that exists comes first."""
    if any(place.exists() for place in (Path(text).expanduser(), root / text)):
        return False
    return outside(text) or text in names("reader", {})


def _read_own(text: str, root: str | os.PathLike[str] | None) -> Dataset:
    """What the user's function returns.

    Where it was made of arrays its source names the reader, for people: it is never run again.
    """
    read = resolve("reader", text, {}, accepts=callable, expected="a function", field="data")
    try:
        data = read() if root is None else read(root=os.fspath(root))
    except InputError:
        raise
    except Exception as e:
        raise InputError(
            f"data: {text!r} raised {type(e).__name__}: {' '.join(str(e).split())[:200]} when it "
            "was called; fix it"
        ) from None
    if not isinstance(data, Dataset):
        raise InputError(
            f"data: expected {text!r} to return a seepage.Dataset, got {type(data).__name__}; "
            "see seepage.data.from_arrays"
        )
    return data if data.source else replace(data, source={"reader": text})


def reload(source: Mapping[str, Any], digest: str | None = None) -> Dataset | None:
    """The dataset that a `Dataset.source` describes, or None when it is not to be had.

    digest: what the content must be; a dataset that changed since is not returned. Only data files
    are read, nothing is downloaded. A dataset made of arrays in memory has an empty source and
    gives None, and so does one from a reader of the user's own: what a run folder names is not run.

    >>> data = load("digits", limit=10)
    >>> reload(data.source, data.digest).ids.tolist() == data.ids.tolist()
    True
    >>> reload(data.source, "another digest") is None
    True
    """
    try:
        data = _replay(source)
    except (SeepageError, KeyError, TypeError, ValueError):
        # A source comes from a file: whatever it says, the answer is a dataset or None.
        return None
    return data if digest is None or data.digest == digest else None


def _replay(source: Mapping[str, Any]) -> Dataset:
    if "pool" in source:
        train, test = source["pool"]
        return pool(_replay(train), _replay(test))
    if "reader" in source:
        raise InputError(
            "source: a reader of the user's own is called only where the user names it"
        )
    if "of" not in source:
        arguments = {k: v for k, v in source.items() if k in _REPLAYED}
        if "size" in arguments:
            arguments["size"] = tuple(arguments["size"])
        return load(**arguments)
    data = _replay(source["of"])
    if "take" in source:
        return data.take(np.asarray(source["take"], dtype=np.int64))
    if "subset" in source:
        return subset(data, int(source["subset"]["n"]), seed=int(source["subset"]["seed"]))
    if "copies" in source:
        return {"group": group_copies, "drop": drop_copies}[source["copies"]](data)
    if "repeat" in source:
        held = source["repeat"]
        return repeat(data, [int(c) for c in held["counts"]], seed=int(held["seed"]))
    if "relabel" in source:
        noise = source["relabel"]
        return relabel(data, float(noise["fraction"]), seed=int(noise["seed"]))
    if "inserted" in source:
        return insert_texts(data, **{k: source["inserted"][k] for k in _INSERTED})[0]
    planted = source["canaries"]
    return apply_canaries(
        data,
        Canaries(
            np.asarray(planted["index"], dtype=np.int64),
            tuple(planted["kind"]),
            np.asarray(planted["label"], dtype=np.int64),
            np.asarray(planted["source"], dtype=np.int64),
        ),
    )


def _digits(root: Path, wanted: tuple[str, ...]) -> Raw:
    if "test" in wanted and len(wanted) == 1:
        raise InputError("part: expected train or both for 'digits', which has no test part")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    part = Part(images, labels, row_ids("train", len(labels)))
    return Raw({"train": part}, tuple("0123456789"), "digits", "image")


def _adult(root: Path, wanted: tuple[str, ...]) -> Raw:
    folder = root / "adult" if (root / "adult").is_dir() else root
    files = {"train": folder / "adult.data", "test": folder / "adult.test"}
    for path in files.values():
        if not path.exists():
            raise InputError(
                f"adult: expected {path.name} in {root / 'adult'} or {root}, found none; "
                "put it there, set SEEPAGE_DATA, or pass download=True (in TOML: download = true)"
            )
    # Both files always: the test file alone lacks a level that the training file has.
    return read_table(files, TableOptions(label="income", columns=_ADULT_COLUMNS))


_NAMED: dict[str, Callable[[Path, tuple[str, ...]], Raw]] = {
    "digits": _digits,
    "mnist": lambda root, wanted: read_mnist("mnist", root, wanted),
    "fashion-mnist": lambda root, wanted: read_mnist("fashion-mnist", root, wanted),
    "cifar10": lambda root, wanted: read_cifar("cifar10", root, wanted),
    "cifar100": lambda root, wanted: read_cifar("cifar100", root, wanted),
    "adult": _adult,
}

#: The names that `load` knows, besides paths.
NAMES = (*_NAMED, TOPICS)

_TABLE_FIELDS = tuple(f.name for f in fields(TableOptions))
_TEXT_FIELDS = tuple(f.name for f in fields(TextOptions))
_INSERTED = ("random", "rare", "repeats", "candidates", "length", "seed")
_REPLAYED = {"name", "root", "part", "size", "test", "mapped", *_TABLE_FIELDS, *_TEXT_FIELDS}


def _given(options: TableOptions) -> dict[str, Any]:
    """The table options that differ from their defaults, ready for JSON."""
    default = asdict(TableOptions())
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(options).items()
        if value != default[key]
    }


def _find(text: str, root: Path) -> Path:
    places = [local_path(text, "data").expanduser(), root / text]
    for place in places:
        if place.exists():
            check_regular(place, "a data file or folder")
            return place
    if os.sep not in text and not Path(text).suffix:
        raise InputError(
            f"data: expected one of {', '.join(NAMES)} or an existing path, got {text!r}; "
            f"{nearest(text, NAMES)}"
        )
    raise InputError(
        f"{text}: expected a data file or folder, found none at {' or '.join(map(str, places))}; "
        "check the path or set SEEPAGE_DATA"
    )


def _portable(path: Path, root: str | os.PathLike[str] | None) -> str:
    """Relative to the root where that is possible, so that a run folder can move with its data."""
    full = path.resolve()
    base = data_root(root).resolve()
    return full.relative_to(base).as_posix() if full.is_relative_to(base) else str(full)


def _read_path(
    path: Path,
    test: Path | None,
    size: tuple[int, int] | None,
    options: TableOptions,
    given: dict[str, Any],
    mapped: bool | None,
) -> Raw:
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    kind = plain.suffix.lower()
    is_table = kind in CSV_SUFFIXES + PARQUET_SUFFIXES and not path.is_dir()
    is_named = kind == ".npz" or (path.is_dir() and any(path.glob("*.npy")))
    allowed = set(_TABLE_FIELDS) | {"test"} if is_table else set()
    if is_named:
        allowed = {"drop", "task", "missing", "mapped"}
    elif path.is_dir():
        allowed = {"size", "group"} | ({"task"} if task_named(options.task).classes else set())
    for option in [*given, *_stated(test=test, size=size, mapped=mapped)]:
        if option not in allowed:
            what = f"a {kind or 'suffix-less'} file"
            if path.is_dir():
                what = "a folder of .npy files" if is_named else "an image folder"
            raise InputError(f"{option}: not an option for {what} ({path}); leave it out")
    if is_named:
        check_missing(options.missing, ("refuse", "keep"))
        return read_named(path, options.drop, options.task, mapped)
    if path.is_dir():
        return replace(read_folder(path, size, options.group), task=options.task)
    if is_table:
        return read_table({"train": path} | ({"test": test} if test else {}), options)
    if kind == ".npy":
        raise InputError(
            f"{path}: expected inputs with their labels, got one array; put inputs.npy and labels.npy "
            "into a folder and name the folder"
        )
    raise InputError(
        f"{path}: expected .npz, {', '.join(CSV_SUFFIXES + PARQUET_SUFFIXES)} or a folder of "
        f"class folders, got {kind or 'no suffix'!r}; rename or convert it"
    )


def _dataset(raw: Raw, wanted: tuple[str, ...], source: dict[str, Any]) -> Dataset:
    parts = [raw.parts[p] for p in wanted if p in raw.parts]
    if not parts:
        raise InputError(
            f"part: expected {' or '.join(raw.parts)} for {raw.name!r}, which has no {wanted[0]} "
            f"part, got {wanted[0]!r}"
        )
    groups = [p.groups for p in parts if p.groups is not None]
    targets = [p.targets for p in parts if p.targets is not None]
    files = [p.inputs for p in parts if isinstance(p.inputs, RowFile)]
    if files and len(parts) > 1:
        raise InputError(
            f"{raw.name}: expected one part of data whose inputs stay in their file, got {len(parts)}; "
            "choose one, save them as one, or pass mapped=False, which reads them into memory"
        )
    return Dataset(
        files[0].mapped
        if files
        else _tensor([p.inputs for p in parts if not isinstance(p.inputs, RowFile)]),
        _tensor([p.labels for p in parts]),
        np.concatenate([p.ids for p in parts]),
        raw.classes,
        raw.name,
        raw.kind,
        raw.columns,
        raw.numeric,
        source,
        np.concatenate(groups) if len(groups) == len(parts) else None,
        raw.task,
        _tensor(list(targets)) if len(targets) == len(parts) else None,
        raw.missing,
        files[0] if files else None,
    )


def _tensor(arrays: list[AnyArray]) -> torch.Tensor:
    whole = np.concatenate(arrays) if len(arrays) > 1 else np.ascontiguousarray(arrays[0])
    return torch.from_numpy(whole if whole.flags.writeable else whole.copy())


def _check_variety(data: Dataset) -> None:
    """Refuse a pool that no classifier can be trained on: one class, or one and the same input."""
    asked = data.targets is None and data.task != "language"
    if asked and int(data.labels.min()) == int(data.labels.max()):
        only = data.classes[int(data.labels[0])]
        raise InputError(
            f"{data.name}: expected samples of at least two classes, got only {only!r}; "
            "load more samples or other labels"
        )
    first = data.inputs[:1]
    if all(bool((x == first).all()) for x in data.blocks(np.arange(min(2, len(data))))) and all(
        bool((x == first).all()) for x in data.blocks()
    ):
        raise InputError(
            f"{data.name}: expected inputs that differ, all {len(data)} samples are the same; "
            "check the input array"
        )
