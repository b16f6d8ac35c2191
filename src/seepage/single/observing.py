"""How every model of one audit is asked, the target and its references alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from seepage.array_types import AnyArray, BoolArray
from seepage.config.release import Variant
from seepage.errors import InputError
from seepage.models.released import WeightVariant
from seepage.short_repr import short_repr
from seepage.single.asking import Answers, Service, answers_of
from seepage.single.by_task import Question
from seepage.single.input_curvature import with_curvature
from seepage.single.outputs import Form
from seepage.single.released import (
    Seen,
    observed_as_released,
    released_network,
    signals_as_released,
)

__all__ = ["Observing"]

Progress = Callable[[str, int, int], object]


@short_repr
@dataclass(frozen=True, eq=False)
class Observing:
    """From a model to its signals at the pool's samples; it travels to other processes.

    question: what the samples ask. classes: the target's names of its outputs, where it has some.
    logits, service, accept_changes, curvature, seed: as of `seepage.audit`. variants: how the model is
    released; what is seen of it plainly and as each of them says `Seen`.
    """

    question: Question
    samples: int
    classes: AnyArray | None = None
    logits: bool | None = None
    service: Service = field(default_factory=Service)
    accept_changes: bool = False
    curvature: bool = False
    seed: int = 0
    variants: tuple[Variant, ...] = ()

    def target(
        self, model: Any, inputs: Any, outside: BoolArray, progress: Progress
    ) -> tuple[Seen, Answers]:
        """Signals of the audited model, and how it was asked; outside (N,): not trained on."""
        return self._asked(model, inputs, outside, self.service, progress)

    def reference(
        self,
        model: Any,
        inputs: Any,
        outside: BoolArray,
        progress: Progress = lambda what, done, total: None,
    ) -> Seen:
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
    ) -> tuple[Seen, Answers]:
        question = self.question
        if question.labels is None and question.targets is None:
            raise InputError(
                "labels: expected them with the inputs, got none; pass (inputs, labels)"
            )
        answers = self._answers(model, inputs, self.logits, service, progress)
        values = answers.values
        if matched and answers.classes is not None:
            values = _aligned(values, answers.classes, self.classes)
        changed: dict[tuple[WeightVariant, ...], AnyArray] = {(): values}
        for v in self.variants:
            if v.weights not in changed:
                changed[v.weights] = self._changed(v, model, inputs, answers.form, progress)
        found = question.observed(values, answers.form, outside)
        released = {
            v.name: observed_as_released(v, question, changed[v.weights], answers.form, outside)
            for v in self.variants
        }
        if self.curvature and question.labels is not None:
            progress("input curvature", 0, 1)
            found = with_curvature(found, model, inputs, question.labels, self.seed)
        return Seen(found, released), answers

    def _answers(
        self, model: Any, inputs: Any, logits: bool | None, service: Service, progress: Progress
    ) -> Answers:
        return answers_of(
            model,
            inputs,
            self.samples,
            logits=logits,
            task=self.question.task,
            service=service,
            accept_changes=self.accept_changes,
            progress=progress,
        )

    def _changed(
        self, variant: Variant, model: Any, inputs: Any, form: Form, progress: Progress
    ) -> AnyArray:
        """Outputs of the network with its weights as released."""
        if not isinstance(model, nn.Module):
            raise InputError(
                f"release: {variant.name} changes weights, of references too, expected those as "
                f"networks, got {type(model).__name__}; leave it out"
            )
        logits = None if form == "predictions" else form == "logits"
        service = replace(self.service, cache=None)
        network = released_network(variant, model)
        try:
            return self._answers(network, inputs, logits, service, progress).values
        except InputError as error:
            raise InputError(f"released as {variant.name}: {error}") from None

    def of_outputs(self, values: AnyArray, form: Form, outside: BoolArray) -> Seen:
        """The same of outputs that were recorded."""
        released = {
            v.name: observed_as_released(v, self.question, values, form, outside)
            for v in self.variants
        }
        return Seen(self.question.observed(values, form, outside), released)

    def of_signals(self, signals: Mapping[str, AnyArray], outside: BoolArray) -> Seen:
        """The same of signals that were recorded."""
        told = self.question.recorded(signals, outside)
        return Seen(told, {v.name: signals_as_released(v, told) for v in self.variants})


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
