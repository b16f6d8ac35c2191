"""From a checked configuration to data, plan, attacks and defence: all checked, nothing trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import util
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from seepage import attacks
from seepage.attacks.curvature import reading
from seepage.config.audit import AuditConfig, RecordConfig
from seepage.config.recipe import Recipe
from seepage.data import Dataset, apply_canaries, load, relabel
from seepage.errors import InputError, nearest
from seepage.models import build as build_model
from seepage.models.reference import user_model
from seepage.plan import SubsetPlan, half_split, leave_out, plant_canaries
from seepage.record import ExtraSignal, checkpoints

if TYPE_CHECKING:
    from seepage.defenses import Defense

__all__ = [
    "Prepared",
    "check_defense",
    "check_references",
    "chosen_attacks",
    "extras",
    "prepare",
    "set_apart",
]


@dataclass(frozen=True)
class Prepared:
    """A configuration made real: everything checked, nothing trained."""

    config: AuditConfig
    data: Dataset
    plan: SubsetPlan
    recipe: Recipe
    defense: Any
    attacks: tuple[attacks.Attack, ...]
    extra: tuple[ExtraSignal, ...] = ()
    reference: Dataset | None = None


def chosen_attacks(names: list[str] | None, main: str) -> tuple[attacks.Attack, ...]:
    """Attacks by name, the main one first; all of the table when none are named."""
    wanted = [main, *(n for n in (names or attacks.ATTACKS) if n != main)]
    return tuple(attacks.get(name) for name in wanted)


def prepare(config: AuditConfig) -> Prepared:
    """Load the data, draw the plan, check model, recipe, attacks and defence.

    Raises InputError before anything is trained or written.
    """
    recipe = Recipe(**config.recipe)
    times = checkpoints(config.record.checkpoints, recipe.epochs)
    extra = extras(config.record, times)
    held = [name for e in extra for name in e.names]
    chosen = tuple(
        reading(a, held) for a in chosen_attacks(config.attacks.names, config.attacks.main)
    )
    data, reference = set_apart(_data(config), config.defense.reference, config.data.seed)
    if config.plan.kind == "half_split":
        plan = half_split(len(data), models=config.plan.models, seed=config.plan.seed)
    else:
        plan = leave_out(len(data), folds=config.plan.models, seed=config.plan.seed)
    planted = config.plan.canaries.model_dump()
    if any(planted.values()):
        plan = plant_canaries(
            plan, data.labels.numpy(), len(data.classes), seed=config.plan.seed, **planted
        )
        assert plan.canaries is not None
        data = apply_canaries(data, plan.canaries)
    if ":" not in config.model.name:
        build_model(config.model.name, data.shape, len(data.classes), **config.model.options)
    defense = _defense(config)
    if defense is not None:
        model = config.model
        check_defense(defense, data, reference, model.name, model.options, recipe)
        plan = defense.plan(plan)
    check_references(plan, chosen)
    return Prepared(config, data, plan, recipe, defense, chosen, extra, reference)


def extras(record: RecordConfig, times: Sequence[float]) -> tuple[ExtraSignal, ...]:
    """The signals that need the model itself: curvature, layers.

    times: the checkpoints (epochs), of which `curvature_checkpoints` must be some.
    """
    found: list[ExtraSignal] = []
    for switch, options, name in (
        (record.curvature, record.curvature_options, "curvature"),
        (record.curvature, record.curvature_checkpoints, "curvature"),
        (record.layers, record.layer_options, "layers"),
    ):
        if options and not switch:
            raise InputError(f"record.{name}: expected to be set when its options are, got none")
    if record.curvature is not None:
        from seepage.curvature import CurvatureSignal
        from seepage.curvature.named import estimator

        wanted = record.curvature_checkpoints
        for epoch in wanted or ():
            if not any(abs(epoch - t) < 1e-9 for t in times):
                raise InputError(
                    f"record.curvature_checkpoints: expected some of the checkpoints "
                    f"({', '.join(f'{t:g}' for t in times)}), got {epoch:g}"
                )
        found.append(
            CurvatureSignal(
                estimator(record.curvature, record.curvature_options),
                checkpoints=None if wanted is None else tuple(wanted),
            )
        )
    if record.layers:
        from seepage.layers import DegreesOfFreedom, LayerSignal

        options = dict(record.layer_options)
        known = {"samples", "columns", "spectrum", "seed", "batch", "jacobian"}
        for option in options:
            if option not in known:
                raise InputError(f"record.layer_options.{option}: {nearest(option, known)}")
        if not options.pop("jacobian", True):
            # Without it a probe costs one forward pass.
            options["indicators"] = (DegreesOfFreedom(),)
            options.setdefault(
                "columns", ("k95", "k99", "erank", "participation", "ridge_df", "pooled_k95")
            )
        patterns = None if record.layers is True else record.layers
        try:
            found.append(LayerSignal(patterns, **options))
        except TypeError as error:
            raise InputError(f"record.layer_options: {error}") from None
    return tuple(found)


def _data(config: AuditConfig) -> Dataset:
    d = config.data
    options = {
        k: v
        for k, v in d.model_dump(exclude={"name", "label_noise"}).items()
        if v not in (None, []) and k != "seed"
    }
    data = load(d.name, seed=d.seed, **options)
    return relabel(data, d.label_noise, seed=d.seed) if d.label_noise else data


def _defense(config: AuditConfig) -> Any:
    if config.defense.name == "none":
        return None
    from seepage import defenses

    return defenses.make(config.defense.name, **config.defense.options)


def check_references(plan: SubsetPlan, chosen: tuple[attacks.Attack, ...]) -> None:
    """Every attack's need for references, known from the plan before any run is trained."""
    use = attacks.reference_rows(plan.member).astype("float32")
    n_in = int((use @ plan.member.astype("float32")).min())
    n_out = int((use @ (~plan.member).astype("float32")).min())
    for attack in chosen:
        if n_in < attack.min_in or n_out < attack.min_out:
            need = 2 * max(attack.min_in, attack.min_out) + 2
            raise InputError(
                f"plan.models: {attack.name} needs {attack.min_in} IN and {attack.min_out} OUT "
                f"references for every sample, {plan.models} models leave {n_in} and {n_out}; "
                f"use at least {need} models or leave this attack out"
            )


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
    model: str | Callable[[], nn.Module],
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
