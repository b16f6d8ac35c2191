"""A run judged as released: nothing released is the run itself, and the worst decides."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seepage
from seepage.attacks import LOSS, RMIA, Calibrated, LiRA, LiRAOfflineTwoSided, ModifiedEntropy
from seepage.cli import main
from seepage.config.release import as_variants
from seepage.errors import InputError
from seepage.findings import collect
from seepage.findings.judging import Judging
from seepage.findings.variant_result import Variants, read_variants
from seepage.fleet.released import released
from seepage.metrics import Samples, strongest
from seepage.report.html import render
from seepage.signals.released import LabelOnly
from seepage.store import Run, open_run
from tiny_fleet import fleet, importable, linear, table

ATTACKS = (LOSS, ModifiedEntropy, LiRAOfflineTwoSided, RMIA, Calibrated)
MODEL = linear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight runs with logits recorded and weights kept."""
    out = tmp_path_factory.mktemp("released") / "run"
    data = table(120)
    plan = seepage.half_split(len(data), models=8, seed=2)
    record: dict[str, Any] = {"signals": ("phi", "loss", "mentr", "correct"), "logits": True}
    recipe = seepage.Recipe(epochs=12, batch=8, lr=0.3, precision="fp32")
    fleet(out, data=data, plan=plan, recipe=recipe, checkpoints=[0, 12], **record)
    return out


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return open_run(folder)


@pytest.fixture(scope="module")
def pool() -> seepage.Dataset:
    return table(120)


def _judge(run: Any, wanted: Any, pool: seepage.Dataset, **options: Any) -> Variants:
    kinds = options.pop("attacks", ATTACKS)
    return seepage.variants(
        run, wanted, attacks=[k() for k in kinds], model=MODEL, data=pool, **options
    )


def test_as_trained_is_what_was_recorded(run: Run) -> None:
    (source,) = released(run, as_variants("as-trained"))
    for name in ("phi", "loss", "mentr", "correct"):
        assert np.array_equal(source.signal_at(name, -1), run.signal_at(name, -1))
    assert source.models is run.models
    with pytest.raises(InputError, match="the checkpoint that is released, 1, got 0"):
        source.signal_at("phi", 0)


def test_kept_weights_give_what_was_recorded(run: Run, pool: seepage.Dataset) -> None:
    wanted = as_variants(["pruned-0", "bf16", "bf16+pruned-0", "pruned-0.9"])
    none, bf16, twice, most = (
        s.signal_at("phi", -1) for s in released(run, wanted, model=MODEL, data=pool)
    )
    own = run.signal_at("phi", -1)
    np.testing.assert_allclose(none, own, rtol=1e-5, atol=1e-5)
    assert np.array_equal(bf16, twice)
    assert not np.array_equal(bf16, none)
    assert not np.allclose(most, own, atol=0.1)


def test_label_only_is_judged_as_the_gap(run: Run, pool: seepage.Dataset) -> None:
    found = _judge(run, LabelOnly(), pool).found[1]
    right = np.asarray(run.signal_at("correct", 1), np.float64)
    (gap,) = Judging.of(run, Samples()).auc(right)
    assert found.attacks["loss"][0] == gap
    assert gap.mean == pytest.approx(0.5 + (found.members - found.others) / 2)
    assert set(found.attacks) == {"loss", "rmia", "calibrated"}
    assert "reads phi" in found.skipped["lira-offline-two-sided"]


def test_rounding_to_fifteen_digits_and_temperature_one_are_the_run_itself(
    run: Run, pool: seepage.Dataset
) -> None:
    own, *others = _judge(run, ["rounded-15", "temperature-1", "top-3"], pool).found
    for variant in others:
        for name, (auc, _, _) in variant.attacks.items():
            assert auc.mean == pytest.approx(own.attacks[name][0].mean, abs=1e-12)


def test_the_worst_decides_and_the_choice_is_paid_for(run: Run, pool: seepage.Dataset) -> None:
    found = _judge(run, ["label-only", "top-1", "int8", "pruned-0.5"], pool)
    assert [v.judged for v in found.found] == [False, True, True, True, True]
    worst, figure = found.worst
    judged = [e for v in found.found[1:] for e, _, _ in v.attacks.values()]
    assert figure.estimate.mean == max(e.mean for e in judged)
    assert figure.compared == len(judged)
    assert figure.estimate.low <= max(v.strongest.estimate.low for v in found.found[1:])
    assert figure.estimate.high == max(e.high for e in judged)
    assert worst.name in {"label-only", "top-1", "int8", "pruned-0.5"}


def test_as_trained_alone_is_judged_like_the_run_itself(run: Run, pool: seepage.Dataset) -> None:
    alone = _judge(run, "as-trained", pool)
    assert len(alone.found) == 1
    assert alone.worst[1] == alone.found[0].strongest
    scores = {k.name: seepage.score(run, k()) for k in ATTACKS}
    judging = Judging.of(run, Samples())
    wide = 1 - 0.05 / len(scores)
    by_hand = strongest({a: judging.auc(s, 0.95, wide) for a, s in scores.items()})  # type: ignore[misc]
    assert alone.worst[1] == by_hand


def test_what_is_kept_is_read_and_reported(
    folder: Path, tmp_path: Path, pool: seepage.Dataset
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    run = open_run(copy)
    found = _judge(run, ["top-1", "bf16"], pool, keep=True)
    told = open_run(copy).derived("variants")
    assert told is not None
    assert read_variants(found.path, told).summary() == found.summary()
    assert run.digest == open_run(copy).digest
    kept = collect(open_run(copy), attacks=[LiRA(), RMIA()], data=pool, permutations=1, blind=False)
    page = render(kept, None)
    assert 'id="variants"' in page
    assert "for comparison" in page
    assert found.worst[0].name in page
    assert kept.summary()["as_released"]["verdict"] == found.said


def test_a_run_without_logits_is_rebuilt_and_one_without_weights_refused(
    trained: Path, tmp_path: Path
) -> None:
    made = released(open_run(trained), as_variants("top-1"), model=importable, data=table())
    recorded = open_run(trained).signal_at("correct", -1)
    assert np.array_equal(made[0].signal_at("correct", -1), recorded)
    bare = fleet(tmp_path / "bare", checkpoints=[2], keep="none")
    with pytest.raises(
        InputError, match=r"released as top-1: .*not kept; .*or record\.logits = true"
    ):
        released(bare, as_variants("top-1"), model=importable, data=table())


class Defended:
    """A run whose manifest says that a defence was used."""

    def __init__(self, run: Run, name: str) -> None:
        inner = {"name": name, "options": {}}
        told = {"name": "chain", "options": {"first": [inner]}}
        self._run = run
        self.manifest = {**run.manifest, "key": {**run.manifest["key"], "defense": told}}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)


def test_what_a_defence_does_to_outputs_is_no_part_of_weights(
    run: Run, pool: seepage.Dataset
) -> None:
    with pytest.raises(InputError, match=r"released as int8: .* got hamp in"):
        released(Defended(run, "hamp"), as_variants("int8"), model=MODEL, data=pool)
    # What was recorded came through the defence.
    assert len(released(Defended(run, "hamp"), as_variants("top-1"))) == 1


class Other(torch.nn.Module):
    """Another network than the one that was trained."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MODEL()


def test_what_cannot_be_judged_is_refused_in_one_line(
    run: Run, pool: seepage.Dataset, make_run: Callable[..., Any]
) -> None:
    with pytest.raises(InputError, match="released as bf16: model: expected the network"):
        released(run, as_variants("bf16"), model=Other, data=pool)
    with pytest.raises(InputError, match="recorded logits or kept weights, got neither"):
        released(make_run(), as_variants("top-1"))
    with pytest.raises(InputError, match="an attack that can be run"):
        _judge(run, "label-only", pool, attacks=(ModifiedEntropy,))


def test_commands_judge_what_is_released(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = str(tmp_path / "run")
    shutil.copytree(folder, copy)

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), " ".join(said.out.split()), said.err

    code, out, _ = command("attack", copy, "--as", "top-1", "--as", "label-only", "-a", "rmia")
    assert code == 0
    assert "as released: top-1 by rmia" in out or "as released: label-only by rmia" in out
    assert open_run(copy).derived("variants") is not None
    for limit, ended, word in (("1", 0, "limit 1: holds"), ("0.3", 1, "limit 0.3: does not hold")):
        code, out, _ = command(
            "check", copy, "--as", "label-only", "--as", "top-1", "--max-auc", limit
        )
        assert code == ended
        assert " as top-1, strongest of " in out or " as label-only, strongest of " in out
        assert word in out
    for names in (["top-0"], ["tpo-1"], ["top-1", "top-1"]):
        code, _, err = command("attack", copy, *(v for n in names for v in ("--as", n)))
        assert code == 2
        assert len(err.splitlines()) == 1
