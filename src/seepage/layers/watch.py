"""Reading the outputs of layers through hooks, and leaving the model as it was found."""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules import activation as activations
from torch.nn.modules.batchnorm import _NormBase

from seepage.errors import InputError, nearest

__all__ = [
    "Inputs",
    "Layer",
    "Watch",
    "as_found",
    "batches",
    "call",
    "check_outputs",
    "choose_layers",
    "count",
    "first_tensor",
    "layer_outputs",
    "pool",
    "take",
    "unwrapped",
]

Inputs = torch.Tensor | Mapping[str, torch.Tensor] | Sequence[torch.Tensor]
"""What a model is called with: one tensor, several in order, or several by keyword."""

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_ACTIVATIONS = tuple(
    kind
    for name in activations.__all__
    if (kind := getattr(activations, name)) is not nn.MultiheadAttention
)
_WHOLE = "(model)"


@dataclass(frozen=True)
class Layer:
    """One place to measure: the output of call number `call` of the module `module`.

    `name` is what tables show: the module's name, with `#2` for the second call of a module that
    is called several times. `regions` names the modules that hold the weights of this step (the
    linear layer and the norm before an activation): what a defence is pointed at. `depth` orders
    layers by when their output appears in a forward pass; `channels_last` says that outputs of
    three axes are (samples, tokens, features).
    """

    name: str
    module: str
    call: int
    regions: tuple[str, ...]
    depth: int
    channels_last: bool


# ---- inputs -------------------------------------------------------------------------------------


def _parts(inputs: Inputs) -> list[torch.Tensor]:
    if isinstance(inputs, torch.Tensor):
        return [inputs]
    parts = list(inputs.values()) if isinstance(inputs, Mapping) else list(inputs)
    if not parts or not all(isinstance(p, torch.Tensor) for p in parts):
        raise InputError(
            "inputs: expected a tensor, a sequence of tensors or a mapping of names to tensors, "
            f"got {type(inputs).__name__}"
        )
    return parts


def count(inputs: Inputs) -> int:
    """Number of samples; every tensor must have as many rows."""
    sizes = sorted({len(p) if p.ndim else 0 for p in _parts(inputs)})
    if len(sizes) != 1:
        raise InputError(f"inputs: expected equally many samples in every tensor, got {sizes}")
    return sizes[0]


def _check_inputs(inputs: Inputs) -> None:
    if count(inputs) < 1:
        raise InputError("inputs: expected at least one sample, got none")
    for p in _parts(inputs):
        if p.dtype == torch.uint8:
            raise InputError(
                "inputs: expected what the model's forward takes, got uint8; "
                "convert to floating point and normalise as in training"
            )
        if p.dtype.is_floating_point and not bool(torch.isfinite(p).all()):
            raise InputError("inputs: expected finite values, got NaN or infinity")


def take(inputs: Inputs, rows: slice | torch.Tensor) -> Inputs:
    """The samples `rows` of every tensor."""
    if isinstance(inputs, torch.Tensor):
        return inputs[rows]
    if isinstance(inputs, Mapping):
        return {k: v[rows] for k, v in inputs.items()}
    return [v[rows] for v in inputs]


def batches(inputs: Inputs, size: int, device: torch.device) -> Iterator[Inputs]:
    """Slices of at most `size` samples on the model's device."""
    if size < 1:
        raise InputError(f"batch: expected at least 1, got {size}")
    for start in range(0, count(inputs), size):
        yield _to(take(inputs, slice(start, start + size)), device)


def _to(inputs: Inputs, device: torch.device) -> Inputs:
    if isinstance(inputs, torch.Tensor):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {k: v.to(device) for k, v in inputs.items()}
    return [v.to(device) for v in inputs]


def call(model: Callable[..., Any], inputs: Inputs) -> Any:
    """model(tensor), model(*tensors) or model(**tensors)."""
    if isinstance(inputs, torch.Tensor):
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs)


def home(model: nn.Module) -> torch.device:
    """Device of the first parameter or buffer; the processor where there is none."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


# ---- leaving no trace ---------------------------------------------------------------------------


@contextmanager
def as_found(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards modes, buffers and random streams as before.

    The mode of every module is put back one by one, so a model with some parts frozen in
    evaluation mode comes back so. Streams: torch on all devices, NumPy's and Python's global ones.
    """
    modes = [(m, m.training) for m in model.modules()]
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    legacy, own = np.random.get_state(), random.getstate()  # noqa: NPY002
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=cuda), torch.no_grad():
            for m, _ in modes:
                # Not `model.eval()`: models override `train` to keep parts frozen.
                m.training = False
            yield
    finally:
        for m, mode in modes:
            m.training = mode
        with torch.no_grad():
            for b, was in buffers:
                if not torch.equal(b, was):
                    b.copy_(was)
        np.random.set_state(legacy)  # noqa: NPY002
        random.setstate(own)


# ---- which layers -------------------------------------------------------------------------------


def _own_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def _weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _composite(module: nn.Module) -> bool:
    return any(_weights(child) for child in module.children())


def _holds_blocks(module: nn.Module, least: int) -> bool:
    """Whether a list of blocks lies inside: the mark of a backbone or a stage, not of a block.

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
    # A list of one is a stage of one block; only a wrapper around a whole model is looked through.
    wraps = not listed or not prefix
    alone = wraps and sum(_weights(m) for m in children.values()) == 1
    for key, child in children.items():
        name = f"{prefix}{key}"
        if isinstance(child, (_NORMS, _ACTIVATIONS)):
            if in_order and open_unit is not None and id(child) not in shared:
                own = (name,) if _weights(child) else ()
                open_unit = (name, open_unit[1] + own)
            continue
        if isinstance(child, nn.Dropout):
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


def unwrapped(model: nn.Module) -> nn.Module:
    """The module behind `torch.compile` and data-parallel wrappers.

    A compiled graph would not run the hooks, and replicas would run them once each.
    """
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


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
      opened and its children are looked at;
    - anything else with children that hold weights is a block (a residual block, a transformer
      layer), and its output is one row;
    - so is a module with weights of its own (convolution, linear, embedding) outside a block; in
      a `Sequential`, where the order is known, the norm and activation that follow belong to it
      and the output is taken after them. Norms alone are no rows: they do not mix directions.

    Blocks that a pass in evaluation mode never calls (auxiliary heads), or whose outputs do not
    have the samples along their first axis, are left out of the default; asked for by name they
    are an error. One forward pass of up to two samples is run to see the order of calls.
    """
    model = unwrapped(model)
    modules = dict(model.named_modules(remove_duplicate=False))
    _check_inputs(inputs)
    sample = _to(take(inputs, slice(0, 2)), home(model))
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
                if len(shape) >= 1 and shape[0] == count(sample):
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
            for layer in _named(entry, modules, calls, count(sample)):
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
            if not number.isdigit() or not 1 <= int(number) <= len(made):
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
                    f"layers: expected outputs of {_label(name)!r} with one row per sample ({rows}), got "
                    f"shape {shape}; choose a layer with the samples along its first axis"
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
        with as_found(model):
            call(model, sample)
    finally:
        for handle in handles:
            handle.remove()
    return calls


# ---- outputs ------------------------------------------------------------------------------------


def first_tensor(output: Any) -> torch.Tensor | None:
    """The first floating-point tensor in an output: a tensor, a tuple, a mapping, or nested."""
    if isinstance(output, torch.Tensor):
        return output if output.dtype.is_floating_point else None
    parts: Sequence[Any] = ()
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif isinstance(output, (tuple, list)):
        parts = output
    for part in parts:
        tensor = first_tensor(part)
        if tensor is not None:
            return tensor
    return None


class _Enough(Exception):
    """Ends a forward pass once the deepest wanted output is there."""


class Watch:
    """Runs a model and hands the outputs of the chosen layers to a consumer, one call at a time.

    Used as a context manager; outside of it the model carries no hooks. A pass ends as soon as the
    last wanted output is there.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer]) -> None:
        self.model = unwrapped(model)
        self.layers = tuple(layers)
        self._modules = dict(self.model.named_modules(remove_duplicate=False))
        self._made: dict[int, int] = {}
        self._fired = 0
        self._consume: Callable[[int, torch.Tensor], None] | None = None
        self._handles: list[Any] = []

    def __enter__(self) -> Watch:
        for key in dict.fromkeys(layer.module for layer in self.layers):
            self._handles.append(self._modules[key].register_forward_hook(self._hook))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, module: nn.Module, _args: Any, output: Any) -> None:
        if self._consume is None:
            return
        made = self._made.get(id(module), 0)
        self._made[id(module)] = made + 1
        for i, layer in enumerate(self.layers):
            if layer.call != made or self._modules[layer.module] is not module:
                continue
            tensor = first_tensor(output)
            if tensor is None:
                raise InputError(
                    f"{layer.name}: expected a floating-point output, got {type(output).__name__}"
                )
            self._consume(i, tensor)
            self._fired += 1
        if self._fired == len(self.layers):
            raise _Enough

    def run(
        self,
        inputs: Inputs,
        consume: Callable[[int, torch.Tensor], None],
        forward: Callable[[Inputs], Any] | None = None,
    ) -> None:
        """One pass; `consume(i, output)` is called inside it for every layer i, in order."""
        self._made, self._fired, self._consume = {}, 0, consume
        try:
            if forward is None:
                call(self.model, inputs)
            else:
                forward(inputs)
        except _Enough:
            return
        finally:
            self._consume = None
        missing = [
            layer.name
            for layer in self.layers
            if self._made.get(id(self._modules[layer.module]), 0) <= layer.call
        ]
        raise InputError(
            f"layers: expected the same calls in every forward pass, got none of {missing[0]!r} "
            "in this one; the model's path depends on its inputs, choose a layer on every path"
        )


def check_outputs(layer: Layer, output: torch.Tensor, rows: int, shape: torch.Size | None) -> None:
    """One row per sample, the same shape in every batch, finite."""
    if output.ndim < 1 or len(output) != rows:
        raise InputError(
            f"{layer.name}: expected one row of outputs per sample ({rows}), got shape "
            f"{tuple(output.shape)}; choose a layer with the samples along its first axis"
        )
    if shape is not None and output.shape[1:] != shape:
        raise InputError(
            f"{layer.name}: expected outputs of shape {tuple(shape)} for every sample, got "
            f"{tuple(output.shape[1:])}; pad inputs to one size or choose a pooled layer"
        )
    # The sum is one read; the full test runs only when it gives reason to.
    if not bool(torch.isfinite(output.sum())) and not bool(torch.isfinite(output).all()):
        raise InputError(
            f"{layer.name}: expected finite outputs, got NaN or infinity; "
            "the model has diverged here, or its inputs are not normalised as in training"
        )


def pool(output: torch.Tensor, layer: Layer) -> torch.Tensor:
    """(B, C, *space) or (B, tokens, C) -> (B, C) means; (B, d) as it is."""
    if output.ndim <= 2:
        return output.reshape(len(output), -1)
    if output.ndim == 3 and layer.channels_last:
        return output.mean(1)
    return output.flatten(2).mean(2)


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
