"""The plane over training as a picture to share: an animated GIF, drawn pixel by pixel."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seepage.array_types import FloatArray
from seepage.errors import InputError
from seepage.findings import Findings
from seepage.findings.clock import EPOCHS
from seepage.plane import Trajectories
from seepage.store.files import replacing

__all__ = ["write_animation"]


PAPER, INK, SOFT, RULE = (251, 250, 247), (28, 39, 48), (84, 98, 109), (217, 220, 216)
# From no advantage to full advantage at the end of training.
RAMP = np.array([(157, 184, 191), (63, 143, 155), (224, 147, 47), (179, 38, 30)], dtype=np.float64)


def write_animation(
    source: Findings | Trajectories,
    path: str | os.PathLike[str],
    *,
    size: int = 560,
    between: int = 6,
    seed: int = 0,
) -> Path:
    """Write the plane over training as an animated GIF.

    source: findings or trajectories. size: width in pixels. between: frames drawn on the way from
    one checkpoint to the next; they are drawn and not measured, and carry no epoch of their own.
    seed: of the places that samples with equal counts take inside their lattice cell. Colour is
    the advantage at the last checkpoint. *Reconstruction*: see `seepage.plane`.

    Raises InputError when the name does not end in .gif, or the place cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() != ".gif":
        raise InputError(f"path: expected a name that ends in .gif, got {target.name!r}")
    if size < 200 or between < 0:
        raise InputError(
            f"size, between: expected at least 200 pixels and 0 frames, got {size} and {between}"
        )
    fpr: FloatArray
    tpr: FloatArray
    fpr, tpr = source.paths.rates() if isinstance(source, Findings) else (source.fpr, source.tpr)
    counts = source.paths if isinstance(source, Findings) else source
    n_in, n_out = counts.n_in.astype(np.int64), counts.n_out.astype(np.int64)
    epochs = source.checkpoints
    clock = source.clock if isinstance(source, Findings) else EPOCHS
    known = np.isfinite(fpr).all(axis=0) & np.isfinite(tpr).all(axis=0)
    if not known.any():
        raise InputError("source: expected samples with both rates, got none; train more models")
    fpr, tpr = fpr[:, known], tpr[:, known]
    rng = np.random.default_rng(seed)
    inside = rng.uniform(-0.41, 0.41, (2, fpr.shape[1])) / np.stack([n_out[known], n_in[known]])
    colour = _ramp(tpr[-1] - fpr[-1])
    margin = min(0.55 / max(1, int(min(n_in[known].min(), n_out[known].min()))), 0.09)
    frames, rests = [], []
    for t in range(len(epochs)):
        frames.append(_frame(fpr[t], tpr[t], inside, colour, margin, size, clock(epochs[t])))
        rests.append(1600 if t == len(epochs) - 1 else 600)
        for k in range(1, between + 1) if t + 1 < len(epochs) else ():
            u = k / (between + 1)
            w = u * u * (3 - 2 * u)
            x = fpr[t] * (1 - w) + fpr[t + 1] * w
            y = tpr[t] * (1 - w) + tpr[t + 1] * w
            frames.append(_frame(x, y, inside, colour, margin, size, None))
            rests.append(60)
    # One palette for all frames: colours must not flicker.
    palette = frames[-1].quantize(128)
    drawn = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    with replacing(target) as draft:
        drawn[0].save(
            draft, format="GIF", save_all=True, append_images=drawn[1:], duration=rests, loop=0
        )
    return target


def _ramp(advantage: FloatArray) -> FloatArray:
    at = np.clip(np.asarray(advantage, dtype=np.float64) * 1.1, 0, 1) * (len(RAMP) - 1)
    return np.stack([np.interp(at, np.arange(len(RAMP)), RAMP[:, c]) for c in range(3)], axis=1)


def _frame(
    fpr: FloatArray,
    tpr: FloatArray,
    inside: FloatArray,
    colour: FloatArray,
    margin: float,
    size: int,
    time: str | None,
) -> Image.Image:
    left, top, below = 52, 34, 44
    side = size - left - 16
    height = top + side + below
    scale = side / (1 + 2 * margin)

    def place(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        return left + (x + margin) * scale, top + side - (y + margin) * scale

    # Every pixel mixes the colours of the points on it; more points make it more opaque.
    weight = np.zeros(height * size)
    mixed = np.zeros((height * size, 3))
    px, py = place(fpr + inside[0], tpr + inside[1])
    reach = 1 if len(fpr) > 4000 else 2
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            share = min(1.0, max(0.0, reach + 0.5 - float(np.hypot(dx, dy))))
            column = np.rint(px + dx).astype(np.int64)
            row = np.rint(py + dy).astype(np.int64)
            ok = (column >= 0) & (column < size) & (row >= 0) & (row < height)
            cell = row[ok] * size + column[ok]
            weight += share * np.bincount(cell, minlength=height * size)
            for c in range(3):
                mixed[:, c] += share * np.bincount(cell, colour[ok, c], minlength=height * size)
    opacity = 1 - np.power(0.35 if len(fpr) > 4000 else 0.12, weight)
    mean = mixed / np.maximum(weight, 1e-9)[:, None]
    pixels = np.array(PAPER) * (1 - opacity[:, None]) + mean * opacity[:, None]
    image = Image.fromarray(np.rint(pixels).astype(np.uint8).reshape(height, size, 3))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(13)
    one = np.array([0.0, 1.0])
    xs, ys = place(one, one)
    dashes = np.linspace(0, 1, 41)
    for a, b in zip(dashes[:-1:2], dashes[1::2], strict=True):
        draw.line(
            [
                (xs[0] + a * (xs[1] - xs[0]), ys[0] + a * (ys[1] - ys[0])),
                (xs[0] + b * (xs[1] - xs[0]), ys[0] + b * (ys[1] - ys[0])),
            ],
            fill=SOFT,
        )
    draw.rectangle((left, top, left + side, top + side), outline=RULE)
    for value in (0.0, 0.5, 1.0):
        x, y = place(np.array(value), np.array(value))
        draw.text((float(x), top + side + 5), f"{value:g}", fill=SOFT, font=font, anchor="mt")
        draw.text((left - 6, float(y)), f"{value:g}", fill=SOFT, font=font, anchor="rm")
    draw.text(
        (left + side / 2, height - 6),
        "false-positive rate of a sample",
        fill=SOFT,
        font=font,
        anchor="mb",
    )
    draw.text((left, top - 9), "true-positive rate of a sample", fill=SOFT, font=font, anchor="ls")
    if time is not None:
        draw.text(
            (left + side, top - 9), time, fill=INK, font=ImageFont.load_default(17), anchor="rs"
        )
    return image
