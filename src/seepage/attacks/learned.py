"""What attacks share that learn "member" on the references, each of them the target of the others.

A rule that is fitted to the answers it judges finds members in noise. Here what a target's rule is
learnt from are its references alone: each is scored without itself, without its own tuple and
without the target's, and the target is asked last. Neither the target's members nor those of the
runs of its tuple, which are the target's others, are read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Attack, reference_rows
from seepage.attacks.learners import Learner, LinearOdds, Odds
from seepage.attacks.leaving import Matched
from seepage.errors import InputError
from seepage.plan import judged

__all__ = ["Learned", "LearnedAlone"]

Given = Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Learned(Attack, ABC):
    """score(x) = the log-odds of "member" that `learner` gives to features of x under the target.

    most: answers of references, models times samples, that a rule is fitted to; of more samples
    some are taken, spread evenly over the references' mean of the first signal.
    """

    learner: Learner = field(default_factory=LinearOdds, kw_only=True)
    most: int = field(default=100_000, kw_only=True)

    fitted: ClassVar[bool] = True
    on_request: ClassVar[bool] = True
    threshold: ClassVar[float | None] = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.learner, Learner):
            raise InputError(
                f"learner: expected LinearOdds(), Boosting(), Forest() or Separate(), got "
                f"{type(self.learner).__name__}"
            )
        if self.most < 100:
            raise InputError(f"most: expected at least 100 answers, got {self.most}")

    @abstractmethod
    def of_target(self, target: Given, references: Given, member: BoolArray) -> Float64Array:
        """Features of one target: {name: (N, A)}, {name: (R, N, A)}, (R, N) -> (N, F)."""

    @abstractmethod
    def of_all(
        self, signals: Given, member: BoolArray, use: BoolArray, at: Int64Array
    ) -> Float64Array:
        """Features of every model at some samples, each with the references it may use.

        {name: (R, N, A)}, (R, N), (R, R) bool, (n,) -> (R, n, F).
        """

    @abstractmethod
    def of_matched(self, signals: Given, member: BoolArray, at: Int64Array) -> Float64Array:
        """The same where references are matched sample by sample; samples are all judged."""

    def run(self, target: Given, references: Given, member: BoolArray) -> FloatArray:
        odds = self._learnt(references, member)
        return odds(self.of_target(target, references, member))

    def run_all(self, signals: Given, member: BoolArray, use: BoolArray) -> FloatArray:
        out = np.empty(member.shape)
        # Runs of a tuple leave out the same models and share a rule.
        sets, which = np.unique(use, axis=0, return_inverse=True)
        x = self.of_all(signals, member, use, np.arange(member.shape[1]))
        for e, kept in enumerate(sets):
            odds = self._learnt({k: v[kept] for k, v in signals.items()}, member[kept])
            for r in np.flatnonzero(which.ravel() == e):
                out[r] = odds(x[r])
        return out

    def run_matched(self, signals: Given, member: BoolArray, matched: Matched) -> FloatArray:
        """Answers of the run that is matched to the target on a sample teach nothing there.

        Else the share of members among what is learnt from would tell whether the target has it.
        """
        out = np.empty(member.shape)
        columns = np.arange(member.shape[1])
        x = self.of_matched(signals, member, columns)
        for r in range(len(member)):
            usable = np.zeros(member.shape, dtype=np.bool_)
            usable[matched.references(r)[0], columns] = True
            kept = np.arange(len(member)) != r
            near = {k: v[kept] for k, v in signals.items()}
            at = self._some(near, np.flatnonzero(judged(member[kept])))
            learnt = self.of_matched(near, member[kept], at)
            out[r] = self._fit(learnt, member[kept][:, at], usable[kept][:, at])(x[r])
        return out

    def _learnt(self, references: Given, member: BoolArray) -> Odds:
        at = self._some(references, np.flatnonzero(judged(member)))
        x = self.of_all(references, member, reference_rows(member), at)
        inside = member[:, at]
        return self._fit(x, inside, np.ones_like(inside))

    def _fit(self, x: Float64Array, member: BoolArray, usable: BoolArray) -> Odds:
        return self.learner.fit(x[usable], member[usable])

    def _some(self, references: Given, at: Int64Array) -> Int64Array:
        """The samples of `at` that are learnt from, so that their answers are at most `most`."""
        leading = self.leading(references)
        number = max(self.most // len(leading), 2)
        if len(at) <= number:
            return at
        mean = leading[:, at].mean(axis=(0, 2), dtype=np.float64)
        order = at[np.argsort(mean, kind="stable")]
        return np.sort(order[np.linspace(0, len(order) - 1, number).astype(np.int64)])


@dataclass(frozen=True, eq=False)
class LearnedAlone(Learned, ABC):
    """Learnt from features that a model gives by itself, with no look at others."""

    min_in: ClassVar[int] = 1
    min_out: ClassVar[int] = 1

    @abstractmethod
    def answers(self, signals: Given) -> Float64Array:
        """{name: (R, n, A)} -> (R, n, F)."""

    def of_target(self, target: Given, references: Given, member: BoolArray) -> Float64Array:
        return np.asarray(self.answers({k: v[None] for k, v in target.items()})[0])

    def of_all(
        self, signals: Given, member: BoolArray, use: BoolArray, at: Int64Array
    ) -> Float64Array:
        return self.answers({k: v[:, at] for k, v in signals.items()})

    def of_matched(self, signals: Given, member: BoolArray, at: Int64Array) -> Float64Array:
        return self.answers({k: v[:, at] for k, v in signals.items()})
