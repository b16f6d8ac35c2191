"""`seepage curvature`, and curvature as part of an audit's configuration."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import seepage
from seepage.attacks import CurvatureLR, get
from seepage.attacks.binding import bind
from seepage.cli import main
from seepage.config.audit import read_config
from seepage.config.prepare import prepare
from seepage.curvature import curvature
from seepage.errors import InputError
from seepage.fleet import train_prepared
from seepage.fleet.rebuild import rebuild
from seepage.store import Run
from tiny_fleet import rewrite_manifest

SMALL = (
    "data.name=digits", "data.limit=96", "plan.models=4", "model.name=mlp",
    "model.options.hidden=[8]", "recipe.epochs=2", "recipe.batch=16", "recipe.lr=0.1",
    'recipe.precision="fp32"', "record.checkpoints=[0,1,2]", 'record.keep="all"',
    "execution.workers=1", 'execution.device="cpu"', 'attacks.names=["loss"]', 'attacks.main="loss"',
)  # fmt: skip


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four perceptrons on digits, curvature and layers recorded, all weights kept."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("probed") / "run"
    train_prepared(
        prepare(
            read_config(
                None,
                [*SMALL, f"out={out}", 'record.curvature="exact"', "record.layers=true",
                 'record.layer_options={"samples": 40}'],
            )
        )
    )  # fmt: skip
    return out


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command line as a shell sees it: status, output, errors."""

    def call(*words: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        return (0 if code is None else int(code)), said.out, said.err

    return call


def test_what_was_recorded_is_what_the_kept_networks_give(audited: Path) -> None:
    run = seepage.open(audited)
    stored = run.signal("curvature_frobenius")
    assert stored.shape == (4, 3, 96)
    for t in range(3):
        own = rebuild(run, 2, t)
        again = curvature(own.model, own.inputs, own.labels)
        np.testing.assert_allclose(stored[2, t], again.frobenius, rtol=1e-4)
    assert run.signal("layer_k95").shape == (4, 3, 2)
    assert len(run.manifest["chosen"]["layers"]) == 2


def test_show_lists_samples_and_writes_every_row(
    audited: Path, tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    place = tmp_path / "rows.parquet"
    status, out, _ = command("curvature", audited, "--models", 2, "--top", 3, "--out", place)
    assert status == 0
    rows = pq.read_table(place)
    assert rows.num_rows == 2 * 96
    run = seepage.open(audited)
    np.testing.assert_array_equal(rows["member"].to_numpy(), run.member[:2].ravel())
    own = rebuild(run, 0)
    np.testing.assert_allclose(
        rows["score"].to_numpy()[:96], curvature(own.model, own.inputs, own.labels).trace
    )
    mean = rows["score"].to_numpy().reshape(2, 96).mean(axis=0)
    assert out.index(str(run.ids[mean.argmax()])) < out.index(str(run.ids[mean.argmin()]))
    assert rows["trace_error"].null_count == 2 * 96


def test_an_estimator_of_ones_own_and_another_checkpoint(
    audited: Path, tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    place = tmp_path / "rows.parquet"
    status, out, _ = command(
        "curvature", audited, "-e", "zeroth-order", "--option", "n=3", "--epoch", 1, "-o", place
    )
    assert status == 0
    assert "h · mean |uᵀHv|" in out
    assert set(pq.read_table(place)["epoch"].to_pylist()) == {1.0}
    again = tmp_path / "again.parquet"
    command(
        "curvature", audited, "-e", "zeroth-order", "--option", "n=3", "--epoch", 1, "-o", again
    )
    assert pq.read_table(place).equals(pq.read_table(again))


def test_compare_is_kept_for_the_report(
    audited: Path, tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(audited, copy)
    assert seepage.open(copy).derived("curvature") is None
    status, out, _ = command("curvature", "compare", copy, "--samples", 40, "--n", 4)
    assert status == 0
    found = seepage.open(copy).derived("curvature")
    assert found is not None
    assert found["passes"] == [1, 1, 5, 17]
    rho = np.array(found["spearman"])
    np.testing.assert_allclose(np.diag(rho), 1.0)
    assert rho[0, 1] > 0.7  # exact and Hutchinson estimate the same number
    assert all(c > 0 for c in found["cost"])
    assert "hutchinson" in out


def test_bounds_name_their_sources(command: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = command("curvature", "bound", "--epsilon", 1, "--sigma", 1000)
    assert status == 0
    assert "2236" in out
    assert "reconstruction of Thm 4.3" in out
    status, _, err = command("curvature", "bound", "--epsilon", 1, "--sigma", -1)
    assert status == 2
    assert "sigma: expected a finite number > 0" in err


def test_attacks_read_what_was_recorded(
    audited: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    run = seepage.open(audited)
    assert bind(get("curvature"), run).requires == ("curvature_frobenius",)
    assert bind(CurvatureLR(signal="curvature_trace"), run).requires == ("curvature_trace",)
    assert bind(get("curvature-and-confidence"), run).requires == ("phi", "curvature_frobenius")
    assert bind(get("lira"), run).requires == ("phi",)
    status, out, _ = command("attack", audited, "-a", "curvature")
    assert status == 0
    assert "curvature" in out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('record.curvature="sharp"', "record.curvature"),
        ("record.curvature_options.n=3", "record.curvature: expected to be set"),
        ("record.layer_options.samples=3", "record.layers: expected to be set"),
    ],
)
def test_bad_recording_options(given: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(read_config(None, [*SMALL, given]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["record.curvature_options.m=3"], "m: unknown option of 'hutchinson'; known are: n"),
        (['record.curvature_options.n="many"'], "n: expected int, got 'many'"),
        (["record.curvature_options.n=1"], "Hutchinson: expected n >= 2"),
        (["record.curvature_checkpoints=[1.5]"], "expected some of the checkpoints"),
    ],
)
def test_bad_options_of_an_estimator(given: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(read_config(None, [*SMALL, 'record.curvature="hutchinson"', *given]))


def test_curvature_at_chosen_checkpoints_only() -> None:
    given = ['record.curvature="finite-difference"', "record.curvature_options.h=0.01"]
    config = read_config(None, [*SMALL, *given, "record.curvature_checkpoints=[2]"])
    prepare(config)
    (extra,) = config.record.measured(config.record.times(config.recipe.epochs))
    assert extra.names == ("curvature_fd",)
    assert [extra.wanted(c) for c in (0.0, 1.0, 2.0)] == [False, False, True]


def test_runs_that_hold_no_networks(
    audited: Path, tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    run = seepage.open(audited)
    # Of networks that learnt more: nobody above one half reads as log p, which is doubted.
    np.savez(tmp_path / "a.npz", member=run.member, phi=run.signal("phi") + 2)
    command("import", tmp_path / "a.npz", tmp_path / "imported")
    bare = tmp_path / "bare"
    shutil.copytree(audited, bare)
    shutil.rmtree(bare / "weights")
    strange = tmp_path / "strange"
    shutil.copytree(audited, strange)
    _rename_model(strange, "Outer.<locals>.factory")
    away = tmp_path / "away"
    shutil.copytree(audited, away)
    _rename_model(away, "no_such_package:factory")
    for folder, message in (
        (tmp_path / "imported", "was imported from arrays and holds no networks"),
        (bare, "expected the kept weights of run 0, found none"),
        (strange, "a name in a run folder is never imported; pass the factory again"),
        (away, "with 'no_such_package:factory', and a name in a run folder is never imported"),
    ):
        for verb in (["curvature"], ["curvature", "compare"], ["layers"]):
            status, _, err = command(*verb, folder)
            assert status == 2, (verb, folder)
            assert message in " ".join(err.split())
            assert err.strip().count("\n") == 0


NETWORK = """
import pathlib
pathlib.Path({trace!r}).touch()
from seepage.models import build

def net():
    return build("mlp", (1, 8, 8), 10, hidden=(8,))
"""


def test_code_runs_where_the_user_names_it_and_never_because_a_folder_does(
    audited: Path,
    tmp_path: Path,
    command: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, trace = tmp_path / "run", tmp_path / "it-ran"
    shutil.copytree(audited, folder)
    _rename_model(folder, "trap_factory:net")
    (tmp_path / "trap_factory.py").write_text(NETWORK.format(trace=str(trace)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    for verb in (["curvature"], ["curvature", "compare"], ["layers"]):
        status, _, err = command(*verb, folder)
        assert status == 2, verb
        assert "with 'trap_factory:net', and a name in a run folder is never imported" in err
    command("report", folder, tmp_path / "r.html", "-a", "loss")
    command("dynamics", "difficulty", folder, "--depth")
    command("attack", folder)
    command("check", folder, "--max-auc", "1")
    command("verify", folder)
    assert not trace.exists()
    assert "trap_factory" not in sys.modules
    for name in ("builtins:eval", "os:getcwd", "trap_shim:getcwd", "trap_shim:needs"):
        (tmp_path / "trap_shim.py").write_text("from os import getcwd\ndef needs(x): return x\n")
        status, _, err = command("layers", folder, "--model", name)
        assert status == 2, name
        assert ("standard library" in err) or ("takes nothing and returns" in err), err
    status, _, err = command("curvature", folder, "--model", "trap_factory:net", "--models", "1")
    assert (status, trace.exists()) == (0, True), err


def _rename_model(folder: Path, name: str) -> None:
    """A folder whose fleet was trained with another factory."""
    rewrite_manifest(folder, lambda manifest: manifest["key"]["model"].update(name=name))


def test_other_refusals(
    audited: Path, tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    for words, message in (
        (["--epoch", 7], "--epoch: expected a checkpoint of the run (0, 1, 2), got 7"),
        (["--option", "n"], "--option: expected name=value, got 'n'"),
        (["-e", "hutchinsen"], "did you mean 'hutchinson'?"),
        (["-o", tmp_path / "no" / "rows.parquet"], "expected a file in a folder that exists"),
    ):
        status, _, err = command("curvature", audited, *words)
        assert status == 2
        assert message in err
    status, _, err = command("curvature", tmp_path / "nowhere")
    assert status == 2
    assert "expected a run folder, found none" in err


def test_rebuild_takes_data_and_factory_again(tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tiny_fleet import FACTORY, fleet, importable, table

    run: Run = fleet(tmp_path / "run")
    with pytest.raises(InputError, match="its data \\('tiny'\\) cannot be found again"):
        rebuild(run)
    with pytest.raises(InputError, match="pass the factory again"):
        rebuild(run, data=table())
    with pytest.raises(InputError, match="expected the pool that the fleet was trained on"):
        rebuild(run, data=table(seed=5), model=FACTORY)
    with pytest.raises(InputError, match="target: expected one of the 4 usable runs"):
        rebuild(run, 4)
    own = rebuild(run, 1, data=table(), model=importable)
    with torch.no_grad():
        right = (own.model(own.inputs).argmax(1) == own.labels).numpy()
    np.testing.assert_array_equal(right, run.signal_at("correct", -1)[1].astype(bool))
    with pytest.raises(InputError, match="expected the network that run 1 trained, got another"):
        rebuild(run, 1, data=table(), model=lambda: torch.nn.Linear(4, 3))


def test_nothing_is_asked_of_a_run_trained_by_a_users_loop(audited: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(audited, copy)
    rewrite_manifest(copy, lambda manifest: manifest["key"].update(function={"name": "mine"}))
    with pytest.raises(InputError, match="was trained by a function of your own"):
        rebuild(seepage.open(copy))


def test_report_of_a_probed_run(audited: Path, tmp_path: Path) -> None:
    place = seepage.write_report(seepage.open(audited), tmp_path / "r.html", permutations=1)
    summary = json.loads((tmp_path / "r.json").read_text())
    assert [a["title"] for a in summary["attacks"] if a["name"] == "curvature"] == [
        "Input curvature (frobenius)"
    ]
    assert summary["curvature"]["signal"] == "curvature_frobenius"
    assert len(summary["layers"]["layers"]) == 2
    text = place.read_text()
    assert 'id="curvature"' in text
    assert "No attack was run on the layers." in text
