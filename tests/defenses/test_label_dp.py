"""Randomised labels: the mechanism by brute force, its guarantee, and the stages."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seepage.defenses import LabelDP
from seepage.defenses.label_dp import best_k, channel, randomised
from seepage.errors import InputError


def priors(n, k, seed, concentration=0.5):
    g = torch.Generator().manual_seed(seed)
    gamma = torch._standard_gamma(torch.full((n, k), concentration), generator=g) + 1e-12
    return gamma / gamma.sum(1, keepdim=True)


@pytest.mark.parametrize(("epsilon", "keep"), [(1, 0.2320), (2, 0.4509), (4, 0.8585), (8, 0.9970)])
def test_plain_randomised_response_at_a_uniform_prior(epsilon, keep):
    c = channel(torch.full((1, 10), 0.1), epsilon)[0]
    torch.testing.assert_close(c.diagonal(), torch.full((10,), keep).double(), atol=5e-5, rtol=0)


@given(st.integers(2, 8), st.floats(0.1, 6), st.integers(0, 500))
@settings(max_examples=30, deadline=None)
def test_channel_is_private_and_k_is_the_best(k, epsilon, seed):
    prior = priors(3, k, seed)
    c = channel(prior, epsilon)
    torch.testing.assert_close(c.sum(2), torch.ones(3, k).double())
    ratio = c.amax(1) / c.amin(1).clamp(min=1e-300)
    used = c.amax(1) > 0
    assert (ratio[used] <= math.exp(epsilon) * (1 + 1e-9)).all()
    for p, chosen in zip(prior.double(), best_k(prior, epsilon).tolist(), strict=True):
        top = p.sort(descending=True).values
        value = [
            math.exp(epsilon) / (math.exp(epsilon) + j - 1) * float(top[:j].sum())
            for j in range(1, k + 1)
        ]
        assert value[chosen - 1] == pytest.approx(max(value), rel=1e-12)


def test_the_chosen_k_maximises_the_probability_of_a_true_label():
    """P(told = true) under the prior, for every k: the released code's formula picks worse ones."""
    prior = priors(400, 10, 0).double()
    top = prior.sort(dim=1, descending=True).values.cumsum(1)
    k = torch.arange(1, 11).double()
    right = top / (1 + (k - 1) * math.exp(-1.0))
    ours = right.gather(1, best_k(prior, 1.0)[:, None] - 1)
    theirs = right.gather(1, (top / (1 + (k - 2) * math.exp(-1.0))).argmax(1)[:, None])
    assert (ours >= theirs - 1e-12).all()
    assert float((ours - theirs).mean()) > 0.005


def test_draws_follow_the_channel():
    prior = priors(1, 5, 3, 2.0)
    n = 20_000
    c = channel(prior, 1.0)[0]
    told = randomised(
        torch.full((n,), 2), prior.expand(n, 5), 1.0, torch.Generator().manual_seed(0)
    )
    frequency = told.bincount(minlength=5).double() / n
    assert float((frequency - c[2]).abs().max()) < 4 * 0.5 / math.sqrt(n)
    assert (frequency[c[2] == 0] == 0).all()


def test_every_label_is_randomised_once_and_only_the_last_stage_is_recorded(kit):
    members = kit.samples(40)
    context = kit.context(members=members, epochs=2)
    _, loop = kit.train(LabelDP(epsilon=1.0, stages=3), context)
    assert [len(s.members) for s in loop.stages] == [14, 27, 40]
    assert loop.recorded == 2
    for early, late in zip(loop.stages[:-1], loop.stages[1:], strict=True):
        n = len(early.members)
        assert torch.equal(early.members.labels, late.members.labels[:n])
        assert torch.equal(early.members.inputs, late.members.inputs[:n])
    assert 0.1 < context.facts["labels_changed"] < 0.9
    assert torch.equal(members.labels, torch.arange(40) % 3)


def test_a_large_budget_changes_no_label_and_bad_ones_are_refused(kit):
    context = kit.context()
    kit.train(LabelDP(epsilon=60.0, stages=1), context)
    assert context.facts["labels_changed"] == 0.0
    with pytest.raises(InputError, match=r"epsilon: expected a number in \(0"):
        LabelDP(epsilon=0.0)
    with pytest.raises(InputError, match="stages: expected"):
        LabelDP(stages=0)
