"""How the leak of digits falls with examples per class, and whether the law foretells the next size.

    python -m benchmarks.power_law [--page]

Pools of 100 to 1,600 of scikit-learn's digits, two of each size drawn at random, 16 models of random halves
of each: a perceptron of 128 units and, as a head on fixed features, a linear network. TPR of LiRA at
10 % FPR. The law is fitted to all pools but the largest two and then asked for these. Writes
benchmarks/results/power_law.json and, from it alone, docs/power-law-measured.md (--page writes only the
page). About three minutes on 2 cores; exit status 1 where the interval at the largest size does not
meet what was measured there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import seepage
from benchmarks.stored import RESULTS, ROOT, table
from seepage.findings.power_law import AtShots, power_law_of_runs
from seepage.metrics import PowerLaw, power_law

OUT, PAGE = RESULTS / "power_law.json", ROOT / "docs" / "power-law-measured.md"
SIZES, POOLS, MODELS, FPR = (100, 200, 400, 800, 1600), 2, 16, 0.1
NETWORKS = {"perceptron of 128 units": (128,), "linear": ()}


def measured() -> dict[str, Any]:
    """Every point, the law without the largest pools, and what it says of these."""
    return {"fpr": FPR, "models": MODELS, "networks": {n: _network(h) for n, h in NETWORKS.items()}}


def _network(hidden: tuple[int, ...]) -> dict[str, Any]:
    data = seepage.load("digits")
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for size in SIZES:
            for k in range(POOLS):
                rows = np.random.default_rng([size, k]).permutation(len(data))[:size]
                runs.append(
                    seepage.train(
                        data.take(np.sort(rows)),
                        seepage.half_split(size, models=MODELS, seed=k),
                        model=seepage.Model(name="mlp", options={"hidden": list(hidden)}),
                        recipe=seepage.Recipe(epochs=40, batch=32, lr=0.05),
                        checkpoints=[40],
                        out=Path(folder) / f"{size}-{k}",
                    )
                )
        points = power_law_of_runs(runs, seepage.attacks.LiRA(), fpr=FPR).runs
    largest = max(p.shots for p in points)
    law = _law([p for p in points if p.shots < largest])
    whole = _law(list(points))
    at, there = law.advantage(largest), [p for p in points if p.shots == largest]
    return {
        "points": [[p.shots, p.advantage, p.error] for p in points],
        "slope": vars(law.slopes),
        "scatter": law.scatter,
        "foretold": vars(at),
        "there": [[p.advantage, p.error] for p in there],
        "slope of all": vars(whole.slopes),
        "needed": vars(whole.needed(0.02)),
    }


def _law(points: list[AtShots]) -> PowerLaw:
    columns = zip(*((p.shots, p.advantage, p.error) for p in points), strict=True)
    shots, advantage, error = (np.array(c) for c in columns)
    return power_law(shots, advantage, error, share=0.5)


def _between(r: dict[str, float], digits: int = 3) -> str:
    high = f"{r['high']:,.{digits}f}" if np.isfinite(r["high"]) else "no upper end"
    return f"{r['value']:,.{digits}f} [{r['low']:,.{digits}f}, {high}]"


def page(told: dict[str, Any]) -> str:
    """The page, from the stored figures alone."""
    lines = [
        "# The power law on digits",
        "",
        "Written by `python -m benchmarks.power_law`, whose docstring says what was done. TPR − FPR of LiRA at",
        f"{100 * told['fpr']:g} % FPR, {told['models']} models for each pool, two pools of each size; ± its standard error over pairs",
        "of models. What the law says of the largest pools is from the others alone.",
        "",
    ]
    for name, found in told["networks"].items():
        rows = [[f"{s:g}", f"{a:.3f} ± {e:.3f}"] for s, a, e in found["points"]]
        there = ", ".join(f"{a:.3f} ± {e:.3f}" for a, e in found["there"])
        lines += [
            f"## {name[0].upper()}{name[1:]}", "",
            table(["examples per class", "TPR − FPR"], rows), "",
            f"- slope without the largest pools {_between(found['slope'])}; with them {_between(found['slope of all'])}",
            f"- foretold for the largest {_between(found['foretold'])}; measured there {there}",
            f"- the points lie {found['scatter']:.1f} times as far from the law as their errors say",
            f"- TPR − FPR of .02 needs {_between(found['needed'], 0)} examples per class, an extrapolation", "",
        ]  # fmt: skip
    return "\n".join(lines)


def holds(told: dict[str, Any]) -> bool:
    """Whether every interval for the largest size meets those of what was measured there."""
    return all(
        any(
            f["foretold"]["low"] <= a + 2 * e and a - 2 * e <= f["foretold"]["high"]
            for a, e in f["there"]
        )
        for f in told["networks"].values()
    )


def main() -> int:
    """Measure, unless only the page is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true")
    if not parser.parse_args().page:
        OUT.write_text(json.dumps(measured(), indent=1) + "\n")
    told = json.loads(OUT.read_text())
    PAGE.write_text(page(told))
    return 0 if holds(told) else 1


if __name__ == "__main__":
    sys.exit(main())
