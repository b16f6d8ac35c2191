"""Released weights: a share of 0 and bf16 of bf16 change nothing, the given network never changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seepage.errors import InputError
from seepage.models.released import BF16, Int8, Pruned, WeightVariant


@pytest.fixture
def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5)
        )
    made.eval().requires_grad_(False)
    return made


def _x() -> torch.Tensor:
    return torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("variant", [BF16(), Int8(), Pruned(0.5)])
def test_the_given_network_stays_as_it_is(variant: WeightVariant, network: nn.Sequential) -> None:
    before = {k: v.clone() for k, v in network.state_dict().items()}
    out = network(_x())
    made = variant.of(network)
    assert not torch.equal(made(_x()), out)
    assert torch.equal(network(_x()), out)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_nothing_pruned_is_the_network_itself(network: nn.Sequential) -> None:
    assert torch.equal(Pruned(0).of(network)(_x()), network(_x()))


def test_the_smallest_weights_are_pruned_and_no_others(network: nn.Sequential) -> None:
    before, after = network.state_dict(), Pruned(0.75).of(network).state_dict()
    names = ("0.weight", "3.weight")
    flat = torch.cat([before[k].flatten() for k in names])
    gone = torch.cat([after[k].flatten() for k in names]) == 0
    assert int(gone.sum()) == int(0.75 * len(flat))
    assert float(flat[gone].abs().max()) <= float(flat[~gone].abs().min())
    assert all(torch.equal(after[k], v) for k, v in before.items() if k not in names)


def test_equal_magnitudes_are_pruned_up_to_the_share() -> None:
    layer = nn.Linear(10, 10)
    nn.init.ones_(layer.weight)
    assert int((Pruned(0.3).of(layer).state_dict()["weight"] == 0).sum()) == 30


def test_bf16_of_bf16_is_itself(network: nn.Sequential) -> None:
    once = BF16().of(network)
    assert torch.equal(BF16().of(once)(_x()), once(_x()))


def test_int8_is_near(network: nn.Sequential) -> None:
    out, near = network(_x()), Int8().of(network)(_x())
    assert near.dtype == torch.float32
    assert float((out - near).abs().max()) < 0.05 * float(out.abs().max())


class Looks(nn.Module):
    """A network that looks at the weight of its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        out: torch.Tensor = self.head(x.to(self.head.weight.dtype))
        return out


@pytest.mark.parametrize("network", [nn.Linear(4, 3), Looks()])
def test_int8_of_a_single_layer_and_of_one_whose_weight_is_looked_at(network: nn.Module) -> None:
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert tuple(Int8().of(network)(x).shape) == (5, 3)


def test_networks_without_such_weights_are_refused_in_one_line() -> None:
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    with pytest.raises(InputError, match="int8: expected a network with linear layers"):
        Int8().of(plain)
    with pytest.raises(InputError, match="weights of two axes or more, got none in BatchNorm1d"):
        Pruned(0.5).of(nn.BatchNorm1d(3))


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(InputError, match="share: expected"):
        Pruned(share)
