"""The gate on what the audit of one model wrote: the rule of runs, and nothing that was changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import seepage
from seepage.cli import main
from seepage.single import Recorded, SingleAudit

Command = Callable[..., tuple[int, str, str]]
N = 400


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", "check", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out.replace("\n", " "), said.err

    return call


@pytest.fixture(scope="module")
def leaking() -> SingleAudit:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, N)
    z = rng.normal(size=(N, 3))
    z[np.arange(N), y] += 1.0 + (np.arange(N) < N // 2)
    half = N // 2
    return seepage.audit(Recorded(z[:half], z[half:]), y[:half], y[half:], blind=False)


def test_the_upper_end_of_the_strongest_attack_is_compared(
    command: Command, leaking: SingleAudit, tmp_path: Path
) -> None:
    path = str(leaking.write_json(tmp_path / "one.json"))
    best = leaking.strongest
    below, above = f"{best.estimate.high - 1e-6:.8f}", f"{best.estimate.high + 1e-6:.8f}"
    status, out, err = command(path, "--max-auc", above)
    assert (status, err) == (0, "")
    assert f"{best.attack}, strongest of {best.compared}: AUC {best.estimate.mean:.4f}" in out
    assert out.rstrip().endswith("holds")
    status, out, err = command(path, "--max-auc", below, "-a", "gap")
    assert status == 1
    assert "gap: AUC" in out
    assert "AUC may exceed the limit" in err
    status, out, _ = command(path, "--max-tpr", "1", "--fpr", "0.01")
    assert (status, "noise" in out) == (0, True)
    # 200 others cannot resolve a thousandth: nothing is known but that no rate exceeds 1.
    assert command(path, "--max-tpr", "0.9")[0] == 1


def test_named_members_are_limited_and_no_bound_on_epsilon_is(
    command: Command, tmp_path: Path
) -> None:
    loss = np.random.default_rng(0).exponential(size=N)
    loss[:100], loss[100:] = 0.0, loss[100:] + 1.0
    one = seepage.audit(
        Recorded({"loss": loss[:200]}, {"loss": loss[200:]}), None, None, blind=False
    )
    path = str(one.write_json(tmp_path / "one.json"))
    named = int(one.named[one.member].sum())
    assert named >= 100
    at = tmp_path / "out.xml"
    status, out, err = command(path, "--max-exposed", str(named), "--junit", str(at))
    assert (status, err) == (0, "")
    assert f"{named} of 200 are named: holds" in out
    assert 'tests="1" failures="0"' in at.read_text()
    status, _, err = command(path, "--max-exposed", str(named - 1))
    assert (status, f"exposed samples exceed the limit {named - 1}" in err) == (1, True)
    status, _, err = command(path, "--max-exposed", "0", "--max-eps", "1")
    assert (status, "--max-eps: expected only of a run folder" in err) == (2, True)


def test_without_a_verdict_no_limit_holds(command: Command, tmp_path: Path) -> None:
    loss = np.random.default_rng(0).exponential(size=N)
    turned = Recorded({"loss": loss[:200] + 1}, {"loss": loss[200:]})  # sides that were exchanged
    one = seepage.audit(turned, None, None, blind=False)
    path = str(one.write_json(tmp_path / "one.json"))
    status, out, err = command(path, "--max-auc", "0.99")
    assert (status, "no verdict, so that no limit holds" in err) == (1, True)
    # Before any row, none of which says more than that.
    assert out.startswith("no verdict: ")
    assert "no verdict" in out


def test_of_labels_that_answers_tell_nothing_of_no_limit_holds(
    command: Command, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(N, 3)), rng.integers(0, 3, N)
    one = seepage.audit(Recorded(z[:200], z[200:]), y[:200], y[200:], blind=False)
    path = str(one.write_json(tmp_path / "one.json"))
    status, out, err = command(path, "--max-auc", "1")
    assert (status, "no verdict" in out, "holds" in out) == (1, True, False)
    assert "no verdict, so that no limit holds: answers: members are right in" in err
    status, out, err = command(path, "--max-auc", "1", "--learnt-nothing")
    assert (status, "holds" in out) == (0, True)
    assert err.startswith("warning:")
    assert "answers: members are right in" in err


def test_what_was_changed_or_is_of_another_kind_is_refused(
    command: Command, leaking: SingleAudit, tmp_path: Path
) -> None:
    path = leaking.write_json(tmp_path / "one.json")
    held = json.loads(path.read_text())
    changed, bare, other = (tmp_path / f"{n}.json" for n in ("changed", "bare", "other"))
    changed.write_text(json.dumps(held | {"verdict": "not shown"}))
    bare.write_text(json.dumps({k: v for k, v in held.items() if k != "digest"}))
    other.write_text(json.dumps({"format": "seepage.report/2"}))
    for words, said in (
        ((changed, "--max-auc", "1"), "got one that was changed since"),
        ((bare, "--max-auc", "1"), "expected a result with its digest, got one without"),
        ((other, "--max-auc", "1"), "expected a result with its digest"),
        ((tmp_path / "none.json", "--max-auc", "1"), "expected a result that can be read"),
        ((path,), "expected a limit, got none"),
        ((path, "--max-auc", "1", "--unit", "sample"), "--unit: expected only of a run folder"),
        ((path, "--max-auc", "1", "-a", "los"), "did you mean 'loss'?"),
        ((path, "--max-tpr", "1", "--fpr", "0.02"), "--max-tpr: expected an FPR that"),
    ):
        status, out, err = command(*map(str, words))
        assert (status, out) == (2, ""), words
        assert said in err, words
