"""Samples as people see them: pixels of an image, or the cells of a row."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seepage.data import Dataset

__all__ = ["Exhibit", "exhibit", "pixels", "png_uri"]


@dataclass(frozen=True)
class Exhibit:
    """What the report shows of one sample: a PNG as data URI, or its most telling cells."""

    picture: str | None
    cells: tuple[tuple[str, str], ...] = ()


def pixels(data: Dataset, row: int) -> NDArray[np.uint8]:
    """One image as (H, W) grey or (H, W, 3) colour, uint8; floats are stretched to their range.

    One channel is grey; two, or more than three, are shown by their first one.
    """
    x = data.inputs[row].numpy()
    if x.dtype != np.uint8:
        x = x.astype(np.float64)
        low, high = float(x.min()), float(x.max())
        x = np.rint((x - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    return np.ascontiguousarray(x.transpose(1, 2, 0) if x.shape[0] == 3 else x[0])


def png_uri(picture: NDArray[np.uint8]) -> str:
    """A uint8 image (H, W) or (H, W, 3) as a PNG data URI."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def exhibit(data: Dataset, row: int, *, cells: int = 8) -> Exhibit:
    """The picture of a sample, or the `cells` columns in which it lies farthest from the pool.

    A one-hot column counts only where it is on. Distance is in standard deviations of the pool.
    """
    if data.kind == "image":
        return Exhibit(png_uri(pixels(data, row)))
    x = data.inputs.numpy().astype(np.float64)
    names = data.columns or tuple(f"column {k}" for k in range(x.shape[1]))
    spread = x.std(axis=0)
    far = np.abs(x[row] - x.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    if data.numeric is not None:
        far = np.where(~data.numeric & (x[row] == 0), -1.0, far)
    chosen = np.sort(np.argsort(-far, kind="stable")[:cells])
    return Exhibit(None, tuple((names[k], f"{x[row, k]:.4g}") for k in chosen))
