"""Units on privacy: the attacks under DP-SGD, with shadows trained exactly as the targets are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from seepage.config.recipe import Recipe
from seepage.defenses.accountant import epsilon
from seepage.defenses.dp import DPSGD
from seepage.errors import InputError
from seepage.plan import half_split
from seepage.study.curvature.runs import StudyRuns
from seepage.study.curvature.scoring import rows_of, twin_list
from seepage.study.curvature.settings import PrivateSettings
from seepage.study.curvature.sizes import KEYS

__all__ = ["budgets", "noise_for", "private_unit"]


def budgets(given: PrivateSettings) -> dict[str, float | None]:
    """Names of the units' budgets: finite ones, "inf" (clipped only), "none" (neither)."""
    return {**{f"{e:g}": e for e in given.epsilons}, "inf": math.inf, "none": None}


def noise_for(target: float, rate: float, steps: int, delta: float) -> float:
    """Smallest noise multiplier whose ε is at most `target`, by bisection to 1e-3.

    For ε = 4, rate 0.2, 200 steps and δ = 1e-5 it is 3.22 (needs Opacus).
    """
    low, high = 0.01, 1.0
    while epsilon(high, rate, steps, delta) > target:
        low, high = high, 2 * high
        if high > 1e4:
            raise InputError(f"epsilons: expected one that noise can reach, got {target}")
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (
            (middle, high) if epsilon(middle, rate, steps, delta) > target else (low, middle)
        )
    return high


def private_unit(runs: StudyRuns, given: PrivateSettings, name: str) -> dict[str, Any]:
    """One budget: all models under it, each once the target, the others its shadows."""
    data = runs.load(given.data)
    plan = half_split(len(data), models=given.models, seed=given.seed)
    recipe = Recipe(**given.recipe)
    members = int(plan.member.sum(axis=1).min())
    rate = min(1.0, recipe.batch / members)
    steps = max(1, members // min(recipe.batch, members)) * recipe.epochs
    budget = budgets(given)[name]
    if budget is None:
        defense = DPSGD(noise=0.0, max_norm=math.inf)
    elif math.isinf(budget):
        defense = DPSGD(noise=0.0, max_norm=given.max_norm, delta=given.delta)
    else:
        noise = noise_for(budget, rate, steps, given.delta)
        defense = DPSGD(noise=noise, max_norm=given.max_norm, delta=given.delta)
    run = runs.train(f"dp-{name}", data, plan, given, defense=defense)
    rng = np.random.default_rng([given.seed, 1])
    rows = np.sort(rng.choice(len(data), min(given.scored, len(data)), replace=False))
    measured = runs.measure(run, data, rows, estimators=runs.estimators(published=False))
    member = run.member[:, rows]
    right = measured["correct"][..., 0]
    spent = [run.records[int(r)].get("facts", {}).get("epsilon") for r in run.models]
    told = run.records[int(run.models[0])].get("facts", {})
    return {
        "budget": name,
        "noise": defense.noise,
        "max_norm": None if math.isinf(defense.max_norm) else defense.max_norm,
        "epsilon": spent[0],
        "gradients": told.get("per_sample_gradients"),
        "delta": given.delta,
        "sampling rate": rate,
        "steps": steps,
        "settings": given.model_dump(mode="json"),
        "models": len(member),
        "samples": len(rows),
        "accuracy": [float((right * s).sum() / s.sum()) for s in (member, ~member)],
        "attacks": rows_of(measured, member, KEYS),
        "twin": twin_list(member),
    }
