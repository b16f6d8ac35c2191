"""The backend "fused": asked for, named in the folder, held by it afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seepage
from seepage.config.model import Model
from seepage.fleet import backends
from seepage.fleet.backends import choose_backend
from seepage.native.library import multiplies_bf16
from seepage.plan import half_split

kernels = pytest.mark.skipif(not multiplies_bf16(), reason="no kernels in bfloat16 here")


def fleet(out: Path, precision: str = "bf16", **given: Any) -> Any:
    data = seepage.load("digits", limit=80)
    return seepage.train(
        data, half_split(80, models=2, seed=0), model="cnn-2", out=out, checkpoints=[0, 2],
        recipe=seepage.Recipe(epochs=2, batch=16, precision=precision), executor="inline",
        device="cpu", **given,
    )  # fmt: skip


@kernels
def test_a_fleet_that_asks_for_it_trains_the_same_bits_again(tmp_path: Path) -> None:
    first, again = (fleet(tmp_path / n, backend="fused") for n in "ab")
    layers = fleet(tmp_path / "c")
    assert [r.manifest["chosen"]["backend"] for r in (first, again, layers)] == [
        "fused", "fused", "process",
    ]  # fmt: skip
    one, two, three = (r.signal("phi") for r in (first, again, layers))
    assert (one == two).all()
    assert (one[:, 0] == three[:, 0]).all()
    assert (one[:, 1] != three[:, 1]).any()
    np.testing.assert_allclose(one, three, atol=0.3)  # two epochs of bfloat16 apart


@kernels
def test_a_folder_keeps_the_layers_it_was_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet(tmp_path / "plain", shard=(1, 2))
    run = fleet(tmp_path / "plain", backend="fused")
    assert run.manifest["chosen"]["backend"] == "process"
    assert (run.signal("phi") == fleet(tmp_path / "whole", backend="process").signal("phi")).all()
    fleet(tmp_path / "fused", backend="fused", shard=(1, 2))
    monkeypatch.setattr(backends, "multiplies_bf16", lambda: False)
    with pytest.raises(seepage.InputError, match=r"begun with the backend 'fused', which needs"):
        fleet(tmp_path / "fused")
    monkeypatch.undo()
    run = fleet(tmp_path / "fused")
    assert run.manifest["chosen"]["backend"] == "fused"
    assert len(run.models) == 2


def test_it_is_refused_where_it_cannot_train(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, model = half_split(100, models=4), Model(name="cnn-2")
    for there, recipe, own in (
        (False, seepage.Recipe(), False),
        (True, seepage.Recipe(precision="fp32"), False),
        (True, seepage.Recipe(), True),
    ):
        monkeypatch.setattr(backends, "multiplies_bf16", lambda there=there: there)
        with pytest.raises(seepage.InputError, match="'fused' needs a processor with AVX-512 BF16"):
            choose_backend("fused", model, recipe, plan, "cpu", plain=True, own=own)
