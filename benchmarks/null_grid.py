"""What every attack reads where nothing is to be found: closed forms, fitted rules, what reads kept weights.

python -m benchmarks.null_grid             # writes benchmarks/results/null_grid.json, docs/null-measured.md
python -m benchmarks.null_grid --page      # the page alone
python -m benchmarks.null_grid --only kept      # one part; the others stay as they are stored

Closed forms on signals that know nothing: the mean AUC over targets, by number of models and plan, must lie
within .005 of ½. What learns a rule, and what is measured on weights of small networks that never saw the
pool: fleets in great number, in each of which the membership of one tuple of targets is drawn anew
against its scores. The p-values of these permutation tests must be uniform. Exit status 1 where one is not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from attack_rows import TABLE
from benchmarks.stored import RESULTS, ROOT, machine, table
from noise_grid import GRID, PLANS, planned, reads_on_noise
from oracles import null_signals, read_by
from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks import ATTACKS, Attack, LiRA, PerSample, binding
from seepage.attacks.reference_counts import references_by_sample
from seepage.metrics import clopper_pearson, operating_points
from seepage.probes.base import Asked
from seepage.probes.boundary import BoundaryDistance
from seepage.probes.one_pass import measure
from seepage.probes.registry import probe_of, probes_of
from seepage.signals import SIGNALS

__all__ = ["OUT", "PAGE", "page", "study"]

OUT, PAGE = RESULTS / "null_grid.json", ROOT / "docs" / "null-measured.md"

DECISIONS = 500_000
WITHIN = 0.005
FLEETS, DRAWS = 200, 199
TAILS, FAMILY = 0.05, 0.01
# Of fitted rules: samples, and models by plan.
SAMPLES, MODELS = 80, {"pairs": 6, "tuples": 16, "coin flips": 16}
# Of kept weights: networks, samples, the epochs that are kept, and the questions that a distance to the
# boundary may take, which is dear; half as many fleets.
NETWORKS, POOL, EPOCHS, QUERIES = 6, 64, (1, 2, 4, 8), 200


def closed() -> list[dict[str, Any]]:
    """A row for every closed form, with every option of its own: the mean AUC of each size and plan."""
    rows = []
    for name, of in TABLE.items():
        for attack in (a for a in of if not a.fitted):
            began = time.process_time()
            found = {
                f"{models} {plan}": reads_on_noise(attack, models, plan, DECISIONS)
                for models, plan in GRID
            }
            off = [abs(v - 0.5) for v in found.values() if v is not None]
            rows.append(
                {
                    "attack": name,
                    "options": repr(attack),
                    "auc": found,
                    "most": max(off),
                    "seconds": time.process_time() - began,
                    "holds": bool(off) and max(off) <= WITHIN,
                }
            )
            print(rows[-1]["attack"], round(rows[-1]["most"], 5), flush=True)
    return rows


def rank(
    rng: np.random.Generator, scores: Float64Array, member: BoolArray, rows: Sequence[int]
) -> float:
    """Of the mean AUC of a tuple of targets, among those where its membership is drawn anew: (0, 1).

    Drawn by exchanging samples, the tuple's columns as a whole, which leaves its sizes and its law; scores
    stay, for they must not know who of the tuple was trained on what. Ties are broken at random, so that
    the rank is uniform wherever that is so.
    """
    own = member[list(rows)]
    ranks = stats.rankdata(scores[list(rows)], axis=1)
    inside = own.sum(axis=1)
    weight = 1 / (inside * (own.shape[1] - inside))
    truth = float(weight @ (own * ranks).sum(axis=1))
    drawn = np.array(
        [weight @ (own[:, rng.permutation(own.shape[1])] * ranks).sum(axis=1) for _ in range(DRAWS)]
    )
    hair = 1e-9 * max(1.0, abs(truth))
    below, same = (drawn < truth - hair).sum(), (np.abs(drawn - truth) <= hair).sum()
    return float((below + rng.random() * (1 + same)) / (DRAWS + 1))


def judged(name: str, ranks: Sequence[float], areas: Sequence[float], rules: int) -> dict[str, Any]:
    """Whether p-values are uniform: Kolmogorov and Smirnov's test, and how many lie in the tails."""
    p = np.array(ranks)
    level = 1 - FAMILY / rules / 2
    extreme = int((np.minimum(p, 1 - p) <= TAILS / 2).sum())
    low, high = (float(v) for v in clopper_pearson(extreme, len(p), level))
    uniform = float(stats.kstest(p, "uniform").pvalue)
    mean, error = float(np.mean(areas)), float(stats.sem(areas))
    reach = float(stats.t.ppf(0.995, len(areas) - 1)) * error
    return {
        "attack": name,
        "fleets": len(p),
        "auc": [mean, mean - reach, mean + reach],
        "extreme": extreme,
        "extreme_interval": [low, high],
        "ks": uniform,
        "holds": uniform >= FAMILY / rules / 2 and low <= TAILS <= high,
    }


def _area(scores: Float64Array, member: BoolArray) -> float:
    return float(operating_points(scores, member, ()).auc.mean())


def _plan(kind: str, rng: np.random.Generator, attack: Attack) -> tuple[BoolArray, Sequence[int]]:
    """Membership of one fleet, and the targets of one tuple; under coin flips one target.

    Coins are thrown again where a target has too few references of either kind for a sample, and there are
    so many models that this is rare: with few, what is not thrown again would tell of the target.
    """
    need = max(attack.min_in, attack.min_out)
    models = MODELS[kind] + (8 if kind == "coin flips" and need > 2 else 0)
    while True:
        member = planned(kind, models, SAMPLES, int(rng.integers(1 << 31)))
        if kind != "coin flips":
            return member, range(4 if kind == "tuples" else 2)
        if min(int(n.min()) for n in references_by_sample(member)) >= need:
            return member, range(1)


def fitted(fleets: int, rules: int) -> list[dict[str, Any]]:
    """A row for every attack that learns a rule, its quickest learner; and the control."""
    rows = []
    chosen = {
        n: TABLE[n][0] for n, kind in ATTACKS.items() if kind.fitted or kind.name == "ensemble"
    }
    for number, (name, attack) in enumerate(chosen.items()):
        rng = np.random.default_rng([3, number])
        began = time.process_time()
        ranks, areas = [], []
        for fleet in range(fleets):
            kind = PLANS[fleet % len(PLANS)]
            member, tuple_ = _plan(kind, rng, attack)
            while len(member) < attack.models:
                member = np.concatenate([member, _plan(kind, rng, attack)[0]])
            signals = read_by(attack, null_signals(rng, member))
            scores = attack.leave_one_out(signals, member)
            ranks.append(rank(rng, scores, member, tuple_))
            areas.append(_area(scores, member))
        rows.append(judged(name, ranks, areas, rules) | {"seconds": time.process_time() - began})
        print(rows[-1], flush=True)
    return rows


def control(fleets: int, rules: int) -> dict[str, Any]:
    """LiRA with the target's partner left among its references: the test must find that it is wrong."""
    rng = np.random.default_rng(4)
    attack = LiRA(variance=PerSample(ddof=1))
    ranks, areas = [], []
    for _ in range(fleets):
        member = planned("pairs", 8, SAMPLES, int(rng.integers(1 << 31)))
        phi = {"phi": null_signals(rng, member)["phi"]}
        scores = attack.run_all(phi, member, ~np.eye(8, dtype=bool))
        ranks.append(rank(rng, scores, member, range(2)))
        areas.append(_area(scores, member))
    return judged("lira, the partner among the references", ranks, areas, rules)


def _networks(rng: np.random.Generator) -> list[list[nn.Module]]:
    """Small networks at every kept epoch, each trained on samples of its own that nobody asks about."""
    fleet = []
    for _ in range(NETWORKS):
        x, y = _samples(rng)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
        sgd = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
        kept = []
        for epoch in range(1, max(EPOCHS) + 1):
            for at in np.array_split(rng.permutation(POOL), 4):
                sgd.zero_grad()
                nn.functional.cross_entropy(network(x[at]), y[at]).backward()  # type: ignore[no-untyped-call]
                sgd.step()
            if epoch in EPOCHS:
                copy = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
                copy.load_state_dict(network.state_dict())
                kept.append(copy.eval())
        fleet.append(kept)
    return fleet


def _samples(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    labels = rng.integers(0, 3, POOL)
    inputs = rng.normal(size=(POOL, 4)) + labels[:, None]
    return torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(labels)


def _fleet_source(rng: np.random.Generator, member: BoolArray, wanted: Sequence[Attack]) -> Any:
    """What the networks of one fleet say of a pool, and what probes measure: as a run holds it."""
    x, y = _samples(rng)
    names = {n for a in wanted for n in a.requires}
    probes = probes_of(names, [BoundaryDistance(QUERIES)])
    steady = probes_of({n for a in wanted if a.trajectory for n in a.requires})
    held: dict[tuple[str, int], list[FloatArray]] = {}
    for number, kept in enumerate(_networks(rng)):
        seed = int(rng.integers(2**31))
        for t, network in enumerate(kept):
            with torch.no_grad():
                logits = network(x)
            said: dict[str, FloatArray] = {"logits": logits.numpy()}
            said |= {n: rule(logits, y).float().numpy() for n, rule in SIGNALS.items()}
            last = t == len(kept) - 1
            before = kept[t - 1] if t else None
            asked = Asked(network, x, y, (seed, t), before, member[number], said)
            said |= measure(probes if last else steady, asked)
            for name, values in said.items():
                held.setdefault((name, t), []).append(values)
    return SimpleNamespace(
        member=member,
        checkpoints=np.array(EPOCHS, dtype=np.float64),
        signals=tuple({name for name, _ in held}),
        labels=y.numpy(),
        manifest={"key": {}},
        signal_at=lambda name, t: np.stack(held[name, range(len(EPOCHS))[t]]),
    )


def kept(fleets: int, rules: int) -> list[dict[str, Any]]:
    """A row for every attack that reads what a probe measures, on networks that never saw the pool."""
    wanted = [a for n, (a, *_) in TABLE.items() if any(probe_of(s) for s in a.requires)]
    ranks: dict[str, list[float]] = {a.name: [] for a in wanted}
    areas: dict[str, list[float]] = {a.name: [] for a in wanted}
    rng = np.random.default_rng(5)
    began = time.process_time()
    for fleet in range(fleets):
        member = planned("pairs", NETWORKS, POOL, int(rng.integers(1 << 31)))
        source = _fleet_source(rng, member, wanted)
        for attack in wanted:
            bound = binding.bind(attack, source)
            scores = bound.leave_one_out(binding.inputs(bound, source), member)
            ranks[attack.name].append(rank(rng, scores, member, range(2)))
            areas[attack.name].append(_area(scores, member))
        if fleet % 10 == 9:
            print(
                f"kept weights: {fleet + 1} fleets, {time.process_time() - began:.0f} s", flush=True
            )
    seconds = (time.process_time() - began) / len(wanted)
    return [
        judged(a.name, ranks[a.name], areas[a.name], rules) | {"seconds": seconds} for a in wanted
    ]


PARTS = ("control", "fitted", "kept", "closed")


def study(fleets: int, only: Sequence[str], before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The result so far after each part; before: what was found of the other parts."""
    torch.set_num_threads(1)
    learnt = sum(k.fitted or k.name == "ensemble" for k in ATTACKS.values())
    measured = sum(any(probe_of(s) for s in of[0].requires) for of in TABLE.values())
    rules = learnt + measured
    made: dict[str, Callable[[], Any]] = {
        "control": lambda: control(fleets, rules),
        "fitted": lambda: fitted(fleets, rules),
        "kept": lambda: kept(max(2, fleets // 2), rules),
        "closed": closed,
    }
    result = {"seconds": {}} | before
    result["hardware"] = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }
    for part in only:
        began = time.process_time()
        result[part] = made[part]()
        result["seconds"][part] = time.process_time() - began
        yield result | {"decisions": DECISIONS, "holds": _holds(result)}


def _holds(result: Mapping[str, Any]) -> bool:
    """Of every part that is there; the control must be found out."""
    rows = [r for part in ("closed", "fitted", "kept") for r in result.get(part, ())]
    found = all(r["holds"] for r in rows)
    return found and not result.get("control", {"holds": False})["holds"]


def _permuted(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for r in rows:
        mean, low, high = r["auc"]
        a, b = r["extreme_interval"]
        name = f"`{r['attack']}`" if r["attack"] in ATTACKS else r["attack"]
        lines.append(
            (
                name if r["holds"] else f"**{name}**",
                f"{mean:.4f} [{low:.4f}, {high:.4f}]",
                f"{r['extreme']} of {r['fleets']} [{a:.3f}, {b:.3f}]",
                f"{r['ks']:.2g}",
            )
        )
    head = ("attack", "mean AUC [99 %]", f"p ≤ {TAILS:g}, two-sided", "p of uniformity")
    return table(head, lines)


def page(result: dict[str, Any]) -> str:
    """The page, from a stored result alone."""
    lines = []
    for name in dict.fromkeys(r["attack"] for r in result["closed"]):
        of = [r for r in result["closed"] if r["attack"] == name]
        worst = max(of, key=lambda r: r["most"])
        where = max(
            (k for k, v in worst["auc"].items() if v is not None),
            key=lambda k: abs(worst["auc"][k] - 0.5),
        )
        refused = sum(v is None for r in of for v in r["auc"].values())
        lines.append(
            (
                f"`{name}`" if all(r["holds"] for r in of) else f"**`{name}`**",
                len(of),
                len(of) * len(GRID) - refused,
                f"{worst['auc'][where]:.4f}",
                where,
                refused or "",
            )
        )
    cells = sum(v is not None for r in result["closed"] for v in r["auc"].values())
    within = sum(
        v is not None and abs(v - 0.5) <= WITHIN
        for r in result["closed"]
        for v in r["auc"].values()
    )
    fleets = result["fitted"][0]["fleets"]
    rows = [r for part in ("closed", "fitted", "kept") for r in result.get(part, ())]
    off = sorted({r["attack"] for r in rows if not r["holds"]})
    verdict = "All of it holds." if not off else "In bold: what does not hold."
    return f"""# What attacks read where nothing is to be found

Written by `python -m benchmarks.null_grid` from `benchmarks/results/null_grid.json` ({machine(result["hardware"])};
{sum(result["seconds"].values()) / 60:.0f} minutes of one core). An attack that finds members among signals that know nothing of them reads its
own construction, such as the number of references of either kind, and every figure of it is off by that. {verdict}

## Closed forms

Mean AUC over all targets on signals that know nothing, by some {result["decisions"]:,} decisions each: 6, 8, 16 and 32 models
under complementary pairs, k-tuples (k = 4; 3 of 6 models) and coin flips, every option of the tests' table of
its own. {within:,} of {cells:,} lie within {WITHIN:g} of ½. The farthest of each attack:

{table(("attack", "options", "cells", "farthest", "there", "refused for too few references"), lines)}

## What learns a rule

A permutation test in each of {fleets} fleets of {SAMPLES} samples, in turn {MODELS["pairs"]} models in pairs, {MODELS["tuples"]} in 4-tuples and
{MODELS["coin flips"]} by coin flips (more where an attack needs them). Scores of one tuple of targets stay, and its membership is drawn
anew {DRAWS} times by exchanging samples; nothing that is learnt may know who of the target's tuple was trained on what, so that
the rank of the true AUC is uniform. Beside the mean AUC over all targets: how many fleets have p ≤ {TAILS:g} on either side, with the
interval that holds for all rows of this page together at {1 - FAMILY:.0%} (half of it for each of the two tests), and
Kolmogorov and Smirnov's p-value of uniform ranks.

{_permuted(result["fitted"])}

The test can fail: {_control(result["control"])}

## What is measured on kept weights

{_kept(result.get("kept"))}
"""


def _kept(rows: Sequence[Mapping[str, Any]] | None) -> str:
    if rows is None:
        return "Not stored yet: `python -m benchmarks.null_grid --only kept`."
    return f"""The same for attacks that read what a probe measures, in {rows[0]["fleets"]} fleets of {NETWORKS} perceptrons of one hidden layer in pairs,
kept at epochs {", ".join(map(str, EPOCHS))}. Each was trained on {POOL} samples of its own, and is asked about another {POOL} of the same law, of which the plan
says that it trained on half: probes that take the members, such as `iha`, are told these. Options are the defaults, but {QUERIES} questions for a distance to
the boundary.

{_permuted(rows)}"""


def _control(r: Mapping[str, Any]) -> str:
    told = "is found" if not r["holds"] else "is **not** found"
    return (
        f"{r['attack']}, reads a mean AUC of {r['auc'][0]:.3f} on noise and {told}, with p ≤ {TAILS:g} in "
        f"{r['extreme']} of {r['fleets']} fleets of 8 models."
    )


def main() -> None:
    """Measure, store after each part, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fleets", type=int, default=FLEETS)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; others stay")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    result = json.loads(args.out.read_text()) if args.out.exists() else {}
    if not args.page:
        before = result if args.only else {}
        for result in study(args.fleets, args.only or PARTS, before):
            args.out.write_text(json.dumps(result, indent=1) + "\n")
    if args.out == OUT and {"control", "fitted", "closed"} <= set(result):
        PAGE.write_text(page(result))
    sys.exit(0 if result["holds"] else 1)


if __name__ == "__main__":
    main()
