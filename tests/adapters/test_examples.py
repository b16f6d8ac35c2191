"""The examples of the adapters run as they stand, on data that is there, and stay short."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import seepage

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "figure", "pages"),
    [
        ("lightning_loop.py", r"epoch 15: RMIA AUC (0\.\d+)", ["lightning.html"]),
        ("text_classifier.py", r"paragraphs, RMIA AUC (0\.\d+)", ["texts.html"]),
        ("xgboost_models.py", r"LiRA AUC (0\.\d+)", ["xgboost.html", "one-of-xgboost.html"]),
    ],
)
def test_an_example(tmp_path: Path, name: str, figure: str, pages: list[str]) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) < 60
    source = os.pathsep.join([str(Path(seepage.__file__).parents[1]), *sys.path])
    told = subprocess.run(
        [sys.executable, str(EXAMPLES / name), str(tmp_path)], check=False, capture_output=True,
        text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-2000:]
    found = re.search(figure, told.stdout)
    assert found, told.stdout
    assert float(found.group(1)) > 0.55
    assert all((tmp_path / page).exists() for page in pages)
