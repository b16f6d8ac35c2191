"""Files that name samples: a list of ids, or a value for each id."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seepage.errors import InputError
from seepage.local_paths import local_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from seepage.array_types import Int64Array

__all__ = ["named_samples", "values_of_samples"]

_MOST = 2**28


def named_samples(given: str, option: str, ids: Sequence[str]) -> Int64Array:
    """Positions of the samples whose ids a file lists, one a line, in the order of `ids`.

    Empty lines are passed over. Raises InputError for other files, for an id that is unknown or
    listed twice, and for none.
    """
    import numpy as np

    lines = [
        line.strip() for line in _text(given, option, "a text file, an id a line").splitlines()
    ]
    named = [line for line in lines if line]
    _check(given, option, named, ids)
    place = {name: i for i, name in enumerate(ids)}
    return np.sort(np.array([place[n] for n in named], dtype=np.int64))


def values_of_samples(
    given: str, option: str, ids: Sequence[str], known: Sequence[str] | None = None
) -> tuple[str, NDArray[np.str_]]:
    """The name of the second column of a CSV file, and its value for each of `ids`, "" where unlisted.

    known: ids that may be listed, `ids` unless given. The first line names both columns, of which the first is `id`. Raises InputError for other files,
    and for an id that is unknown or listed twice.
    """
    import numpy as np

    text = _text(given, option, "a CSV file with the columns id and a value")
    try:
        rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    except csv.Error as error:
        raise InputError(f"{option}: {given!r}: expected a CSV file, got {error}") from None
    head = [c.strip() for c in rows[0]] if rows else []
    if len(head) != 2 or head[0] != "id" or not head[1]:
        raise InputError(
            f"{option}: {given!r}: expected a first line `id,NAME`, got {','.join(head)[:80]!r}; name "
            "both columns"
        )
    odd = next((k for k, row in enumerate(rows) if len(row) != 2), None)
    if odd is not None:
        raise InputError(
            f"{option}: {given!r}: expected two cells in every row, got {len(rows[odd])} in row {odd + 1}"
        )
    body = [(a.strip(), b.strip()) for a, b in rows[1:]]
    _check(given, option, [a for a, _ in body], ids if known is None else known)
    value = dict(body)
    return head[1], np.array([value.get(i, "") for i in ids], dtype=np.str_)


def _text(given: str, option: str, expected: str) -> str:
    from seepage.data.reading import read_all

    raw = read_all(local_path(given, option), expected)
    if len(raw) > _MOST:
        raise InputError(f"{option}: {given!r}: expected {expected}, got {len(raw):,} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{option}: {given!r}: expected {expected} in UTF-8, got other bytes") from None  # fmt: skip


def _check(given: str, option: str, named: Sequence[str], ids: Sequence[str]) -> None:
    if not named:
        raise InputError(f"{option}: {given!r}: expected ids of samples, got none")
    known = set(ids)
    unknown = [n for n in named if n not in known]
    if unknown:
        raise InputError(
            f"{option}: {given!r}: expected ids of the run's samples such as {str(ids[0])!r}, got "
            f"{unknown[0][:60]!r} ({len(unknown):,} unknown); ids are in report.samples.parquet"
        )
    if len(set(named)) < len(named):
        seen: set[str] = set()
        twice = next(n for n in named if n in seen or seen.add(n))  # type: ignore[func-returns-value]
        raise InputError(f"{option}: {given!r}: expected every id once, got {twice[:60]!r} twice")
