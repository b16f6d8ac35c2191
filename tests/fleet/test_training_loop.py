"""What a run does with its seed, batches and optimiser, on every backend."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import seepage
from seepage.config.model import Model
from seepage.config.recipe import Recipe, learning_rate
from seepage.fleet import graphs, optim
from seepage.fleet.backends import choose_backend, group
from seepage.fleet.feed import Feed
from seepage.fleet.graphs import Step
from seepage.fleet.loop import init_model
from seepage.models import build
from seepage.record import Resident
from seepage.record.resident import cut


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(3, 7))
def test_fused_cut_equals_padding_cropping_mirroring(seed: int, channels: int, side: int) -> None:
    """The kernel and the device's tensor rule against the definition, pixel by pixel."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (5, side, side, channels)).astype(np.uint8)
    pool = Resident(pixels, np.zeros(5, np.int64))
    n, pad = 6, 2
    rows = rng.integers(0, 5, n)
    dy, dx = rng.integers(-pad, pad + 1, (2, n))
    flip = rng.random(n) < 0.5
    scale = rng.random(channels).astype(np.float32)
    shift = rng.random(channels).astype(np.float32)
    got = pool.batch(rows, scale, shift, dy=dy, dx=dx, flip=flip)
    assert got.is_contiguous(memory_format=torch.channels_last)
    for b in range(n):
        x = pixels[rows[b]][:, ::-1] if flip[b] else pixels[rows[b]]
        padded = np.zeros((side + 2 * pad, side + 2 * pad, channels), np.float32)
        padded[pad : pad + side, pad : pad + side] = x
        # Mirroring comes after the move in the source's frame: the window moves the same way.
        move = dx[b]
        window = padded[pad + dy[b] : pad + dy[b] + side, pad + move : pad + move + side]
        want = window * scale + shift
        np.testing.assert_allclose(got[b].permute(1, 2, 0).numpy(), want, rtol=1e-6)
    as_tensors = cut(
        torch.from_numpy(pixels), torch.from_numpy(rows), torch.from_numpy(scale),
        torch.from_numpy(shift), torch.from_numpy(dy), torch.from_numpy(dx),
        torch.from_numpy(flip),
    )  # fmt: skip
    np.testing.assert_allclose(as_tensors.numpy(), got.numpy(), rtol=1e-6)


def test_every_epoch_shuffles_members_and_nothing_else() -> None:
    data = seepage.load("digits", limit=50)
    members = np.arange(0, 50, 2)
    feed = Feed(Resident.of(data), members, Recipe(batch=8), 7, data.member_scale(members))
    first, again, second = feed.draw(0), feed.draw(0), feed.draw(1)
    assert (first.rows == again.rows).all()
    assert (first.rows != second.rows).any()
    assert feed.steps == 3
    assert len(set(first.rows.ravel())) == 24
    assert set(first.rows.ravel()) <= set(members)


def test_sam_is_the_gradient_at_the_worst_point_nearby() -> None:
    torch.manual_seed(0)
    model, rho = nn.Linear(3, 2), 0.1
    x, y = torch.randn(5, 3), torch.randint(2, (5,))

    def loss() -> torch.Tensor:
        value = nn.functional.cross_entropy(model(x), y)
        value.backward()
        return value

    before = [p.detach().clone() for p in model.parameters()]
    loss()
    grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    norm = torch.sqrt(sum((g**2).sum() for g in grads))
    moved = nn.Linear(3, 2)
    with torch.no_grad():
        for p, b, g in zip(moved.parameters(), before, grads, strict=True):
            p.copy_(b + rho * g / norm)
    nn.functional.cross_entropy(moved(x), y).backward()
    optim.sam_step(optim.make(Recipe(optimizer="sam"), model), rho, loss)
    for p, b, m in zip(model.parameters(), before, moved.parameters(), strict=True):
        assert torch.equal(p, b)
        torch.testing.assert_close(p.grad, m.grad, rtol=1e-4, atol=1e-6)


def test_schedules_begin_and_end_where_they_should() -> None:
    warm = Recipe(lr=1.0, warmup=0.5)
    assert [learning_rate(warm, s, 4) for s in (0, 1, 2)] == [0.5, 1.0, 1.0]
    step = Recipe(lr=1.0, schedule="step")
    assert [round(learning_rate(step, s, 10), 6) for s in (5, 6, 8)] == [1.0, 0.1, 0.01]
    assert learning_rate(Recipe(lr=0.3, schedule="constant"), 9, 10) == 0.3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "recipe.epochs"),
        ({"optimizer": "sgdd"}, "recipe.optimizer"),
        ({"lr": float("nan")}, "recipe.lr"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov needs momentum"),
        ({"speed": 3}, "recipe.speed"),
    ],
)
def test_recipes_name_the_bad_field(values: dict[str, object], message: str) -> None:
    with pytest.raises(seepage.InputError, match=message):
        Recipe(**values)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_stacked_and_single_training_give_the_same_runs(tmp_path: Path, optimizer: str) -> None:
    data = seepage.load("digits", limit=200)
    plan = seepage.half_split(200, models=4, seed=0)
    found = {}
    for backend in ("process", "stacked"):
        run = seepage.train(
            data, plan, model="mlp", model_options={"hidden": [16]}, out=tmp_path / backend,
            recipe=Recipe(epochs=4, batch=32, lr=0.01, optimizer=optimizer, precision="fp32"),
            backend=backend, device="cpu", workers=1, checkpoints=[0, 1, 4],
        )  # fmt: skip
        found[backend] = run.signal("phi")
        kept = run.weights(0)
        assert kept is not None
        assert sum(v.numel() for v in kept.values()) == 64 * 16 + 16 + 160 + 10
    # The stated tolerance: initialisation to the bit, trained logits to rounding.
    assert (found["process"][:, 0] == found["stacked"][:, 0]).all()
    np.testing.assert_allclose(found["process"], found["stacked"], atol=2e-3)


def test_groups_are_cut_from_the_plan_and_not_from_what_is_left() -> None:
    spec = SimpleNamespace(execution=SimpleNamespace(backend="stacked", device="cpu"))
    assert group(spec, [9, 10], 12) == [[8, 9, 10, 11]]  # type: ignore[arg-type]
    spec.execution.backend = "process"
    assert group(spec, [3, 5], 12) == [[3], [5]]  # type: ignore[arg-type]


def test_a_backend_that_cannot_train_this_is_refused() -> None:
    plan = seepage.half_split(100, models=4)
    with pytest.raises(seepage.InputError, match="'stacked' needs the model 'mlp'"):
        choose_backend("stacked", Model(name="cnn"), Recipe(), plan, "cpu", plain=True)
    with pytest.raises(seepage.InputError, match="expected 'auto' or one of"):
        choose_backend("quick", Model(name="mlp"), Recipe(), plan, "cpu", plain=True)
    assert choose_backend("auto", Model(name="mlp"), Recipe(), plan, "cpu", plain=True) == "stacked"
    assert (
        choose_backend("auto", Model(name="mlp"), Recipe(), plan, "cpu", plain=False) == "process"
    )


@pytest.mark.parametrize("optimizer", ["sgd", "sam"])
@pytest.mark.parametrize("model", ["cnn-1", "wrn-10-1"])
def test_a_step_of_tensors_alone_is_the_plain_loop_s_step(model: str, optimizer: str) -> None:
    """What CUDA graphs replay, run plainly here: the same weights as the loop's after two epochs."""
    data = seepage.load("digits", limit=80)
    recipe = Recipe(
        epochs=2, batch=16, optimizer=optimizer, rho=0.2, nesterov=True, flip=True, crop=1,
        precision="fp32",
    )  # fmt: skip
    pool = Resident.of(data)
    members = np.arange(0, 80, 2)
    scale = data.member_scale(members)
    ref = Model(name=model)
    job = SimpleNamespace(seed=5, members=members, scale=scale)
    spec = SimpleNamespace(
        recipe=recipe, model=ref, execution=seepage.Execution(backend="graphs"),
        pool=SimpleNamespace(shape=data.shape, classes=data.classes),
    )  # fmt: skip
    plain = init_model(spec, 5, pool.device)  # type: ignore[arg-type]
    optimizing = optim.make(recipe, plain)
    feed = Feed(pool, members, recipe, 5, scale)
    plain.train()
    for epoch in range(2):
        for s, (x, y) in enumerate(feed.batches(epoch)):

            def back(x: torch.Tensor = x, y: torch.Tensor = y) -> None:
                nn.functional.cross_entropy(plain(x), y).backward()

            rate = learning_rate(recipe, epoch * feed.steps + s, 2 * feed.steps)
            for part in optimizing.param_groups:
                part["lr"] = rate
            back()
            if optimizer == "sam":
                optim.sam_step(optimizing, recipe.rho, back)
            optimizing.step()
            optimizing.zero_grad()
    pool.on_device = torch.from_numpy(np.array(pool.pixels))
    step = Step(spec, pool, job)  # type: ignore[arg-type]
    step.model.train()
    for epoch in range(2):
        step.load(epoch)
        for _ in range(feed.steps):
            step.run()
    want = plain.state_dict()
    for name, value in step.model.state_dict().items():
        torch.testing.assert_close(value, want[name], rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["sgd", "sam"])
def test_graphs_train_as_the_plain_loop_does(tmp_path: Path, optimizer: str) -> None:
    data = seepage.load("digits", limit=300)
    plan = seepage.half_split(300, models=2, seed=0)
    found = []
    ways = (("a", "process"), ("b", "graphs"), ("c", "graphs"), ("d", "compiled"))
    for name, backend in ways:
        run = seepage.train(
            data, plan, model="cnn-1", out=tmp_path / name, backend=backend, device="cuda",
            recipe=Recipe(
                epochs=2, batch=32, optimizer=optimizer, precision="fp32", flip=True, crop=1
            ),
            checkpoints=[0, 0.5, 2],
        )  # fmt: skip
        found.append(run.signal("phi"))
    assert (found[1] == found[2]).all()
    np.testing.assert_allclose(found[0], found[1], atol=0.05)
    np.testing.assert_allclose(found[0], found[3], atol=0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("default::DeprecationWarning")  # torch's own, when it compiles
def test_a_compiled_step_has_the_gradients_of_the_plain_one() -> None:
    """To float32's rounding; networks of one class share one compilation and stay apart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 3, 12, 12, generator=generator)
    y = torch.randint(4, (16,), generator=generator)
    for seed in (0, 1):
        steps = []
        for loss_of in (graphs.loss_of, graphs.compiled_loss()):
            torch.manual_seed(seed)
            model = build("cnn-2", (3, 12, 12), 4)
            loss = loss_of(model, x, y, False)
            torch.autograd.backward(loss)
            steps.append((loss.item(), [p.grad for p in model.parameters()]))
        (plain, slopes), (compiled, others) = steps
        assert plain == pytest.approx(compiled, rel=1e-5)
        for a, b in zip(slopes, others, strict=True):
            assert a is not None
            assert b is not None
            assert (a - b).norm() <= 1e-4 * a.norm()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_step_is_torch_s_and_does_not_import_its_compiler(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(optimizer=optimizer, lr=0.05, weight_decay=0.01)  # type: ignore[arg-type]
    theirs = {
        "sgd": lambda p: torch.optim.SGD(
            p, lr=0.05, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=0.01
        ),
        "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.01),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.01),
    }[optimizer]

    torch.manual_seed(0)
    batches, models = torch.randn(4, 8, 4), [nn.Linear(4, 3), nn.Linear(4, 3)]
    models[1].load_state_dict(models[0].state_dict())

    def state_after(found: torch.optim.Optimizer, model: nn.Module) -> str:
        for x in batches:
            found.zero_grad(set_to_none=True)
            model(x).square().mean().backward()
            found.step()
        found.load_state_dict(found.state_dict())
        return str(found.state_dict())

    with monkeypatch.context() as without:
        # What torch guards against its compiler raises where that cannot be imported.
        without.setitem(sys.modules, "torch._dynamo", None)
        ours = state_after(optim.make(recipe, models[0]), models[0])
    assert ours == state_after(theirs(models[1].parameters()), models[1])
    assert all(map(torch.equal, models[0].parameters(), models[1].parameters()))


def test_batches_that_are_cut_together_are_those_that_are_cut_alone() -> None:
    data = seepage.load("digits", limit=50)
    members = np.arange(0, 50, 2)
    feed = Feed(Resident.of(data), members, Recipe(batch=6), 3, data.member_scale(members))
    alone, together = (list(feed.batches(1, copied=copied)) for copied in (False, True))
    assert len(alone) == len(together) == 4
    for (x, y), (same_x, same_y) in zip(alone, together, strict=True):
        assert torch.equal(x, same_x)
        assert torch.equal(y, same_y)
