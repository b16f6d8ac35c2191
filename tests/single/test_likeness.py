"""A network, and its references, that are asked about other inputs than they were trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.single import TrainedReferences

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 240)
X = (RNG.normal(size=(240, 6)) + np.eye(6)[Y]).astype(np.float32)


def fitted(inputs: np.ndarray, labels: np.ndarray, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
    x, y = torch.tensor(inputs), torch.tensor(labels)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return net.eval()


NET = fitted(X[:120], Y[:120])


@pytest.mark.parametrize(("factor", "said"), [(1, ""), (10, "divided by 10"), (0.1, "times 10")])
def test_another_scale_is_noted(factor: float, said: str) -> None:
    x = X * np.float32(factor)
    one = seepage.audit(NET, (x[:120], Y[:120]), (x[120:], Y[120:]), blind=False)
    notes = [n for n in one.notes if n.startswith("inputs: ")]
    assert len(notes) == (said != "")
    assert all(said in n for n in notes)


def test_an_estimator_that_saw_inputs_prepared_otherwise_is_noted() -> None:
    from sklearn.ensemble import RandomForestClassifier

    x = np.exp(2 * X + 1).astype(np.float64)
    means, spread = x.mean(axis=0), x.std(axis=0)
    for how, prepared in (
        ("", x),
        ("standardised", (x - means) / spread),
        ("as log(1 + x)", np.log1p(x)),
    ):
        forest = RandomForestClassifier(10, random_state=0).fit(prepared[:120], Y[:120])
        one = seepage.audit(forest, (x[:120], Y[:120]), (x[120:], Y[120:]), blind=False)
        notes = [n for n in one.notes if n.startswith("inputs: ")]
        assert len(notes) == (how != "")
        assert all(n.startswith(f"inputs: {how} they would be") for n in notes)


@pytest.mark.parametrize("factor", [1, 0.001])
def test_references_that_are_trained_otherwise_are_noted(factor: float) -> None:
    def train(inputs: np.ndarray, labels: np.ndarray, seed: int) -> nn.Module:
        return fitted(inputs * np.float32(factor), labels, seed)

    references = TrainedReferences(train, seconds=20, most=4)
    sides = ((X[:120], Y[:120]), (X[120:], Y[120:]))
    one = seepage.audit(NET, *sides, references=references, blind=False)
    assert any("of what they were trained on, the model on" in n for n in one.notes) == (factor < 1)
