"""Nothing is computed twice of a run folder, and nothing kept is believed that this user did not keep."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seepage.attacks import LOSS
from seepage.cli import main
from seepage.errors import CorruptStore
from seepage.findings import Findings, collect
from seepage.fleet.imported import import_arrays
from seepage.plan import half_split
from seepage.report.html import render
from seepage.store import Run, open_run
from seepage.store.computed import ComputedWarning, computed
from seepage.store.trees import from_bytes, to_bytes
from seepage.store.verify import verify


@dataclass(frozen=True)
class Result:
    mean: float
    values: np.ndarray[Any, Any]


class Counted:
    """Computes, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Result:
        self.times += 1
        return Result(float("nan"), np.arange(3.0))


@pytest.fixture(scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("computed") / "run"
    groups = np.arange(40) // 2
    member = half_split(40, models=8, seed=0, groups=groups).member
    phi = np.random.default_rng(0).normal(size=(8, 2, 40)) + 2 * member[:, None]
    import_arrays({"member": member, "phi": phi, "correct": phi > 0, "groups": groups}, out)
    return out


@pytest.fixture
def folder(_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder of one's own, and a user of one's own."""
    monkeypatch.delenv("SEEPAGE_COMPUTED")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(_folder, tmp_path / "run"))


def _asked(where: Path | Run, compute: Callable[[], Result], **asked: Any) -> Result:
    run = where if isinstance(where, Run) else open_run(where)
    return computed(run, "test", asked, Result, compute)


def _kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("derived/computed/*"))


def test_the_same_is_computed_once_and_something_else_anew(folder: Path) -> None:
    compute = Counted()
    first, second = (_asked(folder, compute, level=0.05, at=np.arange(2)) for _ in range(2))
    assert compute.times == 1
    assert np.isnan(second.mean)
    np.testing.assert_array_equal(first.values, second.values)
    for other in ({"level": 0.1}, {"level": 0.05, "at": np.arange(3)}, {"attack": LOSS()}):
        _asked(folder, compute, **other)
    assert compute.times == 4
    assert len(_kept(folder)) == 4


@pytest.mark.parametrize("at", [0, 100, -30])
def test_a_changed_byte_is_said_and_computed_again(folder: Path, at: int) -> None:
    compute = Counted()
    _asked(folder, compute)
    (kept,) = _kept(folder)
    raw = bytearray(kept.read_bytes())
    raw[at] ^= 1
    kept.write_bytes(raw)
    with pytest.warns(ComputedWarning, match="not what this user kept there"):
        _asked(folder, compute)
    _asked(folder, compute)
    assert compute.times == 2


def test_what_another_user_or_another_code_kept_is_not_believed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Counted()
    _asked(folder, compute)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    with pytest.warns(ComputedWarning):
        _asked(folder, compute)
    assert compute.times == 2
    monkeypatch.setattr("seepage.store.computed.computing_digest", lambda: "0" * 64)
    _asked(folder, compute)
    assert compute.times == 3


def test_signals_that_changed_are_noticed_though_the_result_was_kept(folder: Path) -> None:
    def mean_of_the_last() -> Result:
        return Result(float(run.signal_at("phi", -1).mean()), np.arange(1.0))

    run = open_run(folder)
    first = _asked(run, mean_of_the_last)
    for t, read in ((0, False), (1, True)):
        chunk = folder / f"signals/phi/c/3/{t}/0"
        raw = bytearray(chunk.read_bytes())
        raw[8] ^= 1
        chunk.write_bytes(raw)
        if read:
            with pytest.raises(CorruptStore, match="signals/phi/c/3/1"):
                _asked(folder, Counted())
        else:
            assert _asked(folder, Counted()).mean == first.mean


def test_of_a_folder_that_cannot_be_written_the_users_cache_keeps_it(folder: Path) -> None:
    (folder / "derived").write_bytes(b"")  # no folder can be made there
    compute = Counted()
    for _ in range(2):
        _asked(folder, compute)
    assert compute.times == 1


def test_what_was_warned_of_and_what_hangs_on_other_code_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Counted()

    def warned() -> Result:
        import warnings

        warnings.warn("few models", UserWarning, stacklevel=2)
        return compute()

    said: list[str] = []
    monkeypatch.setattr("warnings.showwarning", lambda message, *rest: said.append(str(message)))
    monkeypatch.setattr("warnings.filters", [])
    for _ in range(2):
        _asked(folder, warned)
        _asked(folder, compute, attack=compute)
    assert said == ["few models"] * 2
    assert not _kept(folder)
    monkeypatch.setenv("SEEPAGE_COMPUTED", "off")
    _asked(folder, compute)
    assert not _kept(folder)


def test_a_report_is_the_same_page_and_the_evidence_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = verify(folder)
    first = collect(open_run(folder), permutations=1)
    monkeypatch.setattr(sys.modules["seepage.findings.collect"], "_collect", None)  # would raise
    second = collect(open_run(folder), permutations=1)
    assert render(first) == render(second)
    assert first.subjects is not None
    after = verify(folder)
    assert after == before
    assert after.whole
    moved = folder.rename(folder.with_name("moved"))
    assert collect(open_run(moved), permutations=1).path == str(moved)


def test_a_gate_says_the_same_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["seepage", "check", str(folder), "--max-auc", "1"])
        with pytest.raises(SystemExit):
            main()
        told.append(capsys.readouterr())
        monkeypatch.setattr("seepage.findings.gate.judge", None)  # would raise
    assert told[0] == told[1]
    assert "holds" in told[0].out


def test_findings_of_every_kind_come_back(findings: Findings) -> None:
    again = from_bytes(to_bytes(findings), Findings)
    assert render(again) == render(findings)
    with pytest.raises(TypeError, match="object"):
        to_bytes(replace(findings, title=object()))  # type: ignore[arg-type]
