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
import shlex
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


def attack(folder: Path, rule: str) -> dict[str, Any]:
    """`seepage attack` of the folder in this process: what it found, seconds and memory."""
    from seepage.cli.arguments import judged_run, judged_unit
    from seepage.cli.attack import attack_figures
    from seepage.findings.unjudged import unjudged

    law = {"StudentT": seepage.attacks.StudentT, "PerSample": seepage.attacks.PerSample}[rule]
    chosen = [seepage.attacks.LiRA(variance=law())]
    with Anonymous() as anonymous:
        began, spent = time.perf_counter(), time.process_time()
        run = judged_run(str(folder))
        part = unjudged(run, chosen).part(run)
        opened = time.perf_counter()
        rows, _ = attack_figures(part, chosen, None, judged_unit(part, None))
        done, used = time.perf_counter(), time.process_time()
    (row,) = rows
    return {
        "name": f"attack, LiRA with {rule}()",
        "opening_seconds": opened - began,
        "seconds": done - opened,
        "processor_seconds": used - spent,
        "auc": row.auc.mean,
        "tpr": {str(r.fpr): r.tpr.mean for r in row.rates},
        "pooled_tpr": {str(r.fpr): r.tpr.mean for r in row.pooled},
        "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "anonymous_bytes": anonymous.most,
        "copy_gb_s": copy_rate(),
    }


def score(folder: Path) -> dict[str, Any]:
    """`seepage.score` of a few targets, in one pass."""
    with Anonymous() as anonymous:
        run = seepage.open(folder)
        assert len(run.member)
        began, spent = time.perf_counter(), time.process_time()
        run.compare([("phi", 0)])
        compared = time.perf_counter()
        scores = seepage.score(run, seepage.attacks.LiRA(), targets=range(_ROWS))
        done, used = time.perf_counter(), time.process_time()
    return {
        "name": f"score of {len(scores)} targets, LiRA as by default",
        "comparing_seconds": compared - began,
        "seconds": done - compared,
        "processor_seconds": used - spent,
        "rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "anonymous_bytes": anonymous.most,
        "copy_gb_s": copy_rate(),
    }


def main() -> None:
    """Write the folder, run each command in an interpreter of its own, remove it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--models", type=int, default=256)
    parser.add_argument(
        "--place", type=Path, help="where the folder is written for the time of this"
    )
    parser.add_argument("--folder", type=Path, help="one that is there already, which stays")
    parser.add_argument("--under", default="", help="a command to run each under, such as taskset")
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--run", choices=("StudentT", "PerSample", "score"), help="this alone, as JSON"
    )
    a = parser.parse_args()
    if a.run:
        # What is kept of an earlier run would be looked up and not computed.
        os.environ["SEEPAGE_COMPUTED"] = "off"
        print(json.dumps(score(a.folder) if a.run == "score" else attack(a.folder, a.run)))
        return
    from seepage.fleet.machine import hardware

    with tempfile.TemporaryDirectory(dir=a.place) as scratch:
        folder = a.folder or Path(scratch) / "run"
        if a.folder is None:
            make(folder, a.samples, a.models)
        command = [sys.executable, "-m", "benchmarks.ten_million", "--folder", str(folder), "--run"]
        rows = []
        for what in ("StudentT", "PerSample", "score"):
            whole = [*shlex.split(a.under), *command, what]
            told = subprocess.run(whole, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(told.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
        shape = seepage.open(folder).member.shape
    result = {
        "hardware": hardware(),
        "samples": shape[1],
        "models": shape[0],
        "signal_bytes": 4 * shape[0] * shape[1],
        "threads": threads(),
        "load": os.getloadavg()[1],
        "rows": rows,
    }
    if a.out:
        a.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
