"""Leave-one-out LiRA over 100 checkpoints, streamed from a run folder: time and peak memory.

The folder is made of synthetic signals first (not timed); then a fresh interpreter scores every
checkpoint, all targets each, and reports its own peak.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import seepage
from seepage.fleet.machine import hardware


def make(folder: Path, samples: int, models: int, checkpoints: int) -> None:
    """A run folder of `phi` alone, written chunk by chunk as a fleet would."""
    import torch

    from seepage.data import from_arrays
    from seepage.fleet.folder import create
    from seepage.fleet.sink import StoreSink
    from seepage.store.evidence import stamp
    from seepage.store.storage import Storage

    rng = np.random.default_rng(0)
    plan = seepage.half_split(samples, models=models, seed=0)
    data = from_arrays(torch.zeros(samples, 1).numpy() + rng.random((samples, 1)).astype("f4"),
                       rng.integers(0, 10, samples), name="synthetic")  # fmt: skip
    storage = Storage(folder, write=True)
    times = [float(t) for t in range(checkpoints)]
    shapes = {"phi": ((samples,), "float32")}
    manifest = create(storage, data, plan, {}, {}, times, shapes, ["identity"], {})
    noise = rng.normal(size=(8, samples)).astype(np.float32)
    for row in range(models):
        members = plan.member[row]
        sink = StoreSink(storage, row, ("phi",), checkpoints, "none", members, stamp(manifest))
        for t in range(checkpoints):
            phi = np.roll(noise[(row + t) % 8], 97 * row + t) + plan.member[row] * (t / checkpoints)
            sink.write(t, {"phi": phi.astype(np.float32)})
        sink.done(seconds=0.0, looking=0.0, steps=0, members=int(plan.member[row].sum()))


def score(folder: Path) -> dict[str, Any]:
    """Score every checkpoint of the folder; seconds, and this process's peak in MiB."""
    run = seepage.open(folder)
    attack = seepage.attacks.LiRA()
    small = np.ones((8, 64), np.float32) * np.arange(64, dtype=np.float32)
    attack.leave_one_out(small, seepage.half_split(64, models=8).member)
    member = run.member
    began = time.perf_counter()
    aucs = []
    for t in range(len(run.checkpoints)):
        scores = attack.leave_one_out(run.signal_at("phi", t), member)
        aucs.append(float(seepage.metrics.auc(scores[0], member[0])))
    return {
        "seconds": time.perf_counter() - began,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "auc_first_last": [aucs[0], aucs[-1]],
    }


def main() -> None:
    """Make the folder, score it in a fresh interpreter, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--models", type=int, default=256)
    parser.add_argument("--checkpoints", type=int, default=100)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--score", type=Path, help="score this folder, print JSON, nothing else")
    a = parser.parse_args()
    if a.score:
        print(json.dumps(score(a.score)))
        return
    folder = Path(tempfile.mkdtemp(prefix="streaming-"))
    try:
        began = time.perf_counter()
        make(folder / "run", a.samples, a.models, a.checkpoints)
        written = time.perf_counter() - began
        command = [sys.executable, "-m", "benchmarks.streaming", "--score", str(folder / "run")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = {
            "name": f"LiRA as by default, all targets, {a.checkpoints} checkpoints from disk",
            "samples": a.samples,
            "models": a.models,
            "checkpoints": a.checkpoints,
            "writing_seconds": written,
            **json.loads(done.stdout),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(row)
    if a.out:
        a.out.write_text(json.dumps({"hardware": hardware(), "rows": [row]}, indent=1))


if __name__ == "__main__":
    main()
