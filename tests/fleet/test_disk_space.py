"""Space on disk is looked at before anything is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from seepage.config.model import as_model
from seepage.errors import StorageFailed
from seepage.fleet import disk
from seepage.fleet.disk import check_disk, disk_bytes, free_bytes, weights_bytes
from tiny_fleet import contents, fleet, importable


def used(folder: Path, *parts: str) -> int:
    files = (p for part in parts for p in (folder / part).rglob("*") if p.is_file())
    return sum(-(-p.stat().st_size // 4096) * 4096 for p in files if p.name != "zarr.json")


@pytest.mark.parametrize("keep", ["none", "final", "all"])
def test_the_estimate_is_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    seen: list[dict[str, int]] = []
    monkeypatch.setattr("seepage.fleet.start.check_disk", lambda where, parts: seen.append(parts))
    fleet(tmp_path / "run", keep=keep, logits=True)
    (parts,) = seen
    for part in ("signals", "weights"):
        assert parts[part] == used(tmp_path / "run", part)


def test_what_does_not_fit_is_refused_with_the_estimate_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda where: 65_536)
    with pytest.raises(StorageFailed) as raised:
        fleet(tmp_path / "deep/run", keep="all")
    # Four runs, three checkpoints: two signals and weights of one block each; one state.
    assert str(raised.value) == (
        f"{tmp_path}/deep/run: expected 148 KiB of free disk (96 KiB signals, 48 KiB weights, "
        "4 KiB states), got 64 KiB; make room, record fewer checkpoints or signals, or set "
        'record.keep = "none"'
    )
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_left_must_fit(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(copied, "signals", "weights")
    monkeypatch.setattr(disk, "free_bytes", lambda where: 0)
    fleet(copied)
    (copied / "records/00001.json").unlink()
    # Its chunks are there, of less than a block each.
    with pytest.raises(StorageFailed, match=r"expected \d+ KiB of free disk"):
        fleet(copied)
    shutil.rmtree(copied / "signals/phi/c/1")
    monkeypatch.setattr(disk, "free_bytes", lambda where: 40_000)
    fleet(copied)
    assert contents(copied, "signals", "weights") == before


def test_where_the_disk_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def usage(place: Path) -> Any:
        asked.append(place)
        return shutil._ntuple_diskusage(10, 5, 5)  # type: ignore[attr-defined]

    monkeypatch.setattr(disk.shutil, "disk_usage", usage)
    monkeypatch.chdir(tmp_path)
    assert free_bytes("not/there/yet") == 5
    assert free_bytes("s3://bucket/run") is None
    assert asked == [tmp_path]
    check_disk("s3://bucket/run", {"signals": 10**15})
    with pytest.raises(StorageFailed, match=r"expected 1.0 TiB of free disk"):
        check_disk("run", {"signals": 2**40})


def test_weights_are_counted_without_touching_the_random_state() -> None:
    before = torch.random.get_rng_state()
    assert weights_bytes(as_model(importable), (4,), 3) == 4 * (4 * 8 + 8 + 8 * 3 + 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert disk_bytes({}, runs=0, times=3) == {"signals": 0, "weights": 0, "states": 0}
