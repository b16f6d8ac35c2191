"""The same numbers on a GPU, from inputs that lie on the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from seepage.curvature import (
    ExactGaussNewton,
    FiniteDifference,
    Hutchinson,
    LogitProbes,
    Shared,
    TopK,
    ZerothOrder,
    curvature,
)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "estimator",
    [
        ExactGaussNewton(), ExactGaussNewton(TopK(3)), ExactGaussNewton(LogitProbes(5)),
        Hutchinson(5), FiniteDifference(h=1e-2, n=5), ZerothOrder(n=5),
        ZerothOrder(n=5, directions=Shared()),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_gpu_gives_the_numbers_of_the_host(estimator) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(8 * 49, 10),
        ).double().eval()  # fmt: skip
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((40, 3, 16, 16)))
    y = torch.arange(40) % 10
    host = curvature(model, x, y, estimator, generator=np.random.default_rng(1))
    device = curvature(model.cuda(), x, y, estimator, generator=np.random.default_rng(1))
    np.testing.assert_allclose(device.score, host.score, rtol=1e-5)
    for name in ("trace", "frobenius"):
        if getattr(host, name) is not None:
            np.testing.assert_allclose(getattr(device, name), getattr(host, name), rtol=1e-4)
