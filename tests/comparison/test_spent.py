"""What several private runs spend together, and how a table says it."""

from types import SimpleNamespace

import pytest

from seepage.comparison.spent import joint_spending
from seepage.report import defence_words

TOLD = {
    "epsilon": 1.8326, "epsilon_rdp": 2.1014, "accountant": "prv", "delta": 1e-5,
    "epsilon_holds": True, "epsilon_why_not": None,
}  # fmt: skip
BEFORE = {"epsilon": 2.1014, "delta": 1e-5, "epsilon_holds": True}


def test_the_largest_counts_and_all_must_hold():
    shuffled = TOLD | {"epsilon": 1.9, "epsilon_holds": False, "epsilon_why_not": "shuffled"}
    found = joint_spending([TOLD, shuffled, TOLD | {"accountant": "rdp"}])
    assert found["epsilon"] == 1.9
    assert found["epsilon_rdp"] == 2.1014
    assert found["accountant"] == "prv, rdp"
    assert found["epsilon_holds"] is False
    assert found["epsilon_why_not"] == "shuffled"
    assert joint_spending([found, found]) == found  # of seeds, as of runs
    assert joint_spending([TOLD, TOLD | {"epsilon": None}])["epsilon"] is None


def test_runs_of_before_say_what_they_said():
    assert joint_spending([BEFORE, BEFORE]) == BEFORE
    assert joint_spending([BEFORE, TOLD]) == BEFORE | {"epsilon": 2.1014}
    assert joint_spending([]) == joint_spending([TOLD, {}]) == {}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (TOLD, "1.83 (δ 1e-05, by Rényi accounting 2.10)"),
        (BEFORE, "2.10 (δ 1e-05)"),
        (BEFORE | {"epsilon_holds": False}, "2.10 (δ 1e-05) not a guarantee"),
        (
            TOLD | {"epsilon": None, "epsilon_rdp": None, "epsilon_holds": False,
                    "epsilon_why_not": "no noise is added"},
            "∞ (δ 1e-05, by Rényi accounting ∞) not a guarantee: no noise is added",
        ),
        ({}, "–"),
    ],
)  # fmt: skip
def test_a_cell_says_both_bounds(facts, said):
    assert defence_words._epsilon(SimpleNamespace(facts=facts)) == said
