"""Figures of large runs, groups of targets at a time: those of all scores at once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import seepage
from seepage import scoring
from seepage.attacks import Global, LiRA, PerSample
from seepage.errors import CorruptStore, InputError
from seepage.findings.in_groups import figures_in_groups, of_groups
from seepage.findings.judging import Judging
from seepage.findings.unjudged import unjudged
from seepage.fleet.imported import import_arrays
from seepage.metrics import EACH
from seepage.plan import half_split
from seepage.store import Run

MODELS, SAMPLES = 12, 1_500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of φ; one sample is IN too few runs, some in none."""
    rng = np.random.default_rng(1)
    member = half_split(SAMPLES, models=MODELS, seed=1).member.copy()
    member[1:, 11] = False
    member[0, 11] = True
    member[:, 20:30] = False
    phi = rng.normal(size=(MODELS, 2, SAMPLES)) + 1.5 * member[:, None]
    out = tmp_path_factory.mktemp("large") / "run"
    import_arrays({"member": member, "phi": phi, "checkpoints": [1.0, 2.0]}, out)
    return out


class _Watched:
    """A run whose widest block is remembered, and whose signals are not read as a whole."""

    def __init__(self, run: Run) -> None:
        self._run, self.widest = run, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def signal_at(self, name: str, t: int) -> Any:
        raise AssertionError("read as a whole")

    def columns(self, name: str, t: int, first: int, last: int) -> Any:
        self.widest = max(self.widest, last - first)
        return self._run.columns(name, t, first, last)


@pytest.mark.parametrize("attack", [LiRA(), LiRA(variance=PerSample())], ids=["t", "per sample"])
def test_they_are_equal(folder: Path, monkeypatch: pytest.MonkeyPatch, attack: LiRA) -> None:
    if not attack.in_blocks:
        pytest.skip("without kernels its scores are made of whole arrays")
    run = seepage.open(folder)
    part = unjudged(run, [attack]).part(run)
    assert part.member.shape[1] == SAMPLES - 1, "the sample with too few references is left out"
    judging = Judging.of(part, EACH)
    assert figures_in_groups(part, attack, judging, [0.05], unit=EACH) is None, "it is small"
    scores = seepage.score(part, attack)
    monkeypatch.setattr(scoring, "_LARGE", 1)
    monkeypatch.setattr("seepage.attacks.blocks._AT_ONCE", 4_000)
    watched = _Watched(run)
    large = unjudged(watched, [attack]).part(watched)
    np.testing.assert_array_equal(seepage.score(large, attack), scores)
    np.testing.assert_array_equal(seepage.score(large, attack, targets=[3, 1]), scores[[3, 1]])
    grouped = scoring.in_groups(large, attack)
    assert grouped is not None
    found = of_groups(grouped, judging, (0.05, 0.01, 1e-5), room=8 * SAMPLES * 5)
    assert found.auc == judging.auc(scores)[0]
    assert str(found.rates) == str(judging.rates(scores, (0.05, 0.01, 1e-5)))
    assert str(found.pooled) == str(judging.pooled(scores, (0.05, 0.01, 1e-5)))
    again = figures_in_groups(large, attack, judging, (0.05, 0.01, 1e-5), unit=EACH)
    assert str(again) == str(found), "whatever the size of groups"
    assert watched.widest < SAMPLES / 2


def test_what_memory_does_not_hold_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = seepage.open(folder)
    attack = LiRA(variance=Global())
    assert scoring.too_large(run, attack) is None, "it is small"
    monkeypatch.setattr(scoring, "_LARGE", 1)
    assert scoring.too_large(run, attack) is None, "there is room"
    monkeypatch.setattr(scoring.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(InputError, match="lira: signals and scores of 12 models × 1,500 samples"):
        seepage.score(run, attack)


def test_parts_of_a_signal_are_those_of_the_whole(folder: Path) -> None:
    run = seepage.open(folder)
    whole = run.signal_at("phi", 0)
    rows = np.array([1400, 3, 17])
    np.testing.assert_array_equal(run.columns("phi", 0, 100, 333), whole[:, 100:333])
    np.testing.assert_array_equal(run.some_at("phi", -2, rows), whole[:, rows])
    assert run.columns("phi", 0, 5, 5).shape == (MODELS, 0)


def test_a_damaged_chunk_is_named(folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(folder, tmp_path / "run"))
    chunk = copy / "signals" / "phi" / "c" / "4" / "1" / "0"
    raw = bytearray(chunk.read_bytes())
    raw[4_000] ^= 1
    chunk.write_bytes(raw)
    for read in (
        lambda run: run.columns("phi", 1, 0, 10),
        lambda run: run.some_at("phi", 1, np.array([2])),
    ):
        with pytest.raises(CorruptStore, match="phi/c/4/1"):
            read(seepage.open(copy))
