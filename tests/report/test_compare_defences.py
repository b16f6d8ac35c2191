"""The sentences that say why guarding some regions helps or does not, on rows made up for each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seepage.comparison.results import PoolResults, Row, controls_of, rank_rows
from seepage.findings.defences import worst_classes
from seepage.report.compare_defences import _labels
from seepage.report.defence_words import beside_private, machines, missing, other_machines, why

AUC = "lira/adaptive/pool/auc"


def row(
    label: str,
    accuracy: float,
    auc: float,
    *,
    name: str = "none",
    epochs: int = 30,
    machine: str = "2 processor cores",
    shake: float = 0.0,
) -> Row:
    noise = np.linspace(-1, 1, 8)
    return Row(
        label=label,
        defense={"name": name},
        reconstruction=False,
        seeds=(0,),
        values={
            "accuracy_out": {(0, k): accuracy + (0.001 + shake) * x for k, x in enumerate(noise)},
            AUC: {(0, k): auc + 0.001 * x**3 for k, x in enumerate(noise)},
        },
        realised={},
        classes={},
        paths={},
        facts={"machines": {0: machine}},
        setting={"epochs": epochs},
    )


def pool(rows: list[Row], roles: list[dict[str, str]], **more: Any) -> PoolResults:
    return PoolResults("p", "lira", (0.001,), rows, [], more.pop("regions", []), [], roles, **more)


def role(label: str, kind: str, variant: str = "two-phase", base: str = "base") -> dict[str, str]:
    return {"base": base, "variant": variant, "kind": kind, "label": label}


def table(utility: list[float], privacy: list[float]) -> dict[str, Any]:
    return {"utility": [utility] * 3, "privacy": [privacy] * 3, "separation": 0.5}


def test_a_base_that_leaks_more_is_no_defence() -> None:
    roles = [role("base", "everywhere")]
    for auc, expected in ((0.9, True), (0.7, False)):
        said = why(pool([row("none", 0.8, 0.8), row("base", 0.8, auc, name="base")], roles))
        assert any("it is no defence" in s for s in said) is expected


def test_peaks_and_shares_come_from_the_tables() -> None:
    found = {
        "base": "base",
        "seed": 0,
        "regions": ["a", "b"],
        "chosen": ["b"],
        "tables": {
            "swap": table([-0.3, -0.1], [-0.1, -0.3]),
            "rewind": table([-0.3, -0.1], [-0.3, 0.1]),
        },
    }
    (said,) = why(pool([row("none", 0.8, 0.8)], [], regions=[found]))
    assert "by swap utility peaks in a, risk in b" in said
    assert "carries 75% of the risk that lies in single regions and 25% of the utility" in said
    # A region whose exchange raises the risk carries none of it.
    assert "by rewind both peak in a" in said
    assert "carries 0% of the risk" in said


def test_parts_on_their_front_are_bold_and_unstable_training_is_named() -> None:
    rows = [
        row("none", 0.8, 0.9),
        row("base", 0.8, 0.7, name="base"),
        row("guard", 0.7, 0.8, name="pptp", shake=0.2),
    ]
    said = why(pool(rows, [role("base", "everywhere"), role("guard", "regions")]))
    (parts,) = (s for s in said if "bold" in s)
    assert "**everywhere** 0.800 / 0.700, regions 0.700 / 0.800" in parts
    assert "unstable in regions" in parts


def test_shorter_training_is_set_against_what_it_may_explain() -> None:
    rows = [
        row("none", 0.7, 0.9),
        row("none, 15 epochs", 0.8, 0.7, epochs=15),
        row("base", 0.7, 0.8, name="base"),
        row("base, 7 epochs", 0.75, 0.6, name="base", epochs=7),
        row("all but a", 0.75, 0.6, name="pptp"),
        row("in turns", 0.7, 0.8, name="pptp"),
    ]
    roles = [role("all but a", "complement"), role("in turns", "regions", "alternating")]
    said = why(pool(rows, roles))
    assert any(s.startswith("`base, 7 epochs` of 30: accuracy 0.750, AUC 0.600") for s in said)
    two = next(s for s in said if s.startswith("`all but a` against `base, 7 epochs`"))
    assert "no difference" in two
    turns = next(s for s in said if s.startswith("`in turns` against `none, 15 epochs`"))
    assert "worse in accuracy and AUC" in turns


@pytest.mark.parametrize(("auc", "expected"), [(0.8, "no difference"), (0.9, "they differ")])
def test_a_fleet_of_two_machines_is_compared(auc: float, expected: str) -> None:
    here = [row("none", 0.8, 0.8, machine="a GPU"), row("x", 0.8, 0.8)]
    here[0].facts["machines"][1] = "another"  # at a seed that was not trained again
    p = pool(here, [], elsewhere=[row("none", 0.8, auc)])
    (said,) = other_machines(p)
    assert "2 processor cores instead of a GPU" in said
    assert expected in said
    assert "a GPU and another (1 row" in machines(p)


def test_what_learnt_nothing_and_controls_are_not_the_best() -> None:
    rows = [
        row("none", 0.8, 0.9),
        row("nothing learnt", 0.1, 0.5),
        row("control", 0.8, 0.6),
        row("good", 0.79, 0.7),
        row("worse", 0.79, 0.8),
    ]
    ranked = rank_rows(rows, controls=controls_of([role("control", "random")]))
    assert [r.label for r in ranked] == ["good", "worse", "nothing learnt"]


def test_numbers_of_a_crowd_do_not_lie_on_each_other() -> None:
    spots = _labels([(0.5, 0.5), (0.501, 0.5), (0.5, 0.503), (0.502, 0.498)])
    for k, (a, b) in enumerate(spots):
        for c, d in spots[:k]:
            assert abs(a - c) >= 0.026 or abs(b - d) >= 0.026


def test_everything_stands_beside_the_most_accurate_private_training() -> None:
    rows = [
        row("none", 0.8, 0.9),
        row("dp weak", 0.8, 0.7, name="dp-sgd"),
        row("dp strong", 0.5, 0.5, name="dp-sgd"),
        row("good", 0.85, 0.7),
        row("same", 0.8, 0.7),
        row("trade", 0.85, 0.8),
        row("bad", 0.7, 0.7),
    ]
    said = beside_private(pool(rows, []))
    assert said is not None
    assert said.startswith("Compared with `dp weak`")
    for words in ("neither: `good`", "other: `trade`", "shown: `same`", "neither: 2 more"):
        assert words in said
    assert beside_private(pool(rows[:1], [])) is None


def test_a_base_that_does_nothing_in_few_epochs_is_told() -> None:
    rows = [
        row("none", 0.7, 0.9),
        row("none, 7 epochs", 0.8, 0.7, epochs=7),
        row("base", 0.7, 0.8, name="base"),
        row("base, 7 epochs", 0.8, 0.7, name="base", epochs=7),
    ]
    said = why(pool(rows, []))
    (idle,) = (s for s in said if "changes nothing" in s)
    assert idle.startswith("`base, 7 epochs`")
    assert "figures of `none, 7 epochs`" in idle


def test_a_class_is_compared_over_the_seeds_that_both_have() -> None:
    plain, other = row("none", 0.8, 0.9), row("x", 0.8, 0.7)
    setting = {"epochs": 30, "data": {"classes": ["a", "b"]}}
    plain = replace(
        plain, setting=setting,
        classes={"accuracy_out": {(0, 0): [0.5, 0.9], (0, 2): [0.7, 0.9], (1, 0): [0.0, 0.0]}},
    )  # fmt: skip
    other = replace(
        other, setting=setting,
        classes={"accuracy_out": {(0, 0): [0.5, 0.8], (0, 2): [0.7, 0.8]}},
    )  # fmt: skip
    lost = worst_classes(pool([plain, other], []), other)["lost"]
    assert lost[0] == "b"
    assert lost[1] == pytest.approx(-0.1)


def test_what_another_pool_has_is_said_to_bemissing() -> None:
    most, few = (
        pool([row("none", 0.8, 0.9), row("x", 0.8, 0.7)], []),
        pool([row("none", 0.8, 0.9)], []),
    )
    assert missing(few, [most, few]) == ["Not trained on this pool: x."]
    assert missing(most, [most, few]) == []
