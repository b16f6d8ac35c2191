"""One unit of the study: a target and a shadow trained, every layer probed and attacked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seepage.array_types import BoolArray, Float64Array
from seepage.layers import (
    AttackTable,
    Logistic,
    ShadowTransfer,
    SmallMLP,
    attack_layers,
    feature_norms,
    gather_outputs,
    gradient_norms,
    reconstruction_error,
)
from seepage.record import Resident
from seepage.study.layers.fresh import measure_fresh
from seepage.study.layers.looks import Looks, described, plain
from seepage.study.layers.plan import LayersConfig, Unit
from seepage.study.layers.training import (
    Rows,
    chosen_device,
    ready,
    run_seed,
    single_precision,
    split_pool,
    train,
)

__all__ = ["measure"]


def measure(unit: Unit, config: LayersConfig) -> dict[str, Any]:
    """Everything the claims are judged by, as plain numbers; the same unit gives the same result.

    The pool has four disjoint parts of `members` samples: members and non-members of the target,
    and of the shadow, which the attacker trains alike. Label noise falls on all of them, so that
    members and non-members differ in nothing but training. The probe set are members of the target.
    A control (`Unit.fresh`) has no shadow and no attacks.
    """
    if unit.fresh:
        return measure_fresh(unit, config)
    began = time.perf_counter()
    device = chosen_device(config.device)
    data, parts, truth = split_pool(unit, config)
    inside, outside, shadow_in, shadow_out = parts
    pool = Resident(Resident.layout(data), data.labels.numpy(), device)
    recipe = config.training(unit.architecture)
    # Single precision as it is written: reduced products would show as rank.
    with single_precision():
        scale = data.member_scale(inside)
        probed = inside[: config.samples]
        x = pool.batch(probed, *scale)
        looks = Looks(config, x, pool, scale, inside, outside, truth)
        seeds = [run_seed(unit, run) for run in (0, 1)]
        target = train(
            data, pool, inside, unit, recipe, seeds[0], config.checkpoints, looks, scale=scale
        )
        trained = time.perf_counter() - began - looks.seconds
        at = time.perf_counter()
        own = data.member_scale(shadow_in)
        shadow = train(data, pool, shadow_in, unit, recipe, seeds[1], scale=own)
        ready(device)
        shadow_seconds = time.perf_counter() - at
        attacks, seconds = _attacks(
            config, target, shadow, pool, scale, own, (inside, outside), (shadow_in, shadow_out)
        )
        at = time.perf_counter()
        others = np.concatenate([shadow_in, shadow_out])[: config.fit]
        told = reconstruction_error(
            target,
            pool.batch(np.sort(others), *scale),
            pool.batch(outside[: config.judge], *scale),
        )
        seconds["reconstruction"] = time.perf_counter() - at
    seconds |= {"training": trained, "shadow": shadow_seconds, **looks.costs()}
    return described(unit, config, data, looks) | {
        "attacks": attacks,
        "reconstruction": plain([told[name] for name in looks.layers]),
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
    }


def _attacks(
    config: LayersConfig,
    target: nn.Module,
    shadow: nn.Module,
    pool: Resident,
    scale: tuple[NDArray[np.float32], NDArray[np.float32]],
    own: tuple[NDArray[np.float32], NDArray[np.float32]],
    parts: tuple[Rows, Rows],
    shadows: tuple[Rows, Rows],
) -> tuple[dict[str, Any], dict[str, float]]:
    """Every attack on every layer at the end of training, and the seconds of each."""
    seconds: dict[str, float] = {}
    seeds = range(config.attack_seeds)

    def clock(name: str, work: Callable[[], Any]) -> Any:
        at = time.perf_counter()
        out = work()
        ready(pool.device)
        seconds[name] = time.perf_counter() - at
        return out

    rows, member = _joined(parts)
    theirs, theirs_member = _joined(shadows)
    x = pool.batch(rows, *scale)
    outputs = clock("outputs", lambda: gather_outputs(target, x))
    imitated = clock("shadow_outputs", lambda: gather_outputs(shadow, pool.batch(theirs, *own)))
    transfer = ShadowTransfer(imitated, theirs_member)
    mlp = SmallMLP(passes=config.passes)
    found: dict[str, AttackTable] = {}
    attackers: tuple[tuple[str, Logistic | SmallMLP], ...] = (
        ("logistic", Logistic()),
        ("mlp", mlp),
    )
    for kind, attacker in attackers:
        for variant, how in (("audit", None), ("shadow", transfer)):
            name = f"{variant}-{kind}"
            found[name] = clock(
                name,
                partial(
                    attack_layers, outputs, member, attacker=attacker, variant=how, seeds=seeds
                ),
            )
    norms = {k: feature_norms(v)[:, None] for k, v in outputs.items()}
    found["feature-norm"] = clock("feature-norm", lambda: attack_layers(norms, member, seeds=seeds))
    some = tuple(p[: config.gradients] for p in parts)
    few, few_member = _joined((some[0], some[1]))
    labels = torch.from_numpy(pool.labels_host[few])
    gradients = clock(
        "gradients",
        lambda: gradient_norms(
            target, pool.batch(few, *scale), labels, batch=_gradient_batch(pool)
        ),
    )
    with_weights = {k: np.log(v + 1e-12)[:, None] for k, v in gradients.items()}
    found["gradient-norm"] = clock(
        "gradient-norm", lambda: attack_layers(with_weights, few_member, seeds=seeds)
    )
    return {k: _figures(v, list(outputs)) for k, v in found.items()}, seconds


def _gradient_batch(pool: Resident) -> int:
    return 32 if pool.device.type == "cuda" else 16


def _joined(parts: tuple[Rows, Rows]) -> tuple[Rows, BoolArray]:
    rows = np.concatenate(parts)
    return rows, np.arange(len(rows)) < len(parts[0])


def _figures(table: AttackTable, layers: Sequence[str]) -> Mapping[str, Any]:
    """Per layer and seed; None for a layer that has no weights to take a gradient of."""
    place = {name: i for i, name in enumerate(table.layer)}

    def of(values: Float64Array) -> Any:
        blank = np.full(values.shape[1], np.nan)
        return plain(np.stack([values[place[n]] if n in place else blank for n in layers]))

    return {
        "auc": of(table.auc),
        "balanced_accuracy": of(table.balanced_accuracy),
        "tpr": of(table.tpr),
        "realised_fpr": of(table.realised_fpr),
        "judged": table.judged,
    }
