"""What a layer still tells of its input: closed forms and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from seepage.errors import InputError
from seepage.layers import reconstruction_error


def _x(n: int, d: int = 6) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


def _linear(matrix: np.ndarray) -> nn.Linear:
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    layer.weight.data = torch.tensor(matrix, dtype=torch.float32)
    return layer


def test_a_projection_keeps_its_share_of_the_variance() -> None:
    # Six equal directions, of which the first layer keeps four and the second two.
    net = nn.Sequential(_linear(np.eye(4, 6)), _linear(np.eye(2, 4)))
    error = reconstruction_error(net, _x(4000), _x(5000)[4000:], ridge=1e-6)
    assert error["0"] == pytest.approx(2 / 6, abs=0.03)
    assert error["1"] == pytest.approx(4 / 6, abs=0.03)


def test_equals_ridge_regression_on_the_outputs() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 9), nn.ReLU())
    fit, judge = _x(80), _x(100)[80:]
    with torch.no_grad():
        h, new = net(fit).double().numpy(), net(judge).double().numpy()
    h, new, x = h - h.mean(0), new - h.mean(0), fit.double().numpy()
    mu = 0.05 * (h * h).sum() / len(h)
    guess = new @ np.linalg.solve(h.T @ h + mu * np.eye(9), h.T @ (x - x.mean(0)))
    truth = judge.double().numpy() - x.mean(0)
    want = ((truth - guess) ** 2).sum() / (truth**2).sum()
    got = reconstruction_error(net, fit, judge, ridge=0.05, batch=7)
    assert got["1"] == pytest.approx(want, rel=1e-5)


def test_a_layer_that_never_varies_tells_the_mean_alone() -> None:
    net = nn.Sequential(_linear(np.zeros((3, 6))))
    assert reconstruction_error(net, _x(50), _x(60)[50:])["0"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("fit", "judge", "ridge", "message"),
    [
        (_x(5), _x(5), 0.0, "ridge: expected a share above 0"),
        (_x(1), _x(5), 1e-3, "fit, judge: expected inputs of one shape, at least 2 and 1"),
        (_x(5), _x(5, 4), 1e-3, "fit, judge: expected inputs of one shape"),
    ],
)
def test_bad_input(fit: torch.Tensor, judge: torch.Tensor, ridge: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        reconstruction_error(nn.Linear(6, 2), fit, judge, ridge=ridge)
