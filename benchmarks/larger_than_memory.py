"""One epoch over a pool larger than memory: time, what was read, and the memory of every process.

    python -m benchmarks.larger_than_memory [--gigabytes 30] [--side 64] [--workers 2] [--out FILE]

Writes random bytes as coloured images, trains two complementary runs of a perceptron on half of them
each, one epoch in shuffled order, and evaluates every image once. Memory is what each process reached
at most: VmHWM, and RssAnon, which leaves out mapped files such as libraries; the kernel's cache of the
file is neither. What was read is `read_bytes` of /proc/PID/io, from the disk and not from that cache.
Then batches are read with and without asking for the next ones early, three times each, in turn, from
a file that the kernel was told to forget.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

CLASSES = 10
_AT_ONCE = 2**26
_STEPS = 150


def write(folder: Path, samples: int, side: int) -> float:
    """inputs.npy (N, side, side, 3) of random bytes and labels.npy; seconds."""
    began = time.perf_counter()
    rng = np.random.default_rng(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (samples, side, side, 3)}
    left = samples * side * side * 3
    with (folder / "inputs.npy").open("wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        while left:
            left -= out.write(rng.bytes(min(left, _AT_ONCE)))
        out.flush()
        os.fsync(out.fileno())
    np.save(folder / "labels.npy", rng.integers(0, CLASSES, samples))
    return time.perf_counter() - began


def forget(path: Path) -> None:
    """Ask the kernel to drop its cache of a file."""
    with path.open("rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Watch:
    """The most memory that this process and its workers had, and what they read from disk."""

    def __init__(self) -> None:
        self.most: dict[int, dict[str, int]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._end.wait(0.2):
            for process in (me, *me.children(recursive=True)):
                # A process may end while it is looked at.
                with contextlib.suppress(OSError):
                    self._see(process.pid)

    def _see(self, pid: int) -> None:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        told = dict(line.split(":", 1) for line in status if ":" in line)
        now = {k: int(told[k].split()[0]) * 1024 for k in ("VmHWM", "RssAnon") if k in told}
        counted = dict(
            line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines()
        )
        now["read"] = int(counted["read_bytes"])
        most = self.most.setdefault(pid, {})
        for key, value in now.items():
            most[key] = max(value, most.get(key, 0))


def train(folder: Path, workers: int) -> dict[str, Any]:
    """Load, train one epoch, evaluate once; seconds by part and the memory of every process."""
    import seepage

    forget(folder / "inputs.npy")
    clock = [time.perf_counter()]
    with Watch() as watch:
        whole = (folder / "inputs.npy").stat().st_size < psutil.virtual_memory().total
        # By itself where it is larger than memory; a smaller one, tried with less, is told to.
        data = seepage.load(folder, mapped=True if whole else None)
        assert data.file is not None
        clock.append(time.perf_counter())
        digest = data.digest
        clock.append(time.perf_counter())
        plan = seepage.half_split(len(data), models=2, seed=0)
        run = seepage.train(
            data,
            plan,
            model="mlp",
            model_options={"hidden": (32,)},
            recipe=seepage.Recipe(epochs=1, batch=256, precision="fp32"),
            checkpoints=[1],
            signals=("loss", "phi"),
            backend="process",
            workers=workers,
            out=folder / "run",
        )
        clock.append(time.perf_counter())
    me = watch.most.pop(os.getpid())
    records = [run.records[r] for r in run.models.tolist()]
    return {
        "digest": digest,
        "load_seconds": clock[1] - clock[0],
        "digest_seconds": clock[2] - clock[1],
        "train_seconds": clock[3] - clock[2],
        "run_seconds": [r["seconds"] for r in records],
        "look_seconds": [r["looking"] for r in records],
        "members": [r["members"] for r in records],
        "main": me,
        "workers": [m for m in watch.most.values() if m.get("read", 0) > 2**27],
    }


def early(folder: Path) -> dict[str, list[float]]:
    """Seconds of steps from a cold file, by batches that are asked for early; in turn."""
    import torch

    import seepage
    from seepage.fleet import feed
    from seepage.record import Resident

    torch.set_num_threads(1)
    data = seepage.load(folder, mapped=True)
    pool = Resident.of(data)
    scale = data.member_scale(np.arange(1000))
    recipe = seepage.Recipe(epochs=1, batch=256)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(data.shape)), 64),
                                  torch.nn.ReLU(), torch.nn.Linear(64, CLASSES))  # fmt: skip
    found: dict[str, list[float]] = {}
    for turn in range(3):
        for ahead in (0, 2):
            feed.AHEAD = ahead
            forget(folder / "inputs.npy")
            batches = feed.Feed(pool, np.arange(len(data)), recipe, 10 * turn + ahead, scale)
            began = time.perf_counter()
            for step, (x, y) in enumerate(batches.batches(0)):
                loss = torch.nn.functional.cross_entropy(network(x), y)
                torch.autograd.backward(loss)
                if step + 1 == _STEPS:
                    break
            found.setdefault(str(ahead), []).append((time.perf_counter() - began) / (step + 1))
    return found


def main() -> None:
    """Write the pool, train on it in a process of its own, remove it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=30.0)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--place", type=Path, help="where the pool is written for the time of this")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--train", type=Path, help="train on this pool, print JSON, nothing else")
    a = parser.parse_args()
    if a.train:
        print(json.dumps(train(a.train, a.workers) | {"step_seconds": early(a.train)}))
        return
    from seepage.fleet.machine import hardware

    samples = int(a.gigabytes * 1e9) // (3 * a.side**2)
    with tempfile.TemporaryDirectory(dir=a.place) as scratch:
        folder = Path(scratch)
        row: dict[str, Any] = {
            "name": "one epoch of two runs over a pool in its file",
            "samples": samples,
            "side": a.side,
            "bytes": samples * 3 * a.side**2,
            "worker_count": a.workers,
            "write_seconds": write(folder, samples, a.side),
        }
        command = [sys.executable, "-m", "benchmarks.larger_than_memory", "--train", str(folder)]
        told = subprocess.run(
            [*command, "--workers", str(a.workers)], stdout=subprocess.PIPE, text=True, check=True
        )
        row |= json.loads(told.stdout.splitlines()[-1])
    print(json.dumps(row, indent=1))
    if a.out:
        a.out.write_text(json.dumps({"hardware": hardware(), "rows": [row]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
