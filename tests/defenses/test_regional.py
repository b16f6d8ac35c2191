"""Regions, what stays untouched outside them, and PPTP in its three ways."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seepage.defenses import (
    CRL,
    DPSGD,
    HAMP,
    PPTP,
    SELENA,
    AdversarialRegularisation,
    Chain,
    ConfidencePenalty,
    GradientRouted,
    InTurns,
    LabelSmoothing,
    MemGuard,
    MixupMMD,
    RelaxLoss,
    TwoPhase,
    Undefended,
    controls,
)
from seepage.defenses.networks import snapshot
from seepage.defenses.regional import Alternating, OnlyRegions, Routed
from seepage.defenses.regions import (
    blocks_of,
    complement,
    freeze_statistics,
    partition,
    random_regions,
    reestimate_statistics,
    region_parameters,
    rewind,
    swap,
)
from seepage.errors import InputError
from seepage.models import build


class Normed(nn.Module):
    """Two layers with BatchNorm in both regions."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.tail = nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))

    def forward(self, x):
        return self.tail(self.body(x))


def normed(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Normed()


def differing(a, b):
    return {k for k in a if not torch.equal(a[k], b[k])}


# Regions


def test_blocks_come_from_the_network_or_from_its_children():
    assert list(blocks_of(build("wrn-16-1", (3, 8, 8), 3))) == [
        "stem", "stage1", "stage2", "stage3", "last", "head",
    ]  # fmt: skip
    model = normed()
    assert list(blocks_of(model)) == ["body", "tail"]
    model.extra = nn.Parameter(torch.zeros(1))
    assert list(blocks_of(model)) == ["rest", "body", "tail"] or "rest" in blocks_of(model)


def test_patterns_partition_the_parameters():
    model = normed()
    found = partition(model, ("body.0.*", "tail"))
    assert found["body.0.*"] == ("body.0.weight", "body.0.bias")
    every = [n for names in found.values() for n in names]
    assert sorted(every) == sorted(n for n, _ in model.named_parameters())
    assert found["rest"] == ("body.1.weight", "body.1.bias")
    with pytest.raises(InputError, match="'taill' matches no block and no parameter"):
        partition(model, ("taill",))
    with pytest.raises(InputError, match="lies in 'tail' and in"):
        partition(model, ("tail", "tail.0.*"))


def test_complement_and_random_control():
    model = build("wrn-10-1", (3, 8, 8), 3)
    assert complement(model, ("stem", "head")) == ("stage1", "stage2", "stage3", "last")
    drawn = {
        random_regions(model, ("stem", "head"), torch.Generator().manual_seed(s)) for s in range(60)
    }
    assert all(len(d) == 2 for d in drawn)
    assert ("stem", "head") not in drawn
    assert len(drawn) == 14  # all other pairs of six regions
    model = normed()
    others = complement(model, ("body.0.*",))
    assert region_parameters(model, others) == {
        n for n, _ in model.named_parameters() if not n.startswith("body.0")
    }
    drawn = random_regions(model, ("body.0.*",), torch.Generator())
    assert region_parameters(model, drawn) == region_parameters(model, others)
    with pytest.raises(InputError, match="no other set of equal size"):
        random_regions(normed(), ("body", "tail"), torch.Generator())


def test_swap_moves_parameters_and_statistics_of_the_region_only():
    a, b = normed(0), normed(1)
    b.train()
    b(torch.randn(16, 6))
    before, donor = snapshot(a), snapshot(b)
    swap(a, donor, region_parameters(a, ("tail",)))
    after = snapshot(a)
    assert all(torch.equal(after[k], donor[k]) for k in after if k.startswith("tail"))
    assert all(torch.equal(after[k], before[k]) for k in after if k.startswith("body"))
    rewind(a, before, region_parameters(a, ("tail",)))
    assert not differing(snapshot(a), before)


def test_reestimated_statistics_are_the_members_own(kit):
    data, model = kit.samples(96), normed()
    model.eval()
    with torch.no_grad():
        model.body[1].running_mean.fill_(99.0)
    weights = {n: p.clone() for n, p in model.named_parameters()}
    reestimate_statistics(model, data, size=96)
    h = model.body[0](data.inputs)
    torch.testing.assert_close(model.body[1].running_mean, h.mean(0))
    torch.testing.assert_close(model.body[1].running_var, h.var(0), rtol=1e-4, atol=1e-5)
    assert model.body[1].momentum == 0.1
    assert not model.training
    assert all(torch.equal(p, weights[n]) for n, p in model.named_parameters())


def test_frozen_statistics_stand_still_in_training_mode():
    model = normed()
    before = snapshot(model)
    handles = freeze_statistics(model, [n for n, _ in model.body.named_parameters(prefix="body")])
    model.train()
    model(torch.randn(16, 6))
    changed = differing(snapshot(model), before)
    assert changed == {"tail.1.running_mean", "tail.1.running_var", "tail.1.num_batches_tracked"}
    for handle in handles:
        handle.remove()
    model.train()
    model(torch.randn(16, 6))
    assert "body.1.running_mean" in differing(snapshot(model), before)


# Only the regions


@pytest.mark.parametrize(
    "base", [RelaxLoss(), LabelSmoothing(), CRL(), ConfidencePenalty(), AdversarialRegularisation()]
)
def test_a_region_mask_leaves_all_else_bit_for_bit(kit, base):
    """Momentum and weight decay are on: parameters outside still do not move, nor statistics."""
    model = normed()
    before = snapshot(model)
    context = kit.context(model=model, reference=kit.samples(seed=5), epochs=3)
    loop = kit.loop(context)
    loop(OnlyRegions(base, ("tail",)), model=model)
    changed = differing(snapshot(model), before)
    assert {k for k in before if k.startswith("tail")} == changed
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_dp_sgd_on_a_region_clips_by_that_region_alone(kit):
    pytest.importorskip("opacus", reason="the opacus extra is not installed")
    model = kit.fresh()
    reference = copy.deepcopy(model)
    context = kit.context(model=model, batch=4, poisson=False)
    defense = OnlyRegions(DPSGD(0.0, 0.1, poisson=False), ("head",))
    context.state = defense.start(context)
    x, y = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    z, _ = defense.mix(x, y, context)
    F.cross_entropy(model(z), y).backward()
    defense.gradients(context)
    expected = torch.zeros_like(reference.head.weight)
    for i in range(4):
        reference.zero_grad()
        F.cross_entropy(reference(x[i : i + 1]), y[i : i + 1]).backward()
        g = reference.head.weight.grad
        norm = (g.square().sum() + reference.head.bias.grad.square().sum()).sqrt()
        expected += g * min(1.0, 0.1 / float(norm)) / 4
    torch.testing.assert_close(model.head.weight.grad, expected)
    assert model.layers[0][0].weight.grad is None
    defense.finish(context)
    assert context.facts["epsilon_holds"] is False


def test_dp_sgd_trains_a_head_behind_frozen_batchnorm(kit):
    pytest.importorskip("opacus", reason="the opacus extra is not installed")
    model = normed()
    before = snapshot(model)
    context = kit.context(model=model, epochs=2)
    loop = kit.loop(context)
    loop(OnlyRegions(DPSGD(0.5, 1.0, poisson=False), ("tail.3.*",)), model=model)
    assert differing(snapshot(model), before) == {"tail.3.weight", "tail.3.bias"}
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())


# Gradient routing


@pytest.mark.parametrize("base", [RelaxLoss(alpha=0.3), LabelSmoothing(0.3), HAMP()])
def test_routed_gradients_are_those_of_the_two_losses(kit, base):
    model, twin = kit.fresh(), kit.fresh()
    context = kit.context(model=model)
    defense = Routed(base, ("head",))
    context.state = defense.start(context)
    x, y = context.members.take(torch.arange(16))
    targets = defense.targets(y, context)
    defense.loss(model(x), targets, y, context).backward()
    defense.gradients(context)

    (plain,) = torch.autograd.grad(F.cross_entropy(twin(x), y), [twin.layers[0][0].weight])
    inner = kit.context(model=twin)
    guard = base.loss(twin(x), base.targets(y, inner), y, inner)
    (guarded,) = torch.autograd.grad(guard, [twin.head.weight])
    torch.testing.assert_close(model.layers[0][0].weight.grad, plain)
    torch.testing.assert_close(model.head.weight.grad, guarded)


def test_routed_dp_sgd_keeps_the_plain_gradient_outside(kit):
    pytest.importorskip("opacus", reason="the opacus extra is not installed")
    model, twin = kit.fresh(), kit.fresh()
    context = kit.context(model=model, batch=16)
    defense = Routed(DPSGD(1.0, 0.1, poisson=False), ("head",))
    defense.check(context)
    context.state = defense.start(context)
    x, y = context.members.take(torch.arange(16))
    inputs, targets = defense.mix(x, defense.targets(y, context), context)
    defense.loss(model(inputs), targets, y, context).backward()
    defense.gradients(context)
    (plain,) = torch.autograd.grad(F.cross_entropy(twin(x), y), [twin.layers[0][0].weight])
    torch.testing.assert_close(model.layers[0][0].weight.grad, plain)
    (same,) = torch.autograd.grad(F.cross_entropy(twin(x), y), [twin.head.weight])
    assert not torch.allclose(model.head.weight.grad, same)
    defense.finish(context)


# Alternating


def test_alternating_moves_the_rest_in_plain_epochs_only(kit):
    model = normed()
    context = kit.context(model=model, epochs=4)
    history = [snapshot(model)]

    def keep(c):
        if c.step % c.steps_per_epoch == 0:
            history.append(snapshot(model))

    loop = kit.loop(context, on_step=keep)
    loop(Alternating(RelaxLoss(), ("tail",)), model=model)
    for epoch in range(4):
        changed = differing(history[epoch + 1], history[epoch])
        assert any(k.startswith("tail") for k in changed)
        assert any(k.startswith("body") for k in changed) == (epoch % 2 == 0)
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_alternating_shows_its_base_both_parities(kit):
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Watch(RelaxLoss):
        def loss(self, logits, targets, labels, context):
            seen.append(context.epoch)
            return super().loss(logits, targets, labels, context)

    context = kit.context(epochs=4, batch=48)
    kit.loop(context)(Alternating(Watch(), ("head",)), model=context.model)
    assert seen == [0, 1]


# PPTP


def test_two_phase_spares_the_rest_and_keeps_to_the_epochs(kit):
    context = kit.context(epochs=8)
    initial = snapshot(context.model)
    states = []

    def keep(c):
        states.append(snapshot(c.model))

    model, loop = kit.train(PPTP(RelaxLoss(), ("head",)), context, on_step=keep)
    assert [c.epochs for c in loop.stages] == [6, 2]
    assert loop.recorded == 8
    first = loop.stages[0].epochs * loop.stages[0].steps_per_epoch
    between, final = states[first - 1], snapshot(model)
    assert differing(final, between) == {"head.weight", "head.bias"}
    assert not torch.equal(between["head.weight"], initial["head.weight"])
    assert context.facts["pptp_regions"] == ["head"]
    # Phase two starts from the initial head: one step of it stays near.
    step = (states[first]["head.weight"] - initial["head.weight"]).norm()
    assert step < (between["head.weight"] - initial["head.weight"]).norm()


def test_two_phase_measures_its_regions_when_none_are_named(kit):
    members, reference = kit.noisy(24, 1), kit.noisy(200, 2)
    context = kit.context(
        model=kit.fresh(hidden=(128,)), members=members, reference=reference, epochs=60, batch=12
    )
    kit.train(PPTP(RelaxLoss()), context, weight_decay=0.0)
    table = context.facts["pptp_table"]
    assert [r["region"] for r in table] == ["layer1", "head"]
    best = max(table, key=lambda r: r["score"])
    assert context.facts["pptp_regions"] == [best["region"]]


@pytest.mark.parametrize("variant", [GradientRouted(), InTurns(), TwoPhase(0.5)])
@pytest.mark.parametrize("base", [RelaxLoss(), CRL(), LabelSmoothing()])
def test_every_variant_trains_with_several_bases(kit, variant, base):
    context = kit.context(epochs=4)
    initial = snapshot(context.model)
    model, loop = kit.train(PPTP(base, ("head",), variant), context)
    assert loop.recorded == 4
    assert differing(snapshot(model), initial) == set(initial)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_controls_cover_everywhere_complement_and_random(kit):
    model = build("wrn-10-1", (3, 8, 8), 3)
    pptp = PPTP(RelaxLoss(), ("stem", "head"), InTurns())
    found = controls(pptp, model, torch.Generator().manual_seed(0))
    assert found["everywhere"] == RelaxLoss()
    assert found["regions"] is pptp
    assert found["complement"].regions == ("stage1", "stage2", "stage3", "last")
    assert len(found["random"].regions) == 2
    assert found["random"].regions != pptp.regions
    assert found["random"].variant == pptp.variant
    with pytest.raises(InputError, match="controls need named regions"):
        controls(PPTP(), model, torch.Generator())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PPTP(Undefended()), "base: 'none' does not act on gradients"),
        (lambda: PPTP(MemGuard()), "base: 'memguard' does not act on gradients"),
        (lambda: PPTP(SELENA()), "base: 'selena' rules over whole stages"),
        (lambda: PPTP(PPTP()), "base: 'pptp' rules over whole stages"),
        (lambda: PPTP("relaxloss"), "base: pptp needs a defence to apply, got 'relaxloss'"),
        (lambda: PPTP(RelaxLoss(), (), InTurns()), "variant 'alternating' needs them named"),
        (lambda: PPTP(RelaxLoss(), (), GradientRouted()), "variant 'routed' needs them named"),
        (lambda: PPTP(MixupMMD(), ("head",), GradientRouted()), "mixes the inputs of the whole"),
        (
            lambda: PPTP(Chain((LabelSmoothing(), DPSGD())), ("head",), GradientRouted()),
            "clips per-sample gradients of a loss of its own",
        ),
        (lambda: PPTP(variant=TwoPhase(0.0)), r"share: expected a number in \(0"),
        (lambda: OnlyRegions(RelaxLoss(), ()), "regions: only-regions needs at least one"),
    ],
)
def test_contradictions_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_regions_that_match_nothing_or_everything(kit):
    with pytest.raises(InputError, match=r"regions: 'haed' matches no block.*did you mean 'head'"):
        kit.train(PPTP(RelaxLoss(), ("haed",)), kit.context())
    with pytest.raises(InputError, match="are the whole network; use 'relaxloss' itself"):
        kit.train(PPTP(RelaxLoss(), ("layer1", "head")), kit.context())
    with pytest.raises(InputError, match="reference: pptp needs non-members"):
        kit.train(PPTP(RelaxLoss()), kit.context())
    with pytest.raises(InputError, match="epochs: two-phase PPTP needs at least 2"):
        kit.train(PPTP(RelaxLoss(), ("head",)), kit.context(epochs=1))


def test_dp_sgd_beside_moving_batchnorm_is_refused(kit):
    base = DPSGD(poisson=False)
    context = kit.context(model=normed())
    with pytest.raises(InputError, match="dp-sgd needs gradients of single samples"):
        OnlyRegions(base, ("tail",)).check(context)
    last = ("tail.3.*",)
    OnlyRegions(base, last).check(context)
    for kind in (Routed, Alternating):
        with pytest.raises(InputError, match="keeps training the BatchNorm outside its regions"):
            kind(base, last).check(context)
