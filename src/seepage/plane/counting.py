"""How rates come about, one checkpoint at a time; the published way is counting decisions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from seepage.array_types import BoolArray, FloatArray
from seepage.attacks.base import Attack
from seepage.metrics import auc
from seepage.plane.rates import points
from seepage.plane.rules import Rule

__all__ = ["Counting", "RateRule", "Track"]


class Track(Protocol):
    """Collects one membership's rates while checkpoints pass by."""

    def add(self, t: int, signals: Mapping[str, FloatArray], scores: FloatArray) -> None:
        """Take in checkpoint t: its signals {name: (R, N[, A])} and leave-one-out scores (R, N)."""

    def finish(self) -> dict[str, Any]:
        """Fields of `Trajectories` by name."""


@dataclass(frozen=True)
class RateRule(ABC):
    """How a sample's two rates are computed from a checkpoint; `Counting()` or `ClosedForm(...)`."""

    @property
    def requires(self) -> tuple[str, ...]:
        """Signals it reads itself, besides the attack's."""
        return ()

    @abstractmethod
    def start(
        self, member: BoolArray, checkpoints: int, rule: Rule, attack: Attack, keep: bool
    ) -> Track:
        """An empty track for membership (R, N); `keep` asks for what intervals need."""


@final
@dataclass(frozen=True)
class Counting(RateRule):
    """Rates by counting decisions over targets, as published: see `seepage.plane.points`."""

    def start(
        self, member: BoolArray, checkpoints: int, rule: Rule, attack: Attack, keep: bool
    ) -> Track:
        """An empty track for membership (R, N)."""
        return _Counts(member, checkpoints, rule, attack, keep)


class _Counts:
    def __init__(
        self, member: BoolArray, checkpoints: int, rule: Rule, attack: Attack, keep: bool
    ) -> None:
        models, samples = member.shape
        self.member, self.rule, self.attack = member, rule, attack
        self.fpr = np.empty((checkpoints, samples))
        self.tpr = np.empty((checkpoints, samples))
        self.auc = np.empty(checkpoints)
        # Counts of at most R ≤ 65,535 targets.
        self.turns_in = np.empty((max(checkpoints - 1, 0), samples), dtype=np.uint16)
        self.turns_out = np.empty_like(self.turns_in)
        self.packed = (
            np.empty((checkpoints, models, -(-samples // 8)), dtype=np.uint8) if keep else None
        )
        self.last: BoolArray | None = None

    def add(self, t: int, signals: Mapping[str, FloatArray], scores: FloatArray) -> None:
        decisions = self.rule.decide(scores, self.member, self.attack)
        state = points(decisions, self.member)
        self.fpr[t], self.tpr[t] = state.fpr, state.tpr
        self.auc[t] = mean_auc(scores, self.member)
        if self.packed is not None:
            self.packed[t] = np.packbits(decisions, axis=1)
        if self.last is not None:
            turned = decisions ^ self.last
            turned_in = (turned & self.member).sum(axis=0)
            self.turns_in[t - 1] = turned_in
            self.turns_out[t - 1] = turned.sum(axis=0) - turned_in
        self.last = decisions

    def finish(self) -> dict[str, Any]:
        n_in = self.member.sum(axis=0, dtype=np.int64)
        return {
            "fpr": self.fpr,
            "tpr": self.tpr,
            "n_in": n_in,
            "n_out": len(self.member) - n_in,
            "auc": self.auc,
            "decisions": self.packed,
            "turns_in": self.turns_in,
            "turns_out": self.turns_out,
        }


def mean_auc(scores: FloatArray, member: BoolArray) -> float:
    """Mean over targets of the attack's AUC: (R, N), (R, N) -> one number."""
    return float(np.mean([auc(s, y) for s, y in zip(scores, member, strict=True)]))
