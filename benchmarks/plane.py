"""Time and memory of all population metrics at full size, beyond the scoring.

    python benchmarks/plane.py [--samples 50000 --models 128 --checkpoints 50 --replicates 200]

Writes benchmarks/results/plane.json. On a busy machine read the CPU seconds: the work runs on all
cores that the process may use.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seepage.plan import half_split, permute_membership
from seepage.plane import (
    Bootstrap,
    Trajectories,
    early_determination,
    find_clusters,
    points,
)

OUT = Path(__file__).parent / "results" / "plane.json"


def synthetic(samples: int, models: int, checkpoints: int, seed: int = 0) -> Trajectories:
    """Decisions of an attack that gets better over training, and a null draw."""
    rng = np.random.default_rng(seed)
    plan = half_split(samples, models=models, seed=seed)
    null = permute_membership(plan.member, rng)
    lasting = rng.standard_normal(plan.member.shape, dtype=np.float32)
    strength = rng.exponential(1.0, samples).astype(np.float32)
    width = -(-samples // 8)
    paths = []
    for member in (plan.member, null):
        fpr, tpr = np.empty((checkpoints, samples)), np.empty((checkpoints, samples))
        packed = np.empty((checkpoints, models, width), dtype=np.uint8)
        turns = np.zeros((2, checkpoints - 1, samples), dtype=np.uint16)
        last = None
        for t in range(checkpoints):
            noise = rng.standard_normal(member.shape, dtype=np.float32)
            push = strength * (t / checkpoints) * (plan.member - np.float32(0.5))
            decisions = lasting + noise + push >= 0
            p = points(decisions, member)
            fpr[t], tpr[t], packed[t] = p.fpr, p.tpr, np.packbits(decisions, axis=1)
            if last is not None:
                turned = decisions ^ last
                turns[0, t - 1] = (turned & member).sum(axis=0)
                turns[1, t - 1] = (turned & ~member).sum(axis=0)
            last = decisions
        paths.append(
            Trajectories(
                np.arange(checkpoints, dtype=float),
                fpr,
                tpr,
                member.sum(axis=0),
                (~member).sum(axis=0),
                np.full(checkpoints, np.nan),
                member,
                packed,
                *turns,
            )
        )
    return Trajectories(**{**vars(paths[0]), "null": (paths[1],)})


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(name: str, work: Callable[[], object]) -> dict[str, Any]:
    """Wall and CPU seconds, and the process's largest resident memory after it."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "name": name,
        "wall_s": round(time.perf_counter() - wall, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "peak_mib": round(peak_mib()),
    }


def measure(samples: int, models: int, checkpoints: int, replicates: int) -> dict[str, Any]:
    """All population metrics with intervals and null, early determination, and clusters."""
    bootstrap = Bootstrap(replicates)
    small = synthetic(64, 8, 3)  # compile first
    small.population(bootstrap=Bootstrap(2))
    early_determination(small, bootstrap=Bootstrap(2))
    paths = synthetic(samples, models, checkpoints)
    return {
        "samples": samples,
        "models": models,
        "checkpoints": checkpoints,
        "replicates": replicates,
        "null_draws": len(paths.null),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "peak_mib_before": round(peak_mib()),
        "rows": [
            timed("population", lambda: paths.population(bootstrap=bootstrap)),
            timed("early determination", lambda: early_determination(paths, bootstrap=bootstrap)),
            timed(
                "clusters (k-means) of the last checkpoint and its null",
                lambda: [
                    find_clusters(p.points(), np.random.default_rng(0))
                    for p in (paths, *paths.null)
                ],
            ),
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--models", type=int, default=128)
    parser.add_argument("--checkpoints", type=int, default=50)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--out", type=Path, default=OUT)
    sizes = vars(parser.parse_args())
    out: Path = sizes.pop("out")
    result = measure(**sizes)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
