"""Curvature, layers, variants and labels, where a run recorded them or a later command measured them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.attacks.curvature import INSTEAD
from seepage.findings.source import sides
from seepage.metrics import auc, over_targets
from seepage.plane.difficulty import time_mean
from seepage.short_repr import short_repr

__all__ = [
    "CurvatureFinding",
    "LayerFinding",
    "curvature_finding",
    "derived_results",
    "kept_labels",
    "kept_variants",
    "layer_finding",
]

# Indicators that are drawn, in this order; others stay in the run folder.
DRAWN = ("k95", "erank", "pooled_k95", "jac_rank_1e2", "jac_participation", "stable_rank")


@short_repr
@dataclass(frozen=True, eq=False)
class CurvatureFinding:
    """Curvature of the recorded signal at the checkpoints that have it, (T',).

    epochs; inside, outside: median over samples of a run, geometric mean over runs; auc, low, high:
    AUC of low curvature (members have lower curvature than non-members), mean over targets with
    its interval. mean (N,): mean over runs and training time (`time_mean`), the memorisation score of Garg et
    al., who average over epochs; order (N,): highest first, samples that were not measured last; measured: how many were.
    last_in, last_out (N,): mean over runs with and without the sample at the last checkpoint.
    compared: what `seepage curvature compare` stored, or None.
    """

    signal: str
    epochs: Float64Array
    inside: Float64Array
    outside: Float64Array
    auc: Float64Array
    low: Float64Array
    high: Float64Array
    mean: Float64Array
    order: Int64Array
    measured: int
    last_in: Float64Array
    last_out: Float64Array
    compared: Mapping[str, Any] | None

    def summary(self) -> dict[str, Any]:
        """Everything but what is per sample."""
        return {
            "signal": self.signal,
            "epochs": self.epochs,
            "median_members": self.inside,
            "median_non_members": self.outside,
            "auc": self.auc,
            "auc_low": self.low,
            "auc_high": self.high,
            "measured": self.measured,
            "estimators": self.compared,
        }


@short_repr
@dataclass(frozen=True, eq=False)
class LayerFinding:
    """Indicators per layer over training, and the attack where it was run.

    layers (L,); epochs (T',); indicators: name -> (T', L), mean over runs. attack_epochs, attack
    (A, L): AUC of the attack per layer, mean over `attack_models` kept models; empty without one.
    risk (L,) in [0, 1] and `basis`, how it was found; measured: by an attack, not by indicators.
    agreement: rows of indicator, rho, p with the attack at its last epoch. resolved: whether the
    attack distinguishes the layers, None where that is unknown.
    """

    layers: tuple[str, ...]
    epochs: Float64Array
    indicators: Mapping[str, Float64Array]
    attack_epochs: Float64Array
    attack: Float64Array
    attack_models: int
    risk: Float64Array
    basis: str
    measured: bool
    agreement: tuple[Mapping[str, Any], ...]
    resolved: bool | None

    def summary(self) -> dict[str, Any]:
        """All of it."""
        return {
            "layers": self.layers,
            "epochs": self.epochs,
            "indicators": self.indicators,
            "attack_epochs": self.attack_epochs,
            "attack_auc": self.attack,
            "attack_models": self.attack_models,
            "risk": self.risk,
            "basis": self.basis,
            "agreement": self.agreement,
            "attack_tells_layers_apart": self.resolved,
        }


def _derived(run: Any, name: str) -> Mapping[str, Any] | None:
    read = getattr(run, "derived", None)
    found: Mapping[str, Any] | None = None if read is None else read(name)
    return found


def derived_results(run: Any) -> dict[str, Mapping[str, Any] | None]:
    """Whatever later commands found out that a report shows, by name."""
    return {n: _derived(run, n) for n in ("curvature", "import", "labels", "layers", "variants")}


def kept_variants(run: Any) -> Mapping[str, Any] | None:
    """What `seepage.findings.variants` kept of a run, or None."""
    return _derived(run, "variants")


def kept_labels(run: Any) -> Mapping[str, Any] | None:
    """What was kept of how much a run tells of labels (`seepage.findings.label_inference`), or None."""
    return _derived(run, "labels")


def _side(values: Float64Array, member: BoolArray) -> Float64Array:
    """Geometric mean over runs of the median over the samples of one side."""
    medians = np.nanmedian(np.where(member, values, np.nan), axis=1)
    return np.asarray(np.exp(np.log(np.maximum(medians, 1e-30)).mean()))


def curvature_finding(run: Any) -> CurvatureFinding | None:
    """Of a run whose Recorder measured curvature; None for others."""
    name = next((s for s in INSTEAD if s in run.signals), None)
    if name is None:
        return None
    member = np.asarray(run.member)
    rows: list[list[float]] = []
    epochs: list[float] = []
    traces: list[Float64Array] = []
    last = np.empty(0)
    for t, epoch in enumerate(run.checkpoints):
        values = np.asarray(run.signal_at(name, t), dtype=np.float64)
        held = np.isfinite(values).all(axis=0)
        if not held.any():
            continue
        m, v = member[:, held], values[:, held]
        if not (m.any(axis=1) & (~m).any(axis=1)).all():
            continue
        found = over_targets(
            [auc(-row, side) for row, side in zip(v, m, strict=True)], member, shared=False
        )
        rows.append([float(_side(v, m)), float(_side(v, ~m)), found.mean, found.low, found.high])
        epochs.append(float(epoch))
        traces.append(values.mean(axis=0))
        last = values
    if not rows:
        return None
    mean = np.asarray(time_mean(np.stack(traces), np.array(epochs)), np.float64)
    last_in, last_out = sides(last, member)
    inside, outside, area, low, high = np.array(rows).T
    return CurvatureFinding(
        name,
        np.array(epochs),
        inside=inside,
        outside=outside,
        auc=area,
        low=low,
        high=high,
        mean=mean,
        order=np.argsort(-mean, kind="stable"),  # NaN sorts last
        measured=int(np.isfinite(mean).sum()),
        last_in=last_in,
        last_out=last_out,
        compared=_derived(run, "curvature"),
    )


def layer_finding(run: Any) -> LayerFinding | None:
    """Of a run whose Recorder probed layers, or on which `seepage layers` was run; else None."""
    looked = _derived(run, "layers")
    names = [s for s in run.signals if s.startswith("layer_") and s != "layer_spectrum"]
    if looked is None and not names:
        return None
    indicators: dict[str, Float64Array] = {}
    epochs = np.empty(0)
    layers: tuple[str, ...] = ()
    if names:
        epochs = np.asarray(run.checkpoints, dtype=np.float64)
        known = [c for c in DRAWN if f"layer_{c}" in names]
        for column in known or [n.removeprefix("layer_") for n in names]:
            series = np.array(
                [run.signal_at(f"layer_{column}", t).mean(axis=0) for t in range(len(epochs))],
                dtype=np.float64,
            )
            if np.isfinite(series).all():
                indicators[column] = series
        count = next(iter(indicators.values())).shape[1] if indicators else 0
        told = run.manifest.get("chosen", {}).get("layers") or range(1, count + 1)
        layers = tuple(str(n) for n in told)
    if looked is not None:
        own = tuple(str(n) for n in looked["layers"])
        if layers != own:
            # `seepage layers` measured other layers: only its figures come with an attack.
            layers, indicators, epochs = own, {}, np.empty(0)
        if not indicators:
            epochs = np.asarray(looked["epochs"], dtype=np.float64)
            indicators = {
                c: np.asarray(v, dtype=np.float64)
                for c, v in looked["indicators"].items()
                if c in DRAWN
            }
    if not layers:
        return None
    attack = np.asarray(looked["attack_auc"], dtype=np.float64) if looked else np.empty((0, 0))
    if attack.size and looked is not None:
        risk = np.asarray(looked["risk"], dtype=np.float64)
        basis = str(looked["basis"])
    else:
        named = ("k95", "jac_participation")
        by = [str(c) for c in named if c in indicators] or list(indicators)
        ranks = np.mean([scipy.stats.rankdata(indicators[c][-1]) for c in by], axis=0)
        risk = (ranks - 1) / max(len(layers) - 1, 1)
        basis = f"mean rank of {' and '.join(by)} (reconstruction, no attack was run)"
    return LayerFinding(
        layers=layers,
        epochs=epochs,
        indicators=indicators,
        attack_epochs=np.asarray(looked["epochs"] if looked and attack.size else [], np.float64),
        attack=attack,
        attack_models=len(looked["models"]) if looked else 0,
        risk=risk,
        basis=basis,
        measured=bool(attack.size),
        agreement=tuple(looked["agreement"]) if looked else (),
        resolved=looked["resolved"] if looked else None,
    )
