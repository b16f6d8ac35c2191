"""Risk of every layer, and how far the indicators agree with the attack."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
import torch
from numpy.typing import ArrayLike
from torch import nn

from seepage.array_types import Float64Array
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_floats
from seepage.layers.attack import Attacker, AttackTable, Audit, ShadowTransfer, attack_layers
from seepage.layers.features import gather_outputs
from seepage.layers.hooks import Inputs, sample_count, select_samples
from seepage.layers.jacobian import Jacobian
from seepage.layers.probe import DegreesOfFreedom, Indicator, probe
from seepage.layers.table import LayerTable
from seepage.short_repr import short_repr

__all__ = [
    "RankAgreement",
    "RiskMeasurement",
    "RiskTable",
    "measure_risk",
    "rank_agreement",
    "risk_table",
]


@dataclass(frozen=True)
class RankAgreement:
    """Spearman's ρ between an indicator and the attack across layers, and its permutation p-value.

    `p` is two-sided; `layers` how many layers, `models` how many rows were pooled; `exact`: all
    permutations were counted instead of a sample. NaN where either is constant or fewer than three
    layers are there.
    """

    rho: float
    p: float
    layers: int
    models: int
    exact: bool


def _ranks(x: ArrayLike, name: str) -> Float64Array:
    a = np.atleast_2d(given_floats(x, "x"))
    if a.ndim != 2 or not np.isfinite(a).all():
        raise InputError(f"{name}: expected finite values (layers,) or (models, layers)")
    r = np.asarray(scipy.stats.rankdata(a, axis=1), dtype=np.float64)
    return np.asarray(r - r.mean(axis=1, keepdims=True), dtype=np.float64)


def rank_agreement(
    indicator: ArrayLike,
    attack: ArrayLike,
    *,
    permutations: int = 10_000,
    rng: np.random.Generator | None = None,
) -> RankAgreement:
    """ρ of two rankings of layers: (L,) each, or (M, L) to pool models after ranking within each.

    Pooled: ranks are centred within every model, ρ = Σ ab / √(Σa² Σb²) over all of them, and the
    permutations shuffle layers within models. p = (1 + #{|ρ*| ≥ |ρ|}) / (1 + permutations), or the
    exact share where one model has at most 7 layers. With few layers (≤ 16) it has little
    statistical power.

    >>> a = rank_agreement([1, 2, 3, 4], [10, 20, 30, 40])
    >>> a.rho, round(a.p, 4), a.exact
    (1.0, 0.0833, True)
    """
    a, b = _ranks(indicator, "indicator"), _ranks(attack, "attack")
    if a.shape != b.shape:
        raise InputError(f"attack: expected shape {a.shape} as the indicator, got {b.shape}")
    models, layers = a.shape
    norm = math.sqrt(float((a * a).sum() * (b * b).sum()))
    if layers < 3 or norm == 0:
        return RankAgreement(math.nan, math.nan, layers, models, True)
    rho = float((a * b).sum()) / norm
    room = 1e-9
    if models == 1 and layers <= 7:
        orders = np.array(list(itertools.permutations(range(layers))))
        drawn = (a[0, orders] * b[0]).sum(1) / norm
        p = float((np.abs(drawn) >= abs(rho) - room).mean())
        return RankAgreement(rho, p, layers, models, True)
    rng = np.random.default_rng(0) if rng is None else rng
    hits = 0
    for start in range(0, permutations, 1000):
        size = min(1000, permutations - start)
        shuffled = rng.permuted(np.broadcast_to(a, (size, models, layers)), axis=2)
        drawn = (shuffled * b).sum((1, 2)) / norm
        hits += int((np.abs(drawn) >= abs(rho) - room).sum())
    return RankAgreement(rho, (1 + hits) / (1 + permutations), layers, models, False)


@short_repr
@dataclass(frozen=True, eq=False)
class RiskTable:
    """One row per layer, the riskiest first.

    layer, modules (whose weights), risk (L,) in [0, 1]; `basis` says what the risk is; columns:
    every indicator and attack figure in the same order; agreement: indicator -> with the attack's
    AUC (empty without an attack). `spread` is the standard deviation of the attack's AUC across
    layers, `noise` the standard error over seeds of a layer's AUC relative to the other layers (NaN
    without an attack or with one seed): where spread is below twice the noise, the attack does not
    distinguish the layers, and an agreement with their order means little. Seeds only split the
    same samples differently, so the noise does not cover the choice of samples: use several models.
    """

    layer: tuple[str, ...]
    modules: tuple[tuple[str, ...], ...]
    risk: Float64Array
    basis: str
    columns: dict[str, Float64Array]
    agreement: dict[str, RankAgreement]
    spread: float = math.nan
    noise: float = math.nan

    @property
    def resolved(self) -> bool | None:
        """Whether the attack distinguishes the layers; None where that is unknown."""
        if not math.isfinite(self.noise):
            return None
        return self.spread > 2 * self.noise

    def to_rows(self) -> list[dict[str, Any]]:
        """One mapping of plain numbers per layer, the riskiest first."""
        return [
            {
                "layer": name,
                "risk": float(self.risk[i]),
                **{k: float(v[i]) for k, v in self.columns.items()},
            }
            for i, name in enumerate(self.layer)
        ]

    def regions(self, top: int) -> tuple[str, ...]:
        """The `top` riskiest layers as patterns of parameter names, what a defence takes.

        >>> columns = {"k95": np.array([3.0, 1.0])}
        >>> t = RiskTable(("b", "a"), (("b",), ("a", "norm")), np.ones(2), "", columns, {})
        >>> t.regions(2)
        ('b.*', 'a.*', 'norm.*')
        """
        if not 1 <= top <= len(self.layer):
            raise InputError(f"top: expected 1 to {len(self.layer)} layers, got {top}")
        patterns = [f"{m}.*" if m else "*" for ms in self.modules[:top] for m in ms]
        return tuple(dict.fromkeys(patterns))

    def __str__(self) -> str:
        shown = list(self.columns)
        lines = [["layer", "risk", *shown]]
        lines += [
            [row["layer"], *(f"{row[k]:.4g}" for k in ("risk", *shown))] for row in self.to_rows()
        ]
        widths = [max(len(line[c]) for line in lines) for c in range(len(lines[0]))]
        text = [
            "  ".join(
                [line[0].ljust(widths[0])]
                + [cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)]
            )
            for line in lines
        ]
        text.append(f"risk: {self.basis}")
        text += [
            f"{name}: rho {a.rho:+.2f} with the attack, p {a.p:.2g} ({a.layers} layers)"
            for name, a in self.agreement.items()
            if math.isfinite(a.rho)
        ]
        if self.resolved is False:
            text.append(
                f"the attack does not distinguish the layers (AUC spread {self.spread:.2g}, noise "
                f"{self.noise:.2g}): their order and these agreements mean little"
            )
        return "\n".join(text)


_INDICATORS = (
    *("k95", "k99", "erank", "participation", "ridge_df", "local_pca"),
    *("jac_rank_float", "jac_rank_1e2", "jac_participation", "stable_rank", "spectral_norm"),
)


def risk_table(
    table: LayerTable | Sequence[LayerTable],
    attack: AttackTable | Sequence[AttackTable] | None = None,
    *,
    changes: Mapping[str, ArrayLike] | None = None,
    order: Sequence[str] | None = None,
    permutations: int = 10_000,
    rng: np.random.Generator | None = None,
) -> RiskTable:
    """Layers sorted by risk, with the agreement of every indicator with the attack.

    table, attack: of one model, or one each of M models of the same architecture (other seeds,
    other members); columns are then means over models, and agreement is pooled after ranking
    within each. With an attack the risk of a layer is the advantage max(0, 2·AUC − 1) of the attack
    on it, mean over seeds and models: a measurement. Without one it is the mean rank, scaled to
    [0, 1], of `order`, by default DoF k95 and the Jacobian's rank (its participation ratio where
    ranks are lower bounds): a **reconstruction** of the claim of arXiv 2412.00696 that layers with
    many directions and high Jacobian rank are the risky ones; its agreement with attacks has to be
    shown on the model at hand. changes: further indicators per layer, such as
    `change_values(...)["mcr"]`, (L,) or (M, L) in the table's order.

    Raises InputError where models or attacks differ in their layers or a column has another shape.
    """
    tables = [table] if isinstance(table, LayerTable) else list(table)
    if not tables or any(t.layer != tables[0].layer for t in tables):
        raise InputError("table: expected at least one model, all with the same layers")
    first, shape = tables[0], (len(tables), len(tables[0]))
    names = [c for c in _INDICATORS if all(c in t.measured() for t in tables)]
    columns = {c: np.stack([t[c] for t in tables]) for c in names}
    for name, values in (changes or {}).items():
        v = np.atleast_2d(np.asarray(values, dtype=np.float64))
        if v.shape != shape:
            raise InputError(
                f"{name}: expected one value per layer ({shape[1]}) of {shape[0]} models, got "
                f"shape {v.shape}"
            )
        columns[name] = v
    found: dict[str, RankAgreement] = {}
    attacks: list[AttackTable] = []
    success: Float64Array | None = None
    if attack is None:
        by = list(order) if order is not None else _default_order(tables, columns)
        missing = [c for c in by if c not in columns]
        if missing or not by:
            raise InputError(
                f"order: expected measured indicators, got {missing or 'none'}; "
                f"known are: {', '.join(columns)}"
            )
        ranks = np.mean([scipy.stats.rankdata(columns[c], axis=1) for c in by], axis=(0, 1))
        risk = (ranks - 1) / max(shape[1] - 1, 1)
        basis = f"mean rank of {' and '.join(by)} (reconstruction, no attack was run)"
    else:
        attacks = [attack] if isinstance(attack, AttackTable) else list(attack)
        success, accuracy, tpr = _aligned(attacks, first.layer, shape[0])
        for name, values in columns.items():
            if np.isfinite(values).all():
                found[name] = rank_agreement(values, success, permutations=permutations, rng=rng)
        columns |= {"mia_auc": success, "mia_bal_acc": accuracy, "mia_tpr": tpr}
        risk = np.maximum(2 * success.mean(axis=0) - 1, 0.0)
        a = attacks[0]
        basis = f"advantage of {a.variant} ({type(a.attacker).__name__}) on the layer"
    # Stable: layers of equal risk stay in the order of the forward pass.
    sort = np.argsort(-risk, kind="stable")
    return RiskTable(
        tuple(first.layer[i] for i in sort),
        tuple(first.regions[i] for i in sort),
        risk[sort],
        basis,
        {k: v.mean(axis=0)[sort] for k, v in columns.items()},
        found,
        *_resolution(attacks, success),
    )


def _resolution(
    attacks: Sequence[AttackTable], success: Float64Array | None
) -> tuple[float, float]:
    """Spread of AUC across layers, and the standard error of a layer relative to the others."""
    if success is None:
        return math.nan, math.nan
    spread = float(success.mean(axis=0).std())
    # All layers of a seed share its split: what changes all of them alike is not counted as noise.
    places = [a.auc - a.auc.mean(axis=0) for a in attacks]
    seeds = sum(p.shape[1] for p in places)
    if any(p.shape[1] < 2 for p in places):
        return spread, math.nan
    variance = np.mean([p.var(axis=1, ddof=1).mean() for p in places])
    return spread, float(np.sqrt(variance / seeds))


def _aligned(
    attacks: Sequence[AttackTable], layers: Sequence[str], models: int
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """AUC, balanced accuracy and TPR of every attack, (M, L) in the order of `layers`."""
    if len(attacks) != models:
        raise InputError(f"attack: expected one per model ({models}), got {len(attacks)}")
    rows = []
    for attack in attacks:
        row_of = {n: i for i, n in enumerate(attack.layer)}
        absent = [n for n in layers if n not in row_of]
        if absent:
            raise InputError(
                f"attack: expected every layer of the table, got none of {absent[0]!r}; "
                "use the same layers for both"
            )
        at = [row_of[n] for n in layers]
        rows.append(
            [f.mean(axis=1)[at] for f in (attack.auc, attack.balanced_accuracy, attack.tpr)]
        )
    stacked = np.array(rows)
    return stacked[:, 0], stacked[:, 1], stacked[:, 2]


def _default_order(tables: Sequence[LayerTable], columns: Mapping[str, Float64Array]) -> list[str]:
    bounds = any(t.at_least.any() for t in tables)
    rank = "jac_participation" if bounds else "jac_rank_float"
    return [c for c in ("k95", rank) if c in columns]


@dataclass(frozen=True, eq=False)
class RiskMeasurement:
    """Indicators and attack of one model, per layer."""

    table: LayerTable
    attack: AttackTable

    def risk(self) -> RiskTable:
        """Layers sorted by risk; for several models call `risk_table` with lists of both."""
        return risk_table(self.table, self.attack)


def measure_risk(
    model: nn.Module,
    inputs: Inputs,
    member: ArrayLike,
    layers: str | Sequence[str] | None = None,
    *,
    samples: int = 2000,
    indicators: Sequence[Indicator] = (DegreesOfFreedom(), Jacobian()),
    variant: Audit | ShadowTransfer | None = None,
    attacker: Attacker | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    batch: int = 256,
) -> RiskMeasurement:
    """Probe a model on its members and attack each of its layers: what `seepage layers` shows.

    inputs: all N samples as the model's forward takes them; member (N,) bool. The probe set is
    `samples` members drawn by the first seed (all where there are fewer). The attack reads pooled
    outputs of all samples. Same arguments, same result; the model is not changed.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> x = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
    >>> a = measure_risk(net, x, np.arange(120) < 60, indicators=[DegreesOfFreedom()])
    >>> a.table.layer == a.attack.layer, len(a.risk().regions(1))
    (True, 1)
    """
    m = given_array(member, "member")
    if m.shape != (sample_count(inputs),) or m.dtype != np.bool_:
        raise InputError(
            f"member: expected bool of shape ({sample_count(inputs)},), got {m.dtype} {m.shape}"
        )
    if not seeds:
        raise InputError("seeds: expected at least one, got none")
    rows = np.flatnonzero(m)
    if len(rows) > samples:
        rows = np.sort(np.random.default_rng(seeds[0]).choice(rows, samples, replace=False))
    chosen = torch.from_numpy(rows)
    table = probe(model, select_samples(inputs, chosen), layers, indicators=indicators, batch=batch)
    outputs = gather_outputs(model, inputs, layers, batch=batch)
    attack = attack_layers(outputs, m, variant=variant, attacker=attacker, seeds=seeds)
    return RiskMeasurement(table, attack)
