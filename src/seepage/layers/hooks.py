"""Outputs of layers, read through forward hooks without changing the model."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.errors import InputError
from seepage.models.wrapped import merged_network, without_sample_hooks

__all__ = [
    "Inputs",
    "Layer",
    "LayerHooks",
    "batches",
    "call_model",
    "check_inputs",
    "check_outputs",
    "device_of",
    "evaluation_mode",
    "first_tensor",
    "merged_network",
    "pool_positions",
    "sample_count",
    "select_samples",
    "to_device",
]

Inputs = torch.Tensor | Mapping[str, torch.Tensor] | Sequence[torch.Tensor]
"""What a model is called with: one tensor, several in order, or several by keyword."""


@dataclass(frozen=True)
class Layer:
    """One place to measure: the output of call number `call` of the module `module`.

    `name` is what tables show: the module's name, with `#2` for the second call of a module that
    is called several times. `regions` names the modules that hold the weights of this step (the
    linear layer and the norm before an activation): what a defence takes as regions. `depth` orders
    layers by when their output appears in a forward pass; `channels_last` says that outputs of
    three axes are (samples, tokens, features).
    """

    name: str
    module: str
    call: int
    regions: tuple[str, ...]
    depth: int
    channels_last: bool


# ---- inputs -------------------------------------------------------------------------------------


def _parts(inputs: Inputs) -> list[torch.Tensor]:
    if isinstance(inputs, torch.Tensor):
        return [inputs]
    parts = list(inputs.values()) if isinstance(inputs, Mapping) else list(inputs)
    if not parts or not all(isinstance(p, torch.Tensor) for p in parts):
        raise InputError(
            "inputs: expected a tensor, a sequence of tensors or a mapping of names to tensors, "
            f"got {type(inputs).__name__}"
        )
    return parts


def sample_count(inputs: Inputs) -> int:
    """Number of samples; every tensor must have as many rows."""
    sizes = sorted({len(p) if p.ndim else 0 for p in _parts(inputs)})
    if len(sizes) != 1:
        raise InputError(f"inputs: expected equally many samples in every tensor, got {sizes}")
    return sizes[0]


def check_inputs(inputs: Inputs) -> None:
    if sample_count(inputs) < 1:
        raise InputError("inputs: expected at least one sample, got none")
    for p in _parts(inputs):
        if p.dtype == torch.uint8:
            raise InputError(
                "inputs: expected what the model's forward takes, got uint8; "
                "convert to floating point and normalise as in training"
            )
        if p.dtype.is_floating_point and not bool(torch.isfinite(p).all()):
            raise InputError("inputs: expected finite values, got NaN or infinity")


def select_samples(inputs: Inputs, rows: slice | torch.Tensor) -> Inputs:
    """The samples `rows` of every tensor."""
    if isinstance(inputs, torch.Tensor):
        return inputs[rows]
    if isinstance(inputs, Mapping):
        return {k: v[rows] for k, v in inputs.items()}
    return [v[rows] for v in inputs]


def batches(inputs: Inputs, size: int, device: torch.device) -> Iterator[Inputs]:
    """Slices of at most `size` samples on the model's device."""
    if size < 1:
        raise InputError(f"batch: expected at least 1, got {size}")
    for start in range(0, sample_count(inputs), size):
        yield to_device(select_samples(inputs, slice(start, start + size)), device)


def to_device(inputs: Inputs, device: torch.device) -> Inputs:
    if isinstance(inputs, torch.Tensor):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {k: v.to(device) for k, v in inputs.items()}
    return [v.to(device) for v in inputs]


def call_model(model: Callable[..., Any], inputs: Inputs) -> Any:
    """model(tensor), model(*tensors) or model(**tensors)."""
    if isinstance(inputs, torch.Tensor):
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs)


def device_of(model: nn.Module) -> torch.device:
    """Device of the first parameter or buffer; the processor where there is none."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


# ---- model state --------------------------------------------------------------------------------


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards modes, buffers and random streams as before.

    The mode of every module is restored one by one, so a model with some parts frozen in
    evaluation mode comes back so. Streams: torch on all devices, NumPy's and Python's global ones.
    """
    modes = [(m, m.training) for m in model.modules()]
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    legacy, own = np.random.get_state(), random.getstate()  # noqa: NPY002
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=cuda), torch.no_grad(), without_sample_hooks(model):
            for m, _ in modes:
                # Not `model.eval()`: models override `train` to keep parts frozen.
                m.training = False
            yield
    finally:
        for m, mode in modes:
            m.training = mode
        with torch.no_grad():
            for b, was in buffers:
                if not torch.equal(b, was):
                    b.copy_(was)
        np.random.set_state(legacy)  # noqa: NPY002
        random.setstate(own)


# ---- outputs ------------------------------------------------------------------------------------


def first_tensor(output: Any) -> torch.Tensor | None:
    """The first floating-point tensor in an output: a tensor, a tuple, a mapping, or nested."""
    if isinstance(output, torch.Tensor):
        return output if output.dtype.is_floating_point else None
    parts: Sequence[Any] = ()
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif isinstance(output, (tuple, list)):
        parts = output
    for part in parts:
        tensor = first_tensor(part)
        if tensor is not None:
            return tensor
    return None


class _AllRead(Exception):
    """Ends a forward pass once the last wanted output has been read."""


class LayerHooks:
    """Runs a model and passes the outputs of the chosen layers to a function, one call at a time.

    Used as a context manager; outside of it the model carries no hooks. A pass ends as soon as the
    last wanted output has been read.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer]) -> None:
        self.model = merged_network(model)
        self.layers = tuple(layers)
        self._modules = dict(self.model.named_modules(remove_duplicate=False))
        self._made: dict[int, int] = {}
        self._fired = 0
        self._consume: Callable[[int, torch.Tensor], None] | None = None
        self._handles: list[Any] = []

    def __enter__(self) -> LayerHooks:
        for key in dict.fromkeys(layer.module for layer in self.layers):
            self._handles.append(self._modules[key].register_forward_hook(self._hook))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, module: nn.Module, _args: Any, output: Any) -> None:
        if self._consume is None:
            return
        made = self._made.get(id(module), 0)
        self._made[id(module)] = made + 1
        for i, layer in enumerate(self.layers):
            if layer.call != made or self._modules[layer.module] is not module:
                continue
            tensor = first_tensor(output)
            if tensor is None:
                raise InputError(
                    f"{layer.name}: expected a floating-point output, got {type(output).__name__}"
                )
            self._consume(i, tensor)
            self._fired += 1
        if self._fired == len(self.layers):
            raise _AllRead

    def run(
        self,
        inputs: Inputs,
        consume: Callable[[int, torch.Tensor], None],
        forward: Callable[[Inputs], Any] | None = None,
    ) -> None:
        """One pass; `consume(i, output)` is called inside it for every layer i, in order."""
        self._made, self._fired, self._consume = {}, 0, consume
        try:
            if forward is None:
                call_model(self.model, inputs)
            else:
                forward(inputs)
        except _AllRead:
            return
        finally:
            self._consume = None
        missing = [
            layer.name
            for layer in self.layers
            if self._made.get(id(self._modules[layer.module]), 0) <= layer.call
        ]
        raise InputError(
            f"layers: expected the same calls in every forward pass, got none of {missing[0]!r} "
            "in this one; the model's path depends on its inputs, choose a layer on every path"
        )


def check_outputs(layer: Layer, output: torch.Tensor, rows: int, shape: torch.Size | None) -> None:
    """One row per sample, the same shape in every batch, finite."""
    if output.ndim < 1 or len(output) != rows:
        raise InputError(
            f"{layer.name}: expected one row of outputs per sample ({rows}), got shape "
            f"{tuple(output.shape)}; choose a layer with the samples along its first axis"
        )
    if shape is not None and output.shape[1:] != shape:
        raise InputError(
            f"{layer.name}: expected outputs of shape {tuple(shape)} for every sample, got "
            f"{tuple(output.shape[1:])}; pad inputs to one size or choose a pooled layer"
        )
    # The sum is one read; the full test runs only when it gives reason to.
    if not bool(torch.isfinite(output.sum())) and not bool(torch.isfinite(output).all()):
        raise InputError(
            f"{layer.name}: expected finite outputs, got NaN or infinity; "
            "the model has diverged, or its inputs are not normalised as in training"
        )


def pool_positions(output: torch.Tensor, layer: Layer) -> torch.Tensor:
    """(B, C, *space) or (B, tokens, C) -> (B, C) means; (B, d) as it is."""
    if output.ndim <= 2:
        return output.reshape(len(output), -1)
    if output.ndim == 3 and layer.channels_last:
        return output.mean(1)
    return output.flatten(2).mean(2)
