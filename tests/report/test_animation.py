from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seepage.attacks import LiRA
from seepage.errors import InputError
from seepage.plane import Permuted, trajectories
from seepage.report import write_animation


def test_one_frame_per_checkpoint_and_the_way_between(findings: Any, tmp_path: Path) -> None:
    path = write_animation(findings, tmp_path / "plane.gif", size=240, between=2)
    with Image.open(path) as gif:
        times = len(findings.checkpoints)
        assert gif.n_frames == times + 2 * (times - 1)
        gif.seek(0)
        first = np.asarray(gif.convert("RGB"), dtype=int)
        gif.seek(gif.n_frames - 1)
        last = np.asarray(gif.convert("RGB"), dtype=int)
    # The planted samples end in the upper left corner, where at first nobody is.
    corner = (slice(36, 80), slice(54, 100))
    red = (last[corner][..., 0] - last[corner][..., 2] > 60).sum()
    assert red > 20
    assert (first[corner][..., 0] - first[corner][..., 2] > 60).sum() < red / 2


def test_trajectories_will_do_and_draw_the_same(run: Any, findings: Any, tmp_path: Path) -> None:
    paths = trajectories(run, attack=LiRA(), null=Permuted(draws=0))
    a = write_animation(paths, tmp_path / "a.gif", size=200, between=0)
    b = write_animation(findings, tmp_path / "b.gif", size=200, between=0)
    assert a.read_bytes() == b.read_bytes()


def test_bad_names_and_sizes(findings: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a name that ends in \.gif, got 'plane\.png'"):
        write_animation(findings, tmp_path / "plane.png")
    with pytest.raises(InputError, match="expected at least 200 pixels"):
        write_animation(findings, tmp_path / "plane.gif", size=20)
    with pytest.raises(InputError, match="expected a place that can be written"):
        write_animation(findings, tmp_path / "absent" / "plane.gif", size=200, between=0)
