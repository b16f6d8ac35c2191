"""What this machine does fastest, measured for a moment instead of guessed."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

from seepage.config.model import Model, as_model
from seepage.config.recipe import Recipe
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet import optim
from seepage.models.fused import fused_layers
from seepage.native.library import kernels_in_words
from seepage.record import Resident

__all__ = [
    "choose_device",
    "choose_precision",
    "diagnose",
    "hardware",
    "matrix_peak",
    "step_seconds",
    "versions",
]

_GAIN = 0.9
"""Share of a float32 step's time below which bfloat16 is taken."""


def choose_device(asked: str) -> str:
    """ "auto" is the GPU when there is one."""
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked not in ("cpu", "cuda"):
        raise InputError(f"device: expected 'auto', 'cpu' or 'cuda', got {asked!r}")
    if asked == "cuda" and not torch.cuda.is_available():
        raise InputError("device: expected a CUDA device, got none; use 'cpu' or 'auto'")
    return asked


def step_seconds(
    ref: Model,
    in_shape: tuple[int, ...],
    classes: int,
    recipe: Recipe,
    precision: str,
    device: str,
    budget: float = 0.5,
    *,
    rounding: bool = False,
) -> float:
    """Median seconds of a training step on random data, one thread on a CPU.

    rounding: with layers that are torch's within rounding, as the backend "fused" has them.
    """
    step = _training_step(ref, in_shape, classes, recipe, precision, device, rounding=rounding)
    return _median_seconds([step], device, budget)[0]


def _training_step(
    ref: Model,
    in_shape: tuple[int, ...],
    classes: int,
    recipe: Recipe,
    precision: str,
    device: str,
    *,
    rounding: bool = False,
) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(recipe.batch, *in_shape, generator=generator).to(device)
    y = torch.randint(classes, (recipe.batch,), generator=generator).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ref.make(in_shape, classes).to(device)
    if len(in_shape) == 3:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = x.contiguous(memory_format=torch.channels_last)
    optimizer = optim.make(recipe, model)

    def step() -> None:
        half = torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
        with half, fused_layers(rounding=rounding):
            logits = model(x)
        told = logits.float()
        plain = ref.task in ("classification", "binary")
        loss = nn.functional.cross_entropy(told, y) if plain else told.square().mean()
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _median_seconds(
    steps: Sequence[Callable[[], None]],
    device: str,
    budget: float,
    clear: Callable[[Sequence[float]], bool] = lambda medians: False,
) -> list[float]:
    """Median seconds of each of several steps, in turns, so that what else runs slows all alike.

    Until each has had `budget` seconds, or a fifth of them and what was found is `clear`.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for step in steps:
            step()
        times: list[list[float]] = [[] for _ in steps]
        began, budget = time.perf_counter(), budget * len(steps)
        while len(times[0]) < 3 or time.perf_counter() - began < budget:
            for step, taken in zip(steps, times, strict=True):
                if device == "cuda":
                    torch.cuda.synchronize()
                at = time.perf_counter()
                step()
                if device == "cuda":
                    torch.cuda.synchronize()
                taken.append(time.perf_counter() - at)
            enough = len(times[0]) >= 9 and time.perf_counter() - began > budget / 5
            if enough and len(times[0]) % 9 == 0 and clear([float(np.median(t)) for t in times]):
                break
        return [float(np.median(t)) for t in times]
    finally:
        torch.set_num_threads(threads)


def choose_precision(
    ref: Model,
    in_shape: tuple[int, ...],
    classes: int,
    recipe: Recipe,
    device: str,
) -> tuple[str, dict[str, float]]:
    """Precision of the fleet and the seconds a step took in each: bf16 only where it is faster.

    A network that bfloat16 cannot run at all is trained in float32.
    """
    if recipe.precision != "auto":
        return recipe.precision, {}
    steps = [_training_step(ref, in_shape, classes, recipe, p, device) for p in ("fp32", "bf16")]
    try:
        fp32, bf16 = _median_seconds(steps, device, 0.5, _far_apart)
    except RuntimeError:
        return "fp32", {"fp32": round(_median_seconds(steps[:1], device, 0.1)[0], 6)}
    # A tie goes to float32: nothing is gained by rounding.
    return ("bf16" if bf16 < _GAIN * fp32 else "fp32"), {
        "fp32": round(fp32, 6),
        "bf16": round(bf16, 6),
    }


def _far_apart(medians: Sequence[float]) -> bool:
    fp32, bf16 = medians
    return abs(bf16 / fp32 - _GAIN) > 0.15


def hardware() -> dict[str, Any]:
    """The machine, as far as it explains a figure."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": gpu,
        "system": platform.system(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Python and the libraries that decide a number."""
    found = {"python": platform.python_version()}
    for name in ("seepage", "torch", "numpy", "scipy", "zarr", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "source"
    return found


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


def _gather_rate(data: Dataset, batch: int, crop: int, flip: bool) -> float:
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
    ref = as_model(model).for_task(data.task)
    classes = len(data.classes)
    rows = [
        ("processor", f"{machine['processor']}, {machine['cores']} cores"),
        ("memory", f"{machine['memory_gib']} GiB"),
        ("GPU", str(machine["gpu"] or "none")),
        ("vector instructions", machine["capability"]),
        ("kernels", kernels_in_words()),
    ]
    peaks = {p: matrix_peak(p) for p in ("fp32", "bf16")}
    rows += [(f"matrix product, {p}, 1 thread", f"{v:.0f} GFLOP/s") for p, v in peaks.items()]
    seconds = {p: step_seconds(ref, data.shape, classes, recipe, p, device) for p in peaks}
    for p, s in seconds.items():
        rows.append((f"training {ref.name}, {p}, {device}", f"{recipe.batch / s:,.0f} samples/s"))
    rate = _gather_rate(data, recipe.batch, recipe.crop, recipe.flip)
    rows.append(("cutting batches", f"{rate:,.0f} samples/s"))
    fastest = "bf16" if seconds["bf16"] < _GAIN * seconds["fp32"] else "fp32"
    chosen = recipe.precision if recipe.precision != "auto" else f"{fastest} (measured)"
    rows.append(("precision chosen", chosen))
    workers = 1 if device == "cuda" else machine["cores"]
    rows.append(("workers chosen", f"{workers} processes of one thread"))
    return rows
