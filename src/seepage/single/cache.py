"""Answers of a service, kept by the content of what was asked: one line of text each, with a digest.

A process that is killed loses at most the line it was writing, and the next one goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from seepage.array_types import AnyArray
from seepage.errors import CorruptStore, InputError
from seepage.local_paths import local_path

__all__ = ["AnswerCache"]

_FORMAT = "seepage.answers/1"


class AnswerCache:
    """A file of answers. Made where it is not there; read whole when it is opened.

    Raises CorruptStore for a line that is not what was written, but for an unfinished last one, and
    InputError for a file that is something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(local_path(path, "cache"))
        self._held: dict[bytes, AnyArray] = {}
        if self.path.is_dir():
            raise InputError(f"{self.path}: expected a file for answers, got a folder; name a file")
        if self.path.exists():
            self._read()
        elif not self.path.parent.is_dir():
            raise InputError(f"{self.path}: expected a file in a folder that exists; make it first")

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: bytes) -> AnyArray | None:
        """The answer to a sample of this content."""
        return self._held.get(key)

    def add(self, keys: Iterable[bytes], answers: AnyArray) -> None:
        """Keep answers (n, K); they are on the disk when this returns."""
        fresh = not self.path.exists()
        lines = [_line({"format": _FORMAT})] if fresh else []
        for key, answer in zip(keys, answers, strict=True):
            self._held[key] = answer
            values = np.asarray(answer)
            lines.append(
                _line({"key": key.hex(), "dtype": values.dtype.str, "answer": values.tolist()})
            )
        try:
            with self.path.open("ab") as stream:
                stream.write("".join(lines).encode())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise InputError(
                f"{self.path}: expected a file that can be written, got {error.strerror}; choose "
                "another cache"
            ) from None

    def _read(self) -> None:
        raw = self.path.read_bytes()
        lines = raw.split(b"\n")
        whole, torn = lines[:-1], lines[-1]
        for number, line in enumerate(whole):
            content = _content(line)
            if number == 0 and (content is None or content.get("format") != _FORMAT):
                raise InputError(
                    f"{self.path}: expected a file of answers that seepage wrote, got another; name "
                    "a new file"
                )
            if content is None:
                raise CorruptStore(
                    f"{self.path}: line {number + 1} is not what was written; delete that line and "
                    "ask again"
                )
            if number:
                answer = np.array(content["answer"], dtype=content["dtype"])
                self._held[bytes.fromhex(content["key"])] = answer
        if not whole and raw:
            raise InputError(
                f"{self.path}: expected a file of answers that seepage wrote, got another; name a "
                "new file"
            )
        if torn:
            # A process that was killed while it wrote.
            with self.path.open("r+b") as stream:
                stream.truncate(len(raw) - len(torn))


def _line(content: dict[str, Any]) -> str:
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]} {text}\n"


def _content(line: bytes) -> dict[str, Any] | None:
    digest, _, text = line.partition(b" ")
    if hashlib.sha256(text).hexdigest()[:16].encode() != digest:
        return None
    found: dict[str, Any] = json.loads(text)
    return found
