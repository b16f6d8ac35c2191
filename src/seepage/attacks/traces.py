"""Attacks on a sample's losses over training: they read every checkpoint up to the one scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self, final

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks.base import Access, Attack, Source
from seepage.attacks.targets import each_row
from seepage.errors import InputError
from seepage.signals.traces import loss_iqr

__all__ = ["LossTraceIQR"]


@final
@dataclass(frozen=True, eq=False)
class LossTraceIQR(Attack):
    """score(x) = q₇₅ − q₂₅ of the loss of x over the epochs so far, in nats; higher = member.

    A loss that training drives down spreads more than one that it only meets by generalising. The
    losses are interpolated to whole epochs, without the initialisation
    (`seepage.signals.traces.loss_iqr`); view 0. Needs no references and one training run, but the
    losses at several checkpoints of it: who sees a released model alone cannot run it. With a
    single checkpoint so far every score is 0.

    epochs: (T,) of the recorded checkpoints, ascending, taken from the run by `seepage.score`; None
    counts the checkpoints as epochs 1, 2, ….

    Hard samples spread more as easy ones do less, members or not: read it beside its null, and as
    what it was made for, an order of *members* by how exposed they are (there LiRA on shadow models
    is the truth; that use is `seepage.plane.loss_iqr`). Source: Pollock et al., arXiv 2411.05743,
    which ranks training records so; its use as a membership score is ours.

    >>> loss = np.array([[4.0, 3.0, 2.0, 1.0, 0.0], [2.0, 2.0, 1.5, 1.5, 1.5]])
    >>> attack = LossTraceIQR()
    >>> attack.score(loss, np.zeros((1, 2, 5)), np.zeros((1, 2), bool)).tolist()
    [2.0, 0.5]
    """

    epochs: ArrayLike | None = None

    name: ClassVar[str] = "lt-iqr"
    title: ClassVar[str] = "Loss-trace IQR"
    reference: ClassVar[str] = "Pollock et al., arXiv 2411.05743"
    access: ClassVar[Access] = "trajectory"
    requires: ClassVar[tuple[str, ...]] = ("loss",)
    first_view: ClassVar[bool] = True
    trajectory: ClassVar[bool] = True

    def bound(self, source: Source) -> Self:
        """Reading the epochs of the run's checkpoints."""
        if self.epochs is not None:
            return self
        return replace(self, epochs=tuple(np.asarray(source.checkpoints).tolist()))

    @property
    def by_sample(self) -> bool:
        return True

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        return self._spread(target["loss"])

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        out = np.empty(member.shape)

        def one(r: int) -> None:
            out[r] = self._spread(signals["loss"][r])

        each_row(one, len(member))
        return out

    def _spread(self, loss: FloatArray) -> Float64Array:
        """(N, T, A) -> (N,)."""
        count = loss.shape[1]
        epochs = np.arange(1.0, count + 1)
        if self.epochs is not None:
            epochs = np.asarray(self.epochs, dtype=np.float64)[:count]
        if len(epochs) < count:
            raise InputError(
                f"epochs: expected one of each of the {count} checkpoints, got {len(epochs)}; pass "
                "those of the run, or score with seepage.score"
            )
        return np.asarray(loss_iqr(loss[..., 0].T, epochs), dtype=np.float64)
