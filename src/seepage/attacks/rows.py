"""Work that every target does for itself, on all threads: sorts release the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba

__all__ = ["each_row"]


def each_row(call: Callable[[int], None], rows: int) -> None:
    """Call with 0 … rows − 1, on as many threads as numba uses; the first error is raised.

    The calls must not share what they write.
    """
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for _ in pool.map(call, range(rows)):
            pass
