"""Rules as pure functions: closed forms and brute force, one section per defence."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from seepage.defenses.adversary import attacker_network, inference_gain
from seepage.defenses.crl import relaxed_centre_loss, relaxed_cross_entropy, shrink
from seepage.defenses.distillation import left_out, lowest_entropy
from seepage.defenses.losses import (
    CCEL,
    CCQL,
    ConfidencePenalty,
    RelaxLoss,
    ccel_loss,
    ccql_loss,
    entropy,
    flattened_targets,
    relax_loss,
    smooth_labels,
)
from seepage.defenses.mmd import class_mmd, mixup, mmd_squared


def logits_labels(seed=0, n=6, k=4, scale=2.0):
    g = torch.Generator().manual_seed(seed)
    z = scale * torch.randn(n, k, generator=g, dtype=torch.float64)
    return z.float(), torch.randint(k, (n,), generator=g)


# Label smoothing, confidence penalty


@given(st.integers(2, 7), st.floats(0, 0.99))
@settings(max_examples=20, deadline=None)
def test_smoothed_labels_are_distributions_with_the_right_mass(k, s):
    t = smooth_labels(torch.arange(k), k, s)
    torch.testing.assert_close(t.sum(1), torch.ones(k))
    torch.testing.assert_close(t.diagonal(), torch.full((k,), 1 - s + s / k))
    assert torch.allclose(t[0, 1:], torch.tensor(s / k))


def test_entropy_and_confidence_penalty_by_hand(kit):
    z = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    h = 0.5 * math.log(2) + 0.5 * math.log(4)
    assert float(entropy(z)) == pytest.approx(h, rel=1e-6)
    loss = ConfidencePenalty(0.3).loss(z, torch.tensor([1]), torch.tensor([1]), kit.context())
    assert float(loss) == pytest.approx(math.log(4) - 0.3 * h, rel=1e-6)


# RelaxLoss


def relax_by_loops(z, y, epoch, alpha, upper):
    p = z.double().softmax(1)
    n, k = p.shape
    ce = [-math.log(p[i, y[i]]) for i in range(n)]
    mean = sum(ce) / n
    if epoch % 2 == 0:
        return abs(mean - alpha)
    if mean > alpha:
        return mean
    total = 0.0
    for i in range(n):
        wrong = int(p[i].argmax() != y[i])
        top = min(float(p[i, y[i]]), upper)
        soft = [top if j == y[i] else (1 - top) / (k - 1) for j in range(k)]
        total += wrong * -sum(s * math.log(p[i, j]) for j, s in enumerate(soft)) - ce[i]
    return total / n


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
@pytest.mark.parametrize("alpha", [0.1, 1.0, 9.0])
@pytest.mark.parametrize("upper", [0.3, 1.0])
def test_relaxloss_against_loops(epoch, alpha, upper):
    z, y = logits_labels()
    assert float(relax_loss(z, y, epoch, alpha, upper)) == pytest.approx(
        relax_by_loops(z, y, epoch, alpha, upper), rel=1e-5
    )


def test_relaxloss_branches_by_parity_of_the_epoch(kit):
    z, y = logits_labels()
    mean = float(F.cross_entropy(z, y))
    context = kit.context(classes=4)
    above, below = RelaxLoss(alpha=mean / 2), RelaxLoss(alpha=2 * mean)
    context.epoch = 0
    assert float(above.loss(z, y, y, context)) == pytest.approx(mean / 2, rel=1e-6)
    assert float(below.loss(z, y, y, context)) == pytest.approx(mean, rel=1e-6)
    context.epoch = 1
    assert float(above.loss(z, y, y, context)) == pytest.approx(mean, rel=1e-6)
    # Below the level, samples already right are pushed up: the gradient is that of -CE.
    right = torch.tensor([[3.0, 0.0, 0.0, 0.0]], requires_grad=True)
    label = torch.tensor([0])
    (g,) = torch.autograd.grad(relax_loss(right, label, 1, 9.0, 1.0), right)
    (h,) = torch.autograd.grad(F.cross_entropy(right, label), right)
    torch.testing.assert_close(g, -h)


def test_flattened_targets_keep_the_own_confidence_up_to_the_cap():
    z, y = logits_labels()
    t = flattened_targets(z, y, 0.4)
    torch.testing.assert_close(t.sum(1), torch.ones(6))
    own = z.softmax(1).gather(1, y[:, None])[:, 0].clamp(max=0.4)
    torch.testing.assert_close(t.gather(1, y[:, None])[:, 0], own)


# CCL


@given(st.floats(0.05, 1.0), st.floats(0.1, 3.0), st.floats(-3, 3))
@settings(max_examples=25, deadline=None)
def test_ccl_derivatives_in_p(alpha, beta, logit):
    """d/dp: β(−α/p − (1−α)e^p) and β(−α/p − (1−α)(1+p)); dp/dz₀ = p(1−p) for two classes."""
    z = torch.tensor([[logit, 0.0]], requires_grad=True)
    y = torch.tensor([0])
    p = 1 / (1 + math.exp(-logit))
    for loss, concave in ((ccel_loss, math.exp(p)), (ccql_loss, 1 + p)):
        (g,) = torch.autograd.grad(loss(z, y, alpha, beta).sum(), z)
        expected = beta * (-alpha / p - (1 - alpha) * concave) * p * (1 - p)
        assert float(g[0, 0]) == pytest.approx(expected, rel=2e-4, abs=1e-7)


def test_ccl_at_alpha_one_is_scaled_cross_entropy(kit):
    z, y = logits_labels()
    for kind in (CCEL, CCQL):
        loss = kind(alpha=1.0, beta=2.0).loss(z, y, y, kit.context(classes=4))
        torch.testing.assert_close(loss, 2 * F.cross_entropy(z, y))


def test_ccql_is_the_second_order_expansion_of_ccel_up_to_a_constant():
    """e^p = 1 + p + p²/2 + O(p³): at small p the two concave terms differ by the constant 1."""
    z = torch.tensor([[-6.0, 0.0]])
    y = torch.tensor([0])
    difference = ccql_loss(z, y, 0.0, 1.0) - ccel_loss(z, y, 0.0, 1.0)
    torch.testing.assert_close(difference, torch.ones(1), rtol=0, atol=1e-6)


# Mixup and MMD


def test_mmd_against_loops():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, 3, generator=g), torch.randn(5, 3, generator=g)

    def k(x, y):
        return math.exp(-float((x - y).square().sum()) / (2 * 0.7**2))

    def mean(x, y):
        return sum(k(i, j) for i in x for j in y) / (len(x) * len(y))

    expected = mean(a, a) + mean(b, b) - 2 * mean(a, b)
    assert float(mmd_squared(a, b, 0.7)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mu", [0.0, 1.0, 2.0])
def test_mmd_of_two_normals(mu):
    """N(0,1) and N(μ,1), bandwidth s: 2·s/√(s²+2)·(1 − exp(−μ²/(2(s²+2))))."""
    n, s = 1500, 1.0
    # Quantiles instead of draws: the empirical measure is as close as n points can be.
    q = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(n) + 0.5) / n)[:, None]
    expected = 2 * s / math.sqrt(s**2 + 2) * (1 - math.exp(-(mu**2) / (2 * (s**2 + 2))))
    assert float(mmd_squared(q, q + mu, s)) == pytest.approx(expected, abs=2e-3)


def test_class_mmd_compares_within_classes_only():
    a, b = torch.tensor([[0.0], [5.0]]), torch.tensor([[5.0], [0.0]])
    y = torch.tensor([0, 1])
    same = class_mmd(a, y, b, torch.tensor([1, 0]), 1.0)
    crossed = class_mmd(a, y, b, y, 1.0)
    assert float(same) == pytest.approx(0.0, abs=1e-6)
    assert float(crossed) == pytest.approx(2 - 2 * math.exp(-12.5), rel=1e-5)
    assert float(class_mmd(a, y, b, torch.tensor([2, 3]), 1.0)) == 0.0


def test_mixup_is_linear_and_keeps_the_batch_mean():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(6, 2, 3, generator=g)
    partner = torch.randperm(6, generator=g)
    mixed = mixup(x, partner, 0.3)
    torch.testing.assert_close(mixed[2], 0.3 * x[2] + 0.7 * x[partner[2]])
    torch.testing.assert_close(mixed.mean(0), x.mean(0))


# Adversarial regularisation


def test_gain_of_the_best_attacker_is_the_jensen_shannon_divergence():
    """For laws P and Q on two points, max over h is JS(P‖Q) − log 2 at h = P/(P+Q)."""
    p, q = torch.tensor([0.8, 0.2]), torch.tensor([0.3, 0.7])
    logit = torch.log(p / q)
    m = (p + q) / 2
    js = 0.5 * (p * (p / m).log()).sum() + 0.5 * (q * (q / m).log()).sum()
    inside = logit.repeat_interleave(torch.tensor([8, 2]))
    outside = logit.repeat_interleave(torch.tensor([3, 7]))
    best = inference_gain(inside, outside)
    torch.testing.assert_close(best, js - math.log(2))
    assert inference_gain(inside * 1.1, outside * 1.1) < best


def test_the_attacker_draws_from_its_generator_only():
    before = torch.get_rng_state()
    a = attacker_network(4, torch.Generator().manual_seed(1))
    b = attacker_network(4, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


# CRL


def test_shrink_bounds_norms_and_keeps_directions():
    x = torch.tensor([[3.0, 4.0], [300.0, 400.0], [0.0, 0.0]])
    y = shrink(x, 0.5)
    assert y.norm(dim=1).max() < 2
    torch.testing.assert_close(y[0] / y[0].norm(), x[0] / 5)
    assert torch.equal(y[2], torch.zeros(2))
    assert torch.equal(shrink(x, 0.0), x)


def test_relaxed_centre_loss_by_hand():
    f = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    c = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    y, q = torch.tensor([0, 1]), torch.tensor([0.5, 1.0])
    d = 0.5 * (1 + 1) / 2
    assert float(relaxed_centre_loss(f, c, y, q, 2, 0.2)) == pytest.approx(d - 0.2)
    assert float(relaxed_centre_loss(f, c, y, q, 1, 0.2)) == pytest.approx(d)
    pulled = 0.5 * ((0.5 * 1 + 0.5 * 1) + (1.0 * 1 + 0.0 * 4)) / 2
    assert float(relaxed_centre_loss(f, c, y, q, 1, 3.0)) == pytest.approx(pulled)


def test_relaxed_cross_entropy_counts_epochs_from_one():
    z, y = logits_labels()
    ce = float(F.cross_entropy(z, y))
    assert float(relaxed_cross_entropy(z, y, 2, 2 * ce, 1.0)) == pytest.approx(ce, rel=1e-6)
    assert float(relaxed_cross_entropy(z, y, 1, ce / 2, 1.0)) == pytest.approx(ce, rel=1e-6)
    soft = flattened_targets(z, y, 0.5)
    expected = -(soft * F.log_softmax(z, dim=1)).sum(1).mean()
    torch.testing.assert_close(relaxed_cross_entropy(z, y, 1, 2 * ce, 0.5), expected)


# SELENA, DMP


@given(st.integers(1, 40), st.integers(2, 9), st.data())
@settings(max_examples=25, deadline=None)
def test_selena_leaves_each_sample_out_of_exactly_l_of_k(n, k, data):
    out = data.draw(st.integers(1, k - 1))
    member = left_out(n, models=k, out=out, generator=torch.Generator().manual_seed(n))
    assert member.shape == (k, n)
    assert ((~member).sum(0) == out).all()


def test_selena_draws_each_choice_of_sub_models_equally_often():
    n = 6000
    member = left_out(n, models=4, out=2, generator=torch.Generator().manual_seed(0))
    codes = (~member).float().T @ torch.tensor([1.0, 2.0, 4.0, 8.0])
    counts = codes.long().bincount(minlength=16)
    assert (counts > 0).sum() == 6
    used = counts[counts > 0].double()
    chi2 = float(((used - n / 6) ** 2 / (n / 6)).sum())
    assert chi2 < 20.5  # the 99.9 % quantile at 5 degrees of freedom


def test_lowest_entropy_keeps_the_surest_rows():
    z = torch.tensor([[0.0, 0.0], [5.0, 0.0], [2.0, 0.0], [9.0, 0.0]])
    assert lowest_entropy(z, 2).tolist() == [1, 3]
    assert lowest_entropy(z, 4).tolist() == [0, 1, 2, 3]
