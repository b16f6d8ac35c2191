"""Difficulty calibration that does not forget the loss it started from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np

from seepage.array_types import Float64Array, Int64Array
from seepage.attacks.base import Attack
from seepage.attacks.combining import LearnedOnScores
from seepage.attacks.learners import Boosting, Learner
from seepage.attacks.references import Calibrated
from seepage.attacks.thresholds import LOSS

__all__ = ["RAPID"]


@final
@dataclass(frozen=True, eq=False)
class RAPID(LearnedOnScores):
    """score(x) = log-odds of "member" given the loss of x and how far it is below that of others.

    A learner sees −ℓ and mean ℓ_out − ℓ (`LOSS`, view 0, and `Calibrated`), in nats. Calibration
    alone takes a hard sample whose references happened to do badly for a member, however large its
    loss; both together do not. Fitted anew for every target to out-of-fold scores of its references,
    as `Combined`, which this is with two attacks and their plain scores in place of ranks.

    learner: Boosting(); the paper's is a small neural network on one shadow model. IN entries are
    read for the fit alone. Needs 2 IN and 2 OUT references. Cost: the two attacks once for every
    tuple and as many fits, R/2 under pairs. Source: He et al., arXiv 2409.00426. *Reconstruction*:
    that text was not at hand.

    >>> rng = np.random.default_rng(0)
    >>> member = np.tile(np.eye(2, dtype=bool), (4, 50))
    >>> loss = rng.gamma(1.0, size=member.shape) * np.where(member, 0.3, 1.0)
    >>> scores = RAPID().leave_one_out(loss, member)
    >>> bool(scores[member].mean() > 0.2 > -0.2 > scores[~member].mean())
    True
    """

    learner: Learner = field(default_factory=Boosting, kw_only=True)

    name: ClassVar[str] = "rapid"
    title: ClassVar[str] = "RAPID"
    reference: ClassVar[str] = "He et al., arXiv 2409.00426"
    reconstruction: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("loss",)
    min_in: ClassVar[int] = 2
    min_out: ClassVar[int] = 2

    @property
    def parts(self) -> tuple[Attack, ...]:
        return LOSS(), Calibrated()

    def scaled(self, scores: Float64Array, at: Int64Array) -> Float64Array:
        return np.asarray(scores[:, at])
