"""Cost of input curvature, in forward passes of the same model over the same batches.

    python -m benchmarks.curvature [--rounds 5] [--out benchmarks/results/curvature.json]
    python -m benchmarks.curvature --only exact "published loop n=10"

One thread, CPU time. In every round the forward pass and all estimators run one after another,
so that a busy machine weighs on both sides of a ratio; the median over rounds is reported. Times
are of `curvature(...)` as users call it, its checks of the model included. "forward" is the plain
evaluation of the model as it was built; "fastest" the same with images laid out channels last,
which is what the estimators use where they can.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

from seepage.curvature import (
    ExactGaussNewton,
    FiniteDifference,
    Hutchinson,
    LogitProbes,
    Shared,
    ZerothOrder,
    curvature,
)
from seepage.models import build

CASES = (
    # model, shape, classes, batch, target for the exact estimator
    ("cnn-2", (1, 28, 28), 10, 64, 8.0),
    ("cnn-2", (3, 32, 32), 10, 64, 8.0),
    ("wrn-16-2", (3, 32, 32), 10, 16, 13.0),
)
BATCHES = 2
ESTIMATORS = {
    "exact": ExactGaussNewton(),
    "logit probes n=5": ExactGaussNewton(LogitProbes(5)),
    "hutchinson n=10": Hutchinson(10),
    "finite difference n=10": FiniteDifference(n=10),
    "zeroth order n=10, float32": ZerothOrder(precision=torch.float32),
    "zeroth order n=10, float64": ZerothOrder(),
    "zeroth order n=10, u=v, float64": ZerothOrder(directions=Shared()),
}


def published_loop(model: nn.Module, x: torch.Tensor, y: torch.Tensor, n: int, h: float) -> None:
    """The white-box estimator step by step as the papers' code does it, parameters and all."""
    draw = torch.Generator().manual_seed(0)
    for _ in range(n):
        v = h * (torch.randint(0, 2, x.shape, generator=draw) * 2.0 - 1.0)
        leaf = x.clone().requires_grad_()
        ahead = nn.functional.cross_entropy(model(leaf + v), y)
        (ahead - nn.functional.cross_entropy(model(leaf), y)).backward()
        assert leaf.grad is not None
        leaf.grad.flatten(1).norm(dim=1)
    model.zero_grad()


def cpu_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    batch: int,
    rounds: int,
    only: list[str] | None = None,
) -> dict[str, object]:
    """Medians over rounds of every cost in forward passes, or of those in `only`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(name, shape, classes).eval()
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((BATCHES * batch, *shape), dtype=np.float32))
    y = torch.from_numpy(rng.integers(0, classes, len(x)))

    def forward(inputs: torch.Tensor) -> None:
        with torch.no_grad():
            for part in inputs.split(batch):
                model(part)

    def loop() -> None:
        for part, labels in zip(x.split(batch), y.split(batch), strict=True):
            published_loop(model, part, labels, 10, 1e-3)

    runs: dict[str, Callable[[], object]] = {
        label: lambda e=e: curvature(  # type: ignore[misc]
            model, x, y, e, batch=batch, generator=np.random.default_rng(0)
        )
        for label, e in ESTIMATORS.items()
    }
    runs["published loop n=10"] = loop
    if only is not None:
        runs = {label: runs[label] for label in only}
    fast = x.clone(memory_format=torch.channels_last)  # contiguous() keeps one channel as it is
    for run in (lambda: forward(x), lambda: forward(fast), *list(runs.values())[:1]):
        run()  # first calls choose kernels
    times: dict[str, list[float]] = {label: [] for label in ("forward", "fastest", *runs)}
    for _ in range(rounds):
        times["forward"].append(cpu_seconds(lambda: forward(x)))
        times["fastest"].append(cpu_seconds(lambda: forward(fast)))
        for label, run in runs.items():
            times[label].append(cpu_seconds(run))
    return {
        "model": name,
        "shape": shape,
        "classes": classes,
        "batch": batch,
        "forward_ms_per_batch": 1e3 * median(times["forward"]) / BATCHES,
        "fastest_forward_ms_per_batch": 1e3 * median(times["fastest"]) / BATCHES,
        "in_forwards": {
            label: median(a / b for a, b in zip(times[label], times["forward"], strict=True))
            for label in runs
        },
        "in_fastest_forwards": {
            label: median(a / b for a, b in zip(times[label], times["fastest"], strict=True))
            for label in runs
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of input curvature in forward passes.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/curvature.json"))
    labels = [*ESTIMATORS, "published loop n=10"]
    parser.add_argument("--only", nargs="+", choices=labels, help="some costs instead of all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    cases = []
    for name, shape, classes, batch, target in CASES:
        case = measure(name, shape, classes, batch, options.rounds, options.only)
        cases.append({**case, "target_exact": target})
        print(f"{name} {shape} batch {batch}: forward {case['forward_ms_per_batch']:.1f} ms, "
              f"fastest {case['fastest_forward_ms_per_batch']:.1f} ms")  # fmt: skip
        plain, fastest = case["in_forwards"], case["in_fastest_forwards"]
        for label in plain:
            print(f"  {label:32s} {plain[label]:7.1f} forwards {fastest[label]:7.1f} fastest")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps(
            {
                "command": f"python -m benchmarks.curvature --rounds {options.rounds}"
                + "".join(
                    f' "{label}"' if i else f' --only "{label}"'
                    for i, label in enumerate(options.only or [])
                ),
                "threads": 1,
                "clock": "CPU time of the process",
                "processor": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "torch": torch.__version__,
                "cases": cases,
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
