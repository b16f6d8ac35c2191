"""Whether a loop trains on those whom its user calls members: an epoch's inputs, row by row."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any, final

import numpy as np
import torch
from torch import nn

from seepage.array_types import BoolArray
from seepage.errors import InputError
from seepage.record.recorder import Recorder

__all__ = ["MembersWarning", "SeenMembers"]

# Pools of more bytes are not compared row by row.
_MOST = 1 << 28
_ROWS = 512


class MembersWarning(UserWarning):
    """How far a list of members was compared with what a loop trained on."""


@final
class SeenMembers:
    """The rows of a pool that a network is shown in its first epoch, against a list of members.

    A hook before the forward pass in training mode; it reads and changes nothing. Rows are known
    by their bytes, as the Recorder evaluates them: where the loop augments its inputs, prepares them
    otherwise or rounds them, none is, and that is said. Samples with an exact copy of the other
    kind tell nothing.
    """

    def __init__(self, recorder: Recorder, member: BoolArray) -> None:
        self.recorder, self.member = recorder, member
        self.keys: set[bytes] = set()
        self._hook: Any = None

    def watch(self, model: nn.Module) -> None:
        """Watch `model` from here to `compare`."""
        if np.prod(self.recorder.pool.shape) * len(self.member) * 4 <= _MOST:
            self._hook = model.register_forward_pre_hook(self._see)

    def _see(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        if model.training and args and isinstance(args[0], torch.Tensor):
            self.keys |= set(_keys(args[0]))

    def compare(self, *, whole: bool = True) -> None:
        """The epoch is over. Raises InputError where it took samples that are no members.

        whole: whether this process saw all of the epoch, and none of several its share.

        Warns (`MembersWarning`) where no row was one of the pool, and where members were not taken.
        """
        if self._hook is None:
            return
        self._hook.remove()
        self._hook = None
        own: list[bytes] = []
        for at in range(0, len(self.member), _ROWS):
            rows = np.arange(at, min(at + _ROWS, len(self.member)))
            own += _keys(self.recorder.inputs(rows))
        inside = {k for k, m in zip(own, self.member.tolist(), strict=True) if m}
        outside = {k for k, m in zip(own, self.member.tolist(), strict=True) if not m} - inside
        taken, strange = len(self.keys & inside), self.keys & outside
        if strange:
            row = next(i for i, k in enumerate(own) if k in strange)
            raise InputError(
                f"member: expected a loop that trains on members alone, got {len(strange):,} samples in its "
                f"first epoch that `member` calls others (sample {row} of the pool is one) beside {taken:,} "
                "members; pass the mask of those in the training set"
            )
        if not taken:
            warnings.warn(
                "member: not compared with what the loop trains on, whose inputs are none of the pool's "
                "as they are evaluated (augmented, rounded or prepared otherwise); figures of members are "
                "as true as the mask",
                MembersWarning,
                stacklevel=2,
            )
        elif whole and taken < len(inside):
            warnings.warn(
                f"member: the loop took {taken:,} of {len(inside):,} members in its first epoch: the others "
                "look like non-members",
                MembersWarning,
                stacklevel=2,
            )


def _keys(x: torch.Tensor) -> list[bytes]:
    flat = x.detach().to("cpu", torch.float32).reshape(len(x), -1).contiguous().numpy()
    # Of 0 and −0 one byte differs.
    return [hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest() for row in flat]
