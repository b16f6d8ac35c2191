"""Attacks learnt on what recorded checkpoints of training say of a sample.

As published, the attacker has the final model alone and makes checkpoints by distilling it. Here the
recorded ones are read: what the attacker knows is more, and no network is trained for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
import scipy

from seepage.array_types import Float64Array, FloatArray
from seepage.attacks.base import Access
from seepage.attacks.learned import LearnedAlone
from seepage.attacks.learners import Boosting, Learner

__all__ = ["LossTrajectory", "SeqMIA"]


@final
@dataclass(frozen=True, eq=False)
class LossTrajectory(LearnedAlone):
    """score(x) = log-odds of "member" given the losses of x at every checkpoint so far.

    A learner sees one loss for each recorded checkpoint up to the one that is scored, in nats, view
    0. It is fitted anew for every target to the trajectories of its references and asked about the
    target's. A member whose loss falls late, and another sample whose loss rises late, may end alike
    and still be told apart. With a single checkpoint so far it is a classifier of the loss.

    In our form the checkpoints are the recorded ones of training itself, where the paper distils the
    final model and takes the checkpoints of that: its attacker sees less. All models need the same
    checkpoints. learner: Boosting(); the paper's is a perceptron of four layers, whose released code
    keeps the epoch of the best AUC on the target it then reports, which is not done here. Cost: one
    fit for every tuple, R/2 under pairs. Source: Liu et al., arXiv 2208.14933, and its released code.
    *Reconstruction* in its learner and checkpoints.

    >>> rng = np.random.default_rng(0)
    >>> member = np.tile(np.eye(2, dtype=bool), (3, 50))
    >>> first = rng.gamma(2.0, size=member.shape)
    >>> loss = np.stack([np.where(member, first, 1), np.where(member, 1, first)], axis=-1)
    >>> scores = LossTrajectory().leave_one_out(loss, member)
    >>> bool(scores[member].mean() > 1 > -1 > scores[~member].mean())
    True
    """

    learner: Learner = field(default_factory=Boosting, kw_only=True)

    name: ClassVar[str] = "loss-trajectory"
    title: ClassVar[str] = "Loss trajectory"
    reference: ClassVar[str] = "Liu et al., arXiv 2208.14933"
    reconstruction: ClassVar[bool] = True
    access: ClassVar[Access] = "trajectory"
    requires: ClassVar[tuple[str, ...]] = ("loss",)
    first_view: ClassVar[bool] = True
    trajectory: ClassVar[bool] = True

    def answers(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return np.asarray(signals["loss"][..., 0], dtype=np.float64)


@final
@dataclass(frozen=True, eq=False)
class SeqMIA(LearnedAlone):
    """score(x) = log-odds of "member" given five figures of every checkpoint so far, and their steps.

    The figures are loss, entropy and modified entropy as recorded, and of the logits the largest
    probability and the standard deviation of the probabilities; beside them a learner sees by how much each changed from one checkpoint to the
    next, which is how trees, that take columns apart, know the order of time.

    In our form the checkpoints are the recorded ones of training, where the paper distils the final
    model, and the learner is Boosting(), where the paper's is a recurrent network with attention.
    Needs recorded logits, the first view. Cost: one fit for every tuple on 10 T − 5 columns, T
    checkpoints. Source: Li et al., arXiv 2407.15098, and its released code. *Reconstruction* in its
    learner and checkpoints.

    >>> rng = np.random.default_rng(0)
    >>> member = np.tile(np.eye(2, dtype=bool), (3, 50))
    >>> z = rng.normal(size=(*member.shape, 2, 3))
    >>> z[..., 0] += np.where(member[..., None], [0, 2], [2, 0])
    >>> loss = scipy.special.logsumexp(z, axis=-1) - z[..., 0]
    >>> signals = {"loss": loss, "entropy": loss, "mentr": loss, "logits": z}
    >>> scores = SeqMIA().leave_one_out(signals, member)
    >>> bool(scores[member].mean() > 0.5 > -0.5 > scores[~member].mean())
    True
    """

    learner: Learner = field(default_factory=Boosting, kw_only=True)

    name: ClassVar[str] = "seqmia"
    title: ClassVar[str] = "SeqMIA"
    reference: ClassVar[str] = "Li et al., arXiv 2407.15098"
    reconstruction: ClassVar[bool] = True
    access: ClassVar[Access] = "trajectory"
    requires: ClassVar[tuple[str, ...]] = ("loss", "entropy", "mentr", "logits")
    first_view: ClassVar[bool] = True
    trajectory: ClassVar[bool] = True

    def answers(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        p = scipy.special.softmax(np.asarray(signals["logits"], dtype=np.float64), axis=-1)
        recorded = [np.asarray(signals[name][..., 0], np.float64) for name in self.requires[:3]]
        figures = np.stack([*recorded, p.max(axis=-1), p.std(axis=-1)], axis=-2)
        both = [figures, np.diff(figures, axis=-1)]
        return np.concatenate([f.reshape(*f.shape[:2], -1) for f in both], axis=-1)
