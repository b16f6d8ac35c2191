"""Accuracy under the fast gradient sign method: whether a defence made the network fragile."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet.rebuild import Rebuilt

__all__ = ["fgsm_accuracy", "fgsm_limits"]


def fgsm_limits(
    data: Dataset, member: np.ndarray[tuple[int], np.dtype[np.bool_]], epsilon: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(step, low, high) in the normalised units of a run; each broadcasts over a batch.

    Images: epsilon as a share of the range of values (8/255 of 255 for bytes, of the pool's range
    for floats), results clipped to that range. Tables: epsilon in standard deviations of a numeric
    column, unclipped; other columns stay.
    """
    if not epsilon > 0:
        raise InputError(f"fgsm.epsilon: expected a number above 0, got {epsilon}; 8/255 is usual")
    scale, shift = (torch.from_numpy(v) for v in data.member_scale(np.flatnonzero(member)))
    if data.kind == "table":
        moved = torch.ones_like(scale)
        if data.numeric is not None:
            moved = torch.from_numpy(data.numeric.astype(np.float32))
        far = torch.full_like(scale, torch.inf)
        return epsilon * moved, -far, far
    byte = data.inputs.dtype == torch.uint8
    least, most = (0.0, 255.0) if byte else data.extremes
    a, b = scale[:, None, None], shift[:, None, None]
    return epsilon * (most - least) * a.abs(), least * a + b, most * a + b


def fgsm_accuracy(
    model: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    step: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    *,
    batch: int = 256,
) -> float:
    """Accuracy on x + step·sign(∂ loss/∂x), clipped to [low, high]; model in evaluation mode.

    inputs (n, ...) normalised, labels (n,). The gradient is the trained network's own: a defence
    that only changes answers (HAMP, MemGuard) does not change it, nor the arg-max. One step is a
    weak attack, and a network whose gradients vanish resists it without being robust: read it with
    the undefended value. Source: Goodfellow et al., arXiv 1412.6572.

    >>> net = nn.Linear(1, 2)
    >>> _ = net.load_state_dict({"weight": torch.tensor([[-1.0], [1.0]]), "bias": torch.zeros(2)})
    >>> far = torch.tensor(9.0)
    >>> x, y = torch.tensor([[0.5], [2.0]]), torch.tensor([1, 1])
    >>> fgsm_accuracy(net, x, y, torch.tensor(1.0), -far, far)
    0.5
    """
    right = 0
    for begin in range(0, len(labels), batch):
        x = inputs[begin : begin + batch].detach().clone().requires_grad_()
        y = labels[begin : begin + batch]
        (slope,) = torch.autograd.grad(F.cross_entropy(model(x).float(), y), x)
        with torch.no_grad():
            moved = torch.minimum(torch.maximum(x + step * slope.sign(), low), high)
            right += int((model(moved).argmax(1) == y).sum())
    return right / len(labels)


def of_run(
    kept: Rebuilt, skip: np.ndarray[tuple[int], np.dtype[np.bool_]], epsilon: float, samples: int
) -> float:
    """`fgsm_accuracy` of one kept network on its first `samples` non-members outside `skip`."""
    rows = torch.from_numpy(np.flatnonzero(~kept.member & ~skip)[:samples])
    limits = fgsm_limits(kept.data, kept.member, epsilon)
    return fgsm_accuracy(kept.model, kept.inputs[rows], kept.labels[rows], *limits)
