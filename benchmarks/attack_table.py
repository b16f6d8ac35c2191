"""How long the table of closed-form attacks takes: every one on 50,000 samples of 64 models.

    python -m benchmarks.attack_table [--samples 50000] [--models 64] [--repeats 5] [--out table.json]

Every attack that audits run unasked, all targets once, with AUC and TPR at 1 % and 0.1 % of each:
seconds by the clock and of the processor, medians after one warm-up, with the load of the machine
before and after, since a clock counts what runs beside. Signals are given; attacks on curvature
find it measured. Left out is what reads several checkpoints.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.scoring import make
from seepage.attacks import Attack, usual
from seepage.metrics import operating_points
from seepage.native.library import level, threads

__all__ = ["closed_forms", "main", "table_seconds"]

FPRS = (0.01, 0.001)
CLASSES = 10


def closed_forms() -> list[Attack]:
    """Attacks that audits run unasked on one checkpoint."""
    return [a for a in usual() if not a.trajectory]


def signals(models: int, samples: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
    """Those of `benchmarks.scoring`, and the entropy, the classes and curvature."""
    found, member = make(models, samples)
    rng = np.random.default_rng(1)
    found["entropy"] = (found["loss"] + rng.exponential(0.1, member.shape)).astype(np.float32)
    noise = rng.standard_normal(member.shape, dtype=np.float32)
    found["curvature_zo"] = np.exp(0.5 * noise - 0.7 * found["phi"])
    classes = rng.integers(0, CLASSES, samples)
    return found | {"labels": np.broadcast_to(classes, member.shape)}, member


def timed(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median seconds by the clock and of the processor."""
    call()
    wall, processor = [], []
    for _ in range(repeats):
        clock, spent = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - clock)
        processor.append(time.process_time() - spent)
    return statistics.median(wall), statistics.median(processor)


def table_seconds(models: int, samples: int, repeats: int) -> list[dict[str, Any]]:
    """A row per attack: name, seconds, processor seconds."""
    found, member = signals(models, samples)
    rows = []
    for attack in closed_forms():
        given = {k: found[k] for k in attack.requires}

        def call(a: Attack = attack, g: dict[str, NDArray[Any]] = given) -> None:
            operating_points(a.leave_one_out(g, member), member, FPRS)

        wall, processor = timed(call, repeats)
        rows.append({"name": attack.name, "seconds": wall, "processor_seconds": processor})
    return rows


def main(argv: list[str] | None = None) -> None:
    """Print the table and, with --out, write it as JSON with the machine it was made on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    before = os.getloadavg()[0]
    rows = table_seconds(args.models, args.samples, args.repeats)
    load = [round(before, 2), round(os.getloadavg()[0], 2)]
    used = threads()
    print(f"{args.samples} samples x {args.models} models, {used} threads, load {load}")
    print(f"{'':32}{'seconds':>9}{'processor':>11}")
    total = {k: sum(row[k] for row in rows) for k in ("seconds", "processor_seconds")}
    for row in [*rows, {"name": "all", **total}]:
        print(f"{row['name']:32}{row['seconds']:9.3f}{row['processor_seconds']:11.3f}")
    if args.out:
        machine = {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": used,
            "level": level(),
            "load": load,
            "samples": args.samples,
            "models": args.models,
            "repeats": args.repeats,
        }
        content = {"machine": machine, "rows": rows, "all": total}
        args.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
