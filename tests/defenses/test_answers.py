"""Defences that change what the world is told: HAMP and MemGuard."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from seepage.defenses import HAMP, MemGuard
from seepage.defenses.adversary import evade, fit_detector, helps
from seepage.defenses.hamp import hamp_confidence, reorder


@pytest.mark.parametrize(
    ("classes", "gamma", "p"),
    [
        (10, 0.5, 0.7379), (10, 0.8, 0.4766), (10, 0.95, 0.2698),
        (100, 0.5, 0.6410), (100, 0.8, 0.3374), (100, 0.95, 0.1334),
    ],
)  # fmt: skip
def test_hamp_labels_of_known_entropy(classes, gamma, p):
    assert hamp_confidence(classes, gamma) == pytest.approx(p, abs=5e-5)


@given(st.integers(2, 50), st.floats(0.01, 0.99))
@settings(max_examples=30, deadline=None)
def test_hamp_label_solves_its_equation(classes, gamma):
    p = hamp_confidence(classes, gamma)
    q = (1 - p) / (classes - 1)
    h = -p * math.log(p) - (classes - 1) * q * math.log(q)
    assert h == pytest.approx(gamma * math.log(classes), rel=1e-9)
    assert p > 1 / classes


def test_hamp_targets_at_the_ends(kit):
    context = kit.context(classes=3)
    hard = HAMP(gamma=0.0).targets(torch.tensor([1]), context)
    assert torch.equal(hard, torch.tensor([[0.0, 1.0, 0.0]]))
    even = HAMP(gamma=1.0).targets(torch.tensor([1]), context)
    torch.testing.assert_close(even, torch.full((1, 3), 1 / 3))


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_reorder_keeps_the_order_and_only_the_order(n, k, seed):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, k, generator=g)
    values = torch.randn(n, k, generator=g)
    told = reorder(z, values)
    assert torch.equal(told.argsort(1), z.argsort(1))
    assert torch.equal(told.sort(1).values, values.sort(1).values)
    # Any increasing map of the logits gives the same answer.
    assert torch.equal(reorder(3 * z - 1, values), told)


def test_reorder_keeps_the_predicted_class_in_ties():
    z = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
    values = torch.zeros(2, 3)
    assert torch.equal(reorder(z, values).argmax(1), z.argmax(1))
    assert torch.equal(z, torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]]))


def test_hamp_answers_tell_nothing_but_the_order(kit):
    context = kit.context()
    context.state = HAMP().start(context)
    z = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    drawn = context.generator.get_state()
    told = HAMP().outputs(z, context)
    assert torch.equal(context.generator.get_state(), drawn)
    assert torch.equal(told.argmax(1), z.argmax(1))
    torch.testing.assert_close(told.exp().sum(1), torch.ones(20))
    context.observer.manual_seed(1)
    assert torch.equal(told, HAMP().outputs(100 * z, context))
    assert HAMP(randomise=False).outputs(z, context) is z


def test_hamp_random_inputs_fill_the_members_range_whatever_is_stored(kit):
    """Positions in a pool are stored, images come out: draws must be images, not pool members."""
    pool = torch.rand(30, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    pool[:, 1] = 5 * pool[:, 1] - 2
    data = kit.samples(30)
    seen = []

    class Watching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(32, 3)

        def forward(self, x):
            seen.append(x)
            return self.head(x.flatten(1))

    members = type(data)(torch.arange(30), data.labels, lambda rows: pool[rows])
    context = kit.context(model=Watching(), members=members)
    context.state = HAMP().start(context)
    HAMP().outputs(torch.randn(400, 3), context)
    (x,) = seen
    assert x.shape == (400, 2, 4, 4)
    for c in range(2):
        low, high = pool[:, c].min(), pool[:, c].max()
        assert low <= x[:, c].min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < x[:, c].max() <= high
        # Uniform: mean in the middle within four standard errors of 6400 draws.
        assert abs(x[:, c].mean() - (low + high) / 2) < 4 * 0.29 * (high - low) / 80
    assert not any((x[:5, None] == pool).flatten(2).all(2).any(1))


def separated(n=40, k=4):
    """Members with confident logits, others without."""
    g = torch.Generator().manual_seed(0)
    hot = F.one_hot(torch.randint(k, (n,), generator=g), k)
    inside = 6.0 * hot + torch.randn(n, k, generator=g)
    outside = 1.5 * hot + torch.randn(n, k, generator=g)
    return inside, outside


def fitted(inside, outside):
    posteriors = inside.softmax(1), outside.softmax(1)
    return fit_detector(*posteriors, torch.Generator().manual_seed(0), 400)


def test_detector_learns_and_evasion_flips_it_under_the_same_class():
    inside, outside = separated()
    h = fitted(inside, outside)

    def verdict(z):
        return h(z.softmax(1).sort(1).values)[:, 0] > 0

    assert verdict(inside).float().mean() > 0.9
    assert verdict(outside).float().mean() < 0.1
    both = torch.cat([inside, outside])
    kept = both.clone()
    moved = evade(both, h, steps=60)
    assert torch.equal(both, kept)
    assert torch.equal(moved.argmax(1), both.argmax(1))
    changed = (moved != both).any(1)
    assert changed.float().mean() > 0.8
    # The search does not sort again: sorted, some verdicts are less sure without having flipped.
    assert helps(both, moved, h)[changed].float().mean() > 0.9
    assert (verdict(moved) != verdict(both)).float().mean() > 0.5


class Sloped(torch.nn.Module):
    """Says "member" where the largest posterior q exceeds t: h = a·(q − t)."""

    def __init__(self, a, t):
        super().__init__()
        self.a, self.t = a, t

    def forward(self, posterior):
        return self.a * (posterior[:, -1:] - self.t)


def test_evasion_by_hand():
    """Of two classes every unit step lessens the gap of the logits by 0.1·√2, until q <= t.

    |h| pulls with a = 15 and the distance with 2c: c = 0.1 and 1 give way, from c = 10 on every
    step down is taken back, so that nothing is found and the answer of c = 1 stands.
    """
    q, t = torch.tensor([0.9, 0.8, 0.97]), 0.7
    gap = torch.logit(q)
    z = torch.stack([gap, torch.zeros(3)], 1)
    z[1] = z[1].flip(0)
    steps = ((gap - math.log(t / (1 - t))) / (0.1 * math.sqrt(2))).ceil()
    moved = evade(z, Sloped(15.0, t))
    expected = torch.sigmoid(gap - steps * 0.1 * math.sqrt(2))
    torch.testing.assert_close(moved.softmax(1).amax(1), expected, rtol=0, atol=1e-5)
    assert torch.equal(moved.argmax(1), z.argmax(1))
    # Too few steps for the surest: it stays as it is.
    assert steps.tolist() == [10.0, 4.0, 19.0]
    short = evade(z, Sloped(15.0, t), steps=18)
    assert torch.equal(short[2], z[2])
    assert not torch.equal(short[0], z[0])


def test_an_open_verdict_and_a_class_that_would_change_get_no_noise():
    z = torch.tensor([[math.log(0.7 / 0.3), 0.0]])
    assert torch.equal(evade(z, Sloped(1e-6, 0.6)), z)
    # Below one half the other class would be predicted.
    assert torch.equal(evade(z, Sloped(15.0, 0.3)), z)


@pytest.mark.parametrize(("distance", "told"), [(0.01, False), (0.03, True)])
def test_memguard_adds_no_noise_that_does_not_help(kit, distance, told):
    """One step overshoots: q falls by 0.0274 or so, from t + distance to the other side of t."""
    t = 0.75
    z = torch.tensor([[torch.logit(torch.tensor(t + distance)).item(), 0.0]])
    detector = Sloped(15.0, t)

    class Fixed(MemGuard):
        def detector(self, context):
            return detector

    moved = evade(z, detector)
    left = torch.sigmoid(z[0, 0] - 0.1 * math.sqrt(2) * (1 if distance < 0.027 else 2))
    assert moved.softmax(1)[0, 0] == pytest.approx(float(left), abs=1e-6)
    closer = abs(float(left) - t) < distance
    assert closer == told
    assert helps(z, moved, detector).tolist() == [told]
    answer = Fixed(budget=2.0).outputs(z, kit.context())
    assert torch.equal(answer, moved if told else z)


def guarded(kit, budget):
    members, reference = kit.samples(40, seed=0), kit.samples(40, seed=1)
    context = kit.context(members=members, reference=reference)
    # A model that is far surer of members.
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(context.model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(context.model(members.inputs), members.labels).backward()
        optimizer.step()
    defense = MemGuard(budget=budget)
    context.state = defense.start(context)
    return defense, context


def test_memguard_keeps_the_class_and_the_budget(kit):
    inside, outside = separated()
    h = fitted(inside, outside)

    class Fixed(MemGuard):
        def detector(self, context):
            return h

    z = torch.cat([inside, outside])
    context = kit.context()
    p = z.softmax(1)
    full = (Fixed(budget=2.0, search_steps=60).outputs(z, context).softmax(1) - p).abs().sum(1)
    budget = float(full.median())
    assert budget > 0.01
    distances = []
    for _ in range(4):
        with torch.inference_mode():
            told = Fixed(budget=budget, search_steps=60).outputs(z, context)
        assert torch.equal(told.argmax(1), z.argmax(1))
        distances.append((told.softmax(1) - p).abs().sum(1))
    expected = full.clamp(max=budget).mean()
    # 320 coins: a relative error of about 6 %.
    assert float(torch.stack(distances).mean()) == pytest.approx(float(expected), rel=0.25)


def test_memguard_fits_its_detector_once_per_state_of_the_model(kit):
    defense, context = guarded(kit, 1.0)
    before = context.generator.get_state()
    first = defense.detector(context)
    assert defense.detector(context) is first
    context.step += 1
    assert defense.detector(context) is not first
    assert torch.equal(context.generator.get_state(), before)


def test_memguard_without_budget_says_the_truth(kit):
    defense, context = guarded(kit, 0.0)
    z = torch.randn(4, 3)
    assert defense.outputs(z, context) is z
