"""What a loop gives its network and what is evaluated: another scale is seen, whatever it lies about."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seepage.errors import InputError
from seepage.record.seen_inputs import SeenInputs

ABOUT_0 = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
POSITIVE = ABOUT_0.abs()
SPARSE = (torch.rand(256, 40, generator=torch.Generator().manual_seed(1)) < 0.05).float()


def looked(trained: torch.Tensor, evaluated: torch.Tensor) -> None:
    seen, network = SeenInputs(), nn.Identity()
    seen.watch(network)
    for batch in trained.split(64):
        network(batch)
    seen.check(evaluated)


@pytest.mark.parametrize("values", [ABOUT_0, POSITIVE, SPARSE])
def test_another_scale_is_refused(values: torch.Tensor) -> None:
    looked(values, values)
    looked(values, values * 1.5)
    for factor in (10, 255, 0.1):
        more = factor if factor > 1 else 10
        with pytest.raises(InputError, match=rf"training and .* in evaluation, {more}( times| t)"):
            looked(values, values * factor)


def test_noise_and_crops_of_augmentation_are_not() -> None:
    looked(ABOUT_0 + torch.randn(256, 8), ABOUT_0)
    looked(ABOUT_0 * (torch.rand(256, 8) < 0.7), ABOUT_0)
