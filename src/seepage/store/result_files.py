"""Results of studies, comparisons and audits of one model as JSON that carries its own digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from seepage.errors import InputError
from seepage.store.files import write_json

__all__ = ["add_digests", "read_result", "sealed", "write_result"]

KEY = "digest"


def digest_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of the values, whatever the order of keys and the spaces between them.

    >>> digest_of({"a": 1, "b": [2.5]}) == digest_of({"b": [2.5], "a": 1, "digest": "x"})
    True
    """
    rest = {k: v for k, v in content.items() if k != KEY}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_result(path: Path, content: Mapping[str, Any], *, indent: int | None = 1) -> None:
    """The result with its digest, whole or not at all; NaN is refused."""
    write_json(path, sealed(content), indent=indent)


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its digest, as `write_result` writes it."""
    rest = {k: v for k, v in content.items() if k != KEY}
    # As it will be read: tuples as lists, keys as text.
    return rest | {KEY: digest_of(json.loads(json.dumps(rest)))}


def read_result(path: Path, again: str = "remove it to find it again") -> dict[str, Any]:
    """What `write_result` wrote, without the digest. again: the remedy that messages name.

    Raises InputError for a file that cannot be read, is no JSON object, has no digest, as results
    of version 0.1, or was changed after it was written.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(
            f"{path}: expected a result that can be read, got {e.strerror}; {again}"
        ) from None
    except (ValueError, RecursionError) as e:
        raise InputError(f"{path}: expected a result as JSON, got {e}; {again}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a result, a JSON object, got something else; {again}")
    if KEY not in found:
        raise InputError(
            f"{path}: expected a result with its digest, got one without, as version 0.1 wrote it; "
            f"{again}, or, where you know it to be whole, call seepage.study.add_digests on its folder"
        )
    given = found.pop(KEY)
    try:
        own = digest_of(found)
    except ValueError:  # NaN or infinity, which is never written
        own = None
    if own != given:
        raise InputError(
            f"{path}: expected a result as it was written, got one that was changed since (its "
            f"digest does not match); {again}"
        )
    return found


def add_digests(folder: str | PathLike[str]) -> list[Path]:
    """Give every result below a folder that has no digest its own, as it is now; which they were.

    For results of version 0.1, by someone who knows that they were not changed. Raises InputError
    for a file that is no JSON object.
    """
    done = []
    for path in sorted(Path(folder).rglob("*.json")):
        try:
            text = path.read_text(encoding="utf-8")
            found = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise InputError(f"{path}: expected a result as JSON, got {e}; take it away") from None
        if not isinstance(found, dict):
            raise InputError(f"{path}: expected a JSON object, got something else; take it away")
        if KEY not in found:
            write_result(path, found, indent=1 if text.count("\n") > 1 else None)
            done.append(path)
    return done
