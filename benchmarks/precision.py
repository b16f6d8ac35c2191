"""Does bf16 harm an audit? Two fleets that differ in precision, against two that differ in seed.

Three fleets on Fashion-MNIST: float32 with seed 0, bf16 with seed 0 (same plan, same run seeds),
float32 with the same plan and other run seeds. Written: AUC and TPR at 1 % FPR of each with
intervals, the paired difference by target, and Spearman's rank correlation of the per-sample
scores (mean member score minus mean non-member score) between fleets.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

import seepage
from seepage.fleet.machine import hardware
from seepage.metrics import operating_points, over_targets


def fleets(
    folder: Path, models: int, limit: int, epochs: int, device: str, workers: int | None
) -> dict[str, seepage.Run]:
    """Train (or find) the three fleets."""
    data = seepage.load("fashion-mnist", limit=limit)
    plan = seepage.half_split(len(data), models=models, seed=0)
    other = replace(plan, seeds=seepage.half_split(len(data), models=models, seed=1).seeds)
    found = {}
    for name, which, precision in (
        ("fp32", plan, "fp32"),
        ("bf16", plan, "bf16"),
        ("fp32, other seeds", other, "fp32"),
    ):
        began = time.perf_counter()
        found[name] = seepage.train(
            data,
            which,
            model="cnn-2",
            recipe=seepage.Recipe(epochs=epochs, batch=128, precision=precision),
            out=folder / name.replace(", ", "-").replace(" ", "-"),
            checkpoints=[0, epochs],
            device=device,
            workers=workers,
            keep="none",
        )
        print(name, f"{time.perf_counter() - began:.1f} s", flush=True)
    return found


def compare(found: dict[str, seepage.Run]) -> dict[str, Any]:
    """Every figure of the module's docstring."""
    attack = seepage.attacks.LiRA()
    points, evidence, out = {}, {}, {}
    for name, run in found.items():
        scores = attack.leave_one_out(run.signal_at("phi", -1), run.member)
        points[name] = operating_points(scores, run.member, (0.01,))
        member = run.member
        n_in = member.sum(0)
        evidence[name] = (scores * member).sum(0) / n_in - (scores * ~member).sum(0) / (
            len(member) - n_in
        )
        auc = over_targets(points[name].auc, member)
        tpr = over_targets(points[name].tpr[:, 0], member)
        accuracy = np.mean([r["accuracy"][-1] for r in run.records.values()], axis=0)
        out[name] = {
            "auc": [auc.mean, auc.low, auc.high],
            "tpr_at_1pct": [tpr.mean, tpr.low, tpr.high],
            "accuracy_members": float(accuracy[0]),
            "accuracy_others": float(accuracy[1]),
            "seconds": sum(s["seconds"] for s in sessions(run)),
        }
    for name in ("bf16", "fp32, other seeds"):
        out[f"{name} minus fp32"] = {
            "auc": paired(points[name].auc - points["fp32"].auc),
            "tpr_at_1pct": paired(points[name].tpr[:, 0] - points["fp32"].tpr[:, 0]),
            "spearman_of_sample_evidence": float(
                scipy.stats.spearmanr(evidence[name], evidence["fp32"]).statistic
            ),
        }
    return out


def paired(gap: np.ndarray) -> list[float]:
    """Mean of a difference by target with its 95 % t-interval over complementary pairs of runs."""
    pairs = gap.reshape(-1, 2).mean(1)
    half = scipy.stats.t.ppf(0.975, len(pairs) - 1) * pairs.std(ddof=1) / np.sqrt(len(pairs))
    return [float(pairs.mean()), float(pairs.mean() - half), float(pairs.mean() + half)]


def sessions(run: seepage.Run) -> list[dict[str, Any]]:
    """The training sessions that filled a run folder."""
    return [run.storage.get_json(k) for k in run.storage.keys("sessions/")]


def main() -> None:
    """Train, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/precision"))
    parser.add_argument("--models", type=int, default=32)
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    found = fleets(a.folder, a.models, a.limit, a.epochs, a.device, a.workers)
    result = {"hardware": hardware(), "models": a.models, "samples": a.limit, "epochs": a.epochs}
    result |= compare(found)
    print(json.dumps(result, indent=1))
    if a.out:
        a.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
