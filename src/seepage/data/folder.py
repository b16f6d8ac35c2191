"""Images in folders: one sub-folder per class, optionally below train/ and test/."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from seepage.array_types import AnyArray
from seepage.data.reading import Part, Raw, reading
from seepage.errors import InputError

__all__ = ["read_folder"]

_SUFFIXES = (".png", ".jpg", ".jpeg")
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_GREY = {"1", "L", "LA"}


def read_folder(path: Path, size: tuple[int, int] | None) -> Raw:
    """PNG and JPEG files of `path`/class/... or `path`/{train,test}/class/...

    Classes are the sub-folders in sorted order, ids the paths inside `path`. Pictures become
    uint8 (N, 1, H, W) when all are grey, else (N, 3, H, W); transparency is dropped. All must have
    one size unless size (H, W) is given, to which they are then resampled (bilinear).
    """
    split = {p: path / p for p in ("train", "test") if (path / p).is_dir()}
    if set(split) != {"train", "test"}:
        split = {"train": path}
    listed = {part: _list(base) for part, base in split.items()}
    classes = tuple(sorted(listed["train"]))
    for part, found in listed.items():
        if tuple(sorted(found)) != classes:
            other = sorted(set(found) ^ set(classes))[0]
            raise InputError(
                f"{split[part]}: expected the same class folders as train, they differ in "
                f"{other!r}; add or remove it"
            )
    if len(classes) < 2:
        raise InputError(
            f"{path}: expected a folder per class, at least two, got {len(classes)}; "
            "sort the images into class folders"
        )
    files = {
        part: [(k, f) for k, c in enumerate(classes) for f in found[c]]
        for part, found in listed.items()
    }
    every = [f for pairs in files.values() for _, f in pairs]
    grey, shape = _survey(every, size)
    parts = {}
    for part, pairs in files.items():
        inputs = np.empty((len(pairs), 1 if grey else 3, *shape), dtype=np.uint8)
        for row, (_, file) in enumerate(pairs):
            inputs[row] = _pixels(file, grey, shape)
        parts[part] = Part(
            inputs,
            np.array([k for k, _ in pairs], dtype=np.int64),
            np.array([f.relative_to(path).as_posix() for _, f in pairs], dtype=np.str_),
        )
    return Raw(parts, classes, path.name, "image")


def _list(base: Path) -> dict[str, list[Path]]:
    with reading(base, "a folder of class folders"):
        folders = sorted(d for d in base.iterdir() if d.is_dir() and not d.name.startswith("."))
        found = {
            d.name: sorted(
                f
                for f in d.rglob("*")
                if f.suffix.lower() in _SUFFIXES and f.is_file() and not f.name.startswith(".")
            )
            for d in folders
        }
    for name, files in found.items():
        if not files:
            raise InputError(
                f"{base / name}: expected .png or .jpg files, got none; "
                "remove the folder or add images"
            )
    return found


def _open(file: Path) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError as error:
        raise InputError(
            f"{file}: expected a PNG or JPEG image, got something else; remove or replace it"
        ) from error


def _survey(files: list[Path], size: tuple[int, int] | None) -> tuple[bool, tuple[int, int]]:
    """Whether all are grey, and their common (H, W), from the headers alone."""
    grey, shape, first = True, size, files[0]
    for file in files:
        with reading(file, "a PNG or JPEG image"), warnings.catch_warnings():
            # Pillow warns of pictures so large that they look like an attack.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                with _open(file) as image:
                    mode, (width, height) = image.mode, image.size
            except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
                raise InputError(
                    f"{file}: expected an image of ordinary size, got one of over "
                    f"{Image.MAX_IMAGE_PIXELS} pixels; shrink it"
                ) from error
        if mode not in _MODES:
            raise InputError(
                f"{file}: expected 8 bits per channel, got mode {mode}; convert it to 8 bits"
            )
        grey = grey and mode in _GREY
        if size is not None:
            continue
        if shape is None:
            shape, first = (height, width), file
        elif shape != (height, width):
            raise InputError(
                f"{file}: expected {shape[1]}x{shape[0]} pixels like {first.name}, got "
                f"{width}x{height}; pass size=(height, width) to resample all"
            )
    assert shape is not None
    return grey, shape


def _pixels(file: Path, grey: bool, shape: tuple[int, int]) -> AnyArray:
    with reading(file, "a whole PNG or JPEG image"), _open(file) as image:
        try:
            plain = image.convert("RGBA") if image.mode in ("P", "PA") else image
            plain = plain.convert("L" if grey else "RGB")
            if plain.size != (shape[1], shape[0]):
                plain = plain.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
            pixels = np.asarray(plain)
        except (SyntaxError, ValueError) as error:
            raise InputError(
                f"{file}: expected a whole PNG or JPEG image, got a corrupt one; replace it"
            ) from error
    return pixels[None] if grey else pixels.transpose(2, 0, 1)
