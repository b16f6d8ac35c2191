"""Published implementations' rules, written here anew from their formulas, against ours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from oracles import leaking_signals
from seepage import attacks
from seepage.attacks import Global, LiRA, LiRAOfflineTwoSided, Mean, Median, PerSample, Pooled
from seepage.plan import half_split


@pytest.fixture(params=[1, 3], ids=["one view", "three views"])
def fleet(request):
    """Eleven runs, the first the target; its references are IN equally often: (R, N, A), (R, N)."""
    member = half_split(60, models=12, seed=0).member[1:]
    phi = leaking_signals(np.random.default_rng(1), member, views=request.param)["phi"]
    return phi * np.linspace(0.5, 2.0, request.param), member


def stacked(phi, member):
    """References by sample: IN (N, n, A) and OUT (N, n, A)."""
    samples = range(phi.shape[1])
    return tuple(
        np.array([phi[kind[:, i], i] for i in samples], dtype=np.float64)
        for kind in (member, ~member)
    )


def released_script(target, phi, member, *, fixed: bool, online: bool):
    """The rule of the LiRA authors' plotting script; low = member."""
    inside, outside = stacked(phi, member)
    if online:
        s_in = inside.std() if fixed else inside.std(axis=1)
        s_out = s_in if fixed else outside.std(axis=1)
        seen = norm.logpdf(target, np.median(inside, axis=1), s_in)
        return (norm.logpdf(target, np.median(outside, axis=1), s_out) - seen).mean(axis=1)
    s_out = outside.std() if fixed else outside.std(axis=1)
    return norm.logpdf(target, np.median(outside, axis=1), s_out).mean(axis=1)


def tensorflow_privacy(target, phi, member, centre):
    """The rule of its advanced_mia with one variance for all examples; low = member."""
    law = []
    for values in stacked(phi, member):
        middle = centre(values, axis=1)
        law.append((middle, (values - middle[:, None]).std()))
    seen, unseen = (norm.logpdf(target, middle, spread) for middle, spread in law)
    return (unseen - seen).mean(axis=1)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("online", [False, True])
def test_the_released_script(fleet, fixed, online):
    phi, member = fleet
    variance = Global(released=True) if fixed else PerSample()
    attack = (LiRA if online else LiRAOfflineTwoSided)(Median(), variance)
    want = -released_script(phi[0], phi[1:], member[1:], fixed=fixed, online=online)
    np.testing.assert_allclose(attack.score(phi[0], phi[1:], member[1:]), want, rtol=1e-9)
    plain = (LiRA if online else LiRAOfflineTwoSided)(Median(), Global())
    if fixed and (online or phi.shape[2] > 1):
        assert not np.allclose(plain.score(phi[0], phi[1:], member[1:]), want, rtol=1e-3)


@pytest.mark.parametrize(("centre", "rule"), [(np.median, Median()), (np.mean, Mean())])
def test_tensorflow_privacy(fleet, centre, rule):
    phi, member = fleet
    want = -tensorflow_privacy(phi[0], phi[1:], member[1:], centre)
    attack = LiRA(rule, Pooled(released=True))
    np.testing.assert_allclose(attack.score(phi[0], phi[1:], member[1:]), want, rtol=1e-9)
    plain = LiRA(rule, Pooled())
    assert not np.allclose(plain.score(phi[0], phi[1:], member[1:]), want, rtol=1e-3)


def test_one_sided_ranks_as_phi_of_it_does_with_one_view_alone():
    """The mean of deviates over views is not a monotone function of the mean of Φ of them."""
    rng = np.random.default_rng(0)
    references, none = rng.normal(size=(20, 2, 2)), np.zeros((20, 2), bool)
    references = (references - references.mean(axis=0)) / references.std(axis=0)
    attack = attacks.LiRAOfflineOneSided(variance=PerSample())
    deviates = np.array([[9.0, -2.0], [2.0, 2.0]])
    np.testing.assert_allclose(attack.score(deviates, references, none), deviates.mean(axis=1))
    assert np.argsort(deviates.mean(axis=1)).tolist() == [1, 0]
    assert np.argsort(norm.cdf(deviates).mean(axis=1)).tolist() == [0, 1]
    one = attack.score(deviates[:, :1], references[..., :1], none)
    assert (np.argsort(one) == np.argsort(norm.cdf(deviates[:, 0]))).all()
