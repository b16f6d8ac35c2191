"""A run whose lists of members are other models' passes no gate, and no figure of it is silent."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fake_run import FakeRun
from typer.testing import CliRunner

import seepage
from seepage.cli import app
from seepage.config import Limits
from seepage.errors import CheckFailed, InputError
from seepage.findings import collect
from seepage.findings.notes import import_doubts
from seepage.fleet import ContradictionWarning
from seepage.fleet.contradictions import contradictions
from seepage.plan import half_split
from seepage.report.words import first_screen

R, N = 8, 160
MEMBER = half_split(N, models=R, seed=0).member
ORDER = np.array([2, 3, 4, 5, 6, 7, 0, 1])


def _arrays(member: np.ndarray, leak: float = 2.5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    phi = rng.normal(size=N) + leak * MEMBER + rng.normal(size=MEMBER.shape)
    return {"member": member, "phi": phi}


def test_lists_of_other_models_pass_no_gate(tmp_path: Path) -> None:
    seepage.import_run(_arrays(MEMBER), tmp_path / "right")
    with pytest.warns(ContradictionWarning, match=r"8 of 8 models are surer of other samples"):
        seepage.import_run(_arrays(MEMBER[ORDER]), tmp_path / "wrong")
    cli = CliRunner()
    wrong, right = str(tmp_path / "wrong"), str(tmp_path / "right")
    for place in (wrong, right):
        done = cli.invoke(app, ["attack", place, "-a", "lira"])
        assert done.exit_code == 0
        told = " ".join(done.stderr.split())
        assert ("are surer of other samples than those listed as theirs" in told) == (
            place == wrong
        )
    assert cli.invoke(app, ["check", right, "-a", "lira", "--max-auc", "1"]).exit_code == 0
    refused = cli.invoke(app, ["check", wrong, "-a", "lira", "--max-auc", "1"])
    assert isinstance(refused.exception, InputError)
    assert "give every model the list it was trained on" in str(refused.exception)


def test_lists_that_nothing_leaks_of_cannot_be_noticed() -> None:
    class Run(FakeRun):
        pass

    run = Run(models=8, shift=0.0)
    run.member = run.member[[1, 2, 3, 4, 5, 6, 7, 0]]
    assert contradictions(run).words == ()


def test_the_report_gives_no_verdict_on_them() -> None:
    run = FakeRun(models=8, leaky=1.0, samples=120, checkpoints=(0.0, 1.0))
    assert contradictions(run).lists == ""
    run.member = ~run.member
    found = collect(run, blind=False, permutations=1)
    first = first_screen(found)
    assert first.headline.startswith("No verdict: lists of members")
    assert "outside of the list, AUC" in first.warnings[0][1]
    assert "say true for members and not" in first.warnings[0][1]
    assert found.summary()["verdict"] == "refused"
    assert found.summary()["contradictions"] == list(found.contradictions.words)


@pytest.mark.parametrize(
    ("of", "doubt", "lists"),
    [
        (lambda phi: phi, "", ""),
        (
            lambda phi: 1 / (1 + np.exp(-phi)),
            "0..*, as of probabilities, .*save −log p as `loss`",
            "",
        ),
        (
            lambda phi: -np.log1p(np.exp(-phi)),
            r"as of log p \(or .*\), .*save minus them as `loss`",
            "",
        ),
        (
            lambda phi: np.log1p(np.exp(-phi)),
            "as of losses, lower for members, .*save them as `loss`",
            "phi: values in .* seem to be losses: .*; if they are .*called, lists of members: 8 of 8",
        ),
        (
            lambda phi: -phi,
            "",
            "phi: values in .* seem to be the negative of phi: .*, lists of mem",
        ),
    ],
)
def test_other_values_than_phi_are_named(tmp_path: Path, of: Any, doubt: str, lists: str) -> None:
    arrays = _arrays(MEMBER)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = seepage.import_run(arrays | {"phi": of(arrays["phi"])}, tmp_path / "run")
    told = [str(w.message) for w in caught]
    assert len(told) == bool(doubt) + bool(lists)
    assert bool(import_doubts(run)) == bool(doubt)
    assert not doubt or re.search(doubt, import_doubts(run)[0])
    assert re.match(lists, contradictions(run).lists)
    assert bool(contradictions(run).lists) == bool(lists)


def test_labels_in_another_order_are_said() -> None:
    run = FakeRun(models=4, samples=300)
    assert contradictions(run).answers == ""
    right, rng = run.signal_at, np.random.default_rng(0)

    def signal_at(name: str, t: int) -> np.ndarray:
        if name == "correct":
            return (rng.random((4, 300)) < 1 / 3).astype(np.float32)
        return right(name, t)

    run.signal_at = signal_at  # type: ignore[method-assign]
    assert "where answers that know no label reach 33.3%" in contradictions(run).answers


def test_labels_in_another_order_pass_no_gate(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    arrays = _arrays(MEMBER, leak=0.0) | {
        "labels": rng.integers(0, 3, N),
        "correct": (rng.random(MEMBER.shape) < 1 / 3).astype(np.float32),
    }
    with pytest.warns(ContradictionWarning, match="answers: members are right in"):
        run = seepage.import_run(arrays, tmp_path / "run")
    headline = first_screen(collect(run, blind=False, permutations=1)).headline
    assert "But members' answers tell nothing of their labels: see the first warning" in headline
    words = ["check", str(tmp_path / "run"), "-a", "lira", "--max-auc", "1"]
    cli = CliRunner()
    failed = cli.invoke(app, words)
    assert isinstance(failed.exception, CheckFailed)
    assert "no limit holds: answers: members are right in" in str(failed.exception)
    assert "limit 1: no verdict" in failed.stdout.replace("\n", " ")
    accepted = cli.invoke(app, [*words, "--learnt-nothing"])
    assert (accepted.exit_code, "holds" in accepted.stdout) == (0, True)
    assert "warning" in accepted.stderr


def test_labels_come_before_lists(tmp_path: Path) -> None:
    """Of other labels models are surer of others than of their own members, whatever the lists."""
    rng = np.random.default_rng(4)
    phi = _arrays(MEMBER, leak=-2.5)["phi"]
    arrays = {
        "member": MEMBER,
        "phi": phi,
        "labels": rng.integers(0, 3, N),
        "correct": (rng.random(MEMBER.shape) < 1 / 3).astype(np.float32),
    }
    with pytest.warns(ContradictionWarning) as said:
        run = seepage.import_run(arrays, tmp_path / "run")
    assert "answers: members are right in" in str(said[0].message)
    assert "look at those first" in str(said[1].message)
    assert contradictions(run).words[0].startswith("answers: ")
    refused = CliRunner().invoke(app, ["check", str(tmp_path / "run"), "--max-auc", "1"])
    assert isinstance(refused.exception, InputError)
    assert f"{tmp_path / 'run'}: answers: members are right" in str(refused.exception)


def test_one_model_copied_passes_no_gate_and_untouched_ones_are_none(tmp_path: Path) -> None:
    phi = _arrays(MEMBER, leak=0.0)["phi"]
    phi[[1, 4, 6]] = phi[1]
    told = "models 1, 4, 6 answer exactly alike though trained on different samples"
    with pytest.warns(ContradictionWarning, match=told):
        seepage.import_run({"member": MEMBER, "phi": phi}, tmp_path / "run")
    refused = CliRunner().invoke(app, ["check", str(tmp_path / "run"), "--max-auc", "1"])
    assert isinstance(refused.exception, InputError)
    assert told in str(refused.exception)
    # All the same: a start that nothing was trained from, a constant of each label, the same list.
    one, labels = np.repeat(phi[:1], R, axis=0), np.arange(N) % 3
    start = np.stack([one, one], axis=1)
    for k, arrays in enumerate(
        (
            {"phi": one[:, None], "checkpoints": np.array([0.0])},
            {"phi": start, "checkpoints": np.array([0.0, 4.0])},
            {"phi": np.tile(labels - 0.5, (R, 1)), "labels": labels},
            {"phi": np.where(one > 0, 2.0, -2.0)},
        )
    ):
        untouched = seepage.import_run({"member": MEMBER} | arrays, tmp_path / f"same{k}")
        assert contradictions(untouched).alike == ""
    moved = {"phi": np.stack([phi, one], axis=1), "checkpoints": np.array([0.0, 4.0])}
    with pytest.warns(ContradictionWarning, match=r"models 0, 1, .*7 answer exactly alike"):
        seepage.import_run({"member": MEMBER} | moved, tmp_path / "moved")


def test_logits_of_another_numbering_are_not_imported(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, N)
    logits = rng.normal(size=(R, N, 3))
    logits[:, np.arange(N), labels] += 3
    arrays = {"member": MEMBER, "logits": logits, "labels": labels}
    seepage.import_run(arrays, tmp_path / "right")
    with pytest.raises(
        InputError, match=r"labels: .* 0 → 1, 1 → 2, 2 → 0 would make members right"
    ):
        seepage.import_run(arrays | {"labels": (labels + 2) % 3}, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
    names = np.array(["bag", "boot", "coat"])
    with pytest.raises(InputError, match=r"column 0 \(bag\) → 1, 1 \(boot\) → 2, 2 \(coat\) → 0"):
        seepage.import_run(
            arrays | {"labels": (labels + 2) % 3, "classes": names}, tmp_path / "named"
        )


def test_what_an_import_of_arrays_doubted_of_its_classes_is_kept_for_the_gate(
    tmp_path: Path,
) -> None:
    """Another numbering fits better, and not so well that it is the right one."""
    member, n = half_split(600, models=R, seed=0).member, 600
    labels = np.random.default_rng(5).integers(0, 5, n)
    away = np.random.default_rng(6).choice([1, 2, 3], n, p=[0.4, 0.3, 0.3])
    logits = np.tile(3.0 * np.eye(5)[(labels + away) % 5], (R, 1, 1))
    logits += np.random.default_rng(7).normal(size=logits.shape) * 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = seepage.import_run(
            {"member": member, "logits": logits, "labels": labels}, tmp_path / "run"
        )
    assert "too little to be the right one" in import_doubts(run)[0]
    told = CliRunner().invoke(app, ["check", run.path, "--max-auc", "1"])
    assert "too little to be the right one" in " ".join(told.stderr.split())


@pytest.mark.parametrize("pool", [N, 3000])
def test_rows_counted_from_one_pass_no_gate(tmp_path: Path, pool: int) -> None:
    """In a larger pool as well, of which the lists name the first few."""
    rng = np.random.default_rng(3)
    truth = np.zeros((R, pool), bool)
    truth[:, : N - 2] = MEMBER[:, : N - 2]
    phi = rng.normal(size=pool) + 1.5 * truth + rng.normal(size=truth.shape)
    seepage.import_run({"member": truth, "phi": phi}, tmp_path / "right")
    for by, words in ((1, "with -1 on every row.*subtract 1"), (-1, "with \\+1 on.*add 1")):
        given = np.roll(np.where(np.arange(pool) > 0, truth, False), by, axis=1)
        with pytest.warns(ContradictionWarning, match=words):
            run = seepage.import_run({"member": given, "phi": phi}, tmp_path / f"wrong{by}")
        with pytest.raises(InputError, match="seem to be"):
            seepage.check(run, Limits(max_auc=1.0))
