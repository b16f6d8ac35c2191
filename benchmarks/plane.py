"""Time and memory of all population metrics at full size, beyond the scoring.

Run: python benchmarks/plane.py [--samples 50000 --models 128 --checkpoints 50 --replicates 200]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from typing import Any

import numpy as np

from seepage.plan import half_split, permute_membership
from seepage.plane import Bootstrap, Trajectories, points


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


def measure(samples: int, models: int, checkpoints: int, replicates: int) -> dict[str, Any]:
    """All population metrics with intervals and null: wall and CPU seconds, peak memory."""
    synthetic(64, 8, 3).population(bootstrap=Bootstrap(2))  # compile first
    paths = synthetic(samples, models, checkpoints)
    before = peak_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    population = paths.population(bootstrap=Bootstrap(replicates))
    seconds, work = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "name": "plane.population",
        "samples": samples,
        "models": models,
        "checkpoints": checkpoints,
        "replicates": replicates,
        "null_draws": len(paths.null),
        "cores": len(os.sched_getaffinity(0)),
        "wall_s": round(seconds, 2),
        "cpu_s": round(work, 2),
        "peak_mib": round(peak_mib()),
        "peak_mib_before": round(before),
        "mean_speed": float(population.mean_speed.value),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--models", type=int, default=128)
    parser.add_argument("--checkpoints", type=int, default=50)
    parser.add_argument("--replicates", type=int, default=200)
    print(json.dumps(measure(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
