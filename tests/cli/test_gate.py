"""The gate: the strongest attack that applies, the target of a fixed-target plan, rates unresolved."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import seepage
from seepage.attacks import ATTACKS
from seepage.cli import audit, main
from seepage.data import npz
from seepage.findings import collect
from seepage.findings.result import Blind
from seepage.metrics import Estimate, auc

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out.replace("\n", " "), said.err

    return call


SAMPLES = 240


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight runs on 160 digits, with the signals that every attack on losses reads."""
    data = seepage.load("digits", limit=160)
    out = tmp_path_factory.mktemp("fleet") / "run"
    seepage.train(
        data,
        seepage.half_split(len(data), models=8, seed=0),
        out=out,
        recipe=seepage.Recipe(epochs=10, batch=20, precision="fp32"),
        record=seepage.Record(checkpoints=(10,), keep="none"),
        execution=seepage.Execution(executor="inline", device="cpu"),
    )
    return out


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target that was trained for long, and shadows that were hardly trained: run 0 leaks alone."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, 5)).astype(np.float32)
    y = rng.integers(0, 2, SAMPLES)
    plan = seepage.fixed_target(np.arange(SAMPLES) < SAMPLES // 2, models=8, seed=0)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)

    def train(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> torch.nn.Module:
        torch.manual_seed(seed % 2**63)
        chosen = torch.from_numpy(np.asarray(members))
        target = members.tolist() == list(range(SAMPLES // 2))
        net = torch.nn.Sequential(torch.nn.Linear(5, 128), torch.nn.ReLU(), torch.nn.Linear(128, 2))
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        recorder.start(net)
        for _ in range(250 if target else 5):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(inputs[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
        recorder.epoch_end()
        return net

    out = tmp_path_factory.mktemp("gate") / "run"
    seepage.train(
        npz.from_arrays(x, y),
        plan,
        function=train,
        recipe=seepage.Recipe(epochs=1),
        record=seepage.Record(checkpoints=(1,), keep="none"),
        execution=seepage.Execution(executor="inline", device="cpu"),
        out=out,
    )
    return out


def test_a_target_that_leaks_more_than_its_shadows_fails_the_gate(
    released: Path, command: Command
) -> None:
    run = seepage.open(released)
    scores = seepage.score(run, seepage.attacks.LOSS())
    own = auc(scores[0], run.member[0])
    fleet = np.mean([auc(s, m) for s, m in zip(scores, run.member, strict=True)])
    limit = (own + fleet) / 2
    assert fleet < limit < own
    status, out, err = command("check", str(released), "--max-auc", f"{limit:.3f}", "-a", "loss")
    assert status == 1
    assert f"loss: AUC {own:.4f}" in out or f"AUC {own:.4f}" in out
    assert "judged: the fixed target, run 0, by 8 shadows" in out
    assert "may exceed the limit" in err
    status, out, _ = command("attack", str(released), "-a", "loss")
    assert status == 0
    assert "the fixed target alone, 8 shadows" in out
    assert f"{own:.4f}" in out


@pytest.mark.parametrize("limit", [0.5, 0.65, 0.99])
def test_the_gate_agrees_with_the_strongest_attack_of_the_report(
    fleet: Path, command: Command, limit: float
) -> None:
    strongest = collect(seepage.open(fleet), permutations=1, blind=False).strongest_auc
    status, out, _ = command("check", str(fleet), "--max-auc", str(limit), "-a", "lira")
    assert status == (0 if strongest.estimate.high <= limit else 1)
    assert f"{strongest.attack}, strongest of {strongest.compared}: AUC" in out
    assert "lira: AUC" in out or strongest.attack == "lira"


def test_a_rate_that_cannot_be_resolved_does_not_pass(fleet: Path, command: Command) -> None:
    status, out, _ = command("check", str(fleet), "--max-tpr", "0.9", "--fpr", "0.0001")
    assert status == 1
    assert "cannot be resolved with" in out
    assert "non-members, limit 0.9: does not hold" in out


def test_limits_of_a_file_every_kind_of_limit_and_junit(
    fleet: Path, command: Command, tmp_path: Path
) -> None:
    at, out_at = tmp_path / "limits.toml", tmp_path / "out.xml"
    at.write_text('[limits]\nmax_auc = 0.1\nmax_tpr = "1@0.1"\nmax_exposed = 1.0\n')
    words = ("check", str(fleet), "--limits", str(at), "--max-auc", "1", "--max-tpr", "0.001@0.05",
             "--max-eps", "0.001", "--delta", "0", "--junit", str(out_at))  # fmt: skip
    status, out, err = command(*words)
    assert status == 1, err
    assert f"note: {at}: max_auc 1.0 instead of 0.1, by the command line" in err
    assert "TPR at 0.05 FPR may exceed the limit 0.001: the upper end of its 95 %" in err
    assert "ε at δ = 0 exceeds the limit 0.001: the run shows at least" in err
    assert "AUC" not in err.partition("seepage:")[2]
    assert "exposed samples stay within the limit 1 (160 of 160)" in out
    suite = ElementTree.parse(out_at).getroot()[0]
    failed = {c.get("name"): len(c.findall("failure")) for c in suite}
    assert failed == {
        "AUC at most 1": 0, "TPR at 0.1 FPR at most 1": 0, "TPR at 0.05 FPR at most 0.001": 1,
        "ε at δ = 0 at most 0.001": 1, "exposed samples at most 1": 0,
    }  # fmt: skip
    for odd, said in (
        (("--max-tpr", "0.1@2"), "--max-tpr: expected a value in 0..1"),
        (("--max-tpr", "0.1:0.1"), "--max-tpr: expected 'LIMIT@FPR'"),
        (("--max-exposed", "five"), "--max-exposed: expected a count"),
        (("--max-exposed", "5", "--as", "top-1"), "--max-exposed: expected without --as"),
        (("--max-auc", "1", "--junit", "out.txt"), "--junit: expected a name that ends in .xml"),
    ):
        status, out, err = command("check", str(fleet), *odd)
        assert (status, out) == (2, ""), odd
        assert said in err, odd


def test_samples_with_too_few_references_do_not_stop_the_strongest_attack(
    command: Command, tmp_path: Path
) -> None:
    """They are left out and counted; without them only attacks that need no references would run."""
    rng = np.random.default_rng(0)
    member = seepage.half_split(300, models=16, seed=0).member.copy()
    member[:, :7] = np.arange(16)[:, None] == np.arange(7)
    phi = 3 * rng.normal(size=300) + rng.normal(size=member.shape) + 2 * member
    np.savez(tmp_path / "theirs.npz", member=member, phi=phi, loss=np.logaddexp(0, -phi))
    folder = str(tmp_path / "run")
    assert command("import", str(tmp_path / "theirs.npz"), folder)[0] == 0
    told = "7 of 300 samples left out: 7 have fewer than 2 IN or 2 OUT references (0, 1, 2, …)"
    status, out, err = command("check", folder, "--max-auc", "0.8")
    assert status == 1, err
    assert ATTACKS[out.partition(", strongest of")[0]].min_in == 2
    assert told in out
    status, out, err = command("attack", folder, "-a", "lira")
    assert status == 0, err
    assert told in out
    report = str(tmp_path / "r.html")
    status, out, err = command("report", folder, report, "-a", "lira")
    assert status == 0, err
    assert told in out


def test_a_report_goes_into_the_run_folder_unless_told_otherwise(
    command: Command, fleet: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places: list[str] = []
    monkeypatch.setattr(audit, "_report", lambda run, path, *rest: places.append(str(path)))
    monkeypatch.chdir(tmp_path)
    assert command("report", str(fleet))[0] == 0
    assert command("report", str(fleet), "a.html")[0] == 0
    assert command("report", str(fleet), "--out", "b.html")[0] == 0
    status, _, err = command("report", str(fleet), "a.html", "--out", "b.html")
    assert (status, "expected one of them" in err) == (2, True)
    assert places == [str(fleet / "report.html"), "a.html", "b.html"]


def test_no_limit_holds_where_members_differ_without_a_model(
    fleet: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seepage.findings import blind

    wins = Blind(Estimate(0.8, 0.7, 0.9, 0.95, 4), "", "bag of words")
    monkeypatch.setattr(blind, "blind_of_run", lambda run: wins)
    status, _, error = command("check", str(fleet), "--max-auc", "1", "--learnt-nothing")
    assert status == 1
    assert (
        "no verdict, so that no limit holds: members and others differ without any model" in error
    )
