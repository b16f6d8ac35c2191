"""Measuring gradients on every kept model against training the fleet, and what the attacks read.

    python -m benchmarks.kept_weights [--only digits --out benchmarks/results/kept_weights.json]

Two fleets whose weights are kept at every checkpoint: perceptrons on scikit-learn's digits, and cnn-2
on 2,000 samples of Fashion-MNIST (docs/data.md says where its files are looked for). Processor time of
one thread: of training, with the start of its worker taken off (a fleet of two runs of one epoch
on few samples), against one pass over all kept models at the last checkpoint that gives
`grad-norm`, its two other forms and `white-box` what they read; and of the passes of the other attacks on weights. Beside
each attack's AUC stand `loss` and `lira` of the same run, and what it reads under redrawn membership.
`python -m benchmarks.pages` shows the result in docs/attacks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import seepage
from benchmarks.stored import machine, table
from seepage import attacks
from seepage.errors import InputError
from seepage.metrics import operating_points, over_targets
from seepage.plan import permute_membership
from seepage.probes.registry import probes_of
from seepage.scoring import Measured
from seepage.store import Run

OUT = Path(__file__).parent / "results" / "kept_weights.json"

CASES: dict[str, dict[str, Any]] = {
    "mlp, digits": {"data": "digits", "limit": None, "model": "mlp", "models": 16, "epochs": 40},
    "cnn-2, Fashion-MNIST": {
        "data": "fashion-mnist",
        "limit": 2_000,
        "model": "cnn-2",
        "models": 8,
        "epochs": 20,
    },
}
GRADIENTS = ("grad-norm", "grad-norm-calibrated", "grad-norm-lr", "white-box")
OTHERS = ("leverage", "checkpoint-sequence", "checkpoint-sequence-lr")
BESIDE = ("loss", "lira")


def _processor() -> float:
    """Processor seconds of this process and of workers that have ended."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _train(case: dict[str, Any], out: str, **changes: Any) -> float:
    c = case | changes
    data = seepage.load(c["data"], limit=c["limit"])
    began = _processor()
    seepage.train(
        data,
        seepage.half_split(len(data), models=c["models"], seed=0),
        model=c["model"],
        recipe=seepage.Recipe(epochs=c["epochs"], batch=64, lr=0.05, precision="fp32"),
        keep="all",
        out=out,
        workers=1,
        device="cpu",
    )
    return _processor() - began


def _pass(run: Run, names: tuple[str, ...]) -> float:
    """Processor seconds to measure, at the last checkpoint, what these attacks read."""
    wanted = [attacks.get(name) for name in names]
    unrecorded = [s for a in wanted for s in a.requires if probes_of([s]) and s not in run.signals]
    source = Measured(run, dict.fromkeys(unrecorded))
    began = _processor()
    times = range(len(run.checkpoints)) if any(a.trajectory for a in wanted) else [-1]
    for t in times:
        source.signal_at(unrecorded[0], t)
    return _processor() - began


def _reads(run: Run, name: str) -> dict[str, Any]:
    """AUC at the last checkpoint, its interval, and that under redrawn membership."""
    attack = attacks.get(name)
    other = permute_membership(run.member, np.random.default_rng(1))
    found = {}
    for what, member in (("auc", run.member), ("null", other)):
        scores = seepage.score(run, attack, member=member)
        e = over_targets(operating_points(scores, member, ()).auc, member)
        found[what] = [e.mean, e.low, e.high]
    return found


def measured(case: dict[str, Any]) -> dict[str, Any]:
    """One fleet: seconds of training and of passes, and what the attacks read."""
    with tempfile.TemporaryDirectory() as folder:
        small = min(case["limit"] or 200, 200)
        start = _train(case, f"{folder}/start", limit=small, models=2, epochs=1)
        training = max(_train(case, f"{folder}/run") - start, 0.0)
        run = seepage.open(f"{folder}/run")
        result: dict[str, Any] = {
            "models": len(run.models),
            "samples": int(run.member.shape[1]),
            "checkpoints": len(run.checkpoints),
            "epochs": case["epochs"],
            "training": training,
            "gradients": _pass(run, GRADIENTS),
        }
        reads = {name: _reads(run, name) for name in (*BESIDE, *GRADIENTS)}
        for name in OTHERS:
            try:
                if name not in ("checkpoint-sequence-lr",):
                    result[name] = _pass(run, (name,))
                reads[name] = _reads(run, name)
            except InputError as error:
                result[name] = str(error)
        return result | {"reads": reads}


def written(page: str, result: tuple[str, Any]) -> str:
    """The page with the tables of a stored result, (name, content), between its two marks."""
    name, r = result
    cost = []
    for case, c in r["cases"].items():
        kept = f"{c['models']} models, {c['samples']:,} samples, {c['epochs']} epochs"
        share = c["gradients"] / c["training"]
        rest = [
            f"{c[k]:.1f} s" if isinstance(c[k], float) else "refused"
            for k in ("leverage", "checkpoint-sequence")
        ]
        cost.append(
            (case, kept, f"{c['training']:.1f} s", f"{c['gradients']:.1f} s", f"{share:.2f}", *rest)
        )
    rows = [
        (
            f"`{attack}`",
            *(
                f"{v['auc'][0]:.3f} [{v['auc'][1]:.3f}, {v['auc'][2]:.3f}], {v['null'][0]:.3f}"
                if (v := c["reads"].get(attack))
                else "refused"
                for c in r["cases"].values()
            ),
        )
        for attack in (*BESIDE, *GRADIENTS, *OTHERS)
    ]
    head = ("fleet", "", "training", "gradients", "share", "leverage", "checkpoint-sequence")
    text = (
        f"Processor time of one thread ({machine(r['hardware'])}; `{name}`, `python -m "
        'benchmarks.kept_weights`). "gradients" is one pass over all kept models at the last checkpoint, '
        f"for {', '.join(f'`{g}`' for g in GRADIENTS)} together; share is that over training.\n\n"
        + table(head, cost)
        + "\n\nAUC of the same fleets with 95 % interval over pairs, and what redrawn membership reads:\n\n"
        + table(("attack", *r["cases"]), rows)
    )
    marks = re.compile(r"(<!-- kept weights -->\n).*?(\n<!-- end of kept weights -->)", re.DOTALL)
    if not marks.search(page):
        raise ValueError("page: expected the marks of kept weights")
    return marks.sub(lambda m: m[1] + text + m[2], page)


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="", help="cases whose name holds this; others stay")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "hardware": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        },
        "made": time.strftime("%Y-%m-%d"),
        "cases": {},
    }
    if args.only and args.out.exists():
        result["cases"] = json.loads(args.out.read_text())["cases"]  # of the same machine
    for name, case in CASES.items():
        if args.only in name:
            result["cases"][name] = measured(case)
            print(name, json.dumps(result["cases"][name], indent=1), flush=True)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
