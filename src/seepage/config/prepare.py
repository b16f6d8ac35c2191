"""From a checked configuration to data, plan, attacks and defence: all checked, nothing trained."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib import util
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seepage.attacks import Attack
from seepage.attacks.reference_counts import references_by_sample
from seepage.config.audit import AuditConfig
from seepage.config.chosen_attacks import chosen_attacks
from seepage.config.function import as_function
from seepage.config.model import Model, as_model
from seepage.config.recipe import Recipe
from seepage.config.release import as_variants
from seepage.data import (
    Dataset,
    apply_canaries,
    drop_copies,
    group_copies,
    insert_texts,
    load,
    relabel,
    repeat,
)
from seepage.epsilon import LabelGame, label_game
from seepage.errors import InputError
from seepage.models import known
from seepage.plan import (
    SubsetPlan,
    fresh_draws,
    group_codes,
    half_split,
    insert_canaries,
    judged,
    leave_out,
    plant_canaries,
    subsets,
)
from seepage.signals.tasks import task as task_named

if TYPE_CHECKING:
    from seepage.defenses import Defense

__all__ = [
    "Prepared",
    "ReferencesWarning",
    "check_defense",
    "check_references",
    "load_pool",
    "prepare",
    "set_apart",
]


class ReferencesWarning(UserWarning):
    """A part of the pool will be in no figure: the plan gives it too few references."""


@dataclass(frozen=True)
class Prepared:
    """A configuration made real: everything checked, nothing trained."""

    config: AuditConfig
    data: Dataset
    plan: SubsetPlan
    defense: Any
    attacks: tuple[Attack, ...]
    reference: Dataset | None = None
    game: LabelGame | None = None
    start: Dataset | None = None


def prepare(config: AuditConfig) -> Prepared:
    """Load the data, draw the plan, check model, recipe, attacks and defence.

    Raises InputError before anything is trained or written.
    """
    recipe = config.recipe
    from seepage.defenses.composed import changes_outputs

    bare = _check_release(config)
    config.record.measured(config.record.times(recipe.epochs))
    chosen = chosen_attacks(config.attacks.names, config.attacks.main)
    data, reference = set_apart(load_pool(config), config.defense.reference, config.data.seed)
    data, start = _with_start(config, data)
    if config.data.repeats is not None:
        # After what is set apart, so that the start is the one of the pool without copies.
        data = repeat(data, config.data.repeats, seed=config.data.seed)
    config.record.for_task(data.task).rules()
    if data.task == "language":
        chosen = chosen_attacks(config.attacks.names, config.attacks.main, tokens=True)
    data, game = _with_game(config, data)
    p = config.plan
    if p.parts is not None and p.kind != "subsets":
        raise InputError(f'plan.parts: expected with kind = "subsets" alone, got {p.kind}; drop it')
    if (p.members is None) == (p.kind == "fresh_draws"):
        raise InputError(
            'plan.members: expected with kind = "fresh_draws", and with it alone, got '
            f"{p.members} with {p.kind}"
        )
    if p.members is not None:
        plan = fresh_draws(
            len(data), members=p.members, models=p.models, seed=p.seed, groups=data.groups
        )
    elif p.kind == "subsets":
        plan = subsets(
            len(data), models=p.models, parts=p.parts or 4, seed=p.seed, groups=data.groups
        )
    elif p.kind == "half_split":
        plan = half_split(len(data), models=p.models, seed=p.seed, groups=data.groups)
    else:
        plan = leave_out(len(data), folds=p.models, seed=p.seed, groups=data.groups)
    planted, inserted = config.plan.canaries.planted(), config.plan.canaries.inserted()
    if inserted:
        if any(planted.values()):
            raise InputError(
                "plan.canaries: expected added texts or changed samples, got both; leave one out"
            )
        data, added = insert_texts(data, seed=p.seed, **inserted)
        plan = insert_canaries(plan, added, seed=p.seed)
    if any(planted.values()):
        plan = plant_canaries(
            plan, data.labels.numpy(), len(data.classes), seed=config.plan.seed, **planted
        )
        assert plan.canaries is not None
        data = apply_canaries(data, plan.canaries)
    model = as_model(config.model).for_task(data.task)
    if start is None:
        model.check_adapter()
    own = as_function(config.train)
    if start is not None and own is not None:
        raise InputError(
            f"start.samples: expected none with {own.called}, which builds its network itself, got "
            f"{config.start.samples}; load weights there"
        )
    if known(model.name):
        model = model if start is None else model.changed(adapter=None, frozen=(), reset=())
        with torch.random.fork_rng(devices=[]):
            model.make(data.shape, len(data.classes))
    defense = _defense(config)
    if defense is not None:
        if bare is not None and changes_outputs(defense):
            raise InputError(
                f"release: {bare} is judged on kept weights, expected a defence that acts on training "
                f"alone, got {defense.name}, which changes outputs and is no part of weights; name "
                "variants of outputs and set record.logits = true, or leave the defence out"
            )
        check_defense(defense, data, reference, model, recipe)
        plan = defense.plan(plan)
    check_references(plan, chosen)
    return Prepared(config, data, plan, defense, chosen, reference, game, start)


def _with_start(config: AuditConfig, data: Dataset) -> tuple[Dataset, Dataset | None]:
    """The pool without the samples that the start of every run is trained on, and these."""
    asked = config.start
    if not asked.samples:
        if asked.model_fields_set - {"samples"}:
            raise InputError(
                "start.samples: expected with the options of [start], got none; set it"
            )
        return data, None
    if config.model.weights is not None:
        raise InputError(
            f"start.samples: expected none with model.weights, which runs start from already, got "
            f"{asked.samples}; leave one out"
        )
    return set_apart(data, asked.samples, asked.seed, "start.samples")


def _with_game(config: AuditConfig, data: Dataset) -> tuple[Dataset, LabelGame | None]:
    """The pool with labels that the coins of [label_game] chose, and the game; as it is without one."""
    asked = config.label_game
    if not asked.canaries:
        if asked.law is not None:
            raise InputError("label_game.law: expected with label_game.canaries, got none; set it")
        return data, None
    if any(config.plan.canaries.planted().values()):
        raise InputError(
            "label_game.canaries: expected without plan.canaries, whose labels would be coins' too, got "
            "both; train another fleet for the one or the other"
        )
    if not config.record.logits and config.record.keep == "none":
        raise InputError(
            "label_game.canaries: expected outputs to judge labels by, got record.logits = false and "
            "record.keep = 'none'; set record.logits = true"
        )
    try:
        return label_game(data, canaries=asked.canaries, law=asked.law, seed=asked.seed)
    except InputError as error:
        text = str(error)
        where = "label_game." if text.startswith(("canaries", "law")) else ""
        raise InputError(f"{where}{text}") from None


def _check_release(config: AuditConfig) -> str | None:
    """That what is released can be judged from what will be recorded and kept.

    The first variant that is judged on kept weights, or None.
    """
    if not config.release:
        return None
    wanted = as_variants(config.release, "release")
    bare = [v.name for v in wanted if v.weights or not config.record.logits]
    if bare and config.record.keep == "none":
        raise InputError(
            f"release: {bare[0]} is judged on kept weights, got record.keep = 'none'; set record.keep "
            "= 'final'" + ("" if any(v.weights for v in wanted) else " or record.logits = true")
        )
    return bare[0] if bare else None


def load_pool(config: AuditConfig) -> Dataset:
    """The pool that [data] names, copies and label noise as it says."""
    d = config.data
    options = {
        k: v
        for k, v in d.model_dump(exclude={"name", "label_noise", "copies", "repeats"}).items()
        if v not in (None, []) and k != "seed" and (k, v) != ("task", "classification")
    }
    data = load(d.name, seed=d.seed, **options)
    if d.copies != "keep":
        data = group_copies(data) if d.copies == "group" else drop_copies(data)
    return relabel(data, d.label_noise, seed=d.seed) if d.label_noise else data


def _defense(config: AuditConfig) -> Any:
    if config.defense.name == "none":
        if config.defense.options:
            raise InputError(
                "defense.options: expected with a defence, got "
                f"{', '.join(config.defense.options)} and none; set defense.name"
            )
        return None
    from seepage import defenses

    return defenses.make(config.defense.name, **config.defense.options)


def check_references(plan: SubsetPlan, chosen: tuple[Attack, ...]) -> None:
    """Every attack's need for references, known from the plan before any run is trained.

    Samples with too few are left out of figures (`seepage.findings.unjudged`): said now where they
    are a part of the pool, refused where most samples have too few.
    """
    known = judged(plan.member)
    every = known if known.any() else np.ones_like(known)
    inside, outside = (n[every] for n in references_by_sample(plan.member))
    n_in, n_out = int(inside.min()), int(outside.min())
    few = np.zeros(len(inside), dtype=np.bool_)
    for attack in chosen:
        short = (inside < attack.min_in) | (outside < attack.min_out)
        if short.mean() < 0.5:
            few |= short
        elif plan.kind == "fresh_draws":
            raise InputError(
                f"plan.members: {attack.name} needs {attack.min_in} IN and {attack.min_out} OUT "
                f"references for every sample, {plan.models} draws of "
                f"{plan.options['members']} leave {n_in} and {n_out}; raise plan.models or "
                "plan.members, or leave this attack out"
            )
        else:
            k = plan.options.get("parts", 2)
            need = k * max(attack.min_in + 1, -(-attack.min_out // (k - 1)) + 1)
            raise InputError(
                f"plan.models: {attack.name} needs {attack.min_in} IN and {attack.min_out} OUT "
                f"references for every sample, {plan.models} models leave {n_in} and {n_out}; "
                f"use at least {need} models or leave this attack out"
            )
    if few.any():
        warnings.warn(
            f"plan: {int(few.sum()):,} of {len(few):,} samples have too few IN or OUT references for "
            "the chosen attacks and will be left out of every figure; raise plan.models to keep them",
            ReferencesWarning,
            stacklevel=2,
        )


def set_apart(
    data: Dataset, count: int, seed: int, field: str = "defense.reference"
) -> tuple[Dataset, Dataset | None]:
    """(pool, reference): `count` random samples leave the pool for a defence, or a start, alone.

    Where samples belong to subjects, whole subjects leave, of at least so many samples. They are
    members of no run and no figure counts them.
    """
    if count == 0:
        return data, None
    if not 2 <= count <= len(data) - 4:
        raise InputError(
            f"{field}: expected 2 to {len(data) - 4} of the {len(data)} samples, "
            f"got {count}; leave a pool to train on"
        )
    stream = np.random.SeedSequence(seed, spawn_key=(5,))
    rng = np.random.default_rng(stream)
    if data.groups is None:
        order = rng.permutation(len(data))
        apart = np.isin(np.arange(len(data)), order[:count])
    else:
        # Whole subjects: one that lies on both sides would be known to the defence.
        codes, names = group_codes(data.groups)
        sizes = np.bincount(codes, minlength=len(names))
        drawn = rng.permutation(len(names))
        apart = np.isin(codes, drawn[: int(np.searchsorted(np.cumsum(sizes[drawn]), count)) + 1])
        if apart.sum() > len(data) - 4:
            raise InputError(
                f"{field}: expected subjects of {count} samples apart from a pool to train "
                f"on, got {int(apart.sum())} of {len(data)} samples in them; choose fewer"
            )
    return data.take(np.flatnonzero(~apart)), data.take(np.flatnonzero(apart))


def check_defense(
    defense: Defense,
    data: Dataset,
    reference: Dataset | None,
    model: Model,
    recipe: Recipe,
) -> None:
    """Raise InputError where the defence cannot act on this model, data or recipe.

    The same checks end a run; here they end a command before hours are spent.
    """
    from seepage.defenses import Context
    from seepage.defenses.networks import Samples

    data.takes_defense(defense.name, defense.of_texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = model.make(data.shape, len(data.classes))
    if reference is not None:
        apart = Samples(reference.inputs, reference.labels)
    context = Context(
        model=network,
        members=Samples(data.inputs[:2].float(), data.labels[:2]),
        classes=len(data.classes),
        epochs=recipe.epochs,
        steps_per_epoch=1,
        batch_size=recipe.batch,
        generator=torch.Generator(),
        observer=torch.Generator(),
        build=lambda: network,
        reference=None if reference is None else apart,
        poisson=defense.poisson,
        task=task_named(data.task),
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
