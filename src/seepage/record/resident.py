"""The pool, whole in memory on the device that trains, as normalised batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Int64Array
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.signals.tasks import task as task_named

__all__ = ["Resident", "View", "parse_views"]


@numba.njit(cache=True, nogil=True)
def _gather_images(
    pixels: AnyArray,
    rows: Int64Array,
    dy: Int64Array,
    dx: Int64Array,
    flip: BoolArray,
    scale: NDArray[np.float32],
    shift: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """out[b] = scale·(pixels[rows[b]] mirrored if flip[b], moved by (dy[b], dx[b])) + shift.

    pixels (N, H, W, C), out (B, H, W, C) float32; what moves in from outside is pixel value 0.
    """
    height, width, channels = pixels.shape[1:]
    for b in range(len(rows)):
        source = pixels[rows[b]]
        for r in range(height):
            from_r = r + dy[b]
            inside = 0 <= from_r < height
            for c in range(width):
                from_c = c + dx[b]
                if inside and 0 <= from_c < width:
                    if flip[b]:
                        from_c = width - 1 - from_c
                    for k in range(channels):
                        out[b, r, c, k] = (
                            np.float32(source[from_r, from_c, k]) * scale[k] + shift[k]
                        )
                else:
                    for k in range(channels):
                        out[b, r, c, k] = shift[k]


OnDevice = torch.Tensor | AnyArray


@dataclass(frozen=True)
class View:
    """A fixed transform under which samples are evaluated: mirrored, moved by (dy, dx) pixels."""

    flip: bool = False
    dy: int = 0
    dx: int = 0


def parse_views(names: Sequence[str]) -> tuple[View, ...]:
    """Views from their names: "identity", "flip", "shift:DY,DX", "flip+shift:DY,DX".

    The first must be the identity: single-view attacks read it.

    >>> parse_views(["identity", "shift:0,-2"])[1]
    View(flip=False, dy=0, dx=-2)
    """
    if not names or names[0] != "identity":
        raise InputError(
            f"views: expected 'identity' first, got {list(names)!r}; single-view attacks read it"
        )
    views = []
    for name in names:
        flip, dy, dx = False, 0, 0
        for part in name.split("+"):
            kind, _, values = part.partition(":")
            try:
                if kind == "shift":
                    dy, dx = (int(v) for v in values.split(","))
                elif kind == "flip" and not values:
                    flip = True
                elif kind != "identity" or values:
                    raise ValueError
            except ValueError:
                raise InputError(
                    f"views: expected 'identity', 'flip' or 'shift:DY,DX', got {name!r}"
                ) from None
        views.append(View(flip, dy, dx))
    return tuple(views)


class Resident:
    """Inputs and labels of a pool on one device; batches by index, one fused pass each.

    On a CPU images lie as (N, H, W, C) and a numba kernel writes straight into channels-last
    order; on a GPU the same is done by index arithmetic on the device. `pixels` may be a shared
    or memory-mapped array: it is only read.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8] | NDArray[np.float32],
        labels: Int64Array,
        device: torch.device | str = "cpu",
        *,
        task: str = "classification",
        targets: torch.Tensor | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.task = task_named(task)
        self.image = pixels.ndim == 4
        self.shape: tuple[int, ...] = (
            (pixels.shape[3], pixels.shape[1], pixels.shape[2]) if self.image else pixels.shape[1:]
        )
        self.labels_host = np.asarray(labels)
        self.labels = torch.from_numpy(self.labels_host).to(self.device)
        # What a model is asked for: distributions, label vectors or real numbers, or the labels.
        self.soft = targets is not None
        self.targets = self.labels if targets is None else targets.to(self.device)
        self.pixels = pixels
        self.on_device: torch.Tensor | None = None
        if self.device.type != "cpu":
            self.on_device = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)

    @staticmethod
    def layout(data: Dataset) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Inputs in the order that batches are cut from: images (N, H, W, C), tables (N, D)."""
        x = data.inputs
        if x.ndim == 4:
            x = x.permute(0, 2, 3, 1)
        if x.dtype != torch.uint8:
            x = x.float()
        array: NDArray[np.uint8] | NDArray[np.float32] = x.contiguous().numpy()
        return array

    @classmethod
    def of(cls, data: Dataset, device: torch.device | str = "cpu") -> Resident:
        """The pool of a dataset."""
        layout = cls.layout(data)
        return cls(layout, data.labels.numpy(), device, task=data.task, targets=data.targets)

    def moved(self, device: torch.device) -> Resident:
        """The same pool, of the same task, on another device."""
        targets = self.targets if self.soft else None
        return Resident(self.pixels, self.labels_host, device, task=self.task.name, targets=targets)

    @property
    def width(self) -> int:
        """Columns of what a model is asked for: classes, labels, or 1 for a real target."""
        if self.soft:
            return 1 if self.targets.ndim == 1 else int(self.targets.shape[1])
        return int(self.labels_host.max()) + 1

    def __len__(self) -> int:
        return len(self.labels_host)

    def batch(
        self,
        rows: Int64Array,
        scale: NDArray[np.float32],
        shift: NDArray[np.float32],
        *,
        dy: Int64Array | None = None,
        dx: Int64Array | None = None,
        flip: BoolArray | None = None,
    ) -> torch.Tensor:
        """Normalised inputs of `rows`: (B, C, H, W) channels-last or (B, D), float32."""
        rows = np.asarray(rows, dtype=np.int64)
        if self.on_device is not None:
            return self._on_device(rows, scale, shift, dy, dx, flip)
        if not self.image:
            return torch.from_numpy(self.pixels[rows] * scale + shift)
        n = len(rows)
        out = np.empty((n, *self.pixels.shape[1:]), dtype=np.float32)
        _gather_images(
            self.pixels,
            rows,
            np.zeros(n, np.int64) if dy is None else np.ascontiguousarray(dy),
            np.zeros(n, np.int64) if dx is None else np.ascontiguousarray(dx),
            np.zeros(n, np.bool_) if flip is None else flip,
            scale,
            shift,
            out,
        )
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def gather(self, rows: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """`batch` without transforms for tensors: on a device nothing crosses to the host."""
        if self.on_device is not None:
            return self._on_device(rows, scale, shift)
        return self.batch(rows.numpy(), scale.numpy(), shift.numpy())

    def _on_device(
        self,
        rows: OnDevice,
        scale: OnDevice,
        shift: OnDevice,
        dy: OnDevice | None = None,
        dx: OnDevice | None = None,
        flip: OnDevice | None = None,
    ) -> torch.Tensor:
        assert self.on_device is not None

        def there(a: OnDevice | None) -> torch.Tensor | None:
            if a is None or isinstance(a, torch.Tensor):
                return None if a is None else a.to(self.device)
            return torch.from_numpy(np.ascontiguousarray(a)).to(self.device)

        at, s, b = there(rows), there(scale), there(shift)
        assert at is not None
        assert s is not None
        assert b is not None
        if not self.image:
            return self.on_device[at] * s + b
        return cut(self.on_device, at, s, b, there(dy), there(dx), there(flip))


def cut(
    pixels: torch.Tensor,
    rows: torch.Tensor,
    scale: torch.Tensor,
    shift: torch.Tensor,
    dy: torch.Tensor | None,
    dx: torch.Tensor | None,
    flip: torch.Tensor | None,
) -> torch.Tensor:
    """The kernel's rule in tensor operations, for devices: (N, H, W, C) -> (B, C, H, W)."""
    if dy is None and dx is None and flip is None:
        return (pixels[rows].float() * scale + shift).permute(0, 3, 1, 2)
    height, width = pixels.shape[1:3]
    r = torch.arange(height, device=pixels.device)[None, :]
    c = torch.arange(width, device=pixels.device)[None, :]
    from_r = r + (dy[:, None] if dy is not None else 0)
    from_c = c + (dx[:, None] if dx is not None else 0)
    from_r, from_c = from_r.expand(len(rows), -1), from_c.expand(len(rows), -1)
    inside = ((from_r >= 0) & (from_r < height))[:, :, None] & ((from_c >= 0) & (from_c < width))[
        :, None, :
    ]
    if flip is not None:
        from_c = torch.where(flip[:, None], width - 1 - from_c, from_c)
    x = pixels[
        rows[:, None, None], from_r.clamp(0, height - 1)[:, :, None],
        from_c.clamp(0, width - 1)[:, None, :],
    ]  # fmt: skip
    x = x.float() * inside[..., None]
    return (x * scale + shift).permute(0, 3, 1, 2)
