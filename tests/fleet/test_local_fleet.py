"""Workers on this machine: fresh or forked, the user's own code, crashes, failed runs."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.errors import InputError
from seepage.fleet import FleetError, pool_files
from seepage.fleet.pool_files import held_folder, sweep
from seepage.plan import half_split
from seepage.record import Recorder
from tiny_fleet import FACTORY, contents, fleet, importable, table


def test_fresh_interpreters_and_forked_workers_give_the_same_bits(
    trained: Path, tmp_path: Path
) -> None:
    fleet(tmp_path / "run", model=importable)
    assert contents(tmp_path / "run", "signals") == contents(trained, "signals")


def test_the_users_training_function(tmp_path: Path) -> None:
    data = table()
    plan = half_split(len(data), models=4, seed=1)
    seen = []

    def train(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
        assert members.tolist() in [plan.members(r).tolist() for r in range(4)]
        model = nn.Linear(4, 3)
        with torch.no_grad():
            model.weight.zero_()
            model.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
        recorder.start(model, steps_per_epoch=2)
        for _ in range(2):
            recorder.step_end()
            recorder.epoch_end()
        seen.append(seed)
        return model

    # It trains nothing, of which it would be warned.
    own = seepage.Function(function=train, check=False)
    run = fleet(tmp_path / "run", data=data, plan=plan, function=own, signals=("loss",))
    wanted = np.where(data.labels.numpy() == 0, 1.0, 0.0) - np.log(np.e + 2)
    np.testing.assert_allclose(-run.signal("loss")[3, 2], wanted, rtol=1e-6)
    assert not seen, "workers are processes of their own"


def test_an_error_in_the_users_code_comes_with_its_traceback(tmp_path: Path) -> None:
    def train(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
        raise RuntimeError("no such optimiser")

    with pytest.raises(FleetError, match=r"(?s)Traceback.*no such optimiser"):
        fleet(tmp_path / "run", function=train)


def test_a_training_function_that_never_looks_is_told_so(tmp_path: Path) -> None:
    def train(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
        model = importable()
        recorder.start(model)
        return model

    with pytest.raises(InputError, match="expected the loop to reach epoch 2, it ended at 0"):
        fleet(tmp_path / "run", function=train, checkpoints=[0, 2])


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected .* to return a torch.nn.Module, got str"):
        fleet(tmp_path / "run", model=lambda: "network")


def test_a_worker_that_dies_costs_its_run_only(trained: Path, tmp_path: Path) -> None:
    flag = tmp_path / "died"
    third = int(half_split(48, models=4, seed=1).seeds[2]) % 2**63

    def dies_once() -> nn.Module:
        if torch.initial_seed() == third and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return importable()

    fleet(tmp_path / "run", model=dies_once, workers=2)
    assert flag.exists()
    assert contents(tmp_path / "run", "signals") == contents(trained, "signals")


def test_a_worker_that_always_dies_ends_with_one_line(tmp_path: Path) -> None:
    parent = os.getpid()

    def dies() -> nn.Module:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return importable()

    with pytest.raises(InputError, match=r"worker processes died 3 times at run 0; they may"):
        fleet(tmp_path / "run", model=dies)


def test_workers_that_die_as_they_start_do_not_go_on_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seepage.fleet import fork_server

    monkeypatch.setattr(fork_server, "_ENTRY", "raise SystemExit(1)")
    with pytest.raises(InputError, match="died 3 times as they started"):
        fleet(tmp_path / "run", model=importable)


def test_a_diverged_run_is_marked_and_the_others_go_on(tmp_path: Path) -> None:
    from seepage.attacks import LOSS
    from seepage.report import write_report

    plan = half_split(48, models=6, seed=1)
    bad = int(plan.seeds[3]) % 2**63
    kept = ("loss", "phi", "correct")

    def diverges() -> nn.Module:
        model = importable()
        if torch.initial_seed() == bad:
            with torch.no_grad():
                model[2].weight.fill_(1e38)
        return model

    run = fleet(tmp_path / "run", plan=plan, model=diverges, checkpoints=[2], signals=kept)
    assert run.models.tolist() == [0, 1, 2, 4, 5]
    assert list(run.failed) == [3]
    assert "loss not finite at step 1" in run.failed[3]
    assert run.signal("phi").shape == (5, 1, 48)
    np.testing.assert_array_equal(run.member, plan.member[[0, 1, 2, 4, 5]])
    record = json.loads((tmp_path / "run" / "records" / "00003.json").read_text())
    assert record["content"]["status"] == "failed"
    assert LOSS().leave_one_out({"loss": run.signal_at("loss", -1)}, run.member).shape == (5, 48)
    page = write_report(run, tmp_path / "report.html", attacks=[LOSS()])
    assert "loss not finite at step 1" in Path(page).read_text()
    # Asking again trains nothing: a failed run has ended.
    before = contents(tmp_path / "run")
    fleet(tmp_path / "run", plan=plan, model=diverges, checkpoints=[2], signals=kept)
    assert contents(tmp_path / "run") == before


def test_the_number_of_workers_changes_nothing(trained: Path, tmp_path: Path) -> None:
    fleet(tmp_path / "run", workers=3)
    assert contents(tmp_path / "run", "signals", "plan", "data", "weights") == contents(
        trained, "signals", "plan", "data", "weights"
    )


def test_shards_into_one_folder_are_the_whole(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fleet(out, shard=(2, 3))
    assert sorted(p.name for p in (out / "records").iterdir()) == ["00001.json"]
    fleet(out, shard=(1, 3))
    run = fleet(out, shard=(3, 3))
    assert run.models.tolist() == [0, 1, 2, 3]
    assert contents(out, "signals", "plan", "data", "weights") == contents(
        trained, "signals", "plan", "data", "weights"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": (4, 3)}, "shard: expected i/n with 1 <= i <= n, got 4/3"),
        ({"keep": "some"}, r"record\.keep: input should be 'none', 'final' or 'all', got 'some'"),
        (
            {"device": "tpu"},
            r"execution\.device: input should be 'auto', 'cpu' or 'cuda', got 'tpu'",
        ),
        ({"plan": half_split(47, models=4)}, r"as many samples as the data has \(48\), got 47"),
        ({"plan": half_split(48, models=4), "data": table(2)}, "plan: expected as many"),
        ({"data": table(3), "plan": half_split(3, models=2)}, "at least 2 members in every run"),
        ({"model": "tiny_fleet:nothing"}, "expected 'nothing' in 'tiny_fleet', found none"),
        ({"model": 3}, "expected a name or a function that returns a torch.nn.Module, got 3"),
    ],
)
def test_bad_values_leave_no_folder(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fleet(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_what_a_killed_process_left_in_memory_is_swept(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        with held_folder(tmp_path) as folder:
            (folder / "pixels.npy").write_bytes(b"x" * 10)
            os.write(theirs, b".")
            time.sleep(600)
    assert os.read(ours, 1) == b"."
    (left,) = tmp_path.iterdir()
    (tmp_path / "seepage-notes").mkdir()
    with held_folder(tmp_path) as mine:
        sweep(tmp_path)
        assert left.exists(), "its owner lives"
        assert mine.exists()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        sweep(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([mine, tmp_path / "seepage-notes"])
    assert [p.name for p in tmp_path.iterdir()] == ["seepage-notes"]


def test_a_folder_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    true = tempfile.mkdtemp

    def swept_at_once(**options: Any) -> str:
        made.append(Path(true(**options)))
        if len(made) < 3:
            sweep(tmp_path)
        return str(made[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", swept_at_once)
    with held_folder(tmp_path) as folder:
        assert folder == made[2]
        assert list(tmp_path.iterdir()) == [folder]


def test_where_there_are_no_locks_nothing_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", none)
    with held_folder(tmp_path) as folder:
        monkeypatch.undo()
        sweep(tmp_path)
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_beside_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = pool_files._make

    def noted(place: Path) -> tuple[Path, int | None]:
        made.append(make(place))
        return made[-1]

    monkeypatch.setattr(pool_files, "_make", noted)
    fleet(tmp_path / "run", model=FACTORY)
    assert len(made) == 1
    assert not made[0][0].exists()
    assert not list((tmp_path / "run").rglob("*.partial"))
    assert [p.name for p in (tmp_path / "run" / "locks").iterdir()] == []
    assert not (tmp_path / "run" / "state").exists() or not list(
        (tmp_path / "run" / "state").iterdir()
    )


def test_a_file_in_the_working_directory_stands_in_for_nothing_in_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh interpreter that is given a command searches its working directory first."""
    trace = tmp_path / "it-ran"
    for name in ("numpy", "zarr", "psutil"):
        (tmp_path / f"{name}.py").write_text(f"open({str(trace)!r}, 'w')\nraise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    run = fleet(tmp_path / "run", model="mlp", plan=half_split(48, models=2, seed=1))
    assert len(run.models) == 2
    assert not trace.exists()
