"""Files that are whole or not there at all, and values as JSON has them."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

    Raises InputError when the folder cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            yield draft
            os.replace(draft, path)
        except OSError as error:
            raise InputError(
                f"{path}: expected a place that can be written, got {error.strerror}; "
                "choose another folder"
            ) from None
    finally:
        draft.unlink(missing_ok=True)


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
