"""Scoring of ten million samples × 256 models from a run folder: time, memory, and the copy rate beside.

    python -m benchmarks.ten_million [--samples 10000000] [--models 256] [--place FOLDER] [--out FILE]

A run folder of `phi` at one checkpoint is written first (not timed; 13 GB at that size). Then each
command runs in an interpreter of its own: `seepage attack` with LiRA as by default and with
`PerSample()`, and `seepage.score` of a few targets. Memory is what the process reached at most:
`ru_maxrss`, and RssAnon, which leaves out mapped files; the kernel's cache of files is neither. The
copy rate is that of `numpy.copyto` between two blocks of 256 MiB with as many threads.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import seepage
from seepage.native.library import threads

_ROWS = 4
_COPIED = 2**28


def make(folder: Path, samples: int, models: int) -> None:
    """A run folder of `phi` alone, written run by run as a fleet would.

    A sample's difficulty is normal; a member's φ lies higher by a lognormal amount of its own.
    """
    from seepage.data import from_arrays
    from seepage.fleet.folder import create
    from seepage.fleet.sink import StoreSink
    from seepage.store.evidence import stamp
    from seepage.store.storage import Storage

    rng = np.random.default_rng(0)
    plan = seepage.half_split(samples, models=models, seed=0)
    data = from_arrays(np.zeros((samples, 1), "f4"), rng.integers(0, 10, samples), name="synthetic")
    storage = Storage(folder, write=True)
    shapes = {"phi": ((samples,), "float32")}
    manifest = create(storage, data, plan, {}, {}, [1.0], shapes, ["identity"], {})
    difficulty = rng.standard_normal(samples, dtype=np.float32)
    leak = np.exp(rng.standard_normal(samples, dtype=np.float32) - 2)
    for row in range(models):
        members = plan.member[row]
        phi = rng.standard_normal(samples, dtype=np.float32)
        phi += difficulty
        phi += leak * members
        sink = StoreSink(storage, row, ("phi",), 1, "none", members, stamp(manifest))
        sink.write(0, {"phi": phi})
        sink.done(seconds=0.0, looking=0.0, steps=0, members=int(members.sum()))


def copy_rate() -> float:
    """GB/s of reading and writing, by as many threads as kernels use."""
    pairs = [(np.ones(_COPIED // 8), np.empty(_COPIED // 8)) for _ in range(threads())]
    best = 0.0
    with ThreadPoolExecutor(len(pairs)) as pool:
        for _ in range(5):
            began = time.perf_counter()
            list(pool.map(lambda p: np.copyto(p[1], p[0]), pairs))
            best = max(best, 2 * _COPIED * len(pairs) / (time.perf_counter() - began) / 1e9)
    return best


class Anonymous:
    """The most anonymous memory that this process had, looked at ten times a second."""

    def __init__(self) -> None:
        self.most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Anonymous:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.1):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    self.most = max(self.most, int(line.split()[1]) * 1024)


if __name__ == "__main__":
    import sys

    make(Path(sys.argv[1]), int(sys.argv[2]), 256)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
