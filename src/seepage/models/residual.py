"""Residual networks: ResNet-9, ResNet-18 and wide ones."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import final

import torch
from torch import nn

from seepage.errors import InputError
from seepage.models.base import Network, check_classes, check_count, check_image
from seepage.models.fused import Fusing, convolved, normalised

__all__ = ["ResNet9", "ResNet18", "WideResNet", "resnet9", "resnet18", "wrn"]


def _conv(inputs: int, outputs: int, *, stride: int = 1, size: int = 3) -> nn.Sequential:
    return Fusing(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _initialise(network: nn.Module) -> None:
    for m in network.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")


class _Basic(nn.Module):
    """Basic block: conv, norm, ReLU, conv, norm, plus shortcut, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, stride=stride)
        self.relu1 = nn.ReLU()
        self.second = _conv(outputs, outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else _conv(inputs, outputs, stride=stride, size=1)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = x if self.shortcut is None else self.shortcut(x)
        y: torch.Tensor = self.relu2(self.second(self.relu1(self.first(x))) + skip)
        return y


class _Staged(Network):
    """A stem, stages, a pool, then the head."""

    stem: nn.Sequential
    stages: nn.ModuleList
    pool: nn.Sequential

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        y: torch.Tensor = self.pool(x)
        return y

    def body(self) -> Mapping[str, nn.Module]:
        stages = {f"stage{i}": stage for i, stage in enumerate(self.stages, start=1)}
        return {"stem": self.stem, **stages}


@final
class ResNet18(_Staged):
    """3×3 stem without pooling, four stages of two basic blocks (1-2-4-8 × width), head."""

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.stem = Fusing(*_conv(channels, width), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Sequential(_Basic(a * width, b * width, stride), _Basic(b * width, b * width, 1))
            for a, b, stride in ((1, 1, 1), (1, 2, 2), (2, 4, 2), (4, 8, 2))
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8 * width, classes)
        _initialise(self)


class _Residual(nn.Module):
    """Input plus two convolutions of the same width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = Fusing(*_conv(width, width), nn.ReLU(), *_conv(width, width), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.inner(x)
        return x + y


@final
class ResNet9(_Staged):
    """Four convolutions, two of them followed by a residual pair; max over pixels; head."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()

        def down(a: int, b: int) -> list[nn.Module]:
            return [*_conv(a, b), nn.MaxPool2d(2), nn.ReLU()]

        self.stem = Fusing(*_conv(channels, 64), nn.ReLU())
        self.stages = nn.ModuleList(
            [
                Fusing(*down(64, 128), _Residual(128)),
                Fusing(*down(128, 256)),
                Fusing(*down(256, 512), _Residual(512)),
            ]
        )
        self.pool = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.head = nn.Linear(512, classes)
        _initialise(self)


def resnet18(in_shape: tuple[int, ...], classes: int, *, width: int = 64) -> ResNet18:
    """ResNet-18 (He et al., arXiv 1512.03385) with the stem that small images are trained with.

    width: channels of the first stage; the later ones have 2, 4 and 8 times as many.

    >>> sum(p.numel() for p in resnet18((3, 32, 32), 10).parameters())
    11173962
    """
    channels, _, _ = check_image(in_shape, "resnet18", side=8)
    return ResNet18(channels, check_classes(classes), check_count("width", width, 1, 1024))


def resnet9(in_shape: tuple[int, ...], classes: int) -> ResNet9:
    """The nine-layer residual network of fast CIFAR training (DAWNBench entries).

    Without their whitening layer and output scaling: a layer fitted to training images would leak
    them by itself.
    """
    channels, _, _ = check_image(in_shape, "resnet9", side=8)
    return ResNet9(channels, check_classes(classes))


class _Block(nn.Module):
    """Two 3×3 convolutions, BatchNorm and ReLU before each.

    Where the shape changes, the shortcut is a 1×1 convolution of the activated input, as in the
    published network; elsewhere it is the untouched input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = normalised(self.norm1, self.relu1, x)
        skip = x if self.shortcut is None else self.shortcut(a)
        y = convolved(self.conv2, normalised(self.norm2, self.relu2, convolved(self.conv1, a)))
        return y + skip


@final
class WideResNet(Network):
    """Stem, three stages of (depth − 4)/6 blocks, BatchNorm + ReLU, mean over pixels, head."""

    def __init__(self, channels: int, classes: int, depth: int, k: int) -> None:
        super().__init__()
        n = (depth - 4) // 6
        widths = (16, 16 * k, 32 * k, 64 * k)
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    _Block(a if j == 0 else b, b, 2 if j == 0 and i > 0 else 1)
                    for j in range(n)
                )
            )
            for i, (a, b) in enumerate(itertools.pairwise(widths))
        )  # fmt: skip
        self.last = Fusing(
            nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Linear(widths[-1], classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        y: torch.Tensor = self.last(x)
        return y

    def body(self) -> Mapping[str, nn.Module]:
        stages = {f"stage{i}": stage for i, stage in enumerate(self.stages, start=1)}
        return {"stem": self.stem, **stages, "last": self.last}


def wrn(in_shape: tuple[int, ...], classes: int, *, depth: int = 16, k: int = 2) -> WideResNet:
    """Wide residual network WRN-depth-k (Zagoruyko & Komodakis, arXiv 1605.07146), no dropout.

    depth: 6n + 4 for n blocks in each of three stages; k: widening factor.

    >>> sum(p.numel() for p in wrn((3, 32, 32), 10, depth=16, k=2).parameters())
    691674
    """
    check_count("depth", depth, 10)
    check_count("k", k, 1)
    if (depth - 4) % 6:
        near = round((depth - 4) / 6) * 6 + 4
        raise InputError(f"depth: expected 6n + 4 (10, 16, 22, 28, ...), got {depth}; try {near}")
    channels, _, _ = check_image(in_shape, f"WRN-{depth}-{k}", side=4)
    return WideResNet(channels, check_classes(classes), depth, k)
