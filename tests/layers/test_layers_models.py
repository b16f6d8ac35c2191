"""Models that other people wrote are probed as they are and left as they were."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from seepage.errors import InputError
from seepage.layers import (
    DegreesOfFreedom,
    Jacobian,
    LocalPCA,
    layer_outputs,
    probe,
    spectrum,
)
from seepage.models import build

CHEAP = (DegreesOfFreedom(), Jacobian(images=1, probes=8, power=2, exact=32))


class BasicBlock(nn.Module):
    """As in the vision library everyone uses: one ReLU, in place, called twice."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 8))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2), BasicBlock(16, 16))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layer2(self.layer1(x))), 1))


class EncoderBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ln_1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class VisionTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, 12, 4, 4)
        self.class_token = nn.Parameter(torch.randn(1, 1, 12))
        self.pos_embedding = nn.Parameter(torch.randn(1, 17, 12))
        layers = OrderedDict((f"encoder_layer_{i}", EncoderBlock(12)) for i in range(3))
        self.encoder = nn.Module()
        self.encoder.layers = nn.Sequential(layers)
        self.encoder.ln = nn.LayerNorm(12)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(12, 5)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.pos_embedding
        return self.heads(self.encoder.ln(self.encoder.layers(x))[:, 0])


def _images(n: int, size: int = 16) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def _trace(model: nn.Module) -> dict[str, Any]:
    return {
        "state": {k: v.clone() for k, v in model.state_dict().items()},
        "modes": [m.training for m in model.modules()],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python": random.getstate(),
    }


def _assert_untouched(model: nn.Module, before: dict[str, Any]) -> None:
    after = _trace(model)
    for key in ("modes", "hooks", "numpy", "python"):
        assert after[key] == before[key], key
    assert torch.equal(after["torch"], before["torch"])
    assert all(torch.equal(after["state"][k], v) for k, v in before["state"].items())
    for a, b in zip(after["grads"], before["grads"], strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def test_residual_network_untouched() -> None:
    model = _seeded(ResNet)
    model.train()
    model.layer1.eval()  # a part frozen in evaluation mode stays so
    model(_images(4)).sum().backward()
    before = _trace(model)
    table = probe(model, _images(140), indicators=CHEAP, batch=50)
    _assert_untouched(model, before)
    assert table.layer == ("conv1", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "fc")
    assert table.d.tolist() == [8 * 64, 8 * 16, 8 * 16, 16 * 4, 16 * 4, 5]
    assert table.pooled_d.tolist() == [8, 8, 8, 16, 16, 5]
    assert table.at_least.tolist() == [True] * 5 + [False]
    # In-place activations after a hook must not leak into what was measured.
    model.eval()
    with torch.no_grad():
        x = model.conv1(_images(140))
        want = spectrum(x.numpy())
        pooled = spectrum(x.mean((2, 3)).numpy())
    got = table.spectra[0].variances
    np.testing.assert_allclose(got, want.variances[: got.size], atol=1e-6 * want.variances[0])
    got = table.pooled_spectra[0].variances
    np.testing.assert_allclose(got, pooled.variances, atol=1e-6 * pooled.variances[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_models_give_the_same_jacobians(channels: int) -> None:
    # Warnings are errors here: this order once fell back to one direction after the other.
    model = _seeded(lambda: build("wrn-10-1", (channels, 8, 8), 3))
    x = torch.randn(4, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    rows = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for option in (
        Jacobian(images=2, probes=8, power=2, exact=4),
        Jacobian(images=2, patch=4, double=False),
        Jacobian(images=2, patch=4),
    ):
        plain = probe(model.to(memory_format=torch.contiguous_format), x, indicators=[option])
        last = probe(model.to(memory_format=torch.channels_last), rows, indicators=[option])
        np.testing.assert_allclose(last.jac_participation, plain.jac_participation, rtol=1e-4)
        np.testing.assert_allclose(last.spectral_norm, plain.spectral_norm, rtol=1e-4)


def test_vision_transformer_untouched() -> None:
    model = _seeded(VisionTransformer)
    model.train()
    before = _trace(model)
    table = probe(model, _images(120), indicators=CHEAP, batch=64)
    _assert_untouched(model, before)
    blocks = [f"encoder.layers.encoder_layer_{i}" for i in range(3)]
    assert table.layer == ("conv_proj", *blocks, "heads.head")
    # Tokens are averaged over, features are kept.
    assert table.pooled_d.tolist() == [12, 12, 12, 12, 5]
    assert (table.jac_participation > 1).all()


def test_text_classifier_untouched() -> None:
    transformers = pytest.importorskip(
        "transformers", reason="the extra 'transformers' is not installed"
    )
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=12,
        num_labels=3,
    )
    model = _seeded(lambda: transformers.BertForSequenceClassification(config))
    model.train()
    before = _trace(model)
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 40, (120, 8), generator=g)
    mask = torch.ones_like(tokens)
    mask[:, 6:] = 0
    table = probe(model, {"input_ids": tokens, "attention_mask": mask}, indicators=CHEAP)
    _assert_untouched(model, before)
    assert table.layer == (
        "bert.embeddings",
        "bert.encoder.layer.0",
        "bert.encoder.layer.1",
        "bert.pooler",
        "classifier",
    )
    # Derivatives are with respect to the token embedding, of which padded tokens are a part.
    assert table.d.tolist() == [128, 128, 128, 16, 3]
    assert table.pooled_d.tolist() == [16, 16, 16, 16, 3]
    # A layer norm takes two of its 16 directions: the mean and the length.
    assert table.jac_rank_float[-2:].tolist() == [14, 3]
    assert (table.spectral_norm > 0).all()


class Shared(nn.Module):
    """One block three times, one never; a second name for the first layer; tuples as outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.alias = self.first
        self.block = nn.Linear(6, 6)
        self.idle = nn.Linear(6, 6)
        self.cell = nn.GRU(6, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for _ in range(3):
            x = torch.tanh(self.block(x))
        return self.cell(x[:, None])[0][:, 0]


def test_shared_modules_and_tuples() -> None:
    model = Shared()
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    table = probe(model, x, indicators=[DegreesOfFreedom()])
    assert table.layer == ("first", "block#1", "block#2", "block#3", "cell")
    assert table.d.tolist() == [6, 6, 6, 6, 4]
    one = probe(model, x, ["block#2", "alias"], indicators=[DegreesOfFreedom()])
    assert one.layer == ("alias", "block#2")
    assert one.erank.tolist() == [table.erank[0], table.erank[2]]


def test_patterns_and_streamed_outputs() -> None:
    model = _seeded(ResNet)
    x = _images(10)
    parts = list(layer_outputs(model, x, "layer*.1", batch=4))
    assert [len(p["layer2.1"]) for p in parts] == [4, 4, 2]
    whole = next(layer_outputs(model, x, ["layer2.1"], pooled=False, batch=10))["layer2.1"]
    assert whole.shape == (10, 64)
    pooled = np.concatenate([p["layer2.1"] for p in parts])
    np.testing.assert_allclose(pooled, whole.reshape(10, 16, 4).mean(2), rtol=1e-5, atol=1e-6)


def test_the_same_seed_gives_the_same_table() -> None:
    model = _seeded(ResNet)
    x = _images(130)
    one, two = (probe(model, x, indicators=CHEAP) for _ in range(2))
    for column in one.measured():
        np.testing.assert_array_equal(one[column], two[column])
    rows = one.to_rows()
    assert rows[0]["layer"] == "conv1"
    assert "≥" in str(one).splitlines()[1]


class Varying(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.out = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.inner(x)
        return self.out(y if float(x[0, 0]) < 50 else torch.cat([y, y], 1))


class Swapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Flatten(0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.turn(x)


class Blowing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Linear(4, 4)
        self.worse = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.worse(self.fine(x) * float("inf"))


_X = torch.arange(400.0).reshape(100, 4)
_DOF = [DegreesOfFreedom()]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: probe(ResNet(), _images(4), "layer1.2"), "did you mean 'layer1.[01]"),
        (lambda: probe(ResNet(), _images(4), "block*"), r"got 'block\*'; the model has \d+ mod"),
        (lambda: probe(ResNet(), _images(4), []), "layers: expected at least one name"),
        (lambda: probe(Shared(), _X[:, [0, 1, 2, 3, 0, 1]], "idle"), "'idle', which is never call"),
        (lambda: probe(Shared(), _X[:, [0, 1, 2, 3, 0, 1]], "block"),
         "'block', called 3 times; name the call: 'block#1' to 'block#3'"),
        (lambda: probe(Shared(), _X[:, [0, 1, 2, 3, 0, 1]], "block#4"), "a call from 1 to 3"),
        (lambda: probe(ResNet(), _images(4), "layer1.0.relu"), "'layer1.0.relu', called 2 times"),
        (lambda: probe(Varying(), _X, "out", indicators=_DOF, batch=10),
         r"out: expected outputs of shape \(4,\) for every sample, got \(8,\)"),
        (lambda: probe(Swapped(), torch.zeros(3, 4, 5), "turn"), "one row per sample"),
        (lambda: probe(Swapped(), torch.zeros(3, 4, 5)), "blocks whose outputs have one row"),
        (lambda: probe(Blowing(), _X, "worse", indicators=_DOF), "worse: expected finite outputs"),
        (lambda: probe(ResNet(), _images(40)),
         r"at least 101 samples to determine k99 of conv1 \(512 outputs\), got 40"),
        (lambda: probe(nn.Linear(4, 4), _X[:3]), "at least 5 samples to determine k99"),
        (lambda: probe(nn.Linear(4, 4), _X[:0]), "inputs: expected at least one sample"),
        (lambda: probe(nn.Linear(4, 4), _X.to(torch.uint8)), "got uint8; convert"),
        (lambda: probe(nn.Linear(4, 4), _X / 0), "inputs: expected finite values"),
        (lambda: probe(nn.Linear(4, 4), _X, batch=0), "batch: expected at least 1"),
        (lambda: probe(nn.Linear(4, 4), _X, indicators=[]), "indicators: expected at least one"),
        (lambda: probe(nn.Linear(4, 4), [_X, _X[:5]]), "equally many samples in every tensor"),
        (lambda: probe(nn.Linear(4, 4), _X, indicators=[Jacobian(images=200)]),
         r"at most as many as samples \(100\)"),
        (lambda: probe(nn.Linear(4, 4), _X, indicators=[LocalPCA(images=200)]),
         r"at most as many as samples \(100\)"),
        (lambda: LocalPCA(noise=0), "noise: expected a standard deviation"),
        (lambda: LocalPCA(draws=1), "draws, images: expected"),
        (lambda: DegreesOfFreedom(memory=1), "memory: expected at least 1 MiB"),
        (lambda: DegreesOfFreedom(ridge=0), "ridge: expected a share above 0"),
        (lambda: DegreesOfFreedom(tau=1), "tau: expected a share between"),
        (lambda: probe(nn.Linear(4, 4), _X, indicators=_DOF)["k95x"], "did you mean 'k95'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_model_without_continuous_inputs_says_so() -> None:
    class Halved(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 2

    with pytest.raises(InputError, match=r"no nn\.Embedding"):
        probe(Halved(), torch.zeros(100, 4, dtype=torch.int64), "(model)", indicators=CHEAP[1:])


def test_wrappers_are_looked_through() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    plain = probe(net, _X)
    for wrapper in (torch.compile(net, backend="eager"), nn.DataParallel(net)):
        other = probe(wrapper, _X)  # type: ignore[arg-type]
        assert other.layer == plain.layer == ("1", "2")
        np.testing.assert_array_equal(other.jac_participation, plain.jac_participation)


class Recurrent(nn.Module):
    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell = cell(3, 5, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cell(x)[0][:, -1]


def test_what_torch_cannot_differentiate_is_named() -> None:
    x = torch.randn(4, 6, 3)
    option = [Jacobian(images=2, double=False)]
    assert probe(Recurrent(nn.GRU), x, "(model)", indicators=option).jac_rank_float[0] == 5
    with pytest.raises(InputError, match=r"got Recurrent: .*; leave Jacobian\(\) out"):
        probe(Recurrent(nn.LSTM), x, "(model)", indicators=option)


class Branching(nn.Module):
    """Decides by a value: no vectorised derivative exists, one direction at a time does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.inner(x)
        return torch.relu(y) if bool((y > 0).any()) else y


def test_a_path_that_depends_on_values() -> None:
    model = _seeded(Branching)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    got = probe(model, x, "(model)", indicators=[Jacobian(images=3, double=False)])
    for i in range(3):
        on = (model.inner(x[i]) > 0).detach().numpy()
        want = np.linalg.svd(model.inner.weight.detach().numpy() * on[:, None])[1]
        np.testing.assert_allclose(got.jacobian_spectra[0][i], want, atol=1e-6)


def test_a_failed_probe_leaves_the_model_as_it_was() -> None:
    model = Blowing()
    before = _trace(model)
    with pytest.raises(InputError):
        probe(model, _X)
    _assert_untouched(model, before)
