"""What attacks read of a part of a fleet: recorded signals, and what probes measure on kept weights.

What is measured is kept beside the run folder, network by network, so that an interruption costs one
network and attacks that read the same share it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seepage.array_types import BoolArray, FloatArray, Int64Array
from seepage.attacks import Attack
from seepage.attacks.binding import inputs, unrecorded
from seepage.fleet.kept import kept_signals
from seepage.probes.base import Probe
from seepage.probes.registry import probes_of
from seepage.scoring import ready
from seepage.store import Run
from seepage.store.files import replacing

__all__ = ["read"]

SPENT = "processor_seconds"


def read(
    run: Run,
    attack: Attack,
    models: Int64Array,
    samples: Int64Array,
    probes: Sequence[Probe] = (),
    *,
    checkpoint: int = -1,
) -> tuple[Attack, dict[str, FloatArray], float]:
    """The attack bound to the run, and what it reads at a checkpoint of these positions.

    probes: in place of those with default options. checkpoint: its index. With the seconds of the processor that probes took, when they did. Raises InputError where the
    attack cannot be run.
    """
    bound, _ = ready(run, attack, checkpoint, probes=probes)
    part = _Part(run, unrecorded(bound, run), models, samples, probes)
    found = inputs(bound, part, checkpoint)
    return bound, found, sum(part.spent.values())


class _Part:
    """A run of which some models and samples are looked at; everything else is the run's."""

    def __init__(
        self,
        run: Run,
        names: tuple[str, ...],
        models: Int64Array,
        samples: Int64Array,
        probes: Sequence[Probe],
    ) -> None:
        self._run, self._models, self._samples = run, models, samples
        self._probes = probes_of(names, probes)
        self.signals = (*run.signals, *names)
        self.spent: dict[Path, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    @property
    def member(self) -> BoolArray:
        """(R, N) bool."""
        member: BoolArray = self._run.member[np.ix_(self._models, self._samples)]
        return member

    @property
    def labels(self) -> Int64Array:
        """(N,)."""
        labels: Int64Array = self._run.labels[self._samples]
        return labels

    def signal_at(self, name: str, t: int, /) -> FloatArray:
        """(R, N[, A]) of this part."""
        if name in self._run.signals:
            return np.asarray(self._run.signal_at(name, t)[self._models][:, self._samples])
        probe = next(p for p in self._probes if name in p.signals)
        return np.stack([self._of_one(probe, int(r), t)[name] for r in self._models])

    def _of_one(self, probe: Probe, target: int, t: int) -> dict[str, FloatArray]:
        t = range(len(self._run.checkpoints))[t]
        asked = repr((self._run.manifest["key"]["plan"], probe, t, self._samples.tolist()))
        short = hashlib.sha256(asked.encode()).hexdigest()[:16]
        row = int(self._run.models[target])
        at = Path(f"{self._run.path}-measured") / f"{short}-{row:05d}.npz"
        if at.exists():
            with np.load(at, allow_pickle=False) as kept:
                self.spent[at] = float(kept[SPENT])
                return {name: kept[name] for name in kept.files if name != SPENT}
        began = time.process_time()
        found = kept_signals(
            self._run, target, t, (probe,), data=self._run.data(), samples=self._samples
        )
        self.spent[at] = time.process_time() - began
        at.parent.mkdir(parents=True, exist_ok=True)
        with replacing(at) as draft, draft.open("wb") as file:
            np.savez(file, **{SPENT: self.spent[at]}, **found)  # type: ignore[arg-type]
        return found
