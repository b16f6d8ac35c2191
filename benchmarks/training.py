"""Training at the machine's speed: the fleet against the plain loop that peers use, in one run.

The plain loop is one process with all threads, a DataLoader over per-sample transforms, float32. The
expert's loop is what somebody writes who knows torch: as many processes as workers, one thread each,
bfloat16 where that is faster, channels-last, all data normalised and resident, batches by index (and
crops and flips of a batch at once). The fleet is `seepage.train` itself: its records give the seconds of training, looks left out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

import seepage
from seepage.fleet.machine import hardware, matrix_peak
from seepage.models import build

CASES: dict[str, dict[str, Any]] = {
    "cnn-2, Fashion-MNIST": {
        "data": "fashion-mnist",
        "model": "cnn-2",
        "limit": 10_000,
        "recipe": {"batch": 128},
        "target": 3.0,
    },
    "wrn-16-2, CIFAR-10": {
        "data": "cifar10",
        "model": "wrn-16-2",
        "limit": 2_000,
        "recipe": {"batch": 128, "flip": True, "crop": 4},
        "target": 2.5,
    },
    "mlp, digits": {
        "data": "digits",
        "model": "mlp",
        "limit": None,
        "recipe": {"batch": 64},
        "target": 3.0,
    },
}


class PerSample(Dataset[tuple[torch.Tensor, int]]):
    """What peers feed from: one image at a time, cropped, mirrored and normalised in Python."""

    def __init__(self, data: seepage.Dataset, crop: int, flip: bool) -> None:
        self.inputs, self.labels = data.inputs, data.labels
        scale, shift = data.member_scale(np.arange(len(data)))
        self.scale = torch.from_numpy(scale)[:, None, None]
        self.shift = torch.from_numpy(shift)[:, None, None]
        self.crop, self.flip = crop, flip
        self.generator = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        x = self.inputs[i].float()
        if self.crop:
            h, w = x.shape[1:]
            x = nn.functional.pad(x, [self.crop] * 4)
            dy, dx = torch.randint(2 * self.crop + 1, (2,), generator=self.generator).tolist()
            x = x[:, dy : dy + h, dx : dx + w]
        if self.flip and torch.rand((), generator=self.generator) < 0.5:
            x = x.flip(2)
        return x * self.scale + self.shift, int(self.labels[i])


def plain_rate(data: seepage.Dataset, model: str, recipe: dict[str, Any], seconds: float) -> float:
    """Samples per second of the plain loop, all threads of the machine."""
    torch.manual_seed(0)
    network = build(model, data.shape, len(data.classes))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    feed = PerSample(data, recipe.get("crop", 0), recipe.get("flip", False))
    loader = DataLoader(feed, batch_size=recipe["batch"], shuffle=True, drop_last=True)
    seen, began = 0, 0.0
    steps = 0
    while True:
        for x, y in loader:
            if steps == 3:
                began, seen = time.perf_counter(), 0
            loss = nn.functional.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            float(loss.detach())
            steps += 1
            seen += len(y)
            if steps > 6 and time.perf_counter() - began > seconds:
                return seen / (time.perf_counter() - began)


def expert_rate(case: dict[str, Any], seconds: float, workers: int) -> float:
    """Samples per second of all processes of the expert's loop together."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        return sum(pool.map(_expert, [(case, seconds)] * workers, chunksize=1))


def _expert(given: tuple[dict[str, Any], float]) -> float:
    case, seconds = given
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, recipe = seepage.load(case["data"], limit=case["limit"]), case["recipe"]
    scale, shift = map(torch.from_numpy, data.member_scale(np.arange(len(data))))
    image = len(data.shape) == 3
    x = data.inputs.float()
    x = x * scale[:, None, None] + shift[:, None, None] if image else x * scale + shift
    network = build(case["model"], data.shape, len(data.classes))
    if image:
        x = x.contiguous(memory_format=torch.channels_last)
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    batch, rates = recipe["batch"], {}
    for half in (False, True):
        if half and case["model"] == "mlp":
            continue
        steps, began = 0, 0.0
        order = torch.randperm(len(data))
        while steps < 6 or time.perf_counter() - began < seconds * (1 if rates else 0.3):
            if steps == 3:
                began = time.perf_counter()
            at = order[torch.randint(len(order), (batch,))]
            inputs = _moved(x[at], recipe)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                logits = network(inputs)
            loss = nn.functional.cross_entropy(logits.float(), data.labels[at])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            steps += 1
        rates[half] = (steps - 3) * batch / (time.perf_counter() - began)
    return max(rates.values())


def _moved(x: torch.Tensor, recipe: dict[str, Any]) -> torch.Tensor:
    """A batch moved by one draw and mirrored by another: less than the recipe's, for each sample, costs."""
    if recipe.get("crop"):
        h, w, k = *x.shape[2:], recipe["crop"]
        dy, dx = torch.randint(2 * k + 1, (2,)).tolist()
        x = nn.functional.pad(x, [k] * 4)[:, :, dy : dy + h, dx : dx + w]
    if recipe.get("flip"):
        x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def fleet_rate(
    data: seepage.Dataset, model: str, recipe: dict[str, Any], epochs: int, workers: int
) -> tuple[float, dict[str, Any]]:
    """Samples per second of all workers together, and what was chosen.

    Of several runs for each worker the median, since the first of a process loads what later ones
    have; of stacked runs all together.
    """
    models = 4 * workers if model != "mlp" else 8 * workers
    plan = seepage.half_split(len(data), models=models, seed=0)
    out = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        began = time.perf_counter()
        run = seepage.train(
            data,
            plan,
            model=model,
            recipe=seepage.Recipe(epochs=epochs, **recipe),
            out=out,
            checkpoints=[0],
            keep="none",
            workers=workers,
            device="cpu",
        )
        records = run.records.values()
        facts = {**run.manifest["chosen"], "wall": time.perf_counter() - began}
        busy = [r["seconds"] - r["looking"] for r in records]
        seen = [r["steps"] * recipe["batch"] for r in records]
        if facts["backend"] == "process":
            return workers * statistics.median(
                n / t for n, t in zip(seen, busy, strict=True)
            ), facts
        return sum(seen) * workers / sum(busy), facts
    finally:
        shutil.rmtree(out, ignore_errors=True)


def flops(model: str, shape: tuple[int, ...], classes: int) -> float:
    """Floating-point operations of training on one sample: forward and backward."""
    network = build(model, shape, classes)
    x = torch.randn(2, *shape)
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()
    return counter.get_total_flops() / 2


def measure(
    repeats: int = 3, seconds: float = 6.0, workers: int = 2, only: str | None = None
) -> list[dict[str, Any]]:
    """One row per case: medians over `repeats` alternated measurements."""
    torch.set_num_threads(workers)
    peaks = {p: matrix_peak(p) * workers for p in ("fp32", "bf16")}
    rows = []
    for name, case in CASES.items():
        if only and only not in name:
            continue
        data = seepage.load(case["data"], limit=case["limit"])
        cost = flops(case["model"], data.shape, len(data.classes))
        plain, expert, ours, chosen = [], [], [], {}
        epochs = 1
        for _ in range(repeats):
            plain.append(plain_rate(data, case["model"], case["recipe"], seconds))
            expert.append(expert_rate(case, seconds, workers))
            if epochs == 1:
                share = len(data) // 2 * (8 if case["model"] == "mlp" else 1)
                epochs = max(2, round(plain[0] / workers * 2 * seconds / share))
            rate, chosen = fleet_rate(data, case["model"], case["recipe"], epochs, workers)
            ours.append(rate)
        mine, theirs = statistics.median(ours), statistics.median(plain)
        best = statistics.median(expert)
        rows.append(
            {
                "name": f"training {name}",
                "samples_per_second": mine,
                "reference": "DataLoader loop, float32, all threads",
                "reference_samples_per_second": theirs,
                "ratio": mine / theirs,
                "target": case["target"],
                "expert_samples_per_second": best,
                "ratio_to_expert": mine / best,
                "all": {"fleet": ours, "plain": plain, "expert": expert},
                "chosen": chosen,
                "flops_per_sample": cost,
                "peak_gflops": peaks,
                "fraction_of_peak": mine * cost / 1e9 / peaks[chosen["precision"]],
                "reference_fraction_of_fp32_peak": theirs * cost / 1e9 / peaks["fp32"],
            }
        )
        print(
            f"{name}: fleet {mine:,.0f}/s, expert {best:,.0f}/s, ratio {mine / best:.2f}, "
            f"plain {theirs:,.0f}/s, ratio {mine / theirs:.2f} "
            f"(target {case['target']}), {chosen['backend']} {chosen['precision']}, "
            f"{rows[-1]['fraction_of_peak']:.1%} of peak",
            flush=True,
        )
    return rows


def main() -> None:
    """Print the table; with --out write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only")
    args = parser.parse_args()
    rows = measure(args.repeats, args.seconds, args.workers, args.only)
    if args.out:
        args.out.write_text(json.dumps({"hardware": hardware(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
