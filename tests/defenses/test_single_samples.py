"""Which networks and losses DP-SGD takes, and that one sample moves its sum by at most C."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seepage.defenses import (
    CCEL,
    CCQL,
    CWRF,
    DPSGD,
    HAMP,
    Chain,
    ConfidencePenalty,
    Defense,
    EarlyStopping,
    LabelSmoothing,
    LayerDPSGD,
    Samples,
    without_batchnorm,
)
from seepage.defenses.regional import OnlyRegions
from seepage.errors import InputError
from seepage.models import build
from seepage.models.answers import answering
from seepage.signals.tasks import task

pytest.importorskip("opacus", reason="the opacus extra is not installed")

IMAGE, LARGER, SERIES, FLAT = (3, 8, 8), (3, 16, 16), (5, 6), (6,)
CLIP = 0.1


class Head(nn.Module):
    """A convolution, something in between, a head."""

    def __init__(self, between, first=None):
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3) if first is None else first
        self.n = between
        self.h = nn.Linear(4, 2)

    def forward(self, x):
        return self.h(torch.relu(self.n(self.c(x))).mean((2, 3)))


class Written(nn.Module):
    """A network from parts and a forward pass."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.rule = forward

    def forward(self, x):
        return self.rule(self, x)


class Residual(nn.Module):
    """Activations in place, one module for two of them, and a sum in place."""

    def __init__(self, add):
        super().__init__()
        self.c1, self.n1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.c2, self.n2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.r, self.h, self.add = nn.ReLU(inplace=True), nn.Linear(4, 2), add

    def forward(self, x):
        a = self.r(self.n1(self.c1(x)))
        b = self.n2(self.c2(a))
        if self.add:
            b += a
        return self.h(self.r(b).mean((2, 3)))


def bare():
    return Written(
        lambda m, x: m.h(x * m.w), w=nn.Parameter(torch.rand(6) + 0.5), h=nn.Linear(6, 2)
    )


def one_logit(flat):
    """Answers z, (B, 1) or (B,), which a hook of the task binary widens to (0, z)."""
    net = build("mlp", FLAT, 1, hidden=(5,))
    net = nn.Sequential(net, nn.Flatten(0)) if flat else net
    return answering(net, task("binary"), 2, own=True)


def used_twice():
    return Written(
        lambda m, x: m.h(torch.relu(m.a(torch.relu(m.a(x))))), a=nn.Linear(6, 6), h=nn.Linear(6, 2)
    )


def shared_weight():
    m = Written(
        lambda m, x: m.h(torch.relu(m.b(torch.relu(m.a(x))))),
        a=nn.Linear(6, 6), b=nn.Linear(6, 6), h=nn.Linear(6, 2),
    )  # fmt: skip
    m.b.weight = m.a.weight
    return m


def transformer(dropout):
    """Class token and position embedding are bare parameters beside layers."""

    def forward(m, x):
        z = torch.cat([m.t.expand(len(x), -1, -1), x], 1) + m.p
        return m.h(m.n(m.e(z)[:, 0]))

    return Written(
        forward,
        t=nn.Parameter(0.5 * torch.randn(1, 1, 6)),
        p=nn.Parameter(0.1 * torch.randn(1, 6, 6)),
        e=nn.TransformerEncoderLayer(6, 2, 12, dropout=dropout, batch_first=True),
        n=nn.LayerNorm(6),
        h=nn.Linear(6, 2),
    )


def words(positions):
    """Tokens; with a table of positions, whose first axis is not that of samples."""

    def forward(m, x):
        z = m.e(x)
        if positions:
            z = z + m.p(torch.arange(x.shape[1]))
        return m.h(z.mean(1))

    return Written(forward, e=nn.Embedding(11, 4), p=nn.Embedding(5, 4), h=nn.Linear(4, 2))


def recurrent():
    return Written(
        lambda m, x: m.h(m.l(x)[0][:, -1]), l=nn.LSTM(6, 4, batch_first=True), h=nn.Linear(4, 2)
    )


def folded():
    """Its linear layer sees time steps as if they were samples."""
    return Written(
        lambda m, x: m.h(m.a(x.reshape(-1, 6)).reshape(len(x), 5, 4).mean(1)),
        a=nn.Linear(6, 4), h=nn.Linear(4, 2),
    )  # fmt: skip


def dropped():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def half_frozen():
    m = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    m[0].requires_grad_(False)
    return m


def channels_last(model):
    return model.to(memory_format=torch.channels_last)


def spectral(wrap):
    return Head(nn.Identity(), wrap(nn.Conv2d(3, 4, 3)))


LAYERS, ONE = "by layer (Opacus)", "one sample at a time"
ACCEPTED = {
    "mlp": (lambda: build("mlp", FLAT, 2, hidden=(5,)), FLAT, LAYERS),
    "one logit": (lambda: one_logit(False), FLAT, LAYERS),
    "one logit, flat": (lambda: one_logit(True), FLAT, LAYERS),
    "cnn": (lambda: build("cnn", IMAGE, 2, width=2, hidden=4), IMAGE, LAYERS),
    "cnn, channels last": (
        lambda: channels_last(build("cnn", IMAGE, 2, width=4, hidden=4)), IMAGE, LAYERS,
    ),
    "resnet9": (lambda: without_batchnorm(build("resnet9", IMAGE, 2)), IMAGE, LAYERS),
    "resnet18": (lambda: without_batchnorm(build("resnet18-w4", LARGER, 2)), LARGER, LAYERS),
    "wrn, channels last": (
        lambda: channels_last(without_batchnorm(build("wrn-10-1", IMAGE, 2))), IMAGE, LAYERS,
    ),
    "group norm": (lambda: Head(nn.GroupNorm(2, 4)), IMAGE, LAYERS),
    "instance norm": (lambda: Head(nn.InstanceNorm2d(4, affine=True)), IMAGE, LAYERS),
    "in place, repaired": (lambda: without_batchnorm(Residual(False)), IMAGE, LAYERS),
    "sum in place": (lambda: without_batchnorm(Residual(True)), IMAGE, ONE),
    "transformer": (lambda: transformer(0.0), SERIES, None),
    "transformer, dropout": (lambda: transformer(0.2), SERIES, ONE),
    "dropout": (dropped, FLAT, LAYERS),
    "bare parameter": (bare, FLAT, None),
    "module used twice": (used_twice, FLAT, LAYERS),
    "shared weight": (shared_weight, FLAT, LAYERS),
    "embedding": (lambda: words(False), "tokens", LAYERS),
    "embedding of positions": (lambda: words(True), "tokens", ONE),
    "lstm": (recurrent, SERIES, ONE),
    "lstm, repaired": (lambda: without_batchnorm(recurrent()), SERIES, LAYERS),
    "folded": (folded, SERIES, ONE),
    "frozen layer": (half_frozen, FLAT, LAYERS),
    "spectral norm": (lambda: spectral(nn.utils.spectral_norm), IMAGE, ONE),
    "spectral norm, parametrised": (
        lambda: spectral(nn.utils.parametrizations.spectral_norm), IMAGE, ONE,
    ),
    "weight norm, parametrised": (
        lambda: spectral(nn.utils.parametrizations.weight_norm), IMAGE, None,
    ),
}  # fmt: skip


def members(shape, n=9, dtype=torch.float32):
    g = torch.Generator().manual_seed(5)
    labels = torch.arange(n) % 2
    if shape == "tokens":
        return Samples(torch.randint(11, (n, 5), generator=g), labels)
    return Samples(torch.randn(n, *shape, generator=g).to(dtype), labels)


def made(make, seed=1):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def without_draws(model):
    """Dropout draws nothing: sums with and without a sample are compared."""
    for m in model.modules():
        if isinstance(m, nn.modules.dropout._DropoutNd):
            m.p = 0.0
        if isinstance(m, nn.MultiheadAttention):
            m.dropout = 0.0


def trained_part(model):
    return [p for p in model.parameters() if p.requires_grad]


class Step:
    """One step of DP-SGD without noise, in float64: sums of clipped gradients over any batch."""

    def __init__(self, kit, model, shape):
        self.model = model.double()
        self.members = members(shape, dtype=torch.float64)
        self.context = kit.context(model=model, members=self.members, batch=4, classes=2)
        self.defense = DPSGD(0.0, CLIP, poisson=False)
        self.defense.check(self.context)
        self.context.state = self.defense.start(self.context)
        without_draws(model)
        model.train()

    def sums(self, x, y):
        before = {k: b.clone() for k, b in self.model.named_buffers()}
        z, t = self.defense.mix(x, y, self.context)
        self.model.zero_grad()
        torch.autograd.backward(F.cross_entropy(self.model(z), t))
        self.defense.gradients(self.context)
        with torch.no_grad():
            for k, b in self.model.named_buffers():
                b.copy_(before[k])
        return [self.context.batch_size * p.grad for p in trained_part(self.model)]

    def by_hand(self, x, y, clip=CLIP):
        params = trained_part(self.model)
        total = [torch.zeros_like(p) for p in params]
        before = {k: b.clone() for k, b in self.model.named_buffers()}
        for i in range(len(x)):
            loss = F.cross_entropy(self.model(x[i : i + 1]), y[i : i + 1])
            grads = torch.autograd.grad(loss, params, allow_unused=True)
            grads = [
                torch.zeros_like(p) if g is None else g for g, p in zip(grads, params, strict=True)
            ]
            norm = math.sqrt(sum(float(g.double().square().sum()) for g in grads))
            for t, g in zip(total, grads, strict=True):
                t += g * min(1.0, clip / norm)
            with torch.no_grad():
                for k, b in self.model.named_buffers():
                    b.copy_(before[k])
        return total

    def close(self):
        self.defense.finish(self.context)
        return self.context.facts


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_accepted_is_clipped_sample_by_sample(kit, name):
    make, shape, way = ACCEPTED[name]
    step = Step(kit, made(make), shape)
    x, y = step.members.take(torch.arange(7))
    for clip in (CLIP, 1e6):
        step.defense = dataclasses.replace(step.defense, max_norm=clip)
        found, expected = step.sums(x, y), step.by_hand(x, y, clip)
        scale = max(float(e.abs().max()) for e in expected)
        for f, e in zip(found, expected, strict=True):
            torch.testing.assert_close(f, e, rtol=1e-6, atol=1e-8 * scale)
    told = step.close()
    assert way is None or told["per_sample_gradients"] == way
    assert told["epsilon_holds"] is False


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("name", ACCEPTED)
def test_one_sample_moves_the_sum_by_at_most_the_norm(kit, name):
    make, shape, _ = ACCEPTED[name]
    step = Step(kit, made(make), shape)
    x, y = step.members.take(torch.arange(7))
    if x.is_floating_point():
        x[3] *= 50
    whole = step.sums(x, y)
    for gone in (0, 3, 6):
        rest = torch.arange(7) != gone
        less = step.sums(x[rest], y[rest])
        moved = math.sqrt(
            sum(float((a - b).double().square().sum()) for a, b in zip(whole, less, strict=True))
        )
        assert moved <= CLIP * (1 + 1e-8)
    step.close()


class Mean(nn.Module):
    def forward(self, x):
        return x - x.mean(0, keepdim=True)


class FromTheFirst(nn.Module):
    def forward(self, x):
        return x - x[:1]


class Running(nn.Module):
    """Moves with the data, outside every buffer."""

    def __init__(self):
        super().__init__()
        self.centre = 0.0

    def forward(self, x):
        self.centre = 0.9 * self.centre + 0.1 * x.detach().mean()
        return x - self.centre


class BySize(nn.Module):
    def forward(self, x):
        return x / len(x)


def frozen_norm():
    m = Head(nn.BatchNorm2d(4))
    m.n.requires_grad_(False)
    return m


def evaluated_norm():
    """Its mode is that of the moment; the loop sets it to training in every epoch."""
    m = Head(nn.BatchNorm2d(4))
    m.n.eval()
    return m


def behind_zero():
    """A head that starts at zero shows nothing of what lies before it."""
    m = Head(nn.BatchNorm2d(4))
    nn.init.zeros_(m.h.weight)
    return m


class Mixed(nn.Module):
    """Of every other draw."""

    def forward(self, x):
        return x + x[torch.randperm(len(x))] if torch.rand(()) < 0.5 else x


def in_the_forward_pass():
    return Written(lambda m, x: m.h(x - x.mean(0)), h=nn.Linear(6, 2))


def squeezed():
    return Written(
        lambda m, x: m.h(m.a(x).squeeze()).reshape(-1, 2), a=nn.Linear(6, 1), h=nn.Linear(3, 6)
    )


REFUSED = {
    "batch norm": (lambda: Head(nn.BatchNorm2d(4)), IMAGE, r"got BatchNorm 'n', which couples .*without_batchnorm\(model\)"),
    "without affine parameters": (
        lambda: Head(nn.BatchNorm2d(4, affine=False)), IMAGE, "got BatchNorm 'n', which couples",
    ),
    "without statistics": (
        lambda: Head(nn.BatchNorm2d(4, track_running_stats=False)), IMAGE, "got BatchNorm 'n', which",
    ),
    "frozen": (frozen_norm, IMAGE, "got BatchNorm 'n', which couples"),
    "set to evaluation": (evaluated_norm, IMAGE, "got BatchNorm 'n', which couples"),
    "instance norm with statistics": (
        lambda: Head(nn.InstanceNorm2d(4, affine=True, track_running_stats=True)), IMAGE,
        r"got InstanceNorm2d 'n', whose buffer 'running_mean' keeps data .*without_batchnorm\(model\)",
    ),
    "a mean by hand": (lambda: Head(Mean()), IMAGE, "got Mean 'n', which couples"),
    "the first sample": (lambda: Head(FromTheFirst()), IMAGE, "got FromTheFirst 'n', which couples"),
    "behind a head of zeros": (behind_zero, IMAGE, "got BatchNorm 'n', which couples"),
    "at random": (lambda: Head(Mixed()), IMAGE, "got Mixed 'n', which couples"),
    "in the forward pass": (in_the_forward_pass, FLAT, "got Written, which couples"),
    "state outside buffers": (lambda: Head(Running()), IMAGE, "keeps nothing of a batch"),
    "size of the batch": (lambda: Head(BySize()), IMAGE, "depends on the size of the batch"),
    "one sample": (squeezed, FLAT, "fails on one sample|could not|couples"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize(
    "defense", [DPSGD(), LayerDPSGD(risk={"h": 0.6}), Chain((DPSGD(), CCEL()))]
)
def test_what_couples_samples_or_keeps_their_data_is_refused(kit, name, defense):
    make, shape, message = REFUSED[name]
    context = kit.context(model=made(make), members=members(shape), poisson=True, classes=2)
    with pytest.raises(InputError, match=message) as told:
        defense.check(context)
    assert "\n" not in str(told.value)


def test_the_advised_repair_mends_every_normalisation(kit):
    for norm in (
        nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False),
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    ):  # fmt: skip
        model = without_batchnorm(Head(norm))
        DPSGD().check(kit.context(model=model, members=members(IMAGE), poisson=True, classes=2))


def test_a_repair_that_fails_on_one_sample_is_refused(kit):
    """Groups of one channel have nothing to normalise over on one pixel; torch stops there."""
    model = without_batchnorm(build("resnet18-w4", IMAGE, 2))
    with pytest.raises(
        InputError, match=r"got ResNet18, which fails on one sample \(Expected more"
    ):
        DPSGD().check(kit.context(model=model, members=members(IMAGE), poisson=True, classes=2))


def test_streams_of_numpy_and_python_count_as_draws_and_go_back(kit):
    import random

    import numpy as np

    def forward(m, x):
        return m.h(x if random.random() < 0.5 else np.random.default_rng().random() * 0 + x)

    state = random.getstate()
    model = Written(forward, h=nn.Linear(6, 2))
    DPSGD().check(kit.context(model=model, members=members(FLAT), poisson=True, classes=2))
    assert random.getstate() == state


def test_the_repair_leaves_the_given_network_alone():
    given = Residual(False)
    fixed = without_batchnorm(given)
    assert given.r.inplace
    assert isinstance(given.n1, nn.BatchNorm2d)
    assert not fixed.r.inplace


def test_normalisation_that_stays_in_evaluation_mode_is_constant(kit):
    class Still(nn.BatchNorm2d):
        def train(self, mode=True):
            return super().train(False)

    model = made(lambda: Head(Still(4)))
    step = Step(kit, model, IMAGE)
    x, y = step.members.take(torch.arange(5))
    for f, e in zip(step.sums(x, y), step.by_hand(x, y), strict=True):
        torch.testing.assert_close(f, e, rtol=1e-3, atol=1e-6)
    step.close()


def test_a_region_behind_coupled_features_is_refused(kit):
    model = made(lambda: Head(nn.BatchNorm2d(4, affine=False)))
    context = kit.context(model=model, members=members(IMAGE), classes=2)
    with pytest.raises(InputError, match="got BatchNorm 'n', which couples"):
        OnlyRegions(DPSGD(poisson=False), ("h",)).check(context)


def test_trying_leaves_no_trace(kit):
    model = made(lambda: spectral(nn.utils.spectral_norm))
    nn.init.zeros_(model.h.weight)
    model.c.weight_orig.grad = torch.ones_like(model.c.weight_orig)
    model.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    stream = torch.get_rng_state()
    context = kit.context(model=model, members=members(IMAGE), poisson=True, classes=2)
    drawn = context.generator.get_state()
    DPSGD().check(context)
    context.state = DPSGD().start(context)
    assert torch.equal(torch.get_rng_state(), stream)
    assert torch.equal(context.generator.get_state(), drawn)
    assert not any(m.training for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(model.c.weight_orig.grad, torch.ones_like(model.c.weight_orig))
    DPSGD().finish(context)
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    assert "forward" not in model.__dict__


def test_passes_that_only_look_are_not_counted(kit):
    from contextlib import contextmanager

    paused, seen = [0], []

    @contextmanager
    def uncounted():
        paused[0] += 1
        yield
        paused[0] -= 1

    model = made(lambda: build("mlp", FLAT, 2))
    model.register_forward_hook(lambda *_: seen.append(paused[0]))
    context = kit.context(model=model, members=members(FLAT), poisson=True, classes=2)
    context.uncounted = uncounted
    DPSGD().check(context)
    context.state = DPSGD().start(context)
    assert seen
    assert all(seen)
    DPSGD().finish(context)


def test_a_network_that_cannot_be_tried_carries_no_guarantee(kit):
    def forward(m, x):
        return {"logits": m.h(x)}

    model = Written(forward, h=nn.Linear(6, 2))
    defense = DPSGD()
    context = kit.context(model=model, members=members(FLAT), poisson=True, classes=2)
    defense.check(context)
    context.state = defense.start(context)
    defense.finish(context)
    assert context.facts["epsilon_holds"] is False
    assert "not one row of numbers per sample" in context.facts["epsilon_why_not"]
    norm = Written(lambda m, x: {"logits": m.n(x)}, n=nn.BatchNorm1d(6))
    with pytest.raises(InputError, match="got BatchNorm 'n'"):
        defense.check(dataclasses.replace(context, model=norm))


def test_floats_that_name_words_are_tried_on_the_members(kit):
    model = made(
        lambda: Written(
            lambda m, x: m.h(m.e(x.long()).mean(1)), e=nn.Embedding(11, 4), h=nn.Linear(4, 2)
        )
    )
    given = members("tokens")
    given = Samples(given.inputs.float(), given.labels)
    context = kit.context(model=model, members=given, poisson=True, classes=2)
    context.state = DPSGD().start(context)
    assert context.state.unknown is None
    DPSGD().finish(context)


def test_what_epsilon_does_not_cover_is_said(kit):
    def told(defense, context):
        context.state = defense.start(context)
        context.state.steps = 5
        defense.finish(context)
        return context.facts

    facts = told(DPSGD(), kit.context(poisson=True))
    assert facts["epsilon_holds"] is True
    assert facts["epsilon_why_not"] is None
    assert facts["epsilon"] < facts["epsilon_rdp"]
    assert facts["accountant"] == "prv"
    facts = told(DPSGD(0.0, 1.0, poisson=False), kit.context())
    assert facts["epsilon"] is None
    assert facts["epsilon_rdp"] is None
    assert facts["epsilon_why_not"] == "batches are shuffled, not Poisson draws; no noise is added"
    inside = dataclasses.replace(kit.context(poisson=True), trainable=frozenset({"head.weight"}))
    assert told(DPSGD(), inside)["epsilon_why_not"] == "only some regions are trained privately"


def test_beside_training_that_is_not_private_nothing_is_guaranteed(kit):
    reference = kit.samples(seed=5)
    context = kit.context(reference=reference, epochs=4, batch=12)
    kit.train(CWRF(DPSGD(), steps=2), context)
    assert context.facts["epsilon_holds"] is False
    assert context.facts["epsilon_why_not"] == "the training before the fine-tuning was not private"

    @dataclasses.dataclass(frozen=True)
    class Edits(Defense):
        name = "edits"

        def parameters(self, context):
            pass

    context = kit.context(poisson=True, epochs=1)
    kit.train(Chain((DPSGD(), Edits())), context)
    assert context.facts["epsilon_why_not"] == "'edits' may edit parameters as well"
    kit.train(DPSGD(), context)
    assert "an earlier stage was private" in context.facts["epsilon_why_not"]
    context = kit.context(poisson=True, epochs=1, reference=reference)
    kit.train(Chain((DPSGD(), EarlyStopping())), context)
    assert context.facts["epsilon_holds"] is True


def test_features_are_those_of_the_batch_one_sample_at_a_time(kit):
    from seepage.defenses.networks import forward

    model = made(lambda: without_batchnorm(Residual(True)))
    step = Step(kit, model, IMAGE)
    x, y = step.members.take(torch.arange(5))
    z, _ = step.defense.mix(x, y, step.context)
    logits, features = forward(model, z, features=True)
    assert features.shape == (5, 4)
    (F.cross_entropy(logits, y) + features.square().sum(1).mean()).backward()
    rows = step.context.state.way.take(trained_part(model))
    for i in range(5):
        logits, features = forward(model, x[i : i + 1], features=True)
        loss = F.cross_entropy(logits, y[i : i + 1]) + features.square().sum()
        for r, g in zip(rows, torch.autograd.grad(loss, trained_part(model)), strict=True):
            torch.testing.assert_close(r[i], g, rtol=1e-3, atol=1e-5)
    step.close()


# Losses


@dataclasses.dataclass(frozen=True)
class Own(Defense):
    """A defence of a user's, by its rules."""

    name = "own"
    title = "Own"

    rule: object = None
    mixing: object = None
    label: object = None

    def loss(self, logits, targets, labels, context):
        return F.cross_entropy(logits, targets) if self.rule is None else self.rule(logits, targets)

    def mix(self, inputs, targets, context):
        return (inputs if self.mixing is None else self.mixing(inputs)), targets

    def targets(self, labels, context):
        return labels if self.label is None else self.label(labels)


COUPLED = {
    "class weights": Own(lambda z, t: F.cross_entropy(z, t, weight=torch.tensor([1.0, 2.0, 3.0]))),
    "ignore_index": Own(lambda z, t: F.cross_entropy(z, t, ignore_index=0)),
    "sum": Own(lambda z, t: F.cross_entropy(z, t, reduction="sum")),
    "level of the batch": Own(lambda z, t: (F.cross_entropy(z, t) - 1).abs()),
    "worst sample": Own(lambda z, t: F.cross_entropy(z, t, reduction="none").max()),
    "contrast": Own(lambda z, t: F.cross_entropy(z @ z.T, torch.arange(len(z)))),
}


@pytest.mark.parametrize("name", COUPLED)
def test_a_loss_that_is_no_mean_of_terms_is_refused(kit, name):
    with pytest.raises(InputError, match="own: dp-sgd needs a loss that is the mean of one term"):
        Chain((DPSGD(), COUPLED[name])).check(kit.context(poisson=True))


def test_targets_and_inputs_of_other_samples_are_refused(kit):
    for own in (
        Own(mixing=lambda x: 0.5 * (x + x.flip(0))),
        Own(label=lambda y: 0.5 * (F.one_hot(y, 3) + F.one_hot(y, 3).float().mean(0))),
    ):
        with pytest.raises(InputError, match=r"own: dp-sgd clips .* depend on the others"):
            Chain((DPSGD(), own)).check(kit.context(poisson=True))


def test_a_dp_sgd_with_a_loss_of_its_own_is_tried_too(kit):
    @dataclasses.dataclass(frozen=True)
    class Weighted(DPSGD):
        def loss(self, logits, targets, labels, context):
            return F.cross_entropy(logits, targets, weight=torch.tensor([1.0, 2.0, 3.0]))

    with pytest.raises(InputError, match="dp-sgd needs a loss that is the mean"):
        Weighted().check(kit.context(poisson=True))


@pytest.mark.parametrize(
    "part",
    [
        LabelSmoothing(), ConfidencePenalty(), CCEL(), CCQL(), HAMP(),
        Own(lambda z, t: (torch.tensor([1.0, 2.0, 3.0])[t] * F.cross_entropy(z, t, reduction="none")).mean()),
        Own(lambda z, t: F.multi_margin_loss(z, t)),
    ],
    ids=lambda p: p.name,
)  # fmt: skip
def test_a_mean_of_terms_is_accepted(kit, part):
    defense = Chain((DPSGD(1.0, 1.0), part))
    context = kit.context(poisson=True)
    drawn = context.generator.get_state()
    defense.check(context)
    assert torch.equal(context.generator.get_state(), drawn)
    _, loop = kit.train(defense, kit.context(poisson=True, epochs=1))
    assert loop.stages[0].facts["epsilon_holds"] is True


def test_a_fleet_refuses_before_it_makes_a_folder(tmp_path):
    import seepage
    from seepage.data import npz

    g = np.random.default_rng(0)
    data = npz.from_arrays(g.normal(size=(24, 3, 8, 8)).astype("float32"), g.integers(0, 2, 24))
    plan = seepage.half_split(24, models=2, seed=0)
    recipe = seepage.Recipe(epochs=1, batch=8)
    with pytest.raises(InputError, match="got BatchNorm 'n', which couples"):
        seepage.train(
            data, plan, model=lambda: Head(nn.BatchNorm2d(4, affine=False)), recipe=recipe,
            out=tmp_path / "run", executor="inline", defense=DPSGD(),
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_image_fleets_take_the_gradients_of_single_samples(tmp_path, monkeypatch):
    """Their networks lie channels last, which the rule for convolutions must bear."""
    import seepage
    from seepage.data import npz
    from seepage.defenses import dp

    steps, clipped_sum = [], dp.clipped_sum

    def keep(grads, max_norm, weights=None):
        steps[-1].append([g.clone() for g in grads])
        return clipped_sum(grads, max_norm, weights)

    monkeypatch.setattr(dp, "clipped_sum", keep)

    @dataclasses.dataclass(frozen=True)
    class Kept(DPSGD):
        name = "kept"

        def gradients(self, context):
            twin = build("cnn-2", IMAGE, 2)
            twin.load_state_dict(context.model.state_dict())
            labels = context.members.labels[context.rows]
            steps.append([twin, context.inputs, labels])
            super().gradients(context)

    g = np.random.default_rng(0)
    data = npz.from_arrays(g.normal(size=(24, *IMAGE)).astype("float32"), g.integers(0, 2, 24))
    run = seepage.train(
        data, seepage.half_split(24, models=2, seed=0), model="cnn-2",
        recipe=seepage.Recipe(epochs=1, batch=6, momentum=0, precision="fp32"), out=tmp_path / "run",
        executor="inline", defense=Kept(noise=1.0),
    )  # fmt: skip
    assert {run.records[int(r)]["facts"]["per_sample_gradients"] for r in run.models} == {LAYERS}
    full = [s for s in steps if len(s[2])]
    assert full
    for twin, x, y, found in full:
        for i in range(len(y)):
            loss = F.cross_entropy(twin(x[i : i + 1]), y[i : i + 1])
            for f, e in zip(found, torch.autograd.grad(loss, list(twin.parameters())), strict=True):
                torch.testing.assert_close(f[i], e, rtol=1e-3, atol=1e-5)
