"""Reproduction: DoF falls, then rises while noisy labels are memorised (digits, three seeds).

The set-up is this library's own small check of the claim of arXiv 2412.00696, not the paper's.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from seepage.layers import DegreesOfFreedom, Jacobian, LayerSignal, change_values, phases

EPOCHS = (0, 1, 2, 5, 12, 35, 100, 200)


def _curves(seed: int, noise: float) -> tuple[dict[str, np.ndarray], float]:
    rng = np.random.default_rng(seed)
    digits = load_digits()
    rows = rng.permutation(len(digits.target))[:700]
    scale = np.where(digits.data.std(0) > 0, digits.data.std(0), 1.0)
    x = torch.from_numpy(((digits.data[rows] - digits.data.mean(0)) / scale).astype(np.float32))
    y = digits.target[rows].copy()
    wrong = rng.random(700) < noise
    y[wrong] = rng.integers(0, 10, int(wrong.sum()))
    labels = torch.from_numpy(y).long()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 128),
            nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
    signal = LayerSignal(
        samples=700,
        indicators=[DegreesOfFreedom(), Jacobian(images=20, double=False)],
        columns=("k95", "erank", "participation", "ridge_df", "jac_rank_1e2"),
    )
    optimiser = torch.optim.SGD(net.parameters(), 0.03, momentum=0.9, weight_decay=1e-4)
    found: dict[str, list[np.ndarray]] = {n: [] for n in signal.names}
    for epoch in range(EPOCHS[-1] + 1):
        if epoch in EPOCHS:
            values = signal.measure(net, x, labels, torch.Generator())
            for n in found:
                found[n].append(values[n])
        for part in rng.permutation(700).reshape(-1, 28):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[part]), labels[part]).backward()
            optimiser.step()
    with torch.no_grad():
        accuracy = float((net(x).argmax(1) == labels).float().mean())
    return {n: np.stack(v) for n, v in found.items()}, accuracy


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dof_falls_then_rises_and_more_so_where_labels_are_memorised(seed: int) -> None:
    noisy, accuracy = _curves(seed, noise=0.2)
    clean, _ = _curves(seed, noise=0.0)
    assert accuracy > 0.98
    third = 2  # hidden layer 3, width 128
    for name in ("layer_k95", "layer_erank", "layer_participation", "layer_ridge_df"):
        p = phases(noisy[name], EPOCHS)
        assert p.both[third], name
        assert p.epoch[third] <= 5, name
        rise = change_values(noisy[name])["cv_rise"][third]
        assert rise > change_values(clean[name])["cv_rise"][third], name
    # About half of the layer's 128 directions, and nearly all of the 61 pixels that vary.
    assert 40 <= noisy["layer_k95"][0, third] <= 75
    assert 45 <= noisy["layer_jac_rank_1e2"][0, third] <= 64
