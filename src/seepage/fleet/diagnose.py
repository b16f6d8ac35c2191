"""What this machine does with a configuration, measured: behind `seepage doctor`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from seepage.config.model import Model, as_model
from seepage.config.recipe import Recipe
from seepage.data import Dataset
from seepage.fleet.choose import choose_device, hardware, step_seconds
from seepage.record import Resident

__all__ = ["diagnose", "gather_rate", "matrix_peak"]


def matrix_peak(precision: str, device: str = "cpu", size: int = 2048, repeats: int = 5) -> float:
    """Best rate of a square matrix product in GFLOP/s, one thread on a CPU."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(size, size, generator=generator).to(device, dtype)
    b = torch.randn(size, size, generator=generator).to(device, dtype)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        best = float("inf")
        for _ in range(repeats + 1):
            at = time.perf_counter()
            torch.mm(a, b)
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - at)
    finally:
        torch.set_num_threads(threads)
    return 2 * size**3 / best / 1e9


def gather_rate(data: Dataset, batch: int, crop: int, flip: bool) -> float:
    """Samples per second of cutting normalised batches from the resident pool."""
    pool = Resident.of(data)
    rng = np.random.default_rng(0)
    scale = data.member_scale(np.arange(len(data)))
    moves: dict[str, Any] = {}
    if pool.image and crop:
        moves = {
            "dy": rng.integers(-crop, crop + 1, batch),
            "dx": rng.integers(-crop, crop + 1, batch),
        }
    if pool.image and flip:
        moves["flip"] = rng.random(batch) < 0.5
    rows = rng.integers(0, len(data), size=batch)
    pool.batch(rows, *scale, **moves)
    times = []
    for _ in range(20):
        at = time.perf_counter()
        pool.batch(rows, *scale, **moves)
        times.append(time.perf_counter() - at)
    return batch / float(np.median(times))


def diagnose(data: Dataset, model: Model, recipe: Recipe) -> list[tuple[str, str]]:
    """Rows of (what, measured) for a configuration on this machine."""
    machine = hardware()
    device = choose_device("auto")
    ref = as_model(model)
    classes = len(data.classes)
    rows = [
        ("processor", f"{machine['processor']}, {machine['cores']} cores"),
        ("memory", f"{machine['memory_gib']} GiB"),
        ("GPU", str(machine["gpu"] or "none")),
        ("vector instructions", machine["capability"]),
    ]
    peaks = {p: matrix_peak(p) for p in ("fp32", "bf16")}
    rows += [(f"matrix product, {p}, 1 thread", f"{v:.0f} GFLOP/s") for p, v in peaks.items()]
    seconds = {p: step_seconds(ref, data.shape, classes, recipe, p, device) for p in peaks}
    for p, s in seconds.items():
        rows.append((f"training {ref.name}, {p}, {device}", f"{recipe.batch / s:,.0f} samples/s"))
    rate = gather_rate(data, recipe.batch, recipe.crop, recipe.flip)
    rows.append(("cutting batches", f"{rate:,.0f} samples/s"))
    fastest = "bf16" if seconds["bf16"] < 0.9 * seconds["fp32"] else "fp32"
    chosen = recipe.precision if recipe.precision != "auto" else f"{fastest} (measured)"
    rows.append(("precision chosen", chosen))
    workers = 1 if device == "cuda" else machine["cores"]
    rows.append(("workers chosen", f"{workers} processes of one thread"))
    return rows
