"""Layers that are torch's within rounding: as near to float64 as it, the same bits however they are shared."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from seepage.models import build
from seepage.models.fused import Fusing, fused_layers, fuses
from seepage.models.rounded import can_convolve, can_normalise, convolve, norm_relu
from seepage.native.library import LEVELS, level, limited, multiplies_bf16

pytestmark = pytest.mark.skipif(not multiplies_bf16(), reason="no kernels in bfloat16 here")
NEAR = 1e-5  # of gradients that are sums in float32, in L2
HALF = 3e-3  # of what is rounded to bfloat16


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2 + 1
    return x.bfloat16().contiguous(memory_format=torch.channels_last)


def error(found: torch.Tensor, true: torch.Tensor) -> float:
    return float((found.double() - true).norm() / true.norm())


@pytest.mark.parametrize(
    ("shape", "to", "stride"),
    [
        ((3, 16, 7, 9), 32, 1),  # odd sides, half a vector of channels
        ((5, 48, 8, 8), 64, 1),  # several images a chunk, the last chunk smaller
        ((2, 32, 9, 11), 64, 2),
        ((3, 64, 8, 6), 32, 2),
        ((1, 32, 5, 150), 32, 1),  # an image of several chunks
        ((1, 16, 21, 130), 32, 2),
        ((130, 16, 1, 1), 32, 1),
        ((2, 16, 2, 3), 32, 2),
        ((3, 16, 1, 5), 64, 2),
    ],
)
def test_gradients_of_convolutions(shape: tuple[int, ...], to: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(shape[1], to, 3, stride=stride, padding=1, bias=to == 32)
    layer.weight.data = layer.weight.data.bfloat16().float()
    x = images(*shape).requires_grad_()
    assert can_convolve(layer, x)
    out = convolve(layer, x)
    slope = images(*out.shape, seed=1)
    asked = [x, *layer.parameters()]
    found = torch.autograd.grad(out, asked, slope, retain_graph=True)
    exact = copy.deepcopy(layer).double()
    z = x.detach().double().requires_grad_()
    value = exact(z)
    true = torch.autograd.grad(value, [z, *exact.parameters()], slope.double())
    assert error(out.detach(), value.detach()) < HALF
    assert error(found[0], true[0]) < HALF
    assert all(error(a, b) < NEAR for a, b in zip(found[1:], true[1:], strict=True))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with limited(threads=3):
            again = torch.autograd.grad(out, asked, slope)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


@pytest.mark.parametrize("shape", [(4, 16, 9, 8), (3, 64, 20, 21), (2, 100, 3, 5), (7, 3, 5, 5)])
def test_norm_and_relu(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(shape[1], momentum=0.3)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    exact = copy.deepcopy(norm).double()
    # A mean that is far from 0 costs no digits of the spread.
    x = (images(*shape) + 200 * torch.arange(shape[1])[:, None, None] / shape[1]).bfloat16()
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    assert can_normalise(norm, nn.ReLU(), x)
    slope = images(*shape, seed=1)
    bits: list[list[torch.Tensor]] = []
    for at, threads in [*((v, 1) for v in LEVELS[1 : 1 + LEVELS.index(level())]), (level(), 3)]:
        one, before = copy.deepcopy(norm), torch.get_num_threads()
        try:
            torch.set_num_threads(threads)
            with limited(level=at, threads=threads):
                out = norm_relu(one, x)
                found = torch.autograd.grad(out, [x, one.weight, one.bias], slope)
        finally:
            torch.set_num_threads(before)
        bits.append([out.detach(), *found, *one.buffers()])
    assert all(torch.equal(a, b) for other in bits[1:] for a, b in zip(bits[0], other, strict=True))
    z = x.detach().double().requires_grad_()
    value = torch.relu(exact(z))
    true = torch.autograd.grad(value, [z, exact.weight, exact.bias], slope.double())
    for a, b in zip(bits[0], [value.detach(), *true, *exact.buffers()], strict=True):
        assert error(a, b.double()) < (HALF if a.dtype is torch.bfloat16 else 1e-5)


def test_they_are_differentiable_again() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32)
    x = images(4, 16, 6, 6)
    second = []
    for fused in (True, False):
        z = x.float().requires_grad_() if fused else x.double().requires_grad_()
        one, two = (conv, norm) if fused else (copy.deepcopy(v).double() for v in (conv, norm))
        mine = norm_relu(two, convolve(one, z.bfloat16())) if fused else None  # type: ignore[arg-type]
        out = mine if mine is not None else torch.relu(two(one(z)))
        asked = [z, one.weight]
        first = torch.autograd.grad((out * out).mean(), asked, create_graph=True)
        second.append(torch.autograd.grad(sum(g.square().sum() for g in first), asked))
    for a, b in zip(*second, strict=True):
        assert error(a, b) < 0.05  # a chain of roundings to bfloat16


@pytest.mark.parametrize(
    "why", ["bits", "hook", "evaluation", "layout", "kernels", "still", "precision"]
)
def test_they_stand_back(why: str) -> None:
    torch.manual_seed(0)
    layers = Fusing(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
    x = images(2, 16, 4, 4)
    if why == "hook":
        for layer in layers:
            layer.register_forward_hook(lambda *_: None)
    elif why == "evaluation":
        layers.eval().requires_grad_(False)
        x.requires_grad_()
    elif why == "layout":
        x = x.contiguous(memory_format=torch.contiguous_format)
    elif why == "still":
        layers[0].requires_grad_(False)
        layers[1].eval()
    plain = nn.Sequential(*copy.deepcopy(layers))
    with (
        torch.autocast("cpu", torch.bfloat16, enabled=why != "precision"),
        limited(level="none" if why == "kernels" else None),
        fused_layers(rounding=why != "bits"),
    ):
        if why == "precision":
            x = x.float()
        out = layers(x)
        assert not fuses(out)
        assert torch.equal(out, plain(x))


@pytest.mark.parametrize("name", ["cnn-2", "wrn-10-2"])
def test_networks_learn_the_same_within_rounding(name: str) -> None:
    torch.manual_seed(0)
    net = build(name, (3, 32, 32), 10).to(memory_format=torch.channels_last)
    x = torch.randn(8, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    y = torch.arange(8)
    slopes = []
    for rounding in (True, False):
        one = copy.deepcopy(net)
        with torch.autocast("cpu", torch.bfloat16), fused_layers(rounding=rounding):
            logits = one(x)
        assert fuses(logits) is rounding
        nn.functional.cross_entropy(logits.float(), y).backward()
        slopes.append(torch.cat([p.grad.flatten() for p in one.parameters() if p.grad is not None]))
        assert {*one.state_dict()} == {*net.state_dict()}
    assert torch.cosine_similarity(*slopes, dim=0) > 0.98
