"""Attacks on the gradient of a sample's loss by the parameters of the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np

from seepage.array_types import Float64Array, FloatArray
from seepage.attacks.base import Access
from seepage.attacks.learned import LearnedAlone
from seepage.attacks.learners import Boosting, Learner
from seepage.attacks.measured import AgainstOut, Alone, LikelihoodRatio
from seepage.errors import InputError

__all__ = ["GradientNorm", "GradientNormCalibrated", "GradientNormLR", "WhiteBox"]

# Below the least slope that 32 bits hold: of an answer whose loss is 0 there.
TINY = 1e-38


def _log(signals: Mapping[str, FloatArray], name: str) -> Float64Array:
    norms = np.asarray(signals[name], dtype=np.float64)
    if (norms < 0).any():
        raise InputError(f"{name}: expected norms of at least 0, got {np.nanmin(norms):.3g}")
    return np.asarray(np.log(norms + TINY))


@dataclass(frozen=True, eq=False)
class _Norm:
    """What three attacks read: the logarithm of the gradient's norm, turned round."""

    access: ClassVar[Access] = "weights"
    requires: ClassVar[tuple[str, ...]] = ("grad_norm",)
    queries: ClassVar[int] = 2

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return -_log(signals, "grad_norm")


@final
@dataclass(frozen=True, eq=False)
class GradientNorm(_Norm, Alone):
    """score(x) = −log ‖∇_θ ℓ(x, y)‖₂; higher = more likely a member.

    Training drives the gradient of a member's own loss to zero. The norm is the Euclidean one over
    all parameters together (`seepage.probes.parameter_gradients.GradientNorm`), measured on kept
    weights where it was not recorded as "grad_norm". Needs no references. It ranks easy samples
    first, members or not: the gradient of cross-entropy is about 1 − p_y times a norm of features,
    so that it says little that the loss does not. Source: Wang et al., arXiv 2402.17012, who do so with language models; published code
    averages norms of single tensors (`mimir`), which is another score.

    >>> GradientNorm().score(np.array([1.0]), np.zeros((1, 1)), np.zeros((1, 1), bool)) + 0
    array([0.])
    """

    name: ClassVar[str] = "grad-norm"
    title: ClassVar[str] = "Gradient norm"
    reference: ClassVar[str] = "Wang et al., arXiv 2402.17012"
    first_view: ClassVar[bool] = True


@final
@dataclass(frozen=True, eq=False)
class GradientNormCalibrated(_Norm, AgainstOut):
    """score(x) = mean_out s − s, s = log ‖∇_θ ℓ(x, y)‖₂; higher = more likely a member.

    How much smaller the gradient is than under models that did not see the sample. IN entries of
    the references are not read. Needs 1 OUT reference. Source: Watson et al., arXiv 2111.08440,
    who calibrate the norm of gradients too; the logarithm, which makes it a ratio, is ours.

    >>> references = np.exp([[2.0], [1.0]])
    >>> s = GradientNormCalibrated().score(np.exp([0.5]), references, np.zeros((2, 1), bool))
    >>> s.round(6).tolist()
    [1.0]
    """

    name: ClassVar[str] = "grad-norm-calibrated"
    title: ClassVar[str] = "Gradient norm, calibrated"
    reference: ClassVar[str] = "Watson et al., arXiv 2111.08440"


@final
@dataclass(frozen=True, eq=False)
class GradientNormLR(_Norm, LikelihoodRatio):
    """score(x) = log p(s | IN) − log p(s | OUT), s = log ‖∇_θ ℓ(x, y)‖₂; higher = member.

    `LiRA` with −s in place of φ; variance: as there. The natural rule is score ≥ 0. Needs 2 IN and
    2 OUT references for every sample. Source: the rule of Carlini et al., arXiv 2112.03570, applied
    to the signal of arXiv 2402.17012 by us.

    >>> references = np.exp([[-5.0], [-5.5], [-6.0], [-1.0], [-1.5], [-2.0]])
    >>> member = np.array([[True], [True], [True], [False], [False], [False]])
    >>> bool(GradientNormLR().score(np.exp([-5.0]), references, member)[0] > 1)
    True
    """

    name: ClassVar[str] = "grad-norm-lr"
    title: ClassVar[str] = "Gradient norm, likelihood ratio"
    reference: ClassVar[str] = "Carlini et al., arXiv 2112.03570; Wang et al., arXiv 2402.17012"


@final
@dataclass(frozen=True, eq=False)
class WhiteBox(LearnedAlone):
    """score(x) = log-odds of "member" given what an attacker who holds the weights sees of x.

    A learner sees the label, the loss, the logarithms of the gradient's norm layer by layer, and of
    the last layer's for every output, that of the true class first and the others in falling order. It is fitted anew for every target to its
    references, labelled IN and OUT, and asked about the target. Like `ShadowOutputs` it knows
    nothing of single samples: it is weaker than likelihood ratios, and stands for an attacker whose references are
    few.

    learner: Boosting(), Forest(), LinearOdds(). most: of `Learned`. 0 is the threshold at even
    odds. Needs 1 IN and 1 OUT reference. Cost: two passes for each sample of each model, and one
    fit for every tuple. Source: Nasr et al., arXiv 1812.00910. *Reconstruction*: there an
    encoder reads whole gradients and activations; units of networks that were trained from other
    starts come in another order, and norms are what is left that means the same in all.

    >>> rng = np.random.default_rng(0)
    >>> member = np.tile(np.eye(2, dtype=bool), (3, 50))
    >>> norms = np.exp(rng.normal(size=(*member.shape, 2)) - 3 * member[..., None])
    >>> signals = {"grad_layers": norms, "grad_last": norms, "loss": norms[..., 0],
    ...            "labels": np.zeros(member.shape)}
    >>> scores = WhiteBox().leave_one_out(signals, member)
    >>> bool(scores[member].mean() > 1 > -1 > scores[~member].mean())
    True
    """

    learner: Learner = field(default_factory=Boosting, kw_only=True)

    name: ClassVar[str] = "white-box"
    title: ClassVar[str] = "White-box classifier"
    reference: ClassVar[str] = "Nasr et al., arXiv 1812.00910"
    reconstruction: ClassVar[bool] = True
    access: ClassVar[Access] = "weights"
    requires: ClassVar[tuple[str, ...]] = ("grad_layers", "grad_last", "loss", "labels")
    first_view: ClassVar[bool] = True
    queries: ClassVar[int] = 2

    def answers(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        last = _log(signals, "grad_last")
        labels = np.asarray(signals["labels"][..., 0], dtype=np.int64)
        count = last.shape[-1]
        if not labels.size or not 0 <= labels.min() <= labels.max() < count:
            raise InputError(
                f"labels: expected classes from 0 to {count - 1}, as the last layer has outputs, "
                f"got {labels.min(initial=0)} to {labels.max(initial=0)}"
            )
        own = np.take_along_axis(last, labels[..., None], axis=-1)
        rest = last.copy()
        np.put_along_axis(rest, labels[..., None], -np.inf, axis=-1)
        sorted_rest = np.sort(rest, axis=-1)[..., :0:-1]
        loss = np.asarray(signals["loss"][..., :1], dtype=np.float64)
        classes = np.eye(count)[labels]
        layers = _log(signals, "grad_layers")
        return np.concatenate([loss, layers, own, sorted_rest, classes], axis=-1)
