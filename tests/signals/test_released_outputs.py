"""Released outputs: what is shown is kept exactly, what is hidden follows one stated rule."""

from __future__ import annotations

import math

import pytest
import torch

from seepage.errors import InputError
from seepage.signals import SIGNALS, correct, phi
from seepage.signals.released import (
    LabelOnly,
    OutputVariant,
    Rounded,
    Temperature,
    TopK,
    released_signals,
)


@pytest.fixture
def outputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(400, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (400,), generator=generator)
    return logits, labels


@pytest.mark.parametrize(
    "variant", [Temperature(4), Temperature(0.5), TopK(1), TopK(3), Rounded(2), LabelOnly()]
)
def test_no_variant_changes_whether_a_label_is_right(
    variant: OutputVariant, outputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    found = released_signals((variant,), *outputs)
    assert torch.equal(found["correct"], correct(*outputs))


@pytest.mark.parametrize("temperature", [0.25, 3.0])
def test_temperature_changes_no_predicted_class(
    temperature: float, outputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    logits, _ = outputs
    assert torch.equal(Temperature(temperature).logits(logits).argmax(1), logits.argmax(1))


def test_nothing_is_lost_where_nothing_is_hidden(
    outputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    logits, labels = outputs
    # With one class hidden, what the others leave of 1 is its own.
    for variant in (TopK(7), TopK(6), Temperature(1), TopK(100)):
        found = released_signals((variant,), logits, labels)
        for name, rule in SIGNALS.items():
            torch.testing.assert_close(found[name], rule(logits, labels), rtol=1e-12, atol=1e-12)


def test_rounding_to_fifteen_digits_changes_nothing(
    outputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    logits, labels = outputs
    kept = logits.softmax(1).amin(1) > 1e-7
    assert kept.sum() > 300
    found = Rounded(15).logits(logits)
    torch.testing.assert_close(
        phi(found[kept], labels[kept]), phi(logits[kept], labels[kept]), rtol=0, atol=2e-8
    )


def test_of_hidden_classes_only_their_sum_is_known(
    outputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    logits, _ = outputs
    p, shown = logits.softmax(1), TopK(2).logits(logits).softmax(1)
    values, at = p.topk(2, dim=1)
    torch.testing.assert_close(shown.gather(1, at), values, rtol=1e-12, atol=0)
    hidden = torch.ones_like(p, dtype=torch.bool).scatter(1, at, False)
    share = p[hidden].reshape(-1, 5).mean(1, keepdim=True)
    torch.testing.assert_close(shown[hidden].reshape(-1, 5), share.expand(-1, 5), rtol=1e-9, atol=0)
    # Never above the least probability that is shown.
    assert bool((share <= values[:, 1:] + 1e-12).all())
    # Hidden classes moved among themselves look the same.
    order = logits.topk(7)
    swapped = logits.scatter(1, order.indices[:, [5, 6]], order.values[:, [6, 5]])
    torch.testing.assert_close(TopK(2).logits(swapped), TopK(2).logits(logits))


def test_exact_zeros_and_ones_give_finite_signals() -> None:
    logits = torch.tensor([[90.0, 0.0, 0.0], [90.0, 0.0, 0.0], [0.1, 0.0, 0.05]])
    labels = torch.tensor([0, 2, 1])
    found = released_signals((Rounded(2),), logits, labels)
    assert all(bool(torch.isfinite(v).all()) for v in found.values())
    # 1 and 0 are shown: the two zeros share a quarter of a step.
    assert float(found["phi"][0]) == pytest.approx(math.log(1 / 0.0025))
    assert float(found["phi"][1]) == pytest.approx(math.log(0.00125 / 1.00125))
    # .35, .32, .33 are shown.
    assert float(found["phi"][2]) == pytest.approx(math.log(0.32 / 0.68))


def test_zeros_share_what_the_others_leave() -> None:
    p = torch.tensor([[0.55, 0.43, 0.011, 0.009]], dtype=torch.float64)
    # .6 and .4, rather .5 and .4 where halves go to even, leave nothing or .1.
    p[0, 0], p[0, 1] = 0.56, 0.42
    shown = Rounded(1).logits(p.log()).exp()[0]
    assert shown.tolist() == pytest.approx([0.6, 0.4, 0.0125, 0.0125])
    p = torch.tensor([[0.64, 0.32, 0.02, 0.02]], dtype=torch.float64)
    assert Rounded(1).logits(p.log()).exp()[0].tolist() == pytest.approx([0.6, 0.3, 0.05, 0.05])


def test_masked_outputs_stay_masked() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -torch.inf]])
    for variant in (TopK(1), Rounded(2), Temperature(2)):
        assert float(variant.logits(logits)[0, 3]) == -torch.inf


def test_label_only_is_the_gap(outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    found = released_signals((LabelOnly(), Temperature(3)), *outputs)
    assert set(found) == {"correct", "loss"}
    assert torch.equal(found["loss"], 1 - correct(*outputs))


def test_the_order_in_which_they_are_passed_says_nothing(
    outputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    one = released_signals((Rounded(2), TopK(3), Temperature(2)), *outputs)
    other = released_signals((Temperature(2), TopK(3), Rounded(2)), *outputs)
    assert all(torch.equal(one[k], other[k]) for k in SIGNALS)


@pytest.mark.parametrize(
    "make", [lambda: Temperature(0.0), lambda: TopK(0), lambda: Rounded(16), lambda: Rounded(-1)]
)
def test_values_that_mean_nothing_are_refused(make: object) -> None:
    with pytest.raises(InputError, match="expected"):
        make()  # type: ignore[operator]
