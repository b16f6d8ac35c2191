"""One model, no references: does the interval of 500 + 500 samples contain the AUC over all?

    python -m benchmarks.one_model [--fleet NAME=FOLDER ...] [--data ROOT] [--page]

Each model of a fleet of 32 (Adult, Fashion-MNIST, digits) is audited alone by its recorded outputs on
500 of its members and 500 other samples of the pool, drawn at random, without references; what it
gives over *all* samples of the pool is the truth. Fleets that are not named are trained into
runs/one-model/ first (some minutes on 2 cores; Fashion-MNIST and Adult are read from --data). With
--only the other fleets stay as they are stored. Writes
benchmarks/results/one_model.json and, from it alone, docs/one-model-measured.md (--page writes only the
page).

Exit status 1 where the interval of an attack contains its AUC over all samples in fewer than 28 of
32 models. Quantile regression is fitted on what it is given, so that over all samples it is another,
better attack: its row is written beside and decides nothing. The strongest attack's interval is
compared with the largest AUC over all samples of any attack but that one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import seepage
from benchmarks.stored import RESULTS, ROOT, table
from seepage.metrics import auc_interval, clopper_pearson, strongest
from seepage.single import Recorded, SingleAudit, cross_fitted_quantile
from seepage.store import Run

OUT = RESULTS / "one_model.json"
PAGE = ROOT / "docs" / "one-model-measured.md"
FLEETS: Mapping[str, Mapping[str, Any]] = {
    "digits": {"limit": None, "lr": 0.05},
    "adult": {"limit": 4000, "lr": 0.05},
    "fashion-mnist": {"limit": 4000, "lr": 0.05},
}
NULL = "nothing leaks"
MODELS, SAMPLES, SHARE = 32, 500, 28 / 32
SIGNALS = ("phi", "loss", "mentr", "entropy", "correct")


def fleet(name: str, folder: Path, root: str | None) -> Run:
    """The fleet in a folder; trained where there is none, and resumed where it is unfinished."""
    if (folder / "manifest.json").exists():
        return seepage.open(folder)
    options = FLEETS[name]
    data = seepage.load(name, root=root if name != "digits" else None, limit=options["limit"])
    plan = seepage.half_split(len(data), models=MODELS, seed=0)
    recipe = seepage.Recipe(epochs=40, batch=64, lr=options["lr"])
    return seepage.train(
        data, plan, model="mlp", recipe=recipe, checkpoints=[0, 40], signals=SIGNALS, out=folder
    )


def one(run: Run, row: int, inputs: Any, rows: np.ndarray, *, blind: bool) -> SingleAudit:
    """The audit of one model on some samples of the pool."""
    sides = []
    for side in (run.member[row], ~run.member[row]):
        at = rows[side[rows]]
        held = {}
        for name in SIGNALS:
            values = np.asarray(run.signal_at(name, -1)[row])
            held[name] = (values[:, 0] if values.ndim == 2 else values)[at]
        sides.append((held, (None if inputs is None else inputs[at], run.labels[at])))
    (a, members), (b, others) = sides
    if inputs is None:
        members, others = members[1], others[1]
    return seepage.audit(
        Recorded(a, b), members, others, blind=blind, seed=row, drop_copies=inputs is not None
    )


def measure(name: str, run: Run, inputs: Any) -> dict[str, Any]:
    """Rows by attack: in how many models the interval of 500 + 500 contains the AUC over all."""
    rng = np.random.default_rng(0)
    found: dict[str, dict[str, list[float]]] = {}
    refused = leaks = 0
    began = time.perf_counter()
    for row in range(len(run.member)):
        member = run.member[row]
        drawn = [rng.permutation(np.flatnonzero(side))[:SAMPLES] for side in (member, ~member)]
        part = one(run, row, inputs, np.sort(np.concatenate(drawn)), blind=inputs is not None)
        whole = one(run, row, inputs, np.arange(len(member)), blind=False)
        refused += part.said == "refused"
        leaks += part.said == "leaks"
        pairs = {a.name: (a.auc, whole.attack(a.name).auc.mean) for a in part.attacks}
        fixed = {a.name: (a.auc, a.auc_wide) for a in part.attacks if a.name != "quantile"}
        most = max(truth for attack, (_, truth) in pairs.items() if attack != "quantile")
        pairs["strongest, but quantile"] = (strongest(fixed).estimate, most)
        for attack, (estimate, truth) in pairs.items():
            at = found.setdefault(attack, {"inside": [], "width": [], "auc": [], "truth": []})
            at["inside"].append(float(estimate.low <= truth <= estimate.high))
            at["width"].append(estimate.high - estimate.low)
            at["auc"].append(estimate.mean)
            at["truth"].append(truth)
    print(f"== {name} ({time.perf_counter() - began:.0f} s)", flush=True)
    rows = {}
    for attack, values in found.items():
        rows[attack] = {
            "inside": int(sum(values["inside"])),
            "auc": round(float(np.mean(values["auc"])), 4),
            "truth": round(float(np.mean(values["truth"])), 4),
            "width": round(float(np.mean(values["width"])), 4),
            "decides": attack != "quantile",
        }
        r = rows[attack]
        print(
            f"{attack:26s} {r['inside']:2d} of {len(run.member)}  AUC {r['auc']:.4f}, over all "
            f"{r['truth']:.4f}, width {r['width']:.4f}",
            flush=True,
        )
    return {
        "models": len(run.member),
        "samples": run.member.shape[1],
        "refused": refused,
        "leaks": leaks,
        "rows": rows,
    }


def nothing_leaks(draws: int = 200, samples: int = 200) -> dict[str, Any]:
    """How often the interval of quantile regression contains ½ where nothing leaks."""
    inside, figures = 0, []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(2 * samples, 4))
        signal = 2 * x[:, 0] + x[:, 1] * x[:, 2] + rng.standard_t(4, size=2 * samples)
        member = rng.permutation(2 * samples) < samples
        e = auc_interval(cross_fitted_quantile(signal, member, x, seed=seed), member)
        inside += e.covers(0.5)
        figures.append(e.mean)
    found = {
        "draws": draws,
        "samples": samples,
        "inside": inside,
        "auc": round(float(np.mean(figures)), 4),
    }
    print(f"nothing leaks: {inside} of {draws} contain ½, mean AUC {found['auc']:.4f}", flush=True)
    return found


def failures(result: Mapping[str, Any]) -> list[str]:
    """Attacks whose interval contains the truth in too few models."""
    failed = [
        f"{name}, {attack}: {r['inside']} of {found['models']}"
        for name, found in result.items()
        if name in FLEETS
        for attack, r in found["rows"].items()
        if r["decides"] and r["inside"] < SHARE * found["models"] - 1e-9
    ]
    null = result.get(NULL)
    # The upper end of the coverage's 99 % interval lies below 95 %.
    if null and clopper_pearson(null["inside"], null["draws"], 0.99)[1] < 0.95:
        failed.append(f"{NULL}: {null['inside']} of {null['draws']}")
    return failed


def page(result: Mapping[str, Any]) -> str:
    """The page, from a stored result alone."""
    parts = [
        "# One model, no references: measured\n",
        "Written by `python -m benchmarks.one_model` from `benchmarks/results/one_model.json`. Every "
        f"model of a fleet is audited alone on {SAMPLES} of its members and {SAMPLES} other samples, "
        "by its recorded outputs (`docs/one-model.md`). *Inside*: in how many models the 95 % "
        "interval contains the attack's AUC over all samples of the pool; wanted at least 28 of 32.\n",
    ]
    null = result.get(NULL)
    if null:
        parts.append(
            f"Where nothing leaks, simulated: the interval of quantile regression contains ½ in "
            f"{null['inside']} of {null['draws']} draws of {null['samples']} + {null['samples']} "
            f"samples; mean AUC {null['auc']:.4f}.\n"
        )
    for name, found in result.items():
        if name not in FLEETS:
            continue
        parts.append(
            f"## {name}: {found['models']} models, {found['samples']:,} samples\n\n"
            f"Verdicts: {found['leaks']} leak, {found['refused']} refused by the blind baseline, "
            f"{found['models'] - found['leaks'] - found['refused']} not shown.\n"
        )
        rows = [
            (
                attack if r["decides"] else f"{attack} (another attack over all samples)",
                f"{r['inside']} of {found['models']}",
                f"{r['auc']:.3f}",
                f"{r['truth']:.3f}",
                f"{r['width']:.3f}",
            )
            for attack, r in found["rows"].items()
        ]
        head = ("attack", "inside", "mean AUC", "mean AUC over all", "mean width")
        parts.append(table(head, rows) + "\n")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fleet", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--only", action="append", choices=[*FLEETS, NULL])
    parser.add_argument("--data", default=None, help="root of the data sets")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--page", action="store_true")
    args = parser.parse_args()
    if not args.page:
        given = dict(text.split("=", 1) for text in args.fleet)
        result: dict[str, Any] = {}
        if args.only and args.out.exists():
            result = json.loads(args.out.read_text(encoding="utf-8"))
        for name in args.only or [*FLEETS, NULL]:
            if name == NULL:
                result[NULL] = nothing_leaks()
                continue
            folder = Path(given.get(name, ROOT / "runs" / "one-model" / name))
            run = fleet(name, folder, args.data)
            data = run.data()
            if data is None and name != "digits":
                data = seepage.load(name, root=args.data, limit=FLEETS[name]["limit"])
            inputs = None if data is None else data.inputs.numpy()
            result[name] = measure(name, run, inputs)
        result = {name: result[name] for name in (*FLEETS, NULL) if name in result}
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    stored = json.loads(args.out.read_text(encoding="utf-8"))
    if args.out == OUT:
        PAGE.write_text(page(stored), encoding="utf-8")
    failed = failures(stored)
    if failed:
        sys.exit("does not hold: " + "; ".join(failed))


if __name__ == "__main__":
    main()
