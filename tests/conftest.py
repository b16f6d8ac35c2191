"""A tiny trained fleet, and a run of synthetic signals, for every room that reads one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from fake_run import FakeRun
from tiny_fleet import fleet


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """What is synced lasts through a loss of power, which only `Journal` plays, by names of its own.

    A killed process loses nothing that it wrote, synced or not.
    """
    synced = os.fsync
    os.fsync = lambda fd: None
    yield
    os.fsync = synced


@pytest.fixture(scope="session", autouse=True)
def _nothing_kept_for_another_test() -> Iterator[None]:
    """Results are computed anew, and neither written to nor read from the user's own folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEPAGE_COMPUTED", "off")
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder; never changed, see `copied`."""
    out = tmp_path_factory.mktemp("fleet") / "run"
    torch.set_num_threads(1)
    # A first step loads half of torch, which forked workers then need not do each for itself.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1).step()
    fleet(out)
    return out


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A finished run folder of one's own."""
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    return out


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Any]:
    return FakeRun


@pytest.fixture(scope="session")
def run() -> Any:
    return FakeRun(failed={5: "loss became NaN at step 120"})


@pytest.fixture(scope="session")
def findings(run: Any) -> Any:
    from seepage.attacks import LOSS, RMIA, LiRA
    from seepage.findings import collect

    return collect(run, attacks=[LOSS(), LiRA(), RMIA()], permutations=2)
