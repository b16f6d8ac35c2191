"""How every model of one audit is asked, the target and its references alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from seepage.array_types import AnyArray, Int64Array
from seepage.errors import InputError
from seepage.single.asking import Answers, Service, answers_of
from seepage.single.input_curvature import with_curvature
from seepage.single.outputs import Observed, from_logits, from_probabilities

__all__ = ["Observing"]

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True, eq=False)
class Observing:
    """From a model to its signals at the pool's samples; it travels to other processes.

    labels (N,): the columns of the target's outputs. classes: its names of them, where it has some.
    logits, service, accept_changes, curvature, seed: as of `seepage.audit`.
    """

    labels: Int64Array | None
    samples: int
    classes: AnyArray | None = None
    logits: bool | None = None
    service: Service = field(default_factory=Service)
    accept_changes: bool = False
    curvature: bool = False
    seed: int = 0

    def target(self, model: Any, inputs: Any, progress: Progress) -> tuple[Observed, Answers]:
        """Signals of the audited model, and how it was asked."""
        return self._asked(model, inputs, self.service, progress)

    def reference(
        self,
        model: Any,
        inputs: Any,
        progress: Progress = lambda what, done, total: None,
    ) -> Observed:
        """Signals of another model: nothing is cached, its classes are matched with the target's."""
        return self._asked(model, inputs, replace(self.service, cache=None), progress, True)[0]

    def _asked(
        self, model: Any, inputs: Any, service: Service, progress: Progress, matched: bool = False
    ) -> tuple[Observed, Answers]:
        if self.labels is None:
            raise InputError(
                "labels: expected them with the inputs, got none; pass (inputs, labels)"
            )
        answers = answers_of(
            model,
            inputs,
            self.samples,
            logits=self.logits,
            service=service,
            accept_changes=self.accept_changes,
            progress=progress,
        )
        values = answers.values
        if matched and answers.classes is not None:
            values = _aligned(values, answers.classes, self.classes)
        found = (from_logits if answers.logits else from_probabilities)(values, self.labels)
        if self.curvature:
            progress("input curvature", 0, 1)
            found = with_curvature(found, model, inputs, self.labels, self.seed)
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
