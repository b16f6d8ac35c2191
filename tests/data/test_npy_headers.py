"""Headers of .npy files that the standard library only warns of."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from seepage.data.mapped import map_npy
from seepage.errors import InputError


def test_an_escape_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    sound = io.BytesIO()
    np.save(sound, np.arange(6))
    place = tmp_path / "a.npy"
    place.write_bytes(sound.getvalue().replace(b"'descr'", b"'d\\scr'"))
    with pytest.raises(InputError, match=r"Cannot parse header: .*; save it again") as told:
        map_npy(place)
    assert "\n" not in str(told.value)
