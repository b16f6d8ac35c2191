"""The hooks through which a defence acts on training, and the only ones.

A defence is a frozen dataclass. Its fields are its options; it overrides some of five hooks
(targets, loss, gradients, parameters, outputs) and, if it must, the plan or the order of training
stages. The built-in fleet and a user's own loop call the same object. One training stage is::

    def fit(defense, *, epochs=None, model=None, samples=None, record=True):
        context = Context(model=model or build(), members=samples or members, ...)
        defense.check(context)                                # bad input ends here, before any work
        context.state = defense.start(context)
        for context.epoch in range(epochs):                   # 0-based
            model.train()
            for rows in batches:                              # Poisson draws if defense.poisson
                context.rows = rows
                inputs, labels = context.members.take(rows)
                targets = defense.targets(labels, context)                   # 1 targets
                inputs, targets = defense.mix(inputs, targets, context)      #   (mixup only)
                context.inputs = inputs
                logits, context.features = forward(model, inputs, defense.needs_features)
                loss = defense.loss(logits, targets, labels, context)        # 2 loss, a scalar
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                defense.gradients(context)                                   # 3 may edit p.grad
                optimizer.step()
                defense.parameters(context)                                  # 4 may edit parameters
                context.step += 1                             # counts within the stage, 0-based
            defense.epoch_end(context)                                       # 4 (once an epoch)
            if context.stop:
                break                                         # later checkpoints see this model
        defense.finish(context)                               # removes what start attached
        return model

    model = defense.train(context, fit)                       # one stage unless overridden

and wherever the model answers (recorder, evaluation, serving)::

    model.eval()
    logits = defense.outputs(model(inputs), context)                         # 5 outputs

with the defence and the context of the stage in progress (the last recorded one after training).
`start` precedes the first checkpoint, which sees the untrained model. Autocast covers the forward
pass alone. An empty batch (Poisson draws) skips forward, loss and backward but none of the hooks
after them. The learning-rate schedule of a recipe restarts in each stage and spans that stage's
epochs. Stages with `record=True` add up to the recipe's epochs; the recorder watches only those,
and its epochs count on from one to the next. Stages share `context.facts`, which goes into the
manifest. A run of the fleet that was interrupted calls `train` again: `fit` returns the network of
a stage that had finished without training it, and resumes within the one that had not. What `train`
does itself between stages must therefore depend on nothing but its context and the networks.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Protocol, final

import torch
from torch import nn

from seepage.defenses.networks import Samples, in_precision
from seepage.errors import InputError
from seepage.plan import SubsetPlan
from seepage.signals.tasks import Classification, Task

__all__ = [
    "Context",
    "Defense",
    "Fit",
    "Undefended",
]


@dataclass(eq=False)
class Context:
    """What a defence sees of one training stage; the loop keeps it current.

    model: the network in training. members: what the stage trains on. reference: non-members set
    apart from every evaluation, or None. classes: K. epochs: of this stage (of the whole recipe
    in `Defense.train`). steps_per_epoch, batch_size: expected values. generator: CPU generator of
    the run for draws that act on training. observer: CPU generator for draws of the outputs hook
    alone, so that evaluating a model does not change how it trains on. build: a freshly
    initialised network from the run's own stream. poisson: whether batches are Poisson draws.

    Set by the loop at each step: epoch, step (both 0-based, within the stage), rows (B,) into
    `members`, inputs as the model saw them, features (B, F) if the defence asked for them. Set by
    the defence: state (returned by `start`), stop, facts (JSON values, e.g. the accountant's ε).
    trainable: names of the parameters that a defence acts on when it protects only some regions;
    None means all. autocast: the reduced precision of the loop's forward pass, or None. uncounted:
    within it the loop counts no pass through the network, for what only looks at it. task: whose loss
    is minimised where a defence has none of its own; defences are defined on classes alone.
    """

    model: nn.Module
    members: Samples
    classes: int
    epochs: int
    steps_per_epoch: int
    batch_size: int
    generator: torch.Generator
    observer: torch.Generator
    build: Callable[[], nn.Module]
    reference: Samples | None = None
    optimizer: torch.optim.Optimizer | None = None
    poisson: bool = False
    autocast: torch.dtype | None = None
    epoch: int = 0
    step: int = 0
    rows: torch.Tensor | None = None
    inputs: torch.Tensor | None = None
    features: torch.Tensor | None = None
    trainable: frozenset[str] | None = None
    state: Any = None
    stop: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    uncounted: Callable[[], AbstractContextManager[None]] = nullcontext
    task: Task = field(default_factory=Classification)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return next(self.model.parameters()).device

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters that the defence acts on."""
        for name, p in self.model.named_parameters():
            if self.trainable is None or name in self.trainable:
                yield name, p

    def answer(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits in the precision of the loop; else members and others would differ by rounding."""
        with in_precision(inputs.device, self.autocast):
            logits: torch.Tensor = self.model(inputs)
        return logits.float()


class Fit(Protocol):
    """One training stage, as the module's docstring draws it; given to `Defense.train`.

    epochs: None means the recipe's. model: None means a fresh one from `context.build`.
    samples: None means the run's members. record: whether the recorder watches.
    Returns the trained network.
    """

    def __call__(
        self,
        defense: Defense,
        *,
        epochs: int | None = None,
        model: nn.Module | None = None,
        samples: Samples | None = None,
        record: bool = True,
    ) -> nn.Module: ...


@dataclass(frozen=True, eq=False)
class Defense(ABC):
    """A rule that acts on training through five hooks; see this module's docstring.

    name: what the command line calls it; title: what pages call it. source: the paper's arXiv id.
    reconstruction: its text was not available. inner: a stage of another defence, which no user
    names. traits: what it needs and how it may be combined:

    - "reference": refuses a run without a reference set (`needs_reference`);
    - "features": its loss reads the head's inputs (`needs_features`);
    - "hard_labels": its loss reads labels (B,), so soft targets would be lost on it;
    - "batchwise": its loss is not a mean of one term per sample, so per-sample clipping is void;
    - "mixes": its `mix` mixes samples;
    - "clips": its `gradients` reads the gradient of each sample.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str] = ""
    reconstruction: ClassVar[bool] = False
    inner: ClassVar[bool] = False
    traits: ClassVar[frozenset[str]] = frozenset()
    of_texts: ClassVar[bool] = False

    def has(self, trait: str) -> bool:
        """Whether a trait holds for this object."""
        return trait in self.traits

    @property
    def needs_reference(self) -> bool:
        """Whether it needs non-members set apart."""
        return self.has("reference")

    @property
    def needs_features(self) -> bool:
        """Whether the loop must provide what entered the head."""
        return self.has("features")

    @property
    def poisson(self) -> bool:
        """Whether each step's batch must be independent Bernoulli draws of rate batch_size / n."""
        return False

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:  # noqa: B027 - optional
        """Raise InputError for options that make no sense."""

    @final
    def check(self, context: Context) -> None:
        """Raise InputError if this run cannot be defended so; called before any work."""
        if self.needs_reference and (context.reference is None or not len(context.reference)):
            raise InputError(
                f"reference: {self.name} needs non-members set apart from the evaluation, got "
                "none; reserve some of the pool as reference"
            )
        if self.poisson and not context.poisson:
            raise InputError(
                f"poisson: {self.name} accounts for Poisson batches, got shuffled ones; let the "
                "loop draw them or set poisson = false, and its ε is then only approximate"
            )
        self.compatible(context)

    def compatible(self, context: Context) -> None:  # noqa: B027 - optional
        """Raise InputError if the model or the data do not suit this defence."""

    def plan(self, plan: SubsetPlan) -> SubsetPlan:
        """The plan of the fleet under this defence."""
        return plan

    def train(self, context: Context, fit: Fit) -> nn.Module:
        """The run's stages; by default one. `context.model` is the freshly initialised network."""
        return fit(self, model=context.model)

    def start(self, context: Context) -> Any:
        """State of the stage; kept in `context.state`.

        A run that was interrupted calls this again and then gets its saved values back: numbers,
        strings, tensors, arrays, generators, modules and optimisers in dicts, lists, tuples, sets
        and dataclasses. Any other object says with `state_dict()` what to keep and takes it back
        with `load_state_dict(saved)`; a run with one that does not restarts.
        """
        return None

    def targets(self, labels: torch.Tensor, context: Context) -> torch.Tensor:
        """Labels (B,) int64 -> labels or soft targets (B, K) float32."""
        return labels

    def mix(
        self, inputs: torch.Tensor, targets: torch.Tensor, context: Context
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets as they enter the model; part of the targets hook."""
        return inputs, targets

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        """The scalar to minimise, instead of the task's own, cross-entropy of classes."""
        return context.task.loss(logits, targets)

    def gradients(self, context: Context) -> None:  # noqa: B027 - optional
        """After backward: may edit `p.grad`."""

    def parameters(self, context: Context) -> None:  # noqa: B027 - optional
        """After the optimiser's step: may edit parameters."""

    def epoch_end(self, context: Context) -> None:  # noqa: B027 - optional
        """After the last step of an epoch: may edit parameters, may set `context.stop`."""

    def finish(self, context: Context) -> None:  # noqa: B027 - optional
        """After the last epoch; removes what `start` attached to the model."""

    def outputs(self, logits: torch.Tensor, context: Context) -> torch.Tensor:
        """Logits whose softmax is what users of the model see; (B, K) -> (B, K)."""
        return logits

    def acts_on(self, hook: str) -> bool:
        """Whether it acts through `hook`."""
        return getattr(type(self), hook) is not getattr(Defense, hook)


@dataclass(frozen=True)
class Undefended(Defense):
    """Plain cross-entropy: the baseline of every comparison."""

    name: ClassVar[str] = "none"
    title: ClassVar[str] = "Undefended"
    source: ClassVar[str] = ""


def check_number(
    name: str, value: float, low: float, high: float = float("inf"), *, open_low: bool = False
) -> None:
    """Raise InputError unless low <= value <= high (low < value if `open_low`)."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (low < value if open_low else low <= value) or not value <= high:
        bracket = "(" if open_low else "["
        raise InputError(f"{name}: expected a number in {bracket}{low:g}, {high:g}], got {value!r}")


def as_config(defense: Defense) -> dict[str, Any]:
    """Name and options as JSON values, nested defences included; `make` reads them back.

    >>> as_config(Undefended())
    {'name': 'none'}
    """
    return _plain(defense)  # type: ignore[no-any-return]


def _named(kind: type) -> str:
    """What `make` calls a class: its name, or where it is found when it is not ours."""
    if issubclass(kind, Defense) and not kind.__module__.startswith("seepage."):
        return f"{kind.__module__}:{kind.__qualname__}"
    return str(getattr(kind, "name", kind.__name__))


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        own = {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
        name = _named(type(value))
        return {"name": name, **own}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
