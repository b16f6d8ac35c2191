"""Limits on a run: which end decides, what cannot be resolved fails, and the choice is paid for."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from seepage.attacks import LOSS
from seepage.config import Limits
from seepage.epsilon.one_run import epsilon_of_runs, joint_epsilon
from seepage.errors import InputError
from seepage.findings.attacks import FPRS, at_last_checkpoint
from seepage.findings.epsilon import largest_epsilon
from seepage.findings.gate import Judged, check, judge, judge_epsilon, judge_exposed, judge_rate
from seepage.findings.judging import Judging
from seepage.findings.samples import ExposedAtEnd, exposed_at_end
from seepage.metrics import Estimate, benjamini_hochberg, clopper_pearson, evidence
from seepage.plan import subsets
from seepage.report.junit import junit
from seepage.scoring import score


@pytest.fixture(scope="module")
def leaking(make_run: Any) -> Any:
    """40 of 200 samples leak, in 20 models: one name is enough for the test of exposure."""
    return make_run(models=20, checkpoints=(0.0, 4.0), leaky=0.2, shift=6.0)


def test_each_limit_holds_just_above_what_decides_and_fails_just_below(leaking: Any) -> None:
    found, _, scores = at_last_checkpoint(leaking, None, Judging.of(leaking), 0, lambda *a: None)
    figures = {f.name: f for _, f in found}
    auc = max(f.auc.high for f in figures.values())
    tpr = max(f.pooled[0].tpr.high for f in figures.values() if f.pooled[0].resolved)
    eps = largest_epsilon(scores, leaking.member)
    p = evidence(np.asarray(leaking.signal_at("phi", 1), np.float64), leaking.member)
    exposed = int((benjamini_hochberg(p) <= 0.05).sum())
    assert 0 < exposed < 60
    assert 0 < eps.bound < eps.ceiling
    for step, held in ((1e-6, True), (-1e-6, False)):
        limits = Limits(
            max_auc=auc + step, max_tpr=f"{tpr + step!r}@{FPRS[0]}", max_eps=eps.bound + step,
            max_exposed=exposed if held else exposed - 1,
        )  # fmt: skip
        said = judge(limits, scores, leaking)
        assert [j.name for j in said] == [
            "AUC", "TPR at 0.01 FPR", "ε at δ = 1e-05", "exposed samples",
        ]  # fmt: skip
        assert [j.holds for j in said] == [held] * 4, [j.why for j in said]
        assert all("\n" not in j.why for j in said)
    whole = check(leaking, Limits(max_auc=auc + 1e-6, max_exposed=exposed / 200))
    assert whole.holds
    assert set(whole.attacks) == set(scores)


def test_a_rate_without_an_interval_is_taken_for_1(make_run: Any) -> None:
    two = make_run(models=4, samples=60, checkpoints=(0.0, 4.0))
    scores = {"loss": score(two, LOSS())}
    auc, tpr = judge(Limits(max_auc=0.99, max_tpr="0.99@0.0001"), scores, two)
    assert not auc.holds
    assert (
        "too few models for an interval, so that nothing is known but that it is at most 1"
        in auc.why
    )
    assert not tpr.holds
    assert "it cannot be resolved with 120 non-members, so that nothing is known" in tpr.why
    assert judge(Limits(max_auc=1.0), scores, two)[0].holds


def test_an_attack_that_was_named_decides_too() -> None:
    strong, none = Estimate(0.6, 0.5, 0.65, 0.95, 8), Estimate(*[np.nan] * 3, 0.95, 8)
    found = {"lira": (strong, strong), "odd": (none, none)}
    assert judge_rate("AUC", 0.7, found).holds
    assert list(judge_rate("AUC", 0.7, found).untold) == ["odd"]
    named = judge_rate("AUC", 0.7, found, ["odd"])
    assert (named.holds, [r.held for r in named.rows]) == (False, [True, False])


def test_the_largest_epsilon_pays_for_the_choice_among_attacks() -> None:
    """Of ten attacks on noise one exceeds 0 in 5 % of audits, and not in the 40 % of ten audits."""
    rng = np.random.default_rng(0)
    trials, paid, unpaid = 150, 0, 0
    for _ in range(trials):
        member = rng.random((2, 60)) < 0.5
        scores = {f"a{k}": rng.normal(size=member.shape) for k in range(10)}
        paid += largest_epsilon(scores, member, delta=0.0, target=0).bound > 0
        unpaid += any(
            epsilon_of_runs(s[:1], member[:1], delta=0.0, level=0.9)[0] > 0 for s in scores.values()
        )
    assert clopper_pearson(paid, trials, 0.99)[0] <= 0.05
    assert clopper_pearson(unpaid, trials, 0.99)[0] > 0.1


def test_the_largest_epsilon_is_that_of_the_joint_bound(leaking: Any) -> None:
    scores = {"a": score(leaking, LOSS())}
    member = leaking.member
    found = largest_epsilon(scores, member)
    assert found.bound == joint_epsilon(epsilon_of_runs(scores["a"], member))
    assert found.ceiling == joint_epsilon(epsilon_of_runs(member.astype(float), member))
    # Samples without a coin of their own change nothing.
    more = np.hstack([member, np.ones((20, 40), bool), np.zeros((20, 40), bool)])
    wide = {"a": np.hstack([scores["a"], np.full((20, 80), 99.0)])}
    assert largest_epsilon(wide, more) == found


def test_a_limit_on_epsilon_that_no_leak_could_fail_fails(leaking: Any) -> None:
    found = largest_epsilon({"a": score(leaking, LOSS())}, leaking.member)
    said = judge_epsilon(found.ceiling, found)
    assert not said.holds
    assert "could exceed the limit" in said.why
    assert "whatever leaks" in said.why
    assert judge_epsilon(found.ceiling - 1e-6, found).holds


def test_epsilon_is_refused_where_its_theorem_says_nothing() -> None:
    member = subsets(60, models=12, parts=4, seed=0).member
    with pytest.raises(InputError, match="tuples of more than two"):
        largest_epsilon({"a": np.zeros(member.shape)}, member)


def test_a_limit_below_what_can_be_named_fails(make_run: Any) -> None:
    few = exposed_at_end(make_run(models=8, checkpoints=(0.0, 4.0), leaky=0.0, shift=0.0))
    # Four pairs: p is never below 1/16, so that of 200 no fewer than 250 could be named.
    assert (few.count, few.fewest) == (0, 250)
    said = judge_exposed(20, few)
    assert not said.holds
    assert "unseen: with 8 models no fewer than 250 of 200" in said.why
    assert judge_exposed(200, few).holds
    seen = ExposedAtEnd(count=3, of=100, fewest=4, level=0.05, basis="20 models", false=1)
    assert [judge_exposed(k, seen).holds for k in (2, 3, 0.03, 0.029)] == [False, True, True, False]
    assert "(3 of 100)" in judge_exposed(0.03, seen).why


def test_subjects_are_what_is_exposed(make_run: Any) -> None:
    run = make_run(models=20, samples=200, checkpoints=(0.0, 4.0), leaky=0.2, shift=6.0)
    run.groups = np.repeat([f"p{k}" for k in range(100)], 2)
    run.member = np.repeat(run.member[:, ::2], 2, axis=1)
    found = check(run, Limits(max_exposed=100), attacks=[LOSS()])
    assert found.judged[0].name == "exposed subjects"
    assert "of 100 are named" in found.judged[0].why


def test_without_a_limit_nothing_is_judged(leaking: Any) -> None:
    with pytest.raises(InputError, match="expected a limit, got none"):
        check(leaking, Limits(delta=0.1))


def test_junit_is_well_formed_whatever_it_holds() -> None:
    odd = 'a<&>"\x00\x1b[31m\udcff\ufffe\n]]>é🙂'
    cases = [Judged("AUC", 0.6, False, f"it is {odd}"), Judged(f"TPR {odd}", 0.1, True, odd)]
    suites = ElementTree.fromstring(junit(odd, cases).encode())
    (suite,) = suites
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert suite.get("name") == 'a<&>"\\x00\\x1b[31m\\udcff\\ufffe ]]>é🙂'
    first, second = suite
    assert first.get("name") == "AUC at most 0.6"
    (failure,) = first
    assert failure.text == failure.get("message") == f"it is {suite.get('name')}"
    assert [child.tag for child in second] == ["system-out"]
    none = ElementTree.fromstring(junit("run", cases, "answers tell nothing").encode())
    assert none[0].get("failures") == "2"
    assert all("no verdict" in str(f.text) for f in none.iter("failure"))
