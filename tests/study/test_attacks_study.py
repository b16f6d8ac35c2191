"""The study of attacks: what it measures, what it advises, and that a later attack is run alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from oracles import leaking_signals, read_by
from seepage import attacks
from seepage.cli import app
from seepage.errors import InputError
from seepage.metrics import operating_points
from seepage.plan import half_split, subsets
from seepage.study import read_study
from seepage.study.attacks.advice import advise, candidates
from seepage.study.attacks.measure import by_models, paired_order

STUDY = """
kind = "attacks"
runs = "runs"
results = "results"
page = "page.md"
attacks = {attacks}
sizes = [4]
imitators = [2]
[base]
data = {{ name = "digits", limit = 60 }}
plan = {{ models = 6 }}
model = {{ name = "mlp", options = {{ hidden = [4] }} }}
recipe = {{ epochs = 1, batch = 32, lr = 0.05 }}
record = {{ checkpoints = [0, 1], keep = "final" }}
execution = {{ executor = "inline", device = "cpu" }}
[parts]
curvature = {{ models = 4, samples = 20 }}
imitation = {{ models = 4, samples = 20 }}
[fleets.a-b]
"""


def test_blocks_of_models_are_fleets_of_their_own() -> None:
    """With all models as one block, the whole; with fewer, each target knows its block alone."""
    member = half_split(600, models=16, seed=0).member
    attack = attacks.LiRA()
    signals = read_by(attack, leaking_signals(np.random.default_rng(0), member, shift=2.0))
    signals = {k: v if v.ndim > 2 else v[..., None] for k, v in signals.items()}
    found = by_models(attack, signals, member, 8)
    each = [
        operating_points(
            attack.leave_one_out({k: v[b] for k, v in signals.items()}, member[b]), member[b]
        ).auc
        for b in (slice(0, 8), slice(8, 16))
    ]
    assert found["auc"]["value"] == pytest.approx(np.mean(each), abs=1e-6)
    assert len(found["pairs"]["auc"]) == 8
    assert found["null_auc"]["value"] == pytest.approx(0.5, abs=0.03)
    assert found["calibrated at 0.01"]["fpr"]["value"] == pytest.approx(0.01, abs=0.005)
    whole = by_models(attack, signals, member, 16)
    assert whole["auc"]["value"] > found["auc"]["value"]
    # 5 models: a pair would be torn; 10 of 16 are one block, and the others none.
    assert len(by_models(attack, signals, member, 10)["pairs"]["auc"]) == 5


def test_models_of_a_tuple_are_neighbours_whatever_their_order() -> None:
    member = subsets(24, models=8, parts=4, seed=1).member[[0, 4, 1, 5, 2, 6, 3, 7]]
    ordered = member[paired_order(member)]
    assert (ordered[:4].sum(axis=0) == 1).all()


def figures(
    tpr: float, *, auc: float = 0.6, spread: float = 0.001, null: float = 0.5, seconds: float = 1.0
) -> Any:
    turns = spread * np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    return {
        "tpr at 0.01": {"value": tpr, "low": tpr - 0.003, "high": 1.0},
        "auc": {"value": auc, "low": 0.0, "high": 1.0},
        "null_auc": {"value": null, "low": null - 0.002, "high": null + 0.002},
        "seconds": seconds,
        "pairs": {"tpr at 0.01": (tpr + turns).tolist(), "auc": (auc + turns).tolist()},
    }


def row(access: str, least: int, by: dict[str, Any] | None = None, **given: Any) -> Any:
    told = {"access": access, "least": least, "queries": given.pop("queries", 1), "models": 64}
    return {**told, **figures(**given), "by_models": by or {}}


def test_advice_is_the_least_that_is_as_good() -> None:
    results = {
        "x": {
            "label": row("label", 1, tpr=0.02),
            "asked often": row("label", 1, tpr=0.05, queries=100),
            "strong": row("scores", 6, {"8": figures(0.2), "16": figures(0.297)}, tpr=0.3),
            "slow": row("scores", 6, {"16": figures(0.299, seconds=9.0)}, tpr=0.299, seconds=9.0),
            "noise": row("scores", 6, tpr=0.9, null=0.52),
            "iha": row("weights", 1, tpr=0.8),
            "white": row("weights", 1, tpr=0.4, spread=0.2),
            # Short by a sixteenth, which so wide an interval does not tell from nothing.
            "wide": row("weights", 2, tpr=0.375, seconds=0.1),
        }
    }
    known = candidates(results)
    assert {c.attack for c in known} == {*results["x"]} - {"noise", "iha"}

    def run(access: str, budget: int) -> tuple[str, int] | None:
        found = advise(known, access, budget)
        return None if found is None else (found.run.attack, found.run.models)

    assert run("label", 64) == ("asked often", 1)
    assert run("scores", 4) == ("asked often", 1)
    assert run("scores", 8) == ("strong", 8)
    # Within the slack of 0.3, for a quarter of the models and less time.
    assert run("scores", 64) == ("strong", 16)
    assert run("trajectory", 64) == ("strong", 16)
    assert run("weights", 1) == ("white", 1)
    white = advise(known, "weights", 64)
    assert white is not None
    assert [c.attack for c in white.as_good] == ["white", "wide"]
    strongest = advise(known, "scores", 64)
    assert strongest is not None
    assert (strongest.strongest.attack, strongest.strongest.models) == ("strong", 64)
    assert [c.attack for c in strongest.as_good[:2]] == ["strong", "slow"]
    # What was asked about fewer samples has figures of other samples.
    few = {"x": {**results["x"], "few": {**row("label", 1, tpr=0.9), "samples": 5}}}
    few["x"]["strong"] = {**few["x"]["strong"], "samples": 9}
    assert "few" not in {c.attack for c in candidates(few)}
    # What was not run on every fleet is no candidate.
    del results["x"]["slow"]
    assert "slow" not in {c.attack for c in candidates({**results, "y": results["x"]})}
    assert advise([], "label", 64) is None


def test_where_none_beats_noise_at_1_percent_the_area_decides() -> None:
    results = {
        "x": {
            "gap": row("label", 1, tpr=0.0, auc=0.567),
            "loss": row("scores", 1, tpr=0.011, auc=0.554),
            "dear": row("scores", 1, tpr=0.0, auc=0.568, seconds=9.0),
            "lira": row("scores", 6, tpr=0.1, auc=0.5),
        }
    }
    one = advise(candidates(results), "scores", 1)
    assert one is not None
    # 0.567 falls short of 0.568 by a sixty-eighth of what exceeds ½.
    assert (one.figure, one.run.attack, one.strongest.attack) == ("auc", "gap", "dear")
    many = advise(candidates(results), "scores", 64)
    assert many is not None
    assert (many.figure, many.run.attack) == ("tpr at 0.01", "lira")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('attacks = ["lir"]', "attacks: expected names of attacks, got 'lir'; did you mean 'lira'"),
        ('parts = { "curv*x" = { samples = 30 } }', "parts: expected names of attacks, got"),
        ("parts = { rmai = { samples = 30 } }", "parts: expected names of attacks, got 'rmai'"),
        ("sizes = [4, 7]", r"sizes: expected even numbers of at least 4, got \[4, 7\]"),
        ("parts = { lira = { models = 5 } }", "models"),
        ("imitators = [5, 1]", r"imitators: expected at least 2 each, got \[5, 1\]"),
    ],
)
def test_a_bad_field_is_named(given: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(f'kind = "attacks"\n{given}\n[fleets.a]\n')
    with pytest.raises(InputError, match=message):
        read_study(file)


def test_an_attack_that_was_added_is_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "study.toml"
    file.write_text(STUDY.format(attacks='["loss", "lira"]'))

    def command(*more: str) -> str:
        result = CliRunner().invoke(app, ["study", "study.toml", *more])
        assert result.exit_code == 0, result.output
        return result.output

    assert "0 of 6" in command("--dry-run")
    command()
    page = Path("page.md").read_text()
    assert "| a-b | `lira` | 4 | needs 6 |" in page
    assert "## Not run" not in page
    before = {p.name: p.read_bytes() for p in Path("results").iterdir()}
    assert set(before) == {"a-b.json", "a-b-loss.json", "a-b-lira.json"}
    file.write_text(STUDY.format(attacks='["loss", "lira", "curvature", "imitation", "seqmia"]'))
    assert command("--only", "analyse").count("training of") == 0
    for name, content in before.items():
        assert (Path("results") / name).read_bytes() == content
    page = Path("page.md").read_text()
    # Measured on kept weights, network by network, of a part that the page tells.
    assert "| 4 models, 20 samples |" in page
    # Of four networks: the curvature, what five imitators say, and what two do.
    assert len(list(Path("runs/a-b-measured").iterdir())) == 12
    imitated = json.loads(Path("results/a-b-imitation.json").read_text())
    assert imitated["by_imitators"]["2"]["auc"] != imitated["auc"]
    assert "| a-b | `imitation` | 4 + 5 | " in page
    assert "| a-b | `imitation` | 4 + 2 | " in page
    assert "`imitation`, which was looked at on 4 models and 20 samples, the second number" in page
    assert "`seqmia`: needs logits" in page
