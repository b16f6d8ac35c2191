"""Files that are whole or not there, and what killed writers left of them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from seepage.errors import InputError
from seepage.store.files import replacing, write_text


def interrupted(path: Path) -> None:
    with replacing(path) as draft:
        draft.write_text("half")
        raise KeyboardInterrupt


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    old = os.umask(0o027)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted(path)
        assert path.read_text() == "old"
        with replacing(path) as draft:
            draft.write_text("new")
            assert path.read_text() == "old"
    finally:
        os.umask(old)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="expected a place that can be written"):
        replacing(path / "b.txt").__enter__()


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "report[1].html"
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        with replacing(path) as draft:
            draft.write_text("half")
            os.write(theirs, b".")
            time.sleep(600)
    assert os.read(ours, 1) == b"."
    (half,) = tmp_path.iterdir()
    kept = [tmp_path / ".report[1].html.old", tmp_path / ".report1.html.0123abcd"]
    for other in kept:
        other.write_text("another's")
    link = tmp_path / f".{path.name}.00000000"
    link.symlink_to(kept[0])
    write_text(path, "new")
    assert half.exists(), "its writer lives"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    write_text(path, "newer")
    assert sorted(tmp_path.iterdir()) == sorted([path, link, *kept])
    assert path.read_text() == "newer"
