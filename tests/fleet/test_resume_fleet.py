"""Whatever ends a fleet, the same call goes on and ends in the same bits; anything else is refused."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.errors import CorruptStore, InputError
from seepage.fleet import Silent
from seepage.fleet.repair import remove_left_over
from seepage.plan import half_split
from seepage.record import Recorder
from seepage.store.liveness import process_table
from tiny_fleet import FACTORY, RECIPE, contents, fleet, linear, table

KEPT = ("signals", "plan", "data", "weights")


class Interrupt(Silent):
    """Ctrl-C at a given event."""

    def __init__(self, at: tuple[str, int, float]) -> None:
        self.at = at

    def progress(self, row: int, epoch: float) -> None:
        if self.at == ("progress", row, epoch):
            raise KeyboardInterrupt

    def done(self, row: int, record: dict[str, Any]) -> None:
        if self.at == ("done", row, 0.0):
            raise KeyboardInterrupt


def interrupted(out: Path, *at: Any, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        fleet(out, watcher=Interrupt(at), **options)
    assert [p.name for p in (out / "locks").iterdir()] == []


def test_between_runs(trained: Path, tmp_path: Path) -> None:
    interrupted(tmp_path / "run", "done", 1, 0.0)
    assert len(list((tmp_path / "run" / "records").iterdir())) in (2, 3)
    assert fleet(tmp_path / "run").models.tolist() == [0, 1, 2, 3]
    assert contents(tmp_path / "run", *KEPT) == contents(trained, *KEPT)


def dying(folder: Path, damage: bool) -> Any:
    """The network, whose first training process is killed in its second epoch.

    The lives leave their numbers of training steps in `folder`.
    """
    folder.mkdir()
    state = folder.parent / "run" / "state" / "00000.safetensors"
    steps, parent = 0, os.getpid()

    class Dying(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal steps
            # The process that starts the fleet looks at the network once, and trains nothing.
            if self.training and torch.is_grad_enabled() and os.getpid() != parent:
                steps += 1
                (folder / str(os.getpid())).write_text(str(steps))
                if steps == 5 and len(list(folder.iterdir())) == 1:
                    if damage:
                        raw = bytearray(state.read_bytes())
                        raw[-3] ^= 4
                        state.write_bytes(raw)
                    os.kill(os.getpid(), 9)
            return super().forward(x)

    return lambda: Dying(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("damage", [False, True])
def test_in_the_middle_of_a_run(trained: Path, tmp_path: Path, damage: bool) -> None:
    lives = tmp_path / "lives"
    run = fleet(tmp_path / "run", model=dying(lives, damage), save_every=0.0)
    # Four runs of two epochs of three steps; the saved epoch is not trained twice.
    assert sorted(int(p.read_text()) for p in lives.iterdir()) == [5, 24 if damage else 21]
    assert contents(Path(run.path), "signals", "plan", "data") == contents(
        trained, "signals", "plan", "data"
    )
    assert not list((tmp_path / "run" / "state").iterdir())


def test_a_finished_folder_is_left_as_it_is(copied: Path) -> None:
    before = contents(copied)
    fleet(copied)
    assert contents(copied) == before


def train_again(folder: Path) -> None:
    fleet(folder)


def look_for_damage(folder: Path) -> None:
    remove_left_over(str(folder))


@pytest.mark.parametrize("command", [train_again, look_for_damage])
def test_what_was_left_of_a_finished_folder_goes(
    copied: Path, command: Callable[[Path], None]
) -> None:
    before = contents(copied)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    owner = {"token": "0" * 32, "state": "held", "table": process_table(), "pid": child.pid,
             "started": "1", "heartbeat": 0.0, "shard": None}  # fmt: skip
    left = {
        f"locks/{'0' * 32}.json": json.dumps(owner),
        "state/00002.safetensors": "of a run that has ended",
        "state/00003-stage-1.safetensors": "of a run that has ended",
        ".manifest.json.0.partial": "half",
    }
    for name, text in left.items():
        (copied / name).parent.mkdir(exist_ok=True)
        (copied / name).write_text(text)
    command(copied)
    assert contents(copied) == before
    assert not any((copied / name).exists() for name in left)


def user(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
    raise AssertionError("never called: the folder is refused first")


CHANGES: dict[str, dict[str, Any]] = {
    "data": {"data": table(seed=9)},
    "plan": {"plan": half_split(48, models=4, seed=2)},
    "recipe.lr": {"recipe": seepage.Recipe(**RECIPE | {"lr": 0.2})},
    "recipe.batch": {"recipe": seepage.Recipe(**RECIPE | {"batch": 9})},
    "model.digest": {"model": lambda: nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3))},
    "model.name": {"model": "mlp"},
    "function": {"function": user},
    "checkpoints": {"checkpoints": [0, 2]},
    "signals": {"signals": ("phi", "loss")},
    "logits": {"logits": True},
}


@pytest.mark.parametrize("field", CHANGES)
def test_another_configuration_is_refused_by_the_name_of_the_field(
    copied: Path, field: str
) -> None:
    before = contents(copied)
    with pytest.raises(InputError, match="holds runs of another configuration") as caught:
        fleet(copied, **CHANGES[field])
    assert f" {field} is " in str(caught.value) or "more)" in str(caught.value)
    assert contents(copied) == before


def test_a_folder_of_earlier_defaults_keeps_its_signals(tmp_path: Path) -> None:
    """The entropy is a default since: what was begun without it is finished without it."""
    earlier = ("loss", "phi", "correct", "mentr")
    fleet(tmp_path / "run", signals=earlier, rows=[0, 1], checkpoints=[2])
    given: dict[str, Any] = {"data": table(), "plan": half_split(48, models=4, seed=1)}
    given |= {"model": FACTORY, "recipe": seepage.Recipe(**RECIPE), "checkpoints": [2]}
    run = seepage.train(**given, out=tmp_path / "run", executor="inline", device="cpu")
    assert len(run.models) == 4
    assert set(run.signals) == set(earlier)
    with pytest.raises(InputError, match="signals is without entropy there, which is configured"):
        fleet(tmp_path / "run", signals=(*earlier, "entropy"), checkpoints=[2])
    new = seepage.train(**given, out=tmp_path / "new", executor="inline", device="cpu")
    assert set(new.signals) == {*earlier, "entropy"}


def test_the_code_of_the_users_model_is_part_of_the_key(tmp_path: Path) -> None:
    def first() -> nn.Module:
        return nn.Linear(4, 3)

    def second() -> nn.Module:
        layer = nn.Linear(4, 3)
        nn.init.zeros_(layer.weight)
        return layer

    second.__qualname__ = first.__qualname__
    plan = half_split(48, models=2, seed=1)
    fleet(tmp_path / "run", model=first, plan=plan, checkpoints=[0, 2])
    with pytest.raises(InputError, match=r"model\.digest is "):
        fleet(tmp_path / "run", model=second, plan=plan, checkpoints=[0, 2])


class Journal:
    """What a disk was asked for, in order, by all processes of a fleet; see `surviving`."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        fsync, replace, mkdir, unlink = os.fsync, Path.replace, Path.mkdir, Path.unlink

        def note(*what: str) -> None:
            line = (json.dumps(what) + "\n").encode()
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(fd, line)
            os.close(fd)

        def fsynced(fd: int) -> None:
            fsync(fd)
            at = os.readlink(f"/proc/self/fd/{fd}")
            if os.path.isdir(at):
                note("folder", at)
            else:
                note("file", at, base64.b64encode(Path(at).read_bytes()).decode())

        def replaced(self: Path, target: Path) -> Path:
            note("rename", str(self), str(target))
            return replace(self, target)

        def made(self: Path, *args: Any, **options: Any) -> None:
            mkdir(self, *args, **options)
            note("make", str(self))

        def unlinked(self: Path, *args: Any, **options: Any) -> None:
            note("unlink", str(self))
            unlink(self, *args, **options)

        monkeypatch.setattr(os, "fsync", fsynced)
        monkeypatch.setattr(Path, "replace", replaced)
        monkeypatch.setattr(Path, "mkdir", made)
        monkeypatch.setattr(Path, "unlink", unlinked)

    def events(self) -> list[list[str]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def surviving(events: list[list[str]], root: Path) -> dict[str, bytes]:
    """Files under `root` after power is lost, the disk keeping nothing that was not synced.

    A file's bytes are kept once it was synced, a name (new, renamed or removed) once its folder
    was; a folder whose own name was not kept is lost with all that is in it.
    """
    now: dict[str, dict[str, Any]] = {}
    kept: dict[str, dict[str, Any]] = {}

    def folder(path: str) -> dict[str, Any]:
        return now.setdefault(os.path.dirname(path), {})

    for kind, path, *more in events:
        name = os.path.basename(path)
        if kind == "file":
            folder(path)[name] = base64.b64decode(more[0])
        elif kind == "make":
            folder(path)[name] = None
        elif kind == "unlink":
            folder(path).pop(name, None)
        elif kind == "rename":
            folder(more[0])[os.path.basename(more[0])] = folder(path).pop(name)
        elif kind == "folder":
            kept[path] = dict(now.get(path, {}))
    found: dict[str, bytes] = {}

    def walk(path: str) -> None:
        for name, value in kept.get(path, {}).items():
            inner = f"{path}/{name}"
            if value is None:
                walk(inner)
            else:
                found[inner] = value

    top = kept.get(str(root.parent), {})
    if root.name in top:
        walk(str(root))
    return found


def test_power_loss_at_any_moment(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with monkeypatch.context() as patch:
        journal = Journal(tmp_path / "journal", patch)
        fleet(disk / "run", save_every=0.0, workers=2)
    events = journal.events()
    assert contents(disk / "run", *KEPT) == contents(trained, *KEPT)
    # With nothing lost the model of the disk is the disk.
    whole = surviving(events, disk / "run")
    assert {k for k in whole if "/signals/" in k} == {
        str(p) for p in (disk / "run" / "signals").rglob("*") if p.is_file()
    }
    rng = random.Random(0)
    moments = [*rng.sample(range(1, len(events)), 3), len(events) - 1]
    for moment in moments:
        shutil.rmtree(disk / "run", ignore_errors=True)
        for path, raw in surviving(events[:moment], disk / "run").items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(raw)
        # The owner is this very process here; after a power loss it is dead.
        for place in ("locks", "locks-founding"):
            shutil.rmtree(disk / "run" / place, ignore_errors=True)
        fleet(disk / "run", save_every=0.0)
        assert contents(disk / "run", *KEPT) == contents(trained, *KEPT), f"at event {moment}"


def test_a_folder_that_was_damaged_while_it_waited_is_refused(copied: Path) -> None:
    record = copied / "records" / "00002.json"
    record.write_bytes(record.read_bytes().replace(b"done", b"dome"))
    with pytest.raises(CorruptStore, match=r"records/00002.json: its bytes are not those"):
        fleet(copied, model=FACTORY)


def test_two_closures_of_one_text_are_one_model(copied: Path) -> None:
    fleet(copied, model=linear())
