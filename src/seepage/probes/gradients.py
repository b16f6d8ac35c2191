"""Gradients of single samples by the parameters of a network, a batch at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad_and_value, vmap

from seepage.array_types import FloatArray
from seepage.curvature.measured_model import TRIAL, Network, network
from seepage.errors import InputError
from seepage.layers.derivatives import unfused_attention
from seepage.probes.base import Asked, Probe
from seepage.probes.layer_rules import Slopes, Whole, by_rules, has_rules

__all__ = [
    "GradientProbe",
    "by_gradients",
    "directional",
    "per_sample_gradients",
    "per_sample_slopes",
    "sample_losses",
]

_LARGEST_BATCH = 128
_MEMORY = 2**29
# Copies of a sample's gradients that are held at once: those of layers, their squares.
_COPIES = 3

Batch = tuple[torch.Tensor, dict[str, torch.Tensor]]
Sloped = tuple[torch.Tensor, dict[str, Slopes]]
Way = Callable[[Network, Mapping[str, torch.Tensor], torch.Tensor, torch.Tensor], Sloped]


@dataclass(frozen=True)
class GradientProbe(Probe, ABC):
    """A probe that reads the gradient of each sample's loss by every parameter.

    All such probes that are wanted together share one computation of the gradients
    (`by_gradients`).
    """

    @property
    def queries(self) -> int:
        """A pass forward and one backward."""
        return 2

    @abstractmethod
    def rows(
        self, losses: torch.Tensor, gradients: Mapping[str, Slopes]
    ) -> dict[str, torch.Tensor]:
        """Signals of one batch: losses (B,), parameter -> its slopes -> name -> (B[, F])."""

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        return by_gradients([self], asked)


def per_sample_gradients(
    model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, *, batch: int | None = None
) -> Iterator[Batch]:
    """∇_θ ℓ(model(x_i), y_i) for every sample, exactly: losses (B,), name -> (B, *shape) by batches.

    ℓ is the cross-entropy in nats of one sample by itself; θ are all parameters of the network, in
    the order of `named_parameters`, those that training left alone among them. By the rules of
    linear layers and convolutions, or vectorised by `torch.func`, where that gives, on the first
    samples, what autograd gives for each by itself; else one sample at a time, which is exact for
    every network.

    model: in evaluation mode; it is left as it was. batch: samples at a time, by default as many
    as fit into half a gibibyte. Raises InputError for modules in training mode, forward passes with
    effects or randomness, and networks whose answer to a sample depends on the others in its batch,
    as with normalisation by the batch's own statistics.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> _ = nn.init.zeros_(model.weight)
    >>> ((losses, gradients),) = per_sample_gradients(model, torch.tensor([[2.0, 4.0]]), torch.tensor([0]))
    >>> gradients["weight"][0].tolist()                # (p − onehot) xᵀ
    [[-1.0, -2.0], [1.0, 2.0]]
    """
    for losses, slopes in per_sample_slopes(model, inputs, labels, batch=batch):
        yield losses, {k: s.whole() for k, s in slopes.items()}


def per_sample_slopes(
    model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, *, batch: int | None = None
) -> Iterator[Sloped]:
    """As `per_sample_gradients`, of which norms can be had without every entry.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> _ = nn.init.zeros_(model.weight)
    >>> ((_, slopes),) = per_sample_slopes(model, torch.tensor([[3.0, 4.0]]), torch.tensor([0]))
    >>> [round(v, 6) for v in slopes["weight"].squares().tolist()]
    [12.5]
    """
    own = network(model, None)
    with ExitStack() as stack:
        stack.enter_context(own.unchanged())
        stack.enter_context(own.exact_evaluation())
        stack.enter_context(_no_denormals())
        own.check(inputs[:32].to(own.device, own.dtype), differentiable=False)
        parameters = {k: p.detach() for k, p in own.module.named_parameters()}
        if not parameters:
            raise InputError(
                "model: expected a network with parameters, got none to take a gradient by"
            )
        size = batch or _fitting(own, inputs, parameters)
        way = _quickest(own, parameters, inputs[:TRIAL], labels[:TRIAL])
        for i in range(0, len(inputs), size):
            x = inputs[i : i + size].to(own.device, own.dtype)
            yield way(own, parameters, x, labels[i : i + size].to(own.device))


@contextmanager
def _no_denormals() -> Iterator[None]:
    """Slopes below 1e-38 are 0, on this thread: sure answers have many, and each costs as much as a hundred others."""
    least = torch.tensor(torch.finfo(torch.float32).tiny)
    kept = bool(least / 2 > 0) and torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if kept:
            torch.set_flush_denormal(False)


def sample_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each sample in nats, log(1 + e^−φ): (..., K), (...) -> (...).

    Neither the loss nor its slope cancels where the answer is sure, as those of torch do.

    >>> sample_losses(torch.tensor([0.0, 50.0]), torch.tensor(1)).item() > 0
    True
    """
    true = torch.arange(logits.shape[-1], device=logits.device) == labels[..., None]
    phi = torch.where(true, logits, 0.0).sum(-1) - logits.masked_fill(true, -torch.inf).logsumexp(
        -1
    )
    return nn.functional.softplus(-phi)


def directional(
    model: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    direction: Mapping[str, torch.Tensor],
    *,
    batch: int = 64,
) -> torch.Tensor:
    """⟨∇_θ ℓ(model(x_i), y_i), direction⟩ of every sample, no gradient of one by itself: (N,) float64.

    Forward derivatives carry the direction along, images with their channels side by side. Where a layer has
    none (recurrent ones), the slope of vᵀℓ along the direction, which is linear in v, is taken by v: two passes back.
    direction: a tensor for each parameter of the network. As `per_sample_gradients` in all else.

    >>> model = nn.Linear(2, 2, bias=False)
    >>> _ = nn.init.zeros_(model.weight)
    >>> step = {"weight": torch.tensor([[0.0, 0.0], [1.0, 1.0]])}
    >>> directional(model, torch.tensor([[2.0, 4.0]]), torch.tensor([0]), step).tolist()
    [3.0]
    """
    own = network(model, None)
    with ExitStack() as stack:
        stack.enter_context(own.unchanged())
        stack.enter_context(own.exact_evaluation())
        stack.enter_context(_no_denormals())
        stack.enter_context(unfused_attention())
        own.check(inputs[:32].to(own.device, own.dtype), differentiable=False)
        point = {k: _side_by_side(p.detach()) for k, p in own.module.named_parameters()}
        step = {k: _side_by_side(direction[k].to(own.device, own.dtype)) for k in point}

        def of(rows: slice) -> Losses:
            x = _side_by_side(inputs[rows].to(own.device, own.dtype))
            y = labels[rows].to(own.device)
            return lambda p: sample_losses(functional_call(own.module, p, (x.clone(),)), y)

        way = _carried if _carries(of(slice(0, 2)), point, step) else _back
        found = [
            way(of(slice(i, i + batch)), point, step).detach().double().cpu()
            for i in range(0, len(inputs), batch)
        ]
        return torch.cat(found)


Losses = Callable[[dict[str, torch.Tensor]], torch.Tensor]


def _side_by_side(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _carried(
    losses: Losses, point: dict[str, torch.Tensor], step: dict[str, torch.Tensor]
) -> torch.Tensor:
    with torch.no_grad(), forward_ad.dual_level():
        pairs = {k: forward_ad.make_dual(p, step[k]) for k, p in point.items()}  # type: ignore[no-untyped-call]
        value, slope = forward_ad.unpack_dual(losses(pairs))  # type: ignore[no-untyped-call]
    return torch.zeros_like(value) if slope is None else slope


def _carries(losses: Losses, point: dict[str, torch.Tensor], step: dict[str, torch.Tensor]) -> bool:
    """Whether every layer has a forward derivative; torch says so by an error that has no type of its own."""
    try:
        _carried(losses, point, step)
    except RuntimeError:  # NotImplementedError is one
        return False
    return True


def _back(
    losses: Losses, point: dict[str, torch.Tensor], step: dict[str, torch.Tensor]
) -> torch.Tensor:
    leaves = {k: p.clone().requires_grad_() for k, p in point.items()}
    each = losses(leaves)
    v = torch.ones_like(each, requires_grad=True)
    slopes = torch.autograd.grad(
        each, list(leaves.values()), v, create_graph=True, allow_unused=True
    )
    along = [(g * step[k]).sum() for k, g in zip(leaves, slopes, strict=True) if g is not None]
    (found,) = torch.autograd.grad(torch.stack(along).sum(), v)
    return found


def by_gradients(probes: Sequence[GradientProbe], asked: Asked) -> dict[str, FloatArray]:
    """The signals of several probes of one network from one computation of its gradients."""
    found: dict[str, list[FloatArray]] = {}
    for losses, gradients in per_sample_slopes(asked.network, asked.inputs, asked.labels):
        for probe in probes:
            for name, values in probe.rows(losses, gradients).items():
                found.setdefault(name, []).append(values.float().cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _fitting(own: Network, inputs: torch.Tensor, parameters: Mapping[str, torch.Tensor]) -> int:
    gradient = sum(p.nbytes for p in parameters.values())
    graph = own.saved_bytes(inputs[:1].to(own.device, own.dtype))
    return max(1, min(_LARGEST_BATCH, _MEMORY // (_COPIES * gradient + graph)))


def _loss(
    own: Network, parameters: Mapping[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    logits = functional_call(own.module, dict(parameters), (x[None].clone(),))[0]
    return sample_losses(logits, y)


def _vectorised(
    own: Network, parameters: Mapping[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> Sloped:
    def one(p: dict[str, torch.Tensor], xi: torch.Tensor, yi: torch.Tensor) -> torch.Tensor:
        return _loss(own, p, xi, yi)

    gradients, losses = vmap(grad_and_value(one), in_dims=(None, 0, 0))(dict(parameters), x, y)
    return losses, {k: Whole(g) for k, g in gradients.items()}


def _one_by_one(
    own: Network, parameters: Mapping[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> Sloped:
    leaves = {k: p.clone().requires_grad_() for k, p in parameters.items()}
    losses, rows = [], []
    for xi, yi in zip(x, y, strict=True):
        loss = _loss(own, leaves, xi, yi)
        slopes = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        losses.append(loss.detach())
        rows.append(
            [
                torch.zeros_like(p) if g is None else g
                for p, g in zip(leaves.values(), slopes, strict=True)
            ]
        )
    gradients = {k: torch.stack([row[j] for row in rows]) for j, k in enumerate(leaves)}
    return torch.stack(losses), {k: Whole(g) for k, g in gradients.items()}


def _by_rules(
    own: Network, parameters: Mapping[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> Sloped:
    return by_rules(own.module, x, lambda logits: sample_losses(logits, y))


def _quickest(
    own: Network, parameters: Mapping[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> Way:
    """The first way whose gradients are those of autograd on the first samples."""
    x, y = x.to(own.device, own.dtype), y.to(own.device)
    expected = {k: g.whole() for k, g in _one_by_one(own, parameters, x, y)[1].items()}
    scale = max(float(e.abs().max()) for e in expected.values())
    for way in (_by_rules, _vectorised) if has_rules(own.module) else (_vectorised,):
        try:
            got = {k: g.whole() for k, g in way(own, parameters, x, y)[1].items()}
        except Exception:  # whatever torch has no rule for
            continue
        if all(
            got[k].shape == e.shape and float((got[k] - e).abs().max()) <= 1e-4 * scale
            for k, e in expected.items()
        ):
            return way
    return _one_by_one
