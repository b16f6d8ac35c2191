"""Limits that a gate compares figures with: read from a committed file, or made in Python."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pydantic
from pydantic import Field

from seepage.config.base import Part
from seepage.config.reading import checked, read_toml
from seepage.errors import InputError, nearest

__all__ = ["Limits", "TprLimit", "overridden", "read_limits"]


class TprLimit(Part):
    """A limit on the true-positive rate at one false-positive rate: `TprLimit(tpr=0.01, fpr=0.001)`.

    In files and on the command line: "0.01@0.001".
    """

    tpr: float = Field(description="The largest true-positive rate.")
    fpr: float = Field(0.001, description="At this false-positive rate.")

    @pydantic.field_validator("tpr", "fpr")
    @classmethod
    def _a_rate(cls, value: float) -> float:
        return _share(value)

    def __str__(self) -> str:
        return f"{self.tpr:g}@{self.fpr:g}"


class Limits(Part):
    """[limits]: what `seepage check` holds a run or a model to; at least one limit.

    max_exposed: a whole number is a count, a number with a point a share of all. max_tpr: one for
    each false-positive rate, such as "0.01@0.001".

    >>> Limits(max_auc=0.6, max_tpr="0.01@0.001").max_tpr[0].fpr
    0.001
    """

    max_auc: float | None = Field(None, description="Upper end of the AUC's interval.")
    max_tpr: tuple[TprLimit, ...] = Field(
        (), description="Upper end of the TPR's interval: 'LIMIT@FPR', or a list of such."
    )
    max_eps: float | None = Field(None, description="The ε that the audit may show at `delta`.")
    delta: float = Field(1e-5, description="δ at which `max_eps` is meant.")
    max_exposed: int | float | None = Field(
        None, description="Exposed samples or subjects: 5 is a count, 0.05 a share."
    )

    @pydantic.field_validator("max_tpr", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        every = list(value) if isinstance(value, list | tuple) else [value]
        return [_tpr(v) for v in every]

    @pydantic.field_validator("max_tpr")
    @classmethod
    def _once(cls, value: tuple[TprLimit, ...]) -> tuple[TprLimit, ...]:
        if len({v.fpr for v in value}) < len(value):
            raise ValueError("expected one limit for each false-positive rate")
        return value

    @pydantic.field_validator("max_auc")
    @classmethod
    def _an_auc(cls, value: float | None) -> float | None:
        return None if value is None else _share(value)

    @pydantic.field_validator("max_eps")
    @classmethod
    def _an_epsilon(cls, value: float | None) -> float | None:
        if value is not None and not 0 <= value < math.inf:
            raise ValueError("expected a finite number of at least 0")
        return value

    @pydantic.field_validator("delta")
    @classmethod
    def _a_delta(cls, value: float) -> float:
        if not 0 <= value < 1:
            raise ValueError("expected a number in [0, 1)")
        return value

    @pydantic.field_validator("max_exposed")
    @classmethod
    def _count_or_share(cls, value: int | float | None) -> int | float | None:
        if value is None or not isinstance(value, int):
            return None if value is None else _share(value)
        if value < 0:
            raise ValueError("expected a count of at least 0, or a share such as 0.05")
        return value

    @property
    def stated(self) -> bool:
        """Whether there is a limit at all."""
        return bool(self.max_tpr) or any(
            v is not None for v in (self.max_auc, self.max_eps, self.max_exposed)
        )


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError("expected a value in 0..1")
    return value


_FORM = "expected 'LIMIT@FPR' such as '0.01@0.001'"


def _tpr(given: Any) -> Any:
    if not isinstance(given, str):
        if isinstance(given, TprLimit):
            return given
        raise ValueError(_FORM)
    parts = given.split("@")
    if len(parts) > 2 or not all(re.fullmatch(r"[-+.0-9eE]+", p) for p in parts):
        raise ValueError(_FORM)
    try:
        values = [float(p) for p in parts]
    except ValueError:
        raise ValueError(_FORM) from None
    for v in values:
        _share(v)
    return {"tpr": values[0]} | ({"fpr": values[1]} if len(values) > 1 else {})


def read_limits(path: Path) -> Limits:
    """The table [limits] of a TOML file, and nothing else in it.

    Raises InputError for a file that cannot be read, another table, an unknown key (with the
    nearest known one), a wrong value, and a file without any limit.
    """
    content = read_toml(path, "a file of limits")
    for name in content:
        if name != "limits":
            raise InputError(
                f"{path}: {name}: unknown field, expected the table [limits] alone; "
                f"{nearest(name, ['limits'])}"
            )
    table = content.get("limits", {})
    if not isinstance(table, dict):
        raise InputError(
            f"{path}: limits: expected a table [limits], got {table!r:.60}; correct it"
        )
    found = checked(Limits, table, f"{path}: limits")
    if not found.stated:
        raise InputError(
            f"{path}: expected a limit in [limits], got none; write max_auc = 0.6 or another"
        )
    return found


def overridden(file: Limits, given: Limits) -> tuple[Limits, tuple[str, ...]]:
    """The limits of a file where none is given in its place, and which ones were replaced.

    A limit that was stated wins, of `max_tpr` at the same false-positive rate alone; replaced: one
    clause each, "max_auc 0.7 instead of 0.6", also where both are the same.

    >>> both, told = overridden(Limits(max_auc=0.6, max_eps=2.0), Limits(max_auc=0.7))
    >>> both.max_auc, both.max_eps, told
    (0.7, 2.0, ('max_auc 0.7 instead of 0.6',))
    """
    told = []
    values: dict[str, Any] = {name: getattr(file, name) for name in file.model_fields_set}
    for name in ("max_auc", "max_eps", "delta", "max_exposed"):
        if name in given.model_fields_set and getattr(given, name) is not None:
            if values.get(name) is not None:
                told.append(f"{name} {getattr(given, name)} instead of {values[name]}")
            values[name] = getattr(given, name)
    if given.max_tpr:
        own = {v.fpr: v for v in given.max_tpr}
        told += [f"max_tpr {own[v.fpr]} instead of {v}" for v in file.max_tpr if v.fpr in own]
        kept = [v for v in file.max_tpr if v.fpr not in own]
        values["max_tpr"] = (*kept, *given.max_tpr)
    return Limits(**values), tuple(told)
