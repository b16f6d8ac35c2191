"""`compare_defenses`: one fleet per defence on the same plan, evaluated against attackers who know it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from seepage.attacks import Attack
from seepage.attacks import get as attack_by_name
from seepage.comparison.config import NONE, Candidate, FGSMConfig, plain_name
from seepage.comparison.evaluate import whole_pairs
from seepage.comparison.pool import Options, PoolComparison, Setting
from seepage.comparison.queue import run_pools
from seepage.comparison.results import PoolResults, Row, figure_key, read_pool
from seepage.comparison.verdicts import front
from seepage.config.execution import Execution
from seepage.config.model import Model, as_model
from seepage.config.prepare import check_references
from seepage.config.recipe import Recipe
from seepage.config.record import Record
from seepage.data import Dataset
from seepage.defenses import Defense, Undefended, as_config
from seepage.defenses import make as make_defense
from seepage.errors import InputError
from seepage.fleet import Silent, Watcher
from seepage.metrics import Estimate
from seepage.plan import SubsetPlan
from seepage.study.runner import Quiet

__all__ = ["ComparedDefense", "ComparisonResult", "compare_defenses"]


@dataclass(frozen=True)
class ComparedDefense:
    """One defence: what it costs and what it saves, each with its 95 % interval over pairs of runs.

    accuracy: of non-members. auc, tpr: of the main attack whose shadow models have the defence
    (adaptive); tpr by nominal FPR, at one threshold for all targets, realised_fpr what that
    threshold gave and null what a TPR there reads without leakage. static_auc, static_tpr: of the same attack with undefended shadow models. cost:
    training seconds over those of the undefended runs. on_front: whether none of the compared has
    both more accuracy and less AUC.
    """

    label: str
    accuracy: Estimate
    auc: Estimate
    tpr: Mapping[float, Estimate]
    realised_fpr: Mapping[float, float]
    null: Mapping[float, float]
    static_auc: Estimate
    static_tpr: Mapping[float, Estimate]
    cost: Estimate
    on_front: bool


@dataclass(frozen=True, eq=False)
class ComparisonResult:
    """What a comparison found. rows: "none" (undefended) first; failed: label -> why it was left
    out; pool: every figure, which `seepage.report.compare_defences.write_defend_report` draws.
    """

    rows: tuple[ComparedDefense, ...]
    failed: Mapping[str, str]
    pool: PoolResults

    def __getitem__(self, label: str) -> ComparedDefense:
        """The row of that label."""
        for row in self.rows:
            if row.label == label:
                return row
        raise KeyError(label)


def compare_defenses(
    data: Dataset,
    plan: SubsetPlan | Sequence[SubsetPlan],
    *,
    defenses: Sequence[str | Defense] | Mapping[str, str | Defense],
    model: str | Callable[[], nn.Module] | Model = "mlp",
    recipe: Recipe | None = None,
    attacks: Sequence[str | Attack] = ("lira", "rmia"),
    fprs: Sequence[float] = (0.01, 0.001),
    reference: Dataset | None = None,
    record: Record | None = None,
    execution: Execution | None = None,
    out: str | os.PathLike[str] = "runs/defences",
    jobs: int = 1,
    watcher: Watcher | None = None,
) -> ComparisonResult:
    """Train an undefended fleet and one per defence on the same plan; attack, compare.

    Target r of a fleet is attacked with the other runs as shadow models, its complementary run left
    out. The adaptive attacker's shadow models have the target's defence, the non-adaptive one's do
    not: what a naive evaluation would report. AUC and TPR are means over targets, their intervals
    t intervals over pairs of runs; differences against "none" are paired (`result.pool`).

    data: N samples. plan: complementary pairs of runs over them (`seepage.half_split`), or several
    such plans with seeds of their own, whose pairs are joined. defenses: names or objects, or label
    -> either; the undefended fleet is always there, as "none". model, recipe: as `seepage.train`.
    attacks: the main one first. fprs: nominal rates of the TPRs. reference: samples outside `data`
    that some defences need. record, execution: what is recorded (logits by default, for the
    calibration error) and where fleets run. out: run folders, and results next to them; the same
    call resumes and trains nothing twice. jobs: fleets side by side, in processes of their own; it
    needs a recipe whose precision is not "auto". watcher: informed of the progress of each fleet;
    nothing is printed without one.

    A defence that cannot be trained or evaluated is left out with its reason (`result.failed`).
    With few runs intervals are wide and an AUC near 0.5 shows nothing: raise the models of the
    plan. Raises InputError for bad values before anything is trained, and where `out` holds fleets
    of another configuration. Adaptive evaluation: Aerni et al., arXiv 2404.17399.

    >>> import tempfile, seepage
    >>> data = seepage.load("digits", limit=120)
    >>> plan = seepage.half_split(len(data), models=6, seed=0)
    >>> recipe = seepage.Recipe(epochs=1, batch=30, precision="fp32")
    >>> with tempfile.TemporaryDirectory() as out:
    ...     found = compare_defenses(
    ...         data, plan, defenses={"soft": "label-smoothing"}, recipe=recipe, fprs=(0.1,),
    ...         attacks=["lira"], execution=Execution(executor="inline"), out=out,
    ...     )
    >>> [row.label for row in found.rows], 0 <= found["soft"].auc.low <= found["soft"].auc.high <= 1
    (['none', 'soft'], True)
    """
    plans = [plan] if isinstance(plan, SubsetPlan) else list(plan)
    judges = tuple(attack_by_name(a) if isinstance(a, str) else a for a in attacks)
    _check(data, plans, judges)
    candidates = [Candidate(NONE, Undefended()), *_candidates(defenses)]
    name = plain_name(data.name)
    base = Setting(
        data.name,
        data,
        plans[0],
        recipe if recipe is not None else Recipe(),
        as_model(model),
        record if record is not None else Record(logits=True),
        execution if execution is not None else Execution(),
        reference,
    )
    pool = PoolComparison(
        name,
        Path(out) / name,
        Path(out) / "results" / name,
        _Given(base, {p.seed: p for p in plans}),
        candidates,
        Options(judges, tuple(fprs), FGSMConfig(), tuple(p.seed for p in plans)),
        _Watched(watcher),
    )
    run_pools([pool], jobs)
    return _result(pool)


@dataclass(frozen=True, eq=False)
class _Given:
    """What a caller passed, by the seed of the plan."""

    base: Setting
    plans: Mapping[int, SubsetPlan]

    def __call__(self, seed: int) -> Setting:
        own = {f.name: getattr(self.base, f.name) for f in fields(self.base)}
        return Setting(**own | {"plan": self.plans[seed]})


class _Watched(Quiet):
    """Progress of fleets alone."""

    def __init__(self, watcher: Watcher | None) -> None:
        self._watcher = watcher if watcher is not None else Silent()

    def watcher(self) -> Watcher:
        """The caller's."""
        return self._watcher


def _check(data: Dataset, plans: Sequence[SubsetPlan], judges: tuple[Attack, ...]) -> None:
    if not plans or not judges:
        what = "attacks" if plans else "plan"
        raise InputError(f"{what}: expected at least one, got none; name some")
    names = [a.name for a in judges]
    if len(set(names)) < len(names):
        raise InputError(f"attacks: expected each kind once, got {names}; compare options apart")
    seeds = [p.seed for p in plans]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"plan: expected plans of different seeds, got {seeds}")
    for p in plans:
        if p.samples != len(data):
            raise InputError(
                f"plan: expected as many samples as the data has ({len(data)}), got {p.samples}; "
                "make the plan with len(data)"
            )
        whole = whole_pairs(p.member, [np.arange(p.models)])
        if len(whole) < max(4, p.models):
            raise InputError(
                f"plan: expected at least two complementary pairs of runs and nothing else, got "
                f"{len(whole) // 2} pairs among {p.models} runs; use seepage.half_split"
            )
        if p.models != plans[0].models:
            raise InputError(
                f"plan: expected plans of one size, got {plans[0].models} and {p.models} models"
            )
        check_references(p, judges)


def _candidates(
    defenses: Sequence[str | Defense] | Mapping[str, str | Defense],
) -> list[Candidate]:
    if isinstance(defenses, Mapping):
        pairs = [(str(label), _made(d)) for label, d in defenses.items()]
    else:
        pairs = [(_label(d), d) for d in map(_made, defenses)]
    found = [Candidate(label, d) for label, d in pairs if not isinstance(d, Undefended)]
    if not found:
        raise InputError("defenses: expected at least one to compare, got none; name some")
    slugs = [NONE]
    for c in found:
        if c.slug in slugs or not c.slug:
            raise InputError(
                f"defenses: expected labels that differ from 'none' and each other, got "
                f"{c.label!r}; pass a mapping of labels to defences"
            )
        slugs.append(c.slug)
    return found


def _made(defense: str | Defense) -> Defense:
    if isinstance(defense, str):
        return make_defense(defense)
    if not isinstance(defense, Defense):
        raise InputError(f"defenses: expected a name or a defence, got {defense!r}")
    return defense


def _label(defense: Defense) -> str:
    """Its name, and the options that differ from the default's."""
    own = {k: v for k, v in as_config(defense).items() if k != "name"}
    try:
        usual = as_config(type(defense)())
    except TypeError:
        usual = {}
    told = " ".join(f"{k}={v}" for k, v in own.items() if usual.get(k, own) != v)
    return f"{defense.name} {told}".strip()


def _result(pool: PoolComparison) -> ComparisonResult:
    """Of what was requested alone: an earlier call may have left results of other defences."""
    options, labels = pool.options, [c.label for c in pool.candidates]
    found = read_pool(pool.results, options.main, options.fprs)
    found.rows[:] = sorted(
        (r for r in found.rows if r.label in labels), key=lambda r: labels.index(r.label)
    )
    found.failed[:] = [f for f in found.failed if f["label"] in labels]
    told = [(r, _figures(r, options)) for r in found.rows]
    on = front([f["accuracy"].mean for _, f in told], [f["auc"].mean for _, f in told])
    rows = tuple(
        ComparedDefense(label=r.label, on_front=bool(o), **f)
        for (r, f), o in zip(told, on, strict=True)
    )
    return ComparisonResult(rows, {f["label"]: str(f["failed"]) for f in found.failed}, found)


def _figures(row: Row, options: Options) -> dict[str, Any]:
    def of(figure: str, kind: str) -> Estimate:
        return row.estimate(figure_key(options.main, "pool", figure, kind))

    tpr = {fpr: f"tpr@{fpr:g}" for fpr in options.fprs}
    return {
        "accuracy": row.estimate("accuracy_out"),
        "auc": of("auc", "adaptive"),
        "tpr": {fpr: of(figure, "adaptive") for fpr, figure in tpr.items()},
        "realised_fpr": {
            fpr: row.realised.get(figure_key(options.main, "pool", figure), float("nan"))
            for fpr, figure in tpr.items()
        },
        "null": {
            fpr: row.null.get(figure_key(options.main, "pool", figure), float("nan"))
            for fpr, figure in tpr.items()
        },
        "static_auc": of("auc", "static"),
        "static_tpr": {fpr: of(figure, "static") for fpr, figure in tpr.items()},
        "cost": row.estimate("cost"),
    }
