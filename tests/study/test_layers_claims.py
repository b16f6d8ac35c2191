"""The claims on layers against results whose answers are known, and the permutation tests."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from seepage.errors import InputError
from seepage.metrics.verdict import Share
from seepage.study.layers import claims as rules
from seepage.study.layers.cells import Cells, counted
from seepage.study.layers.page import layers_page
from seepage.study.layers.permute import layer_agreement, sign_flip
from seepage.study.layers.plan import DOF, RANKS, LayersConfig
from seepage.study.layers.ranking import beyond_depth, hidden_alone, ranking
from seepage.study.layers.results import above_chance, best_of_guesses, resolved

LAYERS = 7
EPOCHS = [0.0, 1.0, 2.0, 5.0, 10.0]
DIP = np.array([1.0, 0.6, 0.5, 0.7, 0.9])
FALL = np.array([1.0, 0.9, 0.8, 0.7, 0.6])


def result(
    architecture: str = "net", dataset: str = "d", noise: float = 0.0, seed: int = 0, *,
    dof: np.ndarray = DIP, rank: np.ndarray = DIP, risk: np.ndarray | None = None,
    change: np.ndarray | None = None, look: float = 1.0,
) -> dict[str, Any]:  # fmt: skip
    """Every DoF along `dof`, every rank along `rank`; the end of layer l is moved by change[l]."""
    risk = np.arange(LAYERS) if risk is None else risk
    change = np.zeros(LAYERS) if change is None else change
    start = 100.0 + 10 * np.arange(LAYERS)

    def curve(shape: np.ndarray) -> list[list[float]]:
        m = shape[:, None] * start
        m[-1] *= 1 + 0.001 * change
        return m.tolist()

    auc = (0.5 + 0.05 * risk)[:, None] + np.array([0.0, 0.001])
    attack = {"auc": auc.tolist(), "judged": 2000}
    accuracy = {"members": 1.0, "memorised": 1.0, "others": 0.7, "others_clean": 0.8}
    series = {**{k: curve(dof) for k in DOF}, **{k: curve(rank) for k in RANKS}}
    return {
        "unit": {"architecture": architecture, "dataset": dataset, "noise": noise, "seed": seed},
        "layers": [f"l{i}" for i in range(LAYERS)],
        "width": [64] * LAYERS,
        "epochs": EPOCHS,
        "accuracy": [accuracy] * len(EPOCHS),
        "series": series,
        "sample_bound": [[False] * LAYERS] * len(EPOCHS),
        "attacks": dict.fromkeys(rules.ATTACKS, attack),
        "reconstruction": (1.0 / (1 + np.arange(LAYERS))).tolist(),
        "seconds": {"dof": look / 2, "jacobian": look / 4, "patch": look / 4, "shadow": 5.0,
                    "outputs": 1.0, "shadow_outputs": 1.0, "shadow-mlp": 3.0, "training": 5.0,
                    "audit-logistic": 1.0, "gradients": 1.0, "gradient-norm": 0.1},
        "settings": LayersConfig().model_dump(mode="json"),
        "hardware": "test",
        "versions": {"torch": "0"},
    }  # fmt: skip


def grid(**changes: Any) -> dict[str, Any]:
    """Two architectures, three data sets, two noises, two seeds."""
    return {
        f"{a}-{d}-{n}-{s}": result(a, d, n, s, **changes)
        for a in ("one", "two") for d in ("x", "y", "z") for n in (0.0, 0.2) for s in range(2)
    }  # fmt: skip


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {v.claim: v.outcome for v in rules.claims(found)}


def test_a_dip_everywhere_holds_and_a_fall_does_not() -> None:
    both = verdicts(grid())
    assert (both["A1"], both["A2"], both["A3"]) == ("holds",) * 3
    assert both["A1, A2 and memorisation"] == "does not hold"
    only = verdicts(grid(rank=FALL))
    assert (only["A1"], only["A2"], only["A3"]) == ("holds", "does not hold", "does not hold")
    assert verdicts(grid(dof=FALL))["A1"] == "does not hold"


def test_a_dip_in_one_architecture_alone_is_not_consistent() -> None:
    found = grid()
    for name, r in found.items():
        if name.startswith("two"):
            found[name] = result(**r["unit"], dof=FALL)
    got = verdicts(found)
    assert (got["A1"], got["A3"]) == ("undecided", "undecided")


def test_a_dip_under_noise_alone_needs_memorisation() -> None:
    found = {
        k: result(**r["unit"], dof=DIP if r["unit"]["noise"] else FALL) for k, r in grid().items()
    }
    got = verdicts(found)
    assert got["A1, A2 and memorisation"] == "holds"
    assert got["A1"] == "undecided"
    # Without the arm there is nothing to say.
    clean = {k: r for k, r in found.items() if r["unit"]["noise"] == 0}
    assert verdicts(clean)["A1, A2 and memorisation"] == "undecided"


def fresh(**changes: Any) -> dict[str, Any]:
    """Controls of the grid's cells without noise."""
    found = {k: result(**r["unit"], **changes) for k, r in grid().items() if "-0.0-" in k}
    for r in found.values():
        r["unit"]["fresh"] = True
        r |= {"visits": 2, "revisited": 0.8}
    return {f"fresh-{k}": r for k, r in found.items()}


def test_a_dip_on_fresh_samples_does_not_come_from_memorising() -> None:
    name = "A1, A2 on fresh samples"
    said = {
        shape: {v.claim: v for v in rules.claims(grid(dof=targets), fresh(dof=controls))}[name]
        for shape, targets, controls in (
            ("both", DIP, DIP), ("targets", DIP, FALL), ("neither", FALL, FALL),
        )
    }  # fmt: skip
    assert {k: v.outcome for k, v in said.items()} == {
        "both": "does not hold", "targets": "holds", "neither": "undecided",
    }  # fmt: skip
    rises = {k: c.figures[0][2] for k, c in said.items()}
    assert "rises +0.000 more" in rises["both"]
    assert f"rises {math.log(0.9 / 0.5):+.3f} more (p 0.031, " in rises["targets"]
    assert "fresh: 0 of 6 (.00 to .46) of cells, 0% of layers" in rises["targets"]
    assert name not in verdicts(grid())
    text = layers_page({**grid(), **fresh(dof=FALL)}, [*grid(), *fresh()], "studies/layers.toml")
    assert f"## {name}: " in text
    assert "All 36 units of the study are measured." in text
    assert "| one, x, fresh | 1.00 | 0.90 | 0.80 | 0.70 | 0.60 |" in text
    assert "| one, x, members | 1.00 | 0.60 | 0.50 | 0.70 | 0.90 |" in text


def test_page_says_what_rests_on_one_architecture() -> None:
    order = np.arange(LAYERS, dtype=float)
    found = {
        name: result(name, change=sign * order, seed=seed)
        for name, sign, seed in (("one", 1, 0), ("two", 1, 1), ("three", -1, 2))
    }
    found["three"]["settings"]["recipes"] = {"three": {"batch": 7}}
    text = layers_page(found, list(found), "studies/layers.toml")
    (row,) = [line for line in text.splitlines() if line.startswith("| three | 2 |")]
    assert row.split("|")[3].strip().startswith("+1.00")
    assert "{'three': {'batch': 7}}" in text
    # Two leave one alone, which the table of single architectures shows.
    assert "Leaving one" not in layers_page(grid(), list(grid()), "studies/layers.toml")


@pytest.mark.parametrize(("sign", "verdict"), [(1, "holds"), (-1, "does not hold")])
def test_change_that_follows_the_attack(sign: int, verdict: str) -> None:
    found = grid(change=sign * np.arange(LAYERS, dtype=float))
    claim = next(v for v in rules.claims(found) if v.claim == "A4")
    assert claim.outcome == verdict
    assert claim.by_attack["shadow-mlp"].outcome == verdict
    best, by = ranking(found)[0]
    assert abs(by[rules.MAIN].value) == pytest.approx(1.0)
    assert best == "depth"  # nothing ranks better than the place of a layer here


def test_reduction_is_judged_by_its_own_sign() -> None:
    # The reduction is half of the start, which grows with depth as the risk does.
    assert verdicts(grid())["A5"] == "does not hold"
    assert verdicts(grid(risk=np.arange(LAYERS)[::-1]))["A5"] == "holds"


def test_high_dof_and_rank_must_agree_with_attack_and_with_reconstruction() -> None:
    assert verdicts(grid())["A6"] == "holds"
    assert verdicts(grid(risk=np.arange(LAYERS)[::-1]))["A6"] == "does not hold"
    found = grid()
    for r in found.values():
        r["reconstruction"] = np.arange(LAYERS).tolist()
    assert verdicts(found)["A6"] == "does not hold"


def test_cost_is_compared_within_units() -> None:
    assert verdicts(grid(look=1.0))["A7"] == "holds"
    assert verdicts(grid(look=20.0))["A7"] == "does not hold"
    # Cheaper in most cells by the count, 9 of 12, is not yet more than chance would give.
    found = grid()
    for k, d in enumerate("xyz"):
        found[f"slow-{d}"] = result("one", d, 0.0, 9 + k, look=40.0)
        found |= {n: result(**r["unit"], look=40.0) for n, r in found.items()
                  if n.startswith(f"one-{d}-0.0")}  # fmt: skip
    assert verdicts(found)["A7"] == "undecided"


def test_more_units_of_one_architecture_are_no_more_witnesses() -> None:
    rng = np.random.default_rng(0)
    a, b = np.arange(4.0)[None], np.arange(4.0)[None]
    one, many = (layer_agreement({"n": (a.repeat(m, 0), b.repeat(m, 0))}) for m in (1, 30))
    # Two of 24 orders agree or disagree perfectly, however many copies there are.
    assert one.p == pytest.approx(2 / 24, abs=0.01)
    assert many.p == pytest.approx(one.p, abs=0.01)
    assert many.units == 30
    assert many.verdict(1) == 0
    # Under no agreement p-values are uniform, although units share what their layers show.
    low = []
    for i in range(200):
        shared, other = rng.normal(size=(2, 6))
        noise = 0.1 * rng.normal(size=(2, 5, 6))
        pair = (shared + noise[0], other + noise[1])
        low.append(layer_agreement({"n": pair}, draws=500, seed=i).p < 0.1)
    assert 0.04 < np.mean(low) < 0.17


def test_constant_indicators_say_nothing() -> None:
    rho = layer_agreement({"n": (np.ones((2, 5)), np.arange(10.0).reshape(2, 5))})
    assert math.isnan(rho.value)
    assert rho.verdict(1) == 0
    assert rho.text() == "–"
    with pytest.raises(InputError, match="n: expected finite values of one shape"):
        layer_agreement({"n": (np.ones((2, 5)), np.ones((2, 4)))})


def test_what_depth_does_not_explain() -> None:
    def depth(r: dict[str, Any]) -> np.ndarray:
        return np.arange(float(LAYERS))

    def bump(r: dict[str, Any]) -> np.ndarray:
        return np.array([0.0, 2.0, 1.0, 3.0, 5.0, 4.0, 6.0])

    order = np.array([0, 2, 1, 3, 5, 4, 6])
    found = grid(risk=order)
    assert rules.agree(found, depth, rules.MAIN).value > 0.9
    assert math.isnan(beyond_depth(found, depth, rules.MAIN).value)
    # What is left of both is the same, however much depth tells of either.
    assert beyond_depth(found, bump, rules.MAIN).value == pytest.approx(1.0)
    flat = beyond_depth(found, lambda r: -bump(r), rules.MAIN)
    assert flat.value == pytest.approx(-1.0)
    assert flat.p < 0.05
    # Against the partial correlation from three plain ones.
    other = np.array([3.0, 0.0, 2.0, 1.0, 6.0, 4.0, 5.0])
    one = {"u": result(risk=order)}
    c = np.corrcoef([other, order, np.arange(LAYERS)])
    want = (c[0, 1] - c[0, 2] * c[1, 2]) / math.sqrt((1 - c[0, 2] ** 2) * (1 - c[1, 2] ** 2))
    assert beyond_depth(one, lambda r: other, rules.MAIN).value == pytest.approx(want)


def test_logits_alone_do_not_make_an_agreement_of_hidden_layers() -> None:
    # Only the last layer stands out, in both: nothing is left without it.
    risk = np.array([3.0, 1.0, 4.0, 0.0, 5.0, 2.0, 9.0])

    def last(r: dict[str, Any]) -> np.ndarray:
        return np.array([0.0] * (LAYERS - 1) + [1.0])

    found = grid(risk=risk)
    assert rules.agree(found, last, rules.MAIN).value > 0.5
    assert math.isnan(hidden_alone(found, last, rules.MAIN).value)
    assert hidden_alone(found, lambda r: risk, rules.MAIN).value == pytest.approx(1.0)


def test_an_attack_at_chance_tells_no_layers_apart() -> None:
    spread, noise = resolved(result(), rules.MAIN)
    assert spread == pytest.approx(0.05 * np.arange(LAYERS).std())
    # Both seeds agree on every layer's place: what is left is the error of a guess.
    assert noise == pytest.approx(math.sqrt(2001 / (12 * 1000**2)))
    assert above_chance(result(), rules.MAIN).tolist() == [False, *[True] * 6]
    dull = result(risk=0.02 * np.arange(LAYERS))
    spread, noise = resolved(dull, rules.MAIN)
    assert spread < 2 * noise
    assert not above_chance(dull, rules.MAIN).any()


def cells(*shown: tuple[str, str, bool]) -> Cells:
    return {(a, d, 0.0): [1.0 if yes else 0.0] for a, d, yes in shown}


def test_ten_of_fifteen_cells_are_no_evidence_for_most_of_them() -> None:
    fifteen = [f"d{i}" for i in range(15)]
    for k, outcome in ((15, "holds"), (12, "holds"), (10, "undecided"), (3, "does not hold")):
        share = counted(cells(*(("net", d, i < k) for i, d in enumerate(fifteen))))
        assert share.outcome() == outcome
    # Four cells decide nothing, whatever they show.
    for yes in (True, False):
        assert counted(cells(*(("net", d, yes) for d in "abcd"))).outcome() == "undecided"


def test_counting_by_two_thirds_decides_by_chance_and_an_interval_does_not() -> None:
    # Fifteen cells of which each shows a thing as often as not: nothing is there to be decided.
    chance = binom.pmf(np.arange(16), 15, 0.5)
    by_count = sum(p for k, p in enumerate(chance) if k >= 10 or k <= 5)
    decided = sum(p for k, p in enumerate(chance) if Share(k, 15).outcome() != "undecided")
    assert by_count == pytest.approx(0.30, abs=0.01)
    assert decided <= 0.05


def test_widths_of_one_network_count_once_and_split_cells_decide_nothing() -> None:
    data = "abcdef"
    both = cells(*((a, d, True) for a in ("net", "net-w16") for d in data))
    assert (counted(both).shown, counted(both).of) == (6, 6)
    apart = cells(*((a, d, a == "net") for a in ("net", "net-w16") for d in data))
    share = counted(apart)
    assert (share.shown, share.split, share.of) == (0, 6, 6)
    assert share.outcome() == "undecided"


def test_an_architecture_added_after_looking_does_not_decide() -> None:
    order = np.arange(LAYERS, dtype=float)
    rng = np.random.default_rng(3)
    found = {}
    for s in range(3):
        found[f"late-{s}"] = result("late", seed=s, change=order)
        found[f"net-{s}"] = result("net", seed=s, change=rng.normal(size=LAYERS))
    with_it, without = (rules.claims(found, added=added)[4] for added in ((), ("late",)))
    assert (with_it.claim, with_it.outcome) == ("A4", "holds")
    assert without.outcome == "undecided"
    assert ("mcr of k95, units that count, without late", "undecided") in [
        v[:2] for v in without.figures
    ]
    text = layers_page(found, list(found), "s.toml", added=["late"], changes=["`late` came late."])
    assert "## What was changed after which look\n\n- `late` came late.\n- A1, A2, A3: " in text
    # What follows the attack in the planned network too is decided with and without the other.
    for s in range(3):
        found[f"net-{s}"] = result("net", seed=s, change=order)
    assert rules.claims(found, added=("late",))[4].outcome == "holds"


def test_widths_of_one_network_have_one_order_of_layers() -> None:
    order = np.arange(4.0)[None].repeat(3, 0)
    apart = layer_agreement({"net": (order, order), "net-w16": (order, order)})
    found = {}
    for a in ("net", "net-w16"):
        found[a] = result(a, change=np.arange(LAYERS, dtype=float))
    own = next(r for r in rules.readings() if not r.tied)
    assert len(rules.grouped(found, rules.change("k95", "mcr"), rules.MAIN, own)) == 2
    ((tied, _),) = rules.grouped(found, rules.change("k95", "mcr"), rules.MAIN).values()
    assert len(tied) == 2
    # 24² orders by themselves, 24 together: the same ρ is more or less surprising.
    together = layer_agreement({"net": (order.repeat(2, 0), order.repeat(2, 0))})
    assert apart.value == together.value
    assert apart.p < 0.01 < 0.05 < together.p


def test_separate_orders_of_two_widths_find_agreement_in_noise() -> None:
    rng = np.random.default_rng(5)
    apart, tied = [], []
    for _ in range(150):
        # The order that a network's layers have by both figures is its own, whatever its width.
        a, b = rng.normal(size=10), rng.normal(size=10)
        units = [
            (a + 0.3 * rng.normal(size=(3, 10)), b + 0.3 * rng.normal(size=(3, 10)))
            for _ in range(2)
        ]
        both = tuple(np.concatenate(v) for v in zip(*units, strict=True))
        apart.append(layer_agreement({"w": units[0], "full": units[1]}, draws=400).p)
        tied.append(layer_agreement({"net": (both[0], both[1])}, draws=400).p)
    assert np.mean(np.array(apart) < 0.05) > 0.12
    assert np.mean(np.array(tied) < 0.05) < 0.09


def test_the_best_of_layers_at_chance_reads_above_a_half() -> None:
    rng = np.random.default_rng(6)
    guess = math.sqrt(2001 / (12 * 1000**2))
    best = (0.5 + guess * rng.normal(size=(20_000, LAYERS))).max(axis=1)
    median, high = best_of_guesses(result(), rules.MAIN)
    assert median == pytest.approx(np.median(best), abs=0.001)
    assert high == pytest.approx(np.quantile(best, 0.95), abs=0.001)


def test_a_unit_without_an_order_of_layers_does_not_count() -> None:
    order = np.arange(LAYERS, dtype=float)
    found = grid(change=order)
    clear = {v.claim: v for v in rules.claims(found)}["A4"]
    assert clear.outcome == "holds"
    at_chance = {k: result(**r["unit"], change=order, risk=0.001 * order) for k, r in found.items()}
    none = {v.claim: v for v in rules.claims(at_chance)}["A4"]
    assert none.outcome == "undecided"
    assert none.why.startswith("–; other readings +1.00")
    # So does an attack that reads everything everywhere.
    ceiling = {k: result(**r["unit"], change=order, risk=np.full(LAYERS, 10.0)) for k, r in
               found.items()}  # fmt: skip
    assert {v.claim: v for v in rules.claims(ceiling)}["A4"].outcome == "undecided"


def test_a_layer_that_never_changes_is_not_evidence_against_a_fall() -> None:
    found = grid()
    for r in found.values():
        for name in RANKS:
            m = np.array(r["series"][name])
            m[:, :4] = m[0, :4]
            r["series"][name] = m.tolist()
    a2 = next(v for v in rules.claims(found) if v.claim == "A2")
    assert a2.outcome == "holds"
    assert ("rank_1e2, layers that never change counted too", "does not hold") in [
        v[:2] for v in a2.figures
    ]


def test_sign_flip_is_exact_for_few_pairs() -> None:
    assert sign_flip([1.0, 2.0, 3.0, 4.0]) == pytest.approx(2 / 16)
    assert sign_flip([1.0, -1.0]) == 1.0
    assert sign_flip([1.0] * 20) == pytest.approx(1 / 10_001)
    assert math.isnan(sign_flip([]))


def test_page_shows_every_claim_and_what_is_missing() -> None:
    found = grid()
    text = layers_page(found, [*found, "gone-seed-1", "gone-seed-2"], "studies/layers.toml")
    for name in ("A1", "A4", "A7", "A1, A2 and memorisation"):
        assert f"## {name}: " in text
    assert "2 of 26 units are not measured, and the verdicts are those of the others" in text
    assert "Missing: gone (seeds 1, 2)." in text
    assert "reconstruction" in text
    assert (
        layers_page(
            copy.deepcopy(found), [*found, "gone-seed-1", "gone-seed-2"], "studies/layers.toml"
        )
        == text
    )
