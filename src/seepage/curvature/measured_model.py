"""The model under measurement: checked before use, unchanged afterwards."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from seepage.errors import InputError
from seepage.models.outputs import Simplex, check_logits, not_logits
from seepage.models.wrapped import unwrapped, without_sample_hooks

__all__ = ["MeasuredModel", "Network", "Probabilities", "network"]

# Samples on which a model is checked before it is measured on all.
TRIAL = 4
_DRIFT = 1e-3
_SMALL = (torch.float16, torch.bfloat16)


class MeasuredModel(ABC):
    """A model that gives a loss per sample."""

    @abstractmethod
    def losses(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross-entropy in nats, one per sample: (B, ...), (B,) -> (B,)."""


@dataclass(frozen=True, eq=False)
class Network(MeasuredModel):
    """A torch module in eval mode whose outputs are logits."""

    module: nn.Module
    device: torch.device
    dtype: torch.dtype
    channels_last: bool = False

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (B, K); the module gets a copy, so a module that writes into its input may."""
        layout = torch.channels_last if self.channels_last else torch.preserve_format
        out: torch.Tensor = self.module(inputs.clone(memory_format=layout))
        return out

    def faster(self, inputs: torch.Tensor) -> Network:
        """With images in channels-last layout where the module accepts it (view() may not).

        On convolutions in float32 a third cheaper; the values differ by rounding.
        """
        images = inputs.ndim == 4 and self.dtype == torch.float32
        if not images or not any(isinstance(m, nn.Conv2d) for m in self.module.modules()):
            return self
        other = replace(self, channels_last=True)
        trial = inputs[:TRIAL]
        with torch.no_grad():
            try:
                same = _close(other.logits(trial), self.logits(trial))
            except RuntimeError:
                return self
        return other if same else self

    def losses(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self.logits(inputs), labels, reduction="none")

    @contextmanager
    def exact_evaluation(self) -> Iterator[None]:
        """Parameters need no gradient, kernels are exact, no autocast; all restored after."""
        asked = [(p, p.requires_grad) for p in self.module.parameters()]
        cudnn = torch.backends.cudnn
        try:
            for p, _ in asked:
                p.requires_grad_(False)
            with (
                torch.inference_mode(False),
                torch.enable_grad(),
                without_sample_hooks(self.module),
                torch.autocast(self.device.type, enabled=False),
                # The fused attention kernels have no second derivative.
                sdpa_kernel(SDPBackend.MATH),
                cudnn.flags(
                    enabled=cudnn.enabled,
                    benchmark=cudnn.benchmark,
                    deterministic=cudnn.deterministic,
                    allow_tf32=False,
                ),
            ):
                yield
        finally:
            for p, was in asked:
                p.requires_grad_(was)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Refuses a forward pass that changes buffers or parameters, and undoes the change."""
        buffers = {name: (b, b.clone()) for name, b in self.module.named_buffers()}
        versions = {name: p._version for name, p in self.module.named_parameters()}
        try:
            yield
        finally:
            # Takes precedence over what went wrong inside: it is the likely cause.
            changed = self._undo(buffers, versions)
            if changed:
                raise InputError(
                    "model: expected a forward pass without effects, got one that changes "
                    f"{changed}; call model.eval() or take the update out of forward"
                )

    def _undo(
        self, buffers: dict[str, tuple[torch.Tensor, torch.Tensor]], versions: dict[str, int]
    ) -> str:
        """Puts the buffers back; names the first thing that had changed."""
        now = dict(self.module.named_buffers())
        changed = ""
        for name, (tensor, before) in buffers.items():
            after = now.get(name)
            if after is None or after.shape != before.shape or not _same(after, before):
                changed = changed or f"buffer {name!r}"
                with torch.no_grad():
                    tensor.copy_(before)
                owner, _, leaf = name.rpartition(".")
                setattr(self.module.get_submodule(owner), leaf, tensor)
        for name, p in self.module.named_parameters():
            if p._version != versions.get(name, p._version):
                changed = changed or f"parameter {name!r}"
        return changed

    def check(self, inputs: torch.Tensor, *, differentiable: bool) -> int:
        """Tries the model on the first samples; returns the number of classes."""
        trial = inputs[:TRIAL]
        with torch.no_grad():
            first = self._first(trial)
            check_logits(first, trial)
            if not bool(torch.isfinite(first).all()):
                raise InputError(
                    "model: expected finite logits, got NaN or infinity; "
                    "leave out the run that diverged, or mask outputs by −1e4 in place of −inf"
                )
            if not _close(self.logits(trial), first):
                raise InputError(
                    "model: expected the same logits for the same inputs, got different ones; "
                    "call model.eval() and switch off dropout or noise in forward"
                )
            probabilities = Simplex()
            probabilities.see(self.logits(inputs))
            if probabilities.found:
                raise not_logits(len(inputs))
            some = max(1, len(trial) // 2)
            if some < len(trial) and not _close(self._first(trial[:some]), first[:some]):
                raise InputError(
                    "model: expected a sample's logits not to depend on the others in its batch, "
                    "got a dependence; use normalisation with running or per-sample statistics"
                )
        if differentiable:
            leaf = trial.detach().clone().requires_grad_()
            out = self.logits(leaf)
            depends = out.requires_grad and (
                torch.autograd.grad(out.sum(), leaf, allow_unused=True)[0] is not None
            )
            if not depends:
                raise InputError(
                    "model: expected logits differentiable in the inputs, got logits without a "
                    "gradient; remove detach() and no_grad() from forward or use ZerothOrder()"
                )
        return int(first.shape[1])

    def _first(self, trial: torch.Tensor) -> torch.Tensor:
        try:
            return self.logits(trial)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise InputError(
                f"model: expected a forward pass on inputs of shape {tuple(trial.shape)}, got "
                f"{str(error).splitlines()[0]}; check the shape and that the model is in eval mode"
            ) from error

    def saved_bytes(self, inputs: torch.Tensor) -> int:
        """Bytes that one sample's graph keeps for the backward pass."""
        held: dict[int, int] = {}

        def pack(t: torch.Tensor) -> torch.Tensor:
            if not isinstance(t, nn.Parameter):
                held[t.data_ptr()] = max(held.get(t.data_ptr(), 0), t.nbytes)
            return t

        leaf = inputs[:1].detach().clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            self.logits(leaf)
        return sum(held.values()) + leaf.nbytes


@dataclass(frozen=True, eq=False)
class Probabilities(MeasuredModel):
    """A black box: a function from inputs to probabilities (B, K), and nothing else."""

    function: Callable[[Any], Any]
    numpy: bool

    def losses(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        given = inputs.clone()
        answer = self.function(given.numpy() if self.numpy else given)
        p = torch.as_tensor(answer).detach().to(device=inputs.device, dtype=inputs.dtype)
        if p.ndim != 2 or len(p) != len(inputs) or p.shape[1] < 2:
            raise InputError(
                f"probabilities: expected shape ({len(inputs)}, classes), got {tuple(p.shape)}; "
                "return one row of class probabilities per input"
            )
        if int(labels.max()) >= p.shape[1]:
            raise InputError(
                f"labels: expected values in 0..{p.shape[1] - 1} as the black box has classes, "
                f"got {int(labels.max())}"
            )
        if not bool(((p >= 0) & (p <= 1 + _DRIFT)).all()) or not _close(
            p.sum(1), torch.ones_like(p[:, 0])
        ):
            raise InputError(
                "probabilities: expected rows in [0, 1] that sum to 1, got others; "
                "apply softmax, or pass the torch module itself when it returns logits"
            )
        true = p.gather(1, labels[:, None])[:, 0]
        return -true.clamp_min(torch.finfo(p.dtype).tiny).log()


def network(model: nn.Module, dtype: torch.dtype | None) -> Network:
    """The module, checked for training mode; a copy in `dtype` where that differs from its own.

    Half precision is always left for float32: in bfloat16 the curvature is noise.
    """
    module = unwrapped(model)  # torch.compile and Opacus have no second derivative
    _refuse_training(module)
    tensors = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
    device = tensors[0].device if tensors else torch.device("cpu")
    own = tensors[0].dtype if tensors else torch.get_default_dtype()
    wanted = dtype or (torch.float32 if own in _SMALL else own)
    if any(t.dtype != wanted for t in tensors):
        module = copy.deepcopy(module).to(wanted)
        if device.type == "cpu":
            module = _faster_pools(module)
    return Network(module, device, wanted)


class _ChannelsLastPool(nn.MaxPool2d):
    """A max-pool on channels-last images, which in float64 is five times faster."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        layout = torch.channels_last if input.ndim == 4 else torch.contiguous_format
        out: torch.Tensor = super().forward(input.contiguous(memory_format=layout))
        # Laid out as before: what follows may be a view.
        return out.contiguous()


def _faster_pools(module: nn.Module) -> nn.Module:
    """A private copy whose max-pools are replaced by faster ones with the same values."""
    for _, m in list(module.named_modules()):
        for name, child in m.named_children():
            if type(child) is nn.MaxPool2d and not child.return_indices:
                pool = _ChannelsLastPool(
                    child.kernel_size,
                    child.stride,
                    child.padding,
                    child.dilation,
                    ceil_mode=child.ceil_mode,
                )
                setattr(m, name, pool.train(child.training))
    return module


def _refuse_training(module: nn.Module) -> None:
    norms = (nn.modules.batchnorm._NormBase,)
    noise = (nn.modules.dropout._DropoutNd, nn.RReLU)
    for name, m in module.named_modules():
        if m.training and isinstance(m, norms) and m.track_running_stats:
            why = "couples the samples of a batch"
        elif m.training and isinstance(m, noise):
            why = "adds noise"
        else:
            continue
        raise InputError(
            f"model: expected eval mode, got {type(m).__name__} {name!r} in training mode, "
            f"which {why}; call model.eval()"
        )


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.equal(a.nan_to_num(), b.nan_to_num()))


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    scale = float(b.abs().max()) + 1.0
    return bool((a - b).abs().max() <= _DRIFT * scale)
