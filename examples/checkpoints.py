"""A folder of checkpoints: networks that were trained elsewhere, audited by their weights.

    python examples/checkpoints.py [FOLDER]

The first part stands for your own training; all that is needed of it are the files that it leaves:
net-0.pt, net-1.pt, ... and members.npz, who trained which.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import seepage

DATA = seepage.load("digits", limit=600)  # all samples that any of the networks may have seen
INPUTS = DATA.inputs.float() / 16


def make() -> nn.Module:
    """The architecture, in a function without arguments."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def train_elsewhere(folder: Path, models: int = 16) -> None:
    """Any loop of yours that saves state dicts and who was a member."""
    folder.mkdir()
    plan = seepage.half_split(len(DATA), models=models, seed=0)
    for row in range(models):
        torch.manual_seed(row)
        net, members = make(), plan.members(row)
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(INPUTS[members]), DATA.labels[members]).backward()
            optimizer.step()
        torch.save(net.state_dict(), folder / f"net-{row}.pt")
    names = {f"net-{row}": plan.member[row] for row in range(models)}
    np.savez(folder / "members.npz", **names)


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    train_elsewhere(place / "checkpoints")
    # As the command: seepage import checkpoints run --model examples/checkpoints.py:make
    #     --data data.toml --divide 16, where data.toml holds [data], name = "digits" and limit = 600
    # on a line each.
    run = seepage.import_run(place / "checkpoints", place / "run", model=make, data=DATA, divide=16)
    members, others = np.mean([run.records[int(r)]["accuracy"][-1] for r in run.models], axis=0)
    print(f"accuracy: members {members:.3f}, others {others:.3f}")
    scores = seepage.score(run, seepage.attacks.LiRA())
    auc = [seepage.metrics.auc(s, m) for s, m in zip(scores, run.member, strict=True)]
    print(f"LiRA: AUC {np.mean(auc):.3f} over {len(auc)} networks")
    print(f"report: {seepage.write_report(run, place / 'report.html')}")
    print(f"next: seepage layers {place / 'run'} --model {__file__}:make")
