"""Batches of one run: order and augmentation from the run's own stream, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Int64Array
from seepage.config.recipe import Recipe
from seepage.record import Resident

__all__ = ["CHUNK", "Draw", "Feed"]

CHUNK = 2**26
"""Bytes of normalised inputs cut at once on a device: fewer, larger calls; the same values."""

COPIED = 2**20
"""The same on a CPU, for those who copy what they are given: it should stay in the L2 cache."""

AHEAD = 2
"""Batches that a file is asked for before they are needed, so that its disk works beside the step."""


@dataclass(frozen=True)
class Draw:
    """One epoch's batches as indices and transforms, each (steps, B)."""

    rows: Int64Array
    dy: Int64Array | None
    dx: Int64Array | None
    flip: BoolArray | None


class Feed:
    """Members of one run, reshuffled in each epoch.

    Every epoch has its own generator, spawned from the run's seed and the epoch's number, so a
    run restored at any epoch continues with the same batches, and every backend sees the same ones.
    """

    def __init__(
        self,
        pool: Resident,
        members: Int64Array,
        recipe: Recipe,
        seed: int,
        scale: tuple[NDArray[np.float32], NDArray[np.float32]],
    ) -> None:
        self.pool = pool
        self.members = members
        self.recipe = recipe
        self.seed = seed
        self.scale = scale
        self.batch = min(recipe.batch, len(members))
        self.steps = len(members) // self.batch

    def draw(self, epoch: int) -> Draw:
        """Order and transforms of epoch `epoch` (0-based)."""
        rng = np.random.default_rng([self.seed, epoch])
        shape = (self.steps, self.batch)
        rows = rng.permutation(self.members)[: self.steps * self.batch].reshape(shape)
        dy = dx = flip = None
        if self.pool.image and self.recipe.crop:
            pad = self.recipe.crop
            dy, dx = rng.integers(-pad, pad + 1, size=(2, *shape))
        if self.pool.image and self.recipe.flip:
            flip = rng.random(shape) < 0.5
        return Draw(rows, dy, dx, flip)

    def inputs(self, draw: Draw, chunk: int = 0, *, copied: bool = False) -> Iterator[torch.Tensor]:
        """Normalised inputs of every step of an epoch; on a device `chunk` bytes are cut at once.

        copied: whether the caller copies them, so that on a CPU too several may be cut at once;
        products may round otherwise where an input does not begin at the start of its memory.
        """
        size = 4 * self.batch * math.prod(self.pool.shape)
        if self.pool.on_device is None:
            chunk = COPIED if copied and self.pool.file is None else 0
        many = max(1, chunk // size)
        for early in draw.rows[:AHEAD]:
            self.pool.soon(early)
        for begin in range(0, self.steps, many):
            if AHEAD:
                for soon in draw.rows[begin + AHEAD : begin + AHEAD + many]:
                    self.pool.soon(soon)
            part = slice(begin, min(begin + many, self.steps))
            x = self.pool.batch(
                draw.rows[part].ravel(),
                *self.scale,
                dy=None if draw.dy is None else draw.dy[part].ravel(),
                dx=None if draw.dx is None else draw.dx[part].ravel(),
                flip=None if draw.flip is None else draw.flip[part].ravel(),
            )
            if many == 1:
                yield x
                continue
            for at in range(0, len(x), self.batch):
                yield x[at : at + self.batch]

    def batches(
        self, epoch: int, *, copied: bool = False
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Normalised inputs and labels of every step of epoch `epoch`; copied: as of `inputs`."""
        draw = self.draw(epoch)
        labels = self.pool.labels[torch.from_numpy(draw.rows).to(self.pool.device)]
        yield from zip(self.inputs(draw, copied=copied), labels, strict=True)
