"""One model with known members: probe it, attack every layer, rank the layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from seepage.errors import InputError
from seepage.layers.attack import (
    Attacker,
    AttackTable,
    Audit,
    ShadowTransfer,
    attack_layers,
)
from seepage.layers.derivative import Jacobian
from seepage.layers.outputs import gather_outputs
from seepage.layers.probe import DegreesOfFreedom, Indicator, probe
from seepage.layers.risk import RiskTable, risk_table
from seepage.layers.table import LayerTable
from seepage.layers.watch import Inputs, count, take

__all__ = ["Assessment", "assess"]


@dataclass(frozen=True, eq=False)
class Assessment:
    """Indicators and attack of one model, per layer."""

    table: LayerTable
    attack: AttackTable

    def risk(self) -> RiskTable:
        """Layers sorted by risk; for several models call `risk_table` with lists of both."""
        return risk_table(self.table, self.attack)


def assess(
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
) -> Assessment:
    """Probe a model on its members and attack each of its layers: what `seepage layers` shows.

    inputs: all N samples as the model's forward takes them; member (N,) bool. The probe set is
    `samples` members drawn by the first seed (all where there are fewer). The attack reads pooled
    outputs of all samples. Same arguments, same result; the model is left as it was found.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> x = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
    >>> a = assess(net, x, np.arange(120) < 60, indicators=[DegreesOfFreedom()])
    >>> a.table.layer == a.attack.layer, len(a.risk().regions(1))
    (True, 1)
    """
    m = np.asarray(member)
    if m.shape != (count(inputs),) or m.dtype != np.bool_:
        raise InputError(
            f"member: expected bool of shape ({count(inputs)},), got {m.dtype} {m.shape}"
        )
    if not seeds:
        raise InputError("seeds: expected at least one, got none")
    rows = np.flatnonzero(m)
    if len(rows) > samples:
        rows = np.sort(np.random.default_rng(seeds[0]).choice(rows, samples, replace=False))
    chosen = torch.from_numpy(rows)
    table = probe(model, take(inputs, chosen), layers, indicators=indicators, batch=batch)
    outputs = gather_outputs(model, inputs, layers, batch=batch)
    attack = attack_layers(outputs, m, variant=variant, attacker=attacker, seeds=seeds)
    return Assessment(table, attack)
