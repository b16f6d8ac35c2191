"""Texts as a pool of documents: from files, columns, folders or lists, over bytes or a tokenizer's pieces."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from seepage.array_types import AnyArray
from seepage.data.columns import as_text_column
from seepage.data.dataset import Dataset
from seepage.data.documents import BYTES, Long, cut_documents, token_rows
from seepage.data.reading import as_text, read_all
from seepage.data.table import CSV_SUFFIXES, PARQUET_SUFFIXES, TableOptions, read_columns
from seepage.errors import InputError, nearest
from seepage.local_paths import local_path
from seepage.plan import Groups

__all__ = ["TOPICS", "TextOptions", "from_texts", "from_tokens", "read_texts"]

TOPICS = "python-topics"
"""The help topics of Python's standard library as a pool of texts; their wording is of its version."""

Documents = Literal["lines", "paragraphs", "files"]
_DOCUMENTS = ("lines", "paragraphs", "files")
_TEXT = (".txt", ".text", ".md")


@dataclass(frozen=True)
class TextOptions:
    """How texts become documents: [data] of `task = "language"`."""

    context: int = 128
    long: Long = "window"
    vocabulary: str = "bytes"
    documents: Documents | None = None
    text: str | None = None


def from_texts(
    texts: Sequence[str],
    *,
    context: int = 128,
    long: Long = "window",
    vocabulary: str | os.PathLike[str] = "bytes",
    ids: ArrayLike | None = None,
    groups: Groups | None = None,
    name: str = "texts",
) -> Dataset:
    """A pool of texts for a causal model, `task = "language"`: a row of token numbers each.

    context: the most tokens of a sample. long: what becomes of longer texts: "window" cuts them into
    samples of one subject, which the plan keeps together; "split" into samples of their own; "cut" keeps
    the beginning; "refuse" raises. vocabulary: "bytes" (UTF-8), or the path of a `tokenizer.json`, read by
    the library `tokenizers`. ids (N,), groups (N,): names of the texts, and whose each is.

    A vocabulary that was made from members' texts tells of them. Bytes are made from no text; of a
    tokenizer of your own make sure that it was made from text outside of the pool.

    Raises InputError for texts of no or one token, and as `from_tokens` does.

    >>> data = from_texts(["to be", "or not"], context=8)
    >>> data.inputs[0].tolist(), len(data.classes), data.task
    ([116.0, 111.0, 32.0, 98.0, 101.0, -1.0], 256, 'language')
    """
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"{name}: expected texts, got {type(text).__name__} for document {i}; pass token numbers "
                "to seepage.data.from_tokens"
            )
    encode, pieces = _vocabulary(vocabulary)
    return from_tokens(
        [encode(t) for t in texts],
        vocabulary=pieces,
        context=context,
        long=long,
        ids=ids,
        groups=groups,
        name=name,
    )


def from_tokens(
    documents: Sequence[Sequence[int]] | AnyArray,
    *,
    vocabulary: int | Sequence[str],
    context: int | None = None,
    long: Long = "refuse",
    ids: ArrayLike | None = None,
    groups: Groups | None = None,
    name: str = "tokens",
) -> Dataset:
    """A pool of documents that are token numbers already, without padding; see `from_texts`.

    vocabulary: how many pieces there are, or their names. context: the most tokens of a sample, by default
    those of the longest document.

    Raises InputError for documents of no or one token, longer than the context where `long` is "refuse",
    padded, or with tokens beyond the vocabulary.

    >>> from_tokens([[5, 6, 7], [8, 9]], vocabulary=16).inputs.tolist()
    [[5.0, 6.0, 7.0], [8.0, 9.0, -1.0]]
    """
    rows = token_rows(documents, name)
    table, of = cut_documents(rows, context or max(map(len, rows)), long, name)
    pieces = _pieces(vocabulary, name)
    named = (
        np.array([f"train/{i}" for i in range(len(rows))])
        if ids is None
        else as_text(f"{name}: ids", np.asarray(ids))
    )
    whose = None if groups is None else as_text(f"{name}: groups", np.asarray(groups))
    for what, given in (("ids", named), ("groups", whose)):
        if given is not None and given.shape != (len(rows),):
            raise InputError(
                f"{name}: expected {what} of {len(rows)} documents, got shape {given.shape}"
            )
    several = np.bincount(of, minlength=len(rows)) > 1
    place = np.arange(len(of)) - np.searchsorted(of, of)
    window_ids = [
        f"{named[d]}/{k}" if several[d] else str(named[d])
        for d, k in zip(of.tolist(), place.tolist(), strict=True)
    ]
    if whose is None and several.any() and long == "window":
        whose = named
    return Dataset(
        inputs=torch.from_numpy(table),
        labels=torch.zeros(len(table), dtype=torch.int64),
        ids=np.array(window_ids, dtype=np.str_),
        classes=pieces,
        name=name,
        kind="table",
        numeric=np.zeros(table.shape[1], dtype=np.bool_),
        groups=None if whose is None else whose[of].astype(np.str_),
        task="language",
    )


def read_texts(
    where: str | Path, options: TextOptions, table: TableOptions, source: dict[str, Any]
) -> Dataset:
    """The texts of a file or folder, or `TOPICS`, as a pool; `seepage.load` with `task = "language"`.

    source: what makes it again. Raises InputError for what holds no texts.
    """
    if where == TOPICS:
        texts, ids, groups = _topics()
        _refuse("of the standard library's topics", text=options.text, documents=options.documents)
        name = TOPICS
    else:
        path = Path(where)
        texts, ids, groups = _read(path, options, table)
        name = path.name.partition(".")[0]
    filled = [i for i, t in enumerate(texts) if t.strip()]
    if not filled:
        raise InputError(f"{where}: expected texts, got none that holds more than white space")
    data = from_texts(
        [texts[i] for i in filled],
        context=options.context,
        long=options.long,
        vocabulary=options.vocabulary,
        ids=[ids[i] for i in filled],
        groups=None if groups is None else [groups[i] for i in filled],
        name=name,
    )
    return replace(data, source=source)


Read = tuple[list[str], list[str], list[str] | None]


def _topics() -> Read:
    """One document for each topic, without the last line where that is a date of building."""
    from pydoc_data.topics import topics

    names = sorted(topics)
    return [topics[n] for n in names], names, None


def _refuse(of: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name}: expected none {of}, got {value!r}; leave it out")


def _read(path: Path, options: TextOptions, table: TableOptions) -> Read:
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    kind = plain.suffix.lower()
    if path.is_dir():
        _refuse("of a folder, whose files are the documents", text=options.text)
        _refuse(
            "of a folder, whose files are the documents",
            documents=None if options.documents == "files" else options.documents,
        )
        return _folder(path, table.group)
    if kind in CSV_SUFFIXES + PARQUET_SUFFIXES and not (kind in _TEXT and options.text is None):
        _refuse("of a table, whose rows are the documents", documents=options.documents)
        return _column(path, options.text, table)
    if kind not in _TEXT:
        raise InputError(
            f"{path}: expected a text file ({', '.join(_TEXT)}), a table "
            f"({', '.join(CSV_SUFFIXES + PARQUET_SUFFIXES)}) or a folder of text files with task = "
            f"'language', got {kind or 'no suffix'!r}; rename or convert it"
        )
    _refuse("of a text file", text=options.text, group=table.group, id_column=table.id_column)
    whole = _decoded(path)
    how = options.documents or "lines"
    if how not in _DOCUMENTS:
        raise InputError(f"data.documents: expected one of {', '.join(_DOCUMENTS)}, got {how!r}")
    parts = {
        "lines": lambda: whole.splitlines(),
        "paragraphs": lambda: [p.strip("\n") for p in whole.replace("\r\n", "\n").split("\n\n")],
        "files": lambda: [whole],
    }[how]()
    return parts, [f"{how.rstrip('s')}/{i}" for i in range(len(parts))], None


def _decoded(path: Path) -> str:
    raw = read_all(path, "a text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected UTF-8 text, got byte {raw[error.start]:#04x} at position {error.start}; "
            "save it as UTF-8"
        ) from None


def _folder(path: Path, group: str | None) -> Read:
    """Each text file below a folder is a document; group "folder": whose is the folder it lies in."""
    if group not in (None, "folder"):
        raise InputError(
            f"group: expected 'folder' for texts in SUBJECT/TEXT.txt, got {group!r}; leave it out"
        )
    files = sorted(
        f
        for f in path.rglob("*")
        if f.is_file() and (f.with_suffix("") if f.suffix == ".gz" else f).suffix.lower() in _TEXT
    )
    if not files:
        raise InputError(f"{path}: expected text files ({', '.join(_TEXT)}), found none; check it")
    names = [f.relative_to(path).as_posix() for f in files]
    whose = [f.parent.relative_to(path).as_posix() for f in files] if group else None
    return [_decoded(f) if f.stat().st_size else "" for f in files], names, whose


def _column(path: Path, column: str | None, options: TableOptions) -> Read:
    table = read_columns(path, options)
    names = list(table.column_names)
    if column is None:
        raise InputError(
            f"data.text: expected the name of the column of {path} that holds texts, got none; name one "
            f"of {', '.join(names[:8])}"
        )
    for field, wanted in (
        ("data.text", column),
        ("data.group", options.group),
        ("data.id_column", options.id_column),
    ):
        if wanted is not None and wanted not in names:
            raise InputError(
                f"{field}: expected a column of {path}, got {wanted!r}; {nearest(wanted, names)}"
            )
    texts = as_text_column(table.column(column)).tolist()
    ids = (
        [f"train/{i}" for i in range(len(texts))]
        if options.id_column is None
        else as_text_column(table.column(options.id_column)).tolist()
    )
    whose = None if options.group is None else as_text_column(table.column(options.group)).tolist()
    return texts, ids, whose


def _vocabulary(
    vocabulary: str | os.PathLike[str],
) -> tuple[Callable[[str], Sequence[int]], tuple[str, ...]]:
    """How a text becomes token numbers, and the names of the pieces."""
    if vocabulary == "bytes":
        return lambda text: list(text.encode("utf-8")), BYTES
    path = local_path(vocabulary, "data.vocabulary")
    if path.suffix != ".json":
        raise InputError(
            f"data.vocabulary: expected 'bytes' or the path of a tokenizer.json, got {str(vocabulary)!r}"
        )
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise InputError(
            "data.vocabulary: expected the library tokenizers for a tokenizer.json, found none; pip "
            "install 'seepage[transformers]'"
        ) from None
    content = read_all(path, "a tokenizer.json").decode("utf-8", "replace")
    try:
        made = Tokenizer.from_str(content)
    except Exception as error:
        raise InputError(
            f"{path}: expected a tokenizer.json, got {' '.join(str(error).split())[:120]}; save it by "
            "tokenizer.save"
        ) from None
    made.no_padding()
    made.no_truncation()
    size = made.get_vocab_size()
    names = tuple(made.id_to_token(i) or f"<{i}>" for i in range(size))
    return lambda text: made.encode(text).ids, names


def _pieces(vocabulary: int | Sequence[str], name: str) -> tuple[str, ...]:
    if isinstance(vocabulary, int) and not isinstance(vocabulary, bool):
        if vocabulary < 2:
            raise InputError(f"{name}: vocabulary: expected at least 2 pieces, got {vocabulary}")
        return tuple(str(k) for k in range(vocabulary))
    if isinstance(vocabulary, str) or not isinstance(vocabulary, Sequence):
        raise InputError(
            f"{name}: vocabulary: expected how many pieces there are or their names, got "
            f"{type(vocabulary).__name__}; pass len(tokenizer)"
        )
    return tuple(map(str, vocabulary))
