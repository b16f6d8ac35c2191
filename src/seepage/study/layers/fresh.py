"""The control of the study: the same training, on samples that are not seen again.

Does DoF fall and rise because a network memorises its members, or because it learns? A control is
trained with the same initial weights, order, steps and rates. Its first epoch is that of the target
to the bit; every later one takes other samples of the data set, in turn where the data set does not
reach. The probe set is the target's: samples seen once, in the first epoch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from seepage.data import Dataset, load
from seepage.fleet.feed import Draw, Feed
from seepage.record import Resident
from seepage.study.layers.looks import Looks, described
from seepage.study.layers.plan import LayersConfig, Unit
from seepage.study.layers.training import (
    Rows,
    chosen_device,
    run_seed,
    single_precision,
    split_pool,
    train,
)

__all__ = ["Stream", "measure_fresh"]


class Stream:
    """Feeds of one pool, one an epoch: the first once, the others in turn."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self.feeds = feeds
        self.steps, self.batch = feeds[0].steps, feeds[0].batch

    def of(self, epoch: int) -> int:
        """Which feed epoch `epoch` (0-based) takes."""
        return 0 if epoch == 0 else 1 + (epoch - 1) % (len(self.feeds) - 1)

    def draw(self, epoch: int) -> Draw:
        """Rows of the pool and transforms of epoch `epoch`."""
        return self.feeds[self.of(epoch)].draw(epoch)

    def inputs(self, draw: Draw, chunk: int = 0) -> Iterator[torch.Tensor]:
        """Normalised inputs of every step of that epoch."""
        return self.feeds[0].inputs(draw, chunk)

    def visits(self, epochs: int) -> int:
        """How often the most used feed has come after so many epochs."""
        return int(np.bincount([self.of(e) for e in range(epochs)]).max())


def measure_fresh(unit: Unit, config: LayersConfig) -> dict[str, Any]:
    """Indicators and accuracy of a control over training, as plain numbers.

    `accuracy` as in `measure`, "members" being those of the first epoch, seen once. `visits`:
    epochs in which the most used samples came; `revisited`: the network's accuracy on them at the
    end.
    """
    began = time.perf_counter()
    device = chosen_device(config.device)
    data, inside, outside, blocks = _samples(unit, config)
    pool = Resident(Resident.layout(data), data.labels.numpy(), device)
    recipe = config.training(unit.architecture)
    with single_precision():
        scale = data.member_scale(inside)
        x = pool.batch(inside[: config.samples], *scale)
        looks = Looks(config, x, pool, scale, inside, outside, data.labels.numpy())
        seed = run_seed(unit, 0)
        stream = Stream([Feed(pool, rows, recipe, seed, scale) for rows in (inside, *blocks)])
        model = train(
            data,
            pool,
            np.concatenate([inside, *blocks]),
            unit,
            recipe,
            seed,
            config.checkpoints,
            looks,
            scale=scale,
            batches=stream,
        )
        hit = looks.answers(model, blocks[0]) == pool.labels_host[blocks[0]]
    trained = time.perf_counter() - began - looks.seconds
    seconds = {"training": trained, **looks.costs()}
    return described(unit, config, data, looks) | {
        "visits": stream.visits(recipe.epochs),
        "revisited": round(float(hit.mean()), 5),
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
    }


def _samples(unit: Unit, config: LayersConfig) -> tuple[Dataset, Rows, Rows, list[Rows]]:
    """The whole data set, and in it the target's members and non-members and blocks of the rest."""
    small, parts, _ = split_pool(unit, config)
    data = load(unit.dataset, part="both")
    place = {name: row for row, name in enumerate(data.ids.tolist())}
    inside, outside = (
        np.array([place[name] for name in small.ids[rows].tolist()], dtype=np.int64)
        for rows in parts[:2]
    )
    rest = np.setdiff1d(np.arange(len(data)), np.concatenate([inside, outside]))
    # At least two: the target's own pool is four times its members.
    blocks = len(rest) // config.members
    order = np.random.default_rng([unit.seed, 5]).permutation(rest)[: blocks * config.members]
    return data, inside, outside, [np.sort(b) for b in np.split(order, blocks)]
