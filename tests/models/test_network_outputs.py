"""What a network returns: logits are taken as they come, everything else is told in one line."""

from __future__ import annotations

import contextlib
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seepage.errors import InputError
from seepage.models.outputs import (
    Simplex,
    check_finite,
    check_logits,
    check_trained,
    try_network,
    try_outputs,
)

X = torch.randn(32, 6, generator=torch.Generator().manual_seed(3))


class Answering(nn.Module):
    """Two layers, and what is made of their logits."""

    def __init__(self, then: Callable[[torch.Tensor], Any] = lambda z: z, outputs: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, outputs))
        self.then = then

    def forward(self, x: torch.Tensor) -> Any:
        return self.then(self.body(x))


class ModelOutput(OrderedDict):  # type: ignore[type-arg]
    """As libraries of pretrained networks return them: a mapping with attributes."""

    @property
    def logits(self) -> torch.Tensor:
        return self["logits"]  # type: ignore[no-any-return]


@dataclass
class Record:
    logits: torch.Tensor


Pair = namedtuple("Pair", "logits auxiliary")


def beginning_at(bias: list[float], then: Callable[[torch.Tensor], Any] = lambda z: z) -> nn.Module:
    """A head that starts from zero weights, so that all rows are alike."""
    network = Answering(then)
    nn.init.zeros_(network.body[2].weight)
    network.body[2].bias.data = torch.tensor(bias)
    return network


def mask(z: torch.Tensor) -> torch.Tensor:
    return torch.cat([z[:, :3], z[:, 3:] - torch.inf], 1)


@pytest.mark.parametrize(
    ("make", "outputs"),
    [
        (Answering, 3),
        (lambda: Answering(lambda z: z.log_softmax(1)), 3),
        (lambda: Answering(lambda z: z.half()), 3),
        (lambda: Answering(lambda z: z.bfloat16()), 3),
        (lambda: Answering(lambda z: z.double()), 3),
        (lambda: Answering(outputs=5), 5),
        (lambda: Answering(mask, outputs=5), 5),
        (lambda: nn.DataParallel(Answering()), 3),
        (lambda: beginning_at([1 / 3, 1 / 3, 1 / 3]), 3),
        (lambda: beginning_at([1.0, 0.0, 0.0]), 3),
        (lambda: Answering(torch.relu), 3),
        (lambda: Answering(torch.tanh), 3),
    ],
    ids=[
        *("plain", "log-probabilities", "fp16", "bf16", "fp64", "more", "masked", "parallel"),
        *("begins even", "begins certain", "relu", "tanh"),
    ],
)
def test_logits_are_taken(make: Callable[[], nn.Module], outputs: int) -> None:
    assert try_network(make, X, 3) == outputs


@pytest.mark.parametrize(
    ("then", "outputs", "message"),
    [
        (
            lambda z: z,
            2,
            r"logits of shape \(32, 3\).*got shape \(32, 2\); .* each of the 3 classes",
        ),
        (lambda z: z, 1, r"got shape \(32, 1\), one output unit.*return \(0, z\)"),
        (lambda z: z[:, 0], 1, r"got shape \(32,\), one output unit.*return \(0, z\)"),
        (lambda z: (z, z), 3, r"a tuple of \(32, 3\) and \(32, 3\); .*net\(x\)\[0\] does"),
        (lambda z: [z], 3, r"a list of \(32, 3\); .*net\(x\)\[0\] does"),
        (lambda z: {"scores": z}, 3, r"a dict with 'scores'; .*net\(x\)\['scores'\] does"),
        (
            lambda z: ModelOutput(logits=z),
            3,
            r"a ModelOutput with 'logits'; .*net\(x\).logits does",
        ),
        (lambda z: Pair(z, z), 3, r"got Pair; .*net\(x\).logits does"),
        (Record, 3, r"got Record; .*net\(x\).logits does"),
        (lambda z: None, 3, "got NoneType; forward returns nothing"),
        (lambda z: z.detach().numpy(), 3, r"got ndarray; return a torch\.Tensor"),
        (lambda z: z[:, None].expand(-1, 4, -1), 3, r"\(32, 4, 3\); return one row per sample"),
        (lambda z: z[:, :, None, None], 3, r"\(32, 3, 1, 1\); .*flatten axes of length one"),
        (lambda z: z.mean(0, keepdim=True), 3, r"\(1, 3\): the samples of a batch are not kept"),
        (lambda z: z.argmax(1), 3, r"torch\.int64 of shape \(32,\); .*not the number of a class"),
        (lambda z: z + 0j, 3, r"torch\.complex64 of shape \(32, 3\)"),
        (lambda z: z.to_sparse(), 3, r"in layout torch\.sparse_coo"),
        (lambda z: z * torch.nan, 3, "finite logits before training, got nan in output 0 of 32"),
        (lambda z: z - torch.tensor([0, 0, torch.inf]), 3, "got -inf in output 2 of 32 of 32"),
        (lambda z: z.softmax(1), 3, "expected logits, got probabilities: all 96 rows"),
        (lambda z: (1e4 * z).softmax(1), 3, "expected logits, got probabilities"),
        (lambda z: z.softmax(1).half(), 3, "expected logits, got probabilities"),
        (lambda z: z.softmax(1).bfloat16(), 3, "expected logits, got probabilities"),
        (lambda z: z.softmax(1).clamp(1e-7), 3, "expected logits, got probabilities"),
        (lambda z: z.softmax(1), 5, "expected logits, got probabilities"),
        (torch.sigmoid, 3, r"lie in \[0, 1\] whatever the weights.*enters the sigmoid"),
        (lambda z: z.detach(), 3, "that a gradient passes through, got none"),
        (lambda z: z.nothing, 3, r"AttributeError: .*test_network_outputs\.py, line \d+\)"),
    ],
)
def test_anything_else_is_told_in_one_line(
    then: Callable[[torch.Tensor], Any], outputs: int, message: str
) -> None:
    with pytest.raises(InputError, match=message) as told:
        try_network(lambda: Answering(then, outputs), X, 3)
    assert "\n" not in str(told.value)


def test_a_softmax_over_a_head_that_starts_from_zero_is_found() -> None:
    with pytest.raises(InputError, match="expected logits, got probabilities"):
        try_network(lambda: beginning_at([0.0, 0.0, 0.0], lambda z: z.softmax(1)), X, 3)


def test_inputs_of_another_width() -> None:
    with pytest.raises(InputError, match=r"inputs of shape \(32, 6\), torch.float32, got RuntimeE.*"
                       r"cannot be multiplied.*; make it for inputs of shape \(6,\)"):  # fmt: skip
        try_network(lambda: nn.Linear(7, 3), X, 3)


def test_token_ids_cannot_be_floats() -> None:
    with pytest.raises(InputError, match=r"torch\.float32, got RuntimeError: .*Long, Int"):
        try_network(lambda: nn.Embedding(9, 3), X, 3)


def test_what_it_returns_in_training_counts_too() -> None:
    class Auxiliary(Answering):
        def forward(self, x: torch.Tensor) -> Any:
            z = super().forward(x)
            return Pair(z, z) if self.training else z

    with pytest.raises(InputError, match=r"model, in training mode: expected logits .*got Pair"):
        try_network(Auxiliary, X, 3)
    batchwise = lambda: nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))  # noqa: E731
    assert try_network(batchwise, X, 3, batch=2) == 3
    with pytest.raises(InputError, match=r"in training mode: .*more than 1 value per channel"):
        try_network(batchwise, X, 3, batch=1)


def test_defences_need_one_output_for_each_class() -> None:
    with pytest.raises(InputError, match="each of the 3 classes, got 5; defences"):
        try_network(lambda: Answering(outputs=5), X, 3, exact=True)


def test_channels_last_images_are_what_the_fleet_feeds() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(64, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = self.conv(x)
            logits: torch.Tensor = self.head(z.view(len(z), -1))
            return logits

    x = torch.randn(8, 2, 6, 6).contiguous(memory_format=torch.channels_last)
    with pytest.raises(InputError, match=r"view size is not compatible.*reshape"):
        try_network(Viewing, x, 3)


@pytest.mark.parametrize(
    ("then", "ended"),
    [
        (lambda z: z, contextlib.nullcontext()),
        (lambda z: z.softmax(1), pytest.raises(InputError, match="got probabilities")),
    ],
    ids=["logits", "probabilities"],
)
def test_the_look_leaves_everything_as_it_was(
    then: Callable[[torch.Tensor], Any], ended: contextlib.AbstractContextManager[Any]
) -> None:
    """Also where the factory hands out one network again and again, and draws in its forward."""
    network = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 3))
    network.append(_Then(then))
    network[2].eval()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    modes, stream, x = [m.training for m in network.modules()], torch.get_rng_state(), X.clone()
    with ended:
        try_network(lambda: network, X, 3)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert modes == [m.training for m in network.modules()]
    assert torch.equal(stream, torch.get_rng_state())
    assert torch.equal(x, X)
    assert all(p.grad is None for p in network.parameters())


class _Then(nn.Module):
    def __init__(self, then: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.then = then

    def forward(self, x: torch.Tensor) -> Any:
        return self.then(x)


def test_one_row_of_logits_settles_that_they_are_none() -> None:
    seen = Simplex()
    seen.see(torch.eye(3))
    assert seen.found
    seen.see(torch.tensor([[0.2, 0.7, 0.2]]))
    assert not seen.found
    assert not seen.possible


def test_rows_that_are_alike_settle_nothing() -> None:
    seen = Simplex()
    seen.see(torch.full((40, 4), 0.25))
    assert seen.possible
    assert not seen.found
    seen.see(torch.tensor([[0.5, 0.5, 0.0, 0.0]]))
    assert seen.found


def test_logits_do_not_pass_for_probabilities_by_accident() -> None:
    """Of many small networks whose outputs are near those of probabilities, none is refused."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(500):
        logits = 0.5 + 0.2 * torch.randn(32, 2, generator=generator)
        seen = Simplex()
        seen.see(logits)
        assert not seen.possible


def test_only_outputs_beyond_the_classes_may_be_masked() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf], [2.0, 1.0, -torch.inf]])
    check_finite(logits, 2)
    with pytest.raises(InputError, match="got -inf in output 2"):
        check_finite(logits, 3)
    with pytest.raises(InputError, match="got inf in output 2"):
        check_finite(-logits, 2)


def test_where_nothing_is_known_of_the_classes_two_are_needed() -> None:
    assert check_logits(torch.zeros(4, 2), X[:4]).shape == (4, 2)
    with pytest.raises(InputError, match=r"logits of shape \(4, classes\)"):
        check_logits(torch.zeros(4, 2, 2), X[:4])


def test_memory_that_runs_out_is_not_a_matter_of_shapes() -> None:
    with pytest.raises(torch.OutOfMemoryError), try_outputs(X):
        raise torch.OutOfMemoryError("no room")


def test_a_trained_network_is_looked_at_as_it_is() -> None:
    network = Answering().eval()
    stream = torch.get_rng_state()
    check_trained(network, X, 3)
    assert torch.equal(stream, torch.get_rng_state())
    with pytest.raises(InputError, match="got probabilities: all 32 rows"):
        check_trained(Answering(lambda z: z.softmax(1)).eval(), X, 3)


def test_log_probabilities_have_the_confidence_of_the_probabilities() -> None:
    """φ of log p is log p_y − log(1 − p_y); of p itself it is another number."""
    from seepage.signals import phi

    generator = torch.Generator().manual_seed(1)
    z, y = torch.randn(50, 4, generator=generator, dtype=torch.float64), torch.arange(50) % 4
    p = z.softmax(1)
    own = p.gather(1, y[:, None])[:, 0]
    wanted = (own.log() - (1 - own).log()).numpy()
    np.testing.assert_allclose(phi(z, y).numpy(), wanted, rtol=1e-10)
    np.testing.assert_allclose(phi(p.log(), y).numpy(), wanted, rtol=1e-10)
    assert np.abs(phi(p, y).numpy() - wanted).max() > 1
