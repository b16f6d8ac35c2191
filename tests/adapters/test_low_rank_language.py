"""Low-rank adapters of a causal model, from a start of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import seepage
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
