"""What a report says of the evidence it rests on: its digest, what is missing, copies, epochs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from seepage.attacks import LOSS
from seepage.data import CopiesWarning, from_arrays
from seepage.findings import collect
from seepage.fleet.imported import import_arrays
from seepage.plan import half_split
from seepage.report import write_report
from seepage.store import open_run
from seepage.store.verify import verify
from tiny_fleet import fleet

QUICK = {"attacks": (LOSS(),), "permutations": 1, "blind": False}


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_a_report_prints_the_digest_that_verify_recomputes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    fleet(out, plan=half_split(48, models=6, seed=1), signals=("loss", "phi", "correct"))
    run = open_run(out)
    page = write_report(run, tmp_path / "r.html", findings=collect(run, **QUICK)).read_text()
    digest = verify(out).digest
    assert f"SHA-256 {digest} over manifest, plan, pool and the records of 6 of 6" in text_of(page)
    told = json.loads((tmp_path / "r.json").read_text())["evidence"]
    assert told == {"digest": digest, "planned": 6, "missing": [], "copies": 0}
    assert "are missing" not in page

    (out / "records" / "00005.json").unlink()
    (out / "records" / "00004.json").unlink()
    run = open_run(out)
    page = write_report(run, tmp_path / "r.html", findings=collect(run, **QUICK)).read_text()
    assert "2 of 6 planned runs are missing and in no figure" in text_of(page)
    assert f"SHA-256 {verify(out).digest} over" in text_of(page)
    assert "records of 4 of 6 planned" in text_of(page)
    assert json.loads((tmp_path / "r.json").read_text())["evidence"]["missing"] == [4, 5]


def test_a_report_says_that_copies_hide_leakage(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 4)).astype(np.float32)
    data = from_arrays(np.concatenate([x, x]), np.tile(rng.integers(0, 2, 24), 2))
    plan = half_split(48, models=4, seed=0)
    with pytest.warns(CopiesWarning):
        fleet(tmp_path / "run", data=data, plan=plan, signals=("loss", "phi", "correct"))
    run = open_run(tmp_path / "run")
    split = run.manifest["data"]["copies"]["split"]
    assert split > 0
    page = write_report(run, tmp_path / "r.html", findings=collect(run, **QUICK)).read_text()
    assert f"{split} of 48 samples have an exact copy that other runs train on" in text_of(page)


def test_checkpoints_without_epochs_are_numbered(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    member = half_split(60, models=8, seed=0).member
    phi = (rng.normal(size=(8, 2, 60)) + 3 * member[:, None]).astype(np.float32)
    np.savez(tmp_path / "theirs.npz", member=member, phi=phi)
    run = import_arrays(tmp_path / "theirs.npz", tmp_path / "run")
    found = collect(run, permutations=1, blind=False)
    assert found.clock(run.checkpoints[0]) == "checkpoint 1"
    words = text_of(write_report(run, tmp_path / "r.html", findings=found).read_text())
    assert "checkpoint 1" in words
    assert "initialisation" not in re.sub(r"const .*", "", words).split("Made by seepage")[0]
    assert "epoch 1" not in words
    np.savez(tmp_path / "with.npz", member=member, phi=phi, checkpoints=[0, 5])
    run = import_arrays(tmp_path / "with.npz", tmp_path / "with")
    assert collect(run, permutations=1, blind=False).clock(0.0) == "initialisation"
