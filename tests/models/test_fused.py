"""Fused layers give the bits of the layers they stand for, and stand back where they cannot."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from seepage.models import build
from seepage.models.fused import Fusing, fused_layers, pool_relu
from seepage.native.library import LEVELS, level, limited

pytestmark = pytest.mark.skipif(level() == "none", reason="no compiled kernels here")


def images(dtype: torch.dtype, shape: tuple[int, ...] = (3, 5, 7, 9)) -> torch.Tensor:
    """Few values, so that windows tie, with everything a float can be among them."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(-2, 3, shape, generator=rng).to(dtype)
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0, 1e-40], dtype=dtype)
    some = x.view(-1)[:: max(1, x.numel() // 40)]
    some.copy_(odd.repeat(20)[: some.numel()])
    return x.contiguous(memory_format=torch.channels_last)


def plainly(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.relu(nn.functional.max_pool2d(x, 2))


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.equal(a.nan_to_num(7e7), b.nan_to_num(7e7)))


@pytest.mark.parametrize("at", LEVELS[1:])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5, 7, 9), (4, 64, 8, 8), (1, 1, 2, 3)])
def test_values_and_gradients_are_those_of_both_layers(
    at: str, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    x = images(dtype, shape).requires_grad_()
    with limited(level=at):
        found, expected = pool_relu(x), plainly(x)
        assert same(found, expected)
        assert same(pool_relu(x.detach()), expected)
        slope = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        (a,) = torch.autograd.grad(found, x, slope)
        (b,) = torch.autograd.grad(expected, x, slope)
        assert same(a, b)


def test_it_is_differentiable_again() -> None:
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)
    second = []
    for layer in (pool_relu, plainly):
        z = x.clone().requires_grad_()
        (g,) = torch.autograd.grad((layer(z * z) ** 2).sum(), z, create_graph=True)
        second.append(torch.autograd.grad((g**3).sum(), z)[0])
    torch.testing.assert_close(second[0], second[1])
    torch.library.opcheck(torch.ops.seepage.pool_relu.default, (x,))


@pytest.mark.parametrize("name", ["cnn-2", "resnet9", "vgg11"])
def test_networks_train_to_the_same_bits(name: str) -> None:
    torch.manual_seed(0)
    net = build(name, (3, 32, 32), 10).to(memory_format=torch.channels_last)
    x = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    y = torch.tensor([1, 2, 3, 4])
    losses = []
    for fused in (True, False):
        one = copy.deepcopy(net)
        sgd = torch.optim.SGD(one.parameters(), lr=0.01, momentum=0.9)
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16):
                if fused:
                    with fused_layers():
                        logits = one(x)
                    assert "PoolRelu" in _graph(logits)
                else:
                    logits = one(x)
            nn.functional.cross_entropy(logits.float(), y).backward()
            sgd.step()
            sgd.zero_grad()
        losses.append([p.detach() for p in one.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*losses, strict=True))
    assert {*one.state_dict()} == {*net.state_dict()}


def _graph(out: torch.Tensor) -> str:
    seen, waiting = set(), [out.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [n for n, _ in node.next_functions]
    return " ".join(str(node.name()) for node in seen)


@pytest.mark.parametrize("why", ["layout", "type", "hook", "kernels", "window", "context"])
def test_it_stands_back(why: str) -> None:
    layers = Fusing(nn.MaxPool2d(3 if why == "window" else 2), nn.ReLU())
    x = torch.randn(2, 3, 6, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    seen: list[int] = []
    if why == "layout":
        x = torch.randn(2, 3, 6, 6, requires_grad=True)
    elif why == "type":
        x = x.detach().double().requires_grad_()
    elif why == "hook":
        layers[1].register_forward_hook(lambda *_: seen.append(1))
    with limited(level="none" if why == "kernels" else None):
        if why == "context":
            out = layers(x)
        else:
            with fused_layers():
                out = layers(x)
    assert "PoolRelu" not in _graph(out)
    assert torch.equal(out, nn.Sequential(*layers)(x))
    assert len(seen) == (2 if why == "hook" else 0)
