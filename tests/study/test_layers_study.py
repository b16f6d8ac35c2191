"""A tiny study of layers from the command line: measured, resumed, judged, written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seepage.cli import main
from seepage.errors import InputError
from seepage.study.layers.fresh import Stream
from seepage.study.layers.plan import LayersConfig, Unit
from seepage.study.layers.training import chosen_device, split_pool
from seepage.study.layers.unit import measure

TINY: dict[str, Any] = {
    "architectures": ["cnn-2"], "datasets": ["digits"], "noise": [0.0, 0.2], "seeds": [0],
    "members": 104, "samples": 104, "checkpoints": [0, 0.5, 2], "images": 1, "probes": 8,
    "patch": 4, "patch_images": 1, "attack_seeds": 2, "passes": 2, "gradients": 20, "fit": 40,
    "judge": 20, "device": "cpu", "recipe": {"batch": 26, "precision": "fp32"},
}  # fmt: skip


def _toml(folder: Path) -> Path:
    lines = ['kind = "layers"', f'locks = "{folder}/locks"', f'results = "{folder}/results"',
             f'page = "{folder}/layers.md"']  # fmt: skip
    lines += [f"{k} = {json.dumps(v)}" for k, v in TINY.items() if k != "recipe"]
    path = folder / "study.toml"
    path.write_text("\n".join([*lines, "[recipe]", "batch = 26", 'precision = "fp32"']) + "\n")
    return path


def _run(monkeypatch: pytest.MonkeyPatch, capsys: Any, *words: Any) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["seepage", "study", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_parts_are_disjoint_and_noise_falls_on_all_of_them() -> None:
    config = LayersConfig(**TINY)
    unit = Unit("cnn-2", "digits", 0.2, 0)
    data, parts, truth = split_pool(unit, config)
    assert sorted(np.concatenate(parts).tolist()) == list(range(4 * 104))
    changed = data.labels.numpy() != truth
    assert changed.sum() == round(0.2 * 4 * 104)
    assert all(changed[p].any() for p in parts)


def test_study_is_resumed_by_unit_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    file = _toml(tmp_path)
    status, out, _ = _run(monkeypatch, capsys, file, "--fleet", "*noise-0-*", "--only", "train")
    assert status == 0
    first = tmp_path / "results" / "cnn-2-digits-noise-0-seed-0.json"
    assert [p.name for p in (tmp_path / "results").iterdir()] == [first.name]
    kept = first.read_bytes()
    # In a process of its own, as several side by side are.
    status, out, err = _run(monkeypatch, capsys, file, "--jobs", "2")
    assert status == 0
    assert "1 of 2 results are there" in err
    assert first.read_bytes() == kept
    assert "page:" in out
    page = (tmp_path / "layers.md").read_text()
    assert "## A7: " in page
    assert "not measured yet" not in page
    # The page alone, from what is stored.
    (tmp_path / "layers.md").unlink()
    _run(monkeypatch, capsys, file, "--only", "page")
    assert (tmp_path / "layers.md").read_text() == page
    # Results of other settings are no part of it.
    status, _, err = _run(monkeypatch, capsys, file, "--only", "page", "--set", "probes=9")
    assert (status, "of other settings; left out" in err) == (2, True)
    found = json.loads(kept)
    assert found["layers"] == ["convolutions.0.2", "convolutions.1.2", "hidden.1", "head"]
    assert np.array(found["series"]["k95"]).shape == (3, 4)
    # By a 4 x 4 patch of one channel no layer has more than 16 directions, and they never rise.
    ranks = np.array(found["series"]["rank_float"])
    assert ranks.max() <= 16
    assert (np.diff(ranks, axis=1) <= 0).all()
    assert found["accuracy"][-1]["members"] > found["accuracy"][0]["members"]
    # The same unit again gives the same figures.
    again = json.loads(json.dumps(measure(Unit("cnn-2", "digits", 0.0, 0), LayersConfig(**TINY))))
    for key in ("series", "attacks", "reconstruction", "accuracy", "data"):
        assert again[key] == found[key], key


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "members=10"], "members"),
        (["--set", "checkpoints=[1,2,3]"], "checkpoints must start at 0"),
        (["--set", "recipe.epochs=3"], "leave them out of the recipe"),
        (["--set", "recipe.learning=3"], "recipe"),
        (["--set", "sample=3"], "sample"),
        (["--set", 'controls=["cnn-3"]'], "controls name an architecture of the study"),
        (["--fleet", "cnn-3-digits-noise-0-seed-0"], "did you mean 'cnn-2-digits-noise-0-seed-0'"),
        (["--only", "analyse"], "expected train or page"),
        (["--only", "page"], "expected results of the study, found none"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], message: str,
) -> None:  # fmt: skip
    status, _, err = _run(monkeypatch, capsys, _toml(tmp_path), *words)
    assert status == 2
    assert message in err
    assert err.strip().count("\n") == 0


def test_control_leaves_its_target_after_the_first_epoch() -> None:
    torch.set_num_threads(1)
    config = LayersConfig(**{**TINY, "checkpoints": [0, 0.5, 1, 3], "controls": ["cnn-2"]})
    names = [u.name for u in config.units()]
    assert names[-1] == "cnn-2-digits-fresh-seed-0"
    assert len(names) == 3
    target, control = (
        measure(Unit("cnn-2", "digits", 0.0, 0, fresh=f), config) for f in (False, True)
    )
    # The same network on the same samples until then, to the bit, and another one afterwards.
    assert control["unit"]["fresh"]
    for name, series in target["series"].items():
        assert control["series"][name][:3] == series[:3]
    assert control["series"]["k95"][3] != target["series"]["k95"][3]
    assert control["accuracy"][:3] == target["accuracy"][:3]
    assert control["visits"] == 1
    assert "attacks" not in control


def test_stream_takes_the_first_feed_once_and_the_others_in_turn() -> None:
    class Numbered:
        steps, batch = 2, 8

        def __init__(self, n: int) -> None:
            self.n = n

        def draw(self, epoch: int) -> Any:
            return self.n, epoch

    stream = Stream([Numbered(i) for i in range(4)])  # type: ignore[misc]
    assert [stream.draw(e) for e in range(6)] == [  # type: ignore[comparison-overlap]
        (0, 0), (1, 1), (2, 2), (3, 3), (1, 4), (2, 5),
    ]  # fmt: skip
    assert [stream.visits(e) for e in (1, 4, 6, 8)] == [1, 1, 2, 3]


def test_checkpoints_need_steps_of_their_own() -> None:
    config = LayersConfig(**{**TINY, "checkpoints": [0, 0.1, 0.2, 2]})
    with pytest.raises(InputError, match="each at a step of its own"):
        measure(Unit("cnn-2", "digits", 0.0, 0), config)
    with pytest.raises(InputError, match="device: expected auto, cpu"):
        chosen_device("tpu")
