"""Samples as a run stores them, and what defences ask of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from seepage.errors import InputError

__all__ = [
    "Samples",
    "cross_entropy",
    "eval_logits",
    "forward",
    "head_of",
    "in_precision",
    "snapshot",
    "soften",
    "still_statistics",
]


def _as_they_are(inputs: torch.Tensor) -> torch.Tensor:
    return inputs


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and labels that a run may draw from.

    inputs (n, ...) in whatever form they are stored (bytes, floats, positions in a pool): only
    `prepare` understands it and turns it into what the model takes (normalised float, layout,
    device). labels (n,) int64.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    prepare: Callable[[torch.Tensor], torch.Tensor] = _as_they_are

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Prepared inputs and labels of the positions `rows`."""
        inputs = self.prepare(self.inputs[rows.to(self.inputs.device)])
        return inputs, self.labels[rows.to(self.labels.device)]

    def draw(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` samples drawn with replacement."""
        return self.take(torch.randint(len(self), (count,), generator=generator))

    def batches(self, size: int = 512) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All samples in order, `size` at a time."""
        for begin in range(0, len(self), size):
            yield self.take(torch.arange(begin, min(begin + size, len(self))))

    def subset(self, rows: torch.Tensor) -> Samples:
        """The samples at positions `rows`, still unprepared."""
        return Samples(
            self.inputs[rows.to(self.inputs.device)],
            self.labels[rows.to(self.labels.device)],
            self.prepare,
        )


def in_precision(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """Autocast to `dtype`; none at all for None."""
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats; targets (B,) int64 or (B, K) probabilities."""
    return F.cross_entropy(logits.float(), targets)


def head_of(model: nn.Module) -> nn.Linear:
    """The last linear layer, which is the head of a classifier."""
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise InputError(
            "model: expected a linear layer as head to read features before it, got none; "
            "use a defence that needs no features"
        )
    return linear[-1]


def forward(
    model: nn.Module, inputs: torch.Tensor, features: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logits, and if asked what entered the head: (B, ...) -> (B, K), (B, F) or None."""
    if not features:
        return model(inputs), None
    seen: list[torch.Tensor] = []
    handle = head_of(model).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        logits = model(inputs)
    finally:
        handle.remove()
    return logits, seen[-1]


@contextmanager
def still_statistics(model: nn.Module) -> Iterator[None]:
    """Within it, forward passes leave the running statistics of normalisation untouched.

    For samples that must not leave a trace in the model, such as a reference set.
    """
    norms = [
        m
        for m in model.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    kept = [(m, {k: b.clone() for k, b in m.named_buffers(recurse=False)}) for m in norms]
    try:
        yield
    finally:
        for m, buffers in kept:
            for key, value in buffers.items():
                # Replaced, not written: the graph of the pass may still hold the old buffer.
                setattr(m, key, value)


def eval_logits(
    model: nn.Module,
    samples: Samples,
    *,
    size: int = 512,
    autocast: torch.dtype | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of all samples in evaluation mode, the mode restored afterwards."""
    was_training = {m: m.training for m in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            parts = []
            for x, y in samples.batches(size):
                with in_precision(x.device, autocast):
                    logits = model(x)
                parts.append((logits.float(), y))
    finally:
        for module, mode in was_training.items():
            module.training = mode
    return torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts])


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of parameters and buffers."""
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def soften(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """(B,) labels -> one-hot float32; (B, K) unchanged."""
    return F.one_hot(targets, classes).float() if targets.ndim == 1 else targets
