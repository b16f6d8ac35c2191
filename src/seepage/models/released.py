"""A network as its weights are released: quantised, pruned, rounded to bf16."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import util
from typing import Any, final

import torch
from torch import nn

from seepage.errors import InputError
from seepage.models.wrapped import merged_network

__all__ = ["BF16", "Int8", "Pruned", "WeightVariant"]


class WeightVariant(ABC):
    """How weights are released: `of` makes the released network of a trained one."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called on the command line and in reports."""

    @abstractmethod
    def of(self, network: nn.Module) -> nn.Module:
        """The released network, in eval mode; `network` stays as it is.

        Low-rank adapters are added to the weights first.
        """


def _copied(network: nn.Module) -> nn.Module:
    return copy.deepcopy(merged_network(network)).eval()


@final
@dataclass(frozen=True)
class BF16(WeightVariant):
    """Parameters and buffers in floating point rounded to bfloat16, to nearest.

    They are evaluated in the network's own precision, as whoever holds them may do: the rounding of
    weights is released, not that of intermediate results.
    """

    @property
    def name(self) -> str:
        """ "bf16"."""
        return "bf16"

    def of(self, network: nn.Module) -> nn.Module:
        """The network with rounded weights."""
        made = _copied(network)
        with torch.no_grad():
            for tensor in (*made.parameters(), *made.buffers()):
                if tensor.is_floating_point():
                    tensor.copy_(tensor.to(torch.bfloat16))
        return made


@final
@dataclass(frozen=True)
class Pruned(WeightVariant):
    """The share of weights that are smallest in magnitude set to zero, over the whole network.

    Weights are parameters of two axes or more (of linear, convolution, embedding layers); biases and
    normalisation stay. ⌊share · count⌋ of them are set to zero, without training afterwards. Source
    of the rule: Han et al., arXiv 1506.02626.
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise InputError(
                f"share: expected the part of the weights to prune, from 0 to below 1, got {self.share}"
            )

    @property
    def name(self) -> str:
        """As in "pruned-0.5"."""
        return f"pruned-{self.share:g}"

    def of(self, network: nn.Module) -> nn.Module:
        """The network with zeros."""
        made = _copied(network)
        weights = [p for p in made.parameters() if p.ndim >= 2 and p.is_floating_point()]
        if not weights:
            raise InputError(
                f"{self.name}: expected a network with weights of two axes or more, got none in "
                f"{type(network).__name__}; leave this variant out"
            )
        with torch.no_grad():
            sizes = torch.cat([p.abs().flatten().double() for p in weights])
            count = int(self.share * len(sizes))
            keep = torch.ones(len(sizes), dtype=torch.bool)
            # By position: equal magnitudes are pruned in order, never all at once.
            keep[torch.sort(sizes, stable=True).indices[:count]] = False
            for p, kept in zip(
                weights, torch.split(keep, [p.numel() for p in weights]), strict=True
            ):
                p.mul_(kept.view(p.shape))
        return made


@final
@dataclass(frozen=True)
class Int8(WeightVariant):
    """Linear layers dynamically quantised: weights in int8, activations when they are computed.

    By `torchao` where it is installed, else weights by torch's own quantisation, which is deprecated;
    other layers stay as they are. A network without a linear layer is refused: nothing of it would change.

    Activations are quantised row by row, as torchao does: what a sample is answered hangs on no other
    sample of its batch. Torch's own layer takes one scale for a whole batch; of a batch of one row it
    computes the same.
    """

    @property
    def name(self) -> str:
        """ "int8"."""
        return "int8"

    def of(self, network: nn.Module) -> nn.Module:
        """The quantised network."""
        network = merged_network(network)
        if not any(type(m) is nn.Linear for m in network.modules()):
            raise InputError(
                f"int8: expected a network with linear layers, which dynamic quantisation is of, got "
                f"none in {type(network).__name__}; leave this variant out"
            )
        if type(network) is nn.Linear:
            network = nn.Sequential(network)  # the layer itself is replaced within its parent
        made = _copied(network).float()
        with _quiet():
            if util.find_spec("torchao") is not None:
                return _by_torchao(made)
            return _by_torch(made)


# Torch quantises activations to 7 bits, since sums of products of 8 bits may overflow its kernels.
_LEVELS = 127


class _Quantised(nn.Module):
    """A linear layer of weights in int8 and of activations that are quantised row by row.

    Some networks look at a layer's weight: it is there as a float layer has it.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        bias = layer.bias()
        self.register_buffer("weight", layer.weight().dequantize())
        self.register_buffer("bias", None if bias is None else bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As a linear layer, in float32."""
        x = x.float()
        low = x.amin(-1, keepdim=True).clamp(max=0)
        high = x.amax(-1, keepdim=True).clamp(min=0)
        scale = ((high - low) / _LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
        zero = (-low / scale).round()
        q = ((x / scale).round() + zero).clamp(0, _LEVELS)
        return nn.functional.linear((q - zero) * scale, self.weight, self.bias)


def _quiet() -> warnings.catch_warnings[None]:
    """Within it, nothing that a library says of its own quantisation becoming old is shown."""
    caught: warnings.catch_warnings[None] = warnings.catch_warnings(action="ignore")
    return caught


def _by_torchao(network: nn.Module) -> nn.Module:
    from torchao.quantization import (  # type: ignore[import-not-found]
        Int8DynamicActivationInt8WeightConfig,
        quantize_,
    )

    quantize_(network, Int8DynamicActivationInt8WeightConfig())
    return network


def _by_torch(network: nn.Module) -> nn.Module:
    try:
        from torch.ao.nn.quantized.dynamic import Linear
        from torch.ao.quantization import quantize_dynamic
    except ImportError:
        raise InputError(
            "int8: expected torchao, as this torch has no quantisation of its own any more, found "
            "none; pip install torchao"
        ) from None
    engines = [e for e in torch.backends.quantized.supported_engines if e != "none"]
    if not engines:
        raise InputError(
            "int8: expected a torch with a quantisation engine, got none; pip install torchao"
        )
    if torch.backends.quantized.engine == "none":
        torch.backends.quantized.engine = engines[-1]
    made: nn.Module = quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    for parent in list(made.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Linear):
                setattr(parent, name, _Quantised(layer))
    return made
