"""Whether a network is piecewise linear, and where its loss is not differentiable."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from seepage.curvature.measured_model import TRIAL, Network, network

__all__ = ["non_differentiable", "piecewise_linear"]

_LINEAR = (
    nn.Linear, nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.Fold, nn.Unfold,
    nn.modules.padding._ConstantPadNd, nn.modules.padding._ReflectionPadNd,
    nn.modules.padding._ReplicationPadNd,
)  # fmt: skip
_PIECEWISE_LINEAR = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Hardtanh, nn.Hardsigmoid, nn.Threshold,
    nn.Hardshrink, nn.Softshrink,
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd,
)  # fmt: skip
# Second derivatives below this share of the first are rounding.
_FLAT = {torch.float32: 1e-4, torch.float64: 1e-9}
_STEP = 1e-5


def piecewise_linear(model: nn.Module, inputs: torch.Tensor | None = None) -> str | None:
    """Name of the first module that keeps the logits from being piecewise linear in the input.

    None means: none found, so the Gauss-Newton matrix Jᵀ(diag p − ppᵀ)J is the Hessian of
    cross-entropy wherever the Hessian exists. The empty name is the model itself (something in
    its own forward).

    Without inputs the types of the modules decide: a leaf of an unknown type is named, functions
    called inside forward are not seen. With inputs (B, ...) the second derivative of the logits
    at the first few of them decides, whatever the modules are called; then the first innermost
    module with a second derivative of its own is named. A module that is curved only elsewhere
    (Hardswish beyond ±3) passes there.

    >>> from torch import nn
    >>> piecewise_linear(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
    >>> piecewise_linear(nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3)))
    '1'
    """
    if inputs is None:
        for name, m in model.named_modules():
            leaf = next(m.children(), None) is None
            if leaf and not isinstance(m, _LINEAR + _PIECEWISE_LINEAR):
                found: str = name
                return found
        return None
    measured = network(model, None)
    with measured.exact_evaluation(), measured.unchanged():
        return curved_module(measured, inputs[:TRIAL].to(measured.device, measured.dtype))


def curved_module(measured: Network, inputs: torch.Tensor) -> str | None:
    """As `piecewise_linear` with inputs, inside `Network.exact_evaluation`."""
    leaf = inputs.detach().clone().requires_grad_()
    if not _curved(measured.logits(leaf), leaf):
        return None
    calls: list[tuple[str, nn.Module, torch.Tensor]] = []

    def note(name: str) -> Any:
        def hook(m: nn.Module, args: tuple[Any, ...], _: object) -> None:
            # Whatever takes more than one tensor is judged by the module around it.
            given = args[0] if len(args) == 1 else None
            if isinstance(given, torch.Tensor) and given.is_floating_point():
                calls.append((name, m, given.detach().clone()))

        return hook

    hooks = [m.register_forward_hook(note(name)) for name, m in measured.module.named_modules()]
    try:
        with torch.no_grad():
            measured.logits(inputs)
    finally:
        for h in hooks:
            h.remove()
    # Modules return innermost first, in the order of the pass.
    for name, m, given in calls:
        leaf = given.requires_grad_()
        out = m(leaf.clone())
        if isinstance(out, torch.Tensor) and out.requires_grad and _curved(out, leaf):
            return name
    return ""


def _curved(out: torch.Tensor, leaf: torch.Tensor) -> bool:
    """Whether fixed mixtures of the outputs have a second derivative in the leaf."""
    mix = torch.cos(torch.arange(out.numel(), device=out.device, dtype=out.dtype) * 1.7 + 0.3)
    (slope,) = torch.autograd.grad(
        (out.flatten() * mix).sum(), leaf, create_graph=True, allow_unused=True
    )
    if slope is None or not slope.requires_grad:
        return False
    ahead = torch.cos(torch.arange(leaf.numel(), device=leaf.device, dtype=leaf.dtype) * 2.3 + 1.1)
    second: tuple[torch.Tensor | None, ...] = torch.autograd.grad(
        (slope.flatten() * ahead).sum(), leaf, allow_unused=True
    )
    if second[0] is None:
        return False
    # Relative to the first derivative: scale-free when inputs are of order one.
    return bool(second[0].abs().max() > _FLAT[leaf.dtype] * slope.detach().abs().max())


def non_differentiable(measured: Network, inputs: torch.Tensor) -> torch.Tensor:
    """At which inputs a max-pool or a ReLU is not differentiable: (B, ...) -> (B,) bool.

    That is a tie inside a pooling window, or a unit at exactly zero, that a tiny step in the input
    breaks; units that a ReLU holds at zero stay tied and do no harm. A constant background is the
    usual cause. Differences of the loss across such a point grow like 1/h, so the traces of finite
    differences are wrong there and get worse as h falls.
    """
    signs = torch.cos(torch.arange(inputs.numel(), device=inputs.device) * 3.1 + 0.7).sign()
    step = (_STEP * signs.to(inputs.dtype)).view(inputs.shape)
    marks: list[list[torch.Tensor]] = []
    for at in (inputs, inputs + step, inputs - step):
        recorder = _TieRecorder()
        with torch.no_grad(), recorder:
            measured.logits(at)
        marks.append(recorder.marks)
    hit = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
    # A model may take another path at the moved inputs; calls that do not correspond are skipped.
    for here, ahead, behind in zip(*marks, strict=False):
        if here.shape == ahead.shape == behind.shape and here.ndim > 0 and len(here) == len(inputs):
            # Broken on both sides: a unit that is only near its threshold changes on one.
            hit |= (here & ~ahead & ~behind).flatten(1).any(1)
    return hit


class _TieRecorder(TorchFunctionMode):
    """Records which pooling windows are tied and which units are zero, in the order of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[torch.Tensor] = []

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        given = args[0] if args else kwargs.get("input")
        if isinstance(given, torch.Tensor) and given.is_floating_point():
            if name in ("relu", "relu_", "leaky_relu", "leaky_relu_"):
                self.marks.append(given == 0)
            elif name.startswith(("max_pool", "adaptive_max_pool")):
                self.marks.append(_tied(name, given, args[1:], kwargs))
        return func(*args, **kwargs)


def _tied(name: str, given: torch.Tensor, args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
    """Which windows reach their maximum twice: two tiny opposite slopes choose different places."""
    pool = getattr(nn.functional, name.removesuffix("_with_indices"))
    args = args[:1] if name.startswith("adaptive") else args[:5]
    options = {k: v for k, v in kwargs.items() if k not in ("input", "return_indices")}
    wide = given.detach().double()
    rank = torch.arange(wide[0, 0].numel(), device=wide.device, dtype=wide.dtype)
    tilt = (rank / rank.numel() * 1e-12 * float(wide.abs().max())).view(wide.shape[2:])
    _, last = pool(wide + tilt, *args, **options, return_indices=True)
    _, first = pool(wide - tilt, *args, **options, return_indices=True)
    tied: torch.Tensor = last != first
    return tied
