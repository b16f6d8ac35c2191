"""The pool as normalised batches: whole in memory on the device that trains, or read from its file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Int64Array
from seepage.data import Dataset, RowFile, most_bytes
from seepage.errors import InputError
from seepage.native.library import contiguous, kernel
from seepage.signals.tasks import task as task_named

__all__ = ["Resident", "View", "parse_views"]


def _cut_images(
    pixels: NDArray[np.uint8] | NDArray[np.float32],
    rows: Int64Array,
    dy: Int64Array,
    dx: Int64Array,
    flip: BoolArray,
    scale: NDArray[np.float32],
    shift: NDArray[np.float32],
) -> NDArray[np.float32]:
    """scale·(pixels[rows[b]] mirrored if flip[b], moved by (dy[b], dx[b])) + shift, float32.

    pixels (N, H, W, C) -> (B, H, W, C); what moves in from outside is pixel value 0.
    """
    height, width, channels = pixels.shape[1:]
    kind = {"|u1": "u1", "<f4": "f4"}.get(pixels.dtype.str)
    compiled = None
    if kind is not None:
        compiled = kernel(
            f"cut_images_{kind}", kind, "i8", "i8", "i8", "?", "f4", "f4", int, int, int, int, int,
            "f4",
        )  # fmt: skip
    if kind is not None and compiled is not None:
        if len(rows) and (rows.min() < 0 or rows.max() >= len(pixels)):
            raise IndexError(f"rows: expected 0 to {len(pixels) - 1}, got others")
        out = np.empty((len(rows), height, width, channels), np.float32)
        given = [
            contiguous(a, t) for a, t in ((pixels, kind), (rows, "i8"), (dy, "i8"), (dx, "i8"))
        ]
        given += [contiguous(a, t) for a, t in ((flip, "?"), (scale, "f4"), (shift, "f4"))]
        compiled(*given, height, width, channels, 0, len(rows), out)
        return out
    if not (dy.any() or dx.any() or flip.any()):
        return np.asarray(pixels[rows].astype(np.float32) * scale + shift)
    r, c = np.arange(height) + dy[:, None], np.arange(width) + dx[:, None]
    inside = ((r >= 0) & (r < height))[:, :, None] & ((c >= 0) & (c < width))[:, None, :]
    c = np.where(flip[:, None], width - 1 - c, c).clip(0, width - 1)[:, None, :]
    held = pixels[rows[:, None, None], r.clip(0, height - 1)[:, :, None], c].astype(np.float32)
    return np.where(inside[..., None], held * scale + shift, shift)


OnDevice = torch.Tensor | AnyArray

# Bytes of inputs up to which nobody asks how much memory is free.
_LARGE = 2**28


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

    On a CPU images lie as (N, H, W, C) and a kernel writes straight into channels-last
    order; on a GPU the same is done by index arithmetic on the device. `pixels` may be a shared
    or memory-mapped array: it is only read. A `RowFile` stays on its disk: each batch reads its rows,
    and on a GPU they cross as they are stored, so that the same rule makes the same bits of them.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8] | NDArray[np.float32] | RowFile,
        labels: Int64Array,
        device: torch.device | str = "cpu",
        *,
        task: str = "classification",
        targets: torch.Tensor | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.task = task_named(task)
        self.file = pixels if isinstance(pixels, RowFile) else None
        _, *rest = pixels.shape
        self.image = len(rest) == 3
        if self.image and (self.file is None or self.file.channels_last):
            rest = [rest[2], rest[0], rest[1]]
        self.shape: tuple[int, ...] = tuple(rest)
        self.labels_host = np.asarray(labels)
        self.labels = torch.from_numpy(self.labels_host).to(self.device)
        # What a model is asked for: distributions, label vectors or real numbers, or the labels.
        self.soft = targets is not None
        self.targets = self.labels if targets is None else targets.to(self.device)
        if self.task.name == "language":
            # What comes next in a document is in the document.
            self.targets = torch.from_numpy(np.asarray(pixels).astype(np.int32)).to(self.device)
        self.pixels = pixels
        self.on_device: torch.Tensor | None = None
        if self.device.type != "cpu" and not isinstance(pixels, RowFile):
            self.on_device = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)

    @staticmethod
    def layout(data: Dataset) -> NDArray[np.uint8] | NDArray[np.float32] | RowFile:
        """Inputs in the order that batches are cut from: images (N, H, W, C), tables (N, D)."""
        if data.file is not None:
            return data.file
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

    def on(self, device: torch.device | str) -> Resident:
        """The same pool on another device."""
        targets = self.targets if self.soft else None
        return Resident(self.pixels, self.labels_host, device, task=self.task.name, targets=targets)

    @property
    def width(self) -> int:
        """Columns of what a model is asked for: classes, labels, pieces, or 1 for a real target."""
        if self.task.name == "language":
            return int(self.targets.max()) + 1
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
            return _cut_on(self.on_device, rows, scale, shift, dy, dx, flip)
        pixels = self.pixels
        if isinstance(pixels, RowFile):
            self._check_room(len(rows))
            pixels = pixels.as_pixels(pixels.read(rows))
            rows = np.arange(len(rows))
            if self.device.type != "cpu":
                there = torch.from_numpy(pixels).to(self.device)
                return _cut_on(there, rows, scale, shift, dy, dx, flip)
        if not self.image:
            return torch.from_numpy(pixels[rows] * scale + shift)
        n = len(rows)
        out = _cut_images(
            pixels,
            rows,
            np.zeros(n, np.int64) if dy is None else dy,
            np.zeros(n, np.int64) if dx is None else dx,
            np.zeros(n, np.bool_) if flip is None else flip,
            scale,
            shift,
        )
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def gather(self, rows: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """`batch` without transforms for tensors: on a device nothing crosses to the host."""
        if self.on_device is not None:
            return _cut_on(self.on_device, rows, scale, shift)
        return self.batch(rows.cpu().numpy(), scale.cpu().numpy(), shift.cpu().numpy())

    def soon(self, rows: Int64Array) -> None:
        """`rows` will be asked for next: where they lie in a file the kernel may begin to read them."""
        if self.file is not None:
            self.file.advise(rows)

    def _check_room(self, count: int) -> None:
        """Refuse to normalise more at once than memory holds; batches are far below."""
        assert self.file is not None
        need = 4 * count * math.prod(self.shape)
        if need > _LARGE and need > 2 * most_bytes():
            raise InputError(
                f"{self.file.path}: expected inputs asked for in batches, got {count:,} at once, "
                f"{need >> 30} GiB as floats; leave out what needs the whole pool at once, or set "
                "data.limit"
            )


def _cut_on(
    pixels: torch.Tensor,
    rows: OnDevice,
    scale: OnDevice,
    shift: OnDevice,
    dy: OnDevice | None = None,
    dx: OnDevice | None = None,
    flip: OnDevice | None = None,
) -> torch.Tensor:
    """A batch of pixels that lie on a device, by that device."""

    def there(a: OnDevice | None) -> torch.Tensor | None:
        if a is None or isinstance(a, torch.Tensor):
            return None if a is None else a.to(pixels.device)
        return torch.from_numpy(np.ascontiguousarray(a)).to(pixels.device)

    at, s, b = there(rows), there(scale), there(shift)
    assert at is not None
    assert s is not None
    assert b is not None
    if pixels.ndim != 4:
        return pixels[at] * s + b
    return cut(pixels, at, s, b, there(dy), there(dx), there(flip))


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
