"""A hundred kills at random moments: training, sharded, defended or the user's own, repair, import,
report. The same command again ends in the bits of one that was left alone, and nothing else is left.

Each command is timed first; moments are drawn uniformly over its duration. A folder is hit one to
four times before the command is left to end. `-s` prints what was hit. Commands are forked from an
interpreter that has imported everything, so that kills fall on what they do and not on imports;
`test_local_kills.py` starts them as users do.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
limit = 100
[plan]
models = 4
[model]
name = "mlp"
options = { hidden = [16] }
[recipe]
epochs = 6
batch = 16
precision = "fp32"
[record]
checkpoints = 4
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

DATA = seepage.load("digits", limit=100)


def train(members, seed, recorder):
    torch.manual_seed(seed % 2**63)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = DATA.inputs[members].flatten(1) / 16, DATA.labels[members]
    recorder.start(model, preprocess=lambda x: x / 16)
    for _ in range(6):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        recorder.epoch_end()
    return model
"""
# Forks a command in a process group of its own and says its number; what it printed and how it
# ended go into files.
FORKS = """
import json, os, signal, sys, traceback
import seepage.cli, seepage.fleet.imported, seepage.fleet.repair, seepage.report, seepage.attacks
import seepage.findings, seepage.defenses, seepage.fleet.start, seepage.fleet.engine
import pyarrow.parquet, scipy.stats, sklearn.datasets, torch

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    words, folder, said = json.loads(line)
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir(folder)
    sys.path.append(folder)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.argv = ["seepage", *words]
    status = 1
    try:
        seepage.cli.main()
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        with open(said + ".status", "w") as file:
            file.write(str(status))
        os._exit(0)
"""
Outcome = Callable[[Path], Any]


class Command:
    """A running command."""

    def __init__(self, number: int, said: Path) -> None:
        self.number, self.said = number, said

    def runs(self) -> bool:
        try:
            os.kill(self.number, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.number, signal.SIGKILL)

    def wait(self) -> tuple[int | None, str]:
        """Its exit status, None when it was killed, and what it said on standard error."""
        until = time.monotonic() + 900
        while self.runs():
            assert time.monotonic() < until, "it hangs"
            time.sleep(0.005)
        status = self.said.with_name(self.said.name + ".status")
        return (int(status.read_text()) if status.exists() else None), self.said.read_text()


class Forks:
    """Starts commands."""

    def __init__(self, place: Path) -> None:
        self.place, self.count = place, 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def start(self, words: list[str], folder: Path) -> Command:
        self.count += 1
        said = self.place / f"said-{self.count}"
        said.touch()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([words, str(folder), str(said)]) + "\n")
        self.process.stdin.flush()
        return Command(int(self.process.stdout.readline()), said)


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

    def start(self, forks: Forks, folder: Path) -> list[Command]:
        more = [word for s in self.sets for word in ("-s", s)]
        return [forks.start([*words, *more], folder) for words in self.commands]

    def finish(self, forks: Forks, folder: Path) -> None:
        for command in self.start(forks, folder):
            status, said = command.wait()
            assert status == 0 or (status == 2 and self.ends and self.ends in said), said


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
              "recipe.epochs=3"),
    ),
    Case(
        "train under pptp", 6,
        sets=('defense.name="pptp"', 'defense.options={regions=["head"]}', "recipe.epochs=3"),
    ),
    Case(
        "train under selena", 6,
        sets=('defense.name="selena"', "defense.options={models=3,out=1}", "recipe.epochs=2"),
    ),
    Case("repair", 15, (("repair", "../audit.toml", "-o", "run"),), prepare=damage),
    Case(
        "import", 15, (("import", "signals.npz", "run"),), prepare=arrays, ends="holds a run",
    ),
    Case("report", 10, (("report", "../whole", "report.html"),), outcome=of_report),
]  # fmt: skip


def apart(got: Any, expected: Any) -> list[str]:
    """Where two outcomes differ, in words: files by name, fields of records with both values."""
    if not isinstance(got, tuple):
        got, expected = (got, {}), (expected, {})
    files = [k for k in {*got[0], *expected[0]} if got[0].get(k) != expected[0].get(k)]
    fields = [
        f"record {row}, {f}: {a.get(f)!r}, not {b.get(f)!r}"
        for row in {*got[1], *expected[1]}
        for a, b in [(got[1].get(row, {}), expected[1].get(row, {}))]
        for f in {*a, *b}
        if a.get(f) != b.get(f)
    ]
    return sorted(files) + sorted(fields)


def abandoned(before: float) -> list[Path]:
    """Pools in memory older than a moment that no process holds, and that none sweeps either.

    Another test's commands may be killed meanwhile; its next command removes what they left.
    """
    until = time.monotonic() + 30
    while (found := _unheld(before)) and time.monotonic() < until:
        time.sleep(1)
    return found


def _unheld(before: float) -> list[Path]:
    found = []
    for place in (Path("/dev/shm"), Path(tempfile.gettempdir())):
        for pool in place.glob("seepage-pool-*"):
            with contextlib.suppress(OSError):
                held = os.open(pool, os.O_RDONLY)
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    if os.fstat(held).st_mtime < before:
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
def forks(place: Path) -> Iterator[Forks]:
    forks = Forks(place)
    yield forks
    forks.process.communicate()


@pytest.fixture(scope="module")
def whole(place: Path, forks: Forks) -> Path:
    first = place / "first"
    first.mkdir()
    Case("train", 0).finish(forks, first)
    (first / "run").rename(place / "whole")
    return place / "whole"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name.replace(" ", "-"))
def test_killed_at_random_moments(case: Case, place: Path, whole: Path, forks: Forks) -> None:
    if "dp-sgd" in case.name:
        pytest.importorskip("opacus", reason="the opacus extra is not installed")
    rng = random.Random(case.name)

    def begin(number: int) -> Path:
        folder = place / f"{case.name.replace(' ', '-')}-{number}"
        folder.mkdir()
        (folder / "own_loop.py").write_text(OWN)
        case.prepare(folder)
        return folder

    reference, again = begin(0), begin(1)
    case.finish(forks, reference)
    expected = case.outcome(reference)
    if case.prepare is damage:
        expected = of_run(place, whole.name)
    began = time.monotonic()
    case.finish(forks, again)
    seconds = time.monotonic() - began
    assert apart(case.outcome(again), expected) == []
    killed, number, moments, last = 0, 1, [], 0.0
    while killed < case.kills:
        number += 1
        folder = begin(number)
        for _ in range(rng.randint(1, min(4, case.kills - killed))):
            commands = case.start(forks, folder)
            until = time.monotonic() + rng.uniform(0.0, seconds)
            hit = commands if rng.random() < 0.5 else [rng.choice(commands)]
            while time.monotonic() < until and any(c.runs() for c in hit):
                time.sleep(0.001)
            for command in hit:
                command.kill()
            ends = [command.wait() for command in commands]
            if any(status is None for status, _ in ends):
                killed += 1
                there = len(list(folder.glob("run/records/*.json")))
                moments.append(str(there) if (folder / "run").exists() else "-")
            for status, said in ends:
                assert status in (None, 0) or (case.ends and case.ends in said), said
        # A claim that was cut off within the last second may be another's who lives.
        time.sleep(1)
        last = time.time()
        case.finish(forks, folder)
        assert apart(case.outcome(folder), expected) == []
        assert left_over(folder) == []
        names = {p.name for p in folder.iterdir()}
        assert names == {p.name for p in reference.iterdir()}
        shutil.rmtree(folder)
    assert abandoned(last) == []
    print(
        f"{case.name}: {killed} kills over {seconds:.1f} s, {number - 1} folders; records that were "
        f"there: {' '.join(moments)}"
    )


def test_there_are_a_hundred_kills() -> None:
    assert sum(case.kills for case in CASES) == 100
