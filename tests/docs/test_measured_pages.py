"""Pages of simulated figures: what is stored is what they say, and a small run of each holds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from benchmarks import (
    adversary,
    blind_baselines,
    discoveries,
    epsilon,
    label_inference,
    subjects,
    tail,
)


@pytest.mark.parametrize(
    "study",
    [discoveries, adversary, subjects, epsilon, label_inference, tail, blind_baselines],
    ids=lambda m: m.__name__,
)
def test_the_page_follows_from_the_stored_result(study: object) -> None:
    result = json.loads(study.OUT.read_text())  # type: ignore[attr-defined]
    assert study.page(result) == study.PAGE.read_text()  # type: ignore[attr-defined]
    assert result["holds"]


def test_names_hold_in_a_few_small_fleets() -> None:
    size = {"samples": 600, "seed": 1}
    found = discoveries.tested(16, 2, 0.5, fleets=20, **size)
    assert found["holds"]
    assert found["mean_named"] > 5
    assert found["mean_bound"] >= found["mean_false"]
    named = discoveries.named(
        discoveries.LiRA(), 16, 2, 0.5, q=0.2, estimate_share=True, fleets=3, **size
    )
    assert named["holds"]
    assert named["mean_named"] > named["fewest"] > 1


@pytest.mark.parametrize("tau", [0.0, 1.0])
@pytest.mark.parametrize(("plan", "parts"), [("subsets", 2), ("subsets", 4), ("fresh_draws", 4)])
def test_oracles_with_known_laws_meet_their_closed_forms(plan: str, parts: int, tau: float) -> None:
    for name in ("class mean", "Gaussian"):
        found = adversary.from_pool(
            adversary.Oracle(name, tau),
            plan,
            parts=parts,
            models=64,
            pools=6,
            n=100,
            audited=50,
            seed=3,
        )
        # Six pools: their spread tells the standard error to a third.
        assert abs(found["gap"]) <= 5 * found["standard_error"]
        # Noise of training makes less of it than the factor says.
        assert found["ratio"] < found["factor"] * (1.03 if tau == 0 else 0.98)
        assert found["auc_lira"] < found["auc_fleet"]


def test_halves_overstate_what_is_drawn_anew() -> None:
    oracle = adversary.Oracle("class mean")
    anew = adversary.drawn_anew(oracle, models=32, pools=6, n=100, audited=400, seed=4)
    half = adversary.from_pool(
        oracle, "half_split", parts=2, models=32, pools=6, n=100, audited=200, seed=4
    )
    for found in (anew, half):
        assert abs(found["gap"]) <= 5 * found["standard_error"]
    # Φ(d') where Φ(d'/√2) is right.
    distance = np.sqrt(2) * _quantile(anew["auc_closed"])
    assert half["auc_known"] == pytest.approx(_cdf(distance), abs=0.01)
    assert half["auc_known"] > anew["auc_known"] + 0.04


def _quantile(p: float) -> float:
    return float(adversary.special.ndtri(p))


def _cdf(x: float) -> float:
    return float(adversary.special.ndtr(x))


def test_subjects_meet_their_closed_form_in_a_few_fleets() -> None:
    for rho in (0.0, 0.6):
        assert subjects.known(rho, 2)["holds"]
    few = subjects.estimated(subjects.LOSS(), 16, 0.3, 0.0, 2)
    assert few["uncentred"] < few["single"] < few["discounted"]
    assert few["correlation"] == pytest.approx(0.3, abs=0.05)


def test_bounds_on_epsilon_hold_in_a_few_audits() -> None:
    chosen = {"many runs, Bonferroni", "many runs, μ", "one run", "one run, f-DP, μ"}
    for figure in (f for f in epsilon.figures() if f.name in chosen):
        for mechanism in epsilon.mechanisms():
            rng = np.random.default_rng(0)
            values = [figure.value(rng, mechanism) for _ in range(4)]
            assert np.median(values) <= figure.truth(mechanism)
            assert (max(values) > 0.2) or mechanism.mu == 0


def test_label_inference_holds_in_a_few_audits() -> None:
    for audit in label_inference.audits():
        rng = np.random.default_rng(0)
        found = [audit.once(rng)[0] for _ in range(5)]
        values = [f.bound.epsilon for f in found]
        assert all(f.holds == (audit.natural is None) for f in found)
        if audit.natural:
            assert min(values) > 1
        else:
            assert np.median(values) <= audit.promised
            assert (max(values) > 0.2) or audit.promised == 0
