"""How one network of the study is trained, and looked at while it is."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import nn

from seepage.array_types import Int64Array
from seepage.config.recipe import Recipe, learning_rate
from seepage.data import Dataset, load
from seepage.data.transform import relabel
from seepage.errors import InputError, SeepageError
from seepage.fleet import optim
from seepage.models import build
from seepage.study.layers.plan import LayersConfig, Unit

__all__ = [
    "Batches",
    "Look",
    "Rows",
    "chosen_device",
    "hardware",
    "ready",
    "run_seed",
    "single_precision",
    "split_pool",
    "train",
]

Rows = Int64Array
Look = Callable[[float, nn.Module], None]


class Batches(Protocol):
    """What training reads: normalised inputs and labels of every step of an epoch."""

    steps: int

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Those of epoch `epoch` (0-based)."""


def chosen_device(name: str) -> torch.device:
    """The device of that name, "auto" a GPU where there is one."""
    gpu = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if gpu else "cpu")
    if name not in ("cpu", "cuda") or (name == "cuda" and not gpu):
        raise InputError(f"device: expected auto, cpu{' or cuda' if gpu else ''}, got {name!r}")
    return torch.device(name)


def hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def ready(device: torch.device) -> None:
    """Wait for the device, so that a clock read afterwards counts its work, and hand memory back.

    Units run side by side on one GPU: what one has finished with, another needs.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


@contextmanager
def single_precision() -> Iterator[None]:
    """No reduced-precision products inside float32 convolutions on a GPU."""
    was = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = was


def split_pool(unit: Unit, config: LayersConfig) -> tuple[Dataset, list[Rows], Int64Array]:
    """The pool with its noisy labels, its four parts, and the labels before the noise."""
    clean = load(unit.dataset, limit=4 * config.members, seed=unit.seed)
    order = np.random.default_rng([unit.seed, 4]).permutation(len(clean))
    parts = [np.sort(p) for p in np.split(order, 4)]
    data = relabel(clean, unit.noise, seed=unit.seed) if unit.noise > 0 else clean
    return data, parts, clean.labels.numpy()


def run_seed(unit: Unit, run: int) -> int:
    """Seed of run 0, the target, or 1, the shadow."""
    return int(np.random.SeedSequence([unit.seed, run]).generate_state(1)[0])


def train(
    data: Dataset,
    device: torch.device,
    feed: Batches,
    unit: Unit,
    recipe: Recipe,
    seed: int,
    checkpoints: Sequence[float] = (),
    look: Look | None = None,
) -> nn.Module:
    """One network trained on a feed; `look(epoch, model)` at every checkpoint, 0 included."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model: nn.Module = build(unit.architecture, data.shape, len(data.classes))
    if len(data.shape) == 3:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = model.to(device)
    optimizer = optim.make(recipe, model)
    steps, step = feed.steps * recipe.epochs, 0
    wanted = {round(e * feed.steps): e for e in checkpoints}
    if len(wanted) != len(checkpoints):
        raise InputError(
            f"checkpoints: expected each at a step of its own, got {list(checkpoints)} of epochs of "
            f"{feed.steps} steps; leave out fractions or train on more members"
        )
    half = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
    if look is not None and 0 in wanted:
        look(wanted[0], model)
    for epoch in range(recipe.epochs):
        model.train()
        for x, y in feed.batches(epoch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step, steps)
            with half:
                logits = model(x)
            torch.autograd.backward(nn.functional.cross_entropy(logits.float(), y))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if look is not None and step in wanted:
                look(wanted[step], model)
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        raise SeepageError(f"{unit.name}: training diverged; lower the rate of {recipe.lr}")
    return model.eval()
