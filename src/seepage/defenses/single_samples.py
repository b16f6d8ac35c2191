"""Whether a network and a loss treat every sample of a batch alone, found out by trying.

Everything that DP-SGD promises rests on it: a sample's gradient is clipped, and what the other
samples of its batch contribute must not hang on it.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.defenses.base import Context, Defense
from seepage.defenses.networks import Samples, head_of
from seepage.defenses.regions import freeze_statistics
from seepage.errors import InputError

__all__ = [
    "Trial",
    "frozen_names",
    "require_mean_loss",
    "require_single_samples",
    "run",
    "seeded",
    "still_buffers",
    "tolerance",
    "undisturbed",
]

ROWS = 3
"""Samples of a probe's batch."""
FAR = 50.0
"""How far the samples that stand in for others lie outside the usual range."""


def tolerance(like: torch.Tensor, *, rounds: bool = False) -> float:
    """Largest relative difference that rounding explains; `rounds`: between kernels of other sizes."""
    if like.dtype in (torch.bfloat16, torch.float16):
        return 5e-2
    if like.device.type != "cpu":
        return 2e-2 if rounds else 1e-3
    return 1e-3 if rounds else 1e-4


@contextmanager
def seeded(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Random streams (torch's, numpy's and Python's) start from a seed and go back afterwards."""
    used = {p.device for p in model.parameters() if p.device.type == "cuda"}
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's network may draw there
    with torch.random.fork_rng(devices=list(used)):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])  # noqa: NPY002


@contextmanager
def still_buffers(model: nn.Module) -> Iterator[None]:
    """Within it the network has copies of its buffers; the originals come back untouched."""
    kept = [(m, dict(m._buffers)) for m in model.modules() if m._buffers]
    for m, buffers in kept:
        for key, value in buffers.items():
            m._buffers[key] = None if value is None else value.clone()
    try:
        yield
    finally:
        for m, buffers in kept:
            m._buffers.clear()
            m._buffers.update(buffers)


@contextmanager
def undisturbed(model: nn.Module, outside: frozenset[str]) -> Iterator[None]:
    """The network as a training step has it; its modes and gradients are put back afterwards.

    outside: parameters that stay frozen, whose normalisation a regional defence keeps in evaluation
    mode.
    """
    modes = {m: m.training for m in model.modules()}
    slopes = [(p, p.grad) for p in model.parameters()]
    for p, _ in slopes:
        p.grad = None
    model.train()
    handles = freeze_statistics(model, outside)
    try:
        with torch.enable_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()
        for m, mode in modes.items():
            m.training = mode
        for p, grad in slopes:
            p.grad = grad


@dataclass(frozen=True)
class Trial:
    """What a network is tried with: batches of the members' shape and type, and other weights.

    Standard normal floats, or integers uniform over the range of the first members: noise, so that
    no sample decides anything. real: rows of the members instead, for networks that noise does not
    fit, as where floats are positions in a vocabulary. stirred: noise is added to the weights, since
    a last layer or a branch that starts at zero would hide what lies before it.
    """

    members: Samples
    real: bool = False
    stirred: bool = True
    rows: int = ROWS

    @classmethod
    def of(cls, context: Context) -> Trial:
        """The first way in which the network gives finite numbers; raises what it raises at last."""
        model = context.model
        # Noise is no text: the numbers of tokens are those that the vocabulary has.
        noise = () if context.task.name == "language" else (False,)
        for stirred, real in itertools.product((True, False), (*noise, True)):
            trial = cls(context.members, real, stirred)
            try:
                with trial.weights(model):
                    output = run(model, trial.batch(0))
                if not isinstance(output, torch.Tensor) or bool(output.isfinite().all()):
                    return trial
            except Exception:
                if real and not stirred:
                    raise
        raise ValueError("its output is not finite")

    @contextmanager
    def weights(self, model: nn.Module) -> Iterator[None]:
        """Within it the network has the weights of the trial; its own come back bit for bit."""
        params = [p for p in model.parameters() if self.stirred and p.is_floating_point()]
        kept = [p.detach().clone() for p in params]
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for p in params:
                size = float(p.double().square().mean().sqrt()) if p.numel() else 0.0
                usual = (len(p) / max(p.numel(), 1)) ** 0.5 if p.ndim > 1 else 1.0
                p.add_(0.5 * max(size, usual) * torch.randn(p.shape, generator=generator).to(p))
        try:
            yield
        finally:
            with torch.no_grad():
                for p, own in zip(params, kept, strict=True):
                    p.copy_(own)

    def batch(self, number: int, *, far: bool = False) -> torch.Tensor:
        """Inputs (rows, ...), others for every number; far: every second one out of range."""
        start = number * self.rows if self.real else 0
        like, _ = self.members.take((torch.arange(self.rows) + start) % len(self.members))
        if self.real:
            return like
        generator = torch.Generator().manual_seed(number)
        if like.is_floating_point():
            drawn = torch.randn(like.shape, generator=generator)
            if far:
                drawn[::2] *= FAR
        elif like.dtype == torch.bool:
            drawn = torch.randint(2, like.shape, generator=generator)
        else:
            low, high = int(like.min()), int(like.max())
            drawn = torch.randint(low, high + 1, like.shape, generator=generator)
        return drawn.to(like)

    def replaced(self, kept: int) -> torch.Tensor:
        """The first batch with other samples in place of all but one."""
        others = self.batch(kept + 1, far=True).clone()
        others[kept] = self.batch(0)[kept]
        return others


def require_single_samples(name: str, context: Context) -> str | None:
    """Raise InputError unless the output of a sample depends on that sample alone.

    In the mode of a training step, the other samples of a batch are replaced, the batch is cut to
    one sample, and buffers are compared after two batches of different data. Dropout and other
    random layers draw the same each time. name: of the defence. None if all held; else, for a
    network that could not be tried, why.
    """
    model, outside = context.model, frozen_names(context)
    with context.uncounted(), undisturbed(model, outside):
        try:
            trial = Trial.of(context)
            with trial.weights(model):
                why = _try(name, model, trial)
            if why is not None:
                _refuse_batchnorm(name, model, outside)
            return why
        except InputError:
            raise
        except Exception as error:
            _refuse_batchnorm(name, model, outside)
            return f"the network could not be tried ({type(error).__name__}: {_first_line(error)})"


def _try(name: str, model: nn.Module, trial: Trial) -> str | None:
    inputs = trial.batch(0)
    output = run(model, inputs)
    if not isinstance(output, torch.Tensor) or output.shape[:1] != inputs.shape[:1]:
        return "the network's output is not one row of numbers per sample"
    if not _apart(inputs, trial.batch(1)):
        return "the members show no inputs that differ"
    _require_repeatable(name, model, inputs, output)
    _require_uncoupled(name, model, trial)
    _require_no_memory(name, model, trial)
    _require_any_size(name, model, inputs)
    if not _apart(output, run(model, trial.batch(1))):
        return "the network's output does not depend on its input"
    return None


def frozen_names(context: Context) -> frozenset[str]:
    """Parameters that a regional defence holds back from the one it confines."""
    if context.trainable is None:
        return frozenset()
    return frozenset({n for n, _ in context.model.named_parameters()} - context.trainable)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:160]


def run(model: nn.Module, inputs: torch.Tensor, seed: int = 0) -> Any:
    """The output, detached; random streams start from a seed, buffers come back."""
    with seeded(model, seed), still_buffers(model):
        output = model(inputs)
    return output.detach() if isinstance(output, torch.Tensor) else output


def _apart(a: torch.Tensor, b: torch.Tensor, *, rounds: bool = False) -> bool:
    """Whether two outputs differ by more than rounding."""
    scale = float(a.double().abs().nan_to_num().max()) if a.numel() else 0.0
    close = torch.isclose(
        a.double(), b.double(), rtol=0.0, atol=tolerance(a, rounds=rounds) * (scale + 1e-6),
        equal_nan=True,
    )  # fmt: skip
    return not bool(close.all())


def _is_batchnorm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def _repair(module: nn.Module) -> str:
    if _is_batchnorm(module) or isinstance(module, nn.modules.instancenorm._InstanceNorm):
        return "use seepage.defenses.without_batchnorm(model) or an architecture without it"
    return "use an architecture that treats each sample alone, as with GroupNorm or LayerNorm"


def _called(key: str, module: nn.Module) -> str:
    kind = "BatchNorm" if _is_batchnorm(module) else type(module).__name__
    return f"{kind} {key!r}" if key else kind


def _refuse_batchnorm(name: str, model: nn.Module, outside: frozenset[str]) -> None:
    """By type, where nothing can be tried."""
    frozen = {n.rpartition(".")[0] for n in outside}
    for key, m in model.named_modules():
        if _is_batchnorm(m) and m.training and key not in frozen:
            raise _coupling(name, key, m)


def _coupling(name: str, key: str, module: nn.Module) -> InputError:
    return InputError(
        f"model: {name} needs gradients of single samples, got {_called(key, module)}, which "
        f"couples the samples of a batch; {_repair(module)}"
    )


def _require_repeatable(
    name: str, model: nn.Module, inputs: torch.Tensor, output: torch.Tensor
) -> None:
    if _apart(output, run(model, inputs)):
        raise InputError(
            f"model: {name} needs a network that keeps nothing of a batch, got "
            f"{type(model).__name__}, whose second pass over the same batch differs from the first; "
            "keep state in buffers that depend on no data, and draw from torch's generator"
        )


def _require_uncoupled(name: str, model: nn.Module, trial: Trial) -> None:
    inputs = trial.batch(0)
    # Of several seeds: what couples at random may not do so in every draw.
    for kept, seed in itertools.product(range(trial.rows), range(2)):
        others = trial.replaced(kept)
        if _apart(run(model, inputs, seed)[kept], run(model, others, seed)[kept]):
            raise _coupling(name, *_coupler(model, inputs, others, kept, seed))


def _rows(value: Any, rows: int, kept: int) -> list[torch.Tensor]:
    """The part of one sample in every tensor of a module's inputs or outputs."""
    if isinstance(value, torch.Tensor):
        if value.ndim == 0 or len(value) % rows:
            return []
        return [value.detach().reshape(rows, -1)[kept].clone()]
    if isinstance(value, tuple | list):
        return [r for v in value for r in _rows(v, rows, kept)]
    return []


def _coupler(
    model: nn.Module, inputs: torch.Tensor, others: torch.Tensor, kept: int, seed: int
) -> tuple[str, nn.Module]:
    """The first module whose output for a sample changes though its input for it does not."""
    seen: list[tuple[str, nn.Module, list[torch.Tensor], list[torch.Tensor]]] = []

    def watch(key: str, module: nn.Module) -> Any:
        def look(_: nn.Module, given: Any, told: Any) -> None:
            n = len(inputs)
            seen.append((key, module, _rows(given, n, kept), _rows(told, n, kept)))

        return module.register_forward_hook(look)

    handles = [watch(key, module) for key, module in model.named_modules()]
    try:
        run(model, inputs, seed)
        before = seen.copy()
        seen.clear()
        run(model, others, seed)
    finally:
        for handle in handles:
            handle.remove()
    for (key, module, given, told), (_, _, given2, told2) in zip(before, seen, strict=False):
        if len(given) != len(given2) or len(told) != len(told2):
            continue
        same = not any(_apart(a, b) for a, b in zip(given, given2, strict=True))
        if same and any(_apart(a, b) for a, b in zip(told, told2, strict=True)):
            return key, module
    return "", model


def _require_no_memory(name: str, model: nn.Module, trial: Trial) -> None:
    """Buffers are released with the weights, so that they must not be made of data."""
    after: list[dict[str, torch.Tensor]] = []
    for batch in (trial.batch(0), trial.batch(1, far=True)):
        with seeded(model), still_buffers(model):
            model(batch)
            after.append({k: b.detach().clone() for k, b in model.named_buffers()})
    for key, value in after[0].items():
        other = after[1].get(key)
        if other is None or value.shape != other.shape or _apart(value, other):
            owner = key.rpartition(".")[0]
            module = model.get_submodule(owner)
            raise InputError(
                f"model: {name} protects what gradients carry, got {_called(owner, module)}, whose "
                f"buffer {key.rpartition('.')[2]!r} keeps data of the batches; {_repair(module)}"
            )


def _require_any_size(name: str, model: nn.Module, inputs: torch.Tensor) -> None:
    """A sample alone gives what it gives among others: Poisson batches have any size."""
    dropouts = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    modes = [m.training for m in dropouts]
    for m in dropouts:
        m.training = False
    try:
        output = run(model, inputs)
        drawn = run(model, inputs, seed=1)
        for kept in range(len(inputs)):
            try:
                alone = run(model, inputs[kept : kept + 1])
                # Layers that draw beside dropout make other draws for another number of samples.
                fits = bool(_apart(output, drawn)) or not _apart(
                    output[kept], alone[0], rounds=True
                )
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                raise InputError(
                    f"model: {name} meets batches of any size, got {type(model).__name__}, which "
                    f"fails on one sample ({_first_line(error)}); mend its forward pass"
                ) from None
            if not fits:
                raise InputError(
                    f"model: {name} needs gradients of single samples, got {type(model).__name__}, "
                    "whose output for a sample depends on the size of the batch; "
                    "use an architecture that treats each sample alone"
                )
    finally:
        for m, mode in zip(dropouts, modes, strict=True):
            m.training = mode


# Losses


def require_mean_loss(part: Defense, name: str, context: Context) -> None:
    """Raise InputError unless a defence's loss is the mean of one term per sample.

    A mean that class weights or an ignored class normalise by what the batch holds is none, nor is a
    sum, and targets or inputs that are mixed with those of other samples are not a sample's own.
    part: the defence that may act on targets, inputs or loss. name: of the one that clips.
    """
    if not any(part.acts_on(hook) for hook in ("targets", "mix", "loss")):
        return
    n, classes = min(2 * max(context.classes, ROWS), 256), context.classes
    draw = torch.Generator().manual_seed(3)
    device = context.device
    rows = torch.arange(n) % len(context.members)
    labels = (torch.arange(n) % classes).to(device)
    # The usual batch is smaller than n: classes are then not equally frequent.
    labels[n // 2 :] = labels[0]
    width = head_of(context.model).in_features if part.needs_features else 0
    probe = dataclasses.replace(
        context,
        generator=_twin(context.generator),
        observer=_twin(context.observer),
        facts={},
        state=None,
        rows=rows,
        inputs=Trial(context.members, rows=n).batch(0),
        features=torch.randn(n, width, generator=draw).to(device) if width else None,
        poisson=part.poisson,
    )
    with context.uncounted(), seeded(context.model):
        probe.state = part.start(probe)
        try:
            for epoch in range(2):
                probe.epoch = epoch
                _require_own_targets(part, name, probe, labels)
                if part.acts_on("loss"):
                    logits = 3 * torch.randn(n, classes, generator=draw).to(device)
                    _require_terms(part, name, probe, logits, labels)
        finally:
            part.finish(probe)


def _twin(generator: torch.Generator) -> torch.Generator:
    return generator.clone_state()


def _again(context: Context) -> Context:
    """The same draws once more."""
    return dataclasses.replace(
        context, generator=_twin(context.generator), observer=_twin(context.observer)
    )


def _require_own_targets(part: Defense, name: str, context: Context, labels: torch.Tensor) -> None:
    assert context.inputs is not None
    other_labels = (labels + 1) % context.classes
    other_inputs = context.inputs.flip(0) if len(context.inputs) > 1 else context.inputs
    kept = 0
    other_labels[kept], other_inputs[kept] = labels[kept], context.inputs[kept]
    found = []
    for x, y in ((context.inputs, labels), (other_inputs, other_labels)):
        again = _again(context)
        targets = part.targets(y.clone(), again)
        mixed, targets = part.mix(x.clone(), targets, again)
        found.append((mixed[kept].detach(), targets[kept].detach()))
    for what, a, b in zip(("inputs", "targets"), *found, strict=True):
        if a.shape != b.shape or _apart(a, b):
            raise InputError(
                f"{part.name}: {name} clips the gradient of each sample, got {what} of a sample that "
                "depend on the others of its batch, so its ε would be void; keep one of them"
            )


def _require_terms(
    part: Defense, name: str, context: Context, logits: torch.Tensor, labels: torch.Tensor
) -> None:
    targets = part.targets(labels, _again(context))
    whole = _slopes(part, context, logits, targets, labels, slice(None))
    for i in range(len(logits)):
        alone = _slopes(part, context, logits, targets, labels, slice(i, i + 1))
        for a, b in zip(whole, alone, strict=True):
            if _apart(len(logits) * a[i], b[0], rounds=True):
                raise InputError(
                    f"{part.name}: {name} needs a loss that is the mean of one term per sample, got "
                    "one whose terms depend on the batch (as class weights and ignore_index do in a "
                    "mean, or a sum); weigh each sample's own term and divide by the batch size"
                )


def _slopes(
    part: Defense,
    context: Context,
    logits: torch.Tensor,
    targets: torch.Tensor,
    labels: torch.Tensor,
    at: slice,
) -> list[torch.Tensor]:
    """Gradients of the loss of some samples by their logits and, if it reads them, features."""
    here = _again(context)
    assert context.rows is not None
    assert context.inputs is not None
    z = logits[at].clone().requires_grad_()
    here.rows, here.inputs = context.rows[at], context.inputs[at]
    leaves = [z]
    if context.features is not None:
        here.features = context.features[at].clone().requires_grad_()
        leaves.append(here.features)
    with torch.enable_grad():
        loss = part.loss(z, targets[at], labels[at], here)
        if not loss.requires_grad:
            return [torch.zeros_like(x) for x in leaves]
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)]
