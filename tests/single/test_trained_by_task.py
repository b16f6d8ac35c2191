"""References that are trained for a target of every task, and what is read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.errors import InputError
from seepage.signals.tasks import gaussian_loss
from seepage.signals.tasks import task as task_named
from seepage.single import TrainedReferences

N = 60
RNG = np.random.default_rng(1)
X = RNG.normal(size=(N, 4)).astype(np.float32)
ONE = seepage.Execution(workers=1, device="cpu", save_every=0)
RECIPE = seepage.Recipe(epochs=3, batch=10, lr=0.05)
TARGETS: dict[str, Any] = {
    "binary": (X[:, 0] > 0).astype(np.int64),
    "multi-label": (X[:, :3] > 0).astype(np.float64),
    "regression": 5 + X[:, 0].astype(np.float64) + RNG.normal(size=N),
    "soft-labels": RNG.dirichlet(np.ones(3), size=N),
}
WAYS = {
    "binary": ("recipe",),
    "multi-label": ("function", "fleet"),
    "regression": ("recipe", "function", "fleet"),
    "soft-labels": ("recipe",),
}


@pytest.mark.parametrize("name", TARGETS)
def test_references_of_every_task(name: str, tmp_path: Path) -> None:
    task, y = task_named(name), TARGETS[name]
    columns = y.shape[1] if y.ndim == 2 else 1

    def network() -> nn.Module:
        return nn.Linear(4, columns)

    def fitted(net: nn.Module, x: Any, targets: Any) -> nn.Module:
        step = torch.optim.SGD(net.parameters(), 0.05)
        for _ in range(3):
            z, asked = net(torch.as_tensor(x)), torch.as_tensor(targets)
            if name == "binary":
                loss = nn.functional.binary_cross_entropy_with_logits(z[:, 0], asked.float())
            else:
                loss = task.loss(z, asked)
            step.zero_grad()
            loss.backward()
            step.step()
        return net

    def learn(inputs: Any, targets: Any, seed: int) -> nn.Module:
        return fitted(network(), inputs, targets)

    def run_of_a_fleet(members: Any, seed: int, recorder: seepage.Recorder) -> nn.Module:
        net = network()
        recorder.start(net, epochs=1)
        fitted(net, recorder.inputs(members), y[members])
        recorder.epoch_end()
        return net

    sides = (X[:30], y[:30]), (X[30:], y[30:])
    ways: dict[str, dict[str, Any]] = {
        "recipe": {"model": network, "recipe": RECIPE},
        "function": {"train": learn},
        "fleet": {"train": run_of_a_fleet},
    }
    for way in WAYS[name]:
        how = ways[way]
        made = TrainedReferences(**how, most=2, folder=tmp_path / way, execution=ONE)
        one = seepage.audit(network(), *sides, task=name, references=made, blind=False)
        assert one.references == 2
        assert {"calibrated", "attack-r"} & {a.name for a in one.attacks}, one.skipped
        assert ("mentr" in one.skipped) == (name != "binary")
        run = seepage.open(tmp_path / way)
        member = run.member
        assert (member.sum(0) == 1).all()
        if name != "regression":
            assert {"loss"} <= set(run.signals)
            continue
        residual = run.signal_at("residual", -1).astype(np.float64)
        loss = run.signal_at("loss", -1)
        for r, inside, told in zip(residual, member, loss, strict=True):
            # The noise of each is that of what it was not trained on.
            sigma = float(np.sqrt(np.mean(r[~inside] ** 2)))
            np.testing.assert_allclose(
                told, gaussian_loss(torch.from_numpy(r), sigma).numpy(), rtol=1e-5
            )
            assert sigma != pytest.approx(float(np.sqrt(np.mean(r**2))), rel=1e-6)


def test_targets_that_single_precision_does_not_tell_apart_are_refused() -> None:
    y = 1e8 + TARGETS["regression"]
    made = TrainedReferences(model=lambda: nn.Linear(4, 1), recipe=RECIPE, most=2)
    with pytest.raises(InputError, match="that single precision tells apart"):
        seepage.audit(
            lambda x: np.full(len(x), 1e8),
            (X[:30], y[:30]), (X[30:], y[30:]), task="regression", references=made, blind=False,
        )  # fmt: skip
