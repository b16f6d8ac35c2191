"""Which modules are taken as layers where nobody names them."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from seepage.layers import (
    DegreesOfFreedom,
    Jacobian,
    choose_layers,
)

CHEAP = (DegreesOfFreedom(), Jacobian(images=1, probes=8, power=2, exact=32))


_X = torch.arange(400.0).reshape(100, 4)


def _images(n: int) -> torch.Tensor:
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_sequential_units_are_read_after_their_activation() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(4 * 49, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 2),
    )  # fmt: skip
    chosen = choose_layers(model, _images(2))
    assert [c.name for c in chosen] == ["2", "6", "8"]
    assert [c.regions for c in chosen] == [("0", "1"), ("5",), ("8",)]


def test_a_pool_may_stand_before_the_activation() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    chosen = choose_layers(model, _images(2))
    assert [c.name for c in chosen] == ["2", "3", "6"]
    assert [c.regions for c in chosen] == [("0",), ("3",), ("6",)]


class InvertedResidual(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Sequential(nn.Conv2d(d, 2 * d, 1), nn.BatchNorm2d(2 * d), nn.Hardswish()),
            nn.Sequential(nn.Conv2d(2 * d, d, 1), nn.BatchNorm2d(d)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x)


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = stage(x)
        return x


def test_an_item_of_a_list_is_a_block_and_a_backbone_is_opened() -> None:
    features = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
        nn.Sequential(InvertedResidual(4)),
        nn.Sequential(InvertedResidual(4), InvertedResidual(4)),
    )
    net = nn.Sequential(OrderedDict(features=features, pool=nn.Flatten(), head=nn.LazyLinear(3)))
    net(_images(1))
    names = [c.name for c in choose_layers(net, _images(2))]
    assert names == ["features.0.1", "features.1.0", "features.2.0", "features.2.1", "head"]
    two = nn.Sequential(OrderedDict(body=Backbone(), head=nn.Linear(4, 2)))
    assert [c.name for c in choose_layers(two, _X)][-1] == "head"
    parent = nn.Module()
    parent.body, parent.head = Backbone(), nn.Linear(4, 2)
    parent.forward = lambda x: parent.head(parent.body(x))
    assert [c.name for c in choose_layers(parent, _X)] == [
        "body.stages.0.1",
        "body.stages.1.1",
        "head",
    ]
