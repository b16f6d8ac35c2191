"""Where memorised samples are stored, without an attack: reset one block and see what is forgotten.

Rewinding (Stephenson et al. 2021, arXiv 2105.14602): one block takes its weights of an earlier
checkpoint, all others stay; samples that need the block's later state are forgotten. Retraining
(Maini et al. 2023, arXiv 2307.09542): one block is re-initialised and trained on clean samples with
all others frozen; where memorised samples are recalled nevertheless, the other blocks hold them.
Both are **reconstructions** from general knowledge of these papers, not from their code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from seepage.array_types import Float64Array
from seepage.errors import InputError, nearest
from seepage.layers.features import block_parameters
from seepage.layers.hooks import Inputs, batches, call_model, device_of
from seepage.short_repr import short_repr

__all__ = [
    "BlockTable",
    "reestimate_normalisation",
    "retrain_blocks",
    "rewind_blocks",
    "with_block",
]

State = Mapping[str, torch.Tensor]
Blocks = Mapping[str, Sequence[str]]
Evaluate = Callable[[nn.Module], Mapping[str, float]]


@short_repr
@dataclass(frozen=True, eq=False)
class BlockTable:
    """Results of an evaluation after each block was reset.

    blocks (L,); states (E,): names or epochs; values: metric -> (L, E); whole: metric -> its value
    with no block changed. The loss of a metric, whole − values, is how much the block matters.
    """

    blocks: tuple[str, ...]
    states: tuple[str, ...]
    values: dict[str, Float64Array]
    whole: dict[str, float]

    def lost(self, metric: str) -> Float64Array:
        """whole − value, (L, E): what is forgotten when the block is reset."""
        if metric not in self.values:
            raise InputError(f"metric: got {metric!r}; {nearest(metric, self.values)}")
        return self.whole[metric] - self.values[metric]


def _entries(model: nn.Module, modules: Sequence[str]) -> tuple[str, ...]:
    """State entries, parameters and buffers, inside the named modules."""
    known = dict(model.named_modules(remove_duplicate=False))
    for m in modules:
        if m not in known:
            raise InputError(f"blocks: expected names of modules, got {m!r}; {nearest(m, known)}")
    prefixes = tuple(f"{m}." if m else "" for m in modules)
    found = tuple(k for k in model.state_dict() if k.startswith(prefixes))
    if not block_parameters(model, modules):
        raise InputError(f"blocks: expected modules with weights, got none in {list(modules)}")
    return found


def with_block(model: nn.Module, earlier: State, modules: Sequence[str]) -> nn.Module:
    """A copy of the model in which the named modules hold the state `earlier`.

    >>> net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    >>> zero = {k: torch.zeros_like(v) for k, v in net.state_dict().items()}
    >>> back = with_block(net, zero, ["0"])
    >>> back[0].weight.item(), bool(back[1].weight == net[1].weight)
    (0.0, True)
    """
    out = copy.deepcopy(model)
    state = out.state_dict()
    with torch.no_grad():
        for key in _entries(model, modules):
            if key not in earlier or earlier[key].shape != state[key].shape:
                raise InputError(
                    f"earlier: expected {key!r} of shape {tuple(state[key].shape)}, got "
                    f"{tuple(earlier[key].shape) if key in earlier else 'none'}; "
                    "it must come from the same architecture"
                )
            state[key].copy_(earlier[key])
    return out


def reestimate_normalisation(model: nn.Module, inputs: Inputs, *, batch: int = 256) -> None:
    """Normalisation statistics computed again, in place, as plain means over batches of `inputs`.

    After a block is reset the stored statistics of all later normalisation layers describe
    activations that no longer occur. Everything else stays in evaluation mode, so dropout is off.
    No effect on models without running statistics.
    """
    norms = [m for m in model.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    if not norms:
        return
    modes = [(m, m.training) for m in model.modules()]
    momenta = [m.momentum for m in norms]
    try:
        for m, _ in modes:
            m.training = False
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.training = True
        with torch.no_grad():
            for part in batches(inputs, batch, device_of(model)):
                call_model(model, part)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for m, mode in modes:
            m.training = mode


def _gather(
    blocks: Blocks,
    states: Sequence[str],
    whole: Mapping[str, float],
    rows: Iterator[tuple[int, int, Mapping[str, float]]],
) -> BlockTable:
    values = {k: np.full((len(blocks), len(states)), np.nan) for k in whole}
    for i, j, row in rows:
        for k in whole:
            values[k][i, j] = row[k]
    return BlockTable(tuple(blocks), tuple(states), values, dict(whole))


def _evaluated(model: nn.Module, evaluate: Evaluate) -> Mapping[str, float]:
    with torch.no_grad():
        return evaluate(model.eval())


def rewind_blocks(
    model: nn.Module,
    earlier: Mapping[str, State],
    blocks: Blocks,
    evaluate: Evaluate,
    *,
    statistics: Inputs | None = None,
) -> BlockTable:
    """Every block reset to every earlier state, one at a time, and evaluated.

    earlier: name (an epoch) -> state_dict; blocks: name -> modules, as `Layer.regions`; evaluate:
    model in evaluation mode, without gradients -> metric -> number, such as accuracy on memorised
    and on clean samples; statistics: training inputs on which normalisation is re-estimated after
    each change (None keeps what is stored; give it for networks with batch norm). The model is not
    changed.
    """
    if not earlier or not blocks:
        raise InputError("earlier, blocks: expected at least one of each, got none")

    def rows() -> Iterator[tuple[int, int, Mapping[str, float]]]:
        for i, modules in enumerate(blocks.values()):
            for j, state in enumerate(earlier.values()):
                changed = with_block(model, state, modules)
                if statistics is not None:
                    reestimate_normalisation(changed, statistics)
                yield i, j, _evaluated(changed, evaluate)

    whole = _evaluated(copy.deepcopy(model), evaluate)
    return _gather(blocks, tuple(earlier), whole, rows())


@contextmanager
def _only(model: nn.Module, names: Sequence[str]) -> Iterator[list[nn.Parameter]]:
    wanted = set(names)
    free = []
    for n, p in model.named_parameters():
        p.requires_grad_(n in wanted)
        if n in wanted:
            free.append(p)
    yield free


def retrain_blocks(
    model: nn.Module,
    initial: State,
    blocks: Blocks,
    train: Callable[[nn.Module, list[nn.Parameter]], None],
    evaluate: Evaluate,
    *,
    statistics: Inputs | None = None,
) -> BlockTable:
    """Every block re-initialised and trained alone, all others frozen, and evaluated.

    initial: state_dict the block starts from; train(model, parameters) trains those parameters, on
    clean samples, in its own mode and with its own random streams. Only they require gradients.
    The rest as in `rewind_blocks`; the one state is called "retrained".
    """
    if not blocks:
        raise InputError("blocks: expected at least one, got none")

    def rows() -> Iterator[tuple[int, int, Mapping[str, float]]]:
        for i, modules in enumerate(blocks.values()):
            changed = with_block(model, initial, modules)
            with _only(changed, block_parameters(changed, modules)) as parameters:
                train(changed, parameters)
            if statistics is not None:
                reestimate_normalisation(changed, statistics)
            yield i, 0, _evaluated(changed, evaluate)

    whole = _evaluated(copy.deepcopy(model), evaluate)
    return _gather(blocks, ("retrained",), whole, rows())
