"""The callback in Lightning's own loop: it observes, and what it records is what the network says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from torch import nn

import seepage
from seepage.curvature import Hutchinson
from seepage.curvature.signal import CurvatureSignal
from seepage.data import from_arrays
from seepage.errors import InputError
from seepage.fleet.rebuild import rebuild
from seepage.fleet.start import AccuracyWarning
from seepage.record import MembersWarning, Memory, Recorder, Resident

N = 60
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % 3
INPUTS = (RNG.normal(size=(N, 6)) + LABELS[:, None]).astype(np.float32)
DATA = from_arrays(INPUTS, LABELS)
MEMBERS = np.flatnonzero(seepage.half_split(N, models=2, seed=0).member[0])
MEMBER = np.isin(np.arange(N), MEMBERS)


class Module(lightning.LightningModule):
    """Dropout draws from the global stream, BatchNorm has buffers, one part is frozen in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        x, y = batch
        logits = self(x)
        self.log("right", (logits.argmax(1) == y).float().mean(), on_epoch=True, on_step=False)
        return nn.functional.cross_entropy(logits, y)

    def validation_step(self, batch: Any, index: int) -> None:
        assert not self.training

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def batches(members: np.ndarray = MEMBERS) -> torch.utils.data.DataLoader[Any]:
    x, y = torch.from_numpy(INPUTS[members]), torch.from_numpy(LABELS[members])
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), batch_size=8, shuffle=True
    )


def trainer(folder: Path, *callbacks: Callback, epochs: int = 3, **options: Any) -> Any:
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, callbacks=list(callbacks), logger=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, **options,
    )  # fmt: skip


def recorder(times: list[float], **options: Any) -> tuple[Recorder, Memory]:
    memory = Memory()
    return Recorder(Resident.of(DATA), times, memory, logits=True, **options), memory


def fitted(
    folder: Path, recording: Callback | None, validate: bool = True, **options: Any
) -> tuple[Module, torch.Tensor]:
    lightning.seed_everything(7, verbose=False)
    module = Module()
    made = trainer(folder, *([] if recording is None else [recording]), **options)
    made.fit(module, batches(), batches() if validate else None)
    return module, torch.get_rng_state()


CASES = [
    {},
    {"precision": "bf16-mixed"},
    {"accumulate_grad_batches": 3},
    {"precision": "bf16-true"},
]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_the_run_ends_in_the_same_bits(tmp_path: Path, options: dict[str, Any]) -> None:
    look, memory = recorder([0.0, 0.5, 1.0, 3.0])
    alone, stream = fitted(tmp_path, None, **options)
    watched, stream_after = fitted(tmp_path, seepage.lightning.callback(look), **options)
    look.finish()
    assert list(memory.values) == [0, 1, 2, 3]
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, watched.state_dict()[name]), name
    assert torch.equal(stream, stream_after)
    assert watched.training
    single = watched.eval().float()
    with torch.no_grad():
        logits = single(torch.from_numpy(INPUTS))
    np.testing.assert_allclose(memory.values[3]["logits"], logits.numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(memory.values[0]["phi"] - memory.values[3]["phi"]).max() > 0.5


def test_the_last_step_of_an_epoch_that_max_steps_cuts_is_no_epoch(tmp_path: Path) -> None:
    look, memory = recorder([0.0, 1.0, 2.0])
    fitted(tmp_path, seepage.lightning.callback(look), epochs=-1, max_steps=6)
    assert list(memory.values) == [0, 1]
    with pytest.raises(InputError, match="expected the loop to reach epoch 2"):
        look.finish()


class Dictionaries(Module):
    """Its forward takes a batch as the loop has it, not inputs."""

    def forward(self, batch: Any) -> torch.Tensor:
        return self.net(batch["x"])


def test_a_module_that_takes_batches_is_told_to_name_its_part(tmp_path: Path) -> None:
    look, _ = recorder([0.0, 1.0])
    made = trainer(tmp_path, seepage.lightning.callback(look))
    with pytest.raises(InputError, match=r"gives logits: network='net'$"):
        made.fit(Dictionaries(), batches())


class Stop(Callback):
    """Ends the training in the middle, as a machine would."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.at = (epoch, batch)

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        if (trainer.current_epoch, rest[-1]) == self.at:
            raise KeyError("power")


@pytest.mark.parametrize("every", [{}, {"every_n_train_steps": 6}], ids=["epochs", "steps"])
def test_a_training_goes_on_from_a_checkpoint(tmp_path: Path, every: dict[str, int]) -> None:
    times = [0.0, 1.0, 1.75, 2.0, 3.0]

    def saving(folder: str) -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path / folder, save_last=True, save_top_k=-1, **every)

    whole, memory = recorder(times)
    lightning.seed_everything(7, verbose=False)
    trainer(tmp_path, seepage.lightning.callback(whole), saving("a")).fit(Module(), batches())
    first, _ = recorder(times)
    lightning.seed_everything(7, verbose=False)
    stopped = trainer(tmp_path, seepage.lightning.callback(first), saving("b"), Stop(2, 1))
    with pytest.raises(KeyError):
        stopped.fit(Module(), batches())
    again, resumed = recorder(times)
    after = trainer(tmp_path, seepage.lightning.callback(again), saving("b"))
    after.fit(Module(), batches(), ckpt_path=str(tmp_path / "b" / "last.ckpt"))
    again.finish()
    assert sorted(resumed.values) == [0, 1, 2, 3, 4]
    at = 3 if not every else 1
    for t in range(at + 1):
        np.testing.assert_array_equal(resumed.values[t]["phi"], memory.values[t]["phi"])
    fresh, _ = recorder(times)
    bare = trainer(tmp_path, saving("c"))
    bare.fit(Module(), batches())
    late = trainer(tmp_path, seepage.lightning.callback(fresh), epochs=4)
    with pytest.raises(InputError, match="expected what was recorded at epoch 0 in the checkpoint"):
        late.fit(Module(), batches(), ckpt_path=str(tmp_path / "c" / "last.ckpt"))


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import lightning, numpy as np, torch, seepage
import test_lightning as t
torch.set_num_threads(1)
out, watched = Path(sys.argv[1]), sys.argv[2] == "watched"
lightning.seed_everything(7, verbose=False)
look, memory = t.recorder([0.0, 1.0, 2.0])
callbacks = [seepage.lightning.callback(look)] if watched else []
module = t.Module()
trainer = lightning.Trainer(
    max_epochs=2, accelerator="cpu", devices=2, strategy={strategy!r}, callbacks=callbacks, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)
trainer.fit(module, t.batches())
if trainer.is_global_zero:
    torch.save(module.state_dict(), out / (sys.argv[2] + ".pt"))
    if watched:
        np.savez(out / "watched.npz", **{{f"phi{{t}}": v["phi"] for t, v in memory.values.items()}})
elif watched:
    assert not memory.values
if torch.distributed.is_initialized():
    # Threads of gloo that are left at the end may end the process by a signal.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


def two_processes(
    folder: Path, which: str, strategy: str = "ddp"
) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), strategy=strategy))
    return subprocess.run(
        [sys.executable, str(script), str(folder), which],
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_processes_end_in_the_same_bits_and_the_first_records(tmp_path: Path) -> None:
    for which in ("alone", "watched"):
        done = two_processes(tmp_path, which)
        assert done.returncode == 0, done.stderr[-2000:]
    alone, watched = (
        torch.load(tmp_path / f"{w}.pt", weights_only=True) for w in ("alone", "watched")
    )
    assert list(alone) == list(Module().state_dict())
    assert all(torch.equal(alone[k], watched[k]) for k in alone)
    found = np.load(tmp_path / "watched.npz")
    assert sorted(found) == ["phi0", "phi1", "phi2"]
    module = Module()
    module.load_state_dict(watched)
    look, memory = recorder([0.0])
    look.start(module)
    np.testing.assert_allclose(found["phi2"], memory.values[0]["phi"], rtol=1e-6)


def test_processes_whose_records_would_be_lost_are_refused(tmp_path: Path) -> None:
    done = two_processes(tmp_path, "watched", "ddp_fork")
    assert done.returncode != 0
    assert "use strategy='ddp'" in done.stderr


def training(**options: Any) -> Callable[[np.ndarray, int, Recorder], nn.Module]:
    def train(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
        lightning.seed_everything(seed % 2**32, verbose=False)
        module = Module()
        recording = seepage.lightning.callback(recorder, **options)
        trainer(Path("."), recording).fit(module, batches(members))
        return module

    return train


def test_a_fleet_of_lightning_modules(tmp_path: Path) -> None:
    """Epochs are learned from the loop, weights are kept, curvature and layers are found again."""
    # Of batches with dropout, which is what the loop itself sees.
    with pytest.warns(AccuracyWarning, match="your loop says"):
        run = seepage.train(
            DATA, seepage.half_split(N, models=4, seed=0), out=tmp_path / "run", keep="final",
            function=training(network="net", accuracy="right"), executor="inline", device="cpu",
        )  # fmt: skip
    assert run.checkpoints.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert seepage.score(run, seepage.attacks.LOSS()).shape == (4, N)
    weights = run.weights(0)
    assert weights is not None
    assert set(weights) == set(Module().net.state_dict())
    assert all(r["facts"]["own_accuracy"][-1] is not None for r in run.records.values())
    rebuilt = rebuild(run, 0, model=lambda: Module().net, data=DATA)
    np.testing.assert_array_equal(rebuilt.inputs.numpy(), INPUTS)
    assert seepage.curvature.curvature(rebuilt.model, rebuilt.inputs, rebuilt.labels).trace.shape == (N,)  # fmt: skip


def test_signals_that_need_gradients_are_measured_in_the_loop(tmp_path: Path) -> None:
    extra = CurvatureSignal(estimator=Hutchinson(), checkpoints=(0.0, 3.0))
    look, memory = recorder([0.0, 3.0], extra=(extra,))
    fitted(tmp_path, seepage.lightning.callback(look))
    assert np.isfinite(memory.values[1][extra.names[0]]).all()


def test_averaged_weights_are_said_to_be_others(tmp_path: Path) -> None:
    look, _ = recorder([0.0, 3.0])
    recording = seepage.lightning.callback(look)
    lightning.seed_everything(7, verbose=False)
    trainer(tmp_path, recording, EMAWeightAveraging(decay=0.5)).fit(Module(), batches())
    assert "EMAWeightAveraging puts averaged weights" in look.facts["notes"][0]


def test_what_is_refused(tmp_path: Path) -> None:
    look, _ = recorder([0.0])
    with pytest.raises(
        InputError, match="network: expected a part of Module, got 'head'; it has net"
    ):
        fitted(tmp_path, seepage.lightning.callback(look, network="head"))
    with pytest.raises(InputError, match="accuracy: expected a metric that the module logs"):
        fitted(tmp_path, seepage.lightning.callback(recorder([0.0])[0], accuracy="wrong"))
    with pytest.raises(InputError, match=r"member: expected a boolean array \(60,\)"):
        seepage.lightning.callback(look, member=MEMBERS)


def test_the_older_name_of_the_library() -> None:
    """Where a script imports `pytorch_lightning` alone, the callback is one of its kind."""
    code = (
        "import numpy as np, sys, pytorch_lightning as pl, seepage\n"
        "from seepage.record import Memory, Resident\n"
        "pool = Resident(np.zeros((4, 2), np.float32), np.arange(4) % 2)\n"
        "made = seepage.lightning.callback(seepage.Recorder(pool, [0], Memory()))\n"
        "assert isinstance(made, pl.Callback)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_mask_is_compared_with_what_the_loop_trains_on(tmp_path: Path) -> None:
    look, _ = recorder([0.0, 1.0])
    fitted(
        tmp_path, seepage.lightning.callback(look, network="net", member=MEMBER),
        validate=False, epochs=2,
    )  # fmt: skip
    for mask, told in ((~MEMBER, "30 samples in its first epoch that `member` calls others"),
                       (np.arange(N) < 30, "calls others")):  # fmt: skip
        look, _ = recorder([0.0, 1.0])
        with pytest.raises(InputError, match=told):
            fitted(
                tmp_path, seepage.lightning.callback(look, network="net", member=mask),
                validate=False, epochs=2,
            )  # fmt: skip
    more = MEMBER.copy()
    more[np.flatnonzero(~MEMBER)[:3]] = True
    for mask, prepared, warned in (
        (more, None, "took 30 of 33 members"),
        (MEMBER, lambda x: x + 1e-3, "not compared with what the loop trains on"),
    ):
        look, _ = recorder([0.0, 1.0])
        watching = seepage.lightning.callback(
            look, network="net", member=mask, preprocess=prepared, check_inputs=False
        )
        with pytest.warns(MembersWarning, match=warned):
            fitted(tmp_path, watching, validate=False, epochs=2)


def test_averaged_weights_are_recorded_where_they_are_asked_for(tmp_path: Path) -> None:
    look, memory = recorder([0.0, 3.0])
    recording = seepage.lightning.callback(look, network="net", averaged=True)
    lightning.seed_everything(7, verbose=False)
    module = Module()
    averaging = EMAWeightAveraging(decay=0.5)
    trainer(tmp_path, averaging, recording).fit(module, batches())
    assert "notes" not in look.facts
    # At the end Lightning puts the average into the place of what was trained.
    alone, shipped = recorder([0.0])
    alone.start(module.net)
    np.testing.assert_array_equal(memory.values[1]["phi"], shipped.values[0]["phi"])
    for callbacks, match in (
        ((recording, averaging), "expected EMAWeightAveraging before the callback that records"),
        ((recording,), "got no callback that averages; record the weights in training"),
        ((StochasticWeightAveraging(1e-2), recording), "got StochasticWeightAveraging; record"),
    ):
        with pytest.raises(InputError, match=match):
            trainer(tmp_path, *callbacks).fit(Module(), batches())
