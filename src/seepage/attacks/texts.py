"""Attacks on language models: each a reduction of what the target says of every token of a text.

What they read are signals of documents (`seepage.tokens.DOCUMENT_SIGNALS`), which follow from recorded
log-probabilities of tokens. Scores are in nats per token unless said otherwise. D is log p of a token
less its log p under a reference: the model from which fine-tuning started, or another that saw none of
the texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks.base import Attack
from seepage.attacks.measured import Alone

__all__ = [
    "CAMIA",
    "EZMIA",
    "HTMIA",
    "WBC",
    "InfoRMIATokens",
    "MinK",
    "MinKPlusPlus",
    "ReferenceRatio",
    "Zlib",
]


@dataclass(frozen=True, eq=False)
class _OfText:
    """What seven share: the score is one signal of the document under the target; no references."""

    requires: ClassVar[tuple[str, ...]]
    of_texts: ClassVar[bool] = True
    on_request: ClassVar[bool] = False
    first_view: ClassVar[bool] = True

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return np.asarray(signals[self.requires[0]], dtype=np.float64)


@final
@dataclass(frozen=True, eq=False)
class Zlib(_OfText, Alone):
    """score(x) = mean log p / bytes of zlib.compress(x), in nats per token and byte; higher = member.

    A text that compresses well is likely under any model; its size takes a part of that away. Needs the
    texts, or their compressed sizes, and no references. Source: Carlini et al., arXiv 2012.07805; as in
    mimir, whose score is the negative.

    >>> signal = np.array([-0.02, -0.05])
    >>> Zlib().score(signal, np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [-0.02, -0.05]
    """

    name: ClassVar[str] = "zlib"
    title: ClassVar[str] = "zlib ratio"
    reference: ClassVar[str] = "Carlini et al., arXiv 2012.07805"
    requires: ClassVar[tuple[str, ...]] = ("zlib_ratio",)


@final
@dataclass(frozen=True, eq=False)
class MinK(_OfText, Alone):
    """score(x) = mean log p of the least likely fifth of the tokens; higher = member.

    int(n/5) of n tokens and at least 1, where public code has no number for texts of fewer than five.
    Needs no references. Source: Shi et al., arXiv 2310.16789, k = 20 %.

    >>> MinK().score(np.array([-4.0, -6.0]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [-4.0, -6.0]
    """

    name: ClassVar[str] = "min-k"
    title: ClassVar[str] = "Min-K % Prob"
    reference: ClassVar[str] = "Shi et al., arXiv 2310.16789"
    requires: ClassVar[tuple[str, ...]] = ("min_k",)


@final
@dataclass(frozen=True, eq=False)
class MinKPlusPlus(_OfText, Alone):
    """score(x) = mean of the lowest fifth of (log p − μ)/σ; higher = member.

    μ and σ are the mean and the standard deviation of log p over the vocabulary under the model's own
    answer at that token; σ counts as at least 10⁻⁴. Needs no references. Source: Zhang et al., arXiv
    2404.02936, and its released code, k = 20 %.

    >>> MinKPlusPlus().score(np.array([-1.0, -3.0]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [-1.0, -3.0]
    """

    name: ClassVar[str] = "min-k-pp"
    title: ClassVar[str] = "Min-K %++"
    reference: ClassVar[str] = "Zhang et al., arXiv 2404.02936"
    requires: ClassVar[tuple[str, ...]] = ("min_k_pp",)


@final
@dataclass(frozen=True, eq=False)
class ReferenceRatio(_OfText, Alone):
    """score(x) = mean of D, the log-likelihood against the reference's per token; higher = member.

    With a unit of subjects (`seepage.metrics.unit_of`) the scores of a user's texts are added up: user
    inference (Kandpal et al., arXiv 2310.09266), there on texts of the user that were not trained on.
    Needs the reference's log p and no other models. Source: Carlini et al., arXiv 2012.07805; as `ref` in
    mimir.

    >>> ReferenceRatio().score(np.array([0.5, 0.1]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [0.5, 0.1]
    """

    name: ClassVar[str] = "reference-ratio"
    title: ClassVar[str] = "Reference ratio"
    reference: ClassVar[str] = "Carlini et al., arXiv 2012.07805"
    requires: ClassVar[tuple[str, ...]] = ("reference_ratio",)


@final
@dataclass(frozen=True, eq=False)
class HTMIA(_OfText, Alone):
    """score(x) = mean of D over the fifth of the tokens that the reference finds least likely.

    Higher = member: easy tokens say nothing and are left out. The share and the difference of *log*
    probabilities are by us. *Reconstruction* from the abstract and a reading of the page. Needs the
    reference's log p. Source: Jawad et al., arXiv 2601.20885.

    >>> HTMIA().score(np.array([0.9, 0.2]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [0.9, 0.2]
    """

    name: ClassVar[str] = "ht-mia"
    title: ClassVar[str] = "HT-MIA"
    reference: ClassVar[str] = "Jawad et al., arXiv 2601.20885"
    reconstruction: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("hard_tokens",)


@final
@dataclass(frozen=True, eq=False)
class WBC(_OfText, Alone):
    """score(x) = share of windows on which the target's loss is below the reference's; higher = member.

    The mean over widths 2, 3, 4, 6, 9, 13, 18, 25, 32 and 40 tokens of the share of windows of that width
    with ΣD > 0: votes, so that no single token decides. Widths beyond the text are left out. Needs the
    reference's log p. Source: Chen et al., arXiv 2601.02751, and its released code.

    >>> WBC().score(np.array([0.9, 0.4]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [0.9, 0.4]
    """

    name: ClassVar[str] = "wbc"
    title: ClassVar[str] = "Windows compared (WBC)"
    reference: ClassVar[str] = "Chen et al., arXiv 2601.02751"
    requires: ClassVar[tuple[str, ...]] = ("window_share",)


@final
@dataclass(frozen=True, eq=False)
class EZMIA(_OfText, Alone):
    """score(x) = log((ΣD⁺ + 1)/(Σ|D⁻| + 1)) over the tokens that the target does not rank first.

    Higher = member: even where the model still errs, training has raised what it was shown. Differs from
    the released code, whose ΣD⁺/Σ|D⁻| is 0, the least suspicious score, where there are fewer than two
    such tokens or no D is negative: the texts that are memorised best. Here a nat stands on either side,
    and where no token is an error all tokens are read. Needs the reference's log p. Source: arXiv
    2601.12104, and its released code.

    >>> EZMIA().score(np.array([1.5, -0.5]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [1.5, -0.5]
    """

    name: ClassVar[str] = "ez-mia"
    title: ClassVar[str] = "EZ-MIA"
    reference: ClassVar[str] = "EZ-MIA, arXiv 2601.12104"
    requires: ClassVar[tuple[str, ...]] = ("error_zone",)


@final
@dataclass(frozen=True, eq=False)
class InfoRMIATokens(Attack):
    """score(x) = mean over tokens of log p − log p̄, less the mean of that over the pool; higher = member.

    p̄ is the mean probability of the token under the other models without the target's tuple, IN and OUT
    alike, so that each token has its share of the evidence (`seepage.tokens.AmongOthers`). The mean over
    the pool under the same target stands for the paper's expectation over a population, which there is
    one over the vocabulary at each token. Runs are compared by how they were planned and not by their
    members. Needs other models, and log p of every token under each. Source: Tao and Shokri, arXiv
    2510.05582. *Reconstruction* in its population.

    >>> attack = InfoRMIATokens()
    >>> member = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=bool)
    >>> attack.leave_one_out(np.where(member, 1.0, -1.0), member)[0].tolist()
    [1.0, -1.0]
    """

    name: ClassVar[str] = "info-rmia-tokens"
    title: ClassVar[str] = "InfoRMIA of tokens"
    reference: ClassVar[str] = "Tao and Shokri, arXiv 2510.05582"
    reconstruction: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("others_ratio",)
    first_view: ClassVar[bool] = True
    of_texts: ClassVar[bool] = True
    min_in: ClassVar[int] = 1
    min_out: ClassVar[int] = 1

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        found = target["others_ratio"][:, 0].astype(np.float64)
        return np.asarray(found - found.mean())


@final
@dataclass(frozen=True, eq=False)
class CAMIA(Attack):
    """score(x) = −mean p-value of eight features of the sequence of losses; higher = member.

    The features are mean log p of the whole, of its first half and its first quarter, −slope of the loss,
    shares of tokens with log p of at least −1, −2 and −3, and −the complexity of Lempel and Ziv of log p in
    four bins; a p-value is the share of OUT texts of the references whose feature is at least as high, and
    their mean is the rule of Edgington. Features of repeated texts need further passes and are left out,
    as are those of token numbers; cuts are shares of a text, where the released code cuts at 200 and 300
    tokens. Needs 1 OUT reference. Source: Chang et al., arXiv 2409.13745, and its released code.
    *Reconstruction* in its features.

    >>> references = np.zeros((2, 3, 8)); references[1] = 1.0
    >>> target = np.stack([np.full(8, 2.0), np.full(8, 0.5), np.full(8, -1.0)])
    >>> CAMIA().score(target, references, np.zeros((2, 3), bool)).round(3).tolist()
    [-0.143, -0.571, -1.0]
    """

    name: ClassVar[str] = "camia"
    title: ClassVar[str] = "CAMIA"
    reference: ClassVar[str] = "Chang et al., arXiv 2409.13745"
    reconstruction: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("loss_shape",)
    of_texts: ClassVar[bool] = True
    min_out: ClassVar[int] = 1

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        own = target["loss_shape"].astype(np.float64)
        outside = references["loss_shape"][~member].astype(np.float64)
        found = np.zeros(len(own))
        for x, y in zip(own.T, outside.T, strict=True):
            below = np.searchsorted(np.sort(y), x, side="left")
            found -= (len(y) - below + 1) / (len(y) + 1)
        return np.asarray(found / own.shape[1])
