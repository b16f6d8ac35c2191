"""A run folder as its readers see it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import seepage
from seepage.errors import CorruptStore, InputError
from seepage.plan import half_split
from seepage.store import open_run
from seepage.store.arrays import chunk_digest
from tiny_fleet import FACTORY, table


def test_what_it_holds(trained: Path) -> None:
    run, data, plan = seepage.open(trained), table(), half_split(48, models=4, seed=1)
    assert run.path == str(trained)
    np.testing.assert_array_equal(run.member, plan.member)
    np.testing.assert_array_equal(run.models, np.arange(4))
    np.testing.assert_array_equal(run.checkpoints, [0.0, 0.5, 2.0])
    np.testing.assert_array_equal(run.labels, data.labels.numpy())
    assert run.labels.dtype == np.int64
    assert run.ids.tolist() == data.ids.tolist()
    assert run.classes == ("a", "b", "c")
    assert set(run.signals) == {"phi", "correct"}
    assert run.failed == {}
    assert run.data() is None, "arrays in memory cannot be found again"
    assert run.verify() == []
    assert "4 models × 3 checkpoints × 48 samples" in repr(run)


def test_a_stream_of_checkpoints_is_the_whole(trained: Path) -> None:
    run = open_run(trained)
    for name in run.signals:
        whole = run.signal(name)
        assert whole.shape == (4, 3, 48)
        assert whole.dtype == np.float32
        for t in (-3, -2, -1, 0, 1, 2):
            np.testing.assert_array_equal(run.signal_at(name, t), whole[:, t])
    np.testing.assert_array_equal(np.unique(run.signal("correct")), [0.0, 1.0])
    np.testing.assert_array_equal(run.signal("phi")[:, :, 0] > 0, run.signal("phi")[:, :, 0] > 0)


def test_the_kept_weights_give_the_recorded_signals(trained: Path) -> None:
    import torch

    from seepage.record import Memory, Recorder, Resident

    run, data = open_run(trained), table()
    weights = run.weights(2)
    assert weights is not None
    assert run.weights(2, 0) is None, "only the last checkpoint's are kept by default"
    model = FACTORY()
    model.load_state_dict(weights)
    memory = Memory()
    scale = data.member_scale(np.flatnonzero(run.member[2]))
    with torch.random.fork_rng(devices=[]):
        Recorder(Resident.of(data), [0.0], memory, signals=("phi",), scale=scale).start(model)
    np.testing.assert_array_equal(memory.values[0]["phi"], run.signal_at("phi", -1)[2])


def test_records_hold_the_digest_of_every_chunk(trained: Path) -> None:
    run = open_run(trained)
    for row in range(4):
        for name in run.signals:
            # What is stored of "correct" is a bool.
            kind = run.manifest["signals"][name]["dtype"]
            held = [chunk_digest(v.astype(kind)) for v in run.signal(name)[row]]
            assert run.records[row]["digests"][name] == held


@pytest.mark.parametrize("t", [3, -4])
def test_checkpoints_that_are_not_there(trained: Path, t: int) -> None:
    with pytest.raises(InputError, match=rf"t: expected a checkpoint index in 0..2, got {t}"):
        open_run(trained).signal_at("phi", t)


def test_unknown_signals(trained: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'phi'"):
        open_run(trained).signal("phy")


def test_folders_that_are_none(tmp_path: Path, copied: Path) -> None:
    with pytest.raises(InputError, match="expected a run folder, found none"):
        open_run(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected a run folder with a manifest.json"):
        open_run(tmp_path / "empty")


def test_another_format(copied: Path) -> None:
    from seepage.store.storage import Storage

    storage = Storage(copied, write=True)
    storage.put_json("manifest.json", storage.get_json("manifest.json") | {"format": 99})
    with pytest.raises(InputError, match="expected format 1 or 2, got 99"):
        open_run(copied)


def test_a_missing_chunk_of_a_complete_run_is_named(copied: Path) -> None:
    (copied / "signals" / "phi" / "c" / "3" / "1" / "0").unlink()
    with pytest.raises(CorruptStore, match=r"run/signals/phi/c/3/1/0: expected a chunk"):
        open_run(copied)


def test_only_complete_runs_are_seen(copied: Path) -> None:
    (copied / "records" / "00001.json").unlink()
    (copied / "signals" / "phi" / "c" / "1" / "2" / "0").unlink()
    run = open_run(copied)
    assert run.models.tolist() == [0, 2, 3]
    assert run.signal("phi").shape == (3, 3, 48)
    assert run.weights(1) is not None
    np.testing.assert_array_equal(run.member, run.plan_member[[0, 2, 3]])


def test_chunks_of_nothing_but_zeros_are_written(tmp_path: Path) -> None:
    from seepage.fleet.imported import import_arrays

    member = half_split(6, models=2).member
    np.savez(tmp_path / "a.npz", member=member, loss=np.zeros((2, 3, 6)))
    run = import_arrays(tmp_path / "a.npz", tmp_path / "run")
    assert run.verify() == []
    assert not run.signal("loss").any()


def test_arrays_of_another_tool(tmp_path: Path) -> None:
    from seepage.fleet.imported import import_arrays

    rng = np.random.default_rng(0)
    member = half_split(10, models=4).member
    phi, loss = rng.normal(size=(4, 2, 10)), rng.random((4, 2, 10, 3))
    source = tmp_path / "theirs.npz"
    np.savez(source, member=member, phi=phi, loss=loss, checkpoints=[1, 5])
    run = import_arrays(source, tmp_path / "run")
    np.testing.assert_array_equal(run.signal("phi"), phi.astype(np.float32))
    np.testing.assert_array_equal(run.signal("loss"), loss.astype(np.float32))
    np.testing.assert_array_equal(run.member, member)
    assert run.checkpoints.tolist() == [1.0, 5.0]
    with pytest.raises(
        InputError, match="expected a new or empty folder, got one that holds a run"
    ):
        import_arrays(source, tmp_path / "run")


ARRAYS = {"member": half_split(6, models=2).member, "phi": np.zeros((2, 3, 6))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"member": None}, "expected an array `member`"),
        ({"member": np.full((2, 6), 2)}, "member: expected 0 and 1"),
        ({"phi": None}, "expected at least one signal"),
        ({"phi": np.zeros((2, 3, 5))}, r"phi: expected shape \(2, checkpoints, 6"),
        ({"phi": np.full((2, 3, 6), np.nan)}, "phi: expected finite values"),
        ({"loss": np.zeros((2, 2, 6))}, "all with the same checkpoints"),
        ({"phi": np.array([[{}]], dtype=object)}, "'phi' holds objects"),
        ({"checkpoints": [1.0]}, "checkpoints: expected 3 epochs"),
        ({"labels": np.full(6, -1)}, "labels: expected"),
        ({"labels": [0, 1]}, "labels: expected"),
        ({"ids": list("aabcde")}, "ids: expected 6 different names, got 5"),
        ({"phi": np.array([["x"] * 6] * 2)}, "phi: expected numbers"),
    ],
)
def test_arrays_that_cannot_be_a_run(tmp_path: Path, change: dict, message: str) -> None:
    from seepage.fleet.imported import import_arrays

    content = {k: v for k, v in (ARRAYS | change).items() if v is not None}
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(InputError, match=message):
        import_arrays(tmp_path / "a.npz", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_files_that_are_no_archive(tmp_path: Path) -> None:
    from seepage.fleet.imported import import_arrays

    with pytest.raises(InputError, match=r"expected an \.npz file of arrays, found no such file"):
        import_arrays(tmp_path / "absent.npz", tmp_path / "run")
    for raw in (b"", b"PK\x03\x04 cut", json.dumps([1]).encode()):
        (tmp_path / "a.npz").write_bytes(raw)
        with pytest.raises(InputError, match=r"a.npz: expected an .npz file of arrays"):
            import_arrays(tmp_path / "a.npz", tmp_path / "run")
