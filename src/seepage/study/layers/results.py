"""Figures read from one unit's result: series of indicators, success of attacks, what they resolve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import norm

from seepage.array_types import BoolArray, Float64Array

__all__ = [
    "Found",
    "above_chance",
    "best_of_guesses",
    "distinguishes",
    "resolved",
    "series_of",
    "success",
]

Found = Mapping[str, Mapping[str, Any]]
"""Unit name -> what was measured."""


def series_of(result: Mapping[str, Any], name: str) -> Float64Array:
    """An indicator's series (T, L) in a result."""
    return np.array(result["series"][name], dtype=np.float64)


def success(result: Mapping[str, Any], attack: str) -> Float64Array:
    """AUC of an attack per layer, mean over its seeds; of "reconstruction" the error instead."""
    if attack == "reconstruction":
        return np.array(result["reconstruction"], dtype=np.float64)
    auc: Float64Array = np.array(result["attacks"][attack]["auc"], dtype=np.float64)
    return np.asarray(auc.mean(axis=1), dtype=np.float64)


def resolved(result: Mapping[str, Any], attack: str) -> tuple[float, float]:
    """Spread of an attack's AUC over layers, and the noise of a layer's place.

    The noise is that over seeds, and at least the standard error of a guess: seeds share samples,
    and an attack that draws nothing at random has no other noise of its own.
    """
    auc = np.array(result["attacks"][attack]["auc"], dtype=np.float64)
    places = auc - auc.mean(axis=0)
    seeds = float(np.sqrt(places.var(axis=1, ddof=1).mean() / auc.shape[1]))
    return float(auc.mean(axis=1).std()), max(seeds, _guess(result, attack))


def distinguishes(result: Mapping[str, Any], attack: str) -> bool:
    """Whether the attack has an order of layers to be agreed with: a spread of twice its noise.

    Where it has not, at chance everywhere or as strong everywhere, agreement is with noise, and the
    unit is evidence neither way. A reconstruction error has no chance level and always counts.
    """
    if attack == "reconstruction":
        return True
    spread, noise = resolved(result, attack)
    return spread > 2 * noise


def _guess(result: Mapping[str, Any], attack: str) -> float:
    """Standard error of a guess's AUC on n members and n others: √((2n + 1) / (12 n²))."""
    n = result["attacks"][attack]["judged"] / 2
    return math.sqrt((2 * n + 1) / (12 * n * n))


def above_chance(result: Mapping[str, Any], attack: str) -> BoolArray:
    """Layers whose AUC, the mean over seeds, stands two standard errors of a guess above a half."""
    return np.asarray(success(result, attack) > 0.5 + 2 * _guess(result, attack))


def best_of_guesses(result: Mapping[str, Any], attack: str) -> tuple[float, float]:
    """What the largest AUC over layers reads without a leak: its median, and its 95 % quantile.

    Φ⁻¹(q^{1/L}) standard errors of a guess above a half, over the L layers that the attack reads;
    layers are taken as independent, and a mean over seeds as one guess. Both only raise it.
    """
    layers = int(np.isfinite(success(result, attack)).sum())
    median, high = (float(norm.ppf(q ** (1 / layers))) for q in (0.5, 0.95))
    return 0.5 + median * _guess(result, attack), 0.5 + high * _guess(result, attack)
