"""The permutation test of `benchmarks.null_grid`: uniform where scores know nothing, and found out where they do."""

from __future__ import annotations

import numpy as np
from benchmarks import null_grid


def test_ranks_are_uniform_where_scores_know_nothing() -> None:
    rng = np.random.default_rng(0)
    ranks, areas = [], []
    for fleet in range(60):
        member = null_grid.planned("pairs", 6, 30, fleet)
        scores = rng.integers(0, 4, (6, 30)).astype(np.float64)
        ranks.append(null_grid.rank(rng, scores, member, range(2)))
        areas.append(0.5 + 0.01 * rng.normal())
    assert null_grid.judged("noise", ranks, areas, 1)["holds"]
    assert 0.35 < np.mean(ranks) < 0.65
    leak = member + 0.1 * rng.normal(size=member.shape)
    assert null_grid.rank(rng, leak, member, range(2)) > 0.99
    assert null_grid.rank(rng, -leak, member, range(2)) < 0.01


def test_a_partner_among_the_references_is_found_out() -> None:
    found = null_grid.control(40, 40)
    assert not found["holds"]
    assert found["auc"][2] < 0.48
