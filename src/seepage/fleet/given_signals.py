"""Signals as another tool recorded them, and those that follow from them, a block at a time.

A block is what one model says at one checkpoint: (N, ...). No signal is ever whole in memory,
unless it was given so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from seepage.array_types import AnyArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.signals import SIGNALS
from seepage.signals.related import log_probabilities

__all__ = ["Array", "FromLogits", "Given", "Related", "Signal", "parts"]


class Array(Protocol):
    """What is read of an array: its shape and type, and parts of it."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def ndim(self) -> int: ...
    def __getitem__(self, at: Any, /) -> AnyArray: ...


class Signal(Protocol):
    """One signal as it is stored: (R, T, *shape) of `dtype`."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    def block(self, r: int, t: int) -> AnyArray:
        """What is stored of model r at checkpoint t."""
        ...


def parts(a: Array) -> Iterator[AnyArray]:
    """The whole array in C order, in parts of moderate size."""
    if a.ndim < 2:
        yield a[...]
    elif a.ndim < 4:
        for r in range(a.shape[0]):
            yield a[r]
    else:
        for r in range(a.shape[0]):
            for t in range(a.shape[1]):
                yield a[r, t]


@dataclass
class Given:
    """A signal as it was given. one: whether its array has no axis of checkpoints.

    first: only the first of its views is stored, as of logits.
    """

    where: str
    name: str
    values: Array
    one: bool
    first: bool = False
    _held: tuple[tuple[int, int], AnyArray] | None = field(default=None, repr=False)

    @property
    def checkpoints(self) -> int:
        """How many there are."""
        return 1 if self.one else self.values.shape[1]

    @property
    def inner(self) -> tuple[int, ...]:
        """Shape of one block as it was given."""
        return self.values.shape[1:] if self.one else self.values.shape[2:]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one block as it is stored."""
        return (self.inner[0], *self.inner[2:]) if self.first else self.inner

    @property
    def dtype(self) -> str:
        """Type that is stored."""
        return "bool" if self.name == "correct" else "float32"

    def raw(self, r: int, t: int) -> AnyArray:
        """One block as it was given; the last one is kept, for all that follows from it."""
        if self._held is None or self._held[0] != (r, t):
            block = np.asarray(self.values[r] if self.one else self.values[r, t])
            self._held = ((r, t), block)
        return self._held[1]

    def check(self, blocks: Sequence[tuple[int, int]]) -> Iterator[None]:
        """Every block looked at once, before any is written; InputError for one that cannot be.

        What is not finite anywhere is told before what does not fit.
        """
        low, high, wrong = np.inf, -np.inf, False
        lost: str | None = None
        for r, t in blocks:
            a = self.raw(r, t)
            finite = np.isfinite(a)
            if not finite.all():
                at = (r, t, *(int(i) for i in np.argwhere(~finite)[0]))
                raise InputError(
                    f"{self.where}: {self.name}: expected finite values, got "
                    f"{a[at[2:]]} at {at}; leave such runs out"
                )
            if self.name == "correct":
                low, high = min(low, float(a.min())), max(high, float(a.max()))
                wrong = wrong or not np.isin(a, (0, 1)).all()
            elif lost is None:
                bad = _lost(a)
                if bad.any():
                    inner = tuple(int(i) for i in np.argwhere(bad)[0])
                    lost = f"{a[inner]} at {(r, t, *inner)}"
            yield
        if wrong:
            raise InputError(
                f"{self.where}: correct: expected 0 and 1, got values in {low:g}..{high:g}; save "
                "whether each answer was right"
            )
        if lost is not None:
            raise InputError(
                f"{self.where}: {self.name}: expected values that 32-bit floats hold, got {lost}; "
                "scale them first"
            )

    def block(self, r: int, t: int) -> AnyArray:
        """As it is stored: float32, or bool for `correct`."""
        a = self.raw(r, t)
        a = a[:, 0] if self.first else a
        if self.name == "correct":
            return a.astype(np.bool_)
        if not np.isfinite(a).all() or _lost(a).any():
            raise InputError(
                f"{self.where}: {self.name}: expected the values that were checked, got others; "
                "leave the file alone while it is read"
            )
        return a.astype(np.float32)


def _lost(a: AnyArray) -> AnyArray:
    """Where 32-bit floats do not hold the value."""
    with np.errstate(over="ignore", under="ignore"):
        stored = a.astype(np.float32)
    lost: AnyArray = ~np.isfinite(stored) | ((stored == 0) & (a != 0))
    if a.dtype.kind in "iu":
        lost |= stored.astype(np.float64) != a
    return lost


@dataclass
class FromLogits:
    """A signal by the package's own rule, in float64, from logits or probabilities and labels.

    least: what probabilities of exactly 0 are raised to; None for logits. Blocks of the source are
    (N, K) or (N, A, K).
    """

    name: str
    source: Given
    labels: Int64Array
    least: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(N,) or (N, A)."""
        return self.source.inner[:-1]

    @property
    def dtype(self) -> str:
        """Type that is stored."""
        return "bool" if self.name == "correct" else "float32"

    def block(self, r: int, t: int) -> AnyArray:
        """As the Recorder would have stored it."""
        z = self.source.raw(r, t)
        z = z.astype(np.float64) if self.least is None else log_probabilities(z, self.least)
        labels = np.broadcast_to(
            self.labels if z.ndim == 2 else self.labels[:, None], z.shape[:-1]
        ).reshape(-1)
        rule = SIGNALS[self.name]
        told = rule(
            torch.from_numpy(z.reshape(-1, z.shape[-1])), torch.from_numpy(labels.copy())
        ).numpy()
        return told.reshape(z.shape[:-1]).astype(np.bool_ if self.name == "correct" else np.float32)


@dataclass
class Related:
    """φ from unweighted, unsmoothed cross-entropy in nats, or that from φ, in float64.

    rule: `phi_of_loss` or `loss_of_phi`.
    """

    source: Given
    rule: Callable[[AnyArray], Float64Array]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the source."""
        return self.source.shape

    @property
    def dtype(self) -> str:
        """Type that is stored."""
        return "float32"

    def block(self, r: int, t: int) -> AnyArray:
        """The signal of every sample."""
        return self.rule(self.source.raw(r, t)).astype(np.float32)
