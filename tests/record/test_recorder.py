"""The Recorder sees what is there and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from seepage.data import Dataset, from_arrays
from seepage.errors import InputError
from seepage.plane import Monitor
from seepage.record import (
    Diverged,
    Memory,
    Recorder,
    Resident,
    Watching,
    checkpoints,
    observing,
    parse_views,
)
from seepage.record.resident import cut
from seepage.signals import SIGNALS


def images(n: int = 21, channels: int = 2) -> Dataset:
    g = torch.Generator().manual_seed(5)
    return Dataset(
        torch.randint(0, 256, (n, channels, 6, 5), generator=g, dtype=torch.uint8),
        torch.randint(0, 3, (n,), generator=g),
        np.arange(n).astype(np.str_),
        ("a", "b", "c"),
        "made",
        "image",
    )


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
            nn.Linear(48, 3),
        )  # fmt: skip


def recorder(data: Dataset, times: list[float], **options: object) -> tuple[Recorder, Memory]:
    memory = Memory()
    scale = data.member_scale(np.arange(len(data)))
    return Recorder(Resident.of(data), times, memory, scale=scale, **options), memory  # type: ignore[arg-type]


def trained(watched: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor, list[bool], Memory]:
    """A loop of dropout and BatchNorm, on the global stream, with some modules frozen in eval."""
    data = images()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = network()
        model[1].eval()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        look, memory = recorder(data, [0.0, 0.5, 1.0, 2.0], views=("identity", "flip"))
        if watched:
            look.start(model, steps_per_epoch=4)
        for epoch in range(2):
            if epoch == 1:
                model.train()
            for _ in range(4):
                rows = torch.randperm(len(data))[:7]
                loss = nn.functional.cross_entropy(
                    model(data.inputs[rows].float() / 255), data.labels[rows]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if watched:
                    look.step_end()
            if watched:
                look.epoch_end()
        if watched:
            look.finish()
        modes = [m.training for m in model.modules()]
        return model.state_dict(), torch.get_rng_state(), modes, memory


def test_it_never_disturbs() -> None:
    alone, stream, modes, _ = trained(watched=False)
    watched, stream_after, modes_after, memory = trained(watched=True)
    assert list(memory.values) == [0, 1, 2, 3]
    assert all(torch.equal(alone[k], watched[k]) for k in alone)
    assert torch.equal(stream, stream_after)
    assert modes == modes_after
    assert not torch.equal(
        torch.from_numpy(memory.values[0]["phi"]), torch.from_numpy(memory.values[3]["phi"])
    )


def test_observing_brings_modes_back_after_an_error() -> None:
    model = network()
    model[4].eval()
    before, stream = [m.training for m in model.modules()], torch.get_rng_state()

    def look() -> None:
        with observing(model):
            assert not any(m.training for m in model.modules())
            torch.rand(3)
            raise KeyError

    with pytest.raises(KeyError):
        look()
    assert [m.training for m in model.modules()] == before
    assert torch.equal(torch.get_rng_state(), stream)


def test_values_are_the_signals_of_the_logits() -> None:
    data, model = images(), network().eval()
    look, memory = recorder(data, [0.0], logits=True)
    look.start(model)
    scale, shift = data.member_scale(np.arange(len(data)))
    x = data.inputs.float() * torch.from_numpy(scale)[:, None, None]
    with torch.no_grad():
        logits = model(x + torch.from_numpy(shift)[:, None, None])
    np.testing.assert_allclose(memory.values[0]["logits"], logits.numpy(), rtol=1e-4, atol=1e-5)
    kept = torch.from_numpy(memory.values[0]["logits"])
    for name, signal in SIGNALS.items():
        if name in memory.values[0]:
            got = memory.values[0][name]
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, signal(kept, data.labels).float().numpy())


def test_the_batch_size_changes_rounding_only() -> None:
    data, found = images(), []
    for batch in (1, 4, 21, 500):
        look, memory = recorder(data, [0.0], batch=batch)
        look.start(network())
        found.append(memory.values[0]["phi"])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5, atol=1e-6)


def test_a_samples_value_does_not_depend_on_its_neighbours() -> None:
    data = images()
    look, memory = recorder(data, [0.0], batch=8)
    look.start(network())
    part = data.take(np.arange(20, 4, -1))
    scale = data.member_scale(np.arange(len(data)))
    other = Memory()
    Recorder(Resident.of(part), [0.0], other, scale=scale, batch=8).start(network())
    np.testing.assert_array_equal(
        other.values[0]["phi"], memory.values[0]["phi"][np.arange(20, 4, -1)]
    )


def test_views_are_the_moved_images() -> None:
    data = images()
    look, memory = recorder(data, [0.0], views=("identity", "flip", "shift:1,-2"))
    look.start(network())
    assert memory.values[0]["phi"].shape == (21, 3)
    scale, shift = data.member_scale(np.arange(len(data)))

    def normal(x: torch.Tensor) -> torch.Tensor:
        return x.float() * torch.from_numpy(scale)[:, None, None] + torch.from_numpy(shift)[:, None, None]  # fmt: skip

    moved = torch.zeros_like(data.inputs)
    # out[r, c] = in[r + 1, c - 2], zero pixels from outside
    moved[:, :, :5, 2:] = data.inputs[:, :, 1:, :3]
    for view, wanted in ((1, data.inputs.flip(3)), (2, moved)):
        rows = np.arange(len(data))
        torch.testing.assert_close(look.inputs(rows, view), normal(wanted), rtol=1e-6, atol=1e-6)


def test_the_device_path_cuts_as_the_kernel_does() -> None:
    data, rng = images(), np.random.default_rng(3)
    pool, rows = Resident.of(data), rng.integers(0, 21, 30)
    dy, dx, flip = rng.integers(-3, 4, 30), rng.integers(-3, 4, 30), rng.random(30) < 0.5
    scale, shift = data.member_scale(np.arange(21))
    kernel = pool.batch(rows, scale, shift, dy=dy, dx=dx, flip=flip)
    device = cut(
        torch.from_numpy(np.array(pool.pixels)), torch.from_numpy(rows), torch.from_numpy(scale),
        torch.from_numpy(shift), torch.from_numpy(dy), torch.from_numpy(dx),
        torch.from_numpy(flip),
    )  # fmt: skip
    torch.testing.assert_close(kernel, device, rtol=0, atol=0)


def test_fractions_of_epochs_come_at_the_step_that_reaches_them() -> None:
    seen: list[int] = []

    class Steps(Memory):
        def write(self, t: int, values: dict[str, np.ndarray]) -> None:
            super().write(t, values)
            seen.append(look.step)

    data = images()
    look = Recorder(Resident.of(data), [0.25, 0.5, 1.0, 1.7], Steps())
    look.start(network(), steps_per_epoch=10)
    for _ in range(2):
        for _ in range(10):
            look.step_end()
        look.epoch_end()
    look.finish()
    assert seen == [3, 5, 10, 17]


def test_a_loop_that_keeps_its_own_clock() -> None:
    look, memory = recorder(images(), [0.0, 3.0])
    look.start(network())
    for epoch in range(1, 4):
        look.checkpoint(float(epoch))
    look.finish()
    assert list(memory.values) == [0, 1]


def test_finish_names_the_checkpoint_that_never_came() -> None:
    look, _ = recorder(images(), [0.0, 2.0])
    look.start(network())
    look.epoch_end()
    with pytest.raises(InputError, match="expected the loop to reach epoch 2, it ended at 1"):
        look.finish()


def test_outputs_that_are_not_finite_end_the_run_with_the_step() -> None:
    model = network()
    look, _ = recorder(images(), [0.0, 1.0])
    look.start(model, steps_per_epoch=2)
    look.step_end()
    look.step_end()
    with torch.no_grad():
        model[5].weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="not finite at step 2"):
        look.epoch_end()


def test_extra_signals_are_measured_in_eval_mode_with_their_own_stream() -> None:
    class Probe:
        names = ("probe",)

        def wanted(self, checkpoint: float) -> bool:
            return True

        def measure(
            self,
            model: nn.Module,
            inputs: torch.Tensor,
            labels: torch.Tensor,
            generator: torch.Generator,
        ) -> dict[str, np.ndarray]:
            assert not model.training
            return {"probe": torch.rand(len(inputs), generator=generator).numpy()}

    found = []
    for _ in range(2):
        look, memory = recorder(images(), [0.0], extra=(Probe(),), seed=4)
        look.start(network())
        found.append(memory.values[0]["probe"])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ((), "expected 'identity' first"),
        (("flip",), "expected 'identity' first"),
        (("identity", "rotate"), "got 'rotate'"),
        (("identity", "shift:1"), "got 'shift:1'"),
        (("identity", "shift:a,b"), "got 'shift:a,b'"),
    ],
)
def test_views_that_are_none(views: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_views(views)


def test_tables_have_one_view() -> None:
    table = Dataset(
        torch.zeros(4, 2) + torch.arange(4.0)[:, None], torch.tensor([0, 1, 0, 1]),
        np.arange(4).astype(np.str_), ("a", "b"), "t", "table",
    )  # fmt: skip
    with pytest.raises(InputError, match="expected images for flips and shifts"):
        recorder(table, [0.0], views=("identity", "flip"))


def test_unknown_signals_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'phi'"):
        recorder(images(), [0.0], signals=("phii",))


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 40, 300])
@pytest.mark.parametrize("count", [2, 5, 8, 12])
def test_log_spaced_checkpoints_ascend_from_0_to_the_end(epochs: int, count: int) -> None:
    times = checkpoints(count, epochs)
    assert times[0] == 0.0
    assert times[-1] == epochs
    assert list(times) == sorted(set(times))
    assert len(times) <= count


@pytest.mark.parametrize("spec", [[], [1, 1], [2, 1], [-1], [0, 9], "often"])
def test_checkpoints_that_cannot_be(spec: object) -> None:
    with pytest.raises(InputError, match="checkpoints: expected"):
        checkpoints(spec, 8)  # type: ignore[arg-type]


def test_a_monitor_sees_what_the_recorder_sees_and_the_signals_pass_on() -> None:
    data, times = images(), [0.0, 1.0, 2.0]
    member = np.arange(len(data)) % 2 == 0
    monitor, memory = Monitor(), Memory()
    sink = Watching(monitor, member, times, into=memory)
    look = Recorder(
        Resident.of(data), times, sink, views=("identity", "flip"),
        scale=data.member_scale(np.flatnonzero(member)),
    )  # fmt: skip
    model = network()
    look.start(model)
    for _ in range(2):
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1.5)
        look.epoch_end()
    look.finish()
    assert [s.epoch for s in monitor.history] == times
    assert sorted(memory.values) == [0, 1, 2]
    for t, shot in enumerate(monitor.history):
        loss = memory.values[t]["loss"][:, 0]
        assert shot.member_loss == pytest.approx(loss[member].mean(), rel=1e-5)
        assert shot.nonmember_loss == pytest.approx(loss[~member].mean(), rel=1e-5)
    assert set(monitor.scores()) == {"lt_iqr", "slope", "loss"}


def test_a_monitor_needs_loss_and_correctness() -> None:
    data = images()
    sink = Watching(Monitor(), np.arange(len(data)) < 9, [0.0])
    look = Recorder(
        Resident.of(data), [0.0], sink, signals=("phi",), scale=data.member_scale(np.arange(9))
    )
    with pytest.raises(InputError, match="expected loss and correct for a monitor, loss is miss"):
        look.start(network())


def test_an_extra_signal_is_the_monitor_s_curvature_where_it_was_measured() -> None:
    member = np.arange(6) < 3
    monitor = Monitor()
    sink = Watching(monitor, member, [0.0, 1.0], curvature="curvature_exact")
    values = {"loss": np.arange(6.0), "correct": np.ones(6)}
    sink.write(0, values | {"curvature_exact": np.full(6, np.nan)})
    assert "curvature" not in monitor.scores()
    sink.write(1, values | {"curvature_exact": np.arange(6.0) * 2})
    np.testing.assert_array_equal(monitor.scores()["curvature"], np.arange(6.0) * 2)
    assert not sink.wants(1)


def test_features_are_no_logits_of_few_classes() -> None:
    """The largest of many features is no class; as outputs that a network has learnt to leave alone."""
    rng = np.random.default_rng(0)
    data = from_arrays(rng.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3)
    features = nn.Linear(4, 40)
    features.bias.data[:3] -= 1000  # none of the classes is ever answered
    for times, looks in (([0, 1, 5], [1]), ([0, 0.5, 5], [0.5, 5]), ([5], [5])):
        recorder = Recorder(Resident.of(data), times, Memory())
        recorder.start(features)
        for epoch in looks[:-1]:
            recorder.checkpoint(epoch)  # so early that nothing may have been learnt
        with pytest.raises(InputError, match=r"3 classes, got 40 outputs .* 100.0% .*network="):
            recorder.checkpoint(looks[-1])
    features.bias.data[:3] += 2000
    kept = Memory()
    recorder = Recorder(Resident.of(data), [0, 1], kept)
    recorder.start(features)
    recorder.checkpoint(1)
    assert set(kept.values) == {0, 1}


def test_answers_of_another_numbering_are_refused_at_the_end_alone() -> None:
    data = from_arrays(np.eye(3, dtype=np.float32)[np.arange(120) % 3], np.arange(120) % 3)
    model = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(5 * torch.eye(3)[[1, 0, 2]])
    watching, memory = Recorder(Resident.of(data), [0.0, 1.0], Memory()), Memory()
    watching.start(model)
    with pytest.raises(InputError, match=r"at epoch 1: labels: .*0 → 1, 1 → 0 would make"):
        watching.checkpoint(1.0)
    p = np.eye(3)[np.array([1, 0, 2])[np.arange(120) % 3]]
    answering = Recorder(Resident.of(data), [1.0, 2.0], memory)
    answering.answers(p, epoch=1.0)
    with pytest.raises(InputError, match=r"at epoch 2: labels: .*0 → 1, 1 → 0 would make"):
        answering.answers(p, epoch=2.0)
    assert list(memory.values) == [0]
