"""Input loss curvature of a network that was passed: what the attacks on curvature read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from seepage.array_types import Int64Array
from seepage.curvature.differences import ZerothOrder
from seepage.curvature.estimate import curvature
from seepage.errors import InputError
from seepage.models.answers import OneAsTwo
from seepage.single.asking import evaluating, floating
from seepage.single.outputs import Observed

__all__ = ["CURVATURE", "with_curvature"]

CURVATURE = "curvature_zo"
"""The signal of `seepage.curvature.ZerothOrder`, 41 queries a sample."""


def with_curvature(
    observed: Observed, model: Any, inputs: Any, labels: Int64Array, seed: int
) -> Observed:
    """The same with the curvature of the loss at every input; or why it could not be measured."""
    if not isinstance(model, nn.Module):
        why = "is measured of networks alone"
    else:
        try:
            with evaluating(model):
                found = curvature(
                    OneAsTwo(model) if observed.one_logit else model,
                    floating(np.asarray(inputs), model),
                    labels,
                    ZerothOrder(),
                    generator=np.random.default_rng(seed),
                )
        except InputError as error:
            why = str(error)
        else:
            values = np.asarray(found.score, dtype=np.float64)
            return replace(observed, signals={**observed.signals, CURVATURE: values})
    return replace(observed, lacking={**observed.lacking, CURVATURE: why})
