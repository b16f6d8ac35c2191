"""Attacks on language models that ask more than the text itself: its neighbours, the text after others.

What they read is measured on kept weights where it was not recorded (`seepage.probes.neighbours`,
`seepage.probes.prefixes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from seepage.array_types import Float64Array, FloatArray
from seepage.attacks.measured import AgainstOut, Alone, LikelihoodRatio, within

__all__ = [
    "Neighbourhood",
    "NeighbourhoodCalibrated",
    "NeighbourhoodLR",
    "ReCaLL",
    "ReCaLLCalibrated",
    "ReCaLLLR",
]

# A ratio counts as at least this where its log is taken.
_LEAST = 1e-6


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


@dataclass(frozen=True, eq=False)
class _After:
    """What three attacks read: log p of a text after texts that are no members, over that of the text."""

    requires: ClassVar[tuple[str, ...]] = ("prefix_ratio",)
    of_texts: ClassVar[bool] = True
    reconstruction: ClassVar[bool] = True
    queries: ClassVar[int] = 5

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return within(signals, "prefix_ratio")


@dataclass(frozen=True, eq=False)
class _LogAfter(_After):
    """The same on the scale of logs, on which what is memorised well does not outweigh the rest."""

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return np.asarray(np.log(np.maximum(within(signals, "prefix_ratio"), _LEAST)))


@final
@dataclass(frozen=True, eq=False)
class ReCaLL(_After, Alone):
    """score(x) = mean log p of a token of x after non-members / that of x alone; higher = member.

    Both are negative: the ratio is above 1 where what stood before makes x less likely, which it does more
    to what was trained on. Each model is asked about x after four beginnings, a quarter of a row long, of
    texts that it was not trained on, never of x or its subject, and their mean is taken; of x the tokens
    that fit behind them (`seepage.probes.prefixes.WithPrefixes`, which measures "prefix_ratio" on kept
    weights where it was not recorded). Needs no references, but 5 queries about each text and some
    non-members of the target. Source: Xie et al., arXiv 2406.15968, whose text was not read, by the score
    of their released code. *Reconstruction*: there one beginning of several whole texts stands before all,
    which a context as short as the texts does not hold, and a text's first token counts where something
    stood before it.

    >>> signal = np.array([1.5, 0.75])
    >>> ReCaLL().score(signal, np.ones((1, 2)), np.zeros((1, 2), bool)).tolist()
    [1.5, 0.75]
    """

    name: ClassVar[str] = "recall"
    title: ClassVar[str] = "ReCaLL"
    reference: ClassVar[str] = "Xie et al., arXiv 2406.15968"


@final
@dataclass(frozen=True, eq=False)
class ReCaLLCalibrated(_LogAfter, AgainstOut):
    """score(x) = log of `ReCaLL`'s ratio − its mean under OUT references; higher = member.

    Every model has beginnings of its own, of its non-members. IN entries of the references are not read.
    Needs 1 OUT reference. Source: the signal of Xie et al., arXiv 2406.15968, calibrated as Watson et al.,
    arXiv 2111.08440, calibrate the loss: by us. *Reconstruction* in its beginnings.

    >>> others = np.array([[1.0, 2.0], [4.0, 0.5]])
    >>> ReCaLLCalibrated().score(
    ...     np.array([4.0, 1.0]), others, np.zeros((2, 2), bool)).round(3).tolist()
    [0.693, 0.0]
    """

    name: ClassVar[str] = "recall-calibrated"
    title: ClassVar[str] = "ReCaLL, calibrated"
    reference: ClassVar[str] = "Xie et al., arXiv 2406.15968; Watson et al., arXiv 2111.08440"


@final
@dataclass(frozen=True, eq=False)
class ReCaLLLR(_LogAfter, LikelihoodRatio):
    """score(x) = log p(s | IN) − log p(s | OUT), s the log of `ReCaLL`'s ratio; higher = member.

    `LiRA` with s in place of φ; variance: as there. The natural rule is score ≥ 0. Needs 2 IN and 2 OUT
    references for every text. Source: the signal of Xie et al., arXiv 2406.15968, under the rule of Carlini
    et al., arXiv 2112.03570: by us. *Reconstruction* in its beginnings.

    >>> ratio = np.array([1.4, 1.6, 1.5, 0.8, 1.0, 0.9])[:, None]
    >>> member = np.array([[True], [True], [True], [False], [False], [False]])
    >>> bool(ReCaLLLR().score(np.array([1.5]), ratio, member)[0] > 1)
    True
    """

    name: ClassVar[str] = "recall-lr"
    title: ClassVar[str] = "ReCaLL, likelihood ratio"
    reference: ClassVar[str] = "Xie et al., arXiv 2406.15968; Carlini et al., arXiv 2112.03570"
