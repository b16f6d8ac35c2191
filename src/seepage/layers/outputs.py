"""Outputs of layers as arrays: what attacks and k-NN probes read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seepage.layers.choose import choose_layers
from seepage.layers.watch import Inputs, Watch, as_found, batches, check_outputs, count, home, pool

__all__ = ["gather_outputs", "layer_outputs"]


def layer_outputs(
    model: nn.Module,
    inputs: Inputs,
    layers: str | Sequence[str] | None = None,
    *,
    pooled: bool = True,
    batch: int = 256,
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Outputs of the chosen layers, batch by batch: what k-NN probes and attacks read.

    Yields, for every batch of at most `batch` samples in order, a mapping layer name -> (B, d)
    float32; d is the number of channels (features) when `pooled`, averaging over positions, else
    all outputs. Layers are chosen as in `choose_layers`. The model is in evaluation mode while a
    batch is computed and as it was found whenever the caller has control.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> [sorted(b) for b in layer_outputs(net, torch.zeros(5, 3), batch=5)]
    [['1', '2']]
    """
    chosen = choose_layers(model, inputs, layers)
    shapes: list[torch.Size | None] = [None] * len(chosen)
    for part in batches(inputs, batch, home(model)):
        rows: dict[str, NDArray[np.float32]] = {}
        size = count(part)

        def keep(i: int, out: torch.Tensor) -> None:
            check_outputs(chosen[i], out, size, shapes[i])  # noqa: B023 - used up in this turn
            shapes[i] = out.shape[1:]
            flat = pool(out, chosen[i]) if pooled else out.flatten(1)
            rows[chosen[i].name] = flat.float().cpu().numpy().copy()  # noqa: B023

        with as_found(model), Watch(model, chosen) as watch:
            watch.run(part, keep)
        yield rows


def gather_outputs(
    model: nn.Module,
    inputs: Inputs,
    layers: str | Sequence[str] | None = None,
    *,
    pooled: bool = True,
    batch: int = 256,
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """`layer_outputs` joined over batches: layer -> (N, d) float32, all in memory."""
    parts = list(layer_outputs(model, inputs, layers, pooled=pooled, batch=batch))
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
