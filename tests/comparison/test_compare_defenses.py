"""`seepage.compare_defenses` on digits and tiny fleets: what it finds, keeps and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import seepage
from seepage.comparison import ComparisonConfig, ComparisonResult, queue
from seepage.comparison import pool as module
from seepage.comparison.pool import from_config
from seepage.comparison.queue import run_pools
from seepage.comparison.results import read_pool
from seepage.config import Execution, Model, Record
from seepage.defenses import EarlyStopping, LabelSmoothing, RelaxLoss
from seepage.errors import InputError
from seepage.metrics import over_targets, row_auc
from seepage.report.compare_defences import write_defend_report

ROOT = Path(__file__).parents[2]
DATA = seepage.load("digits", limit=240)
PLAN = seepage.half_split(len(DATA), models=6, seed=0)
RECIPE = seepage.Recipe(epochs=2, batch=30, lr=0.1, precision="fp32")
GIVEN: dict[str, Any] = {
    "model": Model(options={"hidden": [16]}),
    "recipe": RECIPE,
    "record": Record(checkpoints=[0.0, 2.0], logits=True),
    "execution": Execution(executor="inline", device="cpu"),
    "fprs": (0.1,),
}
DEFENSES = {"soft": LabelSmoothing(smoothing=0.5), "relaxloss": RelaxLoss(alpha=1.0)}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def found(out: Path) -> ComparisonResult:
    return seepage.compare_defenses(DATA, PLAN, defenses=DEFENSES, out=out, **GIVEN)


def test_rows_say_what_the_stored_signals_say(found: ComparisonResult, out: Path) -> None:
    assert [r.label for r in found.rows] == ["none", "soft", "relaxloss"]
    assert not found.failed
    run = seepage.open(out / "digits" / "soft-s0")
    right = run.signal_at("correct", -1)
    per_run = [right[r, ~run.member[r]].mean() for r in range(6)]
    row = found["soft"]
    assert row.accuracy.mean == pytest.approx(np.mean(per_run))
    assert row.accuracy.groups == 3
    scores = seepage.attacks.LiRA().leave_one_out(run.signal_at("phi", -1), run.member)
    area = [row_auc(s[:, None], m[:, None])[0] for s, m in zip(scores, run.member, strict=True)]
    expected = over_targets(np.array(area), run.member)
    assert (row.auc.mean, row.auc.low, row.auc.high) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )
    assert 0 <= row.tpr[0.1].low <= row.tpr[0.1].mean <= row.tpr[0.1].high <= 1
    assert row.realised_fpr[0.1] <= 0.1
    # Shadow models without a defence are those of the undefended fleet itself.
    # The prior of spreads is fitted to cells, so that rounding may move a few scores of so few models.
    assert found["none"].static_auc.mean == pytest.approx(found["none"].auc.mean, abs=1e-3)
    assert row.static_auc.mean != pytest.approx(row.auc.mean)
    assert any(r.on_front for r in found.rows)
    assert found["none"].cost.mean == pytest.approx(1.0)
    with pytest.raises(KeyError):
        _ = found["hamp"]


def test_the_same_call_trains_and_scores_nothing_and_prints_nothing(
    found: ComparisonResult,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "evaluate", None)
    before = sorted(p.name for p in (out / "digits" / "soft-s0" / "sessions").iterdir())
    again = seepage.compare_defenses(DATA, PLAN, defenses=DEFENSES, out=out, **GIVEN)
    assert again.rows == found.rows
    assert sorted(p.name for p in (out / "digits" / "soft-s0" / "sessions").iterdir()) == before
    assert capfd.readouterr() == ("", "")


def test_a_file_and_the_call_are_one_engine(
    found: ComparisonResult, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "study.toml").write_text(
        f'runs = "{tmp_path}/runs"\nresults = "{tmp_path}/results"\nfprs = [0.1]\n'
        '[[defences]]\nname = "label-smoothing"\nlabel = "soft"\noptions = { smoothing = 0.5 }\n'
        '[base]\ndata = { name = "digits", limit = 240 }\nplan = { models = 6 }\n'
        'model = { name = "mlp", options = { hidden = [16] } }\n'
        'recipe = { epochs = 2, batch = 30, lr = 0.1, precision = "fp32" }\n'
        'record = { checkpoints = [0, 2] }\nfleet = { executor = "inline", device = "cpu" }\n'
    )
    config = ComparisonConfig.from_toml(tmp_path / "study.toml")
    run_pools([from_config(config, "digits")])
    rows = {r.label: r for r in read_pool(tmp_path / "results" / "digits", "lira", (0.1,)).rows}
    for label in ("none", "soft"):
        ours = next(r for r in found.pool.rows if r.label == label)
        for metric, values in rows[label].values.items():
            if metric != "cost":
                assert ours.values[metric] == values, metric


def test_several_plans_join_their_pairs_and_a_report_draws_them(tmp_path: Path) -> None:
    plans = [seepage.half_split(len(DATA), models=6, seed=s) for s in (3, 5)]
    found = seepage.compare_defenses(
        DATA, plans, defenses=[RelaxLoss(alpha=0.25)], out=tmp_path, **GIVEN
    )
    # A label is made of what differs from the default's.
    assert found["relaxloss alpha=0.25"].auc.groups == 6
    page = write_defend_report([found.pool], tmp_path / "page.html")
    assert "relaxloss alpha=0.25" in page.read_text()


def test_what_cannot_be_judged_is_left_out_with_its_reason(
    out: Path, found: ComparisonResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise InputError("runs: expected some that did not fail, got none")

    monkeypatch.setattr(module, "evaluate", refused)
    told = seepage.compare_defenses(
        DATA, PLAN, defenses={"wild": LabelSmoothing(smoothing=0.9)}, out=out, **GIVEN
    )
    assert [r.label for r in told.rows] == ["none"]
    assert told.failed == {"wild": "runs: expected some that did not fail, got none"}


def test_a_bug_is_raised_after_the_others_went_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def train(self: Any, candidate: Any, seed: int) -> None:
        asked.append(candidate.label)
        raise (ZeroDivisionError if candidate.label != "none" else KeyError)("a bug")

    pool = from_config(
        ComparisonConfig(
            base={"data": {"name": "digits", "limit": 60}, "plan": {"models": 6},
                  "recipe": {"batch": 20}},
            defences=[{"name": "label-smoothing"}, {"name": "relaxloss"}],
            results=str(tmp_path), runs=str(tmp_path),
        ),
        "digits",
    )  # fmt: skip
    monkeypatch.setattr(module.PoolComparison, "train", train)
    with pytest.raises(KeyError):
        run_pools([pool])
    todo = queue.PoolQueue(pool)
    for _ in pool.candidates:
        task = todo.next()
        assert task is not None
        if task.candidate.label != "none":
            todo.failed(task, ZeroDivisionError("a bug"))
    assert len(todo.broken) == 2
    assert asked == ["none"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"defenses": []}, "defenses: expected at least one to compare"),
        ({"defenses": ["none"]}, "defenses: expected at least one to compare"),
        ({"defenses": ["relax"]}, "did you mean 'relaxloss'"),
        ({"defenses": [3]}, "defenses: expected a name or a defence, got 3"),
        ({"defenses": ["relaxloss", "relaxloss"]}, "labels that differ from"),
        ({"defenses": {"None": "relaxloss"}}, "labels that differ from"),
        ({"defenses": [EarlyStopping()]}, "reference: early-stopping needs"),
        ({"attacks": ["lyra"]}, "did you mean 'lira'"),
        ({"attacks": []}, "attacks: expected at least one"),
        ({"attacks": ["lira", "lira"]}, "attacks: expected each kind once"),
        ({"plan": []}, "plan: expected at least one"),
        ({"plan": [PLAN, PLAN]}, "plan: expected plans of different seeds"),
        ({"plan": seepage.half_split(8, models=6)}, "plan: expected as many samples"),
        ({"plan": seepage.half_split(240, models=2)}, "at least two complementary pairs"),
        ({"plan": seepage.leave_out(240, folds=6)}, "at least two complementary pairs"),
        ({"jobs": 2, "recipe": seepage.Recipe()}, "jobs: expected recipe.precision"),
        ({"jobs": 2, "model": lambda: nn.Linear(64, 10)}, "jobs: expected a model that other"),
    ],
)
def test_bad_values_are_refused_before_anything_is_trained(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    given = {"plan": PLAN, "defenses": ["relaxloss"], **GIVEN} | changed
    with pytest.raises(InputError) as told:
        seepage.compare_defenses(DATA, out=tmp_path / "out", **given)
    assert message in str(told.value)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_the_page_of_the_repository_follows_from_its_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from seepage.report.compare_defences import markdown

    monkeypatch.chdir(ROOT)
    config = ComparisonConfig.from_toml(Path("studies/defences.toml"))
    pools = [
        read_pool(
            Path(config.results) / name,
            config.attacks[0],
            config.fprs,
            canaries=config.planted(name),
        )
        for name in config.pools
    ]
    assert config.page is not None
    assert markdown(pools, "studies/defences.toml") + "\n" == Path(config.page).read_text()
