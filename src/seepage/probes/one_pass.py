"""Several probes of one network at once, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seepage.errors import InputError
from seepage.native.heap import keep_freed
from seepage.probes.base import Asked, Probe
from seepage.probes.gradients import GradientProbe, by_gradients

__all__ = ["Rate", "measure", "rate"]


def measure(probes: Sequence[Probe], asked: Asked) -> dict[str, NDArray[np.float32]]:
    """Every signal of every probe: name -> (N,) or (N, F) float32.

    Probes of the gradients by parameters share one computation of them.
    """
    keep_freed()
    sharing = [p for p in probes if isinstance(p, GradientProbe)]
    found = {} if not sharing else by_gradients(sharing, asked)
    for probe in probes:
        if not isinstance(probe, GradientProbe):
            found |= probe.measure(asked)
    out = {}
    for probe in probes:
        for name in probe.signals:
            values = np.asarray(found[name], dtype=np.float32)
            if values.ndim not in (1, 2) or len(values) != len(asked.inputs):
                raise InputError(
                    f"{name}: expected a number, or a row of them, for each of {len(asked.inputs)} "
                    f"samples, got shape {values.shape}; correct the probe {probe.name}"
                )
            out[name] = values
    return out


@dataclass(frozen=True)
class Rate:
    """Seconds that one network takes: those before any sample, and those of each.

    >>> Rate(0.5, 0.001).seconds(1000)
    1.5
    """

    once: float
    each: float

    def seconds(self, samples: int) -> float:
        """Of one network asked about so many samples."""
        return self.once + self.each * samples


def rate(
    probes: Sequence[Probe],
    asked: Asked,
    *,
    batch: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Rate:
    """How long the probes take, from a first batch of samples and half of it, after one try.

    batch: as many samples as the probes are to be timed on, unless given; a pool that is no larger is
    timed as a whole. What grows faster than with the number of samples is not foreseen.
    """
    if batch is None:
        batch = max(p.timed_on for p in probes)
    whole = min(batch, len(asked.inputs))
    if whole == len(asked.inputs) and whole > 1:
        measure(probes, asked)
        began = clock()
        measure(probes, asked)
        return Rate(0.0, (clock() - began) / whole)
    half = max(1, whole // 2)
    measure(probes, asked.some(half))  # pays for what is chosen or compiled once
    spent = []
    for count in (half, whole):
        began = clock()
        measure(probes, asked.some(count))
        spent.append(clock() - began)
    each = max(0.0, spent[1] - spent[0]) / max(1, whole - half)
    return Rate(max(0.0, spent[1] - each * whole), each)
