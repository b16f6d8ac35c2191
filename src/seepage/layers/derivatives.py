"""Layers of a model as functions of one sample, and their directional derivatives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from seepage.errors import InputError
from seepage.layers.hooks import Inputs, LayerHooks, call_model

__all__ = [
    "LayerFunctions",
    "free_inputs",
    "full_jacobian",
    "jacobian_products",
    "largest_singular_value",
    "tangent_capacity",
    "unfused_attention",
]

Function = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


def tangent_capacity(device: torch.device) -> int:
    """Values of tangents held at once by one vectorised pass."""
    return 2**28 if device.type == "cuda" else 2**25


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Attention without fused kernels, which have no forward-mode derivative."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            # The first forward-mode derivative of a process makes torch load rules of its own by a
            # function that it deprecates itself, as one kind of warning or, from 2.14, another.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class LayerFunctions:
    """Layers as functions of one sample's input, or of its embedding where inputs are tokens."""

    def __init__(self, model: nn.Module, sample: Inputs, double: bool) -> None:
        self.model = model
        self.sample = sample
        self.state: dict[str, torch.Tensor] | None = None
        first = sample if isinstance(sample, torch.Tensor) else _leading(sample)
        self.embedding: nn.Module | None = None
        if first.dtype.is_floating_point:
            self.x = first
        else:
            self.embedding, self.x = _embedded(model, sample)
        kind = torch.float64 if double else self.x.dtype
        self.x = _plain(self.x.to(kind))
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        state = {
            k: _plain(v.detach().to(kind if double else v.dtype))
            if v.dtype.is_floating_point
            else v
            for k, v in tensors.items()
        }
        if double or any(state[k].stride() != v.stride() for k, v in tensors.items()):
            self.state = state

    def layers(self, hooks: LayerHooks) -> Function:
        def outputs(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found: list[torch.Tensor] = [x] * len(hooks.layers)

            def keep(i: int, out: torch.Tensor) -> None:
                # A copy: a later in-place activation would write into what was kept.
                found[i] = out.reshape(-1).clone()

            hooks.run(self._inputs(x), keep, self._forward(x))
            return tuple(found)

        return outputs

    def _inputs(self, x: torch.Tensor) -> Inputs:
        sample = self.sample
        if self.embedding is not None:
            return sample
        if isinstance(sample, torch.Tensor):
            return x
        if isinstance(sample, Mapping):
            key = next(iter(sample))
            return {k: x if k == key else self._cast(v) for k, v in sample.items()}
        return [x, *(self._cast(v) for v in sample[1:])]

    def _cast(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.x.dtype) if value.dtype.is_floating_point else value

    def _forward(self, x: torch.Tensor) -> Callable[[Inputs], Any]:
        def forward(inputs: Inputs) -> Any:
            if self.state is None:
                return call_model(self.model, inputs)
            if isinstance(inputs, torch.Tensor):
                return functional_call(self.model, self.state, (inputs,))
            if isinstance(inputs, Mapping):
                return functional_call(self.model, self.state, (), dict(inputs))
            return functional_call(self.model, self.state, tuple(inputs))

        if self.embedding is None:
            return forward
        embedding = self.embedding

        def with_embedding(inputs: Inputs) -> Any:
            handle = embedding.register_forward_hook(lambda *_: x, prepend=True)
            try:
                return forward(inputs)
            finally:
                handle.remove()

        return with_embedding


def _plain(v: torch.Tensor) -> torch.Tensor:
    """The tensor in row-major order: others, channels-last among them, lack vectorised rules."""
    if v.stride() == torch.empty(v.shape, device="meta").stride():
        return v
    return v.clone(memory_format=torch.contiguous_format)


def _leading(sample: Mapping[str, torch.Tensor] | Sequence[torch.Tensor]) -> torch.Tensor:
    return next(iter(sample.values())) if isinstance(sample, Mapping) else sample[0]


def _embedded(model: nn.Module, sample: Inputs) -> tuple[nn.Module, torch.Tensor]:
    """The token embedding (as the model names it, else the first one called) and its output."""
    ask = getattr(model, "get_input_embeddings", None)
    named = ask() if callable(ask) else None
    found: list[tuple[nn.Module, torch.Tensor]] = []

    def note(module: nn.Module, _args: Any, output: torch.Tensor) -> None:
        found.append((module, output.detach()))

    kinds: list[nn.Module] = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    if isinstance(named, nn.Module):
        kinds = [named]
    handles = [m.register_forward_hook(note) for m in kinds]
    try:
        call_model(model, sample)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise InputError(
            "inputs: expected floating-point inputs or a model with a token embedding, got "
            "integers and no nn.Embedding; a derivative needs something continuous"
        )
    return found[0]


def free_inputs(x: torch.Tensor, patch: int | None) -> torch.Tensor:
    """Flat positions of the inputs to differentiate by: all, or a central square of pixels.

    x (1, C, H, W) with a patch; anything else has no pixels to choose from.
    """
    if patch is None:
        return torch.arange(x.numel(), device=x.device)
    if x.ndim != 4 or patch > min(x.shape[2:]):
        raise InputError(
            f"patch: expected images of at least {patch} x {patch} pixels, got inputs of shape "
            f"{tuple(x.shape[1:])}; leave out the patch"
        )
    mask = torch.zeros(x.shape, dtype=torch.bool, device=x.device)
    top, left = ((side - patch) // 2 for side in x.shape[2:])
    mask[..., top : top + patch, left : left + patch] = True
    return mask.reshape(-1).nonzero()[:, 0]


def _jvp(f: Function, x: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    tangents: tuple[torch.Tensor, ...] = jvp(f, (x,), (v,))[1]
    return tangents


def jacobian_products(
    f: Function, x: torch.Tensor, directions: torch.Tensor, widest: int
) -> tuple[torch.Tensor, ...]:
    """J_l v for every layer l and direction: directions (k, *x) -> one (k, d_l) per layer."""
    chunk = max(min(len(directions), tangent_capacity(x.device) // max(widest, 1)), 1)

    def push(v: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _jvp(f, x, v)

    try:
        return vmap(push, chunk_size=chunk)(directions)
    except RuntimeError as error:
        if "vmap" not in str(error) and "batch" not in str(error).lower():
            raise
        # Operations without a batching rule, or a path that depends on values: one at a time.
        rows = [push(v) for v in directions]
        return tuple(torch.stack([r[i] for r in rows]) for i in range(len(rows[0])))


def full_jacobian(f: Function, x: torch.Tensor, d: int) -> torch.Tensor:
    """The whole Jacobian (d, d0) of the only layer of f, row by row."""
    pull = vjp(lambda v: f(v)[0], x)[1]
    eye = torch.eye(d, dtype=x.dtype, device=x.device)
    chunk = max(tangent_capacity(x.device) // max(x.numel(), d), 1)
    jacobian: torch.Tensor = vmap(lambda u: pull(u)[0].reshape(-1), chunk_size=chunk)(eye)
    return jacobian


def largest_singular_value(
    f: Function, x: torch.Tensor, start: torch.Tensor, iterations: int, free: torch.Tensor
) -> tuple[float, float]:
    """σ_1, from below, by power iteration on JᵀJ over the free inputs; the last relative change."""
    top, change = 0.0, 1.0
    pull = vjp(lambda v: f(v)[0], x)[1]
    mask = torch.zeros_like(x).reshape(-1)
    mask[free] = 1.0
    mask = mask.reshape(x.shape)
    v = start
    for _ in range(iterations):
        length = float(v.double().norm())
        if length == 0:
            return 0.0, 0.0
        v = v / length
        image = _jvp(f, x, v)[0]
        now = float(image.double().norm())
        change = abs(now - top) / now if now > 0 else 0.0
        top = max(now, top)
        if change < 1e-5:
            break
        v = pull(image)[0] * mask
    return top, change
