"""`seepage layers`: the table, the regions, and what is kept for the report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import seepage
from seepage.cli import layers, main
from seepage.config.audit import read_config
from seepage.config.prepare import prepare
from seepage.defenses import PPTP, RelaxLoss
from seepage.defenses.regions import region_parameters
from seepage.errors import InputError
from seepage.fleet import train_prepared
from seepage.fleet.rebuild import rebuild
from seepage.layers import DegreesOfFreedom, RiskTable, SmallMLP, measure_risk

FIELDS = (
    "data.name=digits", "data.limit=96", "plan.models=4", "model.name=mlp",
    "model.options.hidden=[8, 8]", "recipe.epochs=2", "recipe.batch=16", "recipe.lr=0.1",
    'recipe.precision="fp32"', "record.checkpoints=[0,2]", 'record.keep="all"',
    "execution.workers=1", 'execution.device="cpu"', 'attacks.names=["loss"]', 'attacks.main="loss"',
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("layers") / "run"
    train_prepared(prepare(read_config(None, [*FIELDS, f"out={out}"])))
    return out


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def call(*words: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        return (0 if code is None else int(code)), said.out, said.err

    return call


Command = Callable[..., tuple[int, str, str]]


def test_regions_as_json_name_parameters_and_keep_nothing(trained: Path, command: Command) -> None:
    status, out, _ = command("layers", trained, "--json", "--top", 1, "--no-jacobian", "-n", 1)
    assert status == 0
    (pattern,) = json.loads(out)
    run = seepage.open(trained)
    names = [n for n, _ in rebuild(run).model.named_parameters()]
    assert any(n.startswith(pattern.removesuffix("*")) for n in names)
    assert run.derived("layers") is None


def test_regions_as_json_are_taken_by_a_defence(
    trained: Path, command: Command, tmp_path: Path
) -> None:
    status, out, _ = command("layers", trained, "--json", "--top", 1, "--no-jacobian", "-n", 1)
    assert status == 0
    regions = tuple(json.loads(out))
    model = rebuild(seepage.open(trained)).model
    inside = region_parameters(model, regions)
    assert inside
    assert inside < {n for n, _ in model.named_parameters()}
    # The library's own type takes them, and so does an audit, which trains under it.
    assert PPTP(RelaxLoss(), regions).regions == regions
    options = f'defense.options={{"base": "relaxloss", "regions": {out.strip()}}}'
    guarded = [*FIELDS, f"out={tmp_path / 'guarded'}", "plan.models=2", 'defense.name="pptp"']
    train_prepared(prepare(read_config(None, [*guarded, options])))
    run = seepage.open(tmp_path / "guarded")
    told = [run.records[r]["facts"]["pptp_regions"] for r in run.models.tolist()]
    assert told == [list(regions)] * 2


def test_the_table_is_what_the_library_gives_and_is_kept(trained: Path, command: Command) -> None:
    status, out, _ = command("layers", trained, "--no-jacobian", "-n", 1, "--over-training")
    assert status == 0
    run = seepage.open(trained)
    kept = run.derived("layers")
    assert kept is not None
    own = rebuild(run)
    again = measure_risk(own.model, own.inputs, own.member, indicators=[DegreesOfFreedom()])
    assert tuple(kept["layers"]) == again.table.layer
    np.testing.assert_allclose(kept["attack_auc"][-1], again.attack.auc.mean(axis=1))
    np.testing.assert_allclose(kept["indicators"]["k95"][-1], again.table["k95"])
    assert kept["epochs"] == [0.0, 2.0]
    riskiest = again.risk()
    assert out.index(riskiest.layer[0]) < out.index(riskiest.layer[-1])
    assert riskiest.regions(2)[0] in out
    assert f"{riskiest.risk[0]:.3f}" in out


def test_report_shows_the_attack_beside_the_indicators(
    trained: Path, command: Command, tmp_path: Path
) -> None:
    command("layers", trained, "--no-jacobian", "-n", 1, "--over-training")
    place = seepage.write_report(seepage.open(trained), tmp_path / "r.html", permutations=1)
    text = place.read_text()
    assert "AUC of the attack per layer (1 kept models)" in text
    assert "No attack was run on the layers." not in text


def test_an_attacker_with_a_model_of_their_own(trained: Path, command: Command) -> None:
    status, out, _ = command("layers", trained, "--variant", "shadow", "--no-jacobian", "-n", 1)
    assert status == 0
    assert "ShadowTransfer" in out


def test_a_perceptron_as_the_attacker(trained: Path, command: Command) -> None:
    words = ("--attacker", "mlp", "--no-jacobian", "-n", 1)
    status, out, _ = command("layers", trained, *words)
    assert status == 0
    assert "Audit (SmallMLP)" in out
    run = seepage.open(trained)
    kept = run.derived("layers")
    assert kept is not None
    own = rebuild(run)
    again = measure_risk(
        own.model, own.inputs, own.member, indicators=[DegreesOfFreedom()], attacker=SmallMLP()
    )
    np.testing.assert_allclose(kept["attack_auc"][-1], again.attack.auc.mean(axis=1))


def test_only_chosen_layers(trained: Path, command: Command) -> None:
    status, out, _ = command("layers", trained, "-l", "head", "--no-jacobian", "--json", "--top", 1)
    assert status == 0
    assert json.loads(out) == ["head.*"]


def test_refusals(trained: Path, command: Command) -> None:
    for words, message in (
        (["-l", "haed"], "head"),
        (["--variant", "guess"], "--variant: expected audit or shadow, got 'guess'"),
        (["--attacker", "forest"], "--attacker: expected logistic or mlp, got 'forest'"),
        (["--top", 9, "--no-jacobian", "-n", 1], "--top: expected 1 to 3 layers, got 9"),
        (["--model", "nothing"], "model"),
    ):
        status, _, err = command("layers", trained, *words)
        assert status == 2, words
        assert message in err
        assert err.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('record.layer_options={"sample": 3}', "did you mean 'samples'"),
        ('record.layer_options={"columns": ["k96"]}', "did you mean 'k95'|did you mean 'k99'"),
        ('record.layer_options={"samples": 1}', "expected at least 2 samples"),
        ('record.layer_options={"samples": "all"}', "record.layer_options"),
    ],
)
def test_bad_layer_options(given: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(read_config(None, [*FIELDS, "record.layers=true", given]))


def test_figures_that_are_lower_bounds_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    measured = SimpleNamespace(
        layer=("wide", "narrow"), at_least=np.array([True, False]),
        sample_bound=np.array([False, True]),
    )  # fmt: skip
    bounds = layers._bounds([SimpleNamespace(table=measured)])  # type: ignore[list-item]
    columns = {
        "k95": np.array([31.0, 9.0]), "jac_rank_1e2": np.array([64.0, 5.0]),
        "mia_auc": np.array([0.6, 0.5]),
    }  # fmt: skip
    table = RiskTable(
        ("wide", "narrow"), (("wide",), ("narrow",)), np.array([0.2, 0.0]), "test", columns, {}
    )
    layers._print(table, "title", 1, bounds)
    out = capsys.readouterr().out
    assert "≥64" in out
    assert "≥9" in out
    assert out.count("≥") == 2
