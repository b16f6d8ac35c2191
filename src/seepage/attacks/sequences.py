"""Attacks learnt on what recorded checkpoints of training say of a sample.

As published, the attacker has the final model alone and makes checkpoints by distilling it. Here the
recorded ones are read: what the attacker knows is more, and no network is trained for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np

from seepage.array_types import Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Access
from seepage.attacks.learned import LearnedAlone
from seepage.attacks.learners import Boosting, Learner
from seepage.attacks.outputs import classes_of, log_probabilities

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

    The figures are loss, largest probability, standard deviation of the probabilities, entropy and
    modified entropy; beside them a learner sees by how much each changed from one checkpoint to the
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
    >>> signals = {"logits": z, "labels": np.zeros(member.shape)}
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
    requires: ClassVar[tuple[str, ...]] = ("logits", "labels")
    first_view: ClassVar[bool] = True
    trajectory: ClassVar[bool] = True

    def answers(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        labels = classes_of(signals)
        figures = _figures(log_probabilities(signals["logits"]), labels[..., None])
        both = [figures, np.diff(figures, axis=-1)]
        return np.concatenate([f.reshape(*labels.shape, -1) for f in both], axis=-1)


def _figures(log_p: Float64Array, labels: Int64Array) -> Float64Array:
    """Five figures of log-probabilities (R, n, T, K), labels (R, n, 1): (R, n, 5, T)."""
    p = np.exp(log_p)
    at = np.broadcast_to(labels[..., None], (*p.shape[:-1], 1))
    loss = -np.take_along_axis(log_p, at, axis=-1)[..., 0]
    # log(1 − p), which of a p of nearly 1 is kept above −35.
    log_not = np.log(np.maximum(-np.expm1(log_p), np.exp(-35)))
    others = (p * log_not).sum(axis=-1)
    own, own_not = (np.take_along_axis(v, at, axis=-1)[..., 0] for v in (p, log_not))
    modified = (1 - own) * loss - (others - own * own_not)
    entropy = -(p * log_p).sum(axis=-1)
    return np.stack([loss, p.max(axis=-1), p.std(axis=-1), entropy, modified], axis=-2)
