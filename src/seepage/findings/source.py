"""What a report reads of a run, and means over members and non-members."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, Int64Array

if TYPE_CHECKING:
    from seepage.data import Dataset

__all__ = ["Progress", "ReportSource", "Shadows", "sides"]

Progress = Callable[[str, int, int], object]


class ReportSource(Protocol):
    """What a report reads of a finished run: `seepage.store.Run`, or anything like it."""

    path: str
    checkpoints: Float64Array
    classes: tuple[str, ...]
    failed: dict[int, str]
    manifest: dict[str, Any]

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of what `signal_at` reads."""

    @property
    def member(self) -> BoolArray:
        """(R, N) bool, usable runs only."""

    @property
    def labels(self) -> Int64Array:
        """(N,)."""

    @property
    def ids(self) -> NDArray[np.str_]:
        """(N,)."""

    def signal_at(self, name: str, t: int, /) -> NDArray[np.float32]:
        """One checkpoint of a signal, (R, N[, A])."""

    def data(self) -> Dataset | None:
        """The pool, or None when it cannot be found."""


def sides(values: Float64Array, member: BoolArray) -> tuple[Float64Array, Float64Array]:
    """Mean over models that trained on the sample, and over those that did not: (N,), (N,)."""
    n_in = member.sum(axis=0, dtype=np.float64)
    n_out = len(member) - n_in
    with np.errstate(invalid="ignore", divide="ignore"):
        return (
            np.where(member, values, 0.0).sum(axis=0) / n_in,
            np.where(member, 0.0, values).sum(axis=0) / n_out,
        )


class Shadows:
    """A run without its fixed target: what its shadows say of the recipe, sample by sample."""

    def __init__(self, run: ReportSource, target: int) -> None:
        self._run = run
        self._rows = np.delete(np.arange(len(run.member)), target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    @property
    def member(self) -> BoolArray:
        """Membership of the shadows, (R − 1, N) bool."""
        return self._run.member[self._rows]

    @property
    def models(self) -> Int64Array:
        """Plan rows of the shadows."""
        models = np.asarray(getattr(self._run, "models", np.arange(len(self._run.member))))
        return models[self._rows].astype(np.int64)

    def signal_at(self, name: str, t: int, /) -> NDArray[np.float32]:
        """One checkpoint of a signal, (R − 1, N[, A])."""
        return self._run.signal_at(name, t)[self._rows]
