"""How one network of the study is trained, and measured during training."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seepage.array_types import Int64Array
from seepage.config.recipe import Recipe
from seepage.data import Dataset, load
from seepage.data.transform import relabel
from seepage.errors import InputError, SeepageError
from seepage.fleet.engine import Batches, Engine, initial_network
from seepage.models import build
from seepage.record import Diverged, Resident
from seepage.study.layers.plan import LayersConfig, Unit

__all__ = [
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


class _Looking:
    """The engine's observer: `look(epoch, model)` at the step that is nearest to each checkpoint."""

    def __init__(self, checkpoints: Sequence[float], look: Look) -> None:
        self.checkpoints, self.look = checkpoints, look
        self.outputs: Callable[[torch.Tensor], torch.Tensor] | None = None
        self.step = 0
        self.wanted: dict[int, float] = {}
        self.model: nn.Module | None = None

    def start(self, model: nn.Module, *, steps_per_epoch: int = 0, epoch: float = 0.0) -> None:
        self.model = model
        self.wanted = {round(e * steps_per_epoch): e for e in self.checkpoints}
        if len(self.wanted) != len(self.checkpoints):
            raise InputError(
                "checkpoints: expected each at a step of its own, got "
                f"{list(self.checkpoints)} of epochs of {steps_per_epoch} steps; leave out "
                "fractions or train on more members"
            )
        self._look()

    def follow(self, model: nn.Module, *, steps_per_epoch: int = 0) -> None:
        self.model = model

    def step_end(self) -> None:
        self.step += 1
        self._look()

    def epoch_end(self) -> None:
        """The epoch's last step has told."""

    def _look(self) -> None:
        if self.step in self.wanted and self.model is not None:
            self.look(self.wanted[self.step], self.model)


def train(
    data: Dataset,
    pool: Resident,
    members: Rows,
    unit: Unit,
    recipe: Recipe,
    seed: int,
    checkpoints: Sequence[float] = (),
    look: Look = lambda epoch, model: None,
    *,
    scale: tuple[NDArray[np.float32], NDArray[np.float32]],
    batches: Batches | None = None,
) -> nn.Module:
    """One network trained by the engine; `look(epoch, model)` at every checkpoint, 0 included.

    members: rows of the pool. batches: in place of those of the members, epoch by epoch.
    """

    def build_unit(seed: int) -> nn.Module:
        def make() -> nn.Module:
            return build(unit.architecture, data.shape, len(data.classes))

        return initial_network(make, len(data.shape) == 3, seed, pool.device)

    engine = Engine(
        recipe,
        recipe.precision,
        len(data.classes),
        build_unit,
        pool,
        members,
        scale,
        seed,
        _Looking(checkpoints, look),
        batches=batches,
    )
    with torch.random.fork_rng(devices=[pool.device] if pool.device.type == "cuda" else []):
        try:
            model = engine.train()
            finite = all(bool(torch.isfinite(p).all()) for p in model.parameters())
        except Diverged:
            finite = False
    if not finite:
        raise SeepageError(f"{unit.name}: training diverged; lower the rate of {recipe.lr}")
    return model.eval()
