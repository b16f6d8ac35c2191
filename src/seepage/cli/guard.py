"""What a defence needs before anything is trained: a reference set, and a model it can act on."""

from __future__ import annotations

from importlib import util
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet import Recipe
from seepage.fleet.spec import user_model

if TYPE_CHECKING:
    from seepage.defenses import Defense

__all__ = ["check_defense", "set_apart"]


def set_apart(data: Dataset, count: int, seed: int) -> tuple[Dataset, Dataset | None]:
    """(pool, reference): `count` random samples leave the pool for the defence alone.

    They are members of no run and no figure counts them.
    """
    if count == 0:
        return data, None
    if not 2 <= count <= len(data) - 4:
        raise InputError(
            f"defense.reference: expected 2 to {len(data) - 4} of the {len(data)} samples, "
            f"got {count}; leave a pool to train on"
        )
    stream = np.random.SeedSequence(seed, spawn_key=(5,))
    order = np.random.default_rng(stream).permutation(len(data))
    return data.take(np.sort(order[count:])), data.take(np.sort(order[:count]))


def check_defense(
    defense: Defense,
    data: Dataset,
    reference: Dataset | None,
    model: str,
    options: dict[str, Any],
    recipe: Recipe,
) -> None:
    """Raise InputError where the defence cannot act on this model, data or recipe.

    The same checks end a run; here they end a command before hours are spent.
    """
    from seepage.defenses import Context
    from seepage.defenses.networks import Samples

    ref = user_model(model, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ref.make(data.shape, len(data.classes))
    if reference is not None:
        apart = Samples(reference.inputs, reference.labels)
    context = Context(
        model=network,
        members=Samples(data.inputs[:2], data.labels[:2]),
        classes=len(data.classes),
        epochs=recipe.epochs,
        steps_per_epoch=1,
        batch_size=recipe.batch,
        generator=torch.Generator(),
        observer=torch.Generator(),
        build=lambda: network,
        reference=None if reference is None else apart,
        poisson=defense.poisson,
    )
    defense.check(context)
    if not defense.has("clips"):
        return
    if recipe.optimizer == "sam":
        raise InputError(
            f"optimizer: {defense.name} clips gradients per sample, which SAM's second pass "
            "breaks; use 'sgd' or 'adam'"
        )
    if util.find_spec("opacus") is None:
        raise InputError(
            f"{defense.name}: needs Opacus, which is not installed; pip install 'seepage[opacus]'"
        )
