"""Pools from the real `datasets` and the real torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset

from seepage.data import from_hugging_face, from_torch, load
from seepage.errors import InputError

datasets = pytest.importorskip("datasets")

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 7, 5, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def split() -> Any:
    """Pictures, numbers, text and who they are of."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["no", "yes"]),
            "who": datasets.Value("string"),
            "age": datasets.Value("int64"),
            "size": datasets.Value("float32"),
            "text": datasets.Value("string"),
            "marks": datasets.List(datasets.Value("int64")),
        }
    )
    columns = {
        "image": [Image.fromarray(p) for p in PIXELS],
        "label": [0, 1, 1, 0, 1, 0],
        "who": list("aabbcc"),
        "age": [30, 41, 52, 63, 74, 85],
        "size": [0.5, 1.0, 2.0, 3.0, 4.0, 5.0],
        "text": ["a word"] * 6,
        "marks": [[0, 1], [1, 0], [1, 1], [0, 0], [0, 1], [1, 0]],
    }
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.mark.parametrize("form", [None, "torch", "numpy", "arrow", "pandas"])
def test_a_split_of_hugging_face(split: Any, form: str | None) -> None:
    shown = split.with_format(form)
    data = from_hugging_face(shown, inputs="image", label="label", group="who")
    assert data.inputs.dtype == torch.uint8
    np.testing.assert_array_equal(data.inputs.permute(0, 2, 3, 1).numpy(), PIXELS)
    assert data.classes == ("no", "yes")
    assert data.labels.tolist() == [0, 1, 1, 0, 1, 0]
    assert data.groups is not None
    assert data.groups.tolist() == list("aabbcc")
    table = from_hugging_face(shown, inputs=["age", "size"], label="label", id_column="age")
    assert table.columns == ("age", "size")
    assert table.inputs[1].tolist() == [41.0, 1.0]
    assert table.ids[0] == "30"


def test_parts_lists_and_other_tasks_of_hugging_face(split: Any) -> None:
    chosen = from_hugging_face(split.select([5, 1, 2]), inputs="image", label="label")
    np.testing.assert_array_equal(chosen.inputs[0].permute(1, 2, 0).numpy(), PIXELS[5])
    numbers = datasets.Dataset.from_dict({"x": [[1.0, 2.0], [3.0, 4.0]], "y": ["ill", "well"]})
    assert from_hugging_face(numbers, inputs="x", label="y").classes == ("ill", "well")
    several = from_hugging_face(split, inputs="age", label="marks", task="multi-label")
    assert several.targets is not None
    assert several.targets[2].tolist() == [1.0, 1.0]
    real = from_hugging_face(split, inputs="age", label="size", task="regression")
    assert real.targets is not None
    assert real.targets[0] == 0.5


def test_what_is_refused_of_hugging_face(split: Any) -> None:
    def refused(message: str, given: Any, inputs: Any = "age", **options: Any) -> None:
        with pytest.raises(InputError, match=message):
            from_hugging_face(given, inputs=inputs, label="label", **options)

    both = datasets.DatasetDict(train=split, test=split)
    refused(r"expected one split, got train, test; pass dataset\['train'\]", both)
    refused("got IterableDataset, a stream", split.to_iterable_dataset())
    refused("got text; turn it into numbers", split, "text")
    refused("expected a column 'ages'", split, "ages")
    refused("expected unique ids, got 'a' 2 times", split, id_column="who")
    refused("expected at least one row", split.select([]))
    gaps = datasets.Dataset.from_dict({"age": [1, None, 3], "label": [0, 1, 0]})
    refused("got none at item 1; leave such samples out", gaps)
    gaps = datasets.Dataset.from_dict({"age": [1, 2, 3], "label": [0, None, 0]})
    refused("got none in row 1 of column 'label'", gaps)
    uneven = datasets.Dataset.from_dict({"age": [[1, 2], [3]], "label": [0, 1]})
    refused(r"inputs of one shape, got \(1,\) and \(2,\)", uneven)


@pytest.fixture(scope="module")
def vision() -> Any:
    """torchvision, where it is installed and fits the torch that is."""
    try:
        import torchvision.datasets
        import torchvision.transforms
    except (ImportError, RuntimeError) as e:
        pytest.skip(f"torchvision: {e}")
    return torchvision


def idx(path: Path, values: np.ndarray) -> None:
    """An array as the official files of MNIST hold it."""
    head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def test_the_mnist_of_torchvision_is_ours(tmp_path: Path, vision: Any) -> None:
    rng = np.random.default_rng(1)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 30), ("t10k", 20)):
        idx(raw / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (n, 28, 28)))
        idx(raw / f"{part}-labels-idx1-ubyte", np.arange(n) % 10)
    theirs = from_torch(vision.datasets.MNIST(tmp_path, train=False))
    ours = load("mnist", root=tmp_path, part="test")
    assert torch.equal(theirs.inputs, ours.inputs)
    assert torch.equal(theirs.labels, ours.labels)
    assert theirs.classes[3] == "3 - three"


def test_other_data_of_torchvision(tmp_path: Path, vision: Any) -> None:
    transforms = vision.transforms

    def fake(*steps: Any) -> Any:
        transform = transforms.Compose(steps) if steps else None
        return vision.datasets.FakeData(20, (3, 8, 6), num_classes=4, transform=transform)

    whole = from_torch(fake())
    assert whole.shape == (3, 8, 6)
    assert whole.inputs.dtype == torch.uint8
    scaled = from_torch(fake(transforms.ToTensor()))
    assert torch.allclose(scaled.inputs * 255, whole.inputs.float())
    with pytest.raises(InputError, match="expected the same input each time"):
        from_torch(fake(transforms.RandomHorizontalFlip(0.3), transforms.ToTensor()))
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for k in range(3):
            Image.fromarray(PIXELS[k]).save(tmp_path / name / f"{k}.png")
    folder = vision.datasets.ImageFolder(tmp_path)
    pictures = from_torch(folder)
    assert pictures.classes == ("cat", "dog")
    assert torch.equal(pictures.inputs, load(tmp_path).inputs)
    part = from_torch(Subset(folder, [0, 4]))
    assert part.classes == ("cat", "dog")
    assert torch.equal(part.inputs[1], pictures.inputs[4])
