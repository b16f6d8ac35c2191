"""What scores say where there is nothing to say: noise, and samples without spread.

    python -m benchmarks.references [--decisions 400000] [--out references.json]

First table: mean AUC over targets on signals that know nothing of membership, under plans without
complementary tuples, with the target alone left out and as `Attack.leave_one_out` does it. ½ is
right. Second table: TPR at 1 % FPR of default LiRA on 1,900 samples, alone and beside 100 samples
whose references do not vary, or stand at a cap.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seepage import attacks, metrics
from seepage.plan import half_split, judged

__all__ = ["main", "noise_rows", "spread_rows"]

Array = NDArray[Any]
Row = dict[str, Any]


def layouts(rng: np.random.Generator, models: int, samples: int) -> dict[str, Array]:
    """Membership of plans without complementary tuples, by name."""

    def counted(runs: int, inside: int) -> Array:
        order = rng.permuted(np.tile(np.arange(runs)[:, None], samples), axis=0)
        return order < inside

    return {
        "IN half of the runs": counted(models, models // 2),
        "IN a quarter of the runs": counted(models, models // 4),
        "IN half, two runs failed": counted(models + 2, models // 2 + 1)[2:],
        "coin flips": rng.random((models, samples)) < 0.5,
    }


def noise(rng: np.random.Generator, shape: tuple[int, int]) -> dict[str, Array]:
    """Signals that know nothing of membership; samples differ in centre and spread."""
    spread = np.exp(rng.normal(0, 0.5, size=shape[1]))
    phi = rng.normal(size=shape[1]) + spread * rng.normal(size=shape)
    loss = np.logaddexp(0, -phi)
    curvature = np.exp(0.5 * rng.normal(size=shape) - 0.7 * phi)
    return {
        "phi": phi, "loss": loss, "mentr": 1.5 * loss, "correct": 1.0 * (phi > 0),
        "curvature_zo": curvature,
    }  # fmt: skip


def noise_rows(decisions: int, models: tuple[int, ...] = (12, 32)) -> list[Row]:
    """AUC on noise by plan and attack."""
    cases = {a.name: a for a in attacks.usual() if a.min_in or a.min_out}
    cases["lira, PerSample"] = attacks.LiRA(variance=attacks.PerSample())
    rows = []
    for runs in models:
        rng = np.random.default_rng(runs)
        for layout, member in layouts(rng, runs, decisions // runs).items():
            signals = noise(rng, member.shape)
            alone = ~np.eye(runs, dtype=np.bool_)
            for name, attack in cases.items():
                given = {k: signals[k][..., None] for k in attack.requires}
                n_in, n_out = attacks.base.fewest_references(member)
                if n_in < attack.min_in or n_out < attack.min_out:
                    continue
                keep = judged(member)
                read = [
                    float(metrics.operating_points(s[:, keep], member[:, keep]).auc.mean())
                    for s in (
                        attack.run_all(given, member, alone),
                        attack.leave_one_out(given, member),
                    )
                ]
                way = attacks.how_left_out(member)
                rows.append(
                    {"plan": layout, "models": runs, "attack": name, "way": way,
                     "alone": read[0], "as it is": read[1]}
                )  # fmt: skip
    return rows


def spread_rows(samples: int = 2000, odd: int = 100) -> list[Row]:
    """TPR at 1 % FPR of the other samples, with and without those that say nothing."""
    rows = []
    for models in (8, 16, 32, 64):
        rng = np.random.default_rng(3)
        member = half_split(samples, models=models, seed=3).member
        clean = 3 * rng.normal(size=samples) + rng.normal(size=member.shape) + 1.5 * member
        kinds = {}
        for kind in ("constant", "capped", "half at the cap", "all but one constant"):
            phi = clean.copy()
            if kind == "capped":
                phi[:, :odd] += 40
            elif kind == "half at the cap":
                phi[:, :odd] += 12 - np.median(phi[:, :odd], axis=0)
            else:
                phi[:, :odd] = 5.0
            if kind == "all but one constant":
                where = rng.integers(0, models, odd)
                phi[where, np.arange(odd)] += 1e-3 * rng.normal(size=odd)
            kinds[kind] = np.minimum(phi, 12).astype(np.float32)
        for kind, phi in kinds.items():
            rest = slice(odd, None)
            beside = attacks.LiRA().leave_one_out(phi, member)[:, rest]
            alone = attacks.LiRA().leave_one_out(phi[:, rest], member[:, rest])
            tpr = [
                float(metrics.operating_points(s, member[:, rest], [0.01]).tpr.mean())
                for s in (alone, beside)
            ]
            rows.append({"models": models, "kind": kind, "alone": tpr[0], "beside": tpr[1]})
    return rows


def main(argv: list[str] | None = None) -> None:
    """Print both tables and, with --out, write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--decisions", type=int, default=400_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    found = {"noise": noise_rows(args.decisions), "spreads": spread_rows()}
    print(f"{'plan':27}{'models':>7}  {'attack':26}{'way':13}{'target alone':>13}{'as it is':>10}")
    for r in found["noise"]:
        print(
            f"{r['plan']:27}{r['models']:7}  {r['attack']:26}{r['way']:13}{r['alone']:13.4f}"
            f"{r['as it is']:10.4f}"
        )
    print(f"\n{'100 of 2,000 samples':27}{'models':>7}{'TPR alone':>12}{'beside':>9}")
    for r in found["spreads"]:
        print(f"{r['kind']:27}{r['models']:7}{r['alone']:12.4f}{r['beside']:9.4f}")
    if args.out:
        args.out.write_text(json.dumps(found | {"decisions": args.decisions}, indent=1) + "\n")


if __name__ == "__main__":
    main()
