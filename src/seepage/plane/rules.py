"""Decision rules: from a score per target and sample to "member" or "non-member"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import scipy

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Attack
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_floats
from seepage.plan import partitions

__all__ = ["GlobalFPR", "NaturalThreshold", "OwnFPR", "Rule"]


@dataclass(frozen=True)
class Rule(ABC):
    """Turns leave-one-out scores into decisions; never reads the target's own membership."""

    @abstractmethod
    def cut(self, scores: FloatArray, member: BoolArray, attack: Attack | None) -> FloatArray:
        """The score above which the rule says "member": (R,) by target, or (R, N), float64."""

    @final
    def decide(
        self, scores: FloatArray, member: BoolArray, attack: Attack | None = None
    ) -> BoolArray:
        """Decisions of every target: scores (R, N), member (R, N) bool -> (R, N) bool.

        `attack` gives the natural threshold to rules that use it.
        """
        scores, member = given_array(scores, "scores"), given_array(member, "member")
        if scores.ndim != 2 or member.shape != scores.shape or member.dtype != np.bool_:
            raise InputError(
                f"scores: expected shape (models, samples) with bool member alike, got "
                f"{scores.shape} and {member.dtype} {member.shape}"
            )
        cut = self.cut(scores, member, attack)
        decisions: BoolArray = scores > (cut[:, None] if cut.ndim == 1 else cut)
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
    threshold count as non-members, so the calibration set's realised FPR never exceeds `fpr`. The
    rate holds on average over samples; single samples may have a far higher one (`OwnFPR` holds it
    for each, `fpr_spread` shows by how much it differs).
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
        values = given_floats(scores, "scores")[rows, columns]
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


@final
@dataclass(frozen=True)
class OwnFPR(Rule):
    """A threshold for each sample, at which its *own* false-positive rate is `fpr`.

    For target r and sample i the calibration scores are those of i under the targets outside r's
    tuple that were not trained on i, n of them with mean m and standard deviation s (divisor n − 1).
    The decision is "member" where

        z = (score − m) / (s √(1 + 1/n)) > c.

    law: where c comes from.

    - "scaled": one c for all samples, the smallest that at most a share `fpr` of the z of non-members
      outside r's tuple exceeds. The mean rate is `fpr` whatever the law of the scores; each sample
      has it as far as their laws differ by place and scale alone.
    - "normal": the upper `fpr` quantile of Student's t with n − 1 degrees. The rate of a sample with
      normal scores is `fpr` exactly, with m and s as estimates; heavier tails have a higher one.
    - "ranks": no law; "member" where (1 + #{calibration >= score}) / (n + 1) <= fpr. No rate below
      1/(n + 1) can be asked for. Rates counted on the same runs are then equal by construction.

    Under one threshold for all samples (`GlobalFPR`) the rate is met only on average: mildly so for
    scores that an attack has calibrated by sample, such as LiRA's, severely for others, such as a
    loss. Thresholds come from the scores that are then counted, so that rates differ a little less
    between samples (`fpr_spread`) than those of independent counts.

    Needs 2 OUT targets outside each tuple for every sample. Raises InputError for fewer, for scores
    that are not finite (with "ranks" they may be infinite) and for a rate that is too low.
    *Reconstruction* of the calibration in arXiv 2605.25819 (Jälkö, Pradhan, Räisä and Honkela), of
    which the abstract was at hand: each score is mapped by a normal law of its sample's own.

    >>> rng = np.random.default_rng(0)
    >>> scores = rng.normal(size=(64, 500)) * np.geomspace(0.1, 10, 500)
    >>> member = np.arange(64)[:, None] % 2 == np.arange(500) % 2
    >>> out = OwnFPR(0.05).decide(scores, member) & ~member
    >>> bool(abs(out[:, :250].sum() / out[:, 250:].sum() - 1) < 0.2)
    True
    """

    fpr: float = 0.1
    law: Literal["scaled", "normal", "ranks"] = "scaled"

    def __post_init__(self) -> None:
        if not 0 < self.fpr < 1:
            raise InputError(f"fpr: expected between 0 and 1, got {self.fpr}; 0.1 is usual")
        if self.law not in ("scaled", "normal", "ranks"):
            raise InputError(f"law: expected 'scaled', 'normal' or 'ranks', got {self.law!r}")

    def cut(self, scores: FloatArray, member: BoolArray, attack: Attack | None) -> FloatArray:
        """One threshold per target and sample, (R, N)."""
        s = given_floats(scores, "scores")
        part = partitions(member)
        kinds = int(part.max()) + 1
        left = np.stack([(~member[part == u]).sum(axis=0) for u in range(kinds)])
        n = (~member).sum(axis=0) - left
        if n.min() < 2:
            raise InputError(
                f"models: expected 2 targets without each sample outside every tuple, got "
                f"{int(n.min())}; train more models"
            )
        if self.law == "ranks":
            return self._ranks(s, member, part, n)[part]
        mean, spread = self._moments(s, member, part, n)
        if self.law == "normal":
            return np.asarray((mean + spread * scipy.stats.t.ppf(1 - self.fpr, n - 1))[part])
        gap, scale = s - mean[part], spread[part]
        z = np.where(gap > 0, np.inf, -np.inf)
        np.divide(gap, scale, out=z, where=scale > 0)
        c = GlobalFPR(self.fpr).cut(z, member, attack)[:, None]
        return np.asarray(mean[part] + np.multiply(c, scale, out=np.zeros_like(z), where=scale > 0))

    def _moments(
        self, s: Float64Array, member: BoolArray, part: Int64Array, n: Int64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Mean, and spread of a further score about it, without each tuple: (U, N) twice."""
        if not np.isfinite(s).all():
            raise InputError(
                f"scores: expected finite numbers, got {int((~np.isfinite(s)).sum())} others; use "
                'OwnFPR(fpr, law="ranks")'
            )
        # Relative to one of the sample's OUT scores, so that a constant stays exact.
        first = np.take_along_axis(s, member.argmin(axis=0)[None], axis=0)
        gap = np.where(member, 0.0, s - first)
        one = np.stack([gap[part == u].sum(axis=0) for u in range(len(n))])
        two = np.stack([(gap[part == u] ** 2).sum(axis=0) for u in range(len(n))])
        mean = (one.sum(axis=0) - one) / n
        square = two.sum(axis=0) - two
        variance = np.maximum(square - n * mean**2, 0.0) / (n - 1)
        # What cancellation leaves of a constant is no spread.
        variance[variance < 1e-24 * square] = 0.0
        return np.asarray(first + mean), np.sqrt(variance * (1 + 1 / n))

    def _ranks(
        self, s: Float64Array, member: BoolArray, part: Int64Array, n: Int64Array
    ) -> Float64Array:
        passing = np.floor(self.fpr * (n + 1) + 1e-9).astype(np.int64)
        if passing.min() < 1:
            raise InputError(
                f"fpr: expected at least {1 / (int(n.min()) + 1):.3g}, one of the "
                f"{int(n.min())} calibration scores of a sample and its own, got {self.fpr}; raise "
                "it, or train more models"
            )
        outside = np.where(member, -np.inf, s)
        # Only the highest are needed: the passing ones and as many as a left-out tuple may hold.
        top = min(len(s), int(passing.max() + np.bincount(part).max()))
        rows = np.argpartition(outside, len(s) - top, axis=0)[len(s) - top :]
        head = np.take_along_axis(outside, rows, axis=0)
        order = np.argsort(-head, axis=0, kind="stable")
        head, owner = np.take_along_axis(head, order, axis=0), part[rows]
        owner = np.take_along_axis(owner, order, axis=0)
        cuts = np.empty(n.shape)
        for u in range(len(n)):
            before = np.cumsum(owner != u, axis=0) < passing[u]
            cuts[u] = np.take_along_axis(head, before.sum(axis=0)[None], axis=0)[0]
        return cuts
