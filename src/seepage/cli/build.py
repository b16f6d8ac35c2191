"""From a checked configuration to the objects that the Python API takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seepage import attacks
from seepage.attacks.curvature import reading
from seepage.cli.config import AuditConfig, RecordConfig
from seepage.cli.guard import check_defense, set_apart
from seepage.data import Dataset, apply_canaries, load, relabel
from seepage.errors import InputError, nearest
from seepage.fleet import Recipe, Watcher, train
from seepage.models import build as build_model
from seepage.plan import SubsetPlan, half_split, leave_out, plant_canaries
from seepage.record import ExtraSignal, checkpoints
from seepage.store import Run

__all__ = ["Audit", "chosen_attacks", "make", "run_fleet"]


@dataclass(frozen=True)
class Audit:
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


def make(config: AuditConfig) -> Audit:
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
    _enough(plan, chosen)
    return Audit(config, data, plan, recipe, defense, chosen, extra, reference)


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


def _enough(plan: SubsetPlan, chosen: tuple[attacks.Attack, ...]) -> None:
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


def run_fleet(
    audit: Audit, watcher: Watcher | None = None, shard: tuple[int, int] | None = None
) -> Run:
    """Train what is not there yet and open the run folder."""
    c = audit.config
    return train(
        audit.data,
        audit.plan,
        model=c.model.name,
        model_options=c.model.options,
        recipe=audit.recipe,
        out=c.out,
        checkpoints=c.record.checkpoints,
        views=c.record.views,
        logits=c.record.logits,
        keep=c.record.keep,
        extra=audit.extra,
        defense=audit.defense,
        reference=audit.reference,
        workers=c.fleet.workers,
        threads=c.fleet.threads,
        device=c.fleet.device,
        backend=c.fleet.backend,
        executor=c.fleet.executor,
        address=c.fleet.address,
        save_every=c.fleet.save_every,
        shard=shard,
        watcher=watcher,
    )
