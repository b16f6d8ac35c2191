"""The most memory that this process and its workers hold together, seen while something runs."""

from __future__ import annotations

import contextlib
import threading

import psutil

__all__ = ["HeldMemory"]

_EVERY = 0.2


class HeldMemory:
    """A context in which memory is looked at five times a second; `most` bytes, what is shared counted once.

    Where the system does not tell how much is shared (`pss`), what each process has to itself is summed.
    """

    def __init__(self) -> None:
        self.most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> HeldMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.most = max(self.most, held())
            if self._end.wait(_EVERY):
                return


def held() -> int:
    """Bytes of this process and all below it, now."""
    me, total = psutil.Process(), 0
    processes = [me]
    with contextlib.suppress(psutil.Error):
        processes += me.children(recursive=True)
    for process in processes:
        # A worker may end while it is looked at.
        with contextlib.suppress(psutil.Error, OSError):
            told = process.memory_full_info()
            total += int(getattr(told, "pss", told.uss))
    return total
