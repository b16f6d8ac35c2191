"""What every probe has in common: what it is asked about, what it declares, what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from seepage.array_types import BoolArray, FloatArray, Int64Array
from seepage.attacks.base import Access
from seepage.errors import InputError

__all__ = ["Asked", "Probe", "Unasked"]


class Unasked(nn.Module):
    """Stands for a network where no probe asks one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise InputError(
            "network: expected none to be asked, got a question; set `asks` of the probe"
        )


@dataclass(frozen=True, eq=False)
class Asked:
    """One network and the samples that it is asked about.

    network: in evaluation mode, (B, ...) -> logits (B, K). inputs (N, ...) float32, as the network
    is given them; labels (N,) int64. seed: of what is drawn, the network's own. before: the network
    at the checkpoint before, None at the first one or where no probe reads it. member (N,) bool:
    what the network was trained on, for probes of an attacker who knows all members but the one in
    question; such a probe reads for each sample the membership of others alone. recorded: signals of
    this network that a probe `reads`, by name: (N[, A]). owner (N,): number of the subject that a
    sample is of, None where each is its own.
    """

    network: nn.Module
    inputs: torch.Tensor
    labels: torch.Tensor
    seed: tuple[int, ...] = (0,)
    before: nn.Module | None = None
    member: BoolArray | None = None
    recorded: Mapping[str, FloatArray] = field(default_factory=dict)
    owner: Int64Array | None = None

    def generator(self) -> np.random.Generator:
        """The random stream, from its beginning: every probe has the whole of it."""
        return np.random.default_rng(list(self.seed))

    def some(self, count: int) -> Asked:
        """The same network, asked about `count` samples alone, spread evenly over the pool."""
        return self.of(
            np.linspace(0, len(self.inputs) - 1, min(count, len(self.inputs))).astype(np.int64)
        )

    def of(self, samples: Int64Array) -> Asked:
        """The same network, asked about the samples at these positions alone."""
        return replace(
            self,
            inputs=self.inputs[samples],
            labels=self.labels[samples],
            member=None if self.member is None else self.member[samples],
            recorded={name: values[samples] for name, values in self.recorded.items()},
            owner=None if self.owner is None else self.owner[samples],
        )


@dataclass(frozen=True)
class Probe(ABC):
    """Options of one way to measure a network; its fields. Pure: nothing is kept between calls.

    name: what tables of cost call it. signals: the names that `measure` returns. access: what an
    attacker must see of the network to do the same. reads_before: it compares with the network of
    the checkpoint before. asks: it asks a network; else it works on inputs and on the recorded
    signals that it `reads`, and needs no weights. of_texts: the network is a language model, (B, L) token
    numbers -> logits (B, L, V); else it answers with classes. timed_on: samples of a first batch that tell what
    it takes. queries: how often the network is asked about each sample; where access is "weights" or
    "trajectory", passes through it, forward or backward.
    """

    name: ClassVar[str]
    access: ClassVar[Access]
    reads_before: ClassVar[bool] = False
    asks: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ()
    of_texts: ClassVar[bool] = False
    timed_on: ClassVar[int] = 64

    @property
    @abstractmethod
    def signals(self) -> tuple[str, ...]:
        """Names of what is measured."""

    @property
    @abstractmethod
    def queries(self) -> int:
        """Queries, or passes, for each sample."""

    @abstractmethod
    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        """Every signal at every sample: name -> (N,) or (N, F)."""
