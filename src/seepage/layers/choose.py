"""Which layers of a model are measured: by name, by pattern, or the output of every block."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules import activation as activations
from torch.nn.modules import pooling
from torch.nn.modules.batchnorm import _NormBase

from seepage.errors import InputError, nearest
from seepage.layers.hooks import (
    Inputs,
    Layer,
    call_model,
    check_inputs,
    device_of,
    evaluation_mode,
    first_tensor,
    merged_network,
    sample_count,
    select_samples,
    to_device,
)

__all__ = ["choose_layers"]

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_ACTIVATIONS = tuple(
    kind
    for name in activations.__all__
    if (kind := getattr(activations, name)) is not nn.MultiheadAttention
)
_POOLS = tuple(getattr(pooling, name) for name in pooling.__all__)
_WHOLE = "(model)"


def _own_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def _weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _composite(module: nn.Module) -> bool:
    return any(_weights(child) for child in module.children())


def _holds_blocks(module: nn.Module, least: int) -> bool:
    """Whether the module contains a list of blocks: then it is a backbone or a stage, not a block.

    `least`: how many layers with weights make a block. An item of a list, or one of several
    siblings of a kind, is itself a block unless it holds several modules of at least two such
    layers: an inverted residual is a list of convolution, norm and activation, each with one.
    """

    def block(m: nn.Module) -> bool:
        mixing = sum(_own_weights(c) and not isinstance(c, _NORMS) for c in m.modules())
        return _composite(m) and mixing >= least

    return any(
        isinstance(m, _CONTAINERS) and sum(block(c) for c in m.children()) >= 2
        for m in module.modules()
    )


_Unit = tuple[str, tuple[str, ...]]


def _default_names(module: nn.Module, prefix: str, shared: set[int]) -> list[_Unit]:
    """(name of the output, names of the weights) of every block, by the rule of `choose_layers`."""
    found: list[_Unit] = []
    in_order = isinstance(module, nn.Sequential)
    open_unit: _Unit | None = None

    def close() -> None:
        nonlocal open_unit
        if open_unit is not None:
            found.append(open_unit)
        open_unit = None

    listed = isinstance(module, _CONTAINERS)
    children = {k: m for k, m in module._modules.items() if m is not None}
    kinds = [type(m) for m in children.values()]
    # A list of one is a stage of one block; only a wrapper around a whole model is opened.
    wraps = not listed or not prefix
    alone = wraps and sum(_weights(m) for m in children.values()) == 1
    for key, child in children.items():
        name = f"{prefix}{key}"
        if isinstance(child, (_NORMS, _ACTIVATIONS)):
            if in_order and open_unit is not None and id(child) not in shared:
                own = (name,) if _weights(child) else ()
                open_unit = (name, open_unit[1] + own)
            continue
        # A pool between a layer and its activation does not end the block.
        if isinstance(child, (nn.Dropout, _POOLS)):
            continue
        close()
        if not _weights(child):
            continue
        item = listed or kinds.count(type(child)) > 1
        expand = isinstance(child, _CONTAINERS) or _holds_blocks(child, 1 + item) or alone
        if _composite(child) and expand:
            found += _default_names(child, f"{name}.", shared)
        elif _composite(child) or _own_weights(child):
            open_unit = (name, (name,))
            if not in_order:
                close()
    close()
    return found


def _label(module: str) -> str:
    return module or _WHOLE


def choose_layers(
    model: nn.Module, inputs: Inputs, layers: str | Sequence[str] | None = None
) -> tuple[Layer, ...]:
    """The layers to measure, in the order in which their outputs appear in a forward pass.

    `layers`: names of modules as `model.named_modules()` gives them, or patterns with `*`, `?`
    and `[…]` (`"layer*.1"`); a module called several times in one pass is named with its call,
    `"block#2"`. None takes the output of every block, found from the module tree alone:

    - a list of modules (`Sequential`, `ModuleList`, `ModuleDict`), any module that contains a list
      of blocks (a stage, a backbone), and one that is the only one with weights in its parent, is
      opened and its children are examined;
    - anything else with children that hold weights is a block (a residual block, a transformer
      layer), and its output is one row;
    - so is a module with weights of its own (convolution, linear, embedding) outside a block; in
      a `Sequential`, where the order is known, the norm and activation that follow (possibly after
      a pool) belong to it and the output is taken after them. Norms alone are no rows: they do not
      mix directions.

    Blocks that a pass in evaluation mode never calls (auxiliary heads), or whose outputs do not
    have the samples along their first axis, are left out of the default; asked for by name they
    are an error. One forward pass of up to two samples is run to find the order of calls.
    """
    model = merged_network(model)
    modules = dict(model.named_modules(remove_duplicate=False))
    check_inputs(inputs)
    sample = to_device(select_samples(inputs, slice(0, 2)), device_of(model))
    calls = _trace(model, sample)
    chosen: list[Layer] = []
    if layers is None:
        uses: dict[int, int] = {}
        for m in model.modules():
            for child in m._modules.values():
                uses[id(child)] = uses.get(id(child), 0) + 1
        shared = {k for k, v in uses.items() if v > 1}
        pairs = _default_names(model, "", shared) or [("", ("",))]
        seen: set[int] = set()
        for name, regions in pairs:
            module = modules[name]
            if id(module) in seen:
                continue
            seen.add(id(module))
            made = calls.get(id(module), [])
            for k, (depth, shape) in enumerate(made):
                if len(shape) >= 1 and shape[0] == sample_count(sample):
                    label = _label(name) + (f"#{k + 1}" if len(made) > 1 else "")
                    chosen.append(Layer(label, name, k, regions, depth, _last(module)))
        if not chosen:
            raise InputError(
                "layers: expected blocks whose outputs have one row per sample, found none; "
                "name the layers to measure"
            )
    else:
        wanted = [layers] if isinstance(layers, str) else list(layers)
        if not wanted:
            raise InputError("layers: expected at least one name, got none; leave out for default")
        taken: set[tuple[str, int]] = set()
        for entry in wanted:
            for layer in _named(entry, modules, calls, sample_count(sample)):
                if (layer.module, layer.call) not in taken:
                    taken.add((layer.module, layer.call))
                    chosen.append(layer)
    return tuple(sorted(chosen, key=lambda layer: layer.depth))


def _last(module: nn.Module) -> bool:
    """Whether a three-axis output is (samples, tokens, features): so unless Conv1d is inside."""
    kinds = (nn.Conv1d, nn.ConvTranspose1d)
    return not any(isinstance(m, kinds) for m in module.modules())


def _named(
    entry: str,
    modules: Mapping[str, nn.Module],
    calls: Mapping[int, list[tuple[int, tuple[int, ...]]]],
    rows: int,
) -> Iterator[Layer]:
    wanted, _, number = entry.partition("#")
    pattern = any(c in wanted for c in "*?[")
    if pattern:
        names = [n for n in modules if n and fnmatch.fnmatchcase(n, wanted)]
        names = [n for n in names if not isinstance(modules[n], (nn.ModuleList, nn.ModuleDict))]
    else:
        plain = "" if wanted == _WHOLE else wanted
        names = [plain] if plain in modules else []
    if not names:
        known = [n for n in modules if n]
        remedy = nearest(wanted, known) if len(known) <= 12 or not pattern else "see named_modules"
        if not remedy.startswith("did you mean") and len(known) > 12:
            remedy = f"the model has {len(known)} modules, from {known[0]!r} to {known[-1]!r}"
        raise InputError(f"layers: expected the name of a module, got {entry!r}; {remedy}")
    for name in names:
        module = modules[name]
        made = calls.get(id(module), [])
        if not made:
            raise InputError(
                f"layers: expected a module that a forward pass calls, got {name!r}, which is "
                "never called; name one that is, or let the default choose"
            )
        if number:
            if not number.isdecimal() or not 1 <= int(number) <= len(made):
                raise InputError(
                    f"layers: expected a call from 1 to {len(made)} of {name!r}, got #{number}"
                )
            wanted_calls = [int(number) - 1]
        elif len(made) > 1:
            raise InputError(
                f"layers: expected a module called once per forward pass, got {name!r}, called "
                f"{len(made)} times; name the call: '{name}#1' to '{name}#{len(made)}'"
            )
        else:
            wanted_calls = [0]
        for k in wanted_calls:
            depth, shape = made[k]
            if not shape or shape[0] != rows:
                raise InputError(
                    f"layers: expected outputs of {_label(name)!r} with one row per sample "
                    f"({rows}), got shape {shape}; choose a layer with the samples along its "
                    "first axis"
                )
            label = _label(name) + (f"#{k + 1}" if len(made) > 1 else "")
            yield Layer(label, name, k, (name,), depth, _last(module))


def _trace(model: nn.Module, sample: Inputs) -> dict[int, list[tuple[int, tuple[int, ...]]]]:
    """For every module, when its calls finished and the shapes of their outputs."""
    calls: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
    clock = 0

    def note(module: nn.Module, _args: Any, output: Any) -> None:
        nonlocal clock
        tensor = first_tensor(output)
        shape = () if tensor is None else tuple(tensor.shape)
        calls.setdefault(id(module), []).append((clock, shape))
        clock += 1

    handles = [m.register_forward_hook(note) for m in model.modules()]
    try:
        with evaluation_mode(model):
            call_model(model, sample)
    finally:
        for handle in handles:
            handle.remove()
    return calls
