"""Jacobians of the layers of a model: exact for small ones, sketched for large ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from seepage.errors import InputError
from seepage.layers.jacobian import moments, rank_at, restricted, singular_values
from seepage.layers.watch import Inputs, Layer, Watch, as_found, call, take

__all__ = ["Jacobian", "JacobianResult", "measure_jacobians"]

FloatArray = NDArray[np.float64]
Function = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]

# Values of tangents held at once by one vectorised pass, and of Jacobians held at once.
_HELD = 2**25


@dataclass(frozen=True)
class Jacobian:
    """Which Jacobian indicators are measured, and how closely.

    images: the first so many samples of the probe set; figures are means over them. probes: random
    directions k of the sketch (at least 8). exact: layers whose output or input has at most so
    many values get their whole Jacobian. power: iterations for the spectral norm of a sketched
    layer. double: compute exact Jacobians in float64 whatever the model's type.
    """

    images: int = 8
    probes: int = 64
    exact: int = 256
    power: int = 8
    double: bool = True

    def __post_init__(self) -> None:
        least = {"images": 1, "probes": 8, "exact": 0, "power": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InputError(f"{name}: expected at least {low}, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class JacobianResult:
    """One layer's indicators at m samples, each (m,), and its singular values (m, r).

    `sketched`: singular values are lower bounds on the span of the probes, and the two ranks are
    *at least* what they say. `spectral_gap` is the last relative change of the power iteration;
    the spectral norm itself is approached from below.
    """

    singular: FloatArray
    rank_float: NDArray[np.int64]
    rank_1e2: NDArray[np.int64]
    participation: FloatArray
    participation_error: FloatArray
    frobenius2: FloatArray
    spectral_norm: FloatArray
    spectral_gap: FloatArray
    sketched: bool

    @property
    def stable_rank(self) -> FloatArray:
        """‖J‖_F² / σ_1², at least 1 as it must be; 0 where the derivative is zero."""
        top = self.spectral_norm**2
        out = np.zeros_like(top)
        # An estimate of ‖J‖_F² from few probes may come out below σ_1², which it never is.
        np.divide(np.maximum(self.frobenius2, top), top, out=out, where=top > 0)
        return out


@contextmanager
def _differentiable() -> Iterator[None]:
    """Attention by its plain formula: the fused kernels have no forward-mode derivative."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            # The first forward-mode derivative of a process makes torch load rules of its own by a
            # function that it deprecates itself.
            warnings.simplefilter("ignore", DeprecationWarning)
            jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Point:
    """Layers as functions of one sample's input, or of its embedding where inputs are tokens."""

    def __init__(self, model: nn.Module, sample: Inputs, double: bool) -> None:
        self.model = model
        self.sample = sample
        self.state: dict[str, torch.Tensor] | None = None
        first = sample if isinstance(sample, torch.Tensor) else _leading(sample)
        self.embedding: nn.Module | None = None
        if first.dtype.is_floating_point:
            self.x = first
        else:
            self.embedding, self.x = _embedded(model, sample)
        if double and self.x.dtype != torch.float64:
            self.x = self.x.double()
            tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
            self.state = {
                k: v.detach().double() if v.dtype.is_floating_point else v
                for k, v in tensors.items()
            }

    def layers(self, watch: Watch) -> Function:
        def outputs(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found: list[torch.Tensor] = [x] * len(watch.layers)

            def keep(i: int, out: torch.Tensor) -> None:
                # A copy: a later in-place activation would write into what was kept.
                found[i] = out.reshape(-1).clone()

            watch.run(self._inputs(x), keep, self._forward(x))
            return tuple(found)

        return outputs

    def _inputs(self, x: torch.Tensor) -> Inputs:
        sample = self.sample
        if self.embedding is not None:
            return sample
        if isinstance(sample, torch.Tensor):
            return x
        if isinstance(sample, Mapping):
            key = next(iter(sample))
            return {k: x if k == key else self._cast(v) for k, v in sample.items()}
        return [x, *(self._cast(v) for v in sample[1:])]

    def _cast(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.x.dtype) if value.dtype.is_floating_point else value

    def _forward(self, x: torch.Tensor) -> Callable[[Inputs], Any]:
        def forward(inputs: Inputs) -> Any:
            if self.state is None:
                return call(self.model, inputs)
            if isinstance(inputs, torch.Tensor):
                return functional_call(self.model, self.state, (inputs,))
            if isinstance(inputs, Mapping):
                return functional_call(self.model, self.state, (), dict(inputs))
            return functional_call(self.model, self.state, tuple(inputs))

        if self.embedding is None:
            return forward
        embedding = self.embedding

        def with_embedding(inputs: Inputs) -> Any:
            handle = embedding.register_forward_hook(lambda *_: x, prepend=True)
            try:
                return forward(inputs)
            finally:
                handle.remove()

        return with_embedding


def _leading(sample: Mapping[str, torch.Tensor] | Sequence[torch.Tensor]) -> torch.Tensor:
    return next(iter(sample.values())) if isinstance(sample, Mapping) else sample[0]


def _embedded(model: nn.Module, sample: Inputs) -> tuple[nn.Module, torch.Tensor]:
    """The token embedding (the model's own answer, else the first one called) and its output."""
    ask = getattr(model, "get_input_embeddings", None)
    named = ask() if callable(ask) else None
    found: list[tuple[nn.Module, torch.Tensor]] = []

    def note(module: nn.Module, _args: Any, output: torch.Tensor) -> None:
        found.append((module, output.detach()))

    kinds: list[nn.Module] = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    if isinstance(named, nn.Module):
        kinds = [named]
    handles = [m.register_forward_hook(note) for m in kinds]
    try:
        call(model, sample)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise InputError(
            "inputs: expected floating-point inputs or a model with a token embedding, got "
            "integers and no nn.Embedding; a derivative needs something continuous"
        )
    return found[0]


def _jvp(f: Function, x: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    pushed: tuple[torch.Tensor, ...] = jvp(f, (x,), (v,))[1]
    return pushed


def _pushed(
    f: Function, x: torch.Tensor, directions: torch.Tensor, widest: int
) -> tuple[torch.Tensor, ...]:
    """J_l v for every layer l and direction: directions (k, *x) -> one (k, d_l) per layer."""
    chunk = max(min(len(directions), _HELD // max(widest, 1)), 1)

    def push(v: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _jvp(f, x, v)

    try:
        return vmap(push, chunk_size=chunk)(directions)
    except RuntimeError as error:
        if "vmap" not in str(error) and "batch" not in str(error).lower():
            raise
        # Operations without a batching rule, or a path that depends on values: one at a time.
        rows = [push(v) for v in directions]
        return tuple(torch.stack([r[i] for r in rows]) for i in range(len(rows[0])))


def _pulled(f: Function, x: torch.Tensor, d: int) -> torch.Tensor:
    """The whole Jacobian (d, d0) of the only layer of f, row by row."""
    pull = vjp(lambda v: f(v)[0], x)[1]
    eye = torch.eye(d, dtype=x.dtype, device=x.device)
    rows = vmap(lambda u: pull(u)[0].reshape(-1), chunk_size=max(_HELD // max(x.numel(), d), 1))
    jacobian: torch.Tensor = rows(eye)
    return jacobian


def _norm(
    f: Function, x: torch.Tensor, start: torch.Tensor, iterations: int
) -> tuple[float, float]:
    """σ_1 from below by power iteration on JᵀJ, and the last relative change."""
    top, change = 0.0, 1.0

    pull = vjp(lambda v: f(v)[0], x)[1]
    v = start
    for _ in range(iterations):
        length = float(v.double().norm())
        if length == 0:
            return 0.0, 0.0
        v = v / length
        pushed = _jvp(f, x, v)[0]
        now = float(pushed.double().norm())
        change = abs(now - top) / now if now > 0 else 0.0
        top = max(now, top)
        if change < 1e-5:
            break
        v = pull(pushed)[0]
    return top, change


@dataclass
class _Rows:
    """One layer's figures, gathered sample by sample."""

    singular: list[FloatArray]
    columns: dict[str, list[float]]

    def add(self, singular: FloatArray, **values: float) -> None:
        self.singular.append(singular)
        for name, value in values.items():
            self.columns.setdefault(name, []).append(value)

    def result(self, sketched: bool) -> JacobianResult:
        c = {k: np.array(v) for k, v in self.columns.items()}
        return JacobianResult(
            singular=np.stack(self.singular),
            rank_float=c["rank_float"].astype(np.int64),
            rank_1e2=c["rank_1e2"].astype(np.int64),
            participation=c["participation"],
            participation_error=c["participation_error"],
            frobenius2=c["frobenius2"],
            spectral_norm=c["spectral_norm"],
            spectral_gap=c["spectral_gap"],
            sketched=sketched,
        )


def _exact_row(jacobian: torch.Tensor, eps: float) -> tuple[FloatArray, dict[str, float]]:
    values = singular_values(jacobian.double().cpu().numpy())
    squares = values * values
    total = float(squares.sum())
    fourth = float((squares * squares).sum())
    return values, {
        "rank_float": rank_at(values, max(jacobian.shape) * eps),
        "rank_1e2": rank_at(values, 1e-2),
        "participation": total * total / fourth if fourth > 0 else 0.0,
        "participation_error": 0.0,
        "frobenius2": total,
        "spectral_norm": float(values.max(initial=0.0)),
        "spectral_gap": 0.0,
    }


def measure_jacobians(
    model: nn.Module,
    inputs: Inputs,
    layers: Sequence[Layer],
    widths: Sequence[int],
    options: Jacobian,
    generator: torch.Generator,
) -> tuple[JacobianResult, ...]:
    """Jacobian indicators of every layer at the first samples of `inputs`.

    One forward-mode derivative in a random direction yields that derivative of *all* layers, so
    the sketch of a whole network costs `probes` passes. Layers with few outputs are done exactly in
    reverse mode; with few inputs, all are, in forward mode.
    """
    rows = [_Rows([], {}) for _ in layers]
    sketched = [False] * len(layers)
    with as_found(model), _differentiable():
        for i in range(options.images):
            sample = take(inputs, slice(i, i + 1))
            try:
                _one_sample(model, sample, layers, widths, options, generator, rows, sketched)
            except NotImplementedError as error:
                what = str(error).partition("\n")[0].removesuffix(".")
                raise InputError(
                    "Jacobian: expected layers that torch can differentiate in forward mode, got "
                    f"{type(model).__name__}: {what}; leave Jacobian() out of the indicators"
                ) from error
    return tuple(r.result(s) for r, s in zip(rows, sketched, strict=True))


def _one_sample(
    model: nn.Module,
    sample: Inputs,
    layers: Sequence[Layer],
    widths: Sequence[int],
    options: Jacobian,
    generator: torch.Generator,
    rows: list[_Rows],
    sketched: list[bool],
) -> None:
    point = _Point(model, sample, double=False)
    d0 = point.x.numel()
    # As many probes as inputs would be the whole Jacobian anyway.
    few_inputs = d0 <= max(options.exact, options.probes)
    narrow = [i for i, d in enumerate(widths) if not few_inputs and d <= options.exact]
    wide = [i for i in range(len(layers)) if not few_inputs and i not in narrow]
    if few_inputs or narrow:
        exact = _Point(model, sample, options.double)
        eps = torch.finfo(exact.x.dtype).eps
    if few_inputs:
        eye = torch.eye(d0, dtype=exact.x.dtype, device=exact.x.device).reshape(d0, *exact.x.shape)
        for group in _groups(widths, d0):
            with Watch(model, [layers[i] for i in group]) as watch:
                pushed = _pushed(exact.layers(watch), exact.x, eye, sum(widths[i] for i in group))
            for i, columns in zip(group, pushed, strict=True):
                values, row = _exact_row(columns.T, eps)
                rows[i].add(values, **row)
    for i in narrow:
        with Watch(model, [layers[i]]) as watch:
            values, row = _exact_row(_pulled(exact.layers(watch), exact.x, widths[i]), eps)
        rows[i].add(values, **row)
    if wide:
        _sketch(model, point, layers, widths, wide, options, generator, rows)
        for i in wide:
            sketched[i] = True


def _groups(widths: Sequence[int], d0: int) -> Iterator[list[int]]:
    """Neighbouring layers whose exact Jacobians fit into memory together."""
    group: list[int] = []
    held = 0
    for i, d in enumerate(widths):
        if group and held + d * d0 > _HELD:
            yield group
            group, held = [], 0
        group.append(i)
        held += d * d0
    yield group


def _sketch(
    model: nn.Module,
    point: _Point,
    layers: Sequence[Layer],
    widths: Sequence[int],
    wide: Sequence[int],
    options: Jacobian,
    generator: torch.Generator,
    rows: list[_Rows],
) -> None:
    x = point.x
    d0, k = x.numel(), options.probes
    # Drawn on the generator's device and moved: the same probes wherever the model lives.
    omega = torch.randn(k, d0, generator=generator, device=generator.device).to(x)
    with Watch(model, [layers[i] for i in wide]) as watch:
        widest = sum(widths[i] for i in wide)
        pushed = _pushed(point.layers(watch), x, omega.reshape(k, *x.shape), widest)
    grams = []
    for y in pushed:
        exact = y.double()
        grams.append((exact @ exact.T).cpu().numpy())
    directions = omega.T.double().cpu().numpy()
    eps = torch.finfo(x.dtype).eps
    for i, gram in zip(wide, grams, strict=True):
        values, best = restricted(gram, directions)
        m = moments(gram)
        # The best direction among the probes is a good start for the power iteration.
        top = torch.from_numpy(best).to(x).reshape(x.shape)
        with Watch(model, [layers[i]]) as watch:
            norm, gap = _norm(point.layers(watch), x, top, options.power)
        norm = max(norm, float(values.max(initial=0.0)))
        rows[i].add(
            values,
            rank_float=rank_at(values, min(max(widths[i], d0) * eps, 0.5), norm),
            rank_1e2=rank_at(values, 1e-2, norm),
            participation=m.participation,
            participation_error=m.participation_error,
            frobenius2=m.frobenius2,
            spectral_norm=norm,
            spectral_gap=gap,
        )
