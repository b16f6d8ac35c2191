"""Bounds lie below the truth and near it, and choosing a threshold is paid for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from seepage import epsilon as bounds
from seepage.errors import InputError
from seepage.metrics import clopper_pearson

few = settings(deadline=None, max_examples=20)


def shifted(mu: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores N(mu, 1) of members and N(0, 1) of others, by exact quantiles instead of draws."""
    z = norm.ppf((np.arange(n) + 0.5) / n)
    return np.append(z + mu, z), np.repeat([True, False], n)


def uncorrected(scores: np.ndarray, member: np.ndarray, level: float = 0.95) -> float:
    """The arg-max over every threshold, as if it had been fixed beforehand."""
    t = np.unique(scores)
    tp = (scores[member][:, None] >= t).sum(0)
    fp = (scores[~member][:, None] >= t).sum(0)
    low, _ = clopper_pearson(tp, member.sum(), level)
    _, high = clopper_pearson(fp, (~member).sum(), level)
    with np.errstate(divide="ignore"):
        best = np.maximum(np.log(low / high), np.log((1 - high) / (1 - low))).max()
    return max(0.0, float(best))


# Closed forms


@pytest.mark.parametrize(("m", "epsilon"), [(10, 1.0519), (100, 3.4930), (1000, 5.8091)])
def test_one_run_all_correct(m, epsilon):
    assert bounds.one_run(m, m, m).epsilon == pytest.approx(epsilon, abs=5e-5)
    q = 0.05 ** (1 / m)
    assert bounds.one_run(m, m, m).epsilon == pytest.approx(math.log(q / (1 - q)), rel=1e-9)


@pytest.mark.parametrize(("mu", "epsilon"), [(0.5, 1.993), (1.0, 4.377), (2.0, 9.997)])
def test_gdp_closed_form(mu, epsilon):
    assert bounds.gdp_epsilon(mu, 1e-5) == pytest.approx(epsilon, abs=6e-4)


@few
@given(st.floats(1e-3, 40), st.floats(1e-12, 0.5))
def test_gdp_epsilon_inverts_delta(mu, delta):
    epsilon = bounds.gdp_epsilon(mu, delta)
    if epsilon == 0:
        assert 2 * norm.cdf(mu / 2) - 1 <= delta * (1 + 1e-9)
    else:
        assert bounds.gdp_delta(mu, epsilon) == pytest.approx(delta, rel=1e-6)
    assert bounds.gdp_epsilon(mu * 1.1, delta) >= epsilon


def test_one_threshold_by_hand():
    """Randomised response: 73 of 100 members and 27 of 100 others answer 1."""
    scores = np.repeat([1.0, 0.0, 1.0, 0.0], [73, 27, 27, 73])
    member = np.repeat([True, False], 100)
    got = bounds.multi_run(scores, member, threshold=bounds.Explicit(1.0), delta=0.01)
    low, high = clopper_pearson([73, 27], 100)
    assert (got.tpr_low, got.fpr_high) == pytest.approx((low[0], high[1]))
    want = max(math.log((low[0] - 0.01) / high[1]), math.log((1 - high[1] - 0.01) / (1 - low[0])))
    assert got.epsilon == pytest.approx(want)
    assert 0 < got.epsilon < math.log(73 / 27)


def test_the_other_side_counts():
    """Every member answers 1 and so do half of the others: only a 0 gives anything away."""
    scores = np.repeat([1.0, 1.0, 0.0], [200, 100, 100])
    member = np.repeat([True, False], 200)
    got = bounds.multi_run(scores, member, threshold=bounds.Explicit(1.0))
    assert got.epsilon == pytest.approx(math.log((1 - got.fpr_high) / (1 - got.tpr_low)))
    assert got.epsilon > 2 > math.log(got.tpr_low / got.fpr_high)


# Below the truth, and not far


@pytest.mark.parametrize(
    "threshold",
    [bounds.Bonferroni(), bounds.Bonferroni(128), bounds.Split(0.5, np.random.default_rng(3))],
    ids=["bonferroni", "bonferroni 128", "split"],
)
@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_near_the_truth_on_gaussian_shift(mu, threshold):
    scores, member = shifted(mu, 50_000)
    truth = bounds.gdp_epsilon(mu, 0.05)
    for bound in (
        bounds.multi_run(scores, member, delta=0.05, threshold=threshold),
        bounds.gdp(scores, member, delta=0.05, threshold=threshold),
    ):
        assert 0.8 * truth <= bound.epsilon <= truth
    bound = bounds.gdp(scores, member, delta=1e-5, threshold=threshold)
    assert 0.8 * mu <= bound.mu <= mu
    assert 0.8 * bounds.gdp_epsilon(mu, 1e-5) <= bound.epsilon <= bounds.gdp_epsilon(mu, 1e-5)


@pytest.mark.parametrize("epsilon", [1.0, 2.0])
def test_one_run_near_the_truth_on_randomised_response(epsilon):
    m, q = 20_000, 1 / (1 + math.exp(-epsilon))
    for delta in (0.0, 1e-7):
        got = bounds.one_run(int(m * q), m, m, delta=delta).epsilon
        assert 0.9 * epsilon <= got <= epsilon


# Honesty about the choice


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_correction_is_smaller_than_the_argmax(mu):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        member = np.arange(1000) % 2 == 0
        scores = rng.normal(size=1000) + mu * member
        assert bounds.multi_run(scores, member).epsilon < uncorrected(scores, member)


def test_coverage_without_leakage():
    """ε is 0: strategies exceed it as rarely as they say; the uncorrected arg-max does not."""
    rng = np.random.default_rng(7)
    member = np.arange(200) % 2 == 0
    draws, over, loose = 200, np.zeros(4), np.zeros(2)
    for _ in range(draws):
        scores = rng.normal(size=200)
        over += [
            bounds.multi_run(scores, member).epsilon > 0,
            bounds.multi_run(scores.round(), member).epsilon > 0,
            bounds.multi_run(scores, member, threshold=bounds.Split(0.3, rng)).epsilon > 0,
            bounds.one_run_from_scores(scores, member, (20, 60, 200)).epsilon > 0,
        ]
        loose += [
            bounds.multi_run(scores, member, level=0.7).epsilon > 0,
            uncorrected(scores, member, level=0.7) > 0,
        ]
    assert (over / draws <= 0.05).all()
    assert loose[0] / draws <= 0.3 < loose[1] / draws


def test_coverage_where_every_threshold_is_tight():
    """Laplace shift: the likelihood ratio is e^ε on both sides, so luck anywhere would show."""
    rng = np.random.default_rng(11)
    member = np.arange(400) % 2 == 0
    over = np.zeros(2)
    for _ in range(150):
        scores = rng.laplace(size=400) + 1.0 * member
        over += [
            bounds.multi_run(scores, member).epsilon > 1,
            bounds.multi_run(scores, member, threshold=bounds.Split(0.5, rng)).epsilon > 1,
        ]
    assert (over / 150 <= 0.05).all()


def test_ties_do_not_help_whoever_sorted_the_array():
    member = np.repeat([True, False], 50)
    for order in (member, ~member):
        for strategy in (bounds.BothEnds(), bounds.HighestOnly()):
            got = bounds.one_run_from_scores(np.zeros(100), order, 50, strategy)
            assert (got.correct, got.epsilon) == (0, 0)


def test_guesses_from_scores():
    member = np.array([True, True, False, True, False, False])
    scores = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    ends = bounds.one_run_from_scores(scores, member, 4)
    top = bounds.one_run_from_scores(scores, member, 3, bounds.HighestOnly())
    assert (ends.correct, ends.guesses, ends.canaries) == (4, 4, 6)
    assert (top.correct, top.guesses) == (2, 3)
    both = bounds.one_run_from_scores(scores, member, (4, 6))
    assert both.level == 0.95
    assert both.epsilon <= bounds.one_run_from_scores(scores, member, 4).epsilon


# Brute force and laws


def naive_p(epsilon: float, v: int, r: int, m: int, delta: float) -> float:
    q = 1 / (1 + math.exp(-epsilon))
    pmf = [binom.pmf(k, r, q) for k in range(r + 1)]
    alpha = max(sum(pmf[k] for k in range(max(0, v - i), v)) / i for i in range(1, m + 1))
    return sum(pmf[v:]) + alpha * 2 * m * delta


@few
@given(st.data())
def test_one_run_against_the_naive_p_value(data):
    m = data.draw(st.integers(5, 40))
    r = data.draw(st.integers(5, m))
    v = data.draw(st.integers(r // 2, r))
    delta = data.draw(st.sampled_from([1e-6, 1e-4, 1e-3]))
    got = bounds.one_run(v, r, m, delta=delta).epsilon
    if got > 0:
        for share in (0.0, 0.3, 0.7, 1 - 1e-6):
            assert naive_p(got * share, v, r, m, delta) <= 0.05 + 1e-7
    assert naive_p(got + 1e-5, v, r, m, delta) > 0.05


@few
@given(st.integers(1, 60), st.integers(0, 60), st.floats(0, 1e-3))
def test_one_run_laws(r, v, delta):
    v = min(v, r)
    here = bounds.one_run(v, r, 60, delta=delta).epsilon
    assert here <= bounds.one_run(min(v + 1, r), r, 60, delta=delta).epsilon + 1e-8
    assert here <= bounds.one_run(v, r, 60).epsilon + 1e-8
    assert here <= bounds.one_run(v, r, 60, delta=delta, level=0.9).epsilon + 1e-8
    assert bounds.one_run(v, r, 90, delta=delta).epsilon <= here + 1e-8


@few
@given(st.integers(0, 2**31), st.floats(0, 0.3), st.sampled_from([bounds.multi_run, bounds.gdp]))
def test_rates_laws(seed, delta, method):
    rng = np.random.default_rng(seed)
    member = rng.permutation(np.arange(120) % 3 == 0)
    scores = rng.normal(size=120) + 2 * member
    kept, delta = scores.copy(), delta + 1e-6
    here = method(scores, member, delta=delta).epsilon
    assert here <= method(scores, member, delta=delta / 2).epsilon
    assert here <= method(scores, member, delta=delta, level=0.8).epsilon
    order = rng.permutation(120)
    assert method(scores[order], member[order], delta=delta).epsilon == here
    assert method(np.exp(scores / 2), member, delta=delta).epsilon == here
    assert (scores == kept).all()


@few
@given(st.floats(0, 800), st.floats(0, 1))
def test_region_is_the_mirror_of_itself(epsilon, delta):
    fpr = np.linspace(0, 1, 33)
    low, high = bounds.dp_region(epsilon, delta, fpr)
    assert (low <= fpr + 1e-12).all()
    assert (fpr <= high + 1e-12).all()
    assert ((low >= 0) & (high <= 1)).all()
    assert low == pytest.approx(1 - high[::-1])
    wider = bounds.dp_region(epsilon + 0.1, delta, fpr)
    assert (wider[1] >= high - 1e-12).all()


def test_region_holds_the_gaussian_curve_and_touches_it():
    fpr = np.linspace(1e-4, 1 - 1e-4, 2001)
    tpr = norm.cdf(norm.ppf(fpr) + 1)
    _, high = bounds.dp_region(bounds.gdp_epsilon(1.0, 0.1), 0.1, fpr)
    assert 0 <= (high - tpr).min() < 1e-4


# What users get wrong


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds.multi_run(np.zeros((2, 4)), np.ones((2, 4), bool)), "pooled they are not"),
        (lambda: bounds.multi_run([1.0, 2.0], [1, 0]), "scores, member: expected floats and bools"),
        (lambda: bounds.multi_run([1.0, np.inf], [True, False]), "scores: expected finite"),
        (lambda: bounds.multi_run([1.0, 2.0], [True, True]), "member: expected members and"),
        (lambda: bounds.multi_run([1.0, 2.0], [True, False], level=95), "level: expected a number"),
        (
            lambda: bounds.multi_run([1.0, 2.0], [True, False], delta=1.0),
            "delta: expected a number",
        ),
        (lambda: bounds.gdp([1.0, 2.0], [True, False], delta=0.0), "delta: .* no finite epsilon"),
        (lambda: bounds.Explicit(float("nan")), "threshold: expected a number"),
        (lambda: bounds.Bonferroni(1), "candidates: expected at least 2"),
        (lambda: bounds.Split(1.0, np.random.default_rng()), "fraction: expected a number"),
        (
            lambda: bounds.multi_run(
                [1.0, 2.0], [True, False], threshold=bounds.Split(0.5, np.random.default_rng())
            ),
            "fraction: expected scores on both sides",
        ),
        (lambda: bounds.one_run(5, 4, 10), "correct, guesses, canaries: expected 0"),
        (lambda: bounds.one_run(0, 0, 10), "count abstentions as no guess"),
        (
            lambda: bounds.one_run_from_scores([1.0, 2.0], [True, False], 3),
            "guesses: expected counts between 1 and 2",
        ),
        (lambda: bounds.one_run_from_scores([1.0], [True], ()), "guesses: expected counts"),
        (lambda: bounds.gdp_epsilon(-1.0, 0.1), "mu: expected a finite number"),
        (lambda: bounds.gdp_delta(1.0, -1.0), "mu, epsilon: expected finite"),
        (lambda: bounds.dp_region(-1.0, 0.0, [0.5]), "epsilon, delta: expected"),
        (lambda: bounds.dp_region(1.0, 0.0, [1.5]), "fpr: expected rates"),
    ],
)
def test_messages(call, message):
    with pytest.raises(InputError, match=message):
        call()
