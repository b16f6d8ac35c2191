"""The training loop under a defence: the stages and hooks that `seepage.defenses.base` draws."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.array_types import Int64Array
from seepage.config.recipe import learning_rate
from seepage.data import Dataset
from seepage.defenses.base import Context, Defense
from seepage.defenses.networks import Samples, forward
from seepage.errors import InputError
from seepage.fleet import optim
from seepage.fleet.feed import Feed
from seepage.fleet.loop import Job, Progress, epoch_seed, init_model
from seepage.fleet.spec import FleetSpec
from seepage.record import Diverged, Resident

__all__ = ["Passes", "train_defended"]


class Passes:
    """Samples that networks were shown and that gradients were taken of: a cost that no load moves.

    forward, backward: samples through a whole network, over all networks of a run. What the
    recorder looks at is not training and is not counted (`paused`). A backward pass is one through
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
        """Nothing is counted within."""
        before, self.counting = self.counting, False
        try:
            yield
        finally:
            self.counting = before


CHUNK = 2**26
"""Bytes of normalised inputs cut at once on a device: fewer, larger calls; the same values."""


def _samples(pool: Resident, rows: Int64Array, scale: Any) -> Samples:
    """Rows of the pool as a defence sees them: positions in, normalised inputs out."""
    at = torch.from_numpy(rows).to(pool.device)
    factor, shift = (torch.from_numpy(np.ascontiguousarray(s)).to(pool.device) for s in scale)

    def prepare(positions: torch.Tensor) -> torch.Tensor:
        return pool.gather(positions, factor, shift)

    return Samples(at, pool.labels[at], prepare)


def train_defended(
    spec: FleetSpec, pool: Resident, job: Job, progress: Progress, reference: Dataset | None
) -> tuple[int, dict[str, Any]]:
    """One run with every stage of its defence; returns optimiser steps and the defence's facts.

    The recorder watches the stages that ask for it and sees outputs through the fifth hook. A run
    that stops early is looked at, unchanged, at the checkpoints that remain.
    """
    stages = _Stages(spec, pool, job, progress, reference)
    defense = spec.defense
    assert defense is not None
    context = stages.context(defense, None, None, None)
    defense.check(context)
    defense.train(context, stages)
    with stages.passes.paused():
        for t in spec.times:
            if t > stages.done:
                job.recorder.checkpoint(t)
    job.recorder.finish()
    stages.facts["forward"] = stages.passes.forward
    stages.facts["backward"] = stages.passes.backward
    return stages.steps, stages.facts


class _Stages:
    """The `Fit` of the seam: trains one stage each time it is called."""

    def __init__(
        self,
        spec: FleetSpec,
        pool: Resident,
        job: Job,
        progress: Progress,
        reference: Dataset | None,
    ) -> None:
        self.spec, self.pool, self.job, self.progress = spec, pool, job, progress
        self.facts: dict[str, Any] = {}
        self.passes = Passes()
        self.steps = 0
        self.stage = 0
        self.built = 0
        self.done = 0.0
        self.watching = False
        self.members = _samples(pool, job.members, job.scale)
        self.reference: Samples | None = None
        if reference is not None:
            apart = Resident.of(reference, pool.device)
            self.reference = _samples(apart, np.arange(len(reference)), job.scale)

    def _build(self) -> nn.Module:
        """A fresh network: the run's own first, then others, so that sub-models differ."""
        words = np.random.SeedSequence([self.job.seed, self.built])
        seed = self.job.seed if self.built == 0 else int(words.generate_state(1, np.uint64)[0])
        self.built += 1
        return self.passes.watch(init_model(self.spec, seed, self.pool.device))

    def _generator(self, purpose: int) -> torch.Generator:
        words = np.random.SeedSequence([self.job.seed, self.stage, purpose])
        return torch.Generator().manual_seed(int(words.generate_state(1, np.uint64)[0] % 2**63))

    def context(
        self,
        defense: Defense,
        model: nn.Module | None,
        samples: Samples | None,
        epochs: int | None,
    ) -> Context:
        members = samples if samples is not None else self.members
        batch = min(self.spec.recipe.batch, len(members))
        return Context(
            model=model if model is not None else self._build(),
            members=members,
            classes=len(self.spec.pool.classes),
            epochs=epochs if epochs is not None else self.spec.recipe.epochs,
            steps_per_epoch=max(1, len(members) // batch),
            batch_size=batch,
            generator=self._generator(2),
            observer=self._generator(3),
            build=self._build,
            reference=self.reference,
            poisson=defense.poisson,
            autocast=torch.bfloat16 if self.spec.recipe.precision == "bf16" else None,
            facts=self.facts,
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
        context = self.context(defense, model, samples, epochs)
        defense.check(context)
        if self.spec.recipe.optimizer == "sam" and defense.has("clips"):
            raise InputError(
                f"optimizer: {defense.name} clips gradients per sample, which SAM's second pass "
                "breaks; use 'sgd' or 'adam'"
            )
        network = context.model
        context.optimizer = optim.make(self.spec.recipe, network)
        recorder = self.job.recorder
        recorder.outputs = lambda logits: defense.outputs(logits, context)
        context.state = defense.start(context)
        if record and not self.watching:
            with self.passes.paused():
                recorder.start(network, steps_per_epoch=context.steps_per_epoch)
            self.watching = True
        elif record:
            recorder.follow(network, steps_per_epoch=context.steps_per_epoch)
        total = context.steps_per_epoch * context.epochs
        for epoch in range(context.epochs):
            context.epoch = epoch
            network.train()
            torch.manual_seed(epoch_seed(self.job.seed, 1_000_003 * self.stage + context.epoch))
            first, losses = context.step, []
            for rows, inputs in self._batches(context):
                for group in context.optimizer.param_groups:
                    group["lr"] = learning_rate(
                        self.spec.recipe, min(context.step, total - 1), total
                    )
                losses.append(self._step(defense, context, rows, inputs))
                if record:
                    with self.passes.paused():
                        recorder.step_end()
            self._finite(losses, self.steps + first)
            defense.epoch_end(context)
            if record:
                with self.passes.paused():
                    recorder.epoch_end()
                self.done += 1.0
                self.progress(self.job.row, self.done)
            if context.stop:
                break
        defense.finish(context)
        self.steps += context.step
        self.stage += 1
        return network

    def _batches(self, context: Context) -> Any:
        """(rows into the members (B,), inputs (B, ...)) of one epoch, augmented as the recipe says."""
        feed = Feed(
            self.pool,
            context.members.inputs.cpu().numpy(),
            replace_batch(self.spec.recipe, context.batch_size),
            self.job.seed + self.stage,
            self.job.scale,
        )
        device = self.pool.device
        if context.members.prepare is not self.members.prepare:
            # Samples of the defence's own making are not positions in the pool: no augmentation.
            rng = np.random.default_rng([self.job.seed, self.stage, context.epoch, 4])
            order = torch.from_numpy(rng.permutation(len(context.members))).to(device)
            for s in range(context.steps_per_epoch):
                rows = order[s * context.batch_size : (s + 1) * context.batch_size]
                yield rows, context.members.take(rows)[0]
            return
        draw = feed.draw(context.epoch)
        if context.poisson:
            rng = np.random.default_rng([self.job.seed, self.stage, context.epoch, 5])
            n = len(context.members)
            for _ in range(context.steps_per_epoch):
                drawn = np.flatnonzero(rng.random(n) < context.batch_size / n)
                rows = torch.from_numpy(drawn).to(device)
                yield rows, context.members.take(rows)[0]
            return
        ascending = np.argsort(feed.members, kind="stable")
        at = ascending[np.searchsorted(feed.members, draw.rows, sorter=ascending)]
        whole = torch.from_numpy(at).to(device)
        size = 4 * feed.batch * math.prod(self.pool.shape)
        chunk = 1 if self.pool.on_device is None else max(1, CHUNK // size)
        for begin in range(0, feed.steps, chunk):
            part = slice(begin, min(begin + chunk, feed.steps))
            x = self.pool.batch(
                draw.rows[part].ravel(), *self.job.scale,
                dy=None if draw.dy is None else draw.dy[part].ravel(),
                dx=None if draw.dx is None else draw.dx[part].ravel(),
                flip=None if draw.flip is None else draw.flip[part].ravel(),
            )  # fmt: skip
            for k, rows in enumerate(whole[part]):
                yield rows, x[k * feed.batch : (k + 1) * feed.batch]

    def _step(
        self, defense: Defense, context: Context, rows: torch.Tensor, inputs: torch.Tensor
    ) -> torch.Tensor | None:
        """One step of the seam's pseudo-code; an empty batch skips to the hooks after backward.

        Returns the loss where it was computed: reading it would make a device wait in every step.
        """
        value = None
        optimizer = context.optimizer
        assert optimizer is not None
        optimizer.zero_grad(set_to_none=True)
        context.rows = rows
        if len(rows):
            value = self._backward(defense, context, rows, inputs)
            if self.spec.recipe.optimizer == "sam":
                optim.sam_step(
                    optimizer,
                    self.spec.recipe.rho,
                    lambda: self._backward(defense, context, rows, inputs),
                )
        defense.gradients(context)
        optimizer.step()
        defense.parameters(context)
        context.step += 1
        return value

    @staticmethod
    def _finite(losses: list[torch.Tensor | None], first: int) -> None:
        """Raise Diverged if a loss of the epoch that began at step `first` is not finite."""
        told = [(k, v) for k, v in enumerate(losses, start=first) if v is not None]
        if told:
            lost = ~torch.isfinite(torch.stack([v for _, v in told])).cpu()
            if bool(lost.any()):
                raise Diverged(f"loss not finite at step {told[int(lost.int().argmax())][0]}")

    def _backward(
        self, defense: Defense, context: Context, rows: torch.Tensor, inputs: torch.Tensor
    ) -> torch.Tensor:
        labels = context.members.labels[rows.to(context.members.labels.device)]
        targets = defense.targets(labels, context)
        inputs, targets = defense.mix(inputs, targets, context)
        context.inputs = inputs
        bf16 = self.spec.recipe.precision == "bf16"
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=bf16):
            logits, context.features = forward(context.model, inputs, defense.needs_features)
        loss = defense.loss(logits.float(), targets, labels, context)
        torch.autograd.backward(loss)
        return loss.detach()


def replace_batch(recipe: Any, batch: int) -> Any:
    """The recipe with another batch size."""
    return recipe.model_copy(update={"batch": batch})
