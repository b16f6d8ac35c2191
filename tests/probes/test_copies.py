"""What networks answer to copies of a sample, where the answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from seepage.errors import InputError
from seepage.probes import Asked, copies
from seepage.probes.copies import Augmented, NoisyLoss, augmented_labels, noisy_losses


class Valley(nn.Module):
    """Two logits (s·x², 0) of one number: with s < 0 the loss of class 0 is least at x = 0."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.slope * x**2, 0 * x], dim=1)


def share(slope: float, at: list[float], sigma: float = 1.0, count: int = 100) -> np.ndarray:
    x = torch.tensor(at)[:, None]
    asked = Asked(Valley(slope).eval(), x, torch.zeros(len(x), dtype=torch.long))
    return NoisyLoss(sigma, count).measure(asked)["noise_share"]


def test_the_share_of_larger_losses_is_that_of_normal_noise():
    """At distance d of the minimum a step leads up unless −2d < σv < 0: ½ + Φ(−2d/σ)."""
    at = [0.0, 0.25, 0.5, 2.0]
    truth = 0.5 + norm.cdf(-2 * np.array(at) / 0.5)
    np.testing.assert_allclose(share(-1.0, at, 0.5, 4000), truth, atol=4 * 0.5 / 4000**0.5)
    assert share(-1.0, [0.0])[0] == 1
    assert share(1.0, [0.0])[0] == 0


def test_ties_count_half():
    assert share(0.0, [0.3, -1.0]).tolist() == [0.5, 0.5]


def test_losses_near_zero_are_told_apart():
    """At a logit of 80 a float32 probability is 1; the noise's effect on the loss is still seen."""
    loss, noisy = noisy_losses(
        Valley(20.0), torch.tensor([[2.0]]), torch.tensor([0]), 0.1, 50,
        generator=np.random.default_rng(0),
    )  # fmt: skip
    assert loss[0, ...] == pytest.approx(np.exp(-80.0), rel=1e-4)
    assert (noisy > 0).all()
    assert 10 < (noisy > loss[:, None]).sum() < 40


def test_neither_batches_nor_the_caller_s_arrays_matter(monkeypatch):
    x = torch.linspace(-1, 1, 12)[:, None]
    before = x.clone()

    def found(rows: int) -> tuple[np.ndarray, np.ndarray]:
        monkeypatch.setattr(copies, "_ROWS", rows)
        asked = Asked(Valley(-1.0), x, torch.zeros(12, dtype=torch.long), (3,))
        labels = Augmented(draws=2).measure(asked)["augmented_correct"]
        return NoisyLoss(0.5).measure(asked)["noise_share"], labels

    for a, b in zip(found(2048), found(300), strict=True):
        np.testing.assert_array_equal(a, b)
    assert torch.equal(x, before)


def test_images_are_shifted_and_mirrored_with_their_edges_repeated():
    x = torch.arange(2 * 1 * 3 * 4.0).reshape(2, 1, 3, 4)
    made = Augmented(shift=2, mirror=True)._moved(x)
    assert made.shape == (2, 26, 1, 3, 4)
    moves = {
        (dy, dx): np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")[
            :, :, 2 + dy : 5 + dy, 2 + dx : 6 + dx
        ]
        for dy, dx in itertools.product(range(-2, 3), repeat=2)
        if abs(dy) + abs(dx) <= 2
    }
    want = [*moves.values(), *(m[..., ::-1] for m in moves.values())]
    assert torch.equal(made[:, 0], x)
    got = sorted(made[:, k].numpy().tobytes() for k in range(26))
    assert got == sorted(np.ascontiguousarray(w).tobytes() for w in want)


def test_noisy_rows_are_right_as_often_as_their_margin_says():
    """A linear rule at margin m answers noise of level s rightly with probability Φ(m/s‖w‖)."""
    net = nn.Linear(2, 2, bias=False).requires_grad_(False)
    net.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    x = torch.tensor([[0.2, 0.1], [-0.1, 0.0]])
    probe = Augmented(noise=(0.1, 1.0), draws=3000)
    found = probe.measure(Asked(net.eval(), x, torch.tensor([0, 0])))["augmented_correct"]
    assert found[:, 0].tolist() == [1.0, 0.0]
    got = found[:, 1:].reshape(2, 2, 3000).mean(axis=2)
    truth = norm.cdf(np.array([[1.0], [-0.3]]) / (5 * np.array([0.1, 1.0])))
    np.testing.assert_allclose(got, truth, atol=4 * 0.5 / 3000**0.5)


def test_only_classes_are_read():
    """Any rising map of the logits leaves the answers as they are."""
    x = torch.linspace(-2, 2, 9)[:, None]
    y = torch.arange(9) % 2
    a, b = (
        augmented_labels(
            Valley(s), x, y, Augmented()._copies, 26, generator=np.random.default_rng(0)
        )
        for s in (-1.0, -7.0)
    )
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NoisyLoss(sigma=0.0), "sigma: expected a positive number, got 0.0"),
        (lambda: NoisyLoss(copies=0), "copies: expected at least 1, got 0"),
        (lambda: Augmented(shift=-1), "augmented: expected a shift of at least 0"),
        (lambda: Augmented(noise=(0.1, -1.0)), "noise: expected positive numbers"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()
