"""Networks trained to answer as one network does: what it would say of a sample it did not see."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from seepage.array_types import BoolArray, FloatArray, Int64Array
from seepage.attacks.base import Access
from seepage.curvature.measured_model import network
from seepage.errors import InputError
from seepage.probes.base import Asked, Probe
from seepage.signals import SIGNALS

__all__ = ["Imitation"]

_EVALUATED = 512


@dataclass(frozen=True)
class Imitation(Probe):
    """Mean φ of imitators that were not trained on the sample: "imitation_phi", (N,).

    Each of `models` networks of the same architecture, begun anew, is trained on a random part of
    the pool; every sample is in the parts of ⌊models/2⌋ of them. After `warm` of its steps, on labels
    alone, its loss is half cross-entropy and half the imitation of the network that is asked:

        mean_c (w_c (f'_c − f_c)/T)² / mean_c w_c,

    w_c = log K for the label and the strongest other class (at least 1), 1 for the rest; T =
    temperature. SGD with momentum 0.9, weight decay 5e-4 and a step that falls from `lr` to 0 along
    a cosine; the gradient is cut at the norm `most`, without which the squares of a sure network's
    logits throw the first steps out of bounds. Steps are epochs · part/batch in all, batches drawn
    from reshuffled passes.

    Assumes that layers begin anew by `reset_parameters`, as those of torch do, and refuses others;
    a start that the run was given (pre-trained weights) is not used. Reads the network's scores,
    once for each sample; the cost is that of the training, models · epochs/2 passes over the pool.
    Raises InputError where an imitator's answers are not finite after training.

    >>> Imitation().queries, Imitation(models=7).signals
    (1, ('imitation_phi',))
    """

    models: int = 5
    epochs: float = 30
    batch: int = 64
    lr: float = 0.05
    warm: float = 0.1
    temperature: float = 2.0
    most: float = 5.0

    name: ClassVar[str] = "imitation"
    access: ClassVar[Access] = "scores"

    def __post_init__(self) -> None:
        if self.models < 2 or self.batch < 1:
            raise InputError(
                f"imitation: expected at least 2 models and batches of at least 1, got {self.models} "
                f"and {self.batch}"
            )
        positive = (self.epochs, self.lr, self.temperature, self.most)
        if not (min(positive) > 0 and 0 <= self.warm < 1):
            raise InputError(
                "imitation: expected positive epochs, lr, temperature and most and a warm share from "
                f"0 to below 1, got {', '.join(map(str, positive))} and {self.warm}"
            )

    @property
    def signals(self) -> tuple[str, ...]:
        return ("imitation_phi",)

    @property
    def queries(self) -> int:
        return 1

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        own = network(asked.network, None)
        x = asked.inputs.to(own.device, own.dtype)
        y = asked.labels.to(own.device)
        with own.unchanged(), own.exact_evaluation(), torch.no_grad():
            own.check(x[:32], differentiable=False)
            answers = torch.cat([own.logits(part) for part in torch.split(x, _EVALUATED)])
        rng = asked.generator()
        inside = self._parts(len(x), rng)
        total = np.zeros(len(x))
        for seen in inside:
            student = self._trained(own.module, x, y, answers, np.flatnonzero(seen), rng)
            phi = _phi(student, x, y)
            if not np.isfinite(phi).all():
                raise InputError(
                    "imitation: expected imitators with finite answers, got "
                    f"{np.count_nonzero(~np.isfinite(phi))} of {phi.size} that are not; choose a "
                    f"smaller lr than {self.lr} or a smaller most than {self.most}"
                )
            total += np.where(seen, 0.0, phi)
        return {"imitation_phi": total / (~inside).sum(axis=0)}

    def _parts(self, count: int, rng: np.random.Generator) -> BoolArray:
        """Which sample is in whose training: (models, N), equally often for every sample."""
        order = rng.random((self.models, count)).argsort(axis=0)
        return np.asarray(order < self.models // 2)

    def _trained(
        self,
        module: nn.Module,
        x: torch.Tensor,
        y: torch.Tensor,
        answers: torch.Tensor,
        rows: Int64Array,
        rng: np.random.Generator,
    ) -> nn.Module:
        """One imitator, of the samples at `rows`, in evaluation mode."""
        devices = [x.device] if x.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            torch.manual_seed(int(rng.integers(2**63)))
            student = _anew(module)
            steps = math.ceil(self.epochs * len(rows) / self.batch)
            parameters = list(student.parameters())
            sgd = torch.optim.SGD(parameters, lr=self.lr, momentum=0.9, weight_decay=5e-4)
            falling = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=max(1, steps))
            for k, at in enumerate(_batches(rows, self.batch, steps, rng)):
                here = torch.from_numpy(at).to(x.device)
                logits = student(x[here].clone())
                loss = nn.functional.cross_entropy(logits, y[here])
                if k >= self.warm * steps:
                    loss = (loss + self._unlike(logits, answers[here], y[here])) / 2
                for p, slope in zip(parameters, _slopes(loss, parameters), strict=True):
                    p.grad = slope
                nn.utils.clip_grad_norm_(parameters, self.most)
                sgd.step()
                falling.step()
        return student.eval()

    def _unlike(
        self, logits: torch.Tensor, answers: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """The weighted mean square of differences of logits."""
        own = labels[:, None]
        strongest = answers.scatter(1, own, -torch.inf).argmax(dim=1, keepdim=True)
        weight = torch.ones_like(answers)
        heavy = max(1.0, math.log(answers.shape[1]))
        weight = weight.scatter(1, own, heavy).scatter(1, strongest, heavy)
        apart = weight * (logits - answers) / self.temperature
        return apart.square().mean() / weight.mean()


def _slopes(
    loss: torch.Tensor, parameters: Sequence[torch.Tensor]
) -> tuple[torch.Tensor | None, ...]:
    """Of parameters that the loss does not depend on, None."""
    return torch.autograd.grad(loss, parameters, allow_unused=True)


def _batches(
    rows: Int64Array, size: int, steps: int, rng: np.random.Generator
) -> Iterator[Int64Array]:
    """`steps` batches of positions, from one reshuffled pass after another."""
    waiting = rng.permutation(rows)
    for _ in range(steps if len(rows) else 0):
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(rows)])
        yield waiting[:size]
        waiting = waiting[size:]


def _anew(module: nn.Module) -> nn.Module:
    """The architecture with weights drawn anew, in training mode."""
    made = copy.deepcopy(module)
    for name, part in made.named_modules():
        begin = getattr(part, "reset_parameters", None)
        if callable(begin):
            begin()
        elif next(part.parameters(recurse=False), None) is not None:
            raise InputError(
                f"model: expected layers that begin anew by reset_parameters, got "
                f"{type(part).__name__} {name!r} without it, which no imitator can be made of; give "
                "it that method"
            )
    return made.requires_grad_(True).train()


def _phi(student: nn.Module, x: torch.Tensor, y: torch.Tensor) -> FloatArray:
    with torch.no_grad():
        logits = torch.cat([student(part.clone()) for part in torch.split(x, _EVALUATED)])
    return SIGNALS["phi"](logits, y).double().cpu().numpy()
