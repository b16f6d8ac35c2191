"""Networks trained by Lightning, and what each epoch of that training tells of its members.

    python examples/lightning_loop.py

Eight runs on random halves of 600 of scikit-learn's digits, in Lightning's loop with a callback that only
observes; figures of each run also go to its log. Writes the run folder, the logs and a page of figures into
the folder that is named, or the working directory. Needs seepage[lightning].
"""

from __future__ import annotations

import sys
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import seepage

OUT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(".")
data = seepage.load("digits", limit=600)


class Digits(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def train(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
    lightning.seed_everything(seed % 2**32, verbose=False)
    module = Digits()
    recording = seepage.lightning.callback(recorder, network="net", preprocess=lambda x: x / 16)
    pixels, labels = data.inputs[members] / 16, data.labels[members]
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    quiet |= {"enable_checkpointing": False, "logger": CSVLogger(OUT / "logs")}
    trainer = lightning.Trainer(max_epochs=15, callbacks=[recording], **quiet)
    trainer.fit(module, DataLoader(TensorDataset(pixels, labels), batch_size=32, shuffle=True))
    return module


if __name__ == "__main__":
    plan = seepage.half_split(len(data), models=8, seed=0)
    run = seepage.train(data, plan, function=train, out=OUT / "lightning", executor="inline")
    for t, epoch in enumerate(run.checkpoints):
        scores = seepage.score(run, seepage.attacks.RMIA(), checkpoint=t)
        auc = [seepage.metrics.auc(s, m) for s, m in zip(scores, run.member, strict=True)]
        print(f"epoch {epoch:g}: RMIA AUC {np.mean(auc):.3f}")
    seepage.write_report(run, OUT / "lightning.html")
