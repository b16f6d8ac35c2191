"""The loop of the seam's docstring, as plain as possible, for every test of this room."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from seepage.defenses.base import Context, Defense
from seepage.defenses.networks import Samples, forward
from seepage.models import build


def gaussian_samples(n=48, dim=6, classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centres = 2.0 * torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    return Samples(centres[labels] + torch.randn(n, dim, generator=g), labels)


def fresh(seed=0, hidden=(8,), dim=6, classes=3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build("mlp", (dim,), classes, hidden=hidden)


def noisy_samples(n, seed):
    """A third of the labels are wrong: learnt only by heart."""
    data = gaussian_samples(n, seed=seed)
    g = torch.Generator().manual_seed(seed + 100)
    wrong = torch.rand(n, generator=g) < 0.3
    labels = torch.where(wrong, (data.labels + 1) % 3, data.labels)
    return type(data)(data.inputs, labels)


def run_context(
    *, model=None, members=None, reference=None, epochs=2, batch=16, classes=3, build=fresh,
    poisson=False, seed=0,
):  # fmt: skip
    members = gaussian_samples() if members is None else members
    return Context(
        model=build() if model is None else model,
        members=members,
        reference=reference,
        classes=classes,
        epochs=epochs,
        steps_per_epoch=math.ceil(len(members) / batch),
        batch_size=batch,
        generator=torch.Generator().manual_seed(seed),
        observer=torch.Generator().manual_seed(seed + 1),
        build=build,
        poisson=poisson,
    )


class Loop:
    """`Fit` on the CPU: SGD with momentum and decay; keeps every stage's context."""

    def __init__(self, outer: Context, *, lr=0.1, momentum=0.9, weight_decay=1e-2, on_step=None):
        self.outer, self.stages, self.recorded = outer, [], 0
        self.sgd = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        self.order = torch.Generator().manual_seed(7)
        self.on_step = on_step

    def __call__(self, defense: Defense, *, epochs=None, model=None, samples=None, record=True):
        members = self.outer.members if samples is None else samples
        batch = self.outer.batch_size
        context = dataclasses.replace(
            self.outer,
            model=self.outer.build() if model is None else model,
            members=members,
            epochs=self.outer.epochs if epochs is None else epochs,
            steps_per_epoch=math.ceil(len(members) / batch),
            state=None, stop=False, epoch=0, step=0, poisson=defense.poisson,
        )  # fmt: skip
        self.stages.append(context)
        self.recorded += context.epochs if record else 0
        model = context.model
        context.optimizer = torch.optim.SGD(model.parameters(), **self.sgd)
        defense.check(context)
        context.state = defense.start(context)
        for context.epoch in range(context.epochs):  # noqa: B020
            model.train()
            for rows in self.batches(len(members), batch, defense.poisson):
                context.rows = rows
                inputs, labels = members.take(rows)
                context.optimizer.zero_grad(set_to_none=True)
                if len(rows):
                    targets = defense.targets(labels, context)
                    inputs, targets = defense.mix(inputs, targets, context)
                    context.inputs = inputs
                    logits, context.features = forward(model, inputs, defense.needs_features)
                    defense.loss(logits, targets, labels, context).backward()
                defense.gradients(context)
                context.optimizer.step()
                defense.parameters(context)
                context.step += 1
                if self.on_step:
                    self.on_step(context)
            defense.epoch_end(context)
            if context.stop:
                break
        defense.finish(context)
        return model

    def batches(self, n, batch, poisson):
        if not poisson:
            return torch.randperm(n, generator=self.order).split(batch)
        q = batch / n
        steps = math.ceil(n / batch)
        return [torch.nonzero(torch.rand(n, generator=self.order) < q)[:, 0] for _ in range(steps)]


def train(defense: Defense, context: Context, **options):
    """The defended network and the loop that trained it."""
    loop = Loop(context, **options)
    return defense.train(context, loop), loop


@pytest.fixture
def kit():
    """Names of this file; test files cannot import each other."""

    class Kit:
        samples = staticmethod(gaussian_samples)
        fresh = staticmethod(fresh)
        noisy = staticmethod(noisy_samples)
        context = staticmethod(run_context)
        loop = Loop
        train = staticmethod(train)

    return Kit
