"""Folders of images, one sub-folder per class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seepage.data import load, reload
from seepage.errors import InputError

RNG = np.random.default_rng(0)


def picture(path: Path, shape: tuple[int, ...] = (6, 5, 3), mode: str | None = None) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, shape).astype(np.uint8)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return pixels


def test_classes_are_folders_and_ids_paths(tmp_path: Path) -> None:
    dog = picture(tmp_path / "dog" / "b.png")
    cat = picture(tmp_path / "cat" / "deep" / "a.png")
    picture(tmp_path / "cat" / "c.jpg")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    data = load(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.ids.tolist() == ["cat/c.jpg", "cat/deep/a.png", "dog/b.png"]
    assert data.labels.tolist() == [0, 0, 1]
    assert data.shape == (3, 6, 5)
    np.testing.assert_array_equal(data.inputs[1].numpy(), cat.transpose(2, 0, 1))
    np.testing.assert_array_equal(data.inputs[2].numpy(), dog.transpose(2, 0, 1))
    assert reload(data.source, data.digest) is not None


def test_grey_images_have_one_channel_unless_some_have_colour(tmp_path: Path) -> None:
    grey = picture(tmp_path / "a" / "1.png", (6, 5))
    picture(tmp_path / "b" / "1.png", (6, 5))
    data = load(tmp_path)
    assert data.shape == (1, 6, 5)
    np.testing.assert_array_equal(data.inputs[0, 0].numpy(), grey)
    picture(tmp_path / "b" / "2.png", (6, 5, 4))
    picture(tmp_path / "b" / "3.png", (6, 5, 3), "P")
    mixed = load(tmp_path)
    assert mixed.shape == (3, 6, 5)
    assert (mixed.inputs[0, 0] == mixed.inputs[0, 2]).all()


def test_train_and_test_folders_are_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("x", "y"):
            picture(tmp_path / part / name / "1.png")
    assert load(tmp_path).ids.tolist() == ["train/x/1.png", "train/y/1.png"]
    assert load(tmp_path, part="test").ids.tolist() == ["test/x/1.png", "test/y/1.png"]
    assert len(load(tmp_path, part="both")) == 4
    picture(tmp_path / "test" / "z" / "1.png")
    with pytest.raises(InputError, match=r"expected the same class folders as train.*'z'"):
        load(tmp_path)


def test_sizes_must_agree_or_be_given(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png", (6, 5, 3))
    picture(tmp_path / "b" / "1.png", (8, 5, 3))
    with pytest.raises(
        InputError, match=r"b/1\.png: expected 5x6 pixels like 1\.png, got 5x8; pass"
    ):
        load(tmp_path)
    data = load(tmp_path, size=(4, 3))
    assert data.shape == (3, 4, 3)
    assert reload(data.source, data.digest) is not None
    assert load(tmp_path, size=7).shape == (3, 7, 7)
    with pytest.raises(InputError, match=r"size: expected \(height, width\) of at least 1"):
        load(tmp_path, size=(0, 3))


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder per class, at least two, got 0"):
        load(tmp_path)
    picture(tmp_path / "a" / "1.png")
    with pytest.raises(InputError, match="expected a folder per class, at least two, got 1"):
        load(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match=r"b: expected \.png or \.jpg files, got none"):
        load(tmp_path)
    bad = tmp_path / "b" / "1.png"
    picture(bad)
    whole = bad.read_bytes()
    for content, match in [
        (b"", "1.png: expected a PNG or JPEG image, got something else"),
        (b"GIF? no", "1.png: expected a PNG or JPEG image, got something else"),
        (whole[: len(whole) // 2], "1.png: expected a whole PNG or JPEG image, got a"),
        (whole[:60] + bytes([whole[60] ^ 255]) + whole[61:], "1.png: expected a whole PNG or"),
    ]:
        bad.write_bytes(content)
        with pytest.raises(InputError, match=match):
            load(tmp_path)
    deep = np.arange(30, dtype=np.uint16).reshape(6, 5) * 1000
    Image.fromarray(deep).save(bad)
    with pytest.raises(InputError, match="expected 8 bits per channel, got mode I;16"):
        load(tmp_path)
    with pytest.raises(InputError, match="label: not an option for an image folder"):
        load(tmp_path, label="a")


def test_absurdly_large_pictures_are_refused_from_their_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        picture(tmp_path / name / "1.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(InputError, match="expected an image of ordinary size, got one of over 20"):
        load(tmp_path)


@pytest.mark.parametrize("suffix", ["webp", "bmp", "gif", "tif", "heic", "png.part", ""])
def test_pictures_of_other_forms_do_not_vanish(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        picture(tmp_path / name / "1.png")
    other = tmp_path / "b" / f"2.{suffix}".rstrip(".")
    other.write_bytes((tmp_path / "a" / "1.png").read_bytes())
    with pytest.raises(InputError, match=r"2.*: expected \.png, \.jpg or \.jpeg files, got"):
        load(tmp_path)
    other.rename(tmp_path / "b" / ".hidden")
    (tmp_path / "b" / ".checkpoints").mkdir()
    picture(tmp_path / "b" / ".checkpoints" / "3.png")
    (tmp_path / "b" / "Thumbs.db").write_bytes(b"x")
    assert load(tmp_path).ids.tolist() == ["a/1.png", "b/1.png"]


def test_a_picture_under_a_false_name_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / name / "1.png")
    with (tmp_path / "b" / "2.png").open("wb") as f:
        Image.new("RGB", (5, 6)).save(f, "GIF")
    with pytest.raises(InputError, match=r"2\.png: expected a PNG or JPEG image, got something"):
        load(tmp_path)


def test_links_and_pipes_do_not_vanish(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / name / "1.png")
    entry = tmp_path / "b" / "2.png"
    entry.symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(
        InputError, match=r"2\.png: expected a file or folder, got a link to nothing"
    ):
        load(tmp_path)
    entry.unlink()
    entry.symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match=r"2\.png: expected images .*, got a link to a folder"):
        load(tmp_path)
    entry.unlink()
    os.mkfifo(entry)
    with pytest.raises(InputError, match=r"2\.png: expected .* got a pipe, socket or device"):
        load(tmp_path)
    entry.unlink()
    entry.symlink_to(tmp_path / "a" / "1.png")
    assert len(load(tmp_path)) == 3


def test_parts_are_no_classes_and_nothing_lies_beside(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for name in ("x", "y"):
            picture(tmp_path / "d" / part / name / "1.png")
    with pytest.raises(InputError, match=r"expected a folder per class, or train and test .* val;"):
        load(tmp_path / "d")
    (tmp_path / "d" / "train").rename(tmp_path / "d" / "test")
    (tmp_path / "d" / "val").rename(tmp_path / "d" / "train")
    (tmp_path / "d" / "README.md").write_text("notes")
    assert len(load(tmp_path / "d", part="both")) == 4
    (tmp_path / "d" / "extra").mkdir()
    with pytest.raises(InputError, match="extra: expected nothing beside train and test, got a"):
        load(tmp_path / "d")
    (tmp_path / "d" / "extra").rmdir()
    picture(tmp_path / "d" / "train" / "1.png")
    with pytest.raises(InputError, match="expected images inside of class folders, got one beside"):
        load(tmp_path / "d")


def test_names_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / name / "1.png")
    try:
        os.rename(tmp_path / "b" / "1.png", os.fsencode(tmp_path / "b") + b"/\xff.png")
    except OSError:
        pytest.skip("this file system holds UTF-8 names alone")
    with pytest.raises(InputError, match="data: expected a name in UTF-8, got") as raised:
        load(tmp_path)
    str(raised.value).encode()
