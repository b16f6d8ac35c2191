"""Inputs that are prepared otherwise than in training: how often that is told, and how often wrongly.

    python -m benchmarks.preparations [--data ROOT] [--models 84] [--page]

Small networks of every kind that is usual (perceptrons with and without biases, convolutions plain, with
BatchNorm and with GroupNorm) are trained for 1 to 60 epochs on few samples of MNIST, Fashion-MNIST, CIFAR-10
and Adult, with inputs standardised, on 0..1, on −1..1, as bytes or by the moments of ImageNet, and by many recipes, among
them label smoothing, label noise, focal and Brier losses, margins, class weights, augmentation, and logits that
were made 5 times larger or smaller after training. Each is then asked about its members as in training (a right case),
and prepared in every other of these ways (a wrong one), by what `seepage.audit` asks: `better_prepared`,
and where it finds nothing `better_scale`. A wrong preparation *matters* where members' answers change: right answers fall
by 2 of 100, or the mean loss grows by half and 0.3 nats; it matters *much* where right answers fall by 10 of 100.

Writes benchmarks/results/preparations.json and, from it alone, docs/preparations-measured.md (--page writes
only the page). Seeds are others than those of the models on which the thresholds were found.

Exit status 1 where more than 2 of 100 right cases have no verdict or more than 10 of 100 are doubted, or where
fewer than 90 of 100 wrong cases that matter much are told.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import seepage
from benchmarks.stored import RESULTS, ROOT, table
from seepage.metrics import clopper_pearson
from seepage.models.input_scale import better_scale
from seepage.models.preparations import better_prepared, settled

OUT = RESULTS / "preparations.json"
PAGE = ROOT / "docs" / "preparations-measured.md"
DATA = ("mnist", "fashion-mnist", "cifar10", "adult")
# Published moments on 0..1.
MOMENTS: Mapping[str, Any] = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.286,), (0.353,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
RECIPES = (
    "plain", "plain", "plain", "label smoothing", "label noise", "weight decay", "dropout", "focal loss", "class weights",
    "logits times 5", "logits divided by 5", "SGD", "augmentation", "Brier loss", "margins",
)  # fmt: skip
EPOCHS, SIZES = (1, 2, 5, 20, 60), (60, 200, 500)
SEED, POOL = 2000, 4000


@dataclass(frozen=True)
class Case:
    """A network: what it is trained on, how, and prepared how."""

    data: str
    network: str
    recipe: str
    epochs: int
    prepared: str
    members: int
    seed: int


def cases(models: int) -> list[Case]:
    """As many of every data set, all else drawn."""
    rng = np.random.default_rng(SEED)
    found = []
    for k in range(models):
        data = DATA[k % len(DATA)]
        table_of = data == "adult"
        networks = (
            ("mlp", "batch norm", "no biases")
            if table_of
            else ("mlp", "cnn", "batch norm", "group norm")
        )
        ways = (
            ["standardised", "0..1"]
            if table_of
            else ["standardised"] * 3 + ["0..1", "0..255", "−1..1"]
        )
        ways += ["ImageNet"] * 2 if data == "cifar10" else []
        found.append(
            Case(
                data, str(rng.choice(networks)), str(rng.choice(RECIPES)), EPOCHS[k // len(DATA) % len(EPOCHS)],
                str(rng.choice(ways)), int(rng.choice(SIZES)), SEED + k,
            )
        )  # fmt: skip
    return found


def ways(name: str, data: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs of some rows, prepared in every way."""
    x = data.inputs.numpy()[rows].astype(np.float32)
    if name == "adult":
        mean, sd = x.mean(axis=0), x.std(axis=0)
        numeric = np.asarray(data.numeric) & (sd > 0)
        low, high = x.min(axis=0), x.max(axis=0)
        wide = np.where(high > low, high - low, 1)
        standardised = np.where(numeric, (x - mean) / np.where(sd > 0, sd, 1), x)
        return {"standardised": standardised, "0..1": (x - low) / wide, "as they are": x}
    unit = x / 255
    found = {"0..1": unit, "0..255": x, "−1..1": 2 * unit - 1}
    named = {"standardised": name} | ({"ImageNet": "imagenet"} if name == "cifar10" else {})
    for how, moments in named.items():
        m, s = (np.array(v, np.float32).reshape(1, -1, 1, 1) for v in MOMENTS[moments])
        found[how] = (unit - m) / s
    if name == "cifar10":
        found["channels reversed"] = np.ascontiguousarray(found["standardised"][:, ::-1])
    return found


def network(case: Case, shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """A small network."""
    drop = nn.Dropout(0.3 if case.recipe == "dropout" else 0.0)
    if len(shape) == 1 or case.network in ("mlp", "no biases"):
        bias, wide = case.network != "no biases", int(np.prod(shape))
        norm = nn.BatchNorm1d(64) if case.network == "batch norm" else nn.Identity()
        return nn.Sequential(
            nn.Flatten(), nn.Linear(wide, 64, bias), norm, nn.ReLU(), drop, nn.Linear(64, classes, bias)
        )  # fmt: skip

    def norm_of(k: int) -> nn.Module:
        if case.network == "batch norm":
            return nn.BatchNorm2d(k)
        return nn.GroupNorm(4, k) if case.network == "group norm" else nn.Identity()

    return nn.Sequential(
        nn.Conv2d(shape[0], 12, 3, 2, 1), norm_of(12), nn.ReLU(), nn.Conv2d(12, 24, 3, 2, 1), norm_of(24),
        nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), drop, nn.Linear(216, classes),
    )  # fmt: skip


def _loss(recipe: str, z: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if recipe == "focal loss":
        own = functional.log_softmax(z, 1).gather(1, y[:, None])[:, 0]
        return -((1 - own.exp()) ** 2 * own).mean()
    if recipe == "Brier loss":
        return (z.softmax(1) - functional.one_hot(y, z.shape[1])).square().sum(1).mean()
    if recipe == "margins":
        return functional.multi_margin_loss(z, y)
    smooth = 0.2 if recipe == "label smoothing" else 0.0
    return functional.cross_entropy(
        z, y, weight if recipe == "class weights" else None, label_smoothing=smooth
    )


def trained(case: Case, x: torch.Tensor, y: torch.Tensor, classes: int) -> nn.Sequential:
    """The network after its training, in eval mode."""
    torch.manual_seed(case.seed)
    net = network(case, tuple(x.shape[1:]), classes)
    counts = torch.bincount(y, minlength=classes).clamp(min=1)
    weight = len(y) / (classes * counts)
    decay = 1.0 if case.recipe == "weight decay" else 0.01
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=decay)
    if case.recipe == "SGD":
        optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    for _ in range(case.epochs):
        for rows in torch.randperm(len(y)).split(32):
            given = x[rows]
            if case.recipe == "augmentation" and x.ndim == 4:
                given = torch.roll(given, tuple(torch.randint(-3, 4, (2,)).tolist()), (2, 3))
            if len(rows) > 1:
                optimizer.zero_grad()
                _loss(case.recipe, net(given), y[rows], weight).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    factor = {"logits times 5": 5.0, "logits divided by 5": 0.2}.get(case.recipe, 1.0)
    with torch.no_grad():
        for p in net[-1].parameters():
            p.mul_(factor)
    return net.eval()


def measured(case: Case, data: Any) -> list[dict[str, Any]]:
    """A row for every way in which the network is asked."""
    n = case.members
    rows = np.random.default_rng(case.seed).permutation(len(data))[: 2 * n]
    given = ways(case.data, data, rows)
    y, classes = data.labels[torch.from_numpy(rows)].clone(), len(data.classes)
    if case.recipe == "label noise":
        rng = torch.Generator().manual_seed(case.seed)
        other = torch.rand(2 * n, generator=rng) < 0.4
        y[other] = torch.randint(0, classes, (int(other.sum()),), generator=rng)
    net = trained(case, torch.from_numpy(given[case.prepared][:n]), y[:n], classes)
    member, labels = torch.arange(2 * n) < n, y.numpy()

    def ask(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return net(x.float())  # type: ignore[no-any-return]

    found = []
    for how, x in given.items():
        asked = ask(torch.from_numpy(x))
        better = better_prepared(
            lambda v: ask(torch.from_numpy(v)).double().numpy(), x, np.arange(n), labels,
            asked.double().numpy(),
        )  # fmt: skip
        said = ""
        if better is not None:
            better = replace(better, settled=settled(net))
            said = "no verdict" if better.far else "doubt"
        elif better_scale(ask, torch.from_numpy(x), y, member) is not None:
            said = "doubt"
        found.append(
            {
                "data": case.data,
                "network": case.network,
                "recipe": case.recipe,
                "epochs": case.epochs,
                "members": n,
                "trained": case.prepared,
                "given": how,
                "said": said,
                "right": round(float((asked.argmax(1) == y)[:n].double().mean()), 4),
                "loss": round(float(functional.cross_entropy(asked[:n].double(), y[:n])), 4),
            }
        )
    own = next(r for r in found if r["given"] == case.prepared)
    for r in found:
        fall = own["right"] - r["right"]
        grown = r["loss"] > 1.5 * own["loss"] + 0.3
        r["matters"] = "much" if fall >= 0.1 else "yes" if fall >= 0.02 or grown else "no"
    return found


def split(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by what they are cases of."""
    found: dict[str, list[Mapping[str, Any]]] = {
        "right": [], "wrong, matters much": [], "wrong, matters": [], "wrong, matters not": []
    }  # fmt: skip
    names = {"much": "wrong, matters much", "yes": "wrong, matters", "no": "wrong, matters not"}
    for r in rows:
        found["right" if r["given"] == r["trained"] else names[r["matters"]]].append(r)
    return found


def _share(rows: list[Mapping[str, Any]], *said: str) -> str:
    hits = sum(r["said"] in said for r in rows)
    if not rows:
        return "–"
    low, high = clopper_pearson(hits, len(rows))
    return f"{hits} ({100 * float(low):.1f} – {100 * float(high):.1f} %)"


def failures(rows: list[dict[str, Any]]) -> list[str]:
    """What of the rule does not hold."""
    kinds = split(rows)
    fair, much = kinds["right"], kinds["wrong, matters much"]
    refused = sum(r["said"] == "no verdict" for r in fair)
    doubted = sum(r["said"] != "" for r in fair)
    told = sum(r["said"] != "" for r in much)
    found = []
    if refused > 0.02 * len(fair):
        found.append(f"{refused} of {len(fair)} right cases have no verdict")
    if doubted > 0.1 * len(fair):
        found.append(f"{doubted} of {len(fair)} right cases are doubted")
    if told < 0.9 * len(much):
        found.append(f"{told} of {len(much)} wrong cases that matter much are told")
    return found


def page(rows: list[dict[str, Any]]) -> str:
    """The page, from a stored result alone."""
    networks = sum(r["given"] == r["trained"] for r in rows)
    parts = [
        "# Inputs that are prepared otherwise: measured\n",
        "Written by `python -m benchmarks.preparations` from `benchmarks/results/preparations.json`. "
        f"{networks} small networks, each asked about its members as in its training and prepared in every "
        "other usual way; a wrong preparation *matters* where right answers of members fall by 2 of 100 or their mean loss "
        "grows by half and 0.3 nats, and *much* where right answers fall by 10 of 100. In brackets the 95 % interval "
        "of the share, as if cases were independent; those of one network are not.\n",
    ]
    head = ("cases", "all", "no verdict", "doubt in the headline", "nothing said")
    parts.append(
        table(
            head,
            [
                (k, len(v), _share(v, "no verdict"), _share(v, "doubt"), _share(v, ""))
                for k, v in split(rows).items()
            ],
        )
        + "\n"
    )
    for key, title in (("data", "data"), ("network", "network"), ("recipe", "recipe"), ("epochs", "epochs"), ("members", "members")):  # fmt: skip
        shown = []
        for value in sorted({r[key] for r in rows}):
            part = split(r for r in rows if r[key] == value)
            fair, much = part["right"], part["wrong, matters much"]
            shown.append(
                (
                    value, len(fair), sum(r["said"] == "no verdict" for r in fair),
                    sum(r["said"] == "doubt" for r in fair), len(much),
                    sum(r["said"] == "" for r in much),
                )
            )  # fmt: skip
        names = (title, "right", "of them no verdict", "doubted", "wrong, matters much", "of them nothing said")  # fmt: skip
        parts.append(f"## By {title}\n\n{table(names, shown)}\n")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=None, help="root of the data sets")
    parser.add_argument("--models", type=int, default=84)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--page", action="store_true")
    args = parser.parse_args()
    if not args.page:
        torch.set_num_threads(1)
        pools = {name: seepage.load(name, root=args.data, limit=POOL) for name in DATA}
        rows: list[dict[str, Any]] = []
        for case in cases(args.models):
            rows += measured(case, pools[case.data])
            print(
                case,
                [(r["given"], r["said"], r["right"]) for r in rows if r["given"]][-6:],
                flush=True,
            )
        lines = ",\n ".join(json.dumps(r, ensure_ascii=False) for r in rows)
        args.out.write_text(f"[{lines}]\n", encoding="utf-8")
    rows = json.loads(args.out.read_text(encoding="utf-8"))
    if args.out == OUT:
        PAGE.write_text(page(rows), encoding="utf-8")
    if failed := failures(rows):
        sys.exit("does not hold: " + "; ".join(failed))


if __name__ == "__main__":
    main()
