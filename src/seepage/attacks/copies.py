"""Attacks on what a target answers to copies of a sample: noisy, shifted, mirrored ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks.base import Access, Attack
from seepage.attacks.measured import AgainstOut, Alone, LikelihoodRatio, within
from seepage.errors import InputError

__all__ = ["LabelAugment", "LabelAugmentCalibrated", "LabelAugmentLR", "Merlin", "Morgan"]

# Levels of the OUT losses between which Morgan looks for its band.
_LEVELS = np.arange(21) / 20


@final
@dataclass(frozen=True, eq=False)
class Merlin(Alone):
    """score(x) = the share of 100 noisy copies x + σv whose loss is larger than that of x.

    Ties count half. Training puts members near a minimum of the loss around them, from where every
    step leads up. Measured on kept weights where it was not recorded as "noise_share", with σ = 0.3
    in units of what the network reads (`seepage.probes.copies.NoisyLoss`). For small σ the slope
    decides and the score is ½ for all; for large σ every step leads up. Needs no references and no
    weights, but 101 queries about each sample. Source: Jayaraman et al., arXiv
    2005.10881, whose text was not read. *Reconstruction* by their released code, where ties count
    nothing and σ = 0.01 in units of the data they use.

    >>> Merlin().score(np.array([0.5, 1.0]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [0.5, 1.0]
    """

    name: ClassVar[str] = "merlin"
    title: ClassVar[str] = "Merlin"
    reference: ClassVar[str] = "Jayaraman et al., arXiv 2005.10881"
    reconstruction: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("noise_share",)
    first_view: ClassVar[bool] = True
    queries: ClassVar[int] = 101

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return within(signals, "noise_share", 1)


@final
@dataclass(frozen=True, eq=False)
class Morgan(Attack):
    """score(x) = Merlin's where the loss lies in a band where members are, Merlin's − 2 elsewhere.

    The published rule is "member" iff φ_L ≤ ℓ ≤ φ_U and Merlin's share ≥ φ_M. Here φ_M is what the
    score is compared with, and all inside the band stand above all outside. φ_L and φ_U are
    quantiles of the losses of the references' OUT samples, all samples together.

    band: their levels, (0.22, 0.3) in released code; None: those of 0, 0.05, …, 1 between which the
    share of the references' IN samples exceeds that of OUT samples most, 0 and 1 without limit.
    Needs 1 IN and 1 OUT reference. Source: Jayaraman et al., arXiv 2005.10881, whose text was not
    read. *Reconstruction*: its one score for three thresholds ours; there the levels are chosen by
    hand for each data set.

    >>> rng = np.random.default_rng(0)
    >>> member = np.tile(np.eye(2, dtype=bool), (3, 50))
    >>> loss = np.where(member, rng.uniform(0.2, 0.4, member.shape), rng.uniform(0, 1, member.shape))
    >>> target = {"loss": np.full(100, 0.3), "noise_share": np.full(100, 0.9)}
    >>> references = {"loss": loss, "noise_share": np.full(member.shape, 0.5)}
    >>> Morgan().score(target, references, member)[0]
    np.float64(0.9)
    """

    band: tuple[float, float] | None = None

    name: ClassVar[str] = "morgan"
    title: ClassVar[str] = "Morgan"
    reference: ClassVar[str] = "Jayaraman et al., arXiv 2005.10881"
    reconstruction: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("noise_share", "loss")
    first_view: ClassVar[bool] = True
    min_in: ClassVar[int] = 1
    min_out: ClassVar[int] = 1
    queries: ClassVar[int] = 101
    fitted: ClassVar[bool] = True
    on_request: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.band is not None and not 0 <= self.band[0] < self.band[1] <= 1:
            raise InputError(
                f"band: expected two rising levels from 0 to 1, got {self.band}; (0.22, 0.3) is that "
                "of released code"
            )

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        share = within(target, "noise_share", 1)[:, 0]
        loss = np.asarray(target["loss"][:, 0], dtype=np.float64)
        low, high = self._limits(np.asarray(references["loss"][..., 0], dtype=np.float64), member)
        return np.where((low <= loss) & (loss <= high), share, share - 2)

    def _limits(self, loss: Float64Array, member: BoolArray) -> tuple[float, float]:
        """The losses at which the band begins and ends."""
        inside, out = np.sort(loss[member]), np.sort(loss[~member])
        levels = _LEVELS if self.band is None else np.array(self.band)
        at = np.quantile(out, levels)
        at[levels == 0], at[levels == 1] = -np.inf, np.inf
        if self.band is not None:
            return float(at[0]), float(at[1])
        below = [np.searchsorted(v, at, "left") / len(v) for v in (inside, out)]
        upto = [np.searchsorted(v, at, "right") / len(v) for v in (inside, out)]
        gain = (upto[0] - upto[1])[None, :] - (below[0] - below[1])[:, None]
        gain[np.tril_indices(len(at))] = -np.inf
        # Of sums that are equal but for rounding the first one, whatever the order of samples.
        low, high = np.unravel_index(int(np.argmax(np.round(gain, 9))), gain.shape)
        return float(at[low]), float(at[high])


@dataclass(frozen=True, eq=False)
class _Answers:
    """What three attacks read: how many copies of a sample are answered with its label."""

    access: ClassVar[Access] = "label"
    requires: ClassVar[tuple[str, ...]] = ("augmented_correct",)
    queries: ClassVar[int] = 30

    @staticmethod
    def share(signals: Mapping[str, FloatArray]) -> Float64Array:
        """Of all copies, the one that is the sample among them: (..., N, F) -> (..., N, 1)."""
        right = within(signals, "augmented_correct", 1)
        return np.asarray(right.mean(axis=-1, keepdims=True))


@final
@dataclass(frozen=True, eq=False)
class LabelAugment(_Answers, Alone):
    """score(x) = the share of copies of x that are answered with its label; higher = member.

    Copies are shifts of images, and x with normal noise of several levels (`seepage.probes.copies.Augmented`, which measures "augmented_correct" on kept weights where it
    was not recorded). Reads labels alone; needs no references. It ranks samples far from a boundary
    first, members or not. Source: Choquette-Choo et al., arXiv 2007.14321, who fit a network to
    the answers of a shadow model, for each class; the count is what they have in common.

    >>> right = np.array([[1.0, 1.0, 0.0, 1.0]])
    >>> LabelAugment().score(right, np.zeros((1, 1, 4)), np.zeros((1, 1), bool)).tolist()
    [0.75]
    """

    name: ClassVar[str] = "label-augment"
    title: ClassVar[str] = "Labels of augmented copies"
    reference: ClassVar[str] = "Choquette-Choo et al., arXiv 2007.14321"

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return self.share(signals)


@final
@dataclass(frozen=True, eq=False)
class LabelAugmentCalibrated(_Answers, AgainstOut):
    """score(x) = share of copies answered with the label of x − its mean over OUT references.

    Higher = member. IN entries of the references are not read. Needs 1 OUT reference. Source: the
    signal of Choquette-Choo et al., arXiv 2007.14321, calibrated as Watson et al., arXiv
    2111.08440, calibrate the loss: by us.

    >>> right = np.array([[1.0, 1.0, 0.0, 1.0]])
    >>> others = np.array([[[1.0, 0.0, 0.0, 0.0]], [[1.0, 1.0, 0.0, 0.0]]])
    >>> LabelAugmentCalibrated().score(right, others, np.zeros((2, 1), bool)).tolist()
    [0.375]
    """

    name: ClassVar[str] = "label-augment-calibrated"
    title: ClassVar[str] = "Labels of augmented copies, calibrated"
    reference: ClassVar[str] = (
        "Choquette-Choo et al., arXiv 2007.14321; Watson et al., arXiv 2111.08440"
    )

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return self.share(signals)


@final
@dataclass(frozen=True, eq=False)
class LabelAugmentLR(_Answers, LikelihoodRatio):
    """score(x) = log p(s | IN) − log p(s | OUT), s = log (k + ½)/(F − k + ½); higher = member.

    k of F copies are answered with the label of x. `LiRA` with these log-odds in place of φ;
    variance: as there. The natural rule is score ≥ 0. Needs 2 IN and 2 OUT references for every sample.
    Source: the signal of Choquette-Choo et al., arXiv 2007.14321, under the rule of Carlini et al.,
    arXiv 2112.03570: by us.

    >>> k = np.array([4, 3, 4, 1, 2, 1])[:, None, None]
    >>> right = (np.arange(4) < k).astype(float)
    >>> member = np.array([[True], [True], [True], [False], [False], [False]])
    >>> bool(LabelAugmentLR().score(np.ones((1, 4)), right, member)[0] > 1)
    True
    """

    name: ClassVar[str] = "label-augment-lr"
    title: ClassVar[str] = "Labels of augmented copies, likelihood ratio"
    reference: ClassVar[str] = (
        "Choquette-Choo et al., arXiv 2007.14321; Carlini et al., arXiv 2112.03570"
    )

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        count = signals["augmented_correct"].shape[-1]
        right = self.share(signals) * count
        return np.asarray(np.log(right + 0.5) - np.log(count - right + 0.5))
