"""Precision under a prior: the rule of Bayes, counted, and an interval that covers what it says."""

from __future__ import annotations

import numpy as np
import pytest

from seepage.errors import InputError
from seepage.findings.at_fpr import AtFpr
from seepage.metrics import PRIORS, Estimate, clopper_pearson, precision, precision_interval


def test_it_is_what_counting_gives() -> None:
    rng = np.random.default_rng(0)
    for prior in PRIORS:
        member = rng.random(400_000) < prior
        said = rng.random(member.size) < np.where(member, 0.6, 0.02)
        assert abs(member[said].mean() - precision(0.6, 0.02, prior)) < 0.02


def test_without_a_leak_it_is_the_prior_and_without_names_it_is_nothing() -> None:
    np.testing.assert_allclose(precision(0.03, 0.03, PRIORS), PRIORS)
    assert np.isnan(precision(0.0, 0.0, 0.5))
    assert precision(0.2, 0.0, 0.01) == 1
    for given in ((1.1, 0.1, 0.5), (0.1, np.nan, 0.5), (0.1, 0.1, -0.1)):
        with pytest.raises(InputError, match=r"expected values in 0\.\.1"):
            precision(*given)


def test_the_interval_covers_where_both_rates_are_covered() -> None:
    rng = np.random.default_rng(1)
    n, trials, tpr, fpr = 300, 2000, 0.2, 0.02
    k, j = rng.binomial(n, tpr, trials), rng.binomial(n, fpr, trials)
    # Both at 97.5 %, so that they hold together at 95 %.
    low, high = clopper_pearson(k, n, 0.975)
    f_low, f_high = clopper_pearson(j, n, 0.975)
    truth = float(precision(tpr, fpr, 0.1))
    held = 0
    for i in range(trials):
        e = Estimate(k[i] / n, float(low[i]), float(high[i]), 0.95, n)
        found = precision_interval(e, j[i] / n, 0.1, fpr_low=f_low[i], fpr_high=f_high[i])
        held += found.covers(truth)
    assert clopper_pearson(held, trials, 0.99)[1] >= 0.95


def test_a_rate_that_is_not_resolved_has_none() -> None:
    none = Estimate(*[float("nan")] * 3, 0.95, 4)
    at = AtFpr(0.001, none, 0.0, float("nan"), False, 10)
    assert at.precisions == ()
    some = AtFpr(0.01, Estimate(0.2, 0.1, 0.3, 0.95, 4), 0.009, 0.01, True, 1000)
    assert [e.mean for e in some.precisions] == [float(precision(0.2, 0.01, p)) for p in PRIORS]
    wide = AtFpr(0.01, some.tpr, 0.009, 0.01, True, 1000, 0.005, 0.02)
    assert all(w.low < e.low and w.high > e.high for w, e in zip(wide.precisions, some.precisions, strict=True))  # fmt: skip
