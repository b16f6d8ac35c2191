"""ε of a run: of the recipe, of one model, of one sample; and the command that prints it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from seepage.attacks import LOSS
from seepage.cli import main
from seepage.epsilon import Bonferroni, multi_run
from seepage.epsilon.one_run import epsilon_of_runs, joint_epsilon
from seepage.errors import InputError
from seepage.findings.epsilon import epsilon_of_run, epsilon_of_sample, one_of_each
from seepage.plan import half_split, subsets
from seepage.plan.tuples import tuples
from seepage.scoring import score


def test_the_recipe_and_one_model(make_run: Any) -> None:
    run = make_run(checkpoints=(0.0, 4.0), samples=160, leaky=1.0, shift=6.0)
    scores = score(run, LOSS())
    all_of, one = epsilon_of_run(run, LOSS()), epsilon_of_run(run, LOSS(), target=3)
    assert all_of.bound == joint_epsilon(epsilon_of_runs(scores, run.member))
    # One model needs no half of the error for the others.
    alone = epsilon_of_runs(scores[[3]], run.member[[3]], level=0.9)[0]
    assert one.bound == alone > epsilon_of_runs(scores[[3]], run.member[[3]])[0]
    assert all_of.gaussian > all_of.bound > 0.5
    assert (all_of.models, one.models, all_of.units) == (16, 1, 160)
    assert all_of.spent is None
    assert not all_of.refutes_the_accountant
    assert epsilon_of_run(run, LOSS(), checkpoint=0).bound == 0


def test_an_accountant_that_is_refuted_is_told(make_run: Any) -> None:
    run = make_run(checkpoints=(0.0, 4.0), samples=160, leaky=1.0, shift=6.0)
    facts = {"noise": 9.0, "sampling_rate": 0.1, "steps": 5, "delta": 1e-5, "epsilon": 0.1,
             "epsilon_holds": False}  # fmt: skip
    run.records = {int(r): {"facts": facts} for r in run.models}
    found = epsilon_of_run(run, LOSS())
    assert (found.spent, found.spent_holds) == (0.1, False)
    assert found.refutes_the_accountant
    assert epsilon_of_run(run, LOSS(), delta=1e-6).spent is None


@pytest.mark.parametrize("parts", [2, 4])
def test_trials_of_a_sample_come_from_tuples_of_their_own(parts: int) -> None:
    member = subsets(60, models=32, parts=parts, seed=0).member
    which = tuples(member)
    seen = set()
    for seed in range(30):
        rows = one_of_each(member, 7, np.random.default_rng(seed))
        assert sorted(which[rows].tolist()) == list(range(32 // parts))
        assert member[rows, 7].sum() == 32 // parts / 2
        seen.add(tuple(rows.tolist()))
    assert len(seen) > 20
    loose = member[::parts]
    assert len(one_of_each(loose, 7, np.random.default_rng(0))) == len(loose)


def test_a_sample_by_its_own_signal(make_run: Any) -> None:
    run = make_run(models=128, samples=20, checkpoints=(0.0, 4.0), leaky=0.5, shift=9.0)
    exposed, safe = (epsilon_of_sample(run, i, delta=0.0) for i in (0, 19))
    rows = one_of_each(run.member, 0, np.random.default_rng(0))
    phi = run.signal_at("phi", 1)[rows, 0]
    by_hand = multi_run(phi, run.member[rows, 0], threshold=Bonferroni(8))
    assert exposed == by_hand
    assert exposed.trials == 64
    assert exposed.epsilon > 1 > safe.epsilon == 0
    # What 64 models can show of one sample at all, as docs/epsilon.md says.
    half = np.arange(32) < 16
    fewer = multi_run(half * 1.0, half, delta=1e-5, threshold=Bonferroni(8))
    assert fewer.at_ceiling
    assert fewer.epsilon == pytest.approx(0.83, abs=0.01)


def test_messages(make_run: Any) -> None:
    run = make_run(checkpoints=(0.0, 4.0), samples=40)
    with pytest.raises(InputError, match="target: expected a usable run from 0 to 15, got 16"):
        epsilon_of_run(run, LOSS(), target=16)
    with pytest.raises(InputError, match="level: expected a number between"):
        epsilon_of_run(run, LOSS(), level=0.3)
    quarters = make_run(
        checkpoints=(0.0, 4.0), samples=40, member=subsets(40, models=16, parts=4).member
    )
    with pytest.raises(InputError, match="tuples of more than two runs"):
        epsilon_of_run(quarters, LOSS())
    assert half_split(4, models=2).member.shape == (2, 4)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), " ".join(said.out.split()), " ".join(said.err.split())

    return call


def test_the_command(
    command: Callable[..., tuple[int, str, str]],
    make_run: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run(checkpoints=(0.0, 4.0), samples=80, leaky=1.0)
    run.groups = None
    monkeypatch.setattr("seepage.cli.epsilon.judged_run", lambda path: run)
    status, out, _ = command("epsilon", "run", "-a", "loss")
    assert status == 0
    assert f"│ ε at least │ {epsilon_of_run(run, LOSS()).bound:.3f} │" in out
    assert "joint over 16 models" in out
    assert "an estimate and no bound" in out
    status, out, _ = command("epsilon", "bound", "run", "-a", "loss", "--target", "0")
    assert status == 0
    assert "ε of run 0" in out
    status, out, _ = command("epsilon", "run", "--sample", "s03", "--delta", "0")
    assert status == 0
    assert "sample s03 by its φ, 8 independent models, δ = 0, 95 %" in out
    status, _, err = command("epsilon", "run", "--sample", "nobody")
    assert status == 2
    assert "expected an id of the run such as 's00'" in err


def test_the_commands_that_need_no_run(command: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = command("epsilon", "plan", "--target", "2")
    assert status == 0
    assert "│ 24 │ 2.017 │" in out
    assert "│ 111 │ 2.011 │" in out
    status, out, _ = command("epsilon", "plan", "-t", "20", "--delta", "0.1")
    assert status == 0
    assert out.count("cannot be shown") >= 1
    assert command("epsilon", "plan", "-t", "2", "--truth", "1")[0] == 2
    status, out, _ = command(
        "epsilon", "curve", "--noise", "4", "--rate", "1", "--steps", "9", "--delta", "0.01"
    )
    assert status == 0
    assert "│ advantage │ 0.2923 │" in out
    status, _, err = command("epsilon", "personal", "-b", "x:1", "--rate", "0.1", "--steps", "4")
    assert status == 2
    assert "expected ε:share" in err
