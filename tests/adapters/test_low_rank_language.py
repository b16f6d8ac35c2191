"""Low-rank adapters of a causal model, from a start of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import seepage
from seepage.cli import app
from seepage.config import LowRank, Start
from seepage.config.prepare import set_apart
from seepage.data import from_texts
from seepage.fleet.pretrained import started


def test_adapters_of_a_causal_model_leave_its_start_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    recipe = seepage.Recipe(epochs=1, batch=8, optimizer="adamw", lr=5e-3, precision="fp32")
    data = from_texts([f"this is text {i}" for i in range(40)], context=16)
    pool, apart = set_apart(data, 16, 0, "start.samples")
    model = seepage.Model(
        name="gpt",
        options={"width": 16, "depth": 1, "heads": 2},
        adapter=LowRank(rank=2, alpha=4.0),
    )
    start, out = Start(samples=16, recipe=recipe), str(tmp_path / "run")
    run = seepage.train(
        pool,
        seepage.half_split(len(pool), models=2, seed=0),
        out=out,
        model=started(start, apart, model, out, seepage.Execution()),
        recipe=recipe,
        checkpoints=[0, 1],
        executor="inline",
        keep="all",
    )
    first, last = run.weights(0, 0), run.weights(0, 1)
    assert first is not None
    assert last is not None
    moved = {k for k in first if not torch.equal(first[k], last[k])}
    assert moved
    assert all("lora" in k for k in moved)
    held = [run.records[r]["digests"]["token_logp"] for r in run.models.tolist()]
    assert held[0][0] == held[1][0]
    assert held[0][1] != held[1][1]


STUDY = """
kind = "language"
runs = "runs"
results = "results"
page = "page.md"
attacks = ["loss", "lira"]
course = ["lira"]
[base]
data = { name = "python-topics", task = "language", context = 16, long = "split", limit = 60, copies = "drop" }
plan = { models = 6 }
model = { name = "gpt", options = { width = 8, depth = 1, heads = 2 } }
recipe = { epochs = 1, batch = 8, optimizer = "adamw", lr = 1e-2 }
record = { checkpoints = [0, 1] }
execution = { executor = "inline", device = "cpu" }
[base.start]
samples = 20
weights = "runs/full-start.safetensors"
recipe = { epochs = 1, batch = 8, optimizer = "adamw", lr = 1e-2 }
[fleets.full]
[fleets.low-rank]
model = { adapter = { rank = 2 } }
"""


def test_a_study_puts_adapters_beside_all_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(STUDY)
    result = CliRunner().invoke(app, ["study", "study.toml"])
    assert result.exit_code == 0, result.output
    full, low = (
        json.loads(Path(f"results/{fleet}-facts.json").read_text())
        for fleet in ("full", "low-rank")
    )
    # One start for both: at epoch 0 they answer alike, of members and of others.
    assert low["losses"][0] == pytest.approx(full["losses"][0], abs=1e-3)
    assert low["losses"][-1] != full["losses"][-1]
    page = Path("page.md").read_text()
    assert "adapters of rank 2" in page
    lines = [line for line in page.splitlines() if line.startswith("| `lira` |")]
    assert lines
