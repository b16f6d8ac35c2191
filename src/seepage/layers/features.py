"""What an attack or a k-NN probe reads of a layer: outputs, their norms, norms of gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call, grad, vmap

from seepage.array_types import Float64Array, FloatArray
from seepage.errors import InputError
from seepage.given_arrays import given_floats
from seepage.layers.choose import choose_layers
from seepage.layers.hooks import (
    Inputs,
    LayerHooks,
    batches,
    check_outputs,
    device_of,
    evaluation_mode,
    first_tensor,
    merged_network,
    pool_positions,
    sample_count,
)

__all__ = [
    "block_parameters",
    "feature_norms",
    "gather_outputs",
    "gradient_norms",
    "layer_outputs",
]


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
    batch is computed and unchanged whenever the caller has control.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> [sorted(b) for b in layer_outputs(net, torch.zeros(5, 3), batch=5)]
    [['1', '2']]
    """
    chosen = choose_layers(model, inputs, layers)
    shapes: list[torch.Size | None] = [None] * len(chosen)
    for part in batches(inputs, batch, device_of(model)):
        rows: dict[str, NDArray[np.float32]] = {}
        size = sample_count(part)

        def keep(i: int, out: torch.Tensor) -> None:
            check_outputs(chosen[i], out, size, shapes[i])  # noqa: B023 - called in this iteration
            shapes[i] = out.shape[1:]
            flat = pool_positions(out, chosen[i]) if pooled else out.flatten(1)
            rows[chosen[i].name] = flat.float().cpu().numpy().copy()  # noqa: B023

        with evaluation_mode(model), LayerHooks(model, chosen) as hooks:
            hooks.run(part, keep)
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


def feature_norms(outputs: FloatArray, p: float = 2.0) -> Float64Array:
    """‖h(x)‖_p of every sample: (N, …) -> (N,), a feature for `attack_layers`.

    Norms of an encoder's features reveal its members (LpLA, arXiv 2506.05743, from its abstract).
    Scaling the outputs by c > 0 scales all norms alike.

    >>> feature_norms(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([5., 0.])
    """
    if not p > 0:
        raise InputError(f"p: expected a number above 0, got {p}")
    flat = given_floats(outputs, "outputs").reshape(len(outputs), -1)
    return np.asarray(np.linalg.norm(flat, ord=p, axis=1), dtype=np.float64)


def block_parameters(model: nn.Module, modules: Sequence[str]) -> tuple[str, ...]:
    """Names of the parameters inside the named modules, each once."""
    prefixes = tuple(f"{m}." if m else "" for m in modules)
    return tuple(n for n, _ in model.named_parameters() if n.startswith(prefixes))


def gradient_norms(
    model: nn.Module,
    inputs: Inputs,
    labels: torch.Tensor,
    layers: str | Sequence[str] | None = None,
    *,
    batch: int = 16,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = nn.functional.cross_entropy,
) -> dict[str, Float64Array]:
    """‖∂ loss(x_i, y_i) / ∂ θ_l‖₂ of every sample i and block l: layer -> (N,).

    θ_l are the weights of the block's modules (`Layer.regions`); blocks without weights are left
    out. Evaluation mode, so that normalisation does not mix samples; the model and its own
    gradients are not changed. loss maps logits (1, K) and labels (1,) to a scalar. Memory: batch
    × the number of weights in all blocks. Members' gradients are small where a model has
    memorised them: a strong feature for an attack with access to the weights.

    >>> net = nn.Linear(2, 2, bias=False)
    >>> out = gradient_norms(net, torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))
    >>> out["(model)"].tolist()
    [0.0, 0.0, 0.0]
    """
    model = merged_network(model)
    chosen = choose_layers(model, inputs, layers)
    if len(labels) != sample_count(inputs):
        raise InputError(
            f"labels: expected one per sample ({sample_count(inputs)}), got {len(labels)}"
        )
    owned = {c.name: block_parameters(model, c.regions) for c in chosen}
    owned = {k: v for k, v in owned.items() if v}
    if not owned:
        raise InputError("layers: expected at least one block with weights, got none")
    wanted = {n for names in owned.values() for n in names}
    weights = {n: p.detach() for n, p in model.named_parameters()}
    moving = {n: p for n, p in weights.items() if n in wanted}
    fixed = {n: p for n, p in weights.items() if n not in wanted}
    fixed.update({n: b.detach() for n, b in model.named_buffers()})

    def one(theta: dict[str, torch.Tensor], x: Any, y: torch.Tensor) -> torch.Tensor:
        state = {**fixed, **theta}
        if isinstance(x, torch.Tensor):
            out = functional_call(model, state, (x[None],))
        elif isinstance(x, dict):
            out = functional_call(model, state, (), {k: v[None] for k, v in x.items()})
        else:
            out = functional_call(model, state, tuple(v[None] for v in x))
        logits = first_tensor(out)
        if logits is None:
            raise InputError(f"model: expected logits, got {type(out).__name__}")
        return loss(logits, y[None])

    found: dict[str, list[Float64Array]] = {k: [] for k in owned}
    start = 0
    with evaluation_mode(model):
        each = vmap(grad(one), in_dims=(None, 0, 0))
        for part in batches(inputs, batch, device_of(model)):
            y = labels[start : start + sample_count(part)].to(device_of(model))
            start += len(y)
            plain = dict(part) if isinstance(part, Mapping) else part
            gradients = each(moving, plain, y)
            squares = {n: g.flatten(1).double().square().sum(1) for n, g in gradients.items()}
            for name, names in owned.items():
                total = torch.stack([squares[n] for n in names]).sum(0)
                found[name].append(total.sqrt().cpu().numpy())
    return {k: np.concatenate(v) for k, v in found.items()}
