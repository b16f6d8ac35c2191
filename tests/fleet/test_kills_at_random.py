"""A hundred kills at random moments: training, sharded, defended or the user's own, repair, import,
report. The same command again ends in the bits of one that was left alone, and nothing else is left.

Each command is timed first; moments are drawn uniformly over its duration. A folder is hit one to
four times before the command is left to end. `-s` prints what was hit.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seepage.store.evidence import read_records
from seepage.store.storage import Storage
from seepage.store.verify import verify
from tiny_fleet import contents

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

KEPT = ("signals", "plan", "data", "weights")
CONFIG = """
[data]
name = "digits"
limit = 120
[plan]
models = 4
[model]
name = "mlp"
options = { hidden = [16] }
[recipe]
epochs = 40
batch = 16
precision = "fp32"
[record]
checkpoints = 6
keep = "all"
[execution]
executor = "inline"
backend = "process"
save_every = 0.0
[attacks]
names = ["loss"]
main = "loss"
"""
OWN = """
import torch
from torch import nn

import seepage

DATA = seepage.load("digits", limit=120)


def train(members, seed, recorder):
    torch.manual_seed(seed % 2**63)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = DATA.inputs[members].flatten(1) / 16, DATA.labels[members]
    recorder.start(model)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        recorder.epoch_end()
    return model
"""
Outcome = Callable[[Path], Any]


def of_run(folder: Path, name: str = "run") -> Any:
    """Signals, plan, pool and weights to the bit, and what records say but for clock and folder."""
    out = folder / name
    records = read_records(Storage(out))
    for record in records.values():
        for told in ("seconds", "looking", "manifest"):
            record.pop(told, None)
    found = verify(out)
    assert found.whole
    assert found.unknown == ()
    return contents(out, *KEPT), records


def of_report(folder: Path) -> Any:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("report*"))}


def nothing(folder: Path) -> None:
    """The command begins in an empty folder."""


@dataclass(frozen=True)
class Case:
    """What is killed. commands: run side by side; set: fields of the configuration; where `ends`
    is a text, a command that had ended before it was killed may be refused with it."""

    name: str
    kills: int
    commands: tuple[tuple[str, ...], ...] = (("train", "../audit.toml", "-o", "run"),)
    sets: tuple[str, ...] = ()
    prepare: Callable[[Path], None] = nothing
    outcome: Outcome = of_run
    ends: str = ""

    def start(self, folder: Path) -> list[subprocess.Popen[bytes]]:
        more = [word for s in self.sets for word in ("-s", s)]
        return [
            subprocess.Popen(
                [sys.executable, "-m", "seepage", *words, *more],
                cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            for words in self.commands
        ]  # fmt: skip

    def finish(self, folder: Path) -> None:
        processes = self.start(folder)
        for process in processes:
            errors = process.communicate(timeout=900)[1].decode()
            refused = process.returncode == 2 and self.ends and self.ends in errors
            assert process.returncode == 0 or refused, errors


def damage(folder: Path) -> None:
    """A finished folder with five damages, others for every folder."""
    out = folder / "run"
    shutil.copytree(folder.parent / "whole", out)
    rng = random.Random(folder.name)
    chunks = sorted(out.glob("signals/*/c/*/*/0"))
    weights = sorted(out.glob("weights/*/*.safetensors"))

    def flip(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        path.write_bytes(raw)

    def swap() -> None:
        a, b = rng.sample([c for c in chunks if "phi" in c.parts], 2)
        one, other = a.read_bytes(), b.read_bytes()
        a.write_bytes(other)
        b.write_bytes(one)

    kinds = [
        lambda: flip(rng.choice(chunks)),
        lambda: rng.choice(chunks).unlink(missing_ok=True),
        swap,
        lambda: flip(rng.choice(weights)),
        lambda: rng.choice(weights).unlink(missing_ok=True),
        lambda: (out / f"records/0000{rng.randrange(4)}.json").unlink(missing_ok=True),
        lambda: flip(out / "plan/member/c/0/0"),
        lambda: (out / "data/ids.json").unlink(),
        lambda: flip(out / rng.choice(["manifest.json", "manifest.copy.json"])),
        lambda: (out / "signals/phi/zarr.json").unlink(),
    ]
    for kind in rng.sample(kinds, 5):
        # What one damage took away, another cannot change.
        with contextlib.suppress(FileNotFoundError):
            kind()


def arrays(folder: Path) -> None:
    rng = np.random.default_rng(0)
    member = np.zeros((40, 60), dtype=bool)
    member[:, ::2] = rng.random((40, 30)) < 0.5
    member[:, 1::2] = ~member[:, ::2]
    np.savez(
        folder / "signals.npz",
        member=member,
        phi=rng.normal(size=(40, 5, 60)).astype(np.float32),
        loss=rng.random((40, 5, 60)).astype(np.float32),
        labels=rng.integers(0, 3, 60),
    )


SHARDS = tuple(("train", "../audit.toml", "-o", "run", "--shard", f"{i}/2") for i in (1, 2))
CASES = [
    Case("train", 10),
    Case("train in workers", 8, sets=('execution.executor="local"', "execution.workers=2")),
    Case("train stacked", 6, sets=('execution.backend="stacked"',)),
    Case("train in shards", 10, SHARDS),
    Case("train by the user's own function", 6, sets=('train.function="own_loop:train"',)),
    Case(
        "train under dp-sgd", 8,
        sets=('defense.name="dp-sgd"', "defense.options={max_norm=1.0,noise=0.5}",
              "recipe.epochs=8"),
    ),
    Case(
        "train under pptp", 6,
        sets=('defense.name="pptp"', 'defense.options={regions=["head"]}', "recipe.epochs=8"),
    ),
    Case(
        "train under selena", 6,
        sets=('defense.name="selena"', "defense.options={models=3,out=1}", "recipe.epochs=4"),
    ),
    Case("repair", 15, (("repair", "../audit.toml", "-o", "run"),), prepare=damage),
    Case(
        "import", 15, (("import", "signals.npz", "run"),), prepare=arrays, ends="holds a run",
    ),
    Case("report", 10, (("report", "../whole", "report.html"),), outcome=of_report),
]  # fmt: skip


def abandoned() -> list[Path]:
    """Pools in memory that no process holds."""
    found = []
    for place in (Path("/dev/shm"), Path(tempfile.gettempdir())):
        for pool in place.glob("seepage-pool-*"):
            with contextlib.suppress(OSError):
                held = os.open(pool, os.O_RDONLY)
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    found.append(pool)
                os.close(held)
    return found


def left_over(folder: Path) -> list[str]:
    """Files that only a command in progress has."""
    names = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
    return [
        n
        for n in names
        if n.endswith(".partial")
        or any(part.startswith(".") for part in n.split("/"))
        or n.split("/")[-2:-1] in (["locks"], ["locks-founding"], ["state"])
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, a function of the user's own, and a finished folder."""
    place = tmp_path_factory.mktemp("kills")
    (place / "audit.toml").write_text(CONFIG)
    return place


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    first = place / "first"
    first.mkdir()
    Case("train", 0).finish(first)
    (first / "run").rename(place / "whole")
    return place / "whole"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name.replace(" ", "-"))
def test_killed_at_random_moments(case: Case, place: Path, whole: Path) -> None:
    if "dp-sgd" in case.name:
        pytest.importorskip("opacus", reason="the opacus extra is not installed")
    rng = random.Random(case.name)

    def begin(number: int) -> Path:
        folder = place / f"{case.name.replace(' ', '-')}-{number}"
        folder.mkdir()
        (folder / "own_loop.py").write_text(OWN)
        case.prepare(folder)
        return folder

    reference = begin(0)
    case.finish(reference)
    expected = case.outcome(reference)
    if case.prepare is damage:
        expected = of_run(place, whole.name)
    again = begin(1)
    began = time.monotonic()
    case.finish(again)
    seconds = time.monotonic() - began
    assert case.outcome(again) == expected
    killed, number, moments = 0, 1, []
    while killed < case.kills:
        number += 1
        folder = begin(number)
        for _ in range(rng.randint(1, min(4, case.kills - killed))):
            processes = case.start(folder)
            until = time.monotonic() + rng.uniform(0.0, seconds)
            hit = processes if rng.random() < 0.5 else [rng.choice(processes)]
            while time.monotonic() < until and any(p.poll() is None for p in hit):
                time.sleep(0.005)
            alive = [p for p in hit if p.poll() is None]
            for process in alive:
                os.killpg(process.pid, signal.SIGKILL)
            if alive:
                killed += 1
                done = len(list(folder.glob("run/records/*.json")))
                moments.append("-" if not (folder / "run").exists() else str(done))
            for process in processes:
                errors = process.communicate(timeout=900)[1].decode()
                ended = process in alive or process.returncode == 0
                assert ended or (case.ends and case.ends in errors), errors
        case.finish(folder)
        assert case.outcome(folder) == expected
        assert left_over(folder) == []
        assert sorted(p.name for p in folder.iterdir()) == sorted(
            p.name for p in reference.iterdir()
        )
        shutil.rmtree(folder)
    assert abandoned() == []
    print(
        f"{case.name}: {killed} kills over {seconds:.1f} s, {number - 1} folders; records that were "
        f"there: {' '.join(moments)}"
    )


def test_there_are_a_hundred_kills() -> None:
    assert sum(case.kills for case in CASES) == 100
