"""The same weights of text classifiers through every door: one φ, one score, one judgement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import safetensors.torch
import torch
from tests.adapters.test_transformers import DATA, LABELS, N, model, trainer
from torch import nn

import seepage
from seepage.attacks import LOSS, LiRA
from seepage.findings.collect import collect
from seepage.signals import SIGNALS
from seepage.transformers import Logits, tokens, watch

R = 6
PLAN = seepage.half_split(N, models=R, seed=0)
ROW = {PLAN.members(r).tobytes(): r for r in range(R)}
Weights = dict[str, torch.Tensor]


class Still(lightning.LightningModule):
    """One epoch of steps of length 0."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def weights() -> list[Weights]:
    """Of six networks, each of which has learned its members."""
    found = []
    for r in range(R):
        torch.manual_seed(r)
        net = Logits(model()).eval()
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        at = torch.from_numpy(PLAN.members(r))
        for _ in range(12):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(DATA.inputs[at]), DATA.labels[at]).backward()
            optimizer.step()
        found.append({k: v.detach().clone() for k, v in net.state_dict().items()})
    return found


def test_same_weights_through_every_door(tmp_path: Path) -> None:
    held = weights()

    def made(members: np.ndarray) -> nn.Module:
        net = model()
        net.load_state_dict(held[ROW[members.tobytes()]])
        return net

    def plain(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        net = Logits(made(members))
        recorder.start(net)
        recorder.epoch_end()
        return net

    def lightnings(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        module = Still(Logits(made(members)))
        set_of = torch.utils.data.TensorDataset(DATA.inputs[members], DATA.labels[members])
        recording = seepage.lightning.callback(recorder, network="net", log=False)
        lightning.Trainer(
            max_epochs=1, accelerator="cpu", callbacks=[recording], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        ).fit(module, torch.utils.data.DataLoader(set_of, batch_size=8))  # fmt: skip
        return module

    def transformer(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        by = trainer(tmp_path / "t", members, num_train_epochs=1, learning_rate=0.0, bf16=True)
        by.model.load_state_dict(held[ROW[members.tobytes()]])
        watch(by, recorder)
        by.train()
        return by.model

    runs = {
        name: seepage.train(
            DATA, PLAN, out=tmp_path / name, function=seepage.Function(function=function, check=False), checkpoints=[1.0], executor="inline",
            recipe=seepage.Recipe(epochs=1), keep="final", device="cpu",
        )
        for name, function in (("plain", plain), ("lightning", lightnings), ("trainer", transformer))
    }  # fmt: skip
    nets = tmp_path / "nets"
    logits = []
    for r in range(R):
        (nets / f"{r}").mkdir(parents=True)
        safetensors.torch.save_file(held[r], nets / f"{r}" / "epoch-1.safetensors")
        net = made(PLAN.members(r)).eval()
        with torch.no_grad():
            logits.append(net(**tokens(DATA.inputs)).logits.numpy())
    runs["checkpoints"] = seepage.import_checkpoints(
        nets,
        tmp_path / "checkpoints",
        model=lambda: Logits(model()),
        data=DATA,
        members=PLAN.member,
    )
    runs["logits"] = seepage.import_arrays(
        {
            "member": PLAN.member, "logits": np.stack(logits), "labels": LABELS, "ids": DATA.ids,
            "classes": np.array(DATA.classes), "checkpoints": np.array([1.0]),
        },
        tmp_path / "logits",
    )  # fmt: skip
    first = runs.pop("plain")
    assert np.abs(first.signal("phi")).max() > 2
    judged = collect(first, blind=False, permutations=1)
    for door, run in runs.items():
        for name in SIGNALS:
            np.testing.assert_allclose(
                run.signal(name), first.signal(name), rtol=0, atol=1e-5, err_msg=f"{door}, {name}"
            )
        for attack in (LiRA(), LOSS()):
            np.testing.assert_allclose(
                seepage.score(run, attack), seepage.score(first, attack), rtol=1e-3, atol=1e-3
            )
        if door != "logits":
            kept, wanted = run.weights(0), first.weights(0)
            assert kept is not None
            assert wanted is not None
            assert set(kept) == set(wanted)
            assert all(torch.equal(kept[k], wanted[k]) for k in wanted)
        found = collect(run, blind=False, permutations=1)
        assert [a.name for a in found.attacks] == [a.name for a in judged.attacks]
        assert found.skipped.keys() == judged.skipped.keys(), door
        for mine, other in zip(found.attacks, judged.attacks, strict=True):
            assert mine.auc.mean == pytest.approx(other.auc.mean, abs=1e-6), door
            assert mine.null_auc == pytest.approx(other.null_auc, abs=1e-6), door
        page = tmp_path / f"{door}.html"
        seepage.write_report(run, page)
        assert page.stat().st_size > 10_000
