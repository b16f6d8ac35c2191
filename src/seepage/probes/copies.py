"""The network asked about copies of each sample: noisy ones, shifted and mirrored ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from seepage.array_types import Float64Array, FloatArray
from seepage.attacks.base import Access
from seepage.curvature.base import SampleStreams, stream_key
from seepage.curvature.measured_model import Network, network
from seepage.errors import InputError
from seepage.probes.base import Asked, Probe

__all__ = ["Augmented", "NoisyLoss", "augmented_labels", "noisy_losses"]

# Copies that are answered at once: so many, and so many numbers of inputs.
_ROWS = 2048
_NUMBERS = 2**23

Copies = Callable[[torch.Tensor, SampleStreams], torch.Tensor]
"""Samples (B, ...) with their random streams -> copies (B, F, ...)."""


def noisy_losses(
    model: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    sigma: float = 0.3,
    copies: int = 100,
    *,
    generator: np.random.Generator,
) -> tuple[Float64Array, Float64Array]:
    """ℓ(x) and ℓ(x + σv_c) of every sample, v_c standard normal: (N,) and (N, copies), in nats.

    sigma: in units of what the network reads, which in a run are standard deviations of the
    members' inputs, by channel or column, unless inputs were given as they are. Losses come from
    differences of logits in float64, so that a loss of 1e-9 is told from 0. One number is drawn
    from the generator, and each sample has a stream of its own: batches change nothing. Raises
    InputError for a network in training mode or one whose answers are no logits.

    >>> model = nn.Linear(2, 2, bias=False).requires_grad_(False)
    >>> _ = model.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    >>> x, y = torch.zeros(1, 2), torch.tensor([0])
    >>> loss, noisy = noisy_losses(model, x, y, 1.0, 4, generator=np.random.default_rng(0))
    >>> loss.round(4).tolist(), noisy.shape              # log 2
    ([0.6931], (1, 4))
    """

    def near(x: torch.Tensor, streams: SampleStreams) -> torch.Tensor:
        drawn = streams.normals(copies, x[0].numel()).astype(np.float32)
        v = torch.from_numpy(drawn).view(len(x), copies, *x.shape[1:])
        return torch.cat([x[:, None], x[:, None] + sigma * v.to(x)], dim=1)

    key = stream_key(generator, "NoisyLoss")
    found = [
        _losses(logits, y).cpu().numpy()
        for logits, y in _answers(model, inputs, labels, near, copies + 1, key)
    ]
    loss = np.concatenate(found)
    return loss[:, 0], loss[:, 1:]


def augmented_labels(
    model: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    copies: Copies,
    count: int,
    *,
    generator: np.random.Generator,
) -> FloatArray:
    """Whether each copy of each sample is answered with the sample's label: (N, count) of 0 and 1.

    copies: what makes `count` copies of each sample. Of the answers only the class is read. Raises
    InputError as `noisy_losses`.

    >>> model = nn.Linear(1, 2, bias=False).requires_grad_(False)
    >>> _ = model.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    >>> both = lambda x, streams: torch.stack([x, -x], dim=1)
    >>> x, y = torch.tensor([[2.0], [-3.0]]), torch.tensor([0, 0])
    >>> augmented_labels(model, x, y, both, 2, generator=np.random.default_rng(0)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    key = stream_key(generator, "Augmented")
    found = [
        (logits.argmax(-1) == y[:, None]).float().cpu().numpy()
        for logits, y in _answers(model, inputs, labels, copies, count, key)
    ]
    return np.concatenate(found)


def _answers(
    model: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    copies: Copies,
    count: int,
    key: int,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits (B, count, K) of copies and labels (B,), some samples at a time."""
    own = network(model, None)
    with own.unchanged(), own.exact_evaluation(), torch.no_grad():
        own.check(inputs[:32].to(own.device, own.dtype), differentiable=False)
        rows = max(1, min(_ROWS, _NUMBERS // max(1, inputs[0].numel())) // count)
        for i in range(0, len(inputs), rows):
            x = inputs[i : i + rows].to(own.device, own.dtype)
            made = copies(x, SampleStreams(key, i, len(x)))
            yield _in_parts(own, made, count), labels[i : i + rows].to(own.device)


def _in_parts(own: Network, made: torch.Tensor, count: int) -> torch.Tensor:
    flat = made.flatten(0, 1)
    logits = torch.cat([own.logits(part) for part in torch.split(flat, _ROWS)])
    return logits.view(-1, count, logits.shape[-1])


def _losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy (B, F) of logits (B, F, K), without cancellation near 0."""
    z = logits.double()
    own = z.gather(-1, labels[:, None, None].expand(*z.shape[:2], 1))
    others = z.scatter(-1, labels[:, None, None].expand(*z.shape[:2], 1), -torch.inf)
    return nn.functional.softplus(torch.logsumexp(others - own, dim=-1))


@dataclass(frozen=True)
class NoisyLoss(Probe):
    """The share of noisy copies whose loss is larger than the sample's: "noise_share".

    Ties count half. sigma, copies: as `noisy_losses` has them.

    >>> NoisyLoss(copies=50).queries
    51
    """

    sigma: float = 0.3
    copies: int = 100

    name: ClassVar[str] = "noisy-loss"
    access: ClassVar[Access] = "scores"

    def __post_init__(self) -> None:
        if not 0 < self.sigma < np.inf:
            raise InputError(f"sigma: expected a positive number, got {self.sigma}")
        if self.copies < 1:
            raise InputError(f"copies: expected at least 1, got {self.copies}")

    @property
    def signals(self) -> tuple[str, ...]:
        return ("noise_share",)

    @property
    def queries(self) -> int:
        return self.copies + 1

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        loss, noisy = noisy_losses(
            asked.network,
            asked.inputs,
            asked.labels,
            self.sigma,
            self.copies,
            generator=asked.generator(),
        )
        larger, equal = noisy > loss[:, None], noisy == loss[:, None]
        return {"noise_share": np.asarray((larger + equal / 2).mean(axis=1), dtype=np.float32)}


@dataclass(frozen=True)
class Augmented(Probe):
    """Whether copies of the sample are still given its label: "augmented_correct", (N, F).

    The sample itself first. Of images (N, C, H, W): shifts by all (dy, dx) with |dy| + |dx| ≤ shift,
    edges repeated; with `mirror` each of them mirrored too. Then, of images and tables alike, for
    each of the levels in `noise`, `draws` copies with normal noise of that standard deviation on
    every pixel or column, in units of what the network reads; columns that say yes or no get the same
    noise as others, where the paper flips them. Shifts are taken of what the network reads.

    >>> Augmented().queries, Augmented(shift=2, mirror=True).queries
    (30, 51)
    """

    shift: int = 1
    mirror: bool = False
    noise: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0)
    draws: int = 5

    name: ClassVar[str] = "augmented"
    access: ClassVar[Access] = "label"

    def __post_init__(self) -> None:
        if self.shift < 0 or self.draws < 1:
            raise InputError(
                "augmented: expected a shift of at least 0 and draws of at least 1, got "
                f"{self.shift} and {self.draws}"
            )
        if not all(0 < s < np.inf for s in self.noise):
            raise InputError(f"noise: expected positive numbers, got {self.noise}")

    @property
    def signals(self) -> tuple[str, ...]:
        return ("augmented_correct",)

    @property
    def queries(self) -> int:
        """Of images; of tables, which are not shifted, fewer."""
        return self._moves + self._draws

    @property
    def _moves(self) -> int:
        return (2 * self.shift * (self.shift + 1) + 1) * (1 + self.mirror)

    @property
    def _draws(self) -> int:
        return len(self.noise) * self.draws

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        moved = self._moves if asked.inputs.ndim == 4 else 1
        found = augmented_labels(
            asked.network,
            asked.inputs,
            asked.labels,
            self._copies,
            moved + self._draws,
            generator=asked.generator(),
        )
        return {"augmented_correct": found}

    def _copies(self, x: torch.Tensor, streams: SampleStreams) -> torch.Tensor:
        moved = self._moved(x) if x.ndim == 4 else x[:, None]
        return torch.cat([moved, self._noisy(x, streams)], dim=1)

    def _moved(self, x: torch.Tensor) -> torch.Tensor:
        d, (height, width) = self.shift, x.shape[2:]
        moves = range(-d, d + 1)
        padded = nn.functional.pad(x, (d, d, d, d), mode="replicate")
        made = [
            padded[:, :, d + dy : d + dy + height, d + dx : d + dx + width]
            for dy, dx in sorted(((a, b) for a in moves for b in moves), key=_size)
            if abs(dy) + abs(dx) <= d
        ]
        if self.mirror:
            made += [copy.flip(-1) for copy in made]
        return torch.stack(made, dim=1)

    def _noisy(self, x: torch.Tensor, streams: SampleStreams) -> torch.Tensor:
        count = self._draws
        v = torch.from_numpy(streams.normals(count, x[0].numel()).astype(np.float32))
        levels = torch.tensor(self.noise).repeat_interleave(self.draws)
        v = v.view(len(x), count, *x.shape[1:]) * levels.view(-1, *[1] * (x.ndim - 1))
        return x[:, None] + v.to(x)


def _size(move: tuple[int, int]) -> tuple[int, int, int]:
    dy, dx = move
    return (abs(dy) + abs(dx), dy, dx)
