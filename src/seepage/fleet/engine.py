"""The training engine: the stages of one run, plain or defended, as in `seepage.defenses.base`.

A plain run is one stage without a defence. Runs of a fleet and networks of a study are trained
here; the stacked and the graph backends train several networks at once by loops of their own.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seepage.array_types import Int64Array
from seepage.config.recipe import Recipe, learning_rate
from seepage.data import Dataset
from seepage.defenses.base import Context, Defense, Undefended
from seepage.defenses.networks import Samples, forward, in_precision
from seepage.errors import InputError
from seepage.fleet import optim
from seepage.fleet.feed import CHUNK, Draw, Feed
from seepage.fleet.saved import SavedRun, SavedState, Unfit
from seepage.models.answers import set_target_scale
from seepage.models.fused import fused_layers
from seepage.record import Diverged, Resident
from seepage.signals.tasks import Regression

__all__ = [
    "Batches",
    "Engine",
    "Observer",
    "Passes",
    "epoch_seed",
    "initial_network",
    "seed_streams",
]

Scale = tuple[NDArray[np.float32], NDArray[np.float32]]


class Observer(Protocol):
    """What evaluates the networks of recorded stages: a `Recorder`, or part of one."""

    outputs: Callable[[torch.Tensor], torch.Tensor] | None

    def start(self, model: nn.Module, *, steps_per_epoch: int = 0, epoch: float = 0.0) -> None:
        """Training begins, or resumes at `epoch`."""

    def follow(self, model: nn.Module, *, steps_per_epoch: int = 0) -> None:
        """A later stage continues with this network."""

    def step_end(self) -> None:
        """One optimiser step is done."""

    def epoch_end(self) -> None:
        """One epoch is done."""


class Batches(Protocol):
    """Where a stage's batches come from: a `Feed`, or several in turn."""

    steps: int
    batch: int

    def draw(self, epoch: int) -> Draw:
        """Rows of the pool and transforms of epoch `epoch` (0-based)."""

    def inputs(self, draw: Draw, chunk: int = 0) -> Iterator[torch.Tensor]:
        """Normalised inputs of every step of that epoch."""


def initial_network(
    make: Callable[[], nn.Module], image: bool, seed: int, device: torch.device
) -> nn.Module:
    """A network at initialisation: the same bits on every backend and device. Seeds torch."""
    seed_streams(seed % 2**63, device)
    model = make()
    if image:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.to(device)


def seed_streams(seed: int, device: torch.device) -> None:
    """Seed torch's own streams, on the host and on `device`.

    Where no GPU is used torch.manual_seed would note the whole call stack for each kind of device,
    in case it is used later: the time of several steps of a small network.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed of torch's stream (dropout and the like) in one epoch."""
    return int(np.random.SeedSequence([seed, epoch, 1]).generate_state(1, np.uint64)[0] % 2**63)


class Passes:
    """Samples that networks were shown and that gradients were taken of: a cost that no load moves.

    forward, backward: samples through a whole network, over all networks of a run. What an observer
    evaluates is not training and is not counted (`counting` is off). A backward pass is one through
    the logits: a step that differentiates two losses of one forward pass counts two.
    """

    def __init__(self) -> None:
        self.forward = self.backward = 0
        self.counting = True

    def watch(self, network: nn.Module) -> nn.Module:
        """Count for this network and for deep copies of it; hands it back."""

        # A closure, not a method: copies of the network must count here, not in copies of this.
        def backward(slope: torch.Tensor) -> None:
            self.backward += len(slope)

        def forward(_: nn.Module, given: Any, logits: torch.Tensor) -> None:
            if self.counting:
                self.forward += len(logits)
                if logits.requires_grad:
                    logits.register_hook(backward)  # type: ignore[no-untyped-call]

        network.register_forward_hook(forward)
        return network

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing meanwhile."""
        before, self.counting = self.counting, False
        try:
            yield
        finally:
            self.counting = before

    def pausing(self, look: Callable[[], None]) -> None:
        """Call it and count nothing meanwhile."""
        with self.paused():
            look()


def _samples(pool: Resident, rows: Int64Array, scale: Scale) -> Samples:
    """Rows of the pool as a defence sees them: positions in, normalised inputs out."""
    at = torch.from_numpy(rows).to(pool.device)
    factor, shift = (torch.from_numpy(np.ascontiguousarray(s)).to(pool.device) for s in scale)

    def prepare(positions: torch.Tensor) -> torch.Tensor:
        return pool.gather(positions, factor, shift)

    return Samples(at, pool.targets[at], prepare)


class Engine:
    """Trains the stages of one run; it is the `Fit` that a defence's `train` is given.

    build: a network at initialisation from a seed. members, scale: rows of the pool to train on and
    how inputs are normalised. observer: sees every step and epoch of recorded stages. batches: in
    place of a `Feed` over the members. reference: non-members for a defence that needs them.
    progress: called with the recorded epochs done. saved: where the state of an unfinished run is
    kept. rounding: with layers that are torch's within rounding, the backend "fused".

    Raises Diverged with the step when a loss is not finite: at once on a CPU; on a device, where
    reading it would make every step wait, at the end of the epoch.
    """

    def __init__(
        self,
        recipe: Recipe,
        precision: str,
        classes: int,
        build: Callable[[int], nn.Module],
        pool: Resident,
        members: Int64Array,
        scale: Scale,
        seed: int,
        observer: Observer,
        *,
        batches: Batches | None = None,
        reference: Dataset | None = None,
        progress: Callable[[float], None] = lambda epochs: None,
        saved: SavedRun | None = None,
        rounding: bool = False,
    ) -> None:
        self.rounding = rounding
        self.recipe, self.classes, self.build = recipe, classes, build
        self.autocast = torch.bfloat16 if precision == "bf16" else None
        self._precision: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if self.autocast is not None:
            self._precision = in_precision(pool.device, self.autocast)
        self.pool, self.scale, self.seed = pool, scale, seed
        self.observer, self.batches, self.progress, self.saved = observer, batches, progress, saved
        self.facts: dict[str, Any] = {}
        self.passes = Passes()
        self.steps = 0
        self.done = 0.0
        self._stage = 0
        self._built = 0
        self._defended = False
        self._watching = False
        self._unread: list[tuple[int, torch.Tensor]] = []
        self._members = _samples(pool, members, scale)
        self.task = pool.task
        if isinstance(self.task, Regression):
            self.task = Regression.of(self._members.labels)
        self._reference: Samples | None = None
        if reference is not None:
            apart = Resident.of(reference, pool.device)
            self._reference = _samples(apart, np.arange(len(reference)), scale)

    def train(self, defense: Defense | None = None) -> nn.Module:
        """All stages of the run, under a defence if there is one; returns its network.

        Raises Unfit when a saved state does not fit; nothing of this object can be used then.
        """
        # Without a defence the passes are not read, and counting them would cost.
        self._defended = defense is not None
        defense = Undefended() if defense is None else defense
        context = self._context(defense, None, None, None)
        defense.check(context)
        network = defense.train(context, self)
        if self.saved is not None and self.saved.current is not None:
            raise Unfit("fewer stages than were saved")
        return network

    def _build(self) -> nn.Module:
        """A fresh network: the run's own first, then others, so that sub-models differ."""
        words = np.random.SeedSequence([self.seed, self._built])
        seed = self.seed if self._built == 0 else int(words.generate_state(1, np.uint64)[0])
        self._built += 1
        network = self.build(seed)
        if isinstance(self.task, Regression):
            set_target_scale(network, self._members.labels)
        return self.passes.watch(network) if self._defended else network

    def _generator(self, purpose: int) -> torch.Generator:
        words = np.random.SeedSequence([self.seed, self._stage, purpose])
        return torch.Generator().manual_seed(int(words.generate_state(1, np.uint64)[0] % 2**63))

    def _context(
        self,
        defense: Defense,
        model: nn.Module | None,
        samples: Samples | None,
        epochs: int | None,
    ) -> Context:
        members = samples if samples is not None else self._members
        batch = min(self.recipe.batch, len(members))
        steps = max(1, len(members) // batch)
        if self.batches is not None:
            batch, steps = self.batches.batch, self.batches.steps
        return Context(
            model=model if model is not None else self._build(),
            members=members,
            classes=self.classes,
            epochs=epochs if epochs is not None else self.recipe.epochs,
            steps_per_epoch=steps,
            batch_size=batch,
            generator=self._generator(2),
            observer=self._generator(3),
            build=self._build,
            reference=self._reference,
            poisson=defense.poisson,
            autocast=self.autocast,
            facts=self.facts,
            uncounted=self.passes.paused,
            task=self.task.by_sample() if defense.has("clips") else self.task,
        )

    def __call__(
        self,
        defense: Defense,
        *,
        epochs: int | None = None,
        model: nn.Module | None = None,
        samples: Samples | None = None,
        record: bool = True,
    ) -> nn.Module:
        """One stage; what an earlier attempt had trained of it is not trained again."""
        context = self._context(defense, model, samples, epochs)
        defense.check(context)
        if self.recipe.optimizer == "sam" and defense.has("clips"):
            raise InputError(
                f"optimizer: {defense.name} clips gradients per sample, which SAM's second pass "
                "breaks; use 'sgd' or 'adam'"
            )
        if self.saved is not None and self._stage < self.saved.stage:
            self._pass_over(context, record, self.saved.finished(self._stage))
        else:
            self._train_stage(defense, context, record)
        self._stage += 1
        return context.model

    def _train_stage(self, defense: Defense, context: Context, record: bool) -> None:
        network, observer = context.model, self.observer
        context.optimizer = optim.make(self.recipe, network)
        if self._defended:
            observer.outputs = lambda logits: defense.outputs(logits, context)
        context.state = defense.start(context)
        first = self._go_on(defense, context)
        if record and (first or not self._watching):
            self._observe(network, context)
        elif record:
            observer.follow(network, steps_per_epoch=context.steps_per_epoch)
        feed = self._feed(context)
        for epoch in range(first, context.epochs):
            if context.stop:
                break
            context.epoch = epoch
            network.train()
            seed_streams(epoch_seed(self.seed, 1_000_003 * self._stage + epoch), self.pool.device)
            self._train_epoch(defense, context, feed, record)
            defense.epoch_end(context)
            if record:
                self.passes.pausing(observer.epoch_end)
                self.done += 1.0
                self.progress(self.done)
            if self._unfinished and self.saved is not None and self.saved.due():
                self.saved.save(self._stage, self._in_progress(defense, context))
        defense.finish(context)
        self.steps += context.step
        if self._unfinished and self.saved is not None:
            self.saved.stage_ended(
                self._stage, {"network": network, "counters": self._counters(network)}
            )

    @property
    def _unfinished(self) -> bool:
        """Whether training continues after this epoch; recorded stages add up to the recipe's."""
        return self.done < self.recipe.epochs

    def _observe(self, network: nn.Module, context: Context) -> None:
        self.passes.pausing(
            lambda: self.observer.start(
                network, steps_per_epoch=context.steps_per_epoch, epoch=self.done
            )
        )
        self._watching = True

    # Going on with what an earlier attempt saved.

    def _counters(self, network: nn.Module) -> dict[str, Any]:
        """What stages share: counters, facts, torch's own streams, and modes of the network."""
        cuda = self.pool.device.type == "cuda"
        return {
            "facts": self.facts,
            "passes": [self.passes.forward, self.passes.backward],
            "steps": self.steps,
            "done": self.done,
            "built": self._built,
            "host_stream": torch.get_rng_state(),
            "device_stream": torch.cuda.get_rng_state(self.pool.device) if cuda else None,
            "evaluating": [n for n, m in network.named_modules() if not m.training],
        }

    def _in_progress(self, defense: Defense, context: Context) -> dict[str, Any]:
        return {
            "stage": [defense.name, context.epochs, len(context.members)],
            "network": context.model,
            "optimizer": context.optimizer,
            "state": context.state,
            "generators": [context.generator, context.observer],
            "at": [context.epoch, context.step, context.stop],
            "counters": self._counters(context.model),
        }

    def _set(self, network: nn.Module, counters: dict[str, Any]) -> None:
        """Put back what `_counters` told."""
        self.passes.forward, self.passes.backward = counters["passes"]
        self.steps, self.done = counters["steps"], counters["done"]
        self._built = counters["built"]
        torch.set_rng_state(counters["host_stream"])
        if counters["device_stream"] is not None:
            torch.cuda.set_rng_state(counters["device_stream"], self.pool.device)
        evaluating = set(counters["evaluating"])
        for name, module in network.named_modules():
            module.training = name not in evaluating

    def _pass_over(self, context: Context, record: bool, saved: SavedState) -> None:
        """A stage that had finished: its network, and everything as it was after it."""
        after: dict[str, Any] = {
            "network": context.model,
            "counters": self._counters(context.model),
        }
        saved.into(after, self.pool.device)
        self._set(context.model, after["counters"])
        if record:
            self._observe(context.model, context)

    def _go_on(self, defense: Defense, context: Context) -> int:
        """Epochs of this stage that are trained already, everything as it was after them."""
        if self.saved is None or self.saved.current is None:
            return 0
        here = self._in_progress(defense, context)
        expected = here["stage"]
        self.saved.current.into(here, self.pool.device)
        if here["stage"] != expected:
            raise Unfit(f"stage {here['stage']}, not {expected}")
        context.state = here["state"]
        context.epoch, context.step, context.stop = here["at"]
        self._set(context.model, here["counters"])
        self.saved.current = None
        return context.epoch + 1

    # One epoch.

    def _feed(self, context: Context) -> Batches | None:
        """Batches of rows of the pool; None for samples of the defence's own making."""
        if self.batches is not None:
            return self.batches
        if context.members.prepare is not self._members.prepare:
            return None
        return Feed(
            self.pool,
            context.members.inputs.cpu().numpy(),
            self.recipe.model_copy(update={"batch": context.batch_size}),
            self.seed + self._stage,
            self.scale,
        )

    def _batches(
        self, context: Context, feed: Batches | None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(rows into the members (B,), inputs (B, ...)) of one epoch, augmented as the recipe says."""
        device, members = self.pool.device, context.members
        if feed is None:
            # Samples of the defence's own making are not positions in the pool: no augmentation.
            rng = np.random.default_rng([self.seed, self._stage, context.epoch, 4])
            order = torch.from_numpy(rng.permutation(len(members))).to(device)
            for s in range(context.steps_per_epoch):
                rows = order[s * context.batch_size : (s + 1) * context.batch_size]
                yield rows, members.take(rows)[0]
            return
        if context.poisson:
            rng = np.random.default_rng([self.seed, self._stage, context.epoch, 5])
            n = len(members)
            for _ in range(context.steps_per_epoch):
                drawn = np.flatnonzero(rng.random(n) < context.batch_size / n)
                rows = torch.from_numpy(drawn).to(device)
                yield rows, members.take(rows)[0]
            return
        draw = feed.draw(context.epoch)
        held = members.inputs.cpu().numpy()
        ascending = np.argsort(held, kind="stable")
        at = ascending[np.searchsorted(held, draw.rows, sorter=ascending)]
        yield from zip(torch.from_numpy(at).to(device), feed.inputs(draw, CHUNK), strict=True)

    def _train_epoch(
        self, defense: Defense, context: Context, feed: Batches | None, record: bool
    ) -> None:
        total = context.steps_per_epoch * context.epochs
        assert context.optimizer is not None
        for rows, inputs in self._batches(context, feed):
            rate = learning_rate(self.recipe, min(context.step, total - 1), total)
            for group in context.optimizer.param_groups:
                group["lr"] = rate
            self._step(defense, context, rows, inputs)
            if record:
                self.passes.pausing(self.observer.step_end)
        self._read_losses()

    def _step(
        self, defense: Defense, context: Context, rows: torch.Tensor, inputs: torch.Tensor
    ) -> None:
        """One step of the pseudo-code in `seepage.defenses.base`; an empty batch skips to the hooks after backward."""
        optimizer = context.optimizer
        assert optimizer is not None
        optimizer.zero_grad(set_to_none=True)
        context.rows = rows
        if len(rows):
            loss = self._backward(defense, context, rows, inputs)
            if self.recipe.optimizer == "sam":
                optim.sam_step(
                    optimizer,
                    self.recipe.rho,
                    lambda: self._backward(defense, context, rows, inputs),
                )
            self._unread.append((self.steps + context.step, loss))
            if loss.device.type == "cpu":
                self._read_losses()
        defense.gradients(context)
        optimizer.step()
        defense.parameters(context)
        context.step += 1

    def _backward(
        self, defense: Defense, context: Context, rows: torch.Tensor, inputs: torch.Tensor
    ) -> torch.Tensor:
        """Loss and gradients of one batch. The loss is not read: a device would have to wait."""
        labels = context.members.labels[rows.to(context.members.labels.device)]
        targets = defense.targets(labels, context)
        inputs, targets = defense.mix(inputs, targets, context)
        context.inputs = inputs
        with self._precision, fused_layers(rounding=self.rounding):
            logits, context.features = forward(context.model, inputs, defense.needs_features)
        loss = defense.loss(logits.float(), targets, labels, context)
        if loss.dim():
            raise InputError(
                f"{defense.name}: expected a loss of one number, got shape {tuple(loss.shape)}; "
                "return its mean"
            )
        torch.autograd.backward(loss)
        return loss.detach()

    def _read_losses(self) -> None:
        """Raise Diverged if a loss that was not read yet is not finite."""
        if not self._unread:
            return
        if len(self._unread) == 1:
            lost = [] if math.isfinite(self._unread[0][1]) else [0]
        else:
            finite = torch.isfinite(torch.stack([v for _, v in self._unread]))
            lost = (~finite).nonzero()[:, 0].tolist()
        first = [self._unread[k][0] for k in lost[:1]]
        self._unread.clear()
        if first:
            raise Diverged(f"loss not finite at step {first[0]}")
