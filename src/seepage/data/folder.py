"""Images in folders: one sub-folder per class, optionally below train/ and test/."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from seepage.array_types import AnyArray
from seepage.data.reading import Part, Raw, check_regular, one_line, reading
from seepage.errors import InputError
from seepage.local_paths import local_path

__all__ = ["read_folder"]

_SUFFIXES = (".png", ".jpg", ".jpeg")
_DECODERS = ("PNG", "JPEG")
# What lies beside pictures and is none; any other file might be one that a user counts on.
_BESIDE = (
    ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".ini",
    ".db", ".html", ".log", ".pdf", ".py", ".sh", ".sha256", ".md5",
)  # fmt: skip
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_GREY = {"1", "L", "LA"}


def read_folder(path: Path, size: tuple[int, int] | None, group: str | None = None) -> Raw:
    """PNG and JPEG files of `path`/class/... or `path`/{train,test}/class/...

    Classes are the sub-folders in sorted order, ids the paths inside `path`. Pictures become
    uint8 (N, 1, H, W) when all are grey, else (N, 3, H, W); transparency is dropped. All must have
    one size unless size (H, W) is given, to which they are then resampled (bilinear).

    group "folder": every picture lies in a folder of its subject below its class,
    class/subject/picture; the same name below two classes or in two parts is the same subject.

    Nothing that may be a picture is left out silently: files of other forms, links that lead
    nowhere or to folders, pictures outside of class folders and further parts beside train and
    test are refused by name. Hidden files and folders and notes (.txt, .json, ...) are skipped.
    """
    if group not in (None, "folder"):
        raise InputError(
            f'group: expected "folder" for a folder of images, CLASS/SUBJECT/picture, got {group!r}; '
            'pass group="folder" or leave it out'
        )
    split = {p: path / p for p in ("train", "test") if (path / p).is_dir()}
    if set(split) != {"train", "test"}:
        split = {"train": path}
    else:
        _check_beside(path, [*split])
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
            None
            if group is None
            else np.array([_subject(split[part], f) for _, f in pairs], dtype=np.str_),
        )
    return Raw(parts, classes, path.name, "image")


def _subject(base: Path, file: Path) -> str:
    inside = file.relative_to(base).parts
    if len(inside) < 3:
        raise InputError(
            f"{file}: expected a folder of its subject below the class, got a picture in the class "
            'folder itself; move it, or leave group="folder" out'
        )
    return inside[1]


def _list(base: Path) -> dict[str, list[Path]]:
    with reading(base, "a folder of class folders"):
        folders = _check_beside(base, None)
        if folders and {d.name.lower() for d in folders} <= _SPLITS:
            raise InputError(
                f"{base}: expected a folder per class, or train and test with one per class in "
                f"each, got {', '.join(d.name for d in folders)}; name one of them or rename them"
            )
        found = {d.name: sorted(_pictures(d)) for d in folders}
    for name, files in found.items():
        if not files:
            raise InputError(
                f"{base / name}: expected .png or .jpg files, got none; "
                "remove the folder or add images"
            )
    return found


def _check_beside(base: Path, only: list[str] | None) -> list[Path]:
    """The folders in `base`, those of `only` where it is given; refuses what else is no note."""
    folders = []
    for entry in sorted(base.iterdir()):
        if _kind(entry) == "folder":
            if only is not None and entry.name not in only:
                raise InputError(
                    f"{entry}: expected nothing beside {' and '.join(only)}, got a further folder, "
                    "which would not be read; remove or rename it"
                )
            folders.append(entry)
        elif _kind(entry) == "picture":
            raise InputError(
                f"{entry}: expected images inside of class folders, got one beside them; move it"
            )
    return folders


def _pictures(folder: Path) -> Iterator[Path]:
    waiting = [folder]
    while waiting:
        for entry in waiting.pop().iterdir():
            kind = _kind(entry)
            if kind == "picture":
                yield entry
            elif kind == "folder":
                if entry.is_symlink():
                    raise InputError(
                        f"{entry}: expected images and folders, got a link to a folder; move it "
                        "here"
                    )
                waiting.append(entry)


def _kind(entry: Path) -> Literal["folder", "picture", "skipped"]:
    """What an entry of a folder is; refused when it could be a picture that cannot be read."""
    shown = local_path(entry, "data")
    if entry.name.startswith("."):
        return "skipped"
    if not entry.exists():
        raise InputError(f"{shown}: expected a file or folder, got a link to nothing; remove it")
    if entry.is_dir():
        return "folder"
    suffix = entry.suffix.lower()
    if suffix in _BESIDE:
        return "skipped"
    check_regular(entry, "a PNG or JPEG image")
    if suffix not in _SUFFIXES:
        raise InputError(
            f"{shown}: expected .png, .jpg or .jpeg files, got {suffix or 'no suffix'!r}; convert "
            "or remove it"
        )
    return "picture"


def _open(file: Path) -> Image.Image:
    try:
        return Image.open(file, formats=_DECODERS)
    except UnidentifiedImageError as error:
        raise InputError(
            f"{file}: expected a PNG or JPEG image, got something else; remove or replace it"
        ) from error
    except (OSError, Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise
    except Exception as error:  # whatever the decoder says of a damaged header
        raise InputError(
            f"{file}: expected a PNG or JPEG image, got a corrupt one ({one_line(error)}); "
            "replace it"
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
        except OSError:
            raise
        except Exception as error:
            raise InputError(
                f"{file}: expected a whole PNG or JPEG image, got a corrupt one; replace it"
            ) from error
    return pixels[None] if grey else pixels.transpose(2, 0, 1)
