"""A network's answers in the form that its task reads: one logit as two, targets in their units.

Done by a hook of the network, so that whatever asks it, in training or afterwards, gets the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from seepage.errors import InputError
from seepage.models.outputs import check_logits, one_unit
from seepage.signals.tasks import Task, two_logits

__all__ = ["TARGET_SCALE", "OneAsTwo", "answering", "set_target_scale"]

TARGET_SCALE = "seepage_target_scale"
"""Buffer of a network that answers a real target: the mean and standard deviation of its members'."""


def answering(network: nn.Module, task: Task, classes: int, *, own: bool) -> nn.Module:
    """The network itself, which answers as the task reads.

    own: whether it is of the user's own factory. Of two classes one logit z becomes (0, z). Of a
    real target the unit's answer u becomes mean + deviation · u, (B,), with both in the buffer
    `TARGET_SCALE` and so in kept weights: 0 and 1 until `set_target_scale`.
    """
    if task.name == "regression":
        if not hasattr(network, TARGET_SCALE):
            network.register_buffer(TARGET_SCALE, torch.tensor([0.0, 1.0]))
        _once(network, _in_units)
    elif task.name == "binary":
        _once(network, _one_as_two)
    elif task.name == "classification" and classes == 2 and own:
        _once(network, _as_two)
    return network


class OneAsTwo(nn.Module):
    """A network of one logit z, which is left as it is, answering (0, z)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, 2) of inputs (B, ...)."""
        return two_logits(self.network(x))


def set_target_scale(network: nn.Module, targets: torch.Tensor) -> None:
    """The mean and standard deviation of the members' targets (M,), by which answers are scaled."""
    y = targets.double()
    deviation = float(y.std(correction=0))
    held = getattr(network, TARGET_SCALE)
    held.copy_(torch.tensor([float(y.mean()), deviation if deviation > 0 else 1.0]))


def _once(network: nn.Module, hook: Any) -> None:
    # A factory may hand out the same network each time.
    if hook not in network._forward_hooks.values():
        network.register_forward_hook(hook)


def _as_two(network: nn.Module, given: tuple[Any, ...], outputs: Any) -> Any:
    if _floating(outputs) and given and one_unit(outputs, len(given[0])):
        return two_logits(outputs)
    return outputs


def _one_as_two(network: nn.Module, given: tuple[Any, ...], outputs: Any) -> Any:
    if _floating(outputs) and given and not one_unit(outputs, len(given[0])):
        shape = tuple(outputs.shape)
        if shape == (len(given[0]), 2):
            raise InputError(
                f"model: expected one output unit with task = 'binary', got shape {shape}; set task = "
                "'classification' for two"
            )
        return outputs
    return _as_two(network, given, outputs)


def _in_units(network: nn.Module, given: tuple[Any, ...], outputs: Any) -> Any:
    if not _floating(outputs):
        return check_logits(outputs, given[0], None)
    n = len(given[0])
    if outputs.numel() != n or len(outputs) != n:
        raise InputError(
            f"model: expected one answer per sample, of shape ({n}, 1), with task = 'regression', got "
            f"shape {tuple(outputs.shape)}; end the network in one unit"
        )
    mean, deviation = getattr(network, TARGET_SCALE)
    return outputs.reshape(n).float() * deviation + mean


def _floating(outputs: Any) -> bool:
    return isinstance(outputs, torch.Tensor) and outputs.is_floating_point()
