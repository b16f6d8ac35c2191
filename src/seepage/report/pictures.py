"""Samples as people see them: pixels of an image, or the cells of a row."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from seepage.array_types import Int64Array
from seepage.data import Dataset

__all__ = ["Exhibit", "exhibits", "pixels", "png_uri"]


@dataclass(frozen=True)
class Exhibit:
    """What the report shows of one sample: a PNG as data URI, or its most telling cells."""

    picture: str | None
    cells: tuple[tuple[str, str], ...] = ()


def pixels(data: Dataset, rows: Int64Array) -> NDArray[np.uint8]:
    """Images at `rows`: (n, H, W) grey or (n, H, W, 3) colour, uint8.

    Floats, and integers that use less than half of 0..255 anywhere in the pool, are stretched to
    the pool's range. One channel is grey; two, or more than three, are shown by their first one.
    """
    low, high = float(data.inputs.min()), float(data.inputs.max())
    x = data.inputs[torch.from_numpy(np.asarray(rows, dtype=np.int64))].numpy()
    if x.dtype != np.uint8 or high < 128:
        low = 0.0 if low >= 0 else low
        x = np.rint((x.astype(np.float32) - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1) if x.shape[1] == 3 else x[:, 0])


def png_uri(picture: NDArray[np.uint8]) -> str:
    """A uint8 image (H, W) or (H, W, 3) as a PNG data URI."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def exhibits(data: Dataset, rows: Int64Array, *, cells: int = 8) -> list[Exhibit]:
    """Pictures of samples, or the `cells` columns in which each lies farthest from the pool.

    A one-hot column counts only where it is on. Distance is in standard deviations of the pool.
    """
    if data.kind == "image":
        return [Exhibit(png_uri(p)) for p in pixels(data, rows)]
    x = data.inputs.numpy().astype(np.float64)
    names = data.columns or tuple(f"column {k}" for k in range(x.shape[1]))
    mean, spread = x.mean(axis=0), x.std(axis=0)
    shown = []
    for row in rows.tolist():
        far = np.abs(x[row] - mean) / np.where(spread > 0, spread, np.inf)
        if data.numeric is not None:
            far = np.where(~data.numeric & (x[row] == 0), -1.0, far)
        chosen = np.sort(np.argsort(-far, kind="stable")[:cells])
        shown.append(Exhibit(None, tuple((names[k], f"{x[row, k]:.4g}") for k in chosen)))
    return shown
