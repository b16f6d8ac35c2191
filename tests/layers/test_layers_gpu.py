"""The same table wherever the model lives."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from seepage.layers import DegreesOfFreedom, Jacobian, LocalPCA, gradient_norms, probe


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS")
def test_cuda_agrees_with_the_processor() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, 2),
        nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10),
    )  # fmt: skip
    g = torch.Generator().manual_seed(1)
    x = torch.randn(300, 3, 16, 16, generator=g)
    y = torch.arange(300) % 10
    there = copy.deepcopy(net).cuda()
    cpu_before, cuda_before = torch.get_rng_state(), torch.cuda.get_rng_state()
    options = (DegreesOfFreedom(), Jacobian(images=2), LocalPCA(draws=50, images=1))
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        here = probe(net, x, indicators=options)
        far = probe(there, x, indicators=options)
        norms = gradient_norms(net, x, y), gradient_norms(there, x, y)
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
    assert torch.equal(torch.get_rng_state(), cpu_before)
    assert torch.equal(torch.cuda.get_rng_state(), cuda_before)
    for column in ("erank", "participation", "ridge_df", "jac_participation", "spectral_norm"):
        np.testing.assert_allclose(far[column], here[column], rtol=1e-3)
    np.testing.assert_allclose(far.k95, here.k95, atol=1)
    for name, values in norms[0].items():
        np.testing.assert_allclose(norms[1][name], values, rtol=1e-3, atol=1e-6)
