"""Layers that run as one in training on a processor: max-pool and ReLU, with the same values; and more, within rounding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

from seepage.models.rounded import can_convolve, can_normalise, convolve, norm_relu
from seepage.native.library import kernel, level, over_blocks

__all__ = ["Fusing", "convolved", "fused_layers", "fuses", "normalised", "pool_relu"]

_on: ContextVar[bool] = ContextVar("fused layers", default=False)
_rounding: ContextVar[bool] = ContextVar("fused layers within rounding", default=False)
_NAMES = {torch.float32: "f4", torch.bfloat16: "bf16"}


@contextmanager
def fused_layers(*, rounding: bool = False) -> Iterator[None]:
    """Networks of `seepage.models` take fused layers in this context, where they can.

    Values and gradients are those of the layers one by one, bit for bit (zeros of either sign are
    alike), so that nothing that is trained or recorded depends on it. Without compiled kernels, on
    other devices and types and for images in another layout, nothing is fused.

    rounding: also layers that are theirs within the rounding of bfloat16 (`seepage.models.rounded`),
    on which trained weights depend: the backend "fused".
    """
    before = _on.set(True), _rounding.set(rounding)
    try:
        yield
    finally:
        _on.reset(before[0])
        _rounding.reset(before[1])


class Fusing(nn.Sequential):
    """Layers one after another, of which a 2×2 max-pool and the ReLU behind it run as one.

    Within rounding, so do BatchNorm and the ReLU behind it, and convolutions take `convolved`.

    >>> x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    >>> layers = Fusing(nn.MaxPool2d(2), nn.ReLU())
    >>> with fused_layers():
    ...     torch.equal(layers(x), nn.Sequential(*layers)(x))
    True
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fusing, waiting = _on.get(), list(self)
        while waiting:
            layer = waiting.pop(0)
            if fusing and waiting and _pair(layer, waiting[0]) and _fits(x):
                x = pool_relu(x)
                waiting.pop(0)
            elif fusing and waiting and type(waiting[0]) is nn.ReLU and _norm(layer):
                x = normalised(layer, waiting.pop(0), x)
            else:
                x = convolved(layer, x)
        return x


def fuses(out: torch.Tensor) -> bool:
    """Whether layers that are torch's within rounding led to this output of a network."""
    seen, waiting = set(), [out.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            if node.name() in ("_ConvolutionBackward", "_NormReluBackward"):
                return True
            seen.add(node)
            waiting += [n for n, _ in node.next_functions]
    return False


def _norm(layer: nn.Module) -> bool:
    return type(layer) is nn.BatchNorm2d


def convolved(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """layer(x); of a 3×3 convolution, within rounding, with a faster gradient at its weights."""
    if _rounding.get() and can_convolve(layer, x) and not _watched(layer):
        return convolve(layer, x)  # type: ignore[arg-type]
    out: torch.Tensor = layer(x)
    return out


def normalised(norm: nn.Module, relu: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """relu(norm(x)); of a BatchNorm in training, within rounding, as one layer."""
    watched = _watched(norm) or _watched(relu)
    if _rounding.get() and can_normalise(norm, relu, x) and not watched:
        return norm_relu(norm, x)  # type: ignore[arg-type]
    out: torch.Tensor = relu(norm(x))
    return out


def _pair(pool: nn.Module, relu: nn.Module) -> bool:
    """A plain 2×2 max-pool with a plain ReLU behind it, and nobody who looks at either."""
    return (
        type(pool) is nn.MaxPool2d
        and type(relu) is nn.ReLU
        and (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (2, 2, 0, 1)
        and not (pool.ceil_mode or pool.return_indices or _watched(pool) or _watched(relu))
    )


def _watched(layer: nn.Module) -> bool:
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


def _fits(x: torch.Tensor) -> bool:
    return (
        type(x) is torch.Tensor
        and x.device.type == "cpu"
        and x.dtype in _NAMES
        and x.ndim == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and level() != "none"
    )


def pool_relu(x: torch.Tensor) -> torch.Tensor:
    """relu(max_pool2d(x, 2)) of images (B, C, H, W) whose channels lie side by side.

    Differentiable as often as one likes; no rule for forward-mode derivatives. float32 and bfloat16
    on a processor, for which compiled kernels must be there.
    """
    asked = torch.is_grad_enabled() and x.requires_grad
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        out: torch.Tensor = _forward(x)[0] if asked else _value(x)
    else:
        # The operators of torch.library, without what dispatching to them from Python costs.
        apply: Any = _PoolRelu.apply
        out = apply(x) if asked else _pooled_value(x)
    return out


class _PoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        out, place = _pooled(x)
        ctx.sides = x.shape[2:]
        ctx.save_for_backward(place)
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> torch.Tensor:
        back = _back if torch.is_grad_enabled() else _slope_back
        out: torch.Tensor = back(slopes[0], ctx.saved_tensors[0], *ctx.sides)
        return out


def _side_by_side(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _new(like: torch.Tensor, height: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    shape = (like.shape[0], like.shape[1], height, width)
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=torch.channels_last)


def _run(
    name: str, sides: tuple[int, int], given: list[torch.Tensor], made: list[torch.Tensor | None]
) -> None:
    """The kernel over images, on as many threads as torch uses; sides: of images before the pool."""
    kinds: list[type | str] = [*["address"] * len(given), *[int] * 5, *["address"] * len(made)]
    call = kernel(f"{name}_{_NAMES[given[0].dtype]}", *kinds)
    assert call is not None
    images, channels = given[0].shape[:2]
    before, after = [t.data_ptr() for t in given], [_address(t) for t in made]
    over_blocks(
        lambda first, last: call(*before, *sides, channels, first, last, *after),
        images,
        max(1, -(-images // torch.get_num_threads())),
    )


def _address(made: torch.Tensor | None) -> int | None:
    return None if made is None else made.data_ptr()


def _pooled(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = _side_by_side(x)
    height, width = x.shape[2:]
    out = _new(x, height // 2, width // 2, x.dtype)
    place = _new(x, height // 2, width // 2, torch.uint8)
    _run("pool_relu", (height, width), [x], [out, place])
    return out, place


def _pooled_value(x: torch.Tensor) -> torch.Tensor:
    """The output alone, where nobody asks for gradients."""
    x = _side_by_side(x)
    height, width = x.shape[2:]
    out = _new(x, height // 2, width // 2, x.dtype)
    _run("pool_relu", (height, width), [x], [out, None])
    return out


def _slope_back(slope: torch.Tensor, place: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The gradient at images of these sides of the gradient at the output, which is linear in it."""
    slope = _side_by_side(slope)
    out = _new(slope, height, width, slope.dtype)
    _run("pool_relu_back", (height, width), [slope, place], [out])
    return out


_forward = torch.library.custom_op("seepage::pool_relu", _pooled, mutates_args=())
_value = torch.library.custom_op("seepage::pool_relu_value", _pooled_value, mutates_args=())
_back = torch.library.custom_op("seepage::pool_relu_back", _slope_back, mutates_args=())


@torch.library.custom_op("seepage::pool_relu_pick", mutates_args=())
def _pick(x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Values of images at the places: the transpose of `_back`."""
    x = _side_by_side(x)
    height, width = x.shape[2:]
    out = _new(x, height // 2, width // 2, x.dtype)
    _run("pool_relu_pick", (height, width), [x, place], [out])
    return out


def _keep_place(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.sides = inputs[0].shape[2:]
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _of_forward(ctx: Any, slope: torch.Tensor, _: Any) -> torch.Tensor:
    out: torch.Tensor = _back(slope, ctx.saved_tensors[0], *ctx.sides)
    return out


def _keep_given(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.sides = inputs[0].shape[2:]
    ctx.save_for_backward(inputs[1])


def _of_back(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return _pick(slope, ctx.saved_tensors[0]), None, None, None


def _of_pick(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return _back(slope, ctx.saved_tensors[0], *ctx.sides), None


@_forward.register_fake
def _(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    height, width = x.shape[2] // 2, x.shape[3] // 2
    return _new(x, height, width, x.dtype), _new(x, height, width, torch.uint8)


@_value.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return _new(x, x.shape[2] // 2, x.shape[3] // 2, x.dtype)


@_back.register_fake
def _(slope: torch.Tensor, place: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return _new(slope, height, width, slope.dtype)


@_pick.register_fake
def _(x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    return _new(x, x.shape[2] // 2, x.shape[3] // 2, x.dtype)


_forward.register_autograd(_of_forward, setup_context=_keep_place)
_back.register_autograd(_of_back, setup_context=_keep_given)
_pick.register_autograd(_of_pick, setup_context=_keep_given)
