"""Layers in bfloat16 whose values are torch's within rounding, in less time, on a processor.

Sums are taken in float32 and float64, in an order that neither threads nor chance change.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from seepage.native.library import kernel, multiplies_bf16, over_blocks

__all__ = ["can_convolve", "can_normalise", "convolve", "norm_relu"]

_PART = 1024  # pixels of a sum, as in the kernel
_ATEN = torch.ops.aten


def _plain(x: torch.Tensor) -> bool:
    """Images on the processor in bfloat16, or about to be, whose channels lie side by side."""
    return (
        type(x) is torch.Tensor
        and x.device.type == "cpu"
        and x.ndim == 4
        and (x.dtype is torch.bfloat16 or (x.dtype is torch.float32 and _casting()))
        and x.is_contiguous(memory_format=torch.channels_last)
        and multiplies_bf16()
        and not torch._C._are_functorch_transforms_active()
    )


def _casting() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16


def can_convolve(layer: nn.Module, x: torch.Tensor) -> bool:
    """Whether `convolve` may stand for this layer at these images, and somebody asks for gradients."""
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == (3, 3)
        and layer.padding == (1, 1)
        and layer.stride in ((1, 1), (2, 2))
        and (layer.dilation, layer.groups, layer.padding_mode) == ((1, 1), 1, "zeros")
        and layer.in_channels % 16 == 0
        and layer.out_channels % 32 == 0
        and layer.weight.dtype is torch.float32
        and layer.weight.requires_grad
        and torch.is_grad_enabled()
        and _plain(x)
    )


def convolve(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """A 3×3 convolution of bfloat16 images, padding 1, stride 1 or 2, of 16k channels to 32k.

    Values are those of torch, and so is the gradient at the images. That at weights and bias is a sum
    in float32 in a fixed order, which is not rounded to bfloat16: its relative error (L2) is below 1e-5,
    where torch's is 2e-3.
    """
    x = x.to(torch.bfloat16)
    apply: Any = _Convolution.apply
    out: torch.Tensor = apply(x, layer.weight, layer.bias, layer.stride[0])
    return out


def _address(t: torch.Tensor | None) -> int | None:
    return None if t is None else t.data_ptr()


def _share(call: Any, count: int) -> None:
    """call(first, last) for parts of the work, on as many threads as torch uses."""
    over_blocks(call, count, max(1, -(-count // torch.get_num_threads())))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int
    ) -> torch.Tensor:
        half = weight.to(torch.bfloat16)
        ctx.save_for_backward(x, weight, bias, half)
        ctx.stride = stride
        short = None if bias is None else bias.to(torch.bfloat16)
        return nn.functional.conv2d(x, half, short, stride, 1)

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, bias, half = ctx.saved_tensors
        stride, (slope,) = ctx.stride, slopes
        wanted = ctx.needs_input_grad
        if torch.is_grad_enabled():  # to be differentiated again
            half, sizes = weight.to(torch.bfloat16), None if bias is None else list(bias.shape)
            mask = [wanted[0], True, bias is not None]
            a, b, c = _slopes(slope, x, half, sizes, stride, mask)
            return a, b.float(), None if bias is None else c.float(), None
        slope = slope.contiguous(memory_format=torch.channels_last)
        at_x = None
        if wanted[0]:
            at_x = _slopes(slope, x, half, None, stride, [True, False, False])[0]
        at_bias = None if bias is None else torch.empty_like(bias)
        return at_x, _weights_slope(x, slope, weight, stride, at_bias), at_bias, None


def _slopes(
    slope: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: list[int] | None,
    stride: int,
    mask: list[bool],
) -> tuple[torch.Tensor, ...]:
    found: tuple[torch.Tensor, ...] = _ATEN.convolution_backward(
        slope, x, weight, bias, [stride] * 2, [1, 1], [1, 1], False, [0, 0], 1, mask
    )
    return found


_OF_WEIGHTS: tuple[type | str, ...] = ("address", "address", *[int] * 10, "address", "address")


def _weights_slope(
    x: torch.Tensor,
    slope: torch.Tensor,
    weight: torch.Tensor,
    stride: int,
    of_bias: torch.Tensor | None,
) -> torch.Tensor:
    """The gradient at the weights, in float32; that at the bias is written into `of_bias`."""
    call = kernel("conv_weights_bf16", *_OF_WEIGHTS)
    assert call is not None
    out = torch.empty(weight.shape, memory_format=torch.channels_last)
    images, channels, height, width = x.shape
    to, rows, columns = slope.shape[1:]
    given = (images, height, width, channels, rows, columns, to, stride)
    here, there = (x.data_ptr(), slope.data_ptr()), (out.data_ptr(), _address(of_bias))
    _share(lambda a, b: call(*here, *given, a, b, *there), (to // 32) * (channels // 4))
    return out


def can_normalise(norm: nn.Module, relu: nn.Module, x: torch.Tensor) -> bool:
    """Whether `norm_relu` may stand for these two layers at these images."""
    return (
        type(norm) is nn.BatchNorm2d
        and type(relu) is nn.ReLU
        and norm.training
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and norm.weight.dtype is torch.float32
        and x.dtype is torch.bfloat16
        and x.numel() > x.shape[1]
        and _plain(x)
    )


def norm_relu(norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """relu(norm(x)) of bfloat16 images in training; the running moments move on as torch's do.

    Rounded once, from moments in float64: values are torch's but for single roundings to bfloat16.
    """
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    apply: Any = _NormRelu.apply
    out: torch.Tensor = apply(
        x, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps, norm.momentum
    )
    return out


_SUMS: tuple[type | str, ...] = (*["address"] * 5, *[int] * 4, "address")
_MOMENTS: tuple[type | str, ...] = (*["address"] * 4, int, int, float, float, *["address"] * 3)
_VALUES: tuple[type | str, ...] = (*["address"] * 3, *[int] * 3, "address")
_SLOPES: tuple[type | str, ...] = (*["address"] * 4, int, int, *["address"] * 3)
_BACK: tuple[type | str, ...] = (*["address"] * 6, *[int] * 3, "address")


def _call(name: str, kinds: tuple[type | str, ...]) -> Any:
    found = kernel(name, *kinds)
    assert found is not None
    return found


def _sums(x: torch.Tensor, slope: torch.Tensor | None, *beside: int | None) -> torch.Tensor:
    """Sums of parts of the pixels: (parts, 2, C)."""
    channels, pixels = x.shape[1], x.numel() // x.shape[1]
    parts = -(-pixels // _PART)
    out = torch.empty((parts, 2, channels), dtype=torch.float64)
    call, given = _call("norm_relu_sums", _SUMS), (x.data_ptr(), _address(slope), *beside)
    _share(lambda a, b: call(*given, pixels, channels, a, b, out.data_ptr()), parts)
    return out


class _NormRelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        running_mean: torch.Tensor,
        running_var: torch.Tensor,
        eps: float,
        momentum: float,
    ) -> torch.Tensor:
        channels, pixels = x.shape[1], x.numel() // x.shape[1]
        # Sums beside a value of the channel's own: a mean far from 0 costs no digits.
        about = x[0, :, 0, 0].float()
        sums = _sums(x, None, about.data_ptr(), None, None)
        made = torch.empty((4, channels))
        given = (sums.data_ptr(), about.data_ptr(), weight.data_ptr(), bias.data_ptr())
        running = (running_mean.data_ptr(), running_var.data_ptr(), made.data_ptr())
        _call("norm_relu_moments", _MOMENTS)(*given, pixels, channels, eps, momentum, *running)
        out = torch.empty_like(x)
        call, (_, _, a, b) = _call("norm_relu", _VALUES), _rows(made)
        where, to = x.data_ptr(), out.data_ptr()
        _share(lambda p, q: call(where, a, b, channels, p, q, to), pixels)
        ctx.save_for_backward(x, weight, made)
        ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, made = ctx.saved_tensors
        (slope,) = slopes
        channels, pixels = x.shape[1], x.numel() // x.shape[1]
        if torch.is_grad_enabled():  # to be differentiated again
            mean, root, a, b = (v[None, :, None, None] for v in made)
            slope = slope * (a * x + b > 0)
            moments = (mean.flatten(), root.flatten(), True, ctx.eps, [True, True, True])
            found = _ATEN.native_batch_norm_backward(slope, x, weight, None, None, *moments)
            return (*found, None, None, None, None)
        slope = slope.contiguous(memory_format=torch.channels_last)
        mean, root, a, b = _rows(made)
        sums = _sums(x, slope, mean, a, b)
        of_weight, of_bias = torch.empty_like(weight), torch.empty_like(weight)
        made = torch.empty((2, channels))
        told = (of_weight.data_ptr(), of_bias.data_ptr(), made.data_ptr())
        _call("norm_relu_slopes", _SLOPES)(sums.data_ptr(), mean, root, a, pixels, channels, *told)
        out = torch.empty_like(x)
        call, given = _call("norm_relu_back", _BACK), (x.data_ptr(), slope.data_ptr(), a, b)
        given, to = (*given, *_rows(made)), out.data_ptr()
        _share(lambda p, q: call(*given, channels, p, q, to), pixels)
        return out, of_weight, of_bias, None, None, None, None


def _rows(made: torch.Tensor) -> list[int]:
    """Addresses of the rows of a matrix in float32."""
    return [made.data_ptr() + 4 * made.shape[1] * i for i in range(len(made))]
