"""A Recorder in the loop of another library: what was recorded travels in that library's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, final

import numpy as np
import torch
from torch import nn

from seepage.array_types import AnyArray, BoolArray
from seepage.errors import InputError
from seepage.plane.monitor import Monitor
from seepage.record.recorder import Recorder, Sink
from seepage.record.seen_members import SeenMembers
from seepage.record.watching import Watching

__all__ = ["AnotherLoop"]


class _Remembering:
    """Passes on, and keeps what was written for the library's next checkpoint."""

    def __init__(self, into: Sink) -> None:
        self.into = into
        self.values: dict[int, dict[str, AnyArray]] = {}

    def wants(self, t: int) -> bool:
        return self.into.wants(t)

    def write(self, t: int, values: dict[str, AnyArray]) -> None:
        self.values[t] = values
        self.into.write(t, values)

    def keep(self, t: int, model: nn.Module) -> None:
        self.into.keep(t, model)


@final
class AnotherLoop:
    """What an adapter holds beside its library's callback.

    recorder: watched from here on. member (N,) bool: who trains the network, by default the members
    that a training function was given; without it there are no figures. `state` is what a
    checkpoint of the library must carry, and `restore` takes it before `start`; in memory that is all
    that was recorded so far, T·N float32 per signal.
    """

    def __init__(self, recorder: Recorder, member: BoolArray | None = None) -> None:
        self.recorder = recorder
        n = len(recorder.pool)
        told = member is not None and recorder.members is None
        if member is None and recorder.members is not None:
            member = np.isin(np.arange(n), recorder.members)
        if member is not None:
            member = np.asarray(member)
            if member.shape != (n,) or member.dtype != np.bool_:
                raise InputError(
                    f"member: expected a boolean array ({n},), one value per sample of the pool, got "
                    f"{member.dtype} of shape {member.shape}"
                )
        self.member = member
        self.seen = SeenMembers(recorder, member) if told and member is not None else None
        self.monitor: Monitor | None = None
        sink = recorder.sink
        mixed = member is not None and member.any() and not member.all()
        if mixed and {"loss", "correct"} <= set(recorder.names):
            assert member is not None
            self.monitor = Monitor()
            sink = Watching(self.monitor, member, recorder.checkpoints, into=sink)
        self._sink = _Remembering(sink)
        recorder.sink = self._sink
        self._told = 0
        self._position = 0.0

    def start(self, model: nn.Module, *, epoch: float = 0.0, **facts: Any) -> None:
        """`recorder.start` at `epoch`, or where `restore` says that the training stands.

        Raises InputError where a training goes on and what was recorded before is not there.
        """
        at = max(self._position, epoch)
        times = self.recorder.checkpoints
        lost = [c for t, c in enumerate(times) if c < at - 1e-9 and self._sink.wants(t)]
        if lost:
            raise InputError(
                f"recorder: expected what was recorded at epoch {lost[0]:g} in the checkpoint that "
                f"training goes on from at epoch {at:g}, found none; save checkpoints with this "
                "callback in place, or train from the start"
            )
        self.recorder.start(model, epoch=at, **facts)

    def state(self) -> dict[str, Any]:
        """What was recorded, where the training stands, as tensors and numbers."""
        recorder = self.recorder
        per_epoch = recorder.steps_per_epoch
        return {
            "checkpoints": list(recorder.checkpoints),
            "position": max(recorder.epoch, recorder.step / per_epoch if per_epoch else 0.0),
            "accuracy": {str(k): v for k, v in recorder.accuracy.items()},
            "values": {
                f"{t}/{name}": torch.from_numpy(np.ascontiguousarray(values))
                for t, held in self._sink.values.items()
                for name, values in held.items()
            },
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Write what was recorded before, each checkpoint once.

        Raises InputError where it is of another pool or of other requested epochs.
        """
        times = [float(c) for c in state["checkpoints"]]
        if times != list(self.recorder.checkpoints):
            raise InputError(
                f"checkpoints: expected the epochs that this training began with, "
                f"{', '.join(f'{c:g}' for c in times)}, got "
                f"{', '.join(f'{c:g}' for c in self.recorder.checkpoints)}; request the same, or train "
                "from the start"
            )
        self._position = float(state["position"])
        self.recorder.accuracy = {float(k): float(v) for k, v in state["accuracy"].items()}
        held: dict[int, dict[str, AnyArray]] = {}
        for key, tensor in state["values"].items():
            t, _, name = key.partition("/")
            if len(tensor) != len(self.recorder.pool) and name in self.recorder.names:
                raise InputError(
                    f"recorder: expected {name} of {len(self.recorder.pool)} samples in the checkpoint, "
                    f"got {len(tensor)}; go on with the pool that it was saved with"
                )
            held.setdefault(int(t), {})[name] = tensor.numpy()
        for t, values in sorted(held.items()):
            if self._sink.wants(t):
                self._sink.write(t, values)
            self._sink.values[t] = values
        self._told = 0 if self.monitor is None else len(self.monitor.history)

    def figures(self) -> dict[str, float]:
        """Figures of the checkpoint that is new since they were last asked for, for a tracker.

        Losses and accuracies of members and others, their gap and the AUC of the LOSS attack on this
        network alone, as `seepage.plane.monitor.Snapshot` has them, under `seepage/`.
        """
        if self.monitor is None or len(self.monitor.history) == self._told:
            return {}
        self._told = len(self.monitor.history)
        named = asdict(self.monitor.history[-1])
        return {f"seepage/{name}": value for name, value in named.items() if name != "epoch"}
