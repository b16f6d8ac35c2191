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
from seepage.attacks.base import Attack
from seepage.attacks.learners import Learner, LinearOdds, Odds
from seepage.attacks.leaving import Matched, realigned
from seepage.attacks.reference_counts import reference_rows
from seepage.errors import InputError
from seepage.plan import judged

__all__ = ["Learned", "LearnedAlone"]

Given = Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Learned(Attack, ABC):
    """score(x) = the log-odds of "member" that `learner` gives to features of x under the target.

    most: answers of references, models times samples, that a rule is fitted to; of more samples
    some are taken, spread evenly over the references' mean of the first signal; of equal means in
    the order of samples.
    """

    learner: Learner = field(default_factory=LinearOdds, kw_only=True)
    most: int = field(default=50_000, kw_only=True)

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
    def of_targets_matched(self, signals: Given, member: BoolArray) -> Float64Array:
        """Features of every model where references are matched sample by sample: (R, N, F)."""

    @abstractmethod
    def of_references_matched(
        self, signals: Given, matched: Matched, r: int, at: Int64Array
    ) -> Float64Array:
        """Features of target r's references, each with the others as matched: (a + b − 2, n, F)."""

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
        """The run that is matched to the target on a sample is left out there altogether.

        Else what is learnt from would have another law where the target was trained on the sample
        (four scores added up read AUC .506 on noise).
        """
        out = np.empty(member.shape)
        x = self.of_targets_matched(signals, member)
        leading = self.leading(signals)
        for r in range(len(member)):
            which, inside = matched.references(r)
            at = self._some(realigned(leading, which), np.arange(member.shape[1]))
            learnt = self.of_references_matched(signals, matched, r, at)
            out[r] = self._fit(learnt, inside[:, at])(x[r])
        return out

    def _learnt(self, references: Given, member: BoolArray) -> Odds:
        at = self._some(self.leading(references), np.flatnonzero(judged(member)))
        return self._fit(self.of_all(references, member, reference_rows(member), at), member[:, at])

    def _fit(self, x: Float64Array, member: BoolArray) -> Odds:
        """(R, n, F), (R, n)."""
        return self.learner.fit(x.reshape(member.size, -1), member.ravel())

    def _some(self, leading: FloatArray, at: Int64Array) -> Int64Array:
        """The samples of `at` that are learnt from, so that their answers are at most `most`."""
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

    def of_targets_matched(self, signals: Given, member: BoolArray) -> Float64Array:
        return self.answers(signals)

    def of_references_matched(
        self, signals: Given, matched: Matched, r: int, at: Int64Array
    ) -> Float64Array:
        which = matched.references(r)[0][:, at]
        return self.answers({k: realigned(v[:, at], which) for k, v in signals.items()})
