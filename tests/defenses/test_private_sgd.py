"""DP-SGD: clipping by brute force, the limit of no privacy, the accountant, and refusals."""

import math
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seepage.defenses import (
    DPSGD,
    LayerDPSGD,
    Samples,
    Undefended,
    epsilon,
    without_batchnorm,
)
from seepage.defenses.dp import clipped_sum
from seepage.errors import InputError
from seepage.models import build

pytest.importorskip("opacus", reason="the opacus extra is not installed")


def equal_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_no_noise_and_no_clipping_is_sgd_bit_for_bit(kit):
    plain, _ = kit.train(Undefended(), kit.context(epochs=3))
    free, loop = kit.train(DPSGD(0.0, math.inf, poisson=False), kit.context(epochs=3))
    assert equal_weights(plain, free)
    assert not equal_weights(plain, kit.fresh())
    assert loop.stages[0].facts == {}


def test_clipping_machinery_is_exact_where_arithmetic_is(kit):
    """With data on a dyadic grid every sum is exact, so per-sample sums equal the batch gradient."""
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.5, -1.0, 0.25], [2.0, 0.5, -0.5]]))
        model.bias.zero_()
    context = kit.context(model=model, batch=8)
    x = torch.tensor([[i % 3, i % 2, i % 5] for i in range(8)], dtype=torch.float32) / 4
    defense = DPSGD(0.0, 1e30, poisson=False)
    context.state = defense.start(context)
    z, _ = defense.mix(x, x, context)
    model(z).square().sum(1).mean().backward()
    plain = [p.grad.clone() for p in model.parameters()]
    defense.gradients(context)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), plain, strict=True))
    defense.finish(context)


def test_huge_clip_and_no_noise_follow_sgd_on_a_real_network(kit):
    members = kit.samples(48)
    plain, _ = kit.train(Undefended(), kit.context(members=members, batch=16))
    near, _ = kit.train(DPSGD(0.0, 1e6, poisson=False), kit.context(members=members, batch=16))
    for p, q in zip(plain.parameters(), near.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_gradient_against_one_backward_per_sample(kit, name):
    shape = (6,) if name == "mlp" else (1, 8, 8)
    torch.manual_seed(0)
    options = {"hidden": (5,)} if name == "mlp" else {"width": 2, "hidden": 4}
    model = build(name, shape, 3, **options)
    x, y = torch.randn(7, *shape), torch.arange(7) % 3
    expected = [torch.zeros_like(p) for p in model.parameters()]
    norms = []
    for i in range(7):
        model.zero_grad()
        F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
        norms.append(norm)
        for e, p in zip(expected, model.parameters(), strict=True):
            e += p.grad * min(1.0, 0.8 / norm)
    assert min(norms) < 0.8 < max(norms) or max(norms) > 0.8
    model.zero_grad()
    context = kit.context(model=model, batch=10)
    defense = DPSGD(0.0, 0.8, poisson=False)
    context.state = defense.start(context)
    z, _ = defense.mix(x, y, context)
    F.cross_entropy(model(z), y).backward()
    defense.gradients(context)
    for e, p in zip(expected, model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, e / 10, rtol=1e-4, atol=1e-6)
    defense.finish(context)


def test_clipped_sum_has_sensitivity_c_under_any_weights():
    g = torch.Generator().manual_seed(0)
    grads = [torch.randn(5, 3, generator=g), torch.randn(5, 2, 2, generator=g)]
    for weights in (None, [0.2, 1.0]):
        whole = clipped_sum(grads, 0.7, weights)
        for i in range(5):
            rest = clipped_sum([x[torch.arange(5) != i] for x in grads], 0.7, weights)
            moved = math.sqrt(
                sum(float((a - b).square().sum()) for a, b in zip(whole, rest, strict=True))
            )
            assert moved <= 0.7 + 1e-5


def test_half_precision_gradients_are_clipped_in_full_precision():
    g = torch.Generator().manual_seed(0)
    grads = [torch.randn(1, 257, generator=g).bfloat16() for _ in range(3)]
    clipped = clipped_sum(grads, 0.7)
    assert all(c.dtype == torch.float32 for c in clipped)
    norm = math.sqrt(sum(float(c.double().square().sum()) for c in clipped))
    assert norm == pytest.approx(0.7, rel=1e-6)


def test_a_bfloat16_body_trains_under_clipping(kit):
    model = build("cnn", (1, 8, 8), 3, width=2, hidden=4)
    x, y = torch.randn(4, 1, 8, 8), torch.arange(4) % 3
    context = kit.context(model=model, batch=4)
    defense = DPSGD(0.0, 0.5, poisson=False)
    context.state = defense.start(context)
    z, _ = defense.mix(x, y, context)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(z)
    F.cross_entropy(logits, y).backward()
    defense.gradients(context)
    defense.finish(context)
    norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in model.parameters()))
    assert 0 < norm <= 0.5 * (1 + 1e-5)


def test_noise_has_the_promised_deviation_and_comes_from_the_runs_generator(kit):
    def noise(seed):
        model = nn.Linear(60, 60)
        context = kit.context(model=model, batch=8, seed=seed)
        defense = DPSGD(2.0, 0.5)
        context.state = defense.start(context)
        defense.gradients(context)  # an empty Poisson batch: noise alone
        defense.finish(context)
        return model.weight.grad

    drawn = noise(3)
    assert torch.equal(drawn, noise(3))
    assert not torch.equal(drawn, noise(4))
    # σ·C/batch = 0.125; 3600 draws leave 1.2 % of relative error.
    assert float(drawn.std()) == pytest.approx(0.125, rel=0.05)


def test_poisson_training_reports_epsilon_and_leaves_the_model_clean(kit):
    before = torch.get_rng_state()
    model, loop = kit.train(DPSGD(1.0, 1.0), kit.context(epochs=2, batch=12, poisson=True))
    assert torch.equal(torch.get_rng_state(), before)
    facts = loop.stages[0].facts
    assert facts["steps"] == 8
    assert facts["sampling_rate"] == pytest.approx(12 / 48)
    assert facts["epsilon"] == pytest.approx(epsilon(1.0, 0.25, 8, 1e-5))
    assert facts["epsilon_holds"]
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    assert not any("grad_sample" in p.__dict__ for p in model.parameters())


def test_shuffled_batches_are_refused_or_called_approximate(kit):
    with pytest.raises(InputError, match="poisson: dp-sgd accounts for Poisson batches"):
        DPSGD().check(kit.context(poisson=False))
    _, loop = kit.train(DPSGD(poisson=False), kit.context())
    assert loop.stages[0].facts["epsilon_holds"] is False


def test_batchnorm_is_refused_and_the_fix_works(kit):
    g = torch.Generator().manual_seed(0)
    images = Samples(torch.randn(6, 3, 8, 8, generator=g), torch.arange(6) % 3)
    context = kit.context(model=build("resnet9", (3, 8, 8), 3), members=images, poisson=True)
    with pytest.raises(InputError, match=r"BatchNorm .*without_batchnorm\(model\)"):
        DPSGD().check(context)
    fixed = without_batchnorm(build("wrn-10-1", (3, 8, 8), 3))
    DPSGD().check(kit.context(model=fixed, members=images, poisson=True))
    assert fixed(torch.zeros(2, 3, 8, 8)).shape == (2, 3)


def test_without_opacus_the_extra_is_named(kit, monkeypatch):
    for module in ("opacus", "opacus.accountants", "opacus.grad_sample", "opacus.validators"):
        monkeypatch.setitem(sys.modules, module, None)
    context = kit.context()
    for call in (
        lambda: DPSGD().start(context),
        lambda: epsilon(1.0, 0.1, 10, 1e-5),
        lambda: without_batchnorm(context.model),
    ):
        with pytest.raises(InputError, match=r"pip install 'seepage\[opacus\]'"):
            call()
    # Neither clipping nor noise: nothing is needed.
    assert DPSGD(0.0, math.inf, poisson=False).start(context) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DPSGD(1.0, math.inf), "max_norm: expected a finite norm with noise"),
        (lambda: DPSGD(-1.0), "noise: expected a number"),
        (lambda: DPSGD(1.0, 0.0), r"max_norm: expected a number in \(0"),
        (lambda: DPSGD(delta=0.0), "delta: expected"),
        (LayerDPSGD, "risk: layer-dp-sgd needs the measured attack accuracy"),
        (lambda: LayerDPSGD(risk={"head": 1.0}), r"risk\[head\]: expected less than 1"),
        (lambda: LayerDPSGD(risk={"head": 0.3}), r"risk\[head\]: expected a number in \[0.5"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_layer_weights_follow_the_attack_error(kit):
    context = kit.context(poisson=True)
    defense = LayerDPSGD(risk={"layer1": 0.9})
    names = [n for n, _ in context.parameters()]
    assert defense.weights(context, names) == pytest.approx([0.2, 0.2, 1.0, 1.0])
    with pytest.raises(InputError, match="matches no block"):
        LayerDPSGD(risk={"layerX": 0.9}).weights(context, names)


def test_layer_dp_sgd_clips_after_weighting(kit):
    model = kit.fresh()
    context = kit.context(model=model, batch=1)
    defense = LayerDPSGD(0.0, 1e6, poisson=False, risk={"layer1": 0.75})
    context.state = defense.start(context)
    x, y = torch.randn(1, 6), torch.tensor([1])
    z, _ = defense.mix(x, y, context)
    F.cross_entropy(model(z), y).backward()
    plain = [p.grad.clone() for p in model.parameters()]
    defense.gradients(context)
    for p, g, w in zip(model.parameters(), plain, [0.5, 0.5, 1.0, 1.0], strict=True):
        torch.testing.assert_close(p.grad, w * g)
    defense.finish(context)
