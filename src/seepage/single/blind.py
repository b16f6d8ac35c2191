"""What an attack that never sees a model is given of members and others, and what it finds."""

from __future__ import annotations

from typing import Any

import numpy as np

from seepage.array_types import AnyArray
from seepage.errors import InputError
from seepage.findings.result import Blind
from seepage.metrics import blind_baseline
from seepage.metrics.blind_inputs import token_texts
from seepage.single.by_task import Question
from seepage.single.pool import Pool

__all__ = ["blind_of"]


def blind_of(pool: Pool, question: Question) -> Blind:
    """The blind baselines on inputs and labels, or labels alone, and no model."""
    numbers, texts = _numbers(pool), _texts(pool)
    labels, targets = question.labels, question.targets
    note = ""
    if numbers is None and texts is None:
        if labels is None and targets is None:
            return Blind(None, "neither inputs nor labels were given")
        note = "it saw labels alone: inputs were not given as numbers or texts"
        numbers = np.zeros((len(pool.member), 1))
    try:
        found = blind_baseline(
            numbers, pool.member, labels, targets=targets, texts=texts, unit=pool.unit
        )
    except InputError as error:
        return Blind(None, str(error))
    return Blind.of(found, note)


def _numbers(pool: Pool) -> AnyArray | None:
    """Inputs as numbers, images in their shape; of a data frame its columns of numbers."""
    if hasattr(pool.inputs, "select_dtypes"):
        columns = pool.inputs.select_dtypes(include=["number", "bool"])
        if not columns.shape[1]:
            return None
        x = columns.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(x), x, np.nan)
    flat = pool.features
    shape = np.shape(pool.inputs) if isinstance(pool.inputs, np.ndarray) else ()
    whole = flat is not None and len(shape) == 4 and flat.shape[1] == np.prod(shape[1:])
    return flat.reshape(shape) if flat is not None and whole else flat


def _texts(pool: Pool) -> list[str] | None:
    """Inputs as texts: texts, token numbers, or what is no number in a data frame's rows."""
    given: Any = pool.inputs
    if given is None:
        return None
    if hasattr(given, "select_dtypes"):
        columns = given.select_dtypes(exclude=["number", "bool"])
        if not columns.shape[1]:
            return None
        return [" ".join(map(str, row)) for row in columns.to_numpy(dtype=object).tolist()]
    values = given if isinstance(given, (list, tuple)) else np.asarray(given).tolist()
    if all(isinstance(v, (str, bytes)) for v in values):
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
    x = np.asarray(given) if not isinstance(given, (list, tuple)) else None
    return token_texts(x) if x is not None and x.dtype.kind in "fiu" else None
