"""How the time of every command that scores grows with samples, models, checkpoints and views.

    python -m benchmarks.growth [--only COMMAND] [--times 4] [--out FILE]

Run folders of synthetic signals are made, one axis longer at a time, and each command is run on them
in this process: processor seconds on one thread, several times, nothing kept from before. The
exponent is the slope of log seconds on log size, with Student's interval at 95 %, and beside it the
slope between the two largest sizes alone, where what does not grow counts least. `curvature show`
measures kept perceptrons on digits, all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy

AXES = {
    "samples": (8_000, 16_000, 32_000),
    "models": (16, 32, 64),
    "checkpoints": (4, 8, 16),
    "views": (1, 2, 4),
}
BASE = {"samples": 8_000, "models": 16, "checkpoints": 4, "views": 1}
COMMANDS = {
    "attack": ("attack", "{run}"),
    "attack, LiRA": ("attack", "{run}", "-a", "lira"),
    "report": ("report", "{run}", "--out", "{scratch}/report.html"),
    "check": ("check", "{run}", "--max-auc", "1", "--max-tpr", "1@0.01"),
    "dynamics show": ("dynamics", "show", "{run}"),
    "dynamics early": ("dynamics", "early", "{run}"),
}
CURVATURE = {"samples": (400, 800, 1_600), "models": (8, 16, 32)}


def make(folder: Path, samples: int, models: int, checkpoints: int, views: int) -> None:
    """φ, loss and correct of a fleet in which a tenth of the samples leaks, ever more."""
    from seepage.fleet.imported import import_arrays
    from seepage.plan import half_split

    rng = np.random.default_rng(0)
    member = half_split(samples, models=models, seed=0).member
    weight = np.where(rng.random(samples) < 0.1, 1.0, 0.08)
    phi = rng.standard_normal((models, checkpoints, samples, views), dtype=np.float32)
    for t in range(checkpoints):
        grown = (t + 1) / checkpoints
        phi[:, t] += (grown * (3 - 3 * weight + 3.5 * weight * member))[..., None]
    arrays: dict[str, Any] = {
        "member": member,
        "labels": rng.integers(0, 10, samples),
        "phi": phi[..., 0] if views == 1 else phi,
    }
    arrays["loss"] = np.logaddexp(np.float32(0), -arrays["phi"])
    arrays["correct"] = (arrays["phi"] > 0).astype(np.float32)
    import_arrays(arrays, folder)


def perceptrons(folder: Path, samples: int, models: int) -> None:
    """A fleet on digits with kept weights."""
    import seepage

    seepage.train(
        seepage.load("digits", limit=samples),
        seepage.half_split(samples, models=models, seed=0),
        model="mlp",
        model_options={"hidden": (512, 512)},
        recipe=seepage.Recipe(epochs=1, precision="fp32"),
        checkpoints=[1],
        keep="final",
        out=folder,
        workers=1,
        device="cpu",
    )


def seconds(arguments: list[str]) -> float:
    """Processor seconds of a command."""
    from seepage.cli import app

    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = app(arguments, standalone_mode=False)
    if status not in (None, 0, 1):
        raise SystemExit(f"{' '.join(arguments)}: exit status {status}")
    return time.process_time() - began


def exponent(sizes: list[int], took: list[list[float]]) -> dict[str, Any]:
    """Slope of log seconds on log size with its interval, and between the best of the two largest sizes."""
    x = np.log(np.repeat(sizes, [len(t) for t in took]))
    fit = scipy.stats.linregress(x, np.log(np.concatenate(took)))
    half = float(scipy.stats.t.ppf(0.975, len(x) - 2) * fit.stderr)
    last = float(np.log(min(took[-1]) / min(took[-2])) / np.log(sizes[-1] / sizes[-2]))
    slope = float(fit.slope)
    return {"exponent": slope, "low": slope - half, "high": slope + half, "last": last}


def _row(
    command: str, axis: str, sizes: tuple[int, ...], took: list[list[float]]
) -> dict[str, Any]:
    row = {"command": command, "axis": axis, "sizes": list(sizes), "seconds": took}
    return row | exponent(list(sizes), took)


def measured(
    commands: dict[str, tuple[str, ...]], repeats: int, times: int
) -> Iterator[dict[str, Any]]:
    """Every command along every axis, whose sizes are so many times as long."""
    with tempfile.TemporaryDirectory() as scratch:
        took: dict[tuple[str, str], list[list[float]]] = {}
        for axis, usual in AXES.items():
            sizes = tuple(times * s for s in usual)
            for size in sizes:
                folder = Path(scratch) / f"{axis}-{size}"
                make(folder, **(BASE | {axis: size}))
                for name, template in commands.items():
                    given = [a.format(run=folder, scratch=scratch) for a in template]
                    if size == sizes[0] and axis == "samples":
                        seconds(given)  # what is imported and looked up the first time
                    own = [seconds(given) for _ in range(repeats)]
                    took.setdefault((name, axis), []).append(own)
                    print(f"{name}, {axis} {size}: {min(own):.2f} s", flush=True)
                shutil.rmtree(folder)
            for name in commands:
                yield _row(name, axis, sizes, took[name, axis])


def measured_curvature(repeats: int) -> Iterator[dict[str, Any]]:
    """`curvature show` along samples and models."""
    with tempfile.TemporaryDirectory() as scratch:
        for axis, sizes in CURVATURE.items():
            took = []
            for size in sizes:
                folder = Path(scratch) / f"{axis}-{size}"
                given = {"samples": CURVATURE["samples"][0], "models": CURVATURE["models"][0]}
                given |= {axis: size}
                perceptrons(folder, **given)
                command = ["curvature", "show", str(folder), "--models", str(given["models"])]
                if not took:
                    seconds(command)
                took.append([seconds(command) for _ in range(repeats)])
                print(f"curvature show, {axis} {size}: {min(took[-1]):.2f} s", flush=True)
            yield _row("curvature show", axis, sizes, took)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=[*COMMANDS, "curvature show"])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--times", type=int, default=1, help="sizes are so many times as large")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    os.environ["SEEPAGE_COMPUTED"] = "off"
    os.environ["SEEPAGE_THREADS"] = "1"
    import torch

    from seepage.fleet.machine import hardware

    torch.set_num_threads(1)
    chosen = {k: v for k, v in COMMANDS.items() if a.only in (None, k)}
    rows = list(measured(chosen, a.repeats, a.times)) if chosen else []
    if a.only == "curvature show" or (a.only is None and a.times == 1):
        rows += measured_curvature(a.repeats)
    for row in rows:
        print(json.dumps(row))
    if a.out:
        found = {"hardware": hardware(), "base": BASE, "load": os.getloadavg()[1], "rows": rows}
        a.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
