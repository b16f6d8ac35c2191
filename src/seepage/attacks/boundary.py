"""Attacks on how far a sample is from where the target answers another class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from seepage.array_types import Float64Array, FloatArray
from seepage.attacks.base import Access
from seepage.attacks.measured import AgainstOut, Alone, LikelihoodRatio, within

__all__ = [
    "AdversarialDistance",
    "AdversarialDistanceCalibrated",
    "AdversarialDistanceLR",
    "Boundary",
    "BoundaryCalibrated",
]

LEAST = 0.01
PASSES = 233  # at most, of `seepage.probes.distance.AdversarialDistance()`


@dataclass(frozen=True, eq=False)
class _ByGradients:
    """What two attacks read: the distance that a search with gradients finds."""

    access: ClassVar[Access] = "weights"
    requires: ClassVar[tuple[str, ...]] = ("adversarial_distance",)
    queries: ClassVar[int] = PASSES

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return within(signals, "adversarial_distance")


@dataclass(frozen=True, eq=False)
class _ByLabels:
    """What two attacks read: the distance that HopSkipJump finds."""

    access: ClassVar[Access] = "label"
    requires: ClassVar[tuple[str, ...]] = ("boundary_distance",)
    queries: ClassVar[int] = 1000

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return within(signals, "boundary_distance")


@final
@dataclass(frozen=True, eq=False)
class AdversarialDistance(_ByGradients, Alone):
    """score(x) = min ‖δ‖₂ with argmax f(x + δ) ≠ y, searched for with gradients; higher = member.

    0 where x itself is answered otherwise. Training pushes boundaries away from members. Measured
    on kept weights where it was not recorded as "adversarial_distance", in units of what the network
    reads (`seepage.probes.distance.adversarial_distance`). Needs no references; it ranks easy
    samples first, members or not. Source: Del Grosso et al., arXiv 2203.09566. Differs from the released
    code, which returns the norm of what AutoAttack found within a radius of 1: no minimum.

    >>> AdversarialDistance().score(np.array([0.0, 2.0]), np.zeros((1, 2)), np.zeros((1, 2), bool)) + 0
    array([0., 2.])
    """

    name: ClassVar[str] = "adversarial-distance"
    title: ClassVar[str] = "Adversarial distance"
    reference: ClassVar[str] = "Del Grosso et al., arXiv 2203.09566"
    first_view: ClassVar[bool] = True


@final
@dataclass(frozen=True, eq=False)
class AdversarialDistanceCalibrated(_ByGradients, AgainstOut):
    """score(x) = adversarial distance under the target − its mean over OUT references.

    How much farther x is from the boundary than under models that did not see it. IN entries of the
    references are not read. Needs 1 OUT reference. Source: the distance of Del Grosso et al., arXiv
    2203.09566, calibrated as Watson et al., arXiv 2111.08440, calibrate it too.

    >>> references = np.array([[1.0], [2.0]])
    >>> AdversarialDistanceCalibrated().score(np.array([2.0]), references, np.zeros((2, 1), bool))
    array([0.5])
    """

    name: ClassVar[str] = "adversarial-distance-calibrated"
    title: ClassVar[str] = "Adversarial distance, calibrated"
    reference: ClassVar[str] = "Watson et al., arXiv 2111.08440"


@final
@dataclass(frozen=True, eq=False)
class AdversarialDistanceLR(_ByGradients, LikelihoodRatio):
    """score(x) = log p(s | IN) − log p(s | OUT), s = log (distance + 0.01); higher = member.

    `LiRA` with s in place of φ; variance: as there. 0.01 of the unit in which the network reads its
    inputs keeps samples that are answered wrongly, at distance 0, on the scale. The natural rule is score
    ≥ 0. Needs 2 IN and 2 OUT references for every sample. Source: the distance of Del Grosso et
    al., arXiv 2203.09566, under the rule of Carlini et al., arXiv 2112.03570: by us.

    >>> references = np.array([[3.0], [3.5], [4.0], [1.0], [1.5], [2.0]])
    >>> member = np.array([[True], [True], [True], [False], [False], [False]])
    >>> bool(AdversarialDistanceLR().score(np.array([3.5]), references, member)[0] > 1)
    True
    """

    name: ClassVar[str] = "adversarial-distance-lr"
    title: ClassVar[str] = "Adversarial distance, likelihood ratio"
    reference: ClassVar[str] = (
        "Del Grosso et al., arXiv 2203.09566; Carlini et al., arXiv 2112.03570"
    )

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return np.asarray(np.log(super().value(signals) + LEAST))


@final
@dataclass(frozen=True, eq=False)
class Boundary(_ByLabels, Alone):
    """score(x) = distance to the nearest input answered otherwise that HopSkipJump found.

    Higher = member; 0 where x itself is answered with another class than its label. Reads labels
    alone, by as many as 1,000 queries about each sample; needs no references. Measured on kept
    weights where it was not recorded as "boundary_distance", by the Adversarial Robustness Toolbox
    (`pip install 'seepage[boundary]'`, `seepage.probes.boundary.boundary_distance`). Source:
    Choquette-Choo et al., arXiv 2007.14321, and Li and Zhang, arXiv 2007.15528; HopSkipJump: Chen et
    al., arXiv 1904.02144.

    >>> Boundary().score(np.array([0.0, 2.0]), np.zeros((1, 2)), np.zeros((1, 2), bool)) + 0
    array([0., 2.])
    """

    name: ClassVar[str] = "boundary"
    title: ClassVar[str] = "Boundary distance by labels"
    reference: ClassVar[str] = "Choquette-Choo et al., arXiv 2007.14321"
    first_view: ClassVar[bool] = True


@final
@dataclass(frozen=True, eq=False)
class BoundaryCalibrated(_ByLabels, AgainstOut):
    """score(x) = the distance of `Boundary` under the target − its mean over OUT references.

    Higher = member. IN entries of the references are not read. Needs 1 OUT reference. Source: the
    distance of Choquette-Choo et al., arXiv 2007.14321, calibrated as Watson et al., arXiv
    2111.08440, calibrate one: by us.

    >>> references = np.array([[1.0], [2.0]])
    >>> BoundaryCalibrated().score(np.array([2.0]), references, np.zeros((2, 1), bool))
    array([0.5])
    """

    name: ClassVar[str] = "boundary-calibrated"
    title: ClassVar[str] = "Boundary distance by labels, calibrated"
    reference: ClassVar[str] = "Choquette-Choo et al., arXiv 2007.14321"
