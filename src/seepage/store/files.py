"""Files that are whole or not there at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seepage.errors import InputError

__all__ = ["replacing"]


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
