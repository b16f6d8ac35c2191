"""`attack` within parts, of sets and of ranges: the figures of the library, printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seepage
from seepage.attacks import LOSS
from seepage.attacks.ranges import range_members, range_scores
from seepage.cli import main
from seepage.cli.sample_files import named_samples, values_of_samples
from seepage.errors import InputError
from seepage.findings.sets import ranges_found, used
from seepage.fleet.imported import import_arrays
from seepage.metrics import auc
from seepage.plan import half_split
from seepage.scoring import score

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight runs of losses that tell members, of 60 samples in two classes."""
    at = tmp_path_factory.mktemp("imported")
    rng = np.random.default_rng(0)
    member = half_split(60, models=8, seed=0).member
    loss = rng.gamma(1.0, size=member.shape) * np.where(member, 0.2, 1.0)
    labels = (np.arange(60) % 2).astype(np.int64)
    np.savez(at / "arrays.npz", member=member, loss=loss, labels=labels)
    import_arrays(at / "arrays.npz", at / "run")
    return at / "run"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *words])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_parts_sets_and_ranges_are_printed(
    imported: Path, tmp_path: Path, command: Command
) -> None:
    run = seepage.open(imported)
    ids = run.ids.tolist()
    kinds = tmp_path / "kinds.csv"
    kinds.write_text("id,ward\n" + "".join(f"{i},{'ab'[k % 2]}\n" for k, i in enumerate(ids)))
    status, out, _ = command(
        "attack", str(imported), "-a", "loss", "--by", "class", "--by", str(kinds)
    )
    assert status == 0
    assert "LOSS by class, last checkpoint" in out
    assert "LOSS by ward, last checkpoint" in out
    assert "Intervals hold for all 2 parts at once (95 %)" in out

    asked = tmp_path / "asked.txt"
    asked.write_text("\n".join(ids[5:25]) + "\n\n")
    found = used(run, LOSS(), np.arange(5, 25))
    status, out, _ = command("attack", str(imported), "-a", "loss", "--used", str(asked))
    assert status == 0
    assert "share of 20 samples" in out
    assert f"{found.share[0]:.3f}" in out
    assert f"{100 * found.covered:.0f} % of the intervals hold the share of the plan" in out

    pairs = tmp_path / "pairs.csv"
    rows = np.arange(len(ids) // 2 * 2)
    pairs.write_text("id,pair\n" + "".join(f"{ids[i]},{i // 2}\n" for i in rows))
    # The names of ranges are texts, "10" before "2": which is which does not matter.
    codes = np.unique([str(i // 2) for i in rows], return_inverse=True)[1].astype(np.int64)
    told = ranges_found(run, LOSS(), rows, codes, keep=1.0)
    own = range_scores(score(run, LOSS())[:, rows], codes, keep=1.0)
    truth = range_members(run.member[:, rows], codes)
    each = [auc(s, t) for s, t in zip(own, truth, strict=True)]
    assert told.auc.mean == pytest.approx(np.mean(each))
    assert told.auc.groups == len(run.models) // 2  # pairs of runs, not runs
    status, out, _ = command(
        "attack", str(imported), "-a", "loss", "--ranges", str(pairs), "--keep", "1"
    )
    assert status == 0
    assert f"{told.auc.mean:.4f}" in out
    assert f"{len(rows) // 2} ranges of 2 by pair" in out


def test_what_contradicts_itself_is_refused(imported: Path, command: Command) -> None:
    for words, said in (
        (("--by", "class", "--used", "x"), "--used: expected without --by"),
        (("--keep", "0.5"), "--keep: expected with --ranges"),
        (("--unit", "subject", "--used", "x"), "expected without --used, which is about samples"),
        (("--by", "wardd"), "by: the data could not be found again to look for 'wardd'"),
    ):
        status, _, error = command("attack", str(imported), "-a", "loss", *words)
        assert status == 2
        assert said in error.replace("\n", " ")


def test_files_of_samples_name_each_known_sample_once(tmp_path: Path) -> None:
    at = tmp_path / "f.csv"
    ids = ["a", "b", "c"]
    at.write_text("\ufeffid,ward\na,1\nc,2\n", encoding="utf-8")
    name, values = values_of_samples(str(at), "--by", ids)
    assert (name, values.tolist()) == ("ward", ["1", "", "2"])
    for text, said in (
        ("id,ward\na,1\na,2\n", "expected every id once, got 'a' twice"),
        ("id,ward\nz,1\n", r"got 'z' \(1 unknown\)"),
        ("a,1\n", "expected a first line `id,NAME`, got 'a,1'"),
        ("id,ward\na\n", "expected two cells in every row, got 1 in row 2"),
        ("id,ward\n", "expected ids of samples, got none"),
        ('id,ward\n"a,1\n', "expected a CSV file"),
    ):
        at.write_text(text)
        with pytest.raises(InputError, match=said):
            values_of_samples(str(at), "--by", ids)
    at.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="in UTF-8, got other bytes"):
        named_samples(str(at), "--used", ids)
    at.write_text("c\n\na\n")
    assert named_samples(str(at), "--used", ids).tolist() == [0, 2]


def test_figures_are_printed_as_json(imported: Path, tmp_path: Path, command: Command) -> None:
    run = seepage.open(imported)
    asked, pairs = tmp_path / "asked.txt", tmp_path / "pairs.csv"
    asked.write_text("\n".join(run.ids[5:25]))
    pairs.write_text("id,pair\n" + "".join(f"{i},{k // 2}\n" for k, i in enumerate(run.ids)))

    def told(*words: str) -> dict[str, Any]:
        status, out, _ = command("attack", str(imported), "-a", "loss", "--json", *words)
        assert status == 0
        found: dict[str, Any] = json.loads(out)
        assert (found["unit"], found["models"]) == ("sample", list(range(8)))
        return found

    scores = score(run, LOSS())
    by_target = [auc(s, m) for s, m in zip(scores, run.member, strict=True)]
    (row,) = told()["attacks"]
    assert row["auc"]["mean"] == pytest.approx(np.mean(by_target))
    assert [r["fpr"] for r in row["per_target"]] == [0.01, 0.001]
    (by_class,) = told("--by", "class")["slices"]
    first = run.labels == 0
    inside = [auc(s[first], m[first]) for s, m in zip(scores, run.member, strict=True)]
    assert by_class["parts"][0]["found"]["auc"]["mean"] == pytest.approx(np.mean(inside))
    shares = used(run, LOSS(), np.arange(5, 25)).share
    assert told("--used", str(asked))["used"]["loss"]["share"] == pytest.approx(shares.tolist())
    ranges = told("--ranges", str(pairs))["ranges"]
    assert (ranges["by"], ranges["attacks"][0]["size"]) == ("pair", 2)
