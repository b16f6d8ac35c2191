"""The compiled kernels as functions on arrays, at the level of this processor, over threads.

They lie in `seepage.native._kernels`, which a plain install builds where there is a C compiler.
Where there is none, or where it is switched off, `kernel` gives None and the caller takes its pure
path, which computes the same. Nothing is compiled when the program runs.

SEEPAGE_KERNELS: `none`, `base`, `avx2` or `avx512`, at most that level; by default the highest that
the processor has. SEEPAGE_THREADS: how many threads at most; by default OMP_NUM_THREADS, else as
many as this process may use.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import numpy as np

from seepage.array_types import AnyArray
from seepage.errors import InputError

__all__ = [
    "LEVELS",
    "contiguous",
    "kernel",
    "kernels_in_words",
    "level",
    "limited",
    "multiplies_bf16",
    "over_blocks",
    "threads",
]

LEVELS = ("none", "base", "avx2", "avx512")

_WORTH_THREADS = 1e-3
"""Seconds of work that is left below which starting threads takes longer."""

_at_most: ContextVar[str | None] = ContextVar("level", default=None)
_threads: ContextVar[int | None] = ContextVar("threads", default=None)


@cache
def _library() -> ctypes.CDLL | None:
    found = importlib.util.find_spec("seepage.native._kernels")
    if found is None or found.origin is None:
        return None
    try:
        return ctypes.CDLL(found.origin)
    except OSError:  # built for another machine
        return None


@cache
def _highest() -> int:
    library = _library()
    return 0 if library is None else 1 + int(library.seepage_level())


def level() -> str:
    """The level of kernels in use: none where there are none or they are switched off.

    >>> level() in LEVELS
    True
    """
    asked = _at_most.get() or os.environ.get("SEEPAGE_KERNELS") or LEVELS[-1]
    if asked not in LEVELS:
        raise InputError(f"SEEPAGE_KERNELS: expected one of {', '.join(LEVELS)}, got {asked!r}")
    return LEVELS[min(LEVELS.index(asked), _highest())]


def multiplies_bf16() -> bool:
    """Whether kernels that multiply pairs of bfloat16 (AVX-512 BF16) are there and in use.

    >>> isinstance(multiplies_bf16(), bool)
    True
    """
    library = _library()
    return library is not None and level() == LEVELS[-1] and bool(library.seepage_bf16())


def kernels_in_words() -> str:
    """The level in use, and what helps where there is none."""
    if level() != LEVELS[0]:
        half = " with bfloat16" if multiplies_bf16() else ""
        return f"compiled, {level()}{half}, {threads()} threads"
    if _highest():
        return "switched off by SEEPAGE_KERNELS"
    return "none: the same figures, slower; install a C compiler (gcc, clang) and seepage again"


def threads() -> int:
    """How many threads kernels use at most."""
    asked = _threads.get()
    if asked is not None:
        return asked
    for name in ("SEEPAGE_THREADS", "OMP_NUM_THREADS"):
        given = os.environ.get(name, "")
        if given.isdecimal() and int(given) > 0:
            return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def limited(*, level: str | None = None, threads: int | None = None) -> Iterator[None]:
    """At most this level of kernels and this many threads, in this context."""
    before = _at_most.set(level or _at_most.get()), _threads.set(threads or _threads.get())
    try:
        yield
    finally:
        _at_most.reset(before[0])
        _threads.reset(before[1])


def kernel(name: str, *kinds: type | str) -> Callable[..., None] | None:
    """The compiled function of this name, or None.

    kinds: of its arguments in order, `int` or `float` for numbers, the name of a dtype for an array
    of that dtype, contiguous in C's order, of which the address is passed, or "address" for a number
    that is one, of memory that the caller answers for. Raises TypeError
    for arrays that are not so, MemoryError where the kernel could not get memory.
    """
    now = level()
    if now == LEVELS[0]:
        return None
    return _bound(f"{name}_{now}", kinds)


@cache
def _bound(name: str, kinds: tuple[type | str, ...]) -> Callable[..., None]:
    library = _library()
    assert library is not None
    function = getattr(library, name)
    function.argtypes = [_argument(kind) for kind in kinds]
    function.restype = ctypes.c_int

    def call(*given: Any) -> None:
        if function(*given):
            raise MemoryError(f"{name}: no memory for a block of samples")

    return call


def _argument(kind: type | str) -> Any:
    if kind is int:
        return ctypes.c_int64
    if kind is float:
        return ctypes.c_double
    if kind == "address":
        return ctypes.c_void_p
    return np.ctypeslib.ndpointer(np.dtype(kind), flags="C_CONTIGUOUS")


def over_blocks(call: Callable[[int, int], None], count: int, block: int) -> None:
    """call(first, last) for the parts of range(count), each of at most `block`, over threads.

    The first is timed: where the rest is done before threads would have started, none are. Kernels let go of the interpreter, so the parts run side by side. Parts must not share what
    they write. The first error is raised.
    """
    starts = range(0, count, block)
    parts = [(first, min(first + block, count)) for first in starts]
    if len(parts) <= 1 or threads() == 1:
        for first, last in parts:
            call(first, last)
        return
    began = time.perf_counter()
    call(*parts[0])
    if (time.perf_counter() - began) * (len(parts) - 1) < _WORTH_THREADS:
        for first, last in parts[1:]:
            call(first, last)
        return
    with ThreadPoolExecutor(min(threads(), len(parts) - 1)) as pool:
        for _ in pool.map(lambda part: call(*part), parts[1:]):
            pass


def contiguous(values: AnyArray, dtype: str) -> AnyArray:
    """The values as an array that kernels read, copied only where they are not that already."""
    return np.ascontiguousarray(values, dtype=dtype)
