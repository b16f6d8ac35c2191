"""Whether a network does far better where its own scaling of inputs, before its first layer, were another.

A network may scale its inputs by itself, by moments that are written into it. Where those are not the
training's, inputs that are as they should be are answered with nonsense all the same. What the first layer
with weights reads is seen in a forward pass, and prepared otherwise there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.array_types import AnyArray, Float64Array, Int64Array
from seepage.errors import SeepageError
from seepage.models.preparations import BetterPrepared, answered_well, better_prepared

__all__ = ["better_scaled_within"]

_ROWS = 512
_CLOSE = 1e-4


def better_scaled_within(
    network: nn.Module,
    answer: Callable[[AnyArray], Float64Array],
    inputs: AnyArray,
    members: Int64Array,
    labels: Int64Array,
    asked: Float64Array | None = None,
) -> BetterPrepared | None:
    """The preparation of what the first layer reads with which members are answered far better, or None.

    network: as `answer` asks it; the other arguments are those of `seepage.models.preparations.better_prepared`, which
    judges. The first layer is the first module with parameters of its own that is called. Members
    alone, at most 512, are looked at.

    None where members are answered well, where inputs may be tokens, where it reads the inputs as they are given, flattened or not, where it reads anything but one array of
    floats with a row for each input, and where answers depend on inputs in another way than through it.

    >>> class Scaled(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.last = nn.Linear(1, 2)
    ...         with torch.no_grad():
    ...             _ = self.last.weight.copy_(torch.tensor([[-9.0], [9.0]])), self.last.bias.zero_()
    ...     def forward(self, x):
    ...         return self.last(x / 255 + 3)
    >>> x = np.linspace(0, 255, 400, dtype=np.float32)[:, None]
    >>> net = Scaled()
    >>> def answer(v):
    ...     with torch.no_grad():
    ...         return net(torch.from_numpy(v)).double().numpy()
    >>> found = better_scaled_within(net, answer, x, np.arange(400), (x[:, 0] > 127).astype(np.int64))
    >>> found.how
    'where its first layer reads them standardised per column'
    """
    rows = np.random.default_rng(0).permutation(members)[:_ROWS]
    given = np.asarray(inputs)[rows]
    if given.dtype.kind not in "fu" or not rows.size:
        return None
    known = answer(given) if asked is None else np.asarray(asked)[rows]
    wide = known.ndim == 2 and known.shape[1] > labels[rows].max()
    if not wide or answered_well(known, labels[rows]):
        return None
    seen = _read(network, lambda: answer(given))
    if seen is None:
        return None
    layer, values = seen
    values = values[: len(given)]
    if len(values) < len(given) or _same(values, given):
        return None

    def answer_within(v: AnyArray) -> Float64Array:
        # What comes from the inputs in another way would be of others, so that it is compared below.
        part = torch.from_numpy(np.ascontiguousarray(v))
        at = [0]

        def put(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            first = args[0]
            # Whoever asks may ask about the first rows again.
            start = at[0] % len(part)
            some = part[start : start + len(first)]
            at[0] += len(first)
            return (some.to(device=first.device, dtype=first.dtype), *args[1:])

        held = layer.register_forward_pre_hook(put)
        try:
            return answer(np.repeat(given[:1], len(v), axis=0))
        finally:
            held.remove()

    try:
        again = answer_within(values)
    except (SeepageError, RuntimeError, ValueError, IndexError, TypeError):
        return None
    if again.shape != known.shape or not np.allclose(again, known, rtol=_CLOSE, atol=_CLOSE):
        return None
    found = better_prepared(answer_within, values, np.arange(len(rows)), labels[rows], known)
    if found is None:
        return None
    return replace(found, how=f"where its first layer reads them {found.how}", within=True)


def _read(network: nn.Module, ask: Callable[[], object]) -> tuple[nn.Module, AnyArray] | None:
    """The first layer that is called, and all that it reads while `ask` runs; None where that is no array."""
    first: list[nn.Module] = []
    parts: list[torch.Tensor] = []
    odd: list[bool] = []

    def see(module: nn.Module, args: tuple[Any, ...]) -> None:
        if not first:
            first.append(module)
        if module is first[0]:
            plain = bool(args) and isinstance(args[0], torch.Tensor) and args[0].is_floating_point()
            odd.append(not plain or args[0].ndim < 2)
            if plain:
                parts.append(args[0].detach().cpu())

    held = [
        m.register_forward_pre_hook(see)
        for m in network.modules()
        if any(True for _ in m.parameters(recurse=False))
    ]
    try:
        ask()
    finally:
        for h in held:
            h.remove()
    if not parts or any(odd) or len({p.shape[1:] for p in parts}) != 1:
        return None
    return first[0], torch.cat(parts).float().numpy()


def _same(values: AnyArray, given: AnyArray) -> bool:
    """Whether values are the given ones, flattened or not."""
    a, b = values.reshape(len(values), -1), given.reshape(len(given), -1)
    return a.shape == b.shape and bool(np.array_equal(a, b.astype(a.dtype)))
