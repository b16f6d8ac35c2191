"""Regions: an ordered partition of a network's parameters, and what it takes to touch only some."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from seepage.defenses.networks import Samples
from seepage.errors import InputError, nearest
from seepage.models import Network

__all__ = [
    "blocks_of",
    "complement",
    "freeze_statistics",
    "partition",
    "random_regions",
    "reestimate_statistics",
    "region_parameters",
    "rewind",
    "swap",
]

REST = "rest"


def blocks_of(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Ordered regions of a network as names of its parameters: its own blocks, else its children.

    >>> from seepage.models import build
    >>> blocks_of(build("mlp", (4,), 3))
    {'layer1': ('layers.0.0.weight', 'layers.0.0.bias'), 'head': ('head.weight', 'head.bias')}
    """
    modules = model.blocks() if isinstance(model, Network) else dict(model.named_children())
    owner = {id(p): key for key, m in modules.items() for p in m.parameters()}
    out: dict[str, list[str]] = {key: [] for key in modules}
    for name, p in model.named_parameters():
        out.setdefault(owner.get(id(p), REST), []).append(name)
    return {key: tuple(names) for key, names in out.items() if names}


def partition(model: nn.Module, patterns: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """Regions by the network's own blocks, or by patterns over parameter names.

    A pattern is a block's name or a shell pattern of parameter names ("layers.0.*"). Where all
    patterns are names of blocks the blocks are the regions; else each pattern is a region and what
    none matches is "rest". Raises InputError for a pattern that matches nothing or overlaps.
    """
    blocks = blocks_of(model)
    if all(p in blocks for p in patterns):
        return blocks
    names = [name for name, _ in model.named_parameters()]
    out: dict[str, tuple[str, ...]] = {}
    taken: dict[str, str] = {}
    for pattern in patterns:
        found = blocks.get(pattern) or tuple(n for n in names if fnmatch.fnmatchcase(n, pattern))
        if not found:
            raise InputError(
                f"regions: {pattern!r} matches no block and no parameter; "
                f"{nearest(pattern, [*blocks, *names])}"
            )
        for n in found:
            if n in taken:
                raise InputError(
                    f"regions: parameter {n!r} lies in {taken[n]!r} and in {pattern!r}; "
                    "make the patterns disjoint"
                )
            taken[n] = pattern
        out[pattern] = found
    rest = tuple(n for n in names if n not in taken)
    return {**out, REST: rest} if rest else out


def region_parameters(model: nn.Module, regions: Sequence[str]) -> frozenset[str]:
    """Names of the parameters in `regions`; InputError where one matches nothing."""
    known = partition(model, tuple(regions))
    return frozenset(name for key in regions for name in known[key])


def complement(model: nn.Module, regions: Sequence[str]) -> tuple[str, ...]:
    """The other regions, in order, each a block's name or a parameter's."""
    known = partition(model, tuple(regions))
    return _named(model, known, [key for key in known if key not in regions])


def random_regions(
    model: nn.Module, regions: Sequence[str], generator: torch.Generator
) -> tuple[str, ...]:
    """As many regions drawn at random, another set than `regions` (the control of equal size)."""
    known = partition(model, tuple(regions))
    names = list(known)
    size = len(set(regions))
    if math.comb(len(known), size) < 2:
        raise InputError(
            f"regions: {size} of {len(known)} leave no other set of equal size; name fewer"
        )
    while True:
        order = torch.randperm(len(known), generator=generator)[:size].tolist()
        drawn = [names[i] for i in sorted(order)]
        if set(drawn) != set(regions):
            return _named(model, known, drawn)


def _named(
    model: nn.Module, known: Mapping[str, tuple[str, ...]], keys: Sequence[str]
) -> tuple[str, ...]:
    """Keys that `partition` understands again: what no pattern named is spelt out."""
    blocks = blocks_of(model)
    out: list[str] = []
    for key in keys:
        out += known[key] if key == REST and key not in blocks else [key]
    return tuple(out)


def _owned(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Entries of the state dict that belong to parameters `names`, buffers of their modules too."""
    chosen = set(names)
    modules = {n.rpartition(".")[0] for n in chosen}
    buffers = [n for n, _ in model.named_buffers() if n.rpartition(".")[0] in modules]
    return [*chosen, *buffers]


def swap(receiver: nn.Module, donor: Mapping[str, torch.Tensor], names: Iterable[str]) -> None:
    """Overwrites parameters `names` of `receiver`, and their modules' buffers, with the donor's."""
    state = receiver.state_dict()
    with torch.no_grad():
        for key in _owned(receiver, names):
            state[key].copy_(donor[key])


def rewind(model: nn.Module, earlier: Mapping[str, torch.Tensor], names: Iterable[str]) -> None:
    """Sets parameters `names`, and their modules' buffers, back to a snapshot."""
    swap(model, earlier, names)


def _norms(model: nn.Module) -> Iterator[tuple[str, nn.modules.batchnorm._BatchNorm]]:
    for name, m in model.named_modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats:
            yield name, m


def freeze_statistics(model: nn.Module, names: Iterable[str]) -> list[RemovableHandle]:
    """Keeps the normalisation of parameters `names` in evaluation mode until handles are removed.

    Frozen weights with moving statistics would not be frozen: running means and variances are
    part of the function and are fitted to members.
    """
    modules = {n.rpartition(".")[0] for n in names}

    def evaluate(module: nn.Module, _: object) -> None:
        module.eval()

    return [m.register_forward_pre_hook(evaluate) for n, m in _norms(model) if n in modules]


@contextmanager
def _cumulative(model: nn.Module) -> Iterator[None]:
    kept = [(m, m.momentum) for _, m in _norms(model)]
    try:
        for m, _ in kept:
            m.reset_running_stats()
            m.momentum = None
        yield
    finally:
        for m, momentum in kept:
            m.momentum = momentum


def reestimate_statistics(model: nn.Module, samples: Samples, *, size: int = 256) -> None:
    """Replaces running means and variances by averages over `samples`; weights stay.

    After blocks were exchanged the old statistics belong to activations that no longer occur.
    """
    if not any(True for _ in _norms(model)):
        return
    was_training = {m: m.training for m in model.modules()}
    model.eval()
    for _, m in _norms(model):
        m.train()
    try:
        with torch.no_grad(), _cumulative(model):
            for x, _ in samples.batches(size):
                if len(x) > 1:
                    model(x)
    finally:
        for module, mode in was_training.items():
            module.training = mode
