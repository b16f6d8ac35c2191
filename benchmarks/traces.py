"""What trace statistics lose when only some epochs are recorded, measured on scikit-learn's digits.

    python -m benchmarks.traces [--models 16 --epochs 40 --out benchmarks/results/traces.json]

A fleet is recorded at every epoch. Every statistic of `seepage.plane` that reads a whole trace is
computed from all epochs and from subsets as the package spaces them by default (`log_spaced`); the
rank correlation of the two, over samples, is what the subset keeps. LT-IQR is also computed by the
rule used until version 0.1: the quartiles of the losses at the checkpoints, as if these were evenly
spaced. `python -m benchmarks.pages` shows the result in docs/dynamics.md.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import seepage
from benchmarks.stored import table
from seepage import plane
from seepage.array_types import BoolArray, FloatArray
from seepage.record import log_spaced

OUT = Path(__file__).parent / "results" / "traces.json"

Statistic = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]


def _monitored(name: str) -> Statistic:
    """A score of `Monitor` for every run: it takes one run at a time."""

    def of(loss: FloatArray, correct: FloatArray, epochs: FloatArray) -> FloatArray:
        out = np.empty((len(loss), loss.shape[-1]))
        # Membership does not enter these scores.
        member = np.arange(loss.shape[-1]) % 2 == 0
        for r in range(len(loss)):
            monitor = plane.Monitor()
            for t, epoch in enumerate(epochs):
                monitor.update(float(epoch), loss[r, t], correct[r, t], member)
            out[r] = monitor.scores()[name]
        return out

    return of


def _by_checkpoint(loss: FloatArray, correct: FloatArray, epochs: FloatArray) -> FloatArray:
    low, high = np.quantile(loss, [0.25, 0.75], axis=-2)
    return np.asarray(high - low)


ALIKE = "LT-IQR, checkpoints alike (until 0.1)"
STATISTICS: dict[str, Statistic] = {
    "LT-IQR": lambda loss, _, epochs: plane.loss_iqr(loss, epochs),
    ALIKE: _by_checkpoint,
    "mean loss": lambda loss, _, epochs: plane.mean_loss(loss, epochs),
    "fall of the loss (Monitor)": _monitored("slope"),
    "epoch learned": lambda _, correct, epochs: plane.epoch_learned(correct, epochs),
    "forgetting events": lambda _, correct, __: plane.forgetting_events(correct),
}
TRUTH = {ALIKE: "LT-IQR"}
"""Whose every-epoch figure a statistic is compared with, where that is not its own."""


def over_members(values: FloatArray, member: BoolArray) -> FloatArray:
    """Mean over the runs trained on a sample: (R, N), (R, N) -> (N,)."""
    return np.asarray((values * member).sum(axis=0) / member.sum(axis=0))


def kept(
    loss: FloatArray, correct: FloatArray, member: BoolArray, points: tuple[int, ...]
) -> dict[str, dict[str, list[float]]]:
    """Rank correlation with the every-epoch figure: statistic -> number of checkpoints -> (2,).

    loss, correct (R, T, N) at epochs 0 to T − 1. First over samples, each the mean over its member
    runs; then within one run over its members, the mean over runs.
    """
    last = loss.shape[1] - 1
    every = np.arange(last + 1, dtype=np.float64)
    full = {n: f(loss, correct, every) for n, f in STATISTICS.items() if n not in TRUTH}
    out: dict[str, dict[str, list[float]]] = {}
    for name, statistic in STATISTICS.items():
        truth = full[TRUTH.get(name, name)]
        for count in points:
            chosen = np.array(log_spaced(last, count))
            rows = chosen.astype(int)
            some = statistic(loss[:, rows], correct[:, rows], chosen)
            means = (over_members(v, member) for v in (some, truth))
            runs = [
                stats.spearmanr(a[m], b[m]).statistic
                for a, b, m in zip(some, truth, member, strict=True)
            ]
            rho = [stats.spearmanr(*means).statistic, np.nanmean(runs)]
            out.setdefault(name, {})[str(count)] = [round(float(v), 4) for v in rho]
    return out


def measure(models: int, epochs: int, points: tuple[int, ...], seed: int = 0) -> dict[str, Any]:
    """Train the fleet in a temporary folder and compare."""
    data = seepage.load("digits")
    plan = seepage.half_split(len(data), models=models, seed=seed)
    recipe = seepage.Recipe(epochs=epochs, batch=64, lr=0.05, precision="fp32")
    with tempfile.TemporaryDirectory() as folder:
        run = seepage.train(
            data, plan, out=f"{folder}/run", model="mlp", recipe=recipe,
            checkpoints="every", signals=("loss", "correct"), keep="none", workers=1,
        )  # fmt: skip
        times = range(epochs + 1)
        loss, correct = (
            np.stack([run.signal_at(name, t) for t in times], axis=1)
            for name in ("loss", "correct")
        )
        member = np.asarray(run.member)
    return {
        "models": models,
        "samples": len(data),
        "epochs": epochs,
        "checkpoints": {str(p): list(log_spaced(epochs, p)) for p in points},
        "kept": kept(loss, correct, member, points),
    }


def written(page: str, result: tuple[str, Any]) -> str:
    """The page with the table of a stored result, (name, content), between its two marks."""
    name, r = result
    points = list(r["checkpoints"])
    rows = [
        (f"{what}", *(f"{found[p][0]:.3f}, {found[p][1]:.3f}" for p in points))
        for what, found in r["kept"].items()
    ]
    spaced = ", ".join(f"{e:g}" for e in r["checkpoints"]["8"])
    text = (
        f"{r['models']} MLPs on {r['samples']:,} digits, {r['epochs']} epochs; rank correlation with the "
        "figure of every epoch, over samples (mean of each sample's member runs) and, second, within "
        f"one run over its members. 8 log-spaced checkpoints are {spaced}. From `{name}` "
        "(`python -m benchmarks.traces`).\n\n"
        + table(("statistic", *(f"{p} checkpoints" for p in points)), rows)
    )
    marks = re.compile(r"(<!-- traces -->\n).*?(\n<!-- end of traces -->)", re.DOTALL)
    if not marks.search(page):
        raise ValueError("page: expected the marks <!-- traces --> and <!-- end of traces -->")
    return marks.sub(lambda m: m[1] + text + m[2], page)


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--points", type=int, nargs="+", default=[16, 8, 5])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    result = measure(args.models, args.epochs, tuple(args.points))
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, found in result["kept"].items():
        print(f"{name:40}", *(f"{k}: {v[0]:.3f} {v[1]:.3f}  " for k, v in found.items()))


if __name__ == "__main__":
    main()
