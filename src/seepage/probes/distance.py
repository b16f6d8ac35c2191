"""How far a sample is from the nearest input that the network does not give its label: a search.

The search is for a minimum, not for any adversarial example within a radius: rays from the sample
along the linearised boundaries of the nearest classes, each followed to where the answer changes,
then steps along the boundary towards the sample. The distance that is returned is that of an input
that was asked about and is answered otherwise: an upper bound of the true one, never more than at
fewer steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from seepage.array_types import Float64Array, FloatArray
from seepage.attacks.base import Access
from seepage.curvature.measured_model import Network, network
from seepage.errors import InputError
from seepage.probes.base import Asked, Probe

__all__ = ["AdversarialDistance", "adversarial_distance"]

_BATCH = 512
_DOUBLINGS = 12
_ON_RAY = 10  # questions that find the boundary on a ray, once both sides are known
_BEYOND = 1e-5  # share by which a linearised boundary is overstepped
_LEAST_GAIN = 1e-4  # share of the distance below which a step is no gain
_SMALLEST_STEP = 1e-3
_CANDIDATES = 2000  # inputs, evenly spread over all, among which another answer is looked for


def adversarial_distance(
    model: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    steps: int = 10,
    classes: int = 10,
    rays: int = 3,
) -> Float64Array:
    """min ‖δ‖₂ with argmax f(x + δ) ≠ y, searched for: (N,), in units of what the network reads.

    0 where x itself is answered otherwise. inputs (N, ...) as the network is given them, unbounded:
    δ may leave the range of pixels. classes: the boundaries with the most likely of the other
    classes that are linearised at x; rays: how many of them, the nearest, are followed to where the
    answer changes; steps: along the boundary from the best of these points, to where its tangent
    plane is nearest to x, shorter where the boundary bends away. At no `steps` the best of the rays
    is left, DeepFool's first step searched through. For a network that is linear in x the first ray
    ends at the minimum min_k |f_y − f_k|/‖∇(f_y − f_k)‖ (to 1e-5 of it).

    Of 2,000 of the inputs the nearest that is answered with another class than y is such an input
    too: no distance is larger than to the boundary on the way there. Where there is none, and no ray
    meets a boundary, the distance to the farthest input is given. Raises InputError for networks in training mode, without a gradient, or
    whose answers are no logits.

    >>> model = nn.Linear(2, 2).requires_grad_(False)
    >>> _ = model.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0]])), model.bias.zero_()
    >>> x, y = torch.tensor([[1.0, 0.5], [-1.0, 0.0]]), torch.tensor([0, 0])
    >>> adversarial_distance(model, x, y).round(3).tolist()          # |3 + 2|/5, and already wrong
    [1.0, 0.0]
    """
    _check(steps, classes, rays)
    own = network(model, None)
    found = []
    with own.unchanged(), own.exact_evaluation():
        count = own.check(inputs[:32].to(own.device, own.dtype), differentiable=True)
        if int(labels.max()) >= count:
            raise InputError(
                f"labels: expected values in 0..{count - 1} as the model has logits, got "
                f"{int(labels.max())}; check the class list"
            )
        far = 2.0**_DOUBLINGS * max(1.0, float(inputs.flatten(1).norm(dim=1).max()))
        spread = torch.linspace(0, len(inputs) - 1, min(len(inputs), _CANDIDATES)).long()
        others = inputs[spread].to(own.device, own.dtype)
        with torch.no_grad():
            parts = torch.split(others, _BATCH)
            answers = torch.cat([own.logits(part).argmax(dim=1) for part in parts])
        for i in range(0, len(inputs), _BATCH):
            x = inputs[i : i + _BATCH].to(own.device, own.dtype)
            y = labels[i : i + _BATCH].to(own.device)
            search = _Search(own, x, y, far)
            search.along_rays(min(classes, count - 1), rays)
            search.towards(others, answers)
            for _ in range(steps):
                search.along_boundary()
            found.append(search.best.double().cpu().numpy())
    return np.concatenate(found)


class _Search:
    """The best distances of a batch so far, and the directions they lie in."""

    def __init__(self, own: Network, x: torch.Tensor, y: torch.Tensor, far: float) -> None:
        self.own, self.x, self.y = own, x, y
        self.far = far
        self.best = torch.full((len(x),), far, dtype=torch.float64, device=x.device)
        self.direction = torch.zeros_like(x.flatten(1))
        self.stride = torch.ones(len(x), dtype=torch.float64, device=x.device)
        with torch.no_grad():
            wrong = self._margin(torch.arange(len(x), device=x.device), x) <= 0
        self.best[wrong] = 0.0

    def _margin(self, at: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """f_y − max of the other logits at inputs `z` (B, ...) of the samples `at`: (B,) float64."""
        logits = self.own.logits(z)
        label = self.y[at][:, None]
        mine = logits.gather(1, label)[:, 0]
        others = logits.scatter(1, label, -torch.inf).max(dim=1).values
        return (mine - others).double()

    def _at(self, at: torch.Tensor, direction: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
        """Inputs at these radii from samples `at` along unit directions (B, D)."""
        moved = self.x[at].flatten(1) + radius.to(direction)[:, None] * direction
        return moved.view(len(at), *self.x.shape[1:])

    def _asked(
        self, at: torch.Tensor, direction: torch.Tensor, radius: torch.Tensor
    ) -> torch.Tensor:
        with torch.no_grad():
            return self._margin(at, self._at(at, direction, radius))

    def along_rays(self, classes: int, rays: int) -> None:
        """From each sample towards the nearest linearised boundaries, as far as they really are."""
        at = (self.best > 0).nonzero()[:, 0]
        if not len(at):
            return
        distance, direction = self._linearised(at, classes)
        order = distance.argsort(dim=1)[:, :rays]
        for j in range(order.shape[1]):
            rows = torch.arange(len(at), device=at.device)
            self._follow(
                at, direction[rows, order[:, j]], distance[rows, order[:, j]] * (1 + _BEYOND)
            )

    def towards(self, others: torch.Tensor, answers: torch.Tensor) -> None:
        """From each sample towards the nearest input (C, ...) whose answer (C,) is not its label."""
        at = (self.best > 0).nonzero()[:, 0]
        if not len(at):
            return
        away = torch.cdist(self.x[at].flatten(1), others.flatten(1))
        farthest = away.double().max(dim=1).values
        away[self.y[at][:, None] == answers] = torch.inf
        near, which = away.min(dim=1)
        found = near < torch.inf
        unmet = ~found & (self.best[at] == self.far)
        self.best[at[unmet]] = farthest[unmet]
        found &= near > 0
        at, near, which = at[found], near[found], which[found]
        if not len(at):
            return
        direction = (others[which] - self.x[at]).flatten(1) / near[:, None]
        inner, outer = torch.zeros_like(near).double(), near.double() * (1 + _BEYOND)
        margins = self._asked(at, direction, inner), self._asked(at, direction, outer)
        hit = margins[1] <= 0
        self._narrow(
            at[hit], direction[hit], inner[hit], margins[0][hit], outer[hit], margins[1][hit]
        )

    def _linearised(self, at: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances (B, C) and unit directions (B, C, D) of the linearised boundaries."""
        z = self.x[at].clone().requires_grad_()
        logits = self.own.logits(z)
        label = self.y[at][:, None]
        likely = logits.detach().scatter(1, label, -torch.inf).topk(classes, dim=1).indices
        distances, directions = [], []
        for c in range(classes):
            gap = (logits.gather(1, label) - logits.gather(1, likely[:, c : c + 1]))[:, 0]
            (slope,) = torch.autograd.grad(gap.sum(), z, retain_graph=c + 1 < classes)
            flat = slope.flatten(1)
            size = flat.norm(dim=1)
            distance = gap.detach().double() / size.double()
            distances.append(torch.where(size > 0, distance, self.far).clamp(max=self.far))
            directions.append(-flat / size.clamp_min(torch.finfo(flat.dtype).tiny)[:, None])
        return torch.stack(distances, dim=1), torch.stack(directions, dim=1)

    def _follow(self, at: torch.Tensor, direction: torch.Tensor, radius: torch.Tensor) -> None:
        """Out to where the answer is another, back to the boundary; kept where nearer than the best."""
        inner = torch.zeros_like(radius)
        inner_margin = self._asked(at, direction, inner)
        outer = torch.minimum(radius, self.best[at])
        outer_margin = self._asked(at, direction, outer)
        for _ in range(_DOUBLINGS):
            open_ = (outer_margin > 0) & (outer < self.best[at])
            if not bool(open_.any()):
                break
            inner = torch.where(open_, outer, inner)
            inner_margin = torch.where(open_, outer_margin, inner_margin)
            further = torch.minimum(outer * 2, self.best[at])
            outer = torch.where(open_, further, outer)
            outer_margin[open_] = self._asked(at[open_], direction[open_], outer[open_])
        hit = outer_margin <= 0
        if bool(hit.any()):
            self._narrow(
                at[hit],
                direction[hit],
                inner[hit],
                inner_margin[hit],
                outer[hit],
                outer_margin[hit],
            )

    def _narrow(
        self,
        at: torch.Tensor,
        direction: torch.Tensor,
        inner: torch.Tensor,
        inner_margin: torch.Tensor,
        outer: torch.Tensor,
        outer_margin: torch.Tensor,
    ) -> None:
        """The boundary between a radius with the sample's label and one without: Illinois' rule."""
        low, high = inner_margin.clone(), outer_margin.clone()
        for k in range(_ON_RAY):
            width = outer - inner
            share = low / (low - high).clamp_min(1e-300)
            # A line through both ends, a little beyond it; in turn the middle, which cannot stall.
            share = (share * (1 + _BEYOND)).clamp(1e-3, 1 - 1e-3)
            if k % 3 == 2:
                share = torch.full_like(share, 0.5)
            middle = inner + share * width
            margin = self._asked(at, direction, middle)
            crossed = margin <= 0
            outer = torch.where(crossed, middle, outer)
            high = torch.where(crossed, margin, high / 2)
            inner = torch.where(crossed, inner, middle)
            low = torch.where(crossed, low / 2, margin)
        better = outer < self.best[at]
        self.best[at[better]] = outer[better]
        self.direction[at[better]] = direction[better]

    def along_boundary(self) -> None:
        """One step: towards the point of the boundary's tangent plane that is nearest to the sample."""
        met = (self.direction != 0).any(dim=1)
        at = ((self.best > 0) & met & (self.stride > _SMALLEST_STEP)).nonzero()[:, 0]
        if not len(at):
            return
        z = self._at(at, self.direction[at], self.best[at]).requires_grad_()
        margin = self._margin(at, z)
        (slope,) = torch.autograd.grad(margin.sum(), z)
        normal = -slope.flatten(1)
        normal = normal / normal.norm(dim=1, keepdim=True).clamp_min(torch.finfo(normal.dtype).tiny)
        u = self.direction[at]
        s = self.stride[at].to(u)[:, None]
        turned = (1 - s) * u + s * normal
        turned = turned / turned.norm(dim=1, keepdim=True).clamp_min(torch.finfo(u.dtype).tiny)
        goal = self.best[at] * (1 - _LEAST_GAIN)
        margin = self._asked(at, turned, goal)
        gains = margin <= 0
        self.stride[at[gains]] = (self.stride[at[gains]] * 2).clamp(max=1.0)
        self.stride[at[~gains]] /= 4
        if bool(gains.any()):
            inner = torch.zeros_like(goal[gains])
            self._narrow(
                at[gains], turned[gains], inner,
                self._asked(at[gains], turned[gains], inner), goal[gains], margin[gains],
            )  # fmt: skip


def _check(steps: int, classes: int, rays: int) -> None:
    if steps < 0 or classes < 1 or rays < 1:
        raise InputError(
            "adversarial distance: expected steps of at least 0, classes and rays of at least 1, "
            f"got {steps}, {classes} and {rays}"
        )


@dataclass(frozen=True)
class AdversarialDistance(Probe):
    """`adversarial_distance` of every sample, with its options: "adversarial_distance".

    >>> AdversarialDistance(steps=0, classes=2, rays=1).queries       # at most
    39
    """

    steps: int = 10
    classes: int = 10
    rays: int = 3

    name: ClassVar[str] = "adversarial-distance"
    access: ClassVar[Access] = "weights"

    def __post_init__(self) -> None:
        _check(self.steps, self.classes, self.rays)

    @property
    def signals(self) -> tuple[str, ...]:
        return ("adversarial_distance",)

    @property
    def queries(self) -> int:
        """At most: most samples are settled by fewer."""
        begin = 2 + self.classes
        ray = 2 + _DOUBLINGS + _ON_RAY - 1
        return begin + 2 + _ON_RAY + self.rays * ray + self.steps * (4 + _ON_RAY)

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        found = adversarial_distance(
            asked.network,
            asked.inputs,
            asked.labels,
            steps=self.steps,
            classes=self.classes,
            rays=self.rays,
        )
        return {"adversarial_distance": found}
