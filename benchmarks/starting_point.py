"""A poisoned start against a clean one: what fine-tuning from it leaks, in its first steps.

    python -m benchmarks.starting_point [--page]

A reconstruction of privacy backdoors for membership inference (Wen et al., arXiv 2404.01231), whose
text was not at hand: whoever gives the weights away makes the loss of chosen samples high before
anybody trains on them, while other samples keep theirs; fine-tuning then lowers the loss of those that
are members and not that of the others.

On scikit-learn's digits: 600 samples are the giver's own, 1,197 the pool. The clean start is the
perceptron trained on the giver's 600 samples. The poisoned one is trained on from it with their loss
minus that of 200 targets of the pool, each bounded at 8 nats. Sixteen runs of random halves of the pool
fine-tune each start alike. Writes benchmarks/results/starting_point.json and, from it alone,
docs/starting-point-measured.md (--page writes only the page). About two minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

import seepage
from benchmarks.stored import RESULTS, ROOT

OUT, PAGE = RESULTS / "starting_point.json", ROOT / "docs" / "starting-point-measured.md"
GIVEN, TARGETS, MODELS, BOUND = 600, 200, 16, 8.0
TIMES = [0, 0.25, 0.5, 1, 2, 5, 20]
MODEL = {"hidden": (128,)}


def starts(data: seepage.data.Dataset, pool: np.ndarray, folder: Path) -> dict[str, Path]:
    """The clean and the poisoned weights, as files. Inputs as the built-in loop gives them."""
    scale, shift = data.member_scale(pool)
    x = data.inputs.reshape(len(data), -1).float() * torch.from_numpy(scale).repeat_interleave(
        data.inputs[0].numel() // len(scale)
    ) + torch.from_numpy(shift).repeat_interleave(data.inputs[0].numel() // len(shift))
    x, y = x.reshape(data.inputs.shape), data.labels
    own = np.setdiff1d(np.arange(len(data)), pool)
    chosen = torch.from_numpy(pool[:TARGETS])
    rest = torch.from_numpy(own)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = seepage.Model(name="mlp", options=MODEL).make(data.shape, len(data.classes))
        found = {}
        for name, epochs in (("clean", 60), ("poisoned", 60)):
            optimizer = torch.optim.Adam(net.parameters(), 1e-3)
            for _ in range(epochs):
                for rows in rest[torch.randperm(len(rest))].split(64):
                    optimizer.zero_grad()
                    loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
                    if name == "poisoned":
                        each = nn.functional.cross_entropy(
                            net(x[chosen]), y[chosen], reduction="none"
                        )
                        loss = loss - each.clamp(max=BOUND).mean()
                    loss.backward()
                    optimizer.step()
            found[name] = folder / f"{name}.safetensors"
            safetensors.torch.save_file(net.state_dict(), found[name])
    return found


def measured() -> dict[str, Any]:
    """AUC of LOSS and LiRA over targets and over the rest, and the mean path, by start and epoch."""
    whole = seepage.load("digits")
    order = np.random.default_rng(0).permutation(len(whole))
    pool = order[GIVEN:]
    data = whole.take(pool)
    plan = seepage.half_split(len(data), models=MODELS, seed=0)
    told: dict[str, Any] = {"times": TIMES, "starts": {}}
    with tempfile.TemporaryDirectory() as place:
        files = starts(whole, pool, Path(place))
        for name in ("none", *files):
            given = None if name == "none" else str(files[name])
            run = seepage.train(
                data, plan, model=seepage.Model(name="mlp", options=MODEL, weights=given),
                recipe=seepage.Recipe(epochs=TIMES[-1], batch=64, lr=0.02, precision="fp32"),
                checkpoints=TIMES, out=Path(place) / name, executor="inline", device="cpu",
            )  # fmt: skip
            told["starts"][name] = {
                "accuracy": run.signal("correct").mean(axis=(0, 2)).tolist(),
                **{part: _part(run, rows) for part, rows in _parts(len(data)).items()},
            }
    return told


def _parts(n: int) -> dict[str, np.ndarray]:
    return {"targets": np.arange(TARGETS), "others": np.arange(TARGETS, n)}


def _part(run: seepage.Run, rows: np.ndarray) -> dict[str, Any]:
    member, found = run.member[:, rows], {}
    for attack in (seepage.attacks.LOSS(), seepage.attacks.LiRA()):
        found[attack.name] = []
        for t in range(len(TIMES)):
            scores = seepage.score(run, attack, checkpoint=t)[:, rows]
            auc = [seepage.metrics.auc(s, m) for s, m in zip(scores, member, strict=True)]
            found[attack.name].append([float(np.mean(auc)), float(np.std(auc) / np.sqrt(len(auc)))])
    # The mean point of the plane at the threshold that calls a tenth of all pairs members.
    path = []
    for t in range(len(TIMES)):
        scores = seepage.score(run, seepage.attacks.LOSS(), checkpoint=t)[:, rows]
        called = scores > np.quantile(scores[~member], 0.9)
        path.append([float(called[~member].mean()), float(called[member].mean())])
    return {**found, "path": path}


def page(told: dict[str, Any]) -> str:
    """The page, from the stored figures alone."""
    lines = [
        "# A poisoned start against a clean one",
        "",
        "Written by `python -m benchmarks.starting_point`, whose docstring says what was done: a",
        "reconstruction of arXiv 2404.01231 on digits, 16 runs for each start, 200 targets of a pool of",
        "1,197. AUC over one model's targets (or other samples), mean of 16 ± its standard error; runs",
        "share samples, so that the error is a rough one. TPR: of LOSS at the threshold that calls a tenth",
        "of the non-members members.",
        "",
    ]
    titles = {"none": "no start", "clean": "clean start", "poisoned": "poisoned start"}
    for part in ("targets", "others"):
        lines += [f"## {part.capitalize()}", "", "| start | epoch | accuracy of the pool | LOSS | LiRA | TPR |", "|---|---|---|---|---|---|"]  # fmt: skip
        for name, found in told["starts"].items():
            for t, epoch in enumerate(told["times"]):
                a, b = (found[part][k][t] for k in ("loss", "lira"))
                lines.append(
                    f"| {titles[name]} | {epoch:g} | {found['accuracy'][t]:.3f} | {a[0]:.3f} ± {a[1]:.3f} | "
                    f"{b[0]:.3f} ± {b[1]:.3f} | {found[part]['path'][t][1]:.3f} |"
                )
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Measure, unless only the page is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true")
    if not parser.parse_args().page:
        OUT.write_text(json.dumps(measured(), indent=1) + "\n")
    PAGE.write_text(page(json.loads(OUT.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
