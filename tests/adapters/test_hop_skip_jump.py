"""The boundary by labels alone, with the real Adversarial Robustness Toolbox."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from seepage.probes.boundary import boundary_distance


def test_it_comes_near_a_linear_network_s_distance() -> None:
    rng = np.random.default_rng(0)
    net = nn.Linear(5, 2).requires_grad_(False).eval()
    net.weight.copy_(torch.from_numpy(rng.normal(size=(2, 5))))
    x = torch.from_numpy(rng.normal(size=(12, 5)).astype(np.float32))
    z = net(x).double()
    y = z.argmax(dim=1)
    truth = ((z[:, 0] - z[:, 1]).abs() / (net.weight[0] - net.weight[1]).norm()).numpy()
    y[:4] = 1 - y[:4]
    truth[:4] = 0
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    found = [boundary_distance(net, x, y, q, generator=np.random.default_rng(0)) for q in (60, 400)]
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    for (distance, queries), most in zip(found, (60, 400), strict=True):
        assert distance[:4].tolist() == [0.0] * 4
        assert queries[:4].tolist() == [1] * 4
        assert queries.max() == most
        assert (distance >= truth * (1 - 1e-5)).all()
    assert (found[1][0] <= found[0][0]).all()
    np.testing.assert_allclose(found[1][0], truth, rtol=0.1)
