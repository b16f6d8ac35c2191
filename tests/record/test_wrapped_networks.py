"""Wrappers around a network change neither what is recorded of it nor the names of its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import MethodType

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import seepage
from seepage.curvature import curvature
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.layers import probe
from seepage.models.wrapped import unwrapped
from seepage.record import Memory, Recorder, Resident
from seepage.store.weight_files import load_weights, put_weights

X = torch.randn(24, 5, generator=torch.Generator().manual_seed(1))
Y = torch.arange(24) % 3
POOL = Dataset(X, Y, np.arange(24).astype(np.str_), ("a", "b", "c"), "made", "table")


class Kept(Memory):
    """Keeps the names of the weights that are offered."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[dict[str, torch.Tensor]] = []

    def keep(self, t: int, model: nn.Module) -> None:
        self.weights.append({k: v.clone() for k, v in model.state_dict().items()})


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def private(model: nn.Module) -> nn.Module:
    return GradSampleModule(model)


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


def nested(model: nn.Module) -> nn.Module:
    return nn.DataParallel(GradSampleModule(model))


WRAPPERS = [nn.DataParallel, private, compiled, nested]


def step(model: nn.Module) -> None:
    """One step of training, whose per-sample gradients an Opacus wrapper then holds."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        nn.functional.cross_entropy(model(X), Y).backward()
    optimizer.step()
    optimizer.zero_grad()


def recorded(model: nn.Module, **options: object) -> tuple[Memory, Recorder]:
    sink = Kept()
    look = Recorder(Resident.of(POOL), [0.0, 1.0], sink, logits=True, **options)  # type: ignore[arg-type]
    look.start(model, epochs=1)
    step(model)
    look.epoch_end()
    look.finish()
    return sink, look


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_signals_and_weights_are_those_of_the_network_itself(
    wrap: Callable[[nn.Module], nn.Module],
) -> None:
    plain, _ = recorded(network())
    model = wrap(network())
    held, _ = recorded(model)
    for t in (0, 1):
        for name, values in plain.values[t].items():
            np.testing.assert_allclose(held.values[t][name], values, rtol=1e-5, atol=1e-6)
    assert isinstance(held, Kept)
    assert isinstance(plain, Kept)
    assert [list(w) for w in held.weights] == [list(w) for w in plain.weights]
    for name, tensor in plain.weights[1].items():
        torch.testing.assert_close(held.weights[1][name], tensor, rtol=1e-5, atol=1e-6)
    assert model.training
    fresh = network()
    fresh.load_state_dict(held.weights[1])


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_curvature_and_layers_of_a_wrapped_network(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = wrap(network())
    step(model)
    alone = network()
    alone.load_state_dict(unwrapped(model).state_dict())
    model.eval()
    alone.eval()
    for inner in (model, unwrapped(model)):
        np.testing.assert_allclose(curvature(inner, X, Y).trace, curvature(alone, X, Y).trace)
        found, wanted = probe(inner, X), probe(alone, X)
        assert found.layers == wanted.layers
        np.testing.assert_array_equal(found.jac_rank_float, wanted.jac_rank_float)


def test_averaged_weights_are_recorded_and_loaded(tmp_path: Path) -> None:
    model = network()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    sink = Kept()
    look = Recorder(Resident.of(POOL), [0.0, 1.0, 2.0], sink, logits=True)
    look.start(averaged, epochs=2)
    wanted = {k: v.clone() for k, v in model.state_dict().items()}
    for epoch in (0, 1):
        step(model)
        averaged.update_parameters(model)
        for name, tensor in model.state_dict().items():
            # The first average is what was there; later ones are halves of both.
            wanted[name] = tensor.clone() if epoch == 0 else (wanted[name] + tensor) / 2
        look.epoch_end()
        assert not torch.equal(wanted["0.weight"], model.state_dict()["0.weight"]) or epoch == 0
    look.finish()
    assert list(sink.weights[-1]) == list(wanted)
    for name, tensor in wanted.items():
        torch.testing.assert_close(sink.weights[-1][name], tensor)
    alone = network()
    torch.save(averaged.state_dict(), tmp_path / "w.pt")
    assert put_weights(alone, load_weights(tmp_path / "w.pt"), "w.pt") == ("module.",)
    with torch.no_grad():
        logits = alone.eval()(X).numpy()
    np.testing.assert_allclose(sink.values[2]["logits"], logits, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_opacus_counts_samples_again_after_a_look() -> None:
    model = GradSampleModule(network())
    look = Recorder(Resident.of(POOL), [0.0], Memory())
    look.start(model, epochs=1)
    assert model.hooks_enabled
    nn.functional.cross_entropy(model(X), Y).backward()
    sizes = [tuple(p.grad_sample.shape) for p in model.parameters()]
    assert sizes == [(24, *p.shape) for p in model.parameters()]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_halves_are_evaluated_in_single_precision_and_stay_halves(kind: torch.dtype) -> None:
    model = network().to(kind)
    single = copy.deepcopy(model).float()
    found = []
    for each in (model, single):
        memory = Memory()
        Recorder(Resident.of(POOL), [0.0], memory, logits=True).start(each)
        found.append(memory.values[0])
    assert {p.dtype for p in model.parameters()} == {kind}
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name])


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_autocast_around_a_forward_is_left_out(kind: torch.dtype) -> None:
    """As Accelerate leaves a network: `forward` of the object in bfloat16, the own one kept."""
    model, alone = network().to(kind), network().to(kind).float()
    model._original_forward = model.forward  # type: ignore[assignment]
    model.forward = MethodType(  # type: ignore[method-assign]
        torch.autocast("cpu", torch.bfloat16)(type(model).forward), model
    )
    found = []
    for each in (model, alone):
        memory = Memory()
        Recorder(Resident.of(POOL), [0.0], memory).start(each)
        found.append(memory.values[0]["phi"])
    np.testing.assert_array_equal(*found)
    assert not torch.equal(model.eval()(X).float(), alone.eval()(X))
    assert {p.dtype for p in model.parameters()} == {kind}


def test_a_validation_in_inference_mode_does_not_keep_gradients_away() -> None:
    class Slope:
        names = ("slope",)

        def wanted(self, checkpoint: float) -> bool:
            return True

        def measure(
            self, model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, generator: object
        ) -> dict[str, np.ndarray]:
            with torch.enable_grad():
                x = inputs.clone().requires_grad_()
                loss = nn.functional.cross_entropy(model(x), labels, reduction="sum")
                return {"slope": torch.autograd.grad(loss, x)[0].norm(dim=1).numpy()}

    memory = Memory()
    look = Recorder(Resident.of(POOL), [0.0], memory, extra=(Slope(),))
    model = network()
    with torch.inference_mode():
        look.start(model)
    assert (memory.values[0]["slope"] > 0).mean() > 0.8


def test_shards_are_refused() -> None:
    class FullyShardedDataParallel(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

    look = Recorder(Resident.of(POOL), [0.0], Memory())
    sharded = FullyShardedDataParallel(network())
    with pytest.raises(InputError, match=r"got shards of them; .* or gather .* full_state_dict"):
        look.start(sharded)
    with pytest.raises(InputError, match="expected whole parameters in this process, got shards"):
        seepage.audit(sharded, (X[:12], Y[:12]), (X[12:], Y[12:]))
