"""Pools from PyTorch datasets and from Hugging Face's, in their own forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from seepage.data import from_torch
from seepage.errors import InputError


class Pictures(Dataset[Any]):
    """Grey pictures with class names, as torchvision's data sets are."""

    classes = ("cat", "dog")

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> Any:
        pixels = np.random.default_rng(i).integers(0, 200, (5, 5))
        pixels = pixels + (self.noise * torch.randn(5, 5)).numpy().astype(int)
        return Image.fromarray(pixels.astype(np.uint8)), i % 2


def test_pictures_become_bytes_with_their_names() -> None:
    data = from_torch(Pictures(), groups=[f"p{i // 3}" for i in range(12)])
    assert data.inputs.dtype == torch.uint8
    assert data.shape == (1, 5, 5)
    assert data.classes == ("cat", "dog")
    assert data.groups is not None
    part = from_torch(Subset(Pictures(), [0, 3, 4, 7]))
    assert part.classes == ("cat", "dog")
    assert torch.equal(part.inputs[1], data.inputs[3])


def test_a_random_transform_is_refused() -> None:
    with pytest.raises(InputError, match="expected the same input each time"):
        from_torch(Pictures(noise=30.0))


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from ()


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Endless(), "expected a map-style dataset"),
        ([], "expected at least one sample"),
        ([torch.zeros(2)], r"expected items \(input, label\), got Tensor at 0"),
        ([(torch.zeros(2), 0.5)], "expected a class number as label, got float '0.5'"),
        ([(torch.zeros(2), torch.tensor([0, 1]))], "expected a class number as label"),
        ([("a text", 0), ("another", 1)], "expected a tensor, an array or a picture"),
        ([(torch.zeros(2), 0), (torch.ones(3), 1)], r"inputs of one shape, got \(2,\) and \(3,\)"),
    ],
)
def test_what_is_no_pool(dataset: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_torch(dataset)


def test_tensors_of_every_width() -> None:
    y = torch.arange(8) % 2
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int32):
        x = torch.arange(24).reshape(8, 3).to(dtype)
        data = from_torch(TensorDataset(x, y))
        assert data.inputs.dtype == torch.float32
        assert data.inputs.tolist() == x.double().tolist()
    assert from_torch(TensorDataset(torch.arange(8.0), y)).shape == (1,)


def test_labels_of_other_tasks() -> None:
    x = torch.arange(8.0).reshape(4, 2)
    real = from_torch(TensorDataset(x, torch.tensor([0.5, 1.5, 2.0, 4.0])), task="regression")
    assert real.targets is not None
    assert real.targets.tolist() == [0.5, 1.5, 2.0, 4.0]
    marks = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]])
    several = from_torch(TensorDataset(x, marks), task="multi-label")
    assert several.targets is not None
    assert several.targets.tolist() == marks.tolist()
    with pytest.raises(InputError, match="expected numbers as label, got str 'a'"):
        from_torch([(x[0], "a")], task="regression")
