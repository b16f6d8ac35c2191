"""Decision rules: from a score per target and sample to "member" or "non-member"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np

from seepage.array_types import BoolArray, FloatArray
from seepage.attacks.base import Attack
from seepage.errors import InputError
from seepage.plan import partitions

__all__ = ["GlobalFPR", "NaturalThreshold", "Rule"]


@dataclass(frozen=True)
class Rule(ABC):
    """Turns leave-one-out scores into decisions; never reads the target's own membership."""

    @abstractmethod
    def cut(self, scores: FloatArray, member: BoolArray, attack: Attack | None) -> FloatArray:
        """The score above which each target's rule says "member", (R,) float64."""

    @final
    def decide(
        self, scores: FloatArray, member: BoolArray, attack: Attack | None = None
    ) -> BoolArray:
        """Decisions of every target: scores (R, N), member (R, N) bool -> (R, N) bool.

        `attack` gives the natural threshold to rules that use it.
        """
        scores, member = np.asarray(scores), np.asarray(member)
        if scores.ndim != 2 or member.shape != scores.shape or member.dtype != np.bool_:
            raise InputError(
                f"scores: expected shape (models, samples) with bool member alike, got "
                f"{scores.shape} and {member.dtype} {member.shape}"
            )
        decisions: BoolArray = scores > self.cut(scores, member, attack)[:, None]
        return decisions


@final
@dataclass(frozen=True)
class NaturalThreshold(Rule):
    """The attack's own rule: score ≥ `attack.threshold`, for likelihood ratios Λ ≥ 0.

    What the authors' older code counts; the threshold of arXiv 2507.23291 itself was not available.
    Raises InputError for an attack without a natural threshold.
    """

    def cut(self, scores: FloatArray, member: BoolArray, attack: Attack | None) -> FloatArray:
        """The same threshold for all targets, (R,)."""
        threshold = None if attack is None else attack.threshold
        if threshold is None:
            name = "no attack" if attack is None else attack.name
            raise InputError(
                f"rule: {name} has no natural threshold; use GlobalFPR(0.1) or another rate"
            )
        return np.full(len(scores), np.nextafter(threshold, -np.inf))


@final
@dataclass(frozen=True)
class GlobalFPR(Rule):
    """The threshold that a given share of non-members passes, calibrated without the target.

    For target r: the smallest threshold at which at most `fpr` of the (model, sample) entries of
    all targets outside r's tuple, over their non-members, are called members. Ties at the
    threshold count as non-members, so the calibration set's realised FPR never exceeds `fpr`.
    Raises InputError when 1/fpr exceeds the number of calibration scores.

    >>> scores = np.arange(8.0).reshape(4, 2)
    >>> member = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=bool)
    >>> GlobalFPR(0.5).decide(scores, member).tolist()
    [[False, False], [False, False], [True, True], [True, True]]
    """

    fpr: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.fpr < 1:
            raise InputError(f"fpr: expected between 0 and 1, got {self.fpr}; 0.1 is usual")

    def cut(self, scores: FloatArray, member: BoolArray, attack: Attack | None) -> FloatArray:
        """One threshold per target, equal within a tuple, (R,)."""
        tuple_of = partitions(member)
        rows, columns = np.nonzero(~member)
        values = np.asarray(scores, dtype=np.float64)[rows, columns]
        owner = tuple_of[rows].astype(np.int32)
        own = np.bincount(owner, minlength=int(tuple_of.max()) + 1)
        rest = len(values) - own
        passing = np.floor(self.fpr * rest + 1e-9).astype(np.int64)
        if (passing < 1).any():
            raise InputError(
                f"fpr: expected at least {1 / max(int(rest.min()), 1):.3g}, one of "
                f"{int(rest.min())} calibration scores, got {self.fpr}; raise it, or train more "
                "models"
            )
        # Only the highest scores are needed: the passing ones and as many as the left-out tuple
        # may hold.
        top = min(len(values), int(passing.max() + own.max()) + 1)
        head = np.argpartition(values, len(values) - top)[len(values) - top :]
        head = head[np.argsort(-values[head], kind="stable")]
        values, owner = values[head], owner[head]
        cuts = np.empty(len(own))
        for u, k in enumerate(passing):
            cuts[u] = values[owner != u][k]
        return cuts[tuple_of]
