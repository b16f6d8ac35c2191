"""Reference networks: shapes, sizes, precision, layout, and which modules they are made of."""

import pytest
import torch
from torch import nn

from seepage.errors import InputError
from seepage.models import MODELS, build, cnn

IMAGES = [n for n in MODELS if n != "gpt"]
SMALL = [n for n in IMAGES if n not in ("vgg11", "resnet18", "resnet9", "wrn-28-2")]
PIECEWISE_LINEAR = (
    nn.Linear, nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.AdaptiveMaxPool2d, nn.BatchNorm2d,
    nn.AdaptiveAvgPool2d, nn.Flatten,
)  # fmt: skip


def parameters(m: nn.Module) -> int:
    return sum(p.numel() for p in m.parameters())


@pytest.fixture(scope="module", params=sorted(IMAGES))
def network(request):
    torch.manual_seed(0)
    return build(request.param, (3, 32, 32), 7)


def test_logits_are_head_of_features(network):
    network.eval()
    x = torch.randn(2, 3, 32, 32)
    f = network.features(x)
    assert f.shape == (2, network.head.in_features)
    assert torch.equal(network(x), network.head(f))
    assert network(x).shape == (2, 7)


def test_blocks_hold_every_parameter_exactly_once(network):
    owned = [id(p) for block in network.blocks().values() for p in block.parameters()]
    assert sorted(owned) == sorted(id(p) for p in network.parameters())
    names = list(network.blocks())
    assert names[-1] == "head"
    assert len(names) >= 2


def test_only_piecewise_linear_modules_none_in_place(network):
    leaves = [m for m in network.modules() if not list(m.children())]
    assert all(isinstance(m, PIECEWISE_LINEAR) for m in leaves)
    assert not any(m.inplace for m in leaves if isinstance(m, nn.ReLU))


def test_locally_linear_in_the_input(network):
    """Along a short segment without kinks, the midpoint's logits are the mean of the ends'."""
    net = build("cnn-2", (1, 8, 8), 3).double().eval()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    d = 1e-7 * torch.randn_like(x)
    middle = net(x + d / 2)
    torch.testing.assert_close(middle, (net(x) + net(x + d)) / 2, rtol=0, atol=1e-14)


def test_bfloat16_body_gives_float32_logits(network):
    network.eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        low = network(x)
    assert low.dtype == torch.float32
    full = network(x)
    assert (low - full).norm() < 0.1 * full.norm() + 0.05


def test_channels_last_gives_the_same_logits(network):
    network.eval()
    x = torch.randn(2, 3, 32, 32)
    before = network(x)
    network.to(memory_format=torch.channels_last)
    after = network(x.to(memory_format=torch.channels_last))
    network.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("wrn-16-1", 175_066),
        ("wrn-16-2", 691_674),
        ("wrn-28-2", 1_467_610),
        ("wrn-28-10", 36_479_194),
        ("wrn-40-2", 2_243_546),
        ("resnet18", 11_173_962),
        ("resnet18-w64", 11_173_962),
        ("vgg11", 9_231_114),
    ],
)
def test_published_parameter_counts(name, count):
    with torch.device("meta"):
        assert parameters(build(name, (3, 32, 32), 10)) == count


def test_a_quarter_of_the_width():
    network = build("resnet18-w16", (3, 32, 32), 10)
    assert [b[-1].second[0].out_channels for b in network.stages] == [16, 32, 64, 128]
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_counts_by_hand():
    assert parameters(build("mlp", (784,), 10)) == 785 * 256 + 257 * 10
    # 3x3 convolutions 1-32-64, 64 maps of 7x7 into 128 units, head.
    expected = (9 + 1) * 32 + (288 + 1) * 64 + (3136 + 1) * 128 + 129 * 10
    assert parameters(build("cnn", (1, 28, 28), 10)) == expected
    assert parameters(build("cnn", (1, 28, 28), 10)) == parameters(build("cnn-2", (1, 28, 28), 10))
    assert [cnn((3, 32, 32), 10, blocks=b).convolutions[-1][0].out_channels for b in (1, 2, 3, 4)] \
        == [32, 64, 128, 256]  # fmt: skip


def test_pool_before_relu_is_the_same_function():
    torch.manual_seed(1)
    net = build("cnn-3", (1, 28, 28), 10)
    x = torch.randn(4, 1, 28, 28)
    y = x
    for block in net.convolutions:
        conv, pool, relu = block
        y = pool(relu(conv(y)))
    assert torch.equal(net.head(net.hidden(y.flatten(1))), net(x))


@pytest.mark.parametrize("name", SMALL)
def test_same_seed_same_weights_and_only_at_construction(name):
    def make():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return build(name, (1, 28, 28), 4)

    a, b = make(), make()
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    before = torch.get_rng_state()
    a(torch.zeros(2, 1, 28, 28))
    assert torch.equal(torch.get_rng_state(), before)


def test_mlp_takes_tables_and_images():
    assert build("mlp", (5,), 3)(torch.randn(2, 5)).shape == (2, 3)
    assert build("mlp", (1, 8, 8), 3, hidden=())(torch.randn(2, 1, 8, 8)).shape == (2, 3)
    assert list(build("mlp", (5,), 3, hidden=(4, 4)).blocks()) == ["layer1", "layer2", "head"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build("resnet8", (3, 32, 32), 10), "did you mean 'resnet"),
        (lambda: build("wrn-17-2", (3, 32, 32), 10), r"depth: expected 6n \+ 4.*try 16"),
        (lambda: build("resnet18-w0", (3, 32, 32), 10), "width: expected an integer"),
        (lambda: build("resnet18-w16", (3, 32, 32), 10, width=8), "already fixes it"),
        (lambda: build("wrn-16-0", (3, 32, 32), 10), "k: expected an integer of at least 1"),
        (lambda: build("cnn", (12,), 10), "in_shape: a CNN of 2 blocks expects images.*'mlp'"),
        (lambda: build("resnet18", (12,), 10), "use 'mlp' for tables"),
        (lambda: build("cnn-4", (1, 8, 8), 10), "at least 16x16 pixels"),
        (lambda: build("vgg11", (1, 28, 28), 10), "at least 32x32"),
        (lambda: build("cnn", (1, 8, 8), 10, blocks=5), r"blocks: expected an integer in 1\.\.4"),
        (lambda: build("cnn", (1, 8, 8), 10, blocks=True), "blocks: expected an integer"),
        (lambda: build("cnn-2", (1, 8, 8), 10, blocks=3), "already fixes it"),
        (lambda: build("cnn", (1, 8, 8), 10, widht=3), "did you mean 'width'"),
        (lambda: build("resnet9", (3, 32, 32), 10, width=3), "it has no options"),
        (lambda: build("mlp", (4,), 0), "classes: expected an integer of at least 1"),
        (lambda: build("mlp", (4,), 3, hidden="8"), "hidden: expected a list"),
        (lambda: build("mlp", (4,), 3, hidden=(0,)), r"hidden\[0\]: expected an integer"),
        (lambda: build("mlp", (), 3), "in_shape: expected the shape of one input"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
