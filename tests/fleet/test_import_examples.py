"""The examples of imports run as they stand, and say what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import seepage

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("checkpoints.py", "LiRA: AUC 0."),
        ("plain_loop.py", "LiRA: AUC 0."),
        (
            "reference_arrays.py",
            "phi, loss, correct, mentr, entropy: derived from logits and labels",
        ),
    ],
)
def test_an_example(tmp_path: Path, name: str, line: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert len(text.splitlines()) < 60
    source = os.pathsep.join([str(Path(seepage.__file__).parents[1]), *sys.path])
    told = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            *("-W", "ignore:Call to deprecated"),  # numcodecs 0.15 says so of itself at its end
            *("-W", "ignore:Implicitly cleaning up"),  # and torch 2.6 of a folder of its own
            EXAMPLES / name,
            tmp_path,
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    )
    assert told.returncode == 0, told.stderr
    assert told.stderr == ""
    assert line in told.stdout
    assert (tmp_path / "report.html").exists()
    assert seepage.open(tmp_path / "run").verify() == []
