"""Malformed files for every door by the hundred: one line each, and nothing left behind."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from tests.data.test_malformed import damaged
from tests.tiny_fleet import table
from torch import nn

import seepage
from seepage.errors import SeepageError
from seepage.fleet.imported import ImportedWarning
from seepage.plan import half_split
from seepage.signals import SIGNALS

pytestmark = pytest.mark.slow
EACH = 100
R, T, N, K = 2, 2, 12, 3
MEMBER = half_split(N, models=R, seed=0).member
LABELS = np.arange(N) % K
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(R, T, N, K)).astype(np.float32)
DATA = table(N)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def tried(call: Callable[[Path], seepage.Run], place: Path) -> bool:
    """Whether a sound run came of it; where not, it was refused in one line and the place is as it was."""
    before = set(place.rglob("*"))
    out = place / "deep" / "run"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ImportedWarning)
            run = call(out)
    except SeepageError as error:
        text = str(error)
        assert 0 < len(text.encode()) < 1500
        assert "\n" not in text
        assert set(place.rglob("*")) == before
        return False
    assert run.verify() == []
    for name in run.signals:
        assert np.isfinite(run.signal(name)).all()
    assert run.member.shape == (len(run.models), len(run.ids))
    shutil.rmtree(place / "deep")
    return True


def spoiled(folder: Path, seed: int) -> None:
    """One file of the folder damaged, renamed, emptied, removed or put twice."""
    rng = np.random.default_rng([7, seed])
    held = sorted(p for p in folder.rglob("*") if p.is_file())
    file = held[int(rng.integers(len(held)))]
    match int(rng.integers(0, 8)):
        case 0:
            file.unlink()
        case 1:
            file.rename(
                file.with_name(str(rng.choice(["x.npy", "9.npy", ".npy", "a b.pt", "é.npz"])))
            )
        case 2:
            file.write_bytes(b"")
        case 3:
            other = held[int(rng.integers(len(held)))]
            file.write_bytes(other.read_bytes())
        case 4:
            (folder / str(rng.choice(["notes", "more.npy", "y.pt"]))).write_bytes(file.read_bytes())
        case _:
            file.write_bytes(damaged(file.read_bytes(), rng))


def hundreds(
    tmp_path: Path, write: Callable[[Path], None], call: Callable[[Path, Path], seepage.Run]
) -> int:
    """How many of EACH spoiled folders are taken all the same."""
    accepted = 0
    source = tmp_path / "source"
    for seed in range(EACH):
        source.mkdir()
        write(source)
        spoiled(source, seed)
        before = files(source)
        accepted += tried(lambda out: call(source, out), tmp_path)
        assert files(source) == before
        shutil.rmtree(source)
    return accepted


def _arrays(folder: Path) -> None:
    for name, a in (("member", MEMBER), ("logits", LOGITS), ("labels", LABELS)):
        np.save(folder / f"{name}.npy", a)


def _experiments(folder: Path) -> None:
    np.save(folder / "y_train.npy", LABELS)
    for r in range(R):
        place = folder / f"experiment-{r}_{R}"
        for kind in ("logits", "scores"):
            (place / kind).mkdir(parents=True)
        np.save(place / "keep.npy", MEMBER[r])
        for t in range(T):
            z = LOGITS[r, t]
            phi = SIGNALS["phi"](torch.from_numpy(z), torch.from_numpy(LABELS)).numpy()
            np.save(place / "logits" / f"{t + 1:010d}.npy", z[:, None, None])
            np.save(place / "scores" / f"{t + 1:010d}.npy", phi[:, None])


def make() -> nn.Module:
    return nn.Linear(4, 3)


def _checkpoints(folder: Path, save: Callable[[Any, Path], None], suffix: str) -> None:
    for r in range(R):
        (folder / f"net-{r}").mkdir()
        for t in range(T):
            save(make().state_dict(), folder / f"net-{r}" / f"epoch-{t}.{suffix}")
    np.savez(folder / "members.npz", **{f"net-{r}": MEMBER[r] for r in range(R)})


def test_folders_of_arrays(tmp_path: Path) -> None:
    accepted = hundreds(tmp_path, _arrays, seepage.import_run)
    assert 0 < accepted < EACH / 2


def test_experiments(tmp_path: Path) -> None:
    accepted = hundreds(tmp_path, _experiments, seepage.import_run)
    assert 0 < accepted < EACH / 2


@pytest.mark.parametrize(
    ("save", "suffix"), [(torch.save, "pt"), (safetensors.torch.save_file, "safetensors")]
)
def test_checkpoints(tmp_path: Path, save: Any, suffix: str) -> None:
    accepted = hundreds(
        tmp_path,
        lambda folder: _checkpoints(folder, save, suffix),
        lambda source, out: seepage.import_run(source, out, model=make, data=DATA),
    )
    assert accepted < EACH / 2


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_of_scores(tmp_path: Path, kind: str) -> None:
    r, t, n = (a.ravel() for a in np.meshgrid(range(R), range(T), range(N), indexing="ij"))
    columns = {
        "model": r, "checkpoint": t, "sample": n, "member": MEMBER[r, n].astype(int),
        "label": LABELS[n], "phi": LOGITS[r, t, n, 0].astype(float),
    }  # fmt: skip

    def write(folder: Path) -> None:
        path = folder / f"scores.{kind}"
        if kind == "parquet":
            pq.write_table(pa.table(columns), path)
        else:
            lines = zip(*(map(str, v.tolist()) for v in columns.values()), strict=True)
            path.write_text("\n".join([",".join(columns), *map(",".join, lines)]) + "\n")

    source = tmp_path / "source"
    accepted = 0
    for seed in range(2 * EACH):
        source.mkdir()
        write(source)
        path = source / f"scores.{kind}"
        path.write_bytes(damaged(path.read_bytes(), np.random.default_rng([8, seed])))
        accepted += tried(lambda out, path=path: seepage.import_run(path, out), tmp_path)
        shutil.rmtree(source)
    assert accepted < EACH
