"""Attacks per layer, gradient norms, rewinding and retraining, the signal over training."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from seepage.errors import InputError
from seepage.layers import (
    Audit,
    DegreesOfFreedom,
    LayerSignal,
    Logistic,
    ShadowTransfer,
    SmallMLP,
    attack_layers,
    feature_norms,
    gradient_norms,
    measure_risk,
    reestimate_normalisation,
    retrain_blocks,
    rewind_blocks,
)
from seepage.layers.rewinding import with_block


def _shifted(
    shift: float, n: int = 2000, d: int = 4, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    member = rng.permutation(n) < n // 2
    x = rng.standard_normal((n, d))
    x[member, 0] += shift
    return x, member


def test_logistic_attack_reaches_the_best_possible_auc() -> None:
    x, member = _shifted(1.5)
    table = attack_layers({"a": x, "noise": _shifted(0.0, seed=3)[0]}, member)
    # Two unit normals a distance apart: AUC = Φ(shift/√2), balanced accuracy = Φ(shift/2).
    assert table.auc[0].mean() == pytest.approx(norm.cdf(1.5 / 2**0.5), abs=0.02)
    assert table.balanced_accuracy[0].mean() == pytest.approx(norm.cdf(0.75), abs=0.02)
    assert table.tpr[0].mean() == pytest.approx(norm.cdf(1.5 - norm.ppf(0.99)), abs=0.06)
    assert (table.realised_fpr <= 0.01).all()
    assert table.auc[1].mean() == pytest.approx(0.5, abs=0.03)
    assert (table.judged, table.variant, table.auc.shape) == (1000, "Audit", (2, 3))


def test_attack_is_blind_to_scale_and_swapping_sides_keeps_its_success() -> None:
    x, member = _shifted(1.0, n=400)
    one = attack_layers({"a": x}, member)
    scaled = attack_layers({"a": 1e3 * x + 7}, member)
    np.testing.assert_allclose(scaled.auc, one.auc, atol=1e-9)
    assert attack_layers({"a": x}, ~member).auc.mean() == pytest.approx(one.auc.mean(), abs=0.05)
    np.testing.assert_array_equal(attack_layers({"a": x}, member).auc, one.auc)


def test_network_sees_what_a_plane_cannot() -> None:
    rng = np.random.default_rng(0)
    member = np.arange(800) % 2 == 0
    x = rng.standard_normal((800, 2))
    x[member] *= 3.0
    flat = attack_layers({"a": x}, member, seeds=(0,))
    bent = attack_layers({"a": x}, member, attacker=SmallMLP(passes=40), seeds=(0,))
    assert flat.auc.mean() < 0.62 < 0.75 < bent.auc.mean()
    assert attack_layers({"a": feature_norms(x)}, member, seeds=(0,)).auc.mean() > 0.75


def test_shadow_transfer_fits_on_the_shadow_and_needs_alignment() -> None:
    x, member = _shifted(2.0, n=400)
    y, other = _shifted(2.0, n=300, seed=1)
    good = attack_layers({"a": x}, member, variant=ShadowTransfer({"a": y}, other))
    assert good.auc.mean() == pytest.approx(norm.cdf(2 / 2**0.5), abs=0.04)
    assert good.judged == 400
    # The shadow's coordinates in another order: transfer fails, the audit does not.
    turned = attack_layers({"a": x}, member, variant=ShadowTransfer({"a": y[:, ::-1]}, other))
    assert turned.auc.mean() < 0.65
    assert attack_layers({"a": x[:, ::-1]}, member).auc.mean() > 0.85


def test_wide_outputs_are_reduced_with_the_fitting_samples_alone() -> None:
    x, member = _shifted(3.0, n=120, d=600)
    table = attack_layers({"a": x}, member, components=16, variant=Audit(0.6))
    assert table.judged == 48
    assert np.isfinite(table.auc).all()


def test_gradient_norms_equal_one_backward_pass_per_sample() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)
    )
    net[1].running_mean.uniform_(-1, 1)
    x, y = torch.randn(7, 1, 6, 6), torch.arange(7) % 3
    got = gradient_norms(net, x, y, batch=3)
    assert net.training
    assert all(p.grad is None for p in net.parameters())
    assert list(got) == ["2", "4"]
    net.eval()
    for i in range(7):
        net.zero_grad()
        nn.functional.cross_entropy(net(x[i : i + 1]), y[i : i + 1]).backward()
        first = sum(float(p.grad.square().sum()) for p in net[:2].parameters()) ** 0.5
        last = sum(float(p.grad.square().sum()) for p in net[4].parameters()) ** 0.5
        assert got["2"][i] == pytest.approx(first, rel=1e-4)
        assert got["4"][i] == pytest.approx(last, rel=1e-4)


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))


def test_rewinding_puts_back_one_block_and_nothing_else() -> None:
    early, late = _net().state_dict(), _net()
    with torch.no_grad():
        for p in late.parameters():
            p.add_(1.0)
    back = with_block(late, early, ["3"])
    for k, v in back.state_dict().items():
        assert torch.equal(v, (early if k.startswith("3.") else late.state_dict())[k]), k
    x = torch.randn(50, 4)
    table = rewind_blocks(
        late,
        {"0": early, "same": late.state_dict()},
        {"hidden": ["0", "1"], "head": ["3"]},
        lambda m: {"mean": float(m(x).mean())},
    )
    lost = table.lost("mean")
    assert lost.shape == (2, 2)
    assert (np.abs(lost[:, 0]) > 1e-4).all()
    np.testing.assert_allclose(lost[:, 1], 0.0, atol=1e-6)


def test_statistics_are_those_of_the_inputs_and_modes_come_back() -> None:
    net = _net()
    net[1].eval()
    modes = [m.training for m in net.modules()]
    x = torch.randn(64, 4) * 3 + 1
    reestimate_normalisation(net, x, batch=64)
    hidden = net[0](x).detach()
    torch.testing.assert_close(net[1].running_mean, hidden.mean(0))
    torch.testing.assert_close(net[1].running_var, hidden.var(0))
    assert [m.training for m in net.modules()] == modes
    assert net[1].momentum == 0.1


def test_retraining_moves_only_the_block() -> None:
    initial, net = _net().state_dict(), _net()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.5)
    before = copy.deepcopy(net.state_dict())
    trained: list[dict[str, torch.Tensor]] = []

    def train(model: nn.Module, parameters: list[nn.Parameter]) -> None:
        assert [p for p in model.parameters() if p.requires_grad] == parameters
        optimiser = torch.optim.SGD(parameters, 0.1)
        model(torch.ones(3, 4)).square().sum().backward()
        optimiser.step()
        trained.append(model.state_dict())

    table = retrain_blocks(
        net, initial, {"head": ["3"]}, train, lambda m: {"bias": float(m[3].bias.detach().sum())}
    )
    assert table.states == ("retrained",)
    for k, v in trained[0].items():
        if k.startswith("3."):
            assert not torch.equal(v, before[k])
            assert not torch.equal(v, initial[k])
        elif "running" not in k and "num_batches" not in k:
            assert torch.equal(v, before[k])
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_signal_measures_the_same_samples_at_every_checkpoint() -> None:
    signal = LayerSignal(
        samples=100, indicators=[DegreesOfFreedom()], columns=("k95", "erank"), spectrum=5
    )
    net = _net()
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(300)
    with pytest.raises(InputError, match="known only after the first measurement"):
        _ = signal.layers
    one = signal.measure(net, x, y, torch.Generator().manual_seed(1))
    two = signal.measure(net, x, y, torch.Generator().manual_seed(2))
    assert tuple(one) == signal.names == ("layer_k95", "layer_erank", "layer_spectrum")
    assert (signal.axis, signal.layers) == ("layer", ("2", "3"))
    assert one["layer_k95"].dtype == np.float32
    assert one["layer_spectrum"].shape == (2, 5)
    assert np.isnan(one["layer_spectrum"][1, 2:]).all()
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])
    with pytest.raises(InputError, match="the same layers at every checkpoint"):
        signal.measure(nn.Sequential(nn.Linear(4, 2)), x, y, torch.Generator())


def test_assess_finds_the_layer_that_keeps_members_apart() -> None:
    x, member = _shifted(3.0, n=400)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3, 4))
        net[2].weight.copy_(torch.tensor([[0.0, 1, 0], [0, 0, 1]]))  # drops what tells members
    got = measure_risk(net, torch.from_numpy(x).float(), member, indicators=[DegreesOfFreedom()])
    risk = got.risk()
    assert risk.layer == ("1", "2")
    assert risk.risk[0] > 0.8 > 0.2 > risk.risk[1]
    assert risk.regions(1) == ("0.*",)
    assert got.table.n.tolist() == [200, 200]
    with pytest.raises(InputError, match=r"member: expected bool of shape \(400,\)"):
        measure_risk(net, torch.from_numpy(x).float(), member[:-1])


_X, _M = _shifted(1.0, n=40)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: attack_layers({"a": _X[:-1]}, _M), "a: expected outputs of 40 samples"),
        (lambda: attack_layers({"a": _X * np.nan}, _M), "a: expected finite outputs"),
        (lambda: attack_layers({"a": _X}, _M & (np.arange(40) < 5)), "at least 8 members"),
        (lambda: attack_layers({"a": _X}, _M.astype(int)), "member: expected bool"),
        (lambda: attack_layers({}, _M), "outputs: expected at least one layer"),
        (lambda: attack_layers({"a": _X}, _M, seeds=()), "seeds: expected at least one"),
        (lambda: attack_layers({"a": _X}, _M, components=0), "components: expected at least 1"),
        (lambda: attack_layers({"a": _X}, _M, variant=ShadowTransfer({}, _M)), "layer 'a', got none"),
        (lambda: attack_layers({"a": _X}, _M, variant=ShadowTransfer({"a": _X[:, :2]}, _M)),
         "shadow a: expected 4 outputs, got 2"),
        (lambda: Audit(1.0), "fit: expected a share"),
        (lambda: Logistic(0), "c: expected a number above 0"),
        (lambda: SmallMLP(hidden=0), "SmallMLP: expected positive sizes"),
        (lambda: feature_norms(_X, 0), "p: expected a number above 0"),
        (lambda: gradient_norms(_net(), torch.zeros(3, 4), torch.zeros(2)), "labels: expected one"),
        (lambda: gradient_norms(nn.Sequential(nn.ReLU()), torch.zeros(3, 4), torch.zeros(3), "0"),
         "at least one block with weights"),
        (lambda: with_block(_net(), {}, ["0"]), "earlier: expected '0.weight' of shape"),
        (lambda: with_block(_net(), {}, ["00"]), "blocks: expected names of modules, got '00'"),
        (lambda: with_block(_net(), {}, ["2"]), "modules with weights, got none"),
        (lambda: rewind_blocks(_net(), {}, {"a": ["0"]}, lambda m: {}), "at least one of each"),
        (lambda: retrain_blocks(_net(), {}, {}, lambda m, p: None, lambda m: {}), "at least one"),
        (lambda: rewind_blocks(_net(), {"0": _net().state_dict()}, {"a": ["0"]},
                               lambda m: {"accuracy": 1.0}).lost("acc"), "did you mean 'accuracy'"),
        (lambda: LayerSignal(columns=["k9"]), "columns: got 'k9'; did you mean"),
        (lambda: LayerSignal(samples=1), "LayerSignal: expected at least 2 samples"),
    ],
)  # fmt: skip
def test_bad_input(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
