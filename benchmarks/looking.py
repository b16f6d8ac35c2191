"""What a look costs: a checkpoint of a Recorder beside its forward passes, and an expert's evaluation.

    python -m benchmarks.looking [--samples 10000 --out FILE]

cnn-2 on images of Fashion-MNIST's shape, channels-last, one thread, processor time, alternated,
medians, in the environment of a worker of a fleet (large blocks of memory stay in the heap, for the
expert as well). `look` is everything that happens at a checkpoint in memory: inputs, forward
passes, signals, checks. `own passes` are the network's forward passes in it, as the Recorder makes
them. `expert` is `model.eval()` without gradients on resident normalised inputs, batch by batch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seepage.data import from_arrays
from seepage.fleet.fork_server import ENVIRONMENT
from seepage.fleet.machine import hardware
from seepage.models import build
from seepage.models.fused import fused_layers
from seepage.record import Memory, Recorder, Resident

BATCH = 512


def measure(samples: int, repeats: int, precision: str) -> dict[str, Any]:
    """Medians of processor seconds, and their ratios."""
    rng = np.random.default_rng(0)
    data = from_arrays(
        rng.integers(0, 256, (samples, 1, 28, 28)).astype(np.uint8), rng.integers(0, 10, samples)
    )
    pool, scale = Resident.of(data), data.member_scale(np.arange(samples))
    torch.manual_seed(0)
    network = build("cnn-2", data.shape, 10).to(memory_format=torch.channels_last).eval()
    x = torch.cat([pool.batch(r, *scale) for r in np.array_split(np.arange(samples), 20)])
    x = x.contiguous(memory_format=torch.channels_last)
    found: dict[str, list[float]] = {"look": [], "own passes": [], "expert": []}
    for _ in range(repeats + 1):
        recorder = Recorder(pool, [0], Memory(), scale=scale, precision=precision, batch=BATCH)
        at = time.process_time()
        recorder.start(network, steps_per_epoch=1)
        found["look"].append(time.process_time() - at)
        for name, fused in (("own passes", True), ("expert", False)):
            at = time.process_time()
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):  # fmt: skip
                for part in torch.split(x, BATCH):
                    if fused:
                        with fused_layers():
                            network(part)
                    else:
                        network(part)
            found[name].append(time.process_time() - at)
    told = {k: statistics.median(v[1:]) for k, v in found.items()}
    return {
        "name": f"a look at {samples:,} samples, cnn-2, {precision}",
        "seconds": told,
        "look_to_own_passes": told["look"] / told["own passes"],
        "expert_to_own_passes": told["expert"] / told["own passes"],
        "expert_to_look": told["expert"] / told["look"],
        "all": found,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    a = parser.parse_args()
    if any(os.environ.get(k) != v for k, v in ENVIRONMENT.items()):
        os.execve(
            sys.executable,
            [sys.executable, "-m", "benchmarks.looking", *sys.argv[1:]],
            os.environ | ENVIRONMENT,
        )
    torch.set_num_threads(1)
    rows = [measure(a.samples, a.repeats, p) for p in ("bf16", "fp32")]
    for r in rows:
        print(
            f"{r['name']}: {r['look_to_own_passes']:.2f} of its passes; an expert's passes are "
            f"{r['expert_to_own_passes']:.2f} of them and {r['expert_to_look']:.2f} of the look"
        )
    if a.out:
        a.out.write_text(json.dumps({"hardware": hardware(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
