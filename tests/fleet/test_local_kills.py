"""The command itself, killed, starved and raced; it ends in the bits of an undisturbed audit."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from seepage.fleet.repair import find_damage
from seepage.store import open_run
from seepage.store.lock import DEAD_AFTER
from tiny_fleet import contents

pytestmark = pytest.mark.slow

KEPT = ("signals", "plan", "data", "weights")
COMMAND = [sys.executable, "-c", "from seepage.cli import main; main()"]
CONFIG = """
[data]
name = "digits"
limit = 600
[plan]
models = 8
[model]
name = "mlp"
[recipe]
epochs = 30
batch = 16
precision = "fp32"
[record]
checkpoints = 6
[execution]
workers = 2
backend = "process"
save_every = 0.2
[attacks]
names = ["loss"]
main = "loss"
"""


def hear_ctrl_c() -> None:
    """A shell that starts the tests in the background hands down to be deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(
    config: Path, out: Path, *more: str, verb: str = "train", inside: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """The command in a process group of its own. inside: what makes it a container."""
    return subprocess.Popen(
        [*inside, *COMMAND, verb, str(config), "-o", str(out), *more],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, preexec_fn=hear_ctrl_c,
    )  # fmt: skip


def finish(
    config: Path, out: Path, *more: str, verb: str = "train", inside: Sequence[str] = ()
) -> tuple[int, str]:
    process = start(config, out, *more, verb=verb, inside=inside)
    _, errors = process.communicate(timeout=600)
    return process.returncode, errors.decode()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "audit.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def undisturbed(config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run folder, and the seconds that it took."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(config, out.with_name("warm"))
    began = time.monotonic()
    status, errors = finish(config, out)
    assert status == 0, errors
    return out, time.monotonic() - began


def workers_of(group: int) -> list[int]:
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def abandoned_memory() -> list[Path]:
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


def kill_and_go_on(
    kills: int, config: Path, whole: Path, seconds: float, out: Path, *more: str
) -> None:
    """Kill the command at random moments, go on each time, compare with the undisturbed folder."""
    rng = random.Random(kills)
    killed, ended = 0, 0
    while killed < kills:
        process = start(config, out, *more)
        try:
            # From the first import to the last write.
            process.wait(rng.uniform(0.05, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate()
        until = time.monotonic() + 20
        while workers_of(process.pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert workers_of(process.pid) == [], "no worker outlives its parent"
        if process.returncode == 0:
            # Finished before all kills were spent: what is there is checked and begun anew.
            assert contents(out, *KEPT) == contents(whole, *KEPT)
            shutil.rmtree(out)
            ended += 1
    left = abandoned_memory()
    status, errors = finish(config, out, *more)
    assert status == 0, errors
    assert contents(out, *KEPT) == contents(whole, *KEPT)
    assert find_damage(str(out)) == []
    assert not any(p.exists() for p in left), "memory of killed processes is given back"
    print(f"{killed} kills, {ended + 1} audits finished, {len(left)} left-overs swept")


def test_killed_at_twenty_random_moments(
    config: Path, undisturbed: tuple[Path, float], tmp_path: Path
) -> None:
    kill_and_go_on(20, config, *undisturbed, tmp_path / "run")


def test_killed_while_runs_are_stacked(config: Path, tmp_path: Path) -> None:
    more = ("-s", 'execution.backend="stacked"', "-s", "plan.models=16")
    began = time.monotonic()
    assert finish(config, tmp_path / "whole", *more)[0] == 0
    seconds = time.monotonic() - began
    kill_and_go_on(6, config, tmp_path / "whole", seconds, tmp_path / "run", *more)


def test_ctrl_c_is_answered_with_130_and_goes_on(
    config: Path, undisturbed: tuple[Path, float], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = start(config, out)
    until = time.monotonic() + 300
    while not (out / "records").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    last = errors.decode().strip().splitlines()[-1]
    assert last == "seepage: interrupted; run the same command again to resume"
    assert "Traceback" not in errors.decode()
    assert finish(config, out)[0] == 0
    assert contents(out, *KEPT) == contents(undisturbed[0], *KEPT)


def test_two_audits_on_one_folder(
    config: Path, undisturbed: tuple[Path, float], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = start(config, out)
    until = time.monotonic() + 300
    while not (out / "manifest.json").exists() and time.monotonic() < until:
        time.sleep(0.02)
    status, errors = finish(config, out)
    assert status == 2
    assert errors.count("\n") == 1
    assert f"got process {first.pid} on" in errors
    _, printed = first.communicate(timeout=600)
    assert first.returncode == 0, printed
    assert contents(out, *KEPT) == contents(undisturbed[0], *KEPT)


def test_shards_at_the_same_time(
    config: Path, undisturbed: tuple[Path, float], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    # One founds the folder; the rest may start whenever they like.
    parts = [
        start(config, out, "--shard", f"{i}/3", "-s", "execution.workers=1") for i in (1, 2, 3)
    ]
    for part in parts:
        _, errors = part.communicate(timeout=600)
        assert part.returncode == 0, errors.decode()
    assert open_run(out).models.tolist() == list(range(8))
    assert contents(out, *KEPT) == contents(undisturbed[0], *KEPT)
    assert find_damage(str(out)) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True
    )
    if made.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(config: Path, undisturbed: tuple[Path, float], small_disk: Path) -> None:
    out, ballast = small_disk / "run", small_disk / "ballast"
    ballast.write_bytes(b"x" * (7 << 20))
    status, errors = finish(config, out)
    assert status == 2
    assert errors.count("\n") == 1
    assert re.search(
        r"run: expected [\d.]+ MiB of free disk \(.* signals, .*\), got 1.0 MiB;", errors
    )
    assert not out.exists(), "it is seen before anything is written"
    ballast.unlink()
    process = start(config, out)
    wait_for(out / "records")
    # Another program takes what was there at the start.
    with ballast.open("wb", buffering=0) as full, contextlib.suppress(OSError):
        while True:
            full.write(b"x" * 1024)
    _, printed = process.communicate(timeout=600)
    errors = printed.decode()
    assert process.returncode == 2, errors
    lines = [line for line in errors.splitlines() if line.startswith("seepage:")]
    assert len(lines) == 1
    assert "No space left on device" in lines[0]
    assert "Traceback" not in errors
    assert not list(out.rglob("*.partial"))
    ballast.unlink()
    status, errors = finish(config, out)
    assert status == 0, errors
    assert contents(out, *KEPT) == contents(undisturbed[0], *KEPT)
    assert np.isfinite(open_run(out).signal("phi")).all()


def test_the_whole_audit_after_a_kill_in_the_middle(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(config, out, verb="audit")
    until = time.monotonic() + 300
    while not (out / "records").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    status, errors = finish(config, out, verb="audit")
    assert status == 0, errors
    assert (out / "report.html").stat().st_size > 10_000


# Its own processes, network and host name on the same machine, disk and memory.
CONTAINER = (
    "unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc",
    "--net", "--uts",
)  # fmt: skip


@pytest.fixture
def container() -> tuple[str, ...]:
    tried = subprocess.run([*CONTAINER, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"containers are not permitted here: {tried.stderr.decode().strip()}")
    return CONTAINER


def wait_for(path: Path) -> None:
    until = time.monotonic() + 300
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert path.exists()


@pytest.mark.parametrize("order", ["inside first", "outside first", "both inside"])
def test_two_containers_on_one_folder(
    config: Path,
    undisturbed: tuple[Path, float],
    container: tuple[str, ...],
    tmp_path: Path,
    order: str,
) -> None:
    out, beside = tmp_path / "run", tmp_path / "beside"
    first = start(config, out, inside=() if order == "outside first" else container)
    there = () if order == "inside first" else container
    wait_for(out / "manifest.json")
    status, errors = finish(config, out, inside=there)
    assert status == 2
    assert errors.count("\n") == 1
    assert "still running; wait for it or stop it" in errors
    # Nor is the memory that it shares with its workers taken for a dead one's.
    status, errors = finish(config, beside, inside=there)
    assert status == 0, errors
    _, printed = first.communicate(timeout=600)
    assert first.returncode == 0, printed
    for folder in (out, beside):
        assert contents(folder, *KEPT) == contents(undisturbed[0], *KEPT)


def test_a_container_that_was_killed_makes_room_when_its_heart_has_stopped(
    config: Path, undisturbed: tuple[Path, float], container: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    first = start(config, out, inside=container)
    wait_for(out / "records")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    status, errors = finish(config, out)
    assert status == 2, "who knows whether it lives"
    assert "still running" in errors
    time.sleep(DEAD_AFTER)
    status, errors = finish(config, out)
    assert status == 0, errors
    assert contents(out, *KEPT) == contents(undisturbed[0], *KEPT)
    assert list((out / "locks").iterdir()) == []
    assert not abandoned_memory()
