"""What every reference network offers, and the checks that their factories share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import nn

from seepage.errors import InputError

__all__ = ["Network", "check_classes", "check_count", "check_image"]


class Network(nn.Module, ABC):
    """A classifier made of a body and one linear head: `forward(x) = head(features(x))`.

    The head runs in the precision of its own weights (float32 unless the caller casts it) with
    autocast off, so a body in bfloat16 still gives float32 logits: signals are read from logits,
    and rounding them to 8 bits of mantissa would tie confident samples.

    Every non-linearity is a module (`nn.ReLU`, `nn.MaxPool2d`), used once, never in place: hooks
    see each activation, and probes can tell from the modules that a network is piecewise linear.
    """

    head: nn.Linear

    @abstractmethod
    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs (B, *in_shape) -> the head's inputs (B, F)."""

    @abstractmethod
    def body(self) -> Mapping[str, nn.Module]:
        """Regions before the head, from the input on."""

    def blocks(self) -> dict[str, nn.Module]:
        """Ordered regions, name -> module; every parameter lies in exactly one of them."""
        return {**self.body(), "head": self.head}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes) of inputs (B, *in_shape)."""
        f = self.features(x)
        with torch.autocast(f.device.type, enabled=False):
            logits: torch.Tensor = self.head(f.to(self.head.weight.dtype))
            return logits


def check_count(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` as an int in low..high, or an InputError that names it."""
    span = f"an integer of at least {low}" if high is None else f"an integer in {low}..{high}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name}: expected {span}, got {value!r}")
    if value < low or (high is not None and value > high):
        raise InputError(f"{name}: expected {span}, got {value}")
    return value


def check_classes(classes: int) -> int:
    """Outputs: one for each class, or one unit for two classes or a real target."""
    return check_count("classes", classes, 1)


def check_image(in_shape: tuple[int, ...], network: str, *, side: int = 1) -> tuple[int, int, int]:
    """`in_shape` as (C, H, W) with both sides at least `side` pixels."""
    if len(in_shape) != 3:
        raise InputError(
            f"in_shape: {network} expects images (channels, height, width), got "
            f"{tuple(in_shape)}; use 'mlp' for tables"
        )
    c, h, w = in_shape
    if c < 1 or min(h, w) < side:
        raise InputError(
            f"in_shape: {network} expects images of at least {side}x{side} pixels, got "
            f"{tuple(in_shape)}; use fewer blocks or a smaller network"
        )
    return c, h, w
