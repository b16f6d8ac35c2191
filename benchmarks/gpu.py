"""Fleets on one GPU: how many models side by side pay, and 64 ResNet-9 on CIFAR-10 as a whole."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import seepage
from benchmarks.training import flops
from seepage.fleet import graphs
from seepage.fleet.machine import hardware, matrix_peak


def rate(
    data: seepage.Dataset,
    model: str,
    backend: str,
    models: int,
    epochs: int,
    batch: int,
    **recipe: Any,
) -> dict[str, Any]:
    """Samples per second of one worker with `models` models, training only."""
    plan = seepage.half_split(len(data), models=models, seed=0)
    out = Path(tempfile.mkdtemp(prefix="bench-"))
    began = time.perf_counter()
    try:
        run = seepage.train(
            data, plan, model=model, backend=backend, device="cuda", out=out, keep="none",
            checkpoints=[0], recipe=seepage.Recipe(epochs=epochs, batch=batch, **recipe),
        )  # fmt: skip
        records = run.records.values()
        busy = sum(r["seconds"] - r["looking"] for r in records)
        seen = sum(r["steps"] for r in records) * batch
        return {
            "samples_per_second": seen / busy,
            "wall": time.perf_counter() - began,
            "precision": run.manifest["chosen"]["precision"],
        }
    finally:
        shutil.rmtree(out, ignore_errors=True)


def side_by_side(
    data: seepage.Dataset, model: str, batch: int, epochs: int
) -> list[dict[str, Any]]:
    """The plain loop on the GPU, then graphs with 1, 2, 4 and 8 models at once."""
    cost = flops(model, data.shape, len(data.classes))
    peak = {p: matrix_peak(p, "cuda", 8192) for p in ("fp32", "bf16")}
    rows = []
    recipe = {"precision": "bf16", "flip": True, "crop": 4}
    kept = graphs.GROUP
    for backend, models in (
        ("process", 2),
        ("graphs", 1),
        ("graphs", 2),
        ("graphs", 4),
        ("graphs", 8),
    ):
        graphs.GROUP = models
        row = rate(data, model, backend, max(2, models), epochs, batch, **recipe)
        row |= {
            "model": model,
            "backend": backend,
            "models_at_once": models,
            "fraction_of_peak": row["samples_per_second"] * cost / 1e9 / peak[row["precision"]],
            "peak_gflops": peak,
        }
        rows.append(row)
        print(row, flush=True)
    graphs.GROUP = kept
    return rows


def agreement(data: seepage.Dataset, model: str, epochs: int) -> dict[str, Any]:
    """The same runs by the plain loop and by graphs in float32: how far phi differs."""
    plan = seepage.half_split(len(data), models=2, seed=0)
    found = []
    for backend in ("process", "graphs", "graphs"):
        out = Path(tempfile.mkdtemp(prefix="bench-"))
        run = seepage.train(
            data, plan, model=model, backend=backend, device="cuda", out=out, keep="none",
            checkpoints="every",
            recipe=seepage.Recipe(epochs=epochs, batch=128, precision="fp32"),
        )  # fmt: skip
        found.append(run.signal("phi"))
        shutil.rmtree(out)
    gap = np.abs(found[0] - found[1])
    return {
        "median_by_epoch": np.median(gap, axis=(0, 2)).tolist(),
        "spread_of_phi": float(found[0][:, -1].std()),
        "graphs_repeat_bit_identical": bool((found[1] == found[2]).all()),
    }


def fleet(
    data: seepage.Dataset, model: str, models: int, epochs: int, batch: int, out: Path, lr: float
) -> dict[str, Any]:
    """A whole fleet with 8 checkpoints: wall time, accuracy, fraction of the device's peak."""
    plan = seepage.half_split(len(data), models=models, seed=0)
    began = time.perf_counter()
    recipe = seepage.Recipe(
        epochs=epochs, batch=batch, lr=lr, nesterov=True, flip=True, crop=4,
        precision="bf16", warmup=0.15,
    )  # fmt: skip
    run = seepage.train(
        data, plan, model=model, device="cuda", out=out, keep="none", checkpoints=8, recipe=recipe
    )
    wall = time.perf_counter() - began
    accuracy = np.array([r["accuracy"][-1] for r in run.records.values()])
    records = list(run.records.values())
    looked = len(run.checkpoints) * len(data) * models
    work = sum(r["steps"] for r in records) * batch * flops(model, data.shape, len(data.classes))
    work += looked * flops(model, data.shape, len(data.classes)) / 3
    return {
        "model": model,
        "models": models,
        "epochs": epochs,
        "wall_seconds": wall,
        "accuracy_members": accuracy[:, 0].mean(),
        "accuracy_others": accuracy[:, 1].mean(),
        "looking_share": sum(r["looking"] for r in records) / sum(r["seconds"] for r in records),
        "fraction_of_bf16_peak": work / wall / 1e9 / matrix_peak("bf16", "cuda", 8192),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", choices=("side", "agreement", "fleet"), action="append")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--model", default="resnet9")
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, default=0.4)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"))
    a = parser.parse_args()
    data = seepage.load(a.data, part="both" if a.data == "cifar10" else "train", limit=a.limit)
    result: dict[str, Any] = {"hardware": hardware(), "data": data.name, "samples": len(data)}
    for part in a.part or ("side",):
        if part == "side":
            result[part] = side_by_side(data, a.model, a.batch, a.epochs)
        elif part == "agreement":
            result[part] = agreement(data, a.model, 4)
        else:
            result[part] = fleet(data, a.model, a.models, a.epochs, a.batch, a.runs, a.lr)
            print(result[part], flush=True)
        a.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
