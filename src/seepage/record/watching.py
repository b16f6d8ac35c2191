"""A Recorder's way to a Monitor: risk of one run, estimated while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from torch import nn

from seepage.array_types import AnyArray, BoolArray
from seepage.errors import InputError
from seepage.plane.monitor import Monitor
from seepage.record.recorder import Sink

__all__ = ["Watching"]


@final
class Watching:
    """A sink that shows every checkpoint to a Monitor and passes it on.

    Give it to the Recorder of your own loop::

        monitor = seepage.plane.Monitor()
        times = [0, 1, 2, 5, 10]
        sink = Watching(monitor, member, times)                 # into=Memory() to keep the signals
        recorder = Recorder(pool, times, sink)
        recorder.start(model)
        for epoch in range(10):
            ...
            recorder.epoch_end()                                # monitor.scores() is up to date here

    member (N,) bool: on what this run trains; checkpoints: the Recorder's. The Recorder must record
    "loss" and "correct" (it does by default); `curvature` names the signal to show besides,
    where it was wanted at that checkpoint. Of several views the first, the identity, is shown.
    """

    def __init__(
        self,
        monitor: Monitor,
        member: BoolArray,
        checkpoints: Sequence[float],
        *,
        into: Sink | None = None,
        curvature: str | None = None,
    ) -> None:
        self.monitor = monitor
        self.member = np.asarray(member, dtype=np.bool_)
        self.checkpoints = tuple(float(c) for c in checkpoints)
        self.into = into
        self.curvature = curvature
        self._next = 0

    def wants(self, t: int) -> bool:
        """What is new to the monitor, or still to be written behind it."""
        return t >= self._next or (self.into is not None and self.into.wants(t))

    def write(self, t: int, values: dict[str, AnyArray]) -> None:
        """Shown first, then passed on. Raises InputError when loss or correct are not recorded."""
        missing = [name for name in ("loss", "correct") if name not in values]
        if missing:
            raise InputError(
                f"signals: expected loss and correct for a monitor, {missing[0]} is missing; "
                "record it"
            )
        if t >= self._next:
            curved = None if self.curvature is None else values.get(self.curvature)
            self.monitor.update(
                self.checkpoints[t],
                _identity(values["loss"]),
                _identity(values["correct"]),
                self.member,
                None if curved is None or not np.isfinite(curved).all() else _identity(curved),
            )
            self._next = t + 1
        if self.into is not None and self.into.wants(t):
            self.into.write(t, values)

    def keep(self, t: int, model: nn.Module) -> None:
        """Passed on."""
        if self.into is not None:
            self.into.keep(t, model)


def _identity(values: AnyArray) -> AnyArray:
    return values[:, 0] if values.ndim == 2 else values
