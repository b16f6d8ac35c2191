"""How much disk a fleet takes, and whether it is there, looked at before anything is trained."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy

from seepage.config.model import Model
from seepage.errors import StorageFailed

if TYPE_CHECKING:
    from seepage.fleet.folder import Shapes

__all__ = ["check_disk", "disk_bytes", "free_bytes", "weights_bytes"]

# File systems give out whole blocks.
_BLOCK = 4096
# Of a saved state: weights, the optimiser's momentum, and as much again for what defences keep.
STATE_COPIES = 3


def weights_bytes(model: Model, shape: tuple[int, ...], classes: int) -> int:
    """Bytes of one network's parameters and buffers; the random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        network = model.make(shape, classes)
    held = [*network.parameters(), *network.buffers()]
    # A lazy one has no size before the first forward pass.
    return sum(t.numel() * t.element_size() for t in held if not is_lazy(t))


def disk_bytes(
    shapes: Shapes, runs: int, times: int, *, weights: int = 0, kept: int = 0, unfinished: int = 1
) -> dict[str, int]:
    """Bytes that `runs` runs write, by part; each file takes whole blocks.

    shapes: what one checkpoint of one run writes, by signal; times: checkpoints. weights: bytes of
    one network, kept: checkpoints at which it is kept. unfinished: runs in training at a time,
    which save their state.

    >>> disk_bytes({"loss": ((1000,), "float32")}, runs=8, times=10, weights=10_000, kept=1)
    {'signals': 327680, 'weights': 98304, 'states': 32768}
    """
    chunks = [math.prod(s) * np.dtype(kind).itemsize for s, kind in shapes.values()]
    return {
        "signals": runs * times * sum(map(_blocks, chunks)),
        "weights": runs * kept * _blocks(weights),
        "states": min(unfinished, runs) * _blocks(STATE_COPIES * weights),
    }


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def free_bytes(where: str | os.PathLike[str]) -> int | None:
    """Free bytes of the disk where a folder lies or will lie; None for an address."""
    text = os.fspath(where)
    if "://" in text:
        return None
    place = Path(os.path.abspath(text))
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def check_disk(where: str | os.PathLike[str], parts: dict[str, int]) -> None:
    """Refuse what does not fit; StorageFailed names the estimate by part."""
    free, need = free_bytes(where), sum(parts.values())
    if free is not None and need > free:
        told = ", ".join(f"{_size(v)} {k}" for k, v in parts.items() if v)
        raise StorageFailed(
            f"{os.fspath(where)}: expected {_size(need)} of free disk ({told}), got {_size(free)}; "
            'make room, record fewer checkpoints or signals, or set record.keep = "none"'
        )


def _size(count: Any) -> str:
    for unit, power in (("TiB", 40), ("GiB", 30), ("MiB", 20)):
        if count >= 2**power:
            return f"{count / 2**power:.1f} {unit}"
    return f"{count / 2**10:.0f} KiB"
