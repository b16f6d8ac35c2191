"""`seepage defend` from its file to its page, on digits and tiny fleets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import seepage
from seepage.cli import main
from seepage.comparison import ComparisonConfig, localisation
from seepage.comparison import pool as module
from seepage.comparison.localisation import initial_weights
from seepage.comparison.pool import PoolComparison, from_config
from seepage.comparison.queue import Done, FleetTask, PoolQueue
from seepage.comparison.results import controls_of, rank_rows, read_pool, read_rows
from seepage.config.prepare import set_apart
from seepage.defenses import RelaxLoss
from seepage.errors import InputError
from seepage.fleet.spec import FleetSpec
from seepage.metrics import row_auc

BASE = """
[base]
data = { name = "digits", limit = 360 }
plan = { models = 6, canaries = { mislabelled = 30 } }
model = { name = "mlp", options = { hidden = [16] } }
recipe = { epochs = 3, batch = 32, lr = 0.1, precision = "fp32" }
record = { checkpoints = [0, 1, 3] }
fleet = { workers = 1, device = "cpu" }
"""
STUDY = (
    """
runs = "runs"
results = "results"
report = "page/defences.html"
page = "defences.md"
seeds = [0, 1]
top = 1
fprs = [0.05, 0.01]
fgsm = { models = 2, samples = 50 }

[[defences]]
name = "label-smoothing"
grid = { smoothing = [0.5] }

[[defences]]
name = "early-stopping"
label = "<b>early</b>"

[pptp]
bases = [{ name = "relaxloss", alpha = 0.5 }]
variants = ["routed"]
regions = ["head"]
models = 2
"""
    + BASE
    + "defense = { reference = 60 }\n"
)


@pytest.fixture(scope="module", autouse=True)
def _forked() -> Iterator[None]:
    """Workers forked from this process start at once; fresh interpreters are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FleetSpec, "travels", property(lambda _: False))
        yield


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", "defend", *words])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison; tests only read it or run the same command again."""
    folder = tmp_path_factory.mktemp("defend")
    (folder / "study.toml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["seepage", "defend", "study.toml"])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
    return folder


def opened(place: Path, *overrides: str) -> PoolComparison:
    config = ComparisonConfig.from_toml(place / "study.toml", overrides)
    return from_config(config, "digits")


def results(place: Path) -> dict[str, Any]:
    return {
        p.name: json.loads(p.read_text()) for p in (place / "results" / "digits").glob("*.json")
    }


def test_every_fleet_is_evaluated_and_controls_are_rows(place: Path) -> None:
    rows = read_pool(place / "results" / "digits", "lira", (0.05, 0.01)).rows
    labels = [r.label for r in rows]
    assert labels[0] == "none"
    assert {"label-smoothing smoothing=0.5", "<b>early</b>", "relaxloss alpha=0.5"} <= set(labels)
    assert any(x.startswith("pptp(relaxloss alpha=0.5) routed [head]") for x in labels)
    assert any("complement" in x for x in labels)
    none = rows[0]
    assert none.seeds == (0, 1)
    assert len(none.values["accuracy_out"]) == 6
    # An attacker who shares the fleet is the same either way, and costs are ratios to itself.
    for figure in ("auc", "tpr@0.05"):
        assert none.values[f"lira/static/pool/{figure}"] == pytest.approx(
            none.values[f"lira/adaptive/pool/{figure}"]
        )
    assert none.estimate("cost").mean == pytest.approx(1.0)
    assert {"ece", "fgsm", "lira/adaptive/canaries/auc", "rmia/static/pool/auc"} <= set(none.values)
    assert none.estimate("fgsm").mean < none.estimate("accuracy_out").mean


def test_only_the_best_and_their_controls_get_more_seeds(place: Path) -> None:
    rows = read_pool(place / "results" / "digits", "lira", (0.05, 0.01)).rows
    roles = json.loads((place / "results" / "digits" / "roles.json").read_text())["roles"]
    known = read_rows(place / "results" / "digits", seed=0)
    first = [r.label for r in rank_rows(known, controls=controls_of(roles))]
    again = {r.label for r in rows if 1 in r.seeds} - {"none"}
    assert first[0] in again
    if not first[0].startswith("pptp"):
        assert again == {first[0]}


def test_accuracy_agrees_with_the_stored_signals(place: Path) -> None:
    run = seepage.open(place / "runs" / "digits" / "label-smoothing-smoothing-0.5-s0")
    found = results(place)["label-smoothing-smoothing-0.5-s0.json"]
    planted = np.zeros(run.member.shape[1], bool)
    planted[run.manifest["plan"]["canaries"]["index"]] = True
    right = run.signal_at("correct", -1)
    per_run = [right[r, ~run.member[r] & ~planted].mean() for r in range(6)]
    expected = [(per_run[r] + per_run[r + 1]) / 2 for r in (0, 2, 4)]
    assert found["values"]["accuracy_out"] == pytest.approx(expected)


def test_the_auc_of_a_sample_is_of_its_signal(place: Path) -> None:
    name = "label-smoothing-smoothing-0.5-s0"
    run = seepage.open(place / "runs" / "digits" / name)
    stored = pq.read_table(place / "runs" / "digits" / f"{name}.samples.parquet")
    expected = row_auc(run.signal_at("phi", -1), run.member)
    np.testing.assert_array_equal(stored["separation"].to_numpy(), expected)


def test_every_tpr_has_its_null_and_the_non_members_it_rests_on(place: Path) -> None:
    """6 models of 300 samples: 900 non-members pooled, of which 30 canaries have 90."""
    found = results(place)["none-s0.json"]
    assert found["non_members"] == {"pool": 900, "canaries": 90}
    assert found["null"]["lira/adaptive/pool/tpr@0.01"] == pytest.approx(9 / 901)
    row = read_rows(place / "results" / "digits")[0]
    assert not row.before
    assert row.null["lira/adaptive/pool/tpr@0.05"] == pytest.approx(45 / 901)
    # 91 · 0.01 < 1.
    assert "lira/adaptive/canaries/tpr@0.01" not in row.values
    page = (place / "defences.md").read_text()
    assert "(null 0.01, FPR" in page
    assert "cannot be resolved with 90 non-members" in page
    assert "version 0.1" not in page


def test_the_reference_set_is_in_no_pool(place: Path) -> None:
    first = opened(place).first
    assert first.reference is not None
    assert len(first.reference) == 60
    assert len(first.data) == 300 == first.plan.samples
    plain = {i.split("#")[0] for i in first.data.ids.tolist()}
    assert not plain & set(first.reference.ids.tolist())


def test_twins_begin_with_the_same_weights(place: Path) -> None:
    pool = opened(place, "base.record.keep='all'", f"runs={place / 'kept'}")
    run = pool.train(pool.undefended, 0)
    begun = run.weights(1, 0)
    assert begun is not None
    again = initial_weights(pool.first, 1)
    assert all(torch.equal(begun[k], again[k]) for k in again)


def test_a_second_call_trains_and_scores_nothing(
    place: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(module, "evaluate", None)
    monkeypatch.setattr(localisation, "by_swapping", None)
    status, out, err = command("study.toml")
    assert status == 0, err
    assert "Pareto front" in out
    assert "D2" in out


def test_fleets_side_by_side_are_the_same_fleets(
    place: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    words = ("--jobs", "2", "--only", "train", "--runs", "beside", "--results", "beside-results")
    status, _, err = command("study.toml", *words)
    assert status == 0, err
    one = results(place)
    two = {
        p.name: json.loads(p.read_text())
        for p in (place / "beside-results" / "digits").glob("*.json")
    }
    assert set(one) == set(two)
    for name, told in one.items():
        for part in ("by_class", "paths", "realised", "tables", "chosen"):
            assert told.get(part) == two[name].get(part), (name, part)
        if "values" in told:
            timed = {"cost"}
            a, b = (
                {k: v for k, v in c["values"].items() if k not in timed} for c in (told, two[name])
            )
            assert a == b, name


def test_some_go_on_to_further_seeds_without_waiting(place: Path, tmp_path: Path) -> None:
    again = "again=['label-smoothing', 'pptp(relaxloss']"
    queue = PoolQueue(opened(place, again, f"results={tmp_path}"))
    asked = []
    while (task := queue.next()) is not None:
        asked.append(task)
        if task.what == "locate":
            # Nothing else is needed before the seeds that were asked for can begin.
            assert not queue._chosen
        queue.ended(task, Done(True, {"chosen": ["head"], "why": None}))
    trained = [(t.candidate.label, t.seed) for t in asked if t.what == "train"]
    assert trained[0] == ("none", 0)
    assert trained[1] == ("relaxloss alpha=0.5", 0)
    assert trained[2][0].startswith("pptp(relaxloss alpha=0.5) routed")
    later = {label for label, seed in trained if seed == 1}
    assert {"none", "label-smoothing smoothing=0.5"} < later
    assert any(label.startswith("pptp(relaxloss") for label in later)
    assert "<b>early</b>" not in later
    assert len(trained) == len(set(trained))
    judged = [t.key[1:] for t in asked if t.what == "evaluate"]
    assert sorted(judged) == sorted(trained)
    for task in asked:
        if task.what == "evaluate":
            plain = FleetTask("digits", "train", queue.candidates[0], task.seed)
            assert asked.index(task) > asked.index(plain)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["label-sm"], {"none", "label-smoothing smoothing=0.5"}),
        (["<b>", "pptp(relaxloss alpha=0.5) routed ["],
         {"none", "<b>early</b>", "relaxloss alpha=0.5", "pptp(relaxloss alpha=0.5) routed [head]"}),
    ],
)  # fmt: skip
def test_a_machine_may_train_some_fleets(place: Path, asked: list[str], expected: set[str]) -> None:
    queue = PoolQueue(opened(place, f"fleets={asked}", "seeds=[0]", f"results={place / 'some'}"))
    seen = set()
    while (task := queue.next()) is not None:
        seen.add(task.candidate.label)
        queue.ended(task, Done(True, {"chosen": ["head"], "why": None}))
    assert seen == expected


def test_costs_are_counted_in_passes(place: Path) -> None:
    found = {r.label: r for r in read_pool(place / "results" / "digits", "lira", (0.05,)).rows}
    assert found["none"].estimate("passes").mean == 1.0
    assert found["label-smoothing smoothing=0.5"].estimate("passes").mean == 1.0
    # Every step differentiates two losses of one forward pass: (1 + 2·2)/(1 + 2).
    routed = next(r for k, r in found.items() if k.startswith("pptp") and "[head]" in k)
    assert routed.estimate("passes").mean == pytest.approx(5 / 3)
    # Looks at the reference set after every epoch: forward passes alone.
    early = found["<b>early</b>"].values["passes"]
    assert max(early.values()) > 1.0


def test_page_escapes_and_holds_everything(place: Path) -> None:
    html = (place / "page" / "defences.html").read_text()
    assert "&lt;b&gt;early" in html
    assert "<b>early" not in html
    assert html.count("<svg") >= 4
    assert "What each region carries" in html
    assert "a reconstruction" in html
    table = pq.read_table(place / "page" / "defences.parquet")
    assert {"pool", "defence", "metric", "mean", "low", "high"} <= set(table.column_names)
    told = json.loads((place / "page" / "defences.json").read_text())
    assert {v["statement"] for v in told["verdicts"]["digits"]} == {"D1", "D2", "D3", "D4", "D5"}
    assert len(told["figures"]) == table.num_rows
    page = (place / "defences.md").read_text()
    assert "| none |" in page or "| **none** |" in page
    assert "### Regions, base relaxloss alpha=0.5, seed 0" in page
    beside = sorted(p.name for p in (place / "runs" / "digits").glob("*.parquet"))
    assert "label-smoothing-smoothing-0.5-s0.samples.parquet" in beside
    samples = pq.read_table(place / "runs" / "digits" / "none-s0.samples.parquet")
    assert samples.num_rows == 300
    assert int(np.sum(samples["canary"].to_numpy())) == 30


def test_localisation_is_stored_with_its_agreement(place: Path) -> None:
    found = results(place)["regions-relaxloss-alpha-0.5-s0.json"]
    assert found["regions"] == ["layer1", "head"]
    assert found["chosen"] == ["head"]
    assert np.shape(found["tables"]["swap"]["utility"]) == (2, 2)
    assert len(found["layers"]) == 2
    assert set(found["agreement"]) == {"swap~rewind", "swap~layers", "rewind~layers"}
    # D of the page is that of the mean profile, which is what regions are chosen by.
    t = found["tables"]["swap"]
    u, p = (np.mean(t[k], axis=0) for k in ("utility", "privacy"))
    np.testing.assert_allclose(t["chosen_by"], np.maximum(0, -p) / (np.abs(u) + 0.005))


def test_dry_run_trains_nothing(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY)
    status, out, _ = command("study.toml", "--dry-run")
    assert status == 0
    assert "0 of 6" in out
    assert [p.name for p in tmp_path.iterdir()] == ["study.toml"]


def test_a_fleet_that_cannot_be_judged_is_left_out_with_its_reason(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wild = '[[defences]]\nname = "label-smoothing"\nrecipe = { lr = 1e30 }\n' + BASE
    (tmp_path / "study.toml").write_text(wild)
    status, out, err = command("study.toml", "--set", "report=page.html")
    assert status == 0, err
    assert "left out: label-smoothing, seed 0:" in out
    assert "at least two pairs" in " ".join(out.split())
    assert "Left out." in (tmp_path / "page.html").read_text()


BAD = {
    "a region that matches nothing": (
        STUDY.replace('["head"]', '["haed"]'), (), "regions: 'haed' matches no block",
    ),
    "no reference set": (
        STUDY.replace("reference = 60", "reference = 0"), (), "reference: early-stopping needs",
    ),
    "regions to be measured without one": (
        (STUDY.replace("reference = 60", "reference = 0").replace('regions = ["head"]\n', "")),
        (), "pptp.regions: measuring them needs non-members set apart",
    ),
    "a reference set that eats the pool": (
        STUDY.replace("reference = 60", "reference = 359"), (), "defense.reference: expected 2 to",
    ),
    "Opacus and BatchNorm": (
        '[[defences]]\nname = "dp-sgd"\n' + BASE.replace('"digits"', '"fashion-mnist"')
        .replace('"mlp", options = { hidden = [16] }', '"wrn-16-1"'),
        (), "which couples the samples of a batch; use seepage.defenses.without_batchnorm",
    ),
    "a chain that contradicts itself": (
        '[[defences]]\nname = "chain"\noptions = { parts = ["relaxloss", "label-smoothing"] }\n'
        + BASE, (), "relaxloss",
    ),
    "a defence under base": (
        STUDY.replace("reference = 60", 'name = "hamp", reference = 60'), (), "list defences under",
    ),
    "an unknown defence": (
        '[[defences]]\nname = "relax"\n' + BASE, (), "did you mean 'relaxloss'",
    ),
    "nothing to compare": (BASE, (), "defences: expected at least one to compare"),
    "an unknown field": ("seed = 1\n" + STUDY, (), "seed: unknown field"),
    "an unknown pool": (STUDY, ("--pool", "cifar"), "--pool: expected one of the file's"),
    "a plan without pairs": (
        STUDY.replace("models = 6", 'models = 6, kind = "leave_out"'), (), "plan.kind: expected",
    ),
    "too few models": (STUDY.replace("models = 6", "models = 2"), (), "plan.models: expected at"),
    "two defences of one name": (
        '[[defences]]\nname = "hamp"\n[[defences]]\nname = "ccel"\nlabel = "hamp"\n' + BASE,
        (), "two different ones are called 'hamp'",
    ),
    "a defence on a pool that is none": (
        '[[defences]]\nname = "hamp"\npools = ["digit"]\n[pools.digits]\n' + BASE,
        (), "defences: pools: expected pools of the file, got 'digit'; did you mean 'digits'",
    ),
    "a part that is none": (STUDY, ("--only", "page"), "--only: expected train or report"),
    "a report before any result": (STUDY, ("--only", "report"), "expected results of a pool"),
    "DP-SGD under SAM": (
        '[[defences]]\nname = "dp-sgd"\n' + BASE.replace("lr = 0.1", 'lr = 0.1, optimizer = "sam"'),
        (), "optimizer: dp-sgd clips gradients per sample",
    ),
    "no TOML": ("runs = ", (), "expected TOML"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(
    case: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, words, message = BAD[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(text)
    if case == "Opacus and BatchNorm":
        images = seepage.load("digits")
        pixels = (images.inputs.reshape(-1, 1, 8, 8) * 15).to(torch.uint8)
        shown = seepage.data.Dataset(
            pixels[:200], images.labels[:200], images.ids[:200], images.classes, "d", "image"
        )
        monkeypatch.setattr("seepage.config.prepare.load", lambda *_, **__: shown)
    status, _, err = command("study.toml", *words)
    assert status == 2
    assert message in " ".join(err.split())
    assert len(err.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["study.toml"]


def test_a_defence_can_be_for_some_pools_alone(tmp_path: Path) -> None:
    parts = "".join(
        f'[[defences]]\nname = "relaxloss"\nlabel = "own"\npools = ["{pool}"]\noptions = {{ alpha = {a} }}\n'
        for pool, a in (("one", 0.1), ("two", 0.2))
    )
    (tmp_path / "study.toml").write_text(
        parts + '[[defences]]\nname = "hamp"\n[pools.one]\n[pools.two]\n' + BASE
    )
    config = ComparisonConfig.from_toml(tmp_path / "study.toml")
    for pool, a in (("one", 0.1), ("two", 0.2)):
        found = config.candidates(pool)
        assert [c.label for c in found] == ["none", "own", "hamp"]
        assert found[1].defense == RelaxLoss(alpha=a)


def test_the_reference_set_depends_on_the_seed_alone() -> None:
    data = seepage.load("digits")
    pool, apart = set_apart(data, 100, 3)
    assert apart is not None
    assert set(pool.ids.tolist()) | set(apart.ids.tolist()) == set(data.ids.tolist())
    again = set_apart(data, 100, 3)[1]
    assert again is not None
    assert again.digest == apart.digest
    other = set_apart(data, 100, 4)[1]
    assert other is not None
    assert other.digest != apart.digest
    assert set_apart(data, 0, 3) == (data, None)
    with pytest.raises(InputError, match=r"defense\.reference: expected 2 to 1793"):
        set_apart(data, 1, 0)
