"""Networks that are one chain of layers: multilayer perceptron, small CNN by depth, VGG-11."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import nn

from seepage.errors import InputError
from seepage.models.base import Network, check_classes, check_count, check_image
from seepage.models.fused import Fusing

__all__ = ["CNN", "MLP", "VGG", "cnn", "mlp", "vgg11"]


@final
class MLP(Network):
    """Linear + ReLU layers on the flattened input, then the head."""

    def __init__(self, inputs: int, classes: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        widths = (inputs, *hidden)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths)
        )
        self.head = nn.Linear(widths[-1], classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x)
        return x

    def body(self) -> Mapping[str, nn.Module]:
        return {f"layer{i}": layer for i, layer in enumerate(self.layers, start=1)}


def mlp(in_shape: tuple[int, ...], classes: int, *, hidden: Sequence[int] = (256,)) -> MLP:
    """Perceptron with ReLU layers of the widths `hidden`; for tables and flattened images.

    in_shape: shape of one input, any number of axes; `hidden=()` is a linear classifier.

    >>> sum(p.numel() for p in mlp((4,), 3, hidden=(8,)).parameters())
    67
    """
    if not in_shape or min(in_shape) < 1:
        raise InputError(f"in_shape: expected the shape of one input, got {tuple(in_shape)}")
    if not isinstance(hidden, list | tuple):
        raise InputError(f"hidden: expected a list of layer widths, got {hidden!r}")
    widths = tuple(check_count(f"hidden[{i}]", w, 1) for i, w in enumerate(hidden))
    return MLP(math.prod(in_shape), check_classes(classes), widths)


@final
class CNN(Network):
    """Blocks of 3×3 convolution, 2×2 max-pool, ReLU; one hidden layer; the head.

    The pool stands before the ReLU: max and ReLU commute, so the function is the same, and the
    ReLU then touches a quarter of the values.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], classes: int, blocks: int, width: int, hidden: int
    ) -> None:
        super().__init__()
        channels, height, side = in_shape
        self.convolutions = nn.ModuleList()
        for i in range(blocks):
            out = width * 2**i
            self.convolutions.append(
                Fusing(nn.Conv2d(channels, out, 3, padding=1), nn.MaxPool2d(2), nn.ReLU())
            )
            channels, height, side = out, height // 2, side // 2
        flat = channels * height * side
        self.hidden = nn.Sequential(nn.Linear(flat, hidden), nn.ReLU()) if hidden else None
        self.head = nn.Linear(hidden or flat, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.convolutions:
            x = block(x)
        x = x.flatten(1)
        return x if self.hidden is None else self.hidden(x)

    def body(self) -> Mapping[str, nn.Module]:
        parts: dict[str, nn.Module] = {
            f"block{i}": block for i, block in enumerate(self.convolutions, start=1)
        }
        if self.hidden is not None:
            parts["hidden"] = self.hidden
        return parts


def cnn(
    in_shape: tuple[int, ...],
    classes: int,
    *,
    blocks: int = 2,
    width: int = 32,
    hidden: int = 128,
) -> CNN:
    """Convolutional network of 1 to 4 blocks, filters doubling from `width`, no normalisation.

    hidden: units of the layer before the head; 0 puts the head on the flattened maps.

    >>> list(cnn((1, 28, 28), 10).blocks())
    ['block1', 'block2', 'hidden', 'head']
    """
    check_count("blocks", blocks, 1, 4)
    image = check_image(in_shape, f"a CNN of {blocks} blocks", side=2**blocks)
    check_count("width", width, 1)
    check_count("hidden", hidden, 0)
    return CNN(image, check_classes(classes), blocks, width, hidden)


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
            self.stages.append(Fusing(*layers))
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
