"""VGG-11 with BatchNorm for small images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import nn

from seepage.models.base import Network, check_classes, check_image

__all__ = ["VGG", "vgg11"]

_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


@final
class VGG(Network):
    """Five stages of 3×3 convolutions with BatchNorm, a max-pool after each, linear head.

    The last pool of a stage stands before the last ReLU; the function is the same.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for widths in _STAGES:
            layers: list[nn.Module] = []
            for i, width in enumerate(widths):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)]
                if i == len(widths) - 1:
                    layers.append(nn.MaxPool2d(2))
                layers.append(nn.ReLU())
                channels = width
            self.stages.append(nn.Sequential(*layers))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(channels, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = stage(x)
        y: torch.Tensor = self.pool(x)
        return y

    def body(self) -> Mapping[str, nn.Module]:
        return {f"stage{i}": stage for i, stage in enumerate(self.stages, start=1)}


def vgg11(in_shape: tuple[int, ...], classes: int) -> VGG:
    """VGG-11 (Simonyan & Zisserman, arXiv 1409.1556), BatchNorm, one linear layer as classifier.

    Needs 32×32 pixels: five pools halve the sides.

    >>> sum(p.numel() for p in vgg11((3, 32, 32), 10).parameters())
    9231114
    """
    channels, _, _ = check_image(in_shape, "vgg11", side=32)
    return VGG(channels, check_classes(classes))
