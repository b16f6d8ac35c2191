"""A byte flipped anywhere in a run folder is noticed, named, and brought back bit by bit."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from seepage.errors import CorruptStore, InputError
from seepage.fleet.repair import find_damage, forget
from seepage.plan import half_split
from seepage.store import open_run
from tiny_fleet import contents, fleet


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every file is looked at many times."""
    out = tmp_path_factory.mktemp("small") / "run"
    fleet(out, plan=half_split(48, models=2, seed=1), checkpoints=[0, 2])
    return out


def read_all(folder: Path) -> None:
    """Everything that a reader of a run folder ever reads."""
    run = open_run(folder)
    _ = run.member, run.labels, run.ids
    for name in run.signals:
        run.signal(name)
    for row in range(len(run.models)):
        assert run.weights(row) is not None


def flip(path: Path, rng: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)


def unread(key: str) -> bool:
    """Kept for repair and resume only: a reader has no use for them."""
    return key == "manifest.copy.json" or key.startswith("plan/seeds")


def test_a_flipped_byte_in_each_file_is_refused_by_name(small: Path) -> None:
    copied, files = small, contents(small)
    assert len(files) == 23
    rng = random.Random(0)
    read_all(copied)
    assert find_damage(str(copied)) == []
    for key, before in files.items():
        flip(copied / key, rng)
        assert find_damage(str(copied)) == [key]
        if not unread(key):
            with pytest.raises(CorruptStore) as caught:
                read_all(copied)
            assert str(caught.value).startswith(f"{copied}/{key}: ")
            assert "seepage repair" in str(caught.value)
        (copied / key).write_bytes(before)


def test_an_absent_or_truncated_file_is_refused_by_name(small: Path) -> None:
    copied = small
    for key, before in contents(copied).items():
        if key.startswith(("records/", "manifest", "weights/")):
            continue
        for raw in (None, before[:-1]):
            (copied / key).unlink()
            if raw is not None:
                (copied / key).write_bytes(raw)
            assert key in find_damage(str(copied))
            if not unread(key):
                with pytest.raises(CorruptStore) as caught:
                    read_all(copied)
                assert str(caught.value).startswith(f"{copied}/{key}: ")
            (copied / key).write_bytes(before)


def facts(raw: bytes) -> bytes:
    """A record without what a clock put there."""
    return b"\n".join(
        line for line in raw.splitlines()
        if not line.strip().startswith((b'"seconds"', b'"looking"', b'"sha256"'))
    )  # fmt: skip


def test_repair_brings_everything_back(copied: Path) -> None:
    files = contents(copied)
    rng = random.Random(1)
    broken = [k for k in files if k != "manifest.copy.json"]
    for key in broken:
        flip(copied / key, rng)
    damage = find_damage(str(copied))
    # A run whose record is damaged is trained again whole: its chunks need no look.
    assert {k for k in broken if not k.startswith("signals/") or k.endswith("zarr.json")} == set(
        damage
    )
    forget(str(copied), damage)
    fleet(copied)
    after = contents(copied)
    assert after.keys() == files.keys()
    for key, raw in files.items():
        if key.startswith("records/"):
            assert facts(after[key]) == facts(raw), key
        else:
            assert after[key] == raw, key
    assert find_damage(str(copied)) == []


def test_repair_trains_only_the_runs_that_lost_something(copied: Path) -> None:
    files = contents(copied)
    flip(copied / "signals" / "phi" / "c" / "2" / "1" / "0", random.Random(2))
    flip(copied / "weights" / "00003" / "0002.safetensors", random.Random(2))
    damage = find_damage(str(copied))
    assert damage == ["signals/phi/c/2/1/0", "weights/00003/0002.safetensors"]
    digests = forget(str(copied), damage)
    assert sorted(digests) == [2, 3]
    assert len(digests[2]["phi"]) == 3
    run = fleet(copied)
    assert all(run.records[r]["digests"] == d for r, d in digests.items())
    after = contents(copied)
    same = {k for k in files if files[k] == after[k]}
    assert files.keys() - same <= {"records/00002.json", "records/00003.json"}
    np.testing.assert_array_equal(run.models, [0, 1, 2, 3])


def test_exchanged_chunks_are_found_by_their_digests(copied: Path) -> None:
    a, b = (copied / "signals" / "phi" / "c" / r / "2" / "0" for r in "01")
    held = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(held)
    wanted = ["signals/phi/c/0/2/0", "signals/phi/c/1/2/0"]
    assert find_damage(str(copied)) == wanted
    assert open_run(copied).verify() == wanted


def test_without_any_manifest_nothing_can_be_repaired(copied: Path) -> None:
    (copied / "manifest.json").unlink()
    flip(copied / "manifest.copy.json", random.Random(3))
    with pytest.raises(InputError, match="expected a manifest or its copy, both are lost"):
        find_damage(str(copied))
