"""Coverage of rates on signals whose laws are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from seepage.errors import InputError
from seepage.plan import half_split
from seepage.study.dynamics.rates import models_needed


def run(shift: float, models: int = 256, samples: int = 60):
    member = half_split(samples, models=models, seed=0).member
    phi = np.random.default_rng(0).normal(size=member.shape) + shift * member
    return SimpleNamespace(
        member=member,
        signal_at=lambda name, t: phi,
        manifest={"data": {"digest": "d"}},
        storage=SimpleNamespace(keys=lambda prefix: []),
    )


def test_leaking_samples_are_placed_and_counts_need_more_than_laws():
    found = models_needed(run(3.0), reference=128, sizes=(16, 64))
    few, many = (found["sizes"][s] for s in ("16", "64"))
    assert many["Counting, all"]["fpr"] > 0.9
    assert many["Counting, all"]["tpr"] > 0.9
    for way in ("Counting", "ClosedForm, Gaussian"):
        assert many[f"{way}, all"]["rmse_fpr"] < few[f"{way}, all"]["rmse_fpr"]
    assert few["ClosedForm, Gaussian, all"]["rmse_fpr"] < few["Counting, all"]["rmse_fpr"]
    assert found["needed"]["Counting, all"]["both rates"] == 64


def test_samples_that_leak_nothing_have_rates_by_chance():
    """Their errors exceed binomial noise: all targets of a block share its fitted laws."""
    found = models_needed(run(0.0), reference=128, sizes=(64,))
    binomial = np.sqrt(0.25 / 32)
    assert found["sizes"]["64"]["Counting, same size"]["rmse_fpr"] > 1.5 * binomial
    assert found["needed"]["Counting, same size"]["both rates"] is None


def test_ceiling_is_that_of_a_count():
    found = models_needed(run(0.0), reference=128, sizes=(8,))
    # At most: a rate of one half counted over 64 targets.
    assert found["sizes"]["8"]["ceiling, all"] >= round(2 * norm.cdf(0.1 * 16) - 1, 4)


def test_too_few_models_and_odd_sizes_are_refused():
    with pytest.raises(InputError, match=r"models: expected at least 272 in complete pairs, got 2"):
        models_needed(run(0.0), reference=256, sizes=(16,))
    with pytest.raises(InputError, match=r"sizes: expected even numbers of at least 8 models"):
        models_needed(run(0.0), reference=128, sizes=(4,))
