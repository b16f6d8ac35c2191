"""Low-rank adapters of the real peft: trained by the built-in engine, and recorded where others train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import safetensors.torch
import torch
from tests.fleet.test_starting_point import SMALL, Net, saved
from tests.tiny_fleet import fleet, table
from torch import nn

import seepage
from seepage.errors import InputError
from seepage.fleet.rebuild import rebuild
from seepage.fleet.saved import SavedRun
from seepage.layers import probe
from seepage.models.low_rank import adapted, merged
from seepage.models.wrapped import unwrapped
from seepage.record import Memory, Recorder, Resident

LORA = seepage.LowRank(rank=2, alpha=4, targets=("features.*",))


def model(given: str, **options: Any) -> seepage.Model:
    return seepage.Model(
        name="net", factory=Net, weights=given, **{"adapter": LORA, "reset": ["head.*"]} | options
    )


def test_matrices_and_the_new_head_train_alone(tmp_path: Path) -> None:
    given = saved(tmp_path)
    state = safetensors.torch.load_file(given)
    run = fleet(tmp_path / "run", model=model(given), logits=True, **SMALL)
    told = run.manifest["key"]["model"]
    assert told["adapter"] == {"rank": 2, "alpha": 4.0, "targets": ["features.*"]}
    assert told["trainable"] == 2 * 4 + 8 * 2 + 27
    for row in range(2):
        first, last = run.weights(row, 0), run.weights(row, -1)
        assert first is not None
        assert last is not None
        for held in (first, last):
            torch.testing.assert_close(
                held["features.0.base_layer.weight"], state["features.0.weight"], rtol=0, atol=0
            )
        assert not first["features.0.lora_B.default.weight"].any()
        assert last["features.0.lora_B.default.weight"].any()
        assert not torch.equal(first["head.weight"], last["head.weight"])
    # What is rebuilt has adapters added to its weights, and answers as it was recorded.
    own = rebuild(run, 1, -1, model=Net, data=table())
    assert adapted(own.model) is None
    assert set(own.model.state_dict()) == set(Net().state_dict())
    with torch.no_grad():
        logits = own.model(own.inputs).numpy()
    np.testing.assert_allclose(logits, run.signal_at("logits", -1)[1], rtol=1e-5, atol=1e-5)
    assert not torch.equal(own.model.state_dict()["features.0.weight"], state["features.0.weight"])
    assert probe(own.model, own.inputs).layer == ("features.1", "head")
    found = seepage.variants(run, ["bf16", "int8+top-1"], model=Net, data=table())
    assert {v.name for v in found.found} == {"as-trained", "bf16", "int8+top-1"}


def test_another_adapter_is_another_run(tmp_path: Path) -> None:
    given = saved(tmp_path)
    fleet(tmp_path / "run", model=model(given), **SMALL)
    fleet(tmp_path / "run", model=model(given), **SMALL)
    other = LORA.changed(alpha=8.0)
    with pytest.raises(
        InputError, match=r"model\.adapter\.alpha is 4\.0 there, 8\.0 is configured"
    ):
        fleet(tmp_path / "run", model=model(given, adapter=other), **SMALL)


def test_workers_and_a_resumed_run_train_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = saved(tmp_path)
    options: dict[str, Any] = {"checkpoints": [0, 2], "keep": "final", "save_every": 1}
    whole = fleet(tmp_path / "a", model=model(given), executor="inline", **options)
    forked = fleet(tmp_path / "b", model=model(given), workers=2, **options)
    for name in ("phi", "correct"):
        np.testing.assert_array_equal(whole.signal_at(name, -1), forked.signal_at(name, -1))
    save = SavedRun.save

    def interrupted(run: SavedRun, *given: Any) -> None:
        save(run, *given)
        raise KeyboardInterrupt

    def go_on() -> seepage.Run:
        return fleet(
            tmp_path / "c", model=model(given), executor="inline", **options | {"save_every": 0.0}
        )

    with monkeypatch.context() as patch:
        patch.setattr(SavedRun, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go_on()
    np.testing.assert_array_equal(go_on().signal_at("phi", -1), whole.signal_at("phi", -1))


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"adapter": seepage.LowRank(targets=("feature.*",))},
        r"targets: .*'feature\.\*', which matches",
    ),
    ({"frozen": ["features.*"]}, r"model\.frozen: expected none with model\.adapter"),
    ({"reset": ["nothing.*"]}, r"model\.reset: .*'nothing\.\*', which matches nothing"),
    (
        {"reset": ["head.*"], "adapter": seepage.LowRank(targets=("head",))},
        r"'head', which matches",
    ),
]


@pytest.mark.parametrize(("options", "match"), REFUSED, ids=[m for _, m in REFUSED])
def test_what_cannot_be_adapted_is_refused(
    tmp_path: Path, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        fleet(tmp_path / "run", model=model(saved(tmp_path), **options), **SMALL)
    assert not (tmp_path / "run").exists()


def test_stacked_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nor a starting point"):
        fleet(tmp_path / "run", model=model(saved(tmp_path)), backend="stacked", **SMALL)


def test_dp_sgd_trains_an_adapter(tmp_path: Path) -> None:
    given = saved(tmp_path)
    state = safetensors.torch.load_file(given)
    private = seepage.defenses.DPSGD(noise=1.0, max_norm=1.0)
    run = fleet(tmp_path / "run", model=model(given), defense=private, **SMALL)
    last = run.weights(0, -1)
    assert last is not None
    assert torch.equal(last["features.0.base_layer.weight"], state["features.0.weight"])
    assert last["features.0.lora_B.default.weight"].any()
    assert run.records[0]["facts"]["epsilon"] > 0


def trained(net: nn.Module) -> nn.Module:
    """Matrices that are no longer zero, as after training."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name))))
    return net


def phi(net: nn.Module, **options: Any) -> Any:
    kept = Memory()
    recorder = Recorder(Resident.of(table()), [0.0], kept, **options)
    recorder.start(net)
    return kept.values[0]["phi"]


def test_a_peft_model_is_recorded_and_audited_merged_or_not() -> None:
    config = peft.LoraConfig(r=2, target_modules=["0"], modules_to_save=["2"])
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    before = phi(net)
    wrapped = trained(peft.get_peft_model(net, config))
    with torch.no_grad():
        wrapped.base_model.model[2].modules_to_save["default"].weight.mul_(2)
    assert unwrapped(wrapped) is wrapped.get_base_model()
    seen = phi(wrapped)
    assert np.abs(seen - before).max() > 0.1
    alone = merged(unwrapped(wrapped))
    assert [type(m) for m in alone] == [nn.Linear, nn.ReLU, nn.Linear]
    np.testing.assert_allclose(phi(alone), seen, rtol=1e-4, atol=1e-5)
    with wrapped.disable_adapter():
        np.testing.assert_allclose(phi(merged(unwrapped(wrapped))), before, rtol=1e-5, atol=1e-6)
    data = table()
    x, y = data.inputs, data.labels
    pairs = (x[:24], y[:24]), (x[24:], y[24:])
    one = seepage.audit(wrapped, *pairs)
    wrapped.base_model.merge_adapter()
    np.testing.assert_allclose(phi(wrapped), seen, rtol=1e-4, atol=1e-5)
    both = seepage.audit(wrapped, *pairs)
    np.testing.assert_allclose(
        one.attack("loss").scores, both.attack("loss").scores, rtol=1e-4, atol=1e-5
    )
    assert [round(float(v), 3) for v in probe(wrapped, x).jac_rank_float] == [
        round(float(v), 3) for v in probe(alone, x).jac_rank_float
    ]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z: torch.Tensor = self.head(self.encoder(x[:, None])[:, 0])
        return z


def test_adapters_in_torchs_encoder_count_in_eval_mode() -> None:
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=["linear1", "linear2"])
    net = trained(peft.get_peft_model(Encoder(), config))
    together = merged(unwrapped(net))
    assert adapted(together) is None
    seen = phi(net)
    np.testing.assert_allclose(seen, phi(together), rtol=1e-4, atol=1e-5)
    data = table()
    one = seepage.audit(
        net, (data.inputs[:24], data.labels[:24]), (data.inputs[24:], data.labels[24:])
    )
    assert any("passes the adapters" in note for note in one.notes)
    own = -np.logaddexp(0, -seen.astype(np.float64))
    np.testing.assert_allclose(one.attack("loss").scores, own, rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # torch itself: the answer of the network as if it had no adapter
        given = net.eval()(data.inputs)
        with net.disable_adapter():
            bare = net(data.inputs)
    torch.testing.assert_close(given, bare)
