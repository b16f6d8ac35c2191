"""Differentially private SGD, uniform and weighted by the measured risk of layers."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from seepage.defenses.accountant import NEEDS_OPACUS, spent
from seepage.defenses.base import Context, Defense, check_number
from seepage.defenses.per_sample import PerSample, per_sample
from seepage.defenses.regions import partition
from seepage.defenses.single_samples import require_mean_loss, require_single_samples
from seepage.errors import InputError

__all__ = ["DPSGD", "LayerDPSGD", "clipped_sum", "without_batchnorm"]


def clipped_sum(
    grads: list[torch.Tensor], max_norm: float, weights: list[float] | None = None
) -> list[torch.Tensor]:
    """Σ_i min(1, C/‖w∘g_i‖)·w∘g_i over samples: list of (B, *shape) -> list of (*shape).

    ‖·‖ runs over all tensors of one sample together; weights w, one per tensor, default to 1.
    The sum's sensitivity to one sample is C whatever the weights are.

    >>> clipped_sum([torch.tensor([[3.0, 4.0], [0.3, 0.4]])], 1.0)
    [tensor([0.9000, 1.2000])]
    """
    # At least float32: a clipping factor rounded to bfloat16 would let norms exceed C by 0.4 %.
    wide = [g.float() if g.dtype in (torch.bfloat16, torch.float16) else g for g in grads]
    scaled = wide if weights is None else [w * g for w, g in zip(weights, wide, strict=True)]
    # A norm of norms: no squares of all samples' gradients in memory.
    each = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in scaled])
    norm = torch.linalg.vector_norm(each, dim=0)
    factor = torch.where(norm > max_norm, max_norm / norm, torch.ones_like(norm))
    return [torch.einsum("b,b...->...", factor.to(g.dtype), g) for g in scaled]


def without_batchnorm(model: nn.Module) -> nn.Module:
    """A copy of an untrained model that DP-SGD takes: Opacus' own repairs, and nothing in place.

    GroupNorm stands in place of BatchNorm, InstanceNorm keeps no running statistics, LSTM, GRU and
    multi-head attention become those of Opacus, and activations no longer write in place, which
    hooks on layers do not bear. Layers without parameters, or with frozen ones, are repaired too,
    which Opacus passes over. What a forward pass itself does is not touched.
    """
    try:
        from opacus.validators import ModuleValidator
    except ImportError:
        raise InputError(NEEDS_OPACUS) from None
    fixed = copy.deepcopy(model)
    for key, module in list(fixed.named_modules()):
        if type(module) in ModuleValidator.FIXERS:
            fixed = _replaced(fixed, key, ModuleValidator.FIXERS[type(module)](module))
    for module in fixed.modules():
        if isinstance(module, nn.modules.instancenorm._InstanceNorm):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return fixed


def _replaced(root: nn.Module, key: str, new: nn.Module) -> nn.Module:
    """`root` with `new`, as trainable and where it was, in place of the module of that name."""
    old = root.get_submodule(key)
    held = list(old.parameters())
    if held:
        new.to(held[0].device)
        if not any(p.requires_grad for p in held):
            new.requires_grad_(False)
    if not key:
        return new
    # A module may stand in several places.
    for parent in list(root.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new
    return root


@dataclass(eq=False)
class _Tracking:
    """What a stage of DP-SGD holds: gradients of samples, factors by parameter, steps so far.

    unknown: why the network could not be tried, or None. Of a run that was interrupted only the
    steps are kept: `start` makes the rest again.
    """

    way: PerSample
    weights: list[float] | None
    unknown: str | None
    steps: int = 0

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, saved: Mapping[str, int]) -> None:
        self.steps = saved["steps"]


@dataclass(frozen=True)
class DPSGD(Defense):
    """Clips each sample's gradient to C, adds N(0, σ²C²) to the sum, divides by the batch size.

    noise σ ≥ 0; max_norm C; delta: of the accountant; poisson: ask the loop for Poisson batches,
    which the accountant assumes. With `poisson=False` batches are shuffled and the reported ε is
    that of Poisson sampling at the same rate, an approximation. `context.facts` gets "epsilon" and
    "epsilon_rdp" (see `epsilon`), "delta", "epsilon_holds", which is true only where every
    condition was checked, and "epsilon_why_not". Opacus does the accounting, and per-sample
    gradients where its rules agree with autograd on this network; else `OneByOne` takes them.

    σ = 0 and C = ∞ is SGD: then the batch gradient is kept bit for bit. With one of them alone,
    ε is infinite (σ = 0) or undefined (C = ∞, refused). Fails: networks in which the output of a
    sample depends on others or buffers hold data are refused after trying (`without_batchnorm`
    repairs normalisation), losses that are no mean of one term per sample too; only training is
    covered: hyper-parameter search on the same data and the statistics that scale inputs are not.
    Of texts a sample is a row of the pool, whose loss is the mean over its own tokens, so that every
    document counts alike: of subjects with several rows ε is a document's, not theirs.
    Source: Abadi et al., CCS 2016, arXiv 1607.00133.
    """

    name: ClassVar[str] = "dp-sgd"
    title: ClassVar[str] = "DP-SGD"
    source: ClassVar[str] = "arXiv 1607.00133"
    traits: ClassVar[frozenset[str]] = frozenset({"clips"})
    of_texts: ClassVar[bool] = True

    noise: float = 1.0
    max_norm: float = 1.0
    delta: float = 1e-5
    poisson: bool = True

    def validate(self) -> None:
        check_number("noise", self.noise, 0)
        check_number("max_norm", self.max_norm, 0, open_low=True)
        check_number("delta", self.delta, 0, 1, open_low=True)
        if math.isinf(self.max_norm) and self.noise > 0:
            raise InputError(
                "max_norm: expected a finite norm with noise > 0, got inf; "
                "noise is a multiple of the clipping norm"
            )

    @property
    def is_sgd(self) -> bool:
        """Whether neither clipping nor noise acts."""
        return self.noise == 0 and math.isinf(self.max_norm)

    def compatible(self, context: Context) -> None:
        if self.is_sgd:
            return
        require_single_samples(self.name, context)
        if any(getattr(type(self), h) is not getattr(DPSGD, h) for h in ("targets", "mix", "loss")):
            require_mean_loss(self, self.name, context)

    def weights(self, context: Context, names: list[str]) -> list[float] | None:
        """Factor of each named parameter's gradient before clipping; None for 1 throughout."""
        return None

    def start(self, context: Context) -> Any:
        if self.is_sgd:
            return None
        names = [name for name, p in context.parameters() if p.requires_grad]
        unknown = require_single_samples(self.name, context)
        return _Tracking(per_sample(context), self.weights(context, names), unknown)

    def mix(
        self, inputs: torch.Tensor, targets: torch.Tensor, context: Context
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # The last hook before the forward pass whose per-sample gradients are wanted.
        if context.state is None:
            return inputs, targets
        context.state.way.on()
        if inputs.is_floating_point():
            # Backward hooks of the first layer warn when its input needs no gradient.
            inputs = inputs.detach().requires_grad_()
        return inputs, targets

    def gradients(self, context: Context) -> None:
        if context.state is None:
            return
        context.state.way.off()
        context.state.steps += 1
        params = [p for _, p in context.parameters() if p.requires_grad]
        seen = context.state.way.take(params)
        with torch.no_grad():
            sums = clipped_sum(_padded(seen, params), self.max_norm, context.state.weights)
            for p, total in zip(params, sums, strict=True):
                draw = torch.randn(p.shape, generator=context.generator).to(p.device)
                p.grad = ((total + self.noise * self.max_norm * draw) / context.batch_size).to(
                    p.dtype
                )

    def finish(self, context: Context) -> None:
        if context.state is None:
            return
        context.state.way.remove()
        rate = min(1.0, context.batch_size / len(context.members))
        found = spent(self.noise, rate, context.state.steps, self.delta)
        why_not = self._why_not(context, found.epsilon)
        facts = {
            "epsilon": found.epsilon if math.isfinite(found.epsilon) else None,
            "epsilon_rdp": found.rdp if math.isfinite(found.rdp) else None,
            "accountant": found.accountant,
            "delta": self.delta,
            "noise": self.noise,
            "sampling_rate": rate,
            "steps": context.state.steps,
            "per_sample_gradients": context.state.way.name,
            "epsilon_assumes": "Poisson batches",
            "epsilon_holds": not why_not,
            "epsilon_why_not": "; ".join(why_not) or None,
        }
        context.facts.update(facts)

    def _why_not(self, context: Context, epsilon: float) -> list[str]:
        """Reasons for which ε is no guarantee of this stage."""
        reasons = (
            (not context.poisson, "batches are shuffled, not Poisson draws"),
            (context.trainable is not None, "only some regions are trained privately"),
            (self.noise == 0, "no noise is added"),
            (self.noise > 0 and math.isinf(epsilon), "no accountant gives a finite bound"),
            ("epsilon" in context.facts, "an earlier stage was private as well, and spent its own"),
            (context.state.unknown is not None, context.state.unknown),
        )
        return [text for holds, text in reasons if holds]


def _padded(seen: list[torch.Tensor | None], params: list[nn.Parameter]) -> list[torch.Tensor]:
    """Zeros for parameters that the loss did not reach."""
    batch = next((len(g) for g in seen if g is not None), 0)
    return [
        torch.zeros(batch, *p.shape, device=p.device) if g is None else g
        for g, p in zip(seen, params, strict=True)
    ]


@dataclass(frozen=True)
class LayerDPSGD(DPSGD):
    """DP-SGD in which regions of higher measured risk contribute less signal under the same noise.

    risk: region -> attack accuracy or AUC measured on a *public or shadow* model, in [0.5, 1);
    regions as `Network.blocks` or parameter-name patterns, regions not named count as 0.5. A
    region's gradient is multiplied by its attack error 1 − risk, divided by the largest error,
    before the global clip; noise is uniform. The guarantee is DP-SGD's own, since clipping comes
    after weighting. Measuring risk on the private data itself would void ε.
    A reconstruction from the abstract of Meng et al., arXiv 2602.22611 (LM-DP-SGD): it says that
    attack error rates of layers reweight their contribution to the globally clipped gradient at
    fixed noise; that the weight is proportional to the error, and its scale, is our choice.
    """

    name: ClassVar[str] = "layer-dp-sgd"
    title: ClassVar[str] = "Layer-wise DP-SGD"
    source: ClassVar[str] = "arXiv 2602.22611"
    reconstruction: ClassVar[bool] = True
    of_texts: ClassVar[bool] = False

    risk: Mapping[str, float] = field(default_factory=dict)

    def validate(self) -> None:
        super().validate()
        if not self.risk:
            raise InputError(
                "risk: layer-dp-sgd needs the measured attack accuracy of regions, got none; "
                "measure with seepage.layers on a shadow model, or use dp-sgd"
            )
        for key, value in self.risk.items():
            check_number(f"risk[{key}]", value, 0.5, 1)
            if value == 1:
                raise InputError(
                    f"risk[{key}]: expected less than 1, got 1; "
                    "the region would be trained on noise alone"
                )

    def weights(self, context: Context, names: list[str]) -> list[float]:
        regions = partition(context.model, tuple(self.risk))
        error = {name: 1 - self.risk.get(key, 0.5) for key, ns in regions.items() for name in ns}
        most = max(error.values())
        return [error[name] / most for name in names]
