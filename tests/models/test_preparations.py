"""Preparations of inputs: each undone by its opposite, found where it is the right one and not by chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from seepage.models.first_layer import better_scaled_within
from seepage.models.preparations import BetterPrepared, better_prepared, preparations, settled

RNG = np.random.default_rng(0)
N = 400
PIXELS = RNG.integers(0, 256, (N, 3, 5, 5), dtype=np.uint8)
PIXELS[0, :, 0, 0], PIXELS[0, :, 0, 1] = 0, 255
FRACTIONS = (PIXELS / 255).astype(np.float32)
M, S = (
    np.array(v, np.float32)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)

OWN = (FRACTIONS - FRACTIONS.mean((0, 2, 3), keepdims=True)) / FRACTIONS.std(
    (0, 2, 3), keepdims=True
)
TRAINED = {
    "standardised per channel": OWN,
    "brought to 0..1 and standardised by the moments of ImageNet": (FRACTIONS - M) / S,
    "brought to −1..1": 2 * FRACTIONS - 1,
    "0..1": FRACTIONS,
    "0..255": PIXELS.astype(np.float32),
    "with the channels reversed": FRACTIONS[:, ::-1],
}


def _rows(classes: np.ndarray) -> np.ndarray:
    """Logits that say these classes."""
    return 3.0 * np.eye(4)[classes]


def _known(trained: np.ndarray) -> tuple[np.ndarray, dict[bytes, int]]:
    """Random labels that a table of what was trained on knows by heart, as a network that overfits does."""
    labels = np.random.default_rng(1).integers(0, 4, N)
    rows = np.round(trained.astype(np.float64), 3) + 0.0
    return labels, {r.tobytes(): int(y) for r, y in zip(rows, labels, strict=True)}


@pytest.mark.parametrize("given", [k for k in TRAINED if k != "with the channels reversed"])
@pytest.mark.parametrize("trained", list(TRAINED))
def test_the_preparation_of_the_training_is_found(given: str, trained: str) -> None:
    labels, known = _known(TRAINED[trained])

    def answer(x: np.ndarray) -> np.ndarray:
        rows = np.round(x.astype(np.float64), 3) + 0.0
        return _rows(np.array([known.get(r.tobytes(), 0) for r in rows]))

    found = better_prepared(answer, TRAINED[given], np.arange(N), labels)
    if given == trained:
        assert found is None
        return
    # Reversed channels are found of what differs in nothing else.
    if trained == "with the channels reversed" and given != "0..1":
        return
    if given.startswith("brought to 0..1 and") or (given, trained) == ("0..1", "0..255"):
        return  # ranges that are kept to rounding alone
    assert found is not None
    assert found.far
    assert found.right[1] > 0.8  # rounding hides some
    if trained[0] not in "0":
        assert found.how == trained


def test_chance_and_one_class_alone_are_no_better() -> None:
    labels = np.random.default_rng(2).choice(3, N, p=[0.6, 0.3, 0.1])
    member = np.arange(N)
    hashed = [np.random.default_rng(k) for k in range(8)]
    for rng in hashed:
        # Nonsense on every preparation, and a model that says the most frequent class on others.
        assert (
            better_prepared(lambda x, r=rng: _rows(r.integers(0, 3, len(x))), OWN, member, labels)
            is None
        )
    first = OWN[:, 0, 0, 0]

    def weighted(x: np.ndarray) -> np.ndarray:
        same = np.isin(x[:, 0, 0, 0], first)
        return _rows(np.where(same, np.random.default_rng(len(x)).integers(0, 3, len(x)), 0))

    assert better_prepared(weighted, OWN, member, labels) is None


def test_what_is_not_tried() -> None:
    def refused(x: np.ndarray) -> np.ndarray:
        raise RuntimeError("it takes no such shapes")

    labels = np.arange(N) % 4
    asked = np.zeros(N, np.int64)
    assert better_prepared(refused, OWN, np.arange(N), labels, _rows(asked)) is None
    tokens = np.arange(2 * N).reshape(N, 2)
    assert better_prepared(lambda x: 1 / 0, tokens, np.arange(N), labels, _rows(asked)) is None
    assert better_prepared(lambda x: 1 / 0, OWN, np.arange(N), labels, _rows(labels)) is None
    assert better_prepared(lambda x: 1 / 0, OWN, np.arange(15), labels, _rows(asked)) is None


def test_layouts_and_types() -> None:
    tried = preparations(PIXELS)
    assert "divided by 255" in tried
    assert "times 255" not in tried
    np.testing.assert_array_equal(tried["divided by 255"](PIXELS), FRACTIONS)
    assert {c(PIXELS).dtype for c in tried.values()} == {np.dtype(np.float32)}
    assert tried["with the channels last"](PIXELS).shape == (N, 5, 5, 3)
    last = np.moveaxis(FRACTIONS, 1, 3).astype(np.float64)
    other = preparations(last)
    assert other["with the channels first"](last).shape == (N, 3, 5, 5)
    np.testing.assert_allclose(
        np.moveaxis(other["standardised per channel"](last), 3, 1), OWN, atol=1e-5
    )
    assert other["times 255"](last).dtype == np.float64
    assert not any("ImageNet" in how for how in preparations(FRACTIONS[:, :1]))


def test_statistics_of_few_batches_are_not_settled() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    seen = []
    for _ in range(40):
        net(torch.rand(4, 2))
        seen.append(settled(net))
    assert (seen[0], seen[36], seen[-1]) == (False, False, True)


def test_larger_inputs_that_make_a_network_too_sure_are_no_better() -> None:
    """Of a network that learnt little its biases decide; without them it may be right and its loss far higher."""
    rng = np.random.default_rng(5)
    x = (0.29 * np.sign(rng.normal(size=(N, 1)))).astype(np.float32)
    y = ((x[:, 0] > 0) != (rng.random(N) < 0.2)).astype(np.int64)

    def answer(v: np.ndarray) -> np.ndarray:
        return np.concatenate([0.0 * v, 2.0 * v + 6.0], axis=1).astype(np.float64)

    larger = answer(255 * x).argmax(axis=1) == y
    assert larger.mean() > 0.7 > (answer(x).argmax(axis=1) == y).mean()
    assert better_prepared(answer, x, np.arange(N), y) is None
    # Without the label noise larger inputs are what was meant.
    found = better_prepared(answer, x, np.arange(N), (x[:, 0] > 0).astype(np.int64))
    assert found is not None
    assert "255" in found.how


def test_a_loss_that_no_training_leaves_is_told_where_right_answers_are_as_many() -> None:
    """Of label noise and inputs 100 times too large: as many are right, and each wrong one costs hundreds of nats."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(N, 1)).astype(np.float32)
    y = ((x[:, 0] > 0) != (rng.random(N) < 0.2)).astype(np.int64)

    def answer(v: np.ndarray) -> np.ndarray:
        return np.concatenate([0.0 * v, 1.4 * v], axis=1).astype(np.float64)

    found = better_prepared(answer, 100 * x, np.arange(N), y)
    assert found is not None
    assert (found.right[0], found.far) == (found.right[1], False)
    assert found.loss[0] > 10 > 0.7 > found.loss[1]
    # As it was trained, and where its answers are merely made less, or more, sure.
    for factor in (0.2, 1, 3):
        given = lambda v, f=factor: f * answer(v)  # noqa: E731
        assert better_prepared(given, x, np.arange(N), y) is None


def test_a_lower_loss_of_as_many_right_answers_gives_a_verdict() -> None:
    """As of samples that trained nobody: the verdict needs more right answers, or a loss that is mended."""
    one = BetterPrepared(
        "so", (0.872, 0.872), (0.82, 0.83), 320, 9, loss=(1.07, 0.827), told=0.3, sure=True
    )
    assert not one.far
    assert replace(one, mended=True).far
    assert replace(one, balanced=(0.77, 0.83)).far
    assert not replace(one, balanced=(0.77, 0.83), told=0.2).far


class Scaled(nn.Module):
    """Right where its layer reads values around 0; `mean` is what it takes from its inputs itself."""

    def __init__(self, mean: float, around: float = 0.0) -> None:
        super().__init__()
        self.mean, self.around, self.layer = mean, around, nn.Linear(1, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[-9.0], [9.0]]))
            self.layer.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(x - self.mean) + self.around * x
        return found


@pytest.mark.parametrize(
    ("mean", "around", "told"), [(2.0, 0.0, False), (-1.0, 0.0, True), (-1.0, 0.01, False)]
)
def test_moments_within_a_network_are_tried_where_it_reads_nothing_else(
    mean: float, around: float, told: bool
) -> None:
    x = np.random.default_rng(7).uniform(0, 4, (N, 1)).astype(np.float32)
    net = Scaled(mean, around)

    def answer(v: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(torch.from_numpy(v)).double().numpy()

    labels = (x[:, 0] > 2).astype(np.int64)
    found = better_scaled_within(net, answer, x, np.arange(N), labels)
    assert (found is not None and found.far) == told
    assert found is None or "where its first layer reads them standardised" in found.words
    assert not net.layer._forward_pre_hooks
