"""Verdicts follow their rules whatever the figures; each rule is driven both ways."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from seepage.study.dynamics.claims import by_second_rule, claims
from seepage.study.dynamics.settings import Factors

ATTACKS = ("lira", "rmia")
FACTORS = Factors(
    datasets=("easy", "hard"), architectures=("small", "large"), sgd="small", sam="large"
)
T = 4


def estimate(value: Any, half: float = 0.01, null: float = 0.0) -> dict[str, Any]:
    v = np.asarray(value, dtype=float)
    parts = {"value": v, "low": v - half, "high": v + half}
    flat = {"null": null, "null_low": null - half, "null_high": null + half}
    return {k: p.tolist() for k, p in parts.items()} | {
        k: np.full(v.shape, p).tolist() for k, p in flat.items()
    }


def judged(size: float, peak: float, rho: float, recall: float) -> dict[str, Any]:
    c = {"rho": rho, "low": rho - 0.02, "high": rho + 0.02}
    c |= {"null_rho": 0.0, "null_low": -0.03, "null_high": 0.03}
    # A tenth of the samples in the high region at the end; leak that rises by quarters of its end.
    shares = estimate([[1 - high, high] for high in (0.0, 0.02, 0.05, 0.1)])
    return {
        "population": {
            "displacement_net": estimate(size),
            "advantage": estimate([0.0, size / 4, size / 2, size]),
            "shares": shares,
            "entropy": estimate([1.0] * T, null=1.0),
            "entropy_change": estimate(size),
            "rms_speed": estimate([size] * (T - 1)),
            "peak_to_high": estimate(peak),
            "intervals": [1.0, 1.0, 2.0],
        },
        "roc": {"auc": {"value": [0.6], "low": [0.58], "high": [0.62]}},
        "difficulty": {m: {"advantage": dict(c)} for m in ("epoch_learned", "mean_loss")},
        "early": {
            "top 5 %": {
                "fraction": [0.0, 0.25, 0.5, 1.0],
                "recall_now": estimate([0.1, 0.3, recall, 1.0], null=0.2),
                "chance": estimate([0.05] * T),
                "size": 7,
            }
        },
        "halves": {
            "mean_squared_speed": estimate(size**2, half=0.005),
            "fraction": [0.0, 0.25, 0.5, 1.0],
            "recall": estimate([0.05, 0.2, 0.6, 0.7], null=0.06),
            "known": estimate([0.0, 0.3, recall, 1.0]),
            "chance": estimate(0.05, null=0.05),
        },
    }


def fleet(size: float, peak: float = 0.05, rho: float = 0.4, recall: float = 0.8) -> dict[str, Any]:
    return {
        "attacks": {a: judged(size, peak, rho, recall) for a in ATTACKS},
        "models": 32,
        "checkpoints": [0.0, 10.0, 20.0, 40.0],
    }


def supporting() -> dict[str, Any]:
    return {
        "easy": fleet(0.1),
        "hard": fleet(0.3),
        "small": fleet(0.1, peak=0.09),
        "large": fleet(0.4, peak=0.03),
    }


def verdicts(results: dict[str, Any]) -> dict[str, str]:
    return {v.claim: v.outcome for v in claims(results, FACTORS, ATTACKS)}


def test_figures_that_agree_with_every_claim_make_all_hold():
    assert verdicts(supporting()) == {f"B{k}": "holds" for k in range(1, 9)}


def test_figures_turned_round_make_none_hold():
    turned = {
        "easy": fleet(0.3, rho=-0.4, recall=0.3),
        "hard": fleet(0.1, rho=-0.4, recall=0.3),
        "small": fleet(0.4, peak=0.03, rho=-0.4, recall=0.3),
        "large": fleet(0.1, peak=0.09, rho=-0.4, recall=0.3),
    }
    found = verdicts(turned)
    assert found == {f"B{k}": "does not hold" for k in range(1, 8)} | {"B8": "holds"}


def test_overlapping_intervals_decide_nothing():
    same = {n: fleet(0.2, rho=0.04, recall=0.705) for n in supporting()}
    assert verdicts(same) == {f"B{k}": "undecided" for k in range(1, 9)}


def test_nothing_trained_decides_nothing():
    assert set(verdicts({}).values()) == {"undecided"}


def test_a_missing_fleet_leaves_its_claims_undecided():
    results = supporting()
    del results["hard"]
    found = verdicts(results)
    assert [found[f"B{k}"] for k in (1, 2, 3)] == ["undecided"] * 3
    assert found["B4"] == "holds"


def test_sam_is_judged_two_sided():
    results = supporting()
    for a in ATTACKS:
        results["large"]["attacks"][a]["population"]["peak_to_high"] = estimate(0.2)
    assert verdicts(results)["B5"] == "does not hold"


def test_one_measure_is_not_enough_for_difficulty():
    results = supporting()
    columns = results["easy"]["attacks"]["lira"]["difficulty"]
    columns["mean_loss"]["advantage"] |= {"rho": -0.5, "low": -0.6, "high": -0.4}
    assert verdicts(results)["B6"] == "does not hold"


def test_a_correlation_within_the_null_does_not_count():
    results = supporting()
    for column in results["easy"]["attacks"]["lira"]["difficulty"].values():
        column["advantage"] |= {"null_rho": 0.4, "null_low": 0.35, "null_high": 0.45}
    assert verdicts(results)["B6"] == "does not hold"


def test_recall_that_noise_explains_says_nothing():
    results = supporting()
    results["easy"]["attacks"]["lira"]["halves"]["recall"] |= {
        "null": [0.9] * T, "null_low": [0.85] * T, "null_high": [0.95] * T,
    }  # fmt: skip
    found = {v.claim: v for v in claims(results, FACTORS, ATTACKS)}
    assert found["B7"].outcome == "undecided"
    assert by_second_rule(found["B7"]) == "does not hold"


def test_early_is_before_most_of_the_leak_and_not_before_half_of_training():
    """Everything known half-way through training, when 97 % of the leak is there: not early."""
    results = supporting()
    for a in ATTACKS:
        found = results["easy"]["attacks"][a]
        found["population"]["advantage"] = estimate([0.0, 0.03, 0.097, 0.1], half=0.001)
        found["halves"]["known"] = estimate([0.0, 0.3, 0.97, 1.0])
    b7 = {v.claim: v for v in claims(results, FACTORS, ATTACKS)}["B7"]
    assert by_second_rule(b7) == "holds"
    assert b7.outcome == "does not hold"
    # Half of the leak: 20/67 of the way from the second checkpoint to the third.
    row = next(r for r in b7.figures if r[0].startswith("easy, known"))
    assert row[1] == f"{0.3 + 0.67 * 20 / 67:.3f} [0.490, 0.510]"
    assert row[2].startswith("epoch 13.0;")


def test_early_says_nothing_where_nothing_leaks_or_nothing_is_told():
    for change in ("leak", "told"):
        results = supporting()
        found = results["easy"]["attacks"]["lira"]
        if change == "leak":
            found["population"]["advantage"] = estimate([0.0, 0.001, 0.002, 0.004])
        else:
            found["halves"]["recall"] = estimate([0.05, 0.05, 0.05, 0.06], null=0.05)
            found["halves"]["known"] = estimate([0.0, 0.1, 0.2, 1.0])
        assert verdicts(results)["B7"] == "undecided"


def at_the_ceiling(results: dict[str, Any], name: str) -> None:
    for a in ATTACKS:
        p = results[name]["attacks"][a]["population"]
        p["shares"] = estimate([[1 - high, high] for high in (0.0, 0.1, 0.4, 0.6)])


def test_a_lead_over_a_fleet_at_the_ceiling_decides_nothing():
    results = supporting()
    at_the_ceiling(results, "hard")  # held down, and larger all the same
    assert verdicts(results)["B1"] == "holds"
    at_the_ceiling(results, "easy")
    at_the_ceiling(results, "small")
    found = {v.claim: v for v in claims(results, FACTORS, ATTACKS)}
    for claim in ("B1", "B2", "B3", "B4"):
        assert found[claim].outcome == "undecided"
        assert by_second_rule(found[claim]) == "holds"
        assert "at the ceiling" in found[claim].why
    assert found["B5"].outcome == "holds"
    assert ("advantage before the ceiling, small", "0.050 [0.036, 0.064] at epoch 20", "not judged") in found["B4"].figures  # fmt: skip


def test_a_fleet_at_the_ceiling_that_lies_behind_decides_nothing():
    results = {n: fleet(s) for n, s in (("easy", 0.3), ("hard", 0.1), ("small", 0.4), ("large", 0.1))}  # fmt: skip
    assert verdicts(results)["B1"] == "does not hold"
    at_the_ceiling(results, "easy")
    assert verdicts(results)["B1"] == "does not hold"
    at_the_ceiling(results, "hard")
    assert verdicts(results)["B1"] == "undecided"


def test_entropy_says_nothing_where_noise_fills_the_plane():
    results = supporting()
    for a in ATTACKS:
        results["hard"]["attacks"][a]["population"]["entropy"] = estimate([7.0] * T, null=7.0)
    found = {v.claim: v for v in claims(results, FACTORS, ATTACKS)}
    assert found["B3"].outcome == "undecided"
    assert by_second_rule(found["B3"]) == "holds"
    # 32 models: rates on a lattice of 17 × 17 points.
    assert "null 7.00 of at most 8.17 bits" in found["B3"].figures[1][2]


def test_lt_iqr_of_uneven_checkpoints_does_not_count():
    results = supporting()
    for fleet_ in results.values():
        for a in ATTACKS:
            columns = fleet_["attacks"][a]["difficulty"]
            columns["loss_iqr"] = columns.pop("mean_loss")
    assert verdicts(results)["B6"] == "does not hold"
    for fleet_ in results.values():
        fleet_["analysis"] = 2
    assert verdicts(results)["B6"] == "holds"


def test_the_first_rules_are_shown_and_decide_nothing():
    results = supporting()
    for a in ATTACKS:
        for fleet_ in results.values():
            fleet_["attacks"][a]["early"]["top 5 %"]["recall_now"] |= {"null_high": [1.0] * T}
            fleet_["attacks"][a]["population"]["rms_speed"] = estimate([0.1] * (T - 1))
    found = {v.claim: v for v in claims(results, FACTORS, ATTACKS)}
    for name, first in (("B2", "undecided"), ("B4", "undecided"), ("B7", "does not hold")):
        assert found[name].outcome == "holds"
        assert ("first rule says", first, "") in found[name].figures


def test_fleets_too_small_to_halve_decide_nothing_that_needs_halves():
    results = supporting()
    for fleet_ in results.values():
        for a in ATTACKS:
            fleet_["attacks"][a]["halves"] = None
    found = verdicts(results)
    assert [found[f"B{k}"] for k in (2, 4, 7)] == ["undecided"] * 3
    assert found["B1"] == "holds"


def test_an_attack_that_says_the_opposite_breaks_b8():
    results = supporting()
    for n in ("easy", "hard"):
        p = results[n]["attacks"]["rmia"]["population"]
        p["displacement_net"] = estimate(0.3 if n == "easy" else 0.1)
    found = {v.claim: v for v in claims(results, FACTORS, ATTACKS)}
    assert found["B1"].outcome == "holds"
    assert {a: v.outcome for a, v in found["B1"].by_attack.items()} == {"rmia": "does not hold"}
    assert found["B8"].outcome == "does not hold"


def test_the_null_is_taken_off_before_fleets_are_compared():
    results = supporting()
    for n, null in (("easy", 0.0), ("hard", 0.2)):
        for a in ATTACKS:
            p = results[n]["attacks"][a]["population"]
            p["displacement_net"] = estimate(p["displacement_net"]["value"], null=null)
    assert verdicts(results)["B1"] == "undecided"


def test_inputs_are_not_changed():
    results = supporting()
    before = copy.deepcopy(results)
    claims(results, FACTORS, ATTACKS)
    assert results == before


def test_figures_that_do_not_exist_decide_nothing():
    results = supporting()
    for a in ATTACKS:
        known = results["easy"]["attacks"][a]["halves"]["known"]
        for key in known:
            known[key] = [None] * T
    assert verdicts(results)["B7"] == "undecided"
