"""A plain PyTorch loop with the Recorder: when, and for whom, does it leak?

    python examples/plain_loop.py [FOLDER]

Sixteen runs of the loop below on scikit-learn's digits, each on a random half. The function is tried
first: does it train on the members that it is given, and on no other? Writes the run and report.html.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

import seepage

DATA = seepage.load("digits", limit=400)
EPOCHS = 8


def prepare(x: torch.Tensor) -> torch.Tensor:
    """What the loop does to inputs; the Recorder is told, so that it evaluates alike."""
    return x.flatten(1) / 16


def train(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
    torch.manual_seed(seed % 2**63)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    x, y = prepare(DATA.inputs[members].float()), DATA.labels[members]
    recorder.start(model, epochs=EPOCHS, preprocess=prepare)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(members)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            right = (model(x).argmax(1) == y).double().mean()
        recorder.epoch_end(accuracy=float(right))
    return model


def main(folder: Path) -> None:
    plan = seepage.half_split(len(DATA), models=16, seed=0)
    run = seepage.train(DATA, plan, function=train, out=folder / "run", executor="inline")
    print(run.manifest["provenance"]["function_check"])
    print(seepage.write_report(run, folder / "report.html"))
    scores = seepage.score(run, seepage.attacks.LiRA())
    auc = [seepage.metrics.auc(*pair) for pair in zip(scores, run.member, strict=True)]
    print(f"LiRA: AUC {np.mean(auc):.3f} over {len(auc)} models")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
