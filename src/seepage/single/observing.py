"""How every model of one audit is asked, the target and its references alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from seepage.array_types import AnyArray, BoolArray
from seepage.errors import InputError
from seepage.single.asking import Answers, Service, answers_of
from seepage.single.by_task import Question
from seepage.single.input_curvature import with_curvature
from seepage.single.outputs import Observed

__all__ = ["Observing"]

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True, eq=False)
class Observing:
    """From a model to its signals at the pool's samples; it travels to other processes.

    question: what the samples ask. classes: the target's names of its outputs, where it has some.
    logits, service, accept_changes, curvature, seed: as of `seepage.audit`.
    """

    question: Question
    samples: int
    classes: AnyArray | None = None
    logits: bool | None = None
    service: Service = field(default_factory=Service)
    accept_changes: bool = False
    curvature: bool = False
    seed: int = 0

    def target(
        self, model: Any, inputs: Any, outside: BoolArray, progress: Progress
    ) -> tuple[Observed, Answers]:
        """Signals of the audited model, and how it was asked; outside (N,): not trained on."""
        return self._asked(model, inputs, outside, self.service, progress)

    def reference(
        self,
        model: Any,
        inputs: Any,
        outside: BoolArray,
        progress: Progress = lambda what, done, total: None,
    ) -> Observed:
        """Signals of another model: nothing is cached, its classes are matched with the target's."""
        service = replace(self.service, cache=None)
        return self._asked(model, inputs, outside, service, progress, matched=True)[0]

    def _asked(
        self,
        model: Any,
        inputs: Any,
        outside: BoolArray,
        service: Service,
        progress: Progress,
        *,
        matched: bool = False,
    ) -> tuple[Observed, Answers]:
        question = self.question
        if question.labels is None and question.targets is None:
            raise InputError(
                "labels: expected them with the inputs, got none; pass (inputs, labels)"
            )
        answers = answers_of(
            model,
            inputs,
            self.samples,
            logits=self.logits,
            task=question.task,
            service=service,
            accept_changes=self.accept_changes,
            progress=progress,
        )
        values = answers.values
        if matched and answers.classes is not None:
            values = _aligned(values, answers.classes, self.classes)
        found = question.observed(values, answers.form, outside)
        if self.curvature and question.labels is not None:
            progress("input curvature", 0, 1)
            found = with_curvature(found, model, inputs, question.labels, self.seed)
        return found, answers


def _aligned(values: AnyArray, own: AnyArray, classes: AnyArray | None) -> AnyArray:
    """An estimator's probabilities with a column for each class of the target, 0 for unknown ones.

    A reference that was trained on a half may never have seen a rare class.
    """
    wanted = range(int(np.max(own)) + 1) if classes is None else np.asarray(classes).tolist()
    place = {c: k for k, c in enumerate(wanted)}
    out = np.zeros((len(values), len(place)), dtype=values.dtype)
    for column, c in enumerate(np.asarray(own).tolist()):
        if c not in place:
            raise InputError(
                f"references: expected models of the target's classes, got one with {c!r}; train them "
                "on the same labels"
            )
        out[:, place[c]] = values[:, column]
    return out
