"""A classifier that learns, on shadow models, what the whole of a member's output looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
import scipy

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.learned import LearnedAlone
from seepage.attacks.learners import Boosting, Learner, Odds
from seepage.errors import InputError

__all__ = ["ShadowOutputs"]


def _classes(signals: Mapping[str, FloatArray]) -> Int64Array:
    """The labels that go with logits (…, K), as whole numbers from 0 to K − 1."""
    labels = np.asarray(signals["labels"][..., 0], dtype=np.int64)
    count = signals["logits"].shape[-1]
    if labels.size and not 0 <= labels.min() <= labels.max() < count:
        raise InputError(
            f"labels: expected classes from 0 to {count - 1}, as logits have columns, got "
            f"{labels.min()} to {labels.max()}"
        )
    return labels


@final
@dataclass(frozen=True, eq=False)
class ShadowOutputs(LearnedAlone):
    """score(x) = log-odds of "member" given the whole probability vector that the target answers.

    A learner sees log p of every class, for each answer: by_class=False, that of the true class
    first and the others in falling order, one learner for all classes; by_class=True, in the order
    of the classes, one learner for every true class, as published. It is fitted anew for every
    target to the answers of its references, labelled IN and OUT, and asked about the target's. What
    `ShadowClassifier` reads of an answer are φ, modified entropy and correctness; here is all there
    is, such as which wrong class was likely. Like it, it knows nothing of single samples and is much
    weaker than likelihood ratios.

    learner: Boosting() or Forest(), which see classes together, or LinearOdds(), which finds nothing
    where log p of each class by itself says nothing. most: of `Learned`; by_class, of each target.
    Needs recorded logits, the first view. 0 is the threshold at even odds. Cost: one fit for every
    tuple, R/2 under pairs, times the number of classes with by_class. Source: Shokri et al., arXiv
    1610.05820. *Reconstruction* in its learner: there a neural network for each class.

    >>> rng = np.random.default_rng(0)
    >>> member = np.tile(np.eye(2, dtype=bool), (3, 50))
    >>> logits = rng.normal(size=(*member.shape, 3)) + 3 * member[..., None] * np.array([1, 0, 0])
    >>> signals = {"logits": logits, "labels": np.zeros(member.shape)}
    >>> scores = ShadowOutputs().leave_one_out(signals, member)
    >>> bool(scores[member].mean() > 1 > -1 > scores[~member].mean())
    True
    """

    by_class: bool = False
    learner: Learner = field(default_factory=Boosting, kw_only=True)

    name: ClassVar[str] = "shadow-outputs"
    title: ClassVar[str] = "Shadow classifier of whole outputs"
    reference: ClassVar[str] = "Shokri et al., arXiv 1610.05820"
    reconstruction: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("logits", "labels")
    first_view: ClassVar[bool] = True

    def answers(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        labels = _classes(signals)
        logits = np.asarray(signals["logits"], dtype=np.float64)
        found: Float64Array = scipy.special.log_softmax(logits, axis=-1)
        if self.by_class:
            return np.concatenate([found, labels[..., None]], axis=-1)
        own = np.take_along_axis(found, labels[..., None], axis=-1)
        rest = found.copy()
        np.put_along_axis(rest, labels[..., None], -np.inf, axis=-1)
        # The true class, now −∞, comes first of the rising order.
        return np.concatenate([own, np.sort(rest, axis=-1)[..., :0:-1]], axis=-1)

    def _fit(self, x: Float64Array, member: BoolArray) -> Odds:
        if not self.by_class:
            return super()._fit(x, member)
        rows, truth = x.reshape(member.size, -1), member.ravel()
        of = rows[:, -1].astype(np.int64)
        learnt = {
            int(c): self.learner.fit(rows[of == c, :-1], truth[of == c]) for c in np.unique(of)
        }
        return lambda new: _each_class(learnt, new[:, :-1], new[:, -1].astype(np.int64))


def _each_class(learnt: Mapping[int, Odds], x: Float64Array, classes: Int64Array) -> Float64Array:
    out = np.zeros(len(x))
    for c, odds in learnt.items():
        at = classes == c
        if at.any():
            out[at] = odds(x[at])
    return out
