"""seepage.score: one way from a run and an attack to scores, whatever the run holds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seepage
from seepage import attacks, plane, scoring
from seepage.curvature import curvature
from seepage.curvature.estimate import estimator
from seepage.errors import InputError
from seepage.fleet.imported import import_arrays
from seepage.fleet.rebuild import rebuild
from seepage.probes import Asked
from seepage.probes.registry import probes_of
from seepage.store import Run
from tiny_fleet import rewrite_manifest


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six perceptrons on digits: logits and last weights kept, no curvature recorded."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("kept") / "run"
    data = seepage.load("digits", limit=60)
    seepage.train(
        data,
        seepage.half_split(60, models=6, seed=0),
        model="mlp",
        model_options={"hidden": (8,)},
        recipe=seepage.Recipe(epochs=2, batch=16, precision="fp32"),
        checkpoints=[0, 2],
        keep="final",
        logits=True,
        out=out,
        workers=1,
        device="cpu",
    )
    return out


@pytest.mark.parametrize(
    "code",
    [
        "import seepage.scoring, seepage; f = seepage.score",
        "import seepage; f = seepage.score; import seepage.scoring",
        "from seepage.scoring import score; from seepage import score as f; assert f is score",
        "import seepage.cli, seepage.scoring; import seepage; f = seepage.score",
    ],
)
def test_the_name_is_the_function_whatever_was_imported_first(code: str) -> None:
    check = "; import types; assert isinstance(f, types.FunctionType), f"
    done = subprocess.run(
        [sys.executable, "-c", code + check], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_is_leave_one_out_on_what_was_recorded(kept: Path) -> None:
    run = seepage.open(kept)
    for attack in (attacks.LiRA(), attacks.RMIA(), attacks.LOSS()):
        for t in (0, -1):
            got = seepage.score(run, attack, t)
            want = attack.leave_one_out(
                {n: run.signal_at(n, t) for n in attack.requires}, run.member
            )
            assert got.dtype == np.float64
            np.testing.assert_array_equal(got, want)
    other = run.member[::-1].copy()
    np.testing.assert_array_equal(
        seepage.score(run, attacks.LiRA(), member=other),
        attacks.LiRA().leave_one_out(run.signal_at("phi", -1), other),
    )


def test_recorded_logits_stand_for_signals_that_were_not(kept: Path, tmp_path: Path) -> None:
    """A run that recorded logits alone scores as one that holds the signals."""
    run, bare = seepage.open(kept), seepage.open(kept)
    bare.signals = ("logits",)
    for name in ("lira", "rmia", "mentr", "shadow-classifier"):
        attack = attacks.get(name)
        np.testing.assert_array_equal(seepage.score(bare, attack), seepage.score(run, attack))
    paths = [
        plane.trajectories(r, attack=attacks.LiRA(), null=plane.Permuted(0)) for r in (run, bare)
    ]
    np.testing.assert_array_equal(paths[0].tpr, paths[1].tpr)
    np.savez(tmp_path / "b.npz", member=run.member, logits=run.signal("logits"))
    blind = import_arrays(tmp_path / "b.npz", tmp_path / "unlabelled")
    with pytest.raises(InputError, match="with the labels, which were not imported"):
        seepage.score(blind, attacks.LiRA())


def test_curvature_is_measured_on_kept_weights(kept: Path) -> None:
    run = seepage.open(kept)
    scores = seepage.score(run, attacks.CurvatureLR())
    measured = []
    for r in range(6):
        own = rebuild(run, r)
        generator = np.random.default_rng([0, own.row])
        c = curvature(
            own.model, own.inputs, own.labels, estimator("zeroth-order"), generator=generator
        )
        measured.append(c.score.astype(np.float32))
    np.testing.assert_array_equal(
        scores, attacks.CurvatureLR().leave_one_out(np.stack(measured), run.member)
    )
    exact = seepage.score(run, attacks.CurvatureThreshold("curvature_frobenius"))
    own = rebuild(run, 4)
    want = curvature(own.model, own.inputs, own.labels).frobenius
    np.testing.assert_allclose(exact[4], -np.log(want + 1e-22), rtol=1e-5)
    both, _ = scoring.ready(run, attacks.CurvatureAndConfidence())
    assert both.requires == ("phi", "curvature_zo")


def test_one_pass_serves_every_attack(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    inner = scoring._measure
    monkeypatch.setattr(scoring, "_measure", lambda *a: passes.append(a[2]) or inner(*a))
    run = seepage.open(kept)
    for name in ("curvature", "curvature-lr", "curvature-and-confidence"):
        seepage.score(run, attacks.get(name))
    assert passes == [1]
    for signal in ("curvature_frobenius", "curvature_trace"):  # of one estimator
        seepage.score(run, attacks.CurvatureThreshold(signal))
    assert passes == [1, 1]
    seepage.score(seepage.open(kept), attacks.get("curvature"))
    assert passes == [1, 1, 1]


def test_what_is_lacking_is_said_before_it_runs(kept: Path, tmp_path: Path) -> None:
    run = seepage.open(kept)
    assert scoring.lacks(run, attacks.LiRA()) is None
    assert scoring.lacks(run, attacks.CurvatureLR()) is None
    found, skipped = scoring.applicable(run, [attacks.LiRA(), attacks.CurvatureLR()])
    assert [a.name for a in found] == ["lira"]
    assert list(skipped) == ["curvature-lr"]
    says = "weights of run 0 at epoch 0 were not kept"
    assert says in (scoring.lacks(run, attacks.CurvatureLR(), 0) or "")
    with pytest.raises(InputError, match=says):
        seepage.score(run, attacks.CurvatureLR(), 0)
    with pytest.raises(InputError, match="weights of run 0 at epoch 0 were not kept"):
        scoring.ready(run, attacks.CurvatureLR(), None)
    with pytest.raises(InputError, match="checkpoint: expected an index from 0 to 1, or from the"):
        seepage.score(run, attacks.CurvatureLR(), 2)
    why = scoring.lacks(run, attacks.CurvatureLR("curvature_of_mine"))
    assert why == "needs curvature_of_mine, which was not recorded; set record.curvature"


def test_attacks_that_are_named_together_share_a_pass(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    inner = scoring._measure
    monkeypatch.setattr(scoring, "_measure", lambda *a: seen.append(a[1]) or inner(*a))
    run = seepage.open(kept)
    linear = attacks.WhiteBox(learner=attacks.LinearOdds())
    together = [attacks.GradientNorm(), linear, attacks.LOSS(), attacks.CheckpointSequence()]
    wanted = scoring.passes(run, together)
    assert wanted is not None
    # Gradients are shared: a pass forward and one back; what cannot be run is left to `score`.
    assert (list(wanted.attacks), wanted.queries()) == (["grad-norm", "white-box"], 6 * 60 * 2)
    for attack in together[:3]:
        seepage.score(run, attack)
    assert [[p.name for p in probes] for probes in seen] == [["gradient norm", "layer gradients"]]
    own = rebuild(run, 3)
    loss = torch.nn.functional.cross_entropy(own.model(own.inputs[:1]), own.labels[:1])
    slopes = torch.autograd.grad(loss, list(own.model.parameters()))
    norm = torch.cat([g.flatten() for g in slopes]).norm().item()
    assert seepage.score(run, attacks.GradientNorm())[3, 0] == pytest.approx(
        -np.log(norm), rel=1e-4
    )
    assert scoring.passes(run, [attacks.LOSS()]) is None
    says = (
        "needs checkpoint_step, which is measured on kept weights; weights of run 0 at epoch 0 were "
        "not kept to measure it on; train with record.keep = 'final', or 'all' for every checkpoint"
    )
    assert scoring.lacks(run, attacks.CheckpointSequence()) == says


def test_a_budget_refuses_before_anything_is_measured(kept: Path, monkeypatch, capsys) -> None:
    from seepage.cli import main

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", "attack", str(kept), *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().err

    both = ("-a", "grad-norm", "-a", "leverage", "--budget")
    monkeypatch.setattr(scoring, "_measure", lambda *a: pytest.fail("it was measured"))
    status, err = call(*both, "1000 queries")
    assert status == 2
    assert "6 models × 60 samples × 3 queries or passes = 1,080, about" in err
    assert err.splitlines()[-1].endswith(
        "--budget: expected attacks that take at most 1,000 queries, got about 1,080 queries for "
        "grad-norm, leverage; within it by itself: grad-norm, leverage"
    )
    status, err = call(*both, "10 queries")
    assert "the least of these attacks takes 360 queries" in err
    status, err = call("-a", "grad-norm", "-a", "checkpoint-sequence")
    assert status == 2
    assert "checkpoint-sequence: needs checkpoint_step, which is measured" in err
    assert "measuring" not in err
    for text in ("soon", "-1 minutes", "5", "nan s"):
        status, err = call(*both, text)
        assert status == 2
        assert "--budget: expected a time or a number of queries" in err


def _renamed(kept: Path, folder: Path, **changes: object) -> Run:
    shutil.copytree(kept, folder)
    model = changes.pop("model", None)

    def change(manifest: dict[str, Any]) -> None:
        if model is not None:
            manifest["key"]["model"]["name"] = model
        manifest["key"] |= changes

    rewrite_manifest(folder, change)
    return seepage.open(folder)


def test_a_name_in_a_run_folder_is_never_imported(kept: Path, tmp_path: Path, monkeypatch) -> None:
    trap = tmp_path / "trap_model.py"
    trap.write_text("raise SystemExit('the run folder was obeyed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    run = _renamed(kept, tmp_path / "run", model="trap_model:net")
    for call in (lambda: seepage.score(run, attacks.CurvatureLR()),):
        with pytest.raises(
            InputError, match="pass the factory of 'trap_model:net' again as model="
        ):
            call()
    assert "trap_model" not in sys.modules
    from seepage.models import build

    scores = seepage.score(
        run, attacks.CurvatureLR(), model=lambda: build("mlp", (1, 8, 8), 10, hidden=(8,))
    )
    np.testing.assert_array_equal(scores, seepage.score(seepage.open(kept), attacks.CurvatureLR()))


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ({"imported": "a.npz"}, "an imported run holds no networks to measure it on"),
        (
            {"function": {"name": "fit"}},
            "pass the factory of the network that your function trained",
        ),
    ],
)
def test_runs_without_networks_say_so(kept: Path, tmp_path: Path, key: dict, says: str) -> None:
    run = _renamed(kept, tmp_path / "run", **key)
    if "imported" in key:
        del run.manifest["key"]["model"]
    with pytest.raises(InputError, match=says) as refused:
        seepage.score(run, attacks.CurvatureLR())
    assert str(refused.value).startswith("curvature-lr: needs curvature_zo, which was not recorded")


def test_check_judges_where_attack_does(kept: Path, monkeypatch, capsys) -> None:
    from seepage.cli import main

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    assert call("attack", str(kept), "-a", "curvature")[0] == 0
    status, out = call(
        "check", str(kept), "--attack", "curvature", "--max-auc", "1", "--learnt-nothing"
    )
    assert status == 0
    assert re.search(r"^curvature(, strongest of \d+)?: AUC 0\.", out, flags=re.M)
    status, out = call("attack", str(kept))
    assert status == 0
    assert "curvature" not in out


def test_copies_and_distances_are_asked_of_kept_networks(kept: Path) -> None:
    run = seepage.open(kept)
    own = rebuild(run, 2)
    asked = Asked(own.model, own.inputs, own.labels, (0, own.row))
    for attack in (attacks.Merlin(), attacks.AdversarialDistance(), attacks.Imitation()):
        (probe,) = probes_of(attack.requires)
        (measured,) = probe.measure(asked).values()
        scores = seepage.score(run, attack)
        assert np.isfinite(scores).all()
        if attack.name != "imitation":
            np.testing.assert_allclose(scores[2], measured.astype(np.float32))
    right = seepage.score(run, attacks.LabelAugmentCalibrated())
    assert 0 < np.abs(right).max() <= 1
    assert len(np.unique(seepage.score(run, attacks.Morgan()) > -0.5)) == 2


def test_what_asks_no_network_needs_no_weights(kept: Path, tmp_path: Path, capsys) -> None:
    run = _renamed(kept, tmp_path / "run", model="nobody:knows")
    wanted = scoring.passes(run, [attacks.InputQuantile()])
    assert wanted is not None
    assert wanted.queries() == 0
    scores = seepage.score(
        run, attacks.InputQuantile(), checkpoint=0
    )  # of which no weights are kept
    assert scores.shape == run.member.shape
    assert scoring.lacks(run, attacks.InputQuantile()) is None
    # Of phi as it was recorded: with no logits either there is nothing to learn from.
    run.signals = ("loss",)
    assert scoring.lacks(run, attacks.InputQuantile()) == (
        "needs phi at every sample, which was not recorded; record it, or the logits with record.logits"
    )
