"""Imitators: who is trained on what, and that they answer as the network they imitate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from seepage.errors import InputError
from seepage.probes import Asked
from seepage.probes.imitation import Imitation
from seepage.signals import phi


def pool(n: int = 120) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 4)) + 2 * np.eye(3, 4)[y]
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)


@pytest.fixture(autouse=True)
def _own_stream():
    with torch.random.fork_rng(devices=[]):
        yield


def teacher(scale: float) -> nn.Module:
    """The rule that fits the pool, surer by `scale`."""
    net = nn.Linear(4, 3).requires_grad_(False)
    net.weight.copy_(scale * 2 * torch.eye(3, 4))
    net.bias.zero_()
    return net.eval()


def test_every_sample_is_left_out_by_equally_many():
    inside = Imitation()._parts(50, np.random.default_rng(0))
    assert (inside.sum(axis=0) == 2).all()
    assert inside.sum(axis=1).max() < 35


def test_imitators_take_after_their_network():
    """Of a surer network they are surer, and labels that it does not believe in do not stop them."""
    x, y = pool()
    sure, doubting = teacher(2.0), teacher(0.25)
    before = {k: v.clone() for k, v in sure.state_dict().items()}
    found = [
        Imitation(models=2, epochs=15).measure(Asked(net, x, y))["imitation_phi"]
        for net in (sure, doubting)
    ]
    target = [phi(net(x), y).numpy() for net in (sure, doubting)]
    assert found[0].mean() > 2 * found[1].mean()
    assert np.corrcoef(found[0], target[0])[0, 1] > 0.9
    assert all(torch.equal(v, before[k]) for k, v in sure.state_dict().items())


def test_it_is_the_same_again_and_the_global_stream_is_left_alone():
    x, y = pool(30)
    net = teacher(1.0)
    state = torch.get_rng_state()
    probe = Imitation(models=2, epochs=2)
    a, b, c = (probe.measure(Asked(net, x, y, s))["imitation_phi"] for s in ((1,), (1,), (2,)))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    assert torch.equal(torch.get_rng_state(), state)


def test_layers_that_cannot_begin_anew_are_refused():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight

    x, y = pool(10)
    with pytest.raises(InputError, match="got Own '' without it, which no imitator can be made of"):
        Imitation().measure(Asked(Own().eval(), x, y))


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="expected at least 2 models"):
        Imitation(models=1)
    with pytest.raises(InputError, match="a warm share from 0 to below 1"):
        Imitation(warm=1.0)


def test_very_sure_networks_are_imitated():
    """Without a bound on the gradient the squares of such logits throw the first steps out of bounds."""
    x, y = pool()
    imitation = Imitation(models=2, epochs=5)
    sure = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3)).requires_grad_(False).eval()
    sure[0].weight.mul_(40)
    sure[2].weight.mul_(40)
    assert abs(imitation.measure(Asked(sure, x, y))["imitation_phi"]).max() < 100
    with pytest.raises(InputError, match=r"finite answers, got .* choose a smaller lr than 1e"):
        Imitation(models=2, epochs=5, lr=1e30).measure(Asked(sure, x, y))
