"""Gradients of single samples: by Opacus' rules for layers, or by one forward pass a sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from seepage.defenses.accountant import NEEDS_OPACUS
from seepage.defenses.base import Context
from seepage.defenses.single_samples import (
    Trial,
    frozen_names,
    seeded,
    still_buffers,
    tolerance,
    undisturbed,
)
from seepage.errors import InputError

__all__ = ["OneByOne", "OpacusRules", "PerSample", "per_sample"]


class PerSample(Protocol):
    """Attached to a network: between `on` and `off` it takes the gradient of each sample."""

    name: ClassVar[str]

    def on(self) -> None:
        """The next forward pass is the one whose gradients are wanted."""

    def off(self) -> None:
        """Later forward passes are not."""

    def take(self, params: Sequence[nn.Parameter]) -> list[torch.Tensor | None]:
        """Per-sample gradients (B, *shape) since `on`, of a mean loss, times B; then forgotten."""

    def remove(self) -> None:
        """Leave the network as it was."""


class OpacusRules:
    """Opacus' hooks: one forward and backward pass a batch, a rule for each kind of layer."""

    name: ClassVar[str] = "by layer (Opacus)"

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        kind = _grad_sample_module()
        self.model = model
        with _only_tracked(model, names):
            self.tracker: Any = kind(model, loss_reduction="mean", strict=False)
        self.tracker.disable_hooks()
        held = {n.rpartition(".")[0] for n in names}
        # Backward hooks of a layer warn when its input needs no gradient: pixels, embeddings that
        # stay as they are.
        self.handles = [
            m.register_forward_pre_hook(_with_slope)
            for key, m in model.named_modules()
            if key in held
        ]

    def on(self) -> None:
        self.tracker.enable_hooks()

    def off(self) -> None:
        self.tracker.disable_hooks()

    def take(self, params: Sequence[nn.Parameter]) -> list[torch.Tensor | None]:
        return [_take(p) for p in params]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.tracker.remove_hooks()
        _clean(self.model)


def _with_slope(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """A layer's inputs, the first of them with a gradient while there are any."""
    x = given[0] if given else None
    if not (isinstance(x, torch.Tensor) and x.is_floating_point() and torch.is_grad_enabled()):
        return given
    return given if x.requires_grad else (x.detach().requires_grad_(), *given[1:])


def _grad_sample_module() -> type[Any]:
    """Opacus' module, whose rule for convolutions reads memory as if it lay channels first."""
    try:
        from opacus.grad_sample import GradSampleModule
    except ImportError:
        raise InputError(NEEDS_OPACUS) from None

    class InOrder(GradSampleModule):  # type: ignore[misc]
        def capture_activations_hook(self, module: nn.Module, given: Any, told: Any) -> None:
            ordered = [t.contiguous() if isinstance(t, torch.Tensor) else t for t in given]
            super().capture_activations_hook(module, ordered, told)

    return InOrder


def _clean(model: nn.Module) -> None:
    """Removes what Opacus keeps on modules and parameters, also after it failed half-way."""
    left = ("activations", "max_batch_len", "ft_compute_sample_grad", "autograd_grad_sample_hooks")
    for module in model.modules():
        for handle in module.__dict__.get("autograd_grad_sample_hooks", ()):
            handle.remove()
        for attribute in left:
            module.__dict__.pop(attribute, None)
    for p in model.parameters():
        for attribute in ("grad_sample", "_forward_counter", "_current_grad_sample"):
            p.__dict__.pop(attribute, None)


@contextmanager
def _only_tracked(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Hides from Opacus the modules none of whose parameters are in `names`.

    It would spend time on them, and fail on frozen normalisation in evaluation mode.
    """
    modules = {n.rpartition(".")[0] for n in names}
    hidden = [
        p
        for n, p in model.named_parameters()
        if p.requires_grad and n.rpartition(".")[0] not in modules
    ]
    for p in hidden:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in hidden:
            p.requires_grad_(True)


def _take(p: nn.Parameter) -> torch.Tensor | None:
    """Per-sample gradients (B, *shape) of one parameter; removed from it."""
    found = p.__dict__.get("grad_sample")
    if found is not None:
        p.grad_sample = None  # type: ignore[attr-defined]
    if isinstance(found, list):
        # One entry per forward pass of the step; a sample's gradient is their sum.
        found = torch.stack(found).sum(0)
    taken: torch.Tensor | None = found
    return taken


class OneByOne:
    """A forward pass and a backward pass for each sample: exact for every network, and slow.

    For what Opacus has no rule for: LSTM, spectral normalisation, operations in place, embeddings of
    positions, attention with dropout. While it is on, the network's forward pass takes the samples
    of a batch in turn, each from the same buffers; when the loss has told the slope of the outputs,
    each sample's own graph is followed back for its gradients. The gradient of the batch is as ever.
    """

    name: ClassVar[str] = "one sample at a time"

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        chosen = set(names)
        self.model = model
        self.params = [p for n, p in model.named_parameters() if n in chosen]
        self.active = False
        self.found: list[list[torch.Tensor | None]] = []
        self._plain: Callable[..., Any] = model.forward
        self._own = model.__dict__.get("forward")
        linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
        self._head = linear[-1] if linear else None
        self._usual = set(self._head._forward_pre_hooks) if self._head is not None else set()
        model.forward = self._forward

    def on(self) -> None:
        self.active, self.found = True, []

    def off(self) -> None:
        self.active = False

    def take(self, params: Sequence[nn.Parameter]) -> list[torch.Tensor | None]:
        found, self.found = self.found, []
        at = {id(p): k for k, p in enumerate(self.params)}
        out: list[torch.Tensor | None] = []
        for p in params:
            each = [row[at[id(p)]] for row in found]
            if all(g is None for g in each):
                out.append(None)
            else:
                out.append(torch.stack([torch.zeros_like(p) if g is None else g for g in each]))
        return out

    def remove(self) -> None:
        self.active = False
        if self._own is None:
            self.model.__dict__.pop("forward", None)
        else:
            self.model.forward = self._own

    def _forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not (self.active and torch.is_grad_enabled()):
            plain: torch.Tensor = self._plain(inputs)
            return plain
        with self._features() as (late, seen):
            parts, moved = [], {}
            for i in range(len(inputs)):
                # Every sample meets the same buffers, which move as in one pass over a batch.
                with still_buffers(self.model):
                    parts.append(self._plain(inputs[i : i + 1]))
                    if i == 0:
                        moved = {k: b.detach().clone() for k, b in self.model.named_buffers()}
        with torch.no_grad():
            for key, buffer in self.model.named_buffers():
                buffer.copy_(moved[key])
        if late:
            assert self._head is not None
            features = self._joined(seen)
            for hook in late:
                hook(self._head, (features,))
        return self._joined(parts)

    @contextmanager
    def _features(self) -> Iterator[tuple[list[Callable[..., Any]], list[torch.Tensor]]]:
        """The hooks by which the loop reads what enters the head, and that, sample by sample."""
        seen: list[torch.Tensor] = []
        head = self._head
        hooks = {} if head is None else head._forward_pre_hooks
        late = {k: hook for k, hook in hooks.items() if k not in self._usual}
        if head is None or not late:
            yield [], seen
            return
        for key in late:
            del hooks[key]
        handle = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            yield list(late.values()), seen
        finally:
            handle.remove()
            hooks.update(late)

    def _joined(self, parts: list[torch.Tensor]) -> torch.Tensor:
        joined = torch.cat(parts)
        if joined.requires_grad:
            joined.register_hook(lambda slope: self._collect(parts, slope))  # type: ignore[no-untyped-call]
        return joined

    def _collect(self, parts: list[torch.Tensor], slope: torch.Tensor) -> None:
        """Adds each sample's gradients; a loss of outputs and features calls it for both."""
        if not self.active:
            return
        if not self.found:
            self.found = [[None] * len(self.params) for _ in parts]
        for i, (part, held) in enumerate(zip(parts, self.found, strict=True)):
            slopes = torch.autograd.grad(
                part,
                self.params,
                len(parts) * slope[i : i + 1],
                retain_graph=True,
                allow_unused=True,
            )
            for k, g in enumerate(slopes):
                kept = held[k]
                if g is not None:
                    held[k] = g if kept is None else kept + g


def per_sample(context: Context) -> PerSample:
    """The quickest way whose gradients are those of single samples on this network.

    Opacus' rules where they give, on a batch of noise, what autograd gives for each sample's output
    alone (arguments of one batch, so dropout draws the same); else one sample at a time.
    """
    model = context.model
    chosen = [(n, p) for n, p in context.parameters() if p.requires_grad]
    names = [n for n, _ in chosen]
    params = [p for _, p in chosen]
    with context.uncounted(), undisturbed(model, frozen_names(context)):
        try:
            trial = Trial.of(context)
            inputs = trial.batch(0)
            with trial.weights(model):
                expected = _by_autograd(model, inputs, params)
        except Exception:
            # It cannot be tried; `require_single_samples` says so.
            return OpacusRules(model, names)
        found: PerSample | None = None
        try:
            found = OpacusRules(model, names)
            with trial.weights(model):
                if _agrees(found, model, inputs, params, expected):
                    return found
        except InputError:
            raise
        except Exception:
            pass
        if found is not None:
            found.remove()
        _clean(model)
    return OneByOne(model, names)


def _weighted(output: torch.Tensor) -> torch.Tensor:
    """One number for each sample that every output moves: (B, ...) -> (B,)."""
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
    return (output.float() * weights.to(output.device)).flatten(1).sum(1)


def _by_autograd(
    model: nn.Module, inputs: torch.Tensor, params: Sequence[nn.Parameter]
) -> list[torch.Tensor]:
    """Gradients (B, *shape) of every sample's own term of one batch."""
    with seeded(model), still_buffers(model):
        terms = _weighted(model(inputs))
        rows = [
            torch.autograd.grad(t, list(params), retain_graph=True, allow_unused=True)
            for t in terms
        ]
    return [
        torch.stack([torch.zeros_like(p) if r[k] is None else r[k] for r in rows])
        for k, p in enumerate(params)
    ]


def _agrees(
    way: PerSample,
    model: nn.Module,
    inputs: torch.Tensor,
    params: Sequence[nn.Parameter],
    expected: Sequence[torch.Tensor],
) -> bool:
    with seeded(model), still_buffers(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        way.on()
        x = inputs.detach().requires_grad_() if inputs.is_floating_point() else inputs
        torch.autograd.backward(_weighted(model(x)).mean())
        way.off()
    largest = max((float(e.abs().max()) for e in expected if e.numel()), default=0.0)
    for e, found, p in zip(expected, way.take(params), params, strict=True):
        got = torch.zeros_like(e) if found is None else found
        if got.shape != e.shape:
            return False
        far = float((got - e).abs().max()) if e.numel() else 0.0
        own = float(e.abs().max()) if e.numel() else 0.0
        if not far <= tolerance(p, rounds=True) * own + 1e-5 * largest:
            return False
    return True
