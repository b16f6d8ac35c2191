"""What the kept networks of a run show: what probes measure, curvature, layers, prediction depth."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from seepage.array_types import Float64Array, FloatArray, Int64Array
from seepage.attacks import binding
from seepage.curvature import Curvature, curvature
from seepage.curvature.base import Estimator
from seepage.curvature.estimate import estimator as named
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet.rebuild import Factory, Rebuilt, pool_of, rebuild
from seepage.layers import (
    DegreesOfFreedom,
    Jacobian,
    Logistic,
    RiskMeasurement,
    RiskTable,
    ShadowTransfer,
    SmallMLP,
    gather_outputs,
    measure_risk,
    risk_table,
)
from seepage.metrics import Estimate, auc_interval
from seepage.plan import partitions
from seepage.plane import prediction_depth
from seepage.probes.base import Asked, Probe, Unasked
from seepage.probes.one_pass import Rate, measure, rate
from seepage.store import Run
from seepage.store.derived import keep_derived
from seepage.store.files import plain

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Estimators",
    "KeptCurvature",
    "KeptLayers",
    "compare_estimators",
    "keep_result",
    "kept_cost",
    "kept_curvature",
    "kept_depth",
    "kept_layers",
    "kept_signals",
    "read_by",
]


def keep_result(run: Run, name: str, content: Mapping[str, Any]) -> str:
    """Write what was found out about kept networks for the next report, and say where it lies."""
    return keep_derived(run.path, run.manifest, name, plain(content))


@dataclass(frozen=True, eq=False)
class KeptCurvature:
    """Curvature of the loss at every sample under one kept network, members against others."""

    own: Rebuilt
    found: Curvature

    @property
    def medians(self) -> tuple[float, float]:
        """Median score of members and of non-members."""
        score, member = self.found.score, self.own.member
        return float(np.median(score[member])), float(np.median(score[~member]))

    @property
    def auc(self) -> Estimate:
        """Probability that a random member's loss is less curved than a non-member's."""
        return auc_interval(-self.found.score, self.own.member)

    @property
    def p(self) -> float:
        """Two-sided Mann-Whitney test of equal scores."""
        score, member = self.found.score, self.own.member
        test = stats.mannwhitneyu(score[member], score[~member], alternative="two-sided")
        return float(test.pvalue)

    def table(self, run: Run) -> pa.Table:
        """A row per sample; numbers that an estimator does not give are null."""
        import pyarrow as pa

        count = len(self.found)
        columns: dict[str, Any] = {
            "model": np.full(count, self.own.row, dtype=np.int32),
            "epoch": np.full(count, self.own.epoch),
            "row": np.arange(count, dtype=np.int32),
            "id": pa.array(run.ids.tolist(), pa.string()),
            "label": run.labels,
            "member": self.own.member,
            "score": self.found.score,
        }
        for name in ("trace", "frobenius", "trace_error", "frobenius_error"):
            values = getattr(self.found, name)
            columns[name] = pa.nulls(count, pa.float64()) if values is None else pa.array(values)
        return pa.table(columns)


def kept_curvature(
    run: Run,
    target: int = 0,
    t: int = -1,
    *,
    estimator: Estimator,
    model: Factory | None = None,
    data: Dataset | None = None,
    seed: int = 0,
) -> KeptCurvature:
    """Curvature at every sample under one kept network; arguments as `rebuild` has them.

    Every network draws directions of its own, from `seed` and its row in the plan.
    """
    own = rebuild(run, target, t, model=model, data=data)
    generator = np.random.default_rng([seed, own.row])
    return KeptCurvature(
        own, curvature(own.model, own.inputs, own.labels, estimator, generator=generator)
    )


def kept_signals(
    run: Run,
    target: int,
    t: int,
    probes: Sequence[Probe],
    *,
    model: Factory | None = None,
    data: Dataset | None = None,
    seed: int = 0,
    samples: Int64Array | None = None,
    read: Mapping[str, FloatArray] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """What probes measure of one kept network at every sample: name -> (N,) or (N, F).

    Arguments as `rebuild` has them. samples: positions of the pool that it is asked about, all by
    default; a probe that compares samples compares these. Every network has random directions of its own, from `seed` and
    its row in the plan. read: `read_by` at that checkpoint, where it is at hand.
    """
    read = read_by(run, t, probes) if read is None else read
    asked = _asked(run, target, t, probes, model, data, seed, read)
    return measure(probes, asked if samples is None else asked.of(samples))


def read_by(run: Run, t: int, probes: Sequence[Probe]) -> dict[str, FloatArray]:
    """The recorded signals that probes read, of every model: name -> (R, N[, A])."""
    return binding.signals_at(run, list(dict.fromkeys(n for p in probes for n in p.reads)), t)


def kept_cost(
    run: Run,
    t: int,
    probes: Sequence[Probe],
    *,
    model: Factory | None = None,
    data: Dataset | None = None,
) -> Rate:
    """How long probes take on one kept network, from a first batch of samples; with rebuilding it."""
    read = read_by(run, t, probes)
    _asked(run, 0, t, probes, model, data, 0, read)  # pays for what is read once
    began = time.perf_counter()
    asked = _asked(run, 0, t, probes, model, data, 0, read)
    rebuilt = time.perf_counter() - began
    found = rate(probes, asked)
    return Rate(found.once + rebuilt, found.each)


def _asked(
    run: Run,
    target: int,
    t: int,
    probes: Sequence[Probe],
    model: Factory | None,
    data: Dataset | None,
    seed: int,
    read: Mapping[str, FloatArray],
) -> Asked:
    at = range(len(run.checkpoints))[t]
    recorded = {name: values[target] for name, values in read.items()}
    owner = None if run.groups is None else np.unique(run.groups, return_inverse=True)[1]
    if not any(p.asks for p in probes):
        pool = pool_of(run, data)
        asked = pool.inputs, pool.labels, (seed, int(run.models[target])), None
        return Asked(Unasked(), *asked, run.member[target], recorded, owner)
    texts = any(p.of_texts for p in probes)
    own = rebuild(run, target, t, model=model, data=data, texts=texts)
    earlier = at > 0 and any(p.reads_before for p in probes)
    before = (
        rebuild(run, target, at - 1, model=model, data=data, texts=texts).model if earlier else None
    )
    return Asked(
        own.model, own.inputs, own.labels, (seed, own.row), before, own.member, recorded, owner
    )


@dataclass(frozen=True, eq=False)
class Estimators:
    """Estimators of curvature against each other on one kept network.

    names (E,); spearman (E, E): rank correlation of the norms over samples, NaN where one of them
    is constant; passes (E,): forward evaluations per sample; cost (E,): processor time in units of
    one forward pass, backward passes and checks of the model included.
    """

    names: tuple[str, ...]
    spearman: Float64Array
    passes: tuple[int, ...]
    cost: tuple[float, ...]
    samples: int
    directions: int
    model: int
    epoch: float


def compare_estimators(
    run: Run,
    target: int = 0,
    *,
    samples: int = 300,
    directions: int = 10,
    model: Factory | None = None,
    seed: int = 0,
) -> Estimators:
    """All estimators on `samples` random samples of the pool, with `directions` each."""
    chosen = {
        "exact": named("exact"),
        **{k: named(k, {"n": directions}) for k in ("hutchinson", "finite-difference")},
        "zeroth-order": named("zeroth-order", {"n": directions}),
    }
    own = rebuild(run, target, model=model)
    count = min(samples, len(own.labels))
    rows = np.sort(np.random.default_rng(seed).choice(len(own.labels), count, replace=False))
    x, y = own.inputs[rows], own.labels[rows]
    norms: list[Float64Array] = []
    cost: list[float] = []
    for e in chosen.values():
        call = _forward_seconds(own.model, x)
        spent = []
        for _ in range(2):  # the first pays for what is chosen or compiled once
            began = time.process_time()
            found = curvature(own.model, x, y, e, generator=np.random.default_rng(seed))
            spent.append(time.process_time() - began)
        cost.append(min(spent) / call)
        norms.append(found.frobenius if found.frobenius is not None else found.score)
    with np.errstate(invalid="ignore"):
        rho = [
            [
                float(stats.spearmanr(a, b)[0]) if len(set(a)) > 1 < len(set(b)) else np.nan
                for b in norms
            ]
            for a in norms
        ]
    return Estimators(
        tuple(chosen),
        np.array(rho),
        tuple(e.passes for e in chosen.values()),
        tuple(cost),
        count,
        directions,
        own.row,
        own.epoch,
    )


def _forward_seconds(model: torch.nn.Module, x: torch.Tensor) -> float:
    """Processor time of one forward pass over `x` in batches, the least of three."""
    times = []
    with torch.no_grad():
        for _ in range(4):
            began = time.process_time()
            for part in torch.split(x, 256):
                model(part)
            times.append(time.process_time() - began)
    # The first one pays for kernels that are chosen then; clocks have a least step.
    return max(min(times[1:]), 1e-6)


@dataclass(frozen=True, eq=False)
class KeptLayers:
    """Indicators and attack per layer of kept networks, at some checkpoints.

    assessments[k][r]: of network r at the k-th of `epochs`.
    """

    assessments: list[list[RiskMeasurement]]
    epochs: list[float]
    models: list[int]
    variant: str

    @property
    def last(self) -> list[RiskMeasurement]:
        """Of every network at the last of the checkpoints."""
        return self.assessments[-1]

    def risk(self) -> RiskTable:
        """Layers by risk at the last checkpoint, over networks."""
        return risk_table([a.table for a in self.last], [a.attack for a in self.last])

    def content(self) -> dict[str, Any]:
        """For the report: per checkpoint and layer, in forward order.

        Raises InputError when the networks have different layers.
        """
        layers = self.assessments[0][0].table.layer
        if any(a.table.layer != layers for at in self.assessments for a in at):
            raise InputError(
                "layers: expected the same layers in every model, got others; name them with "
                "--layer"
            )
        table = self.risk()
        place = [table.layer.index(name) for name in layers]
        columns = [c for c in table.columns if not c.startswith("mia_")]

        def over_models(value: Any) -> Float64Array:
            return np.array([np.mean([value(a) for a in at], axis=0) for at in self.assessments])

        return {
            "layers": layers,
            "epochs": self.epochs,
            "models": self.models,
            "variant": self.variant,
            "indicators": {c: over_models(lambda a, c=c: a.table[c]) for c in columns},
            "attack_auc": over_models(lambda a: a.attack.auc.mean(axis=1)),
            "risk": table.risk[place],
            "regions": [list(table.modules[i]) for i in place],
            "basis": table.basis,
            "agreement": [
                {"indicator": k, "rho": a.rho, "p": a.p, "layers": a.layers}
                for k, a in table.agreement.items()
            ],
            "resolved": table.resolved,
        }


def kept_layers(
    run: Run,
    layers: Sequence[str] | None = None,
    *,
    models: int = 2,
    times: Sequence[int] = (-1,),
    samples: int = 2000,
    jacobian: bool = True,
    shadow: bool = False,
    attacker: Logistic | SmallMLP | None = None,
    model: Factory | None = None,
) -> KeptLayers:
    """Assess the layers of the first `models` kept networks at checkpoint indices `times`.

    layers: names or patterns, all when None. shadow: the attacker fits on another network of the
    run instead of half of the target's members. Other arguments as `seepage.layers.measure_risk`,
    and `rebuild` for model. Raises InputError as they do.
    """
    count = min(models, len(run.models))
    at = [range(len(run.checkpoints))[t] for t in times]
    chosen = (DegreesOfFreedom(), Jacobian()) if jacobian else (DegreesOfFreedom(),)
    asked = None if layers is None else list(layers)

    def one(target: int, t: int) -> RiskMeasurement:
        variant = _shadow(run, target, t, model, asked) if shadow else None
        own = rebuild(run, target, t, model=model)
        return measure_risk(
            own.model,
            own.inputs,
            own.member,
            asked,
            samples=samples,
            indicators=chosen,
            variant=variant,
            attacker=attacker,
        )

    return KeptLayers(
        [[one(r, t) for r in range(count)] for t in at],
        [float(run.checkpoints[t]) for t in at],
        [int(r) for r in run.models[:count]],
        "shadow" if shadow else "audit",
    )


def _shadow(
    run: Run, target: int, t: int, model: Factory | None, layers: list[str] | None
) -> ShadowTransfer:
    """Another kept network as the attacker's own; none of the target's tuple, whose members differ."""
    number = partitions(run.member)
    free = np.flatnonzero(number != number[target]).tolist()
    if not free:
        raise InputError("--variant shadow: expected a third model, got two; use audit")
    own = rebuild(run, free[0], t, model=model)
    return ShadowTransfer(gather_outputs(own.model, own.inputs, layers), own.member)


def kept_depth(run: Run, targets: Int64Array, *, model: Factory | None = None) -> Float64Array:
    """Mean prediction depth over the kept networks that trained on the sample, NaN without: (N,).

    targets: positions among the usable runs, of whose last weights `rebuild` makes networks, from
    `model` where it is given.
    """
    total = np.zeros(run.member.shape[1])
    count = np.zeros_like(total)
    data = run.data()
    for target in targets.tolist():
        kept = rebuild(run, target, data=data, model=model)
        features = list(gather_outputs(kept.model, kept.inputs).values())
        with torch.no_grad():
            final = torch.cat([kept.model(x).argmax(1) for x in torch.split(kept.inputs, 512)])
        depth = prediction_depth(
            features, kept.labels.numpy(), support=kept.member, final=final.numpy()
        )
        total += np.where(kept.member, depth, 0)
        count += kept.member
    out = np.full(len(total), np.nan)
    np.divide(total, count, out=out, where=count > 0)
    return out
