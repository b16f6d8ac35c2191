"""Attacks on language models that ask more than the text itself: its neighbours.

What they read is measured on kept weights where it was not recorded (`seepage.probes.neighbours`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from seepage.array_types import Float64Array, FloatArray
from seepage.attacks.measured import AgainstOut, Alone, LikelihoodRatio

__all__ = [
    "Neighbourhood",
    "NeighbourhoodCalibrated",
    "NeighbourhoodLR",
]

@dataclass(frozen=True, eq=False)
class _Near:
    """What three attacks read: log p of a text less that of its neighbours."""

    requires: ClassVar[tuple[str, ...]] = ("neighbour_gap",)
    of_texts: ClassVar[bool] = True
    reconstruction: ClassVar[bool] = True
    queries: ClassVar[int] = 26

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return np.asarray(signals["neighbour_gap"], dtype=np.float64)


@final
@dataclass(frozen=True, eq=False)
class Neighbourhood(_Near, Alone):
    """score(x) = mean log p of a token of x less its mean over 25 neighbours of x; higher = member.

    In nats per token. A neighbour is x with a twentieth of its tokens replaced. Training raises what it was
    shown above what lies beside it; a text that is likely under any model has likely neighbours. Needs no
    references, but 26 queries about each text (`seepage.probes.neighbours.Neighbours`, which measures
    "neighbour_gap" on kept weights where it was not recorded). Source: Mattern et al., arXiv 2305.18462,
    whose text was not read, with the score of mimir. *Reconstruction*: there a masked language model
    proposes what words are replaced by; here it is the law of a token between its two neighbours in the
    texts that are asked about, which needs no other model and proposes worse ones.

    >>> signal = np.array([1.5, 0.25])
    >>> Neighbourhood().score(signal, np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [1.5, 0.25]
    """

    name: ClassVar[str] = "neighbourhood"
    title: ClassVar[str] = "Neighbourhood comparison"
    reference: ClassVar[str] = "Mattern et al., arXiv 2305.18462"


@final
@dataclass(frozen=True, eq=False)
class NeighbourhoodCalibrated(_Near, AgainstOut):
    """score(x) = `Neighbourhood`'s − its mean under OUT references; higher = member.

    All models are asked about the same neighbours, so that how unlikely these are falls out. IN entries of
    the references are not read. Needs 1 OUT reference. Source: the signal of Mattern et al., arXiv
    2305.18462, calibrated as Watson et al., arXiv 2111.08440, calibrate the loss: by us. *Reconstruction*
    in its neighbours.

    >>> others = np.array([[1.0, 0.0], [0.5, 0.5]])
    >>> NeighbourhoodCalibrated().score(
    ...     np.array([1.5, 0.25]), others, np.zeros((2, 2), bool)).tolist()
    [0.75, 0.0]
    """

    name: ClassVar[str] = "neighbourhood-calibrated"
    title: ClassVar[str] = "Neighbourhood comparison, calibrated"
    reference: ClassVar[str] = "Mattern et al., arXiv 2305.18462; Watson et al., arXiv 2111.08440"


@final
@dataclass(frozen=True, eq=False)
class NeighbourhoodLR(_Near, LikelihoodRatio):
    """score(x) = log p(s | IN) − log p(s | OUT), s the score of `Neighbourhood`; higher = member.

    `LiRA(signal="neighbour_gap")`; variance: as there. The natural rule is score ≥ 0. Needs 2 IN and 2 OUT
    references for every text. Source: the signal of Mattern et al., arXiv 2305.18462, under the rule of
    Carlini et al., arXiv 2112.03570: by us. *Reconstruction* in its neighbours.

    >>> gap = np.array([1.4, 1.6, 1.5, 0.4, 0.6, 0.5])[:, None]
    >>> member = np.array([[True], [True], [True], [False], [False], [False]])
    >>> bool(NeighbourhoodLR().score(np.array([1.5]), gap, member)[0] > 1)
    True
    """

    name: ClassVar[str] = "neighbourhood-lr"
    title: ClassVar[str] = "Neighbourhood comparison, likelihood ratio"
    reference: ClassVar[str] = "Mattern et al., arXiv 2305.18462; Carlini et al., arXiv 2112.03570"
