"""Files that are whole or not there at all, and values as JSON has them."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from seepage.errors import InputError

__all__ = ["plain", "replacing", "write_json", "write_text"]


def plain(value: Any) -> Any:
    """The value as JSON types; a number that is not finite becomes None.

    >>> plain({"auc": np.float64(0.5), "low": float("nan")})
    {'auc': 0.5, 'low': None}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that takes `path`'s place when the block ends well, and else vanishes.

    It is locked meanwhile: the next one for `path` removes those that a killed process left. Raises
    InputError when the folder cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    held = -1
    try:
        try:
            _remove_abandoned(path)
            held = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            with suppress(OSError):
                fcntl.flock(held, fcntl.LOCK_EX)
            yield draft
            os.replace(draft, path)
        except OSError as error:
            raise InputError(
                f"{path}: expected a place that can be written, got {error.strerror}; "
                "choose another folder"
            ) from None
    finally:
        if held >= 0:
            draft.unlink(missing_ok=True)
            os.close(held)


def _remove_abandoned(path: Path) -> None:
    """Temporary files for `path` that no process holds. Where files have no locks, none."""
    name = re.compile(re.escape(f".{path.name}.") + "[0-9a-f]{8}")
    for left in [p for p in path.parent.iterdir() if name.fullmatch(p.name)]:
        with suppress(OSError):
            found = os.open(left, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
            finally:
                os.close(found)


def write_text(path: Path, text: str) -> None:
    """Text in UTF-8, whole or not at all; folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any], *, indent: int | None = 1) -> None:
    """JSON, whole or not at all; NaN is refused. indent: None for one line without spaces."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(content, indent=indent, separators=separators, allow_nan=False)
    write_text(path, text + "\n")
