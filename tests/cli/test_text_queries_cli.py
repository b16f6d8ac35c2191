"""`seepage attack` asking kept language models about neighbours of texts and texts after others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import seepage
from seepage.cli import app
from seepage.plan import half_split


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("asked")
    rng = np.random.default_rng(0)
    made = ["".join(rng.choice(list("abcd"), rng.integers(4, 13))) for _ in range(40)]
    (place / "notes.txt").write_text("\n".join(made))
    data = seepage.load(place / "notes.txt", task="language", context=12)
    seepage.train(
        data,
        half_split(len(data), models=6, seed=0),
        out=place / "run",
        model=seepage.Model(name="gpt", options={"width": 16, "depth": 1, "heads": 2}),
        recipe=seepage.Recipe(epochs=2, batch=8, precision="fp32"),
        checkpoints=[0, 2],
        executor="inline",
        keep="final",
    )
    return place / "run"


def test_kept_models_are_asked_and_what_it_takes_is_said(folder: Path) -> None:
    given = ["-a", "neighbourhood-calibrated", "-a", "recall", "--option", "copies=2"]
    done = CliRunner().invoke(app, ["attack", str(folder), *given, "--json"])
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)["attacks"]
    assert [r["attack"] for r in rows] == ["neighbourhood-calibrated", "recall"]
    assert all(0 < r["auc"]["mean"] < 1 for r in rows)
    # 3 questions about neighbours, 5 about prefixes.
    assert (
        "measuring neighbours, prefixes on kept weights: 6 models × 40 samples × 8" in done.stderr
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["-a", "recall", "--option", "prefixes=0"], "prefixes: expected at least 1, got 0"),
        (["-a", "recall", "--option", "share=2"], "share: expected a share of the length"),
        (["-a", "recall", "--option", "prefixes=1.5"], "prefixes: expected int, got 1.5"),
        (["-a", "neighbourhood", "--option", "copies=0"], "copies: expected at least 1"),
        (
            ["-a", "neighbourhood", "-a", "recall", "--option", "share=0.1"],
            "write neighbours.share or prefixes.share",
        ),
        (["-a", "merlin"], "it is measured on classes, and this run is of the task language"),
        (["-a", "recall", "--budget", "10 queries"], "--budget: expected attacks that take at"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    folder: Path, given: list[str], told: str
) -> None:
    done = CliRunner().invoke(app, ["attack", str(folder), *given])
    text = f"{done.stderr}{done.exception}"
    assert done.exit_code != 0
    assert told in text
