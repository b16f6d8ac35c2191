"""Gradients by parameters: what autograd gives for each sample by itself, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from seepage.errors import InputError
from seepage.probes import Asked, gradients, layer_rules
from seepage.probes.gradients import directional, per_sample_gradients, per_sample_slopes
from seepage.probes.layer_rules import Whole, has_rules
from seepage.probes.one_pass import measure
from seepage.probes.parameter_gradients import GradientNorm, LayerGradients
from seepage.probes.steps import CheckpointStep


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def convolutional() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4)
    )  # fmt: skip
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2.0)
    return net.eval()


def by_autograd(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    rows = [
        torch.autograd.grad(
            nn.functional.cross_entropy(net(x[i : i + 1]), y[i : i + 1]), list(net.parameters())
        )
        for i in range(len(x))
    ]
    names = [k for k, _ in net.named_parameters()]
    return {k: torch.stack([row[j] for row in rows]) for j, k in enumerate(names)}


class Steps(nn.Module):
    """Tokens: a linear layer at every position, one of which is asked again where `twice`."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.twice = twice
        self.each, self.head = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu_(self.each(x.squeeze(1)))
        return self.head((torch.relu(self.each(h)) if self.twice else h).mean(1))


WITH_RULES = {
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(1, 3, (3, 2), stride=(1, 2), padding=1, bias=False), nn.ReLU(inplace=True),
        nn.Conv2d(3, 4, 2, dilation=2), nn.Flatten(), nn.Linear(32, 5), nn.Tanh(), nn.Linear(5, 4),
    ),
    "positions": lambda: Steps(False),
    "a layer asked twice": lambda: Steps(True),
}  # fmt: skip


@pytest.mark.parametrize("kind", WITH_RULES)
def test_rules_of_layers_give_them_too(kind: str, monkeypatch) -> None:
    net = WITH_RULES[kind]().eval()
    x, y = torch.randn(7, 1, 6, 6), torch.arange(7) % 4
    want = by_autograd(net, x, y)
    assert has_rules(net)
    ways = []
    quickest = gradients._quickest
    monkeypatch.setattr(gradients, "_quickest", lambda *a: ways.append(quickest(*a)) or ways[0])
    monkeypatch.setattr(layer_rules, "_UNFOLDED", 2000)
    rows: dict[str, list[torch.Tensor]] = {}
    for _, found in per_sample_slopes(net, x, y, batch=3):
        for name, g in found.items():
            rows.setdefault(name, []).append(g.whole())
            torch.testing.assert_close(g.squares(), Whole(g.whole()).squares())
            torch.testing.assert_close(g.rows(), Whole(g.whole()).rows())
            assert g.several == (g.whole().ndim > 2)
    slower = kind == "a layer asked twice"
    assert ways == [gradients._vectorised if slower else gradients._by_rules]
    assert list(rows) == list(want)
    for name, g in want.items():
        torch.testing.assert_close(torch.cat(rows[name]), g, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("vectorised", [True, False])
def test_they_are_those_of_each_sample_by_itself(vectorised: bool, monkeypatch) -> None:
    net = convolutional()
    x, y = torch.randn(7, 1, 6, 6), torch.arange(7) % 4
    want = by_autograd(net, x, y)
    if not vectorised:
        monkeypatch.setattr(gradients, "vmap", None)
    got: dict[str, list[torch.Tensor]] = {}
    for losses, found in per_sample_gradients(net, x, y, batch=3):
        assert losses.shape == (len(next(iter(found.values()))),)
        for name, g in found.items():
            got.setdefault(name, []).append(g)
    for name, g in want.items():
        torch.testing.assert_close(torch.cat(got[name]), g, rtol=1e-4, atol=1e-6)
    direction = {k: torch.randn_like(p) for k, p in net.named_parameters()}
    along = sum((want[k] * direction[k]).flatten(1).sum(1) for k in want)
    torch.testing.assert_close(
        directional(net, x, y, direction, batch=3).float(), along, rtol=1e-4, atol=1e-5
    )
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


class _Recurrent(nn.Module):
    """A layer without forward derivatives."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.first(x)[0][:, -1])
        return out


def test_along_a_direction_two_passes_back_stand_in_for_a_missing_forward_derivative() -> None:
    for net, x in (
        (convolutional(), torch.randn(7, 1, 6, 6)),
        (_Recurrent().eval(), torch.randn(7, 4, 2)),
    ):
        y = torch.arange(7) % 3
        direction = {k: torch.randn_like(p) for k, p in net.named_parameters()}
        ways = []
        got = directional(net, x, y, direction, batch=3)
        for i in range(7):
            each = gradients.sample_losses(net(x[i : i + 1]), y[i : i + 1])
            slopes = torch.autograd.grad(each.sum(), list(net.parameters()))
            ways.append(sum((g * d).sum() for g, d in zip(slopes, direction.values(), strict=True)))
        torch.testing.assert_close(got.float(), torch.stack(ways), rtol=1e-4, atol=1e-5)


def test_norms_of_a_linear_layer_are_those_of_residual_and_input() -> None:
    """∇ = (p − e_y)(x, 1)ᵀ: its norm is the product of norms, however sure the answer is."""
    net = nn.Linear(3, 4)
    with torch.no_grad():
        net.bias[0] += 40.0
    x, y = torch.randn(50, 3), torch.arange(50) % 4
    found = measure([GradientNorm(), LayerGradients()], Asked(net.eval(), x, y))
    z = net(x).detach().double()
    residual = torch.softmax(z, 1) - nn.functional.one_hot(y, 4)
    # Without cancellation where p_y rounds to 1.
    rest = z.masked_fill(nn.functional.one_hot(y, 4).bool(), -torch.inf).logsumexp(1)
    residual[torch.arange(50), y] = -torch.sigmoid(rest - z[torch.arange(50), y])
    long = (1 + x.double().square().sum(1)).sqrt()
    want = (residual.norm(dim=1) * long).numpy()
    assert want.min() < 1e-15
    np.testing.assert_allclose(found["grad_norm"], want, rtol=1e-3)
    np.testing.assert_allclose(found["grad_layers"][:, 0], want, rtol=1e-3)
    last = residual.abs() * x.double().norm(dim=1)[:, None]
    np.testing.assert_allclose(found["grad_last"], last.numpy(), rtol=1e-3)


def test_one_computation_serves_all_probes(monkeypatch) -> None:
    asked = []
    inner = gradients.per_sample_slopes
    monkeypatch.setattr(
        gradients, "per_sample_slopes", lambda *a, **k: asked.append(1) or inner(*a, **k)
    )
    x, y = torch.randn(5, 3), torch.arange(5) % 2
    found = measure([GradientNorm(), LayerGradients()], Asked(nn.Linear(3, 2).eval(), x, y))
    assert len(asked) == 1
    assert {k: v.shape for k, v in found.items()} == {
        "grad_norm": (5,),
        "grad_layers": (5, 1),
        "grad_last": (5, 2),
    }


def test_what_mixes_samples_is_refused() -> None:
    class Centred(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x - x.mean(0))

    x, y = torch.randn(6, 3), torch.arange(6) % 2
    with pytest.raises(InputError, match="not to depend on the others in its batch"):
        list(per_sample_gradients(Centred(3, 2).eval(), x, y))
    with pytest.raises(InputError, match="eval mode, got BatchNorm1d"):
        list(per_sample_gradients(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), x, y))


def test_a_step_of_descent_gives_the_kernel_of_gradients_and_members_their_own_term() -> None:
    """θ' = θ − (η/n) Σ_j ∇ℓ_j of softmax regression: Σ_j (δ_i · δ_j)(x_i · x_j + 1) η/n."""
    net, rate = nn.Linear(5, 3), 0.1
    x, y = torch.randn(40, 5), torch.arange(40) % 3
    member = np.arange(40) < 20
    residual = (torch.softmax(net(x), 1) - nn.functional.one_hot(y, 3)).detach()
    kernel = ((residual @ residual.T) * (x @ x.T + 1)).double().numpy()
    after = nn.Linear(5, 3)
    mean = nn.functional.cross_entropy(net(x[:20]), y[:20])
    slopes = torch.autograd.grad(mean, list(net.parameters()))
    with torch.no_grad():
        for new, old, g in zip(after.parameters(), net.parameters(), slopes, strict=True):
            new.copy_(old - rate * g)
    asked = Asked(after.eval(), x, y, before=net.eval(), member=member)
    found = measure([CheckpointStep()], asked)["checkpoint_step"]
    np.testing.assert_allclose(found, rate / 20 * kernel[:, :20].sum(1), atol=1e-6)
    # What is left without a member's own term has the law of the others' scores.
    without = found - np.where(member, rate / 20 * np.diag(kernel), 0.0)
    np.testing.assert_allclose(
        without, rate / 20 * (kernel[:, :20] * (1 - np.eye(40)[:, :20])).sum(1), atol=1e-6
    )
    first = measure([CheckpointStep()], Asked(net.eval(), x, y))["checkpoint_step"]
    assert (first == 0).all()


def test_slopes_that_vanish_are_zero_and_nobody_else_s_are() -> None:
    net = nn.Linear(3, 4).eval()
    with torch.no_grad():
        net.bias[0] += 95.0
    found = measure(
        [GradientNorm()], Asked(net, torch.randn(3, 3), torch.zeros(3, dtype=torch.long))
    )
    assert (found["grad_norm"] == 0).all()
    assert torch.tensor(1e-38) / 10 > 0
