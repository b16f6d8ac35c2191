"""A Recorder in Lightning's loop: one callback, which only observes.

recording = seepage.lightning.callback(recorder)
lightning.Trainer(max_epochs=20, callbacks=[recording]).fit(module, batches)
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from seepage.array_types import BoolArray
from seepage.errors import InputError
from seepage.models.outputs import ForwardError
from seepage.record import Recorder
from seepage.record.another_loop import AnotherLoop

__all__ = ["callback"]

_AVERAGING = ("WeightAveraging", "StochasticWeightAveraging")
_AVERAGE = "_average_model"  # Lightning has no public name for it


def callback(
    recorder: Recorder,
    *,
    network: str | Callable[[Any], nn.Module] | None = None,
    preprocess: Callable[[torch.Tensor], torch.Tensor] | None = None,
    member: BoolArray | None = None,
    accuracy: str | None = None,
    log: bool = True,
    check_inputs: bool = True,
    averaged: bool = False,
) -> Any:
    """A callback for `lightning.Trainer` that records at the recorder's checkpoints.

    recorder: of a training function, or one of your own (`seepage.Recorder`). network: the part of
    the LightningModule that gives logits, by the name of its attribute ("net", "net.head") or as a
    function of the module; by default the module itself, called with inputs. preprocess,
    check_inputs: as in `recorder.start`. member (N,) bool: who trains the network, for the figures
    that are logged; known within a training function. Given here, it is compared with the inputs of the
    first epoch, row by row, where these are the pool's as they are evaluated. accuracy: name of a metric that the module
    logs, of members, shown beside what the Recorder sees. log: losses and accuracies of members and
    others, their gap and the AUC of the LOSS attack go to the trainer's loggers as `seepage/...`.
    averaged: record the averaged weights that Lightning's `WeightAveraging` (`EMAWeightAveraging`)
    keeps, which stand before this callback and take the place of those in training at the end.

    Networks are evaluated outside of autocast and, where their weights are halves, by a float32 copy.
    Epochs are whole epochs of the loop, whatever the accumulation; fractions are of its batches. With
    several processes the first one records, whole and alone; these must not be started by `fork` or
    `spawn`, whose memory is lost. Checkpoints that Lightning saves carry what was recorded, and
    `fit(ckpt_path=...)` goes on from there. `recorder.finish()` says what never came.

    Warns (`seepage.record.MembersWarning`) where `member` could not be compared, or members were not
    taken. Raises InputError where Lightning is not installed; in the loop, for what the Recorder
    refuses, and for a loop that trains on others than `member` says.
    """
    loop = AnotherLoop(recorder, member)
    facts = {"preprocess": preprocess, "check_inputs": check_inputs}
    return _kind(_library())(loop, network, facts, accuracy, log, averaged)


def _library() -> str:
    """`lightning.pytorch`, or the older name where the user's code has imported that alone."""
    names = ("lightning.pytorch", "pytorch_lightning")
    for name in (*(n for n in names if n in sys.modules), *names):
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        return name
    raise InputError(
        "lightning: expected Lightning to be installed, found none; pip install 'seepage[lightning]'"
    )


# Where a module's forward lies that only says that there is none.
_ABOVE = ("lightning", "pytorch_lightning", "torch")


def _part(module: Any, network: str | Callable[[Any], nn.Module] | None) -> nn.Module:
    if network is None:
        found = module
        if type(module).forward.__module__.partition(".")[0] in _ABOVE:
            known = [name for name, _ in module.named_children()]
            raise InputError(
                f"network: expected the part of {type(module).__name__} that gives logits, got none, and it "
                f"has no forward of its own; pass its name, network={(known or ['net'])[0]!r}"
            )
    elif isinstance(network, str):
        try:
            found = module.get_submodule(network)
        except AttributeError:
            known = [name for name, _ in module.named_children()]
            raise InputError(
                f"network: expected a part of {type(module).__name__}, got {network!r}; it has "
                f"{', '.join(known[:8]) or 'none'}"
            ) from None
    else:
        found = network(module)
    if not isinstance(found, nn.Module):
        raise InputError(
            f"network: expected a torch module that gives logits, got {type(found).__name__}"
        )
    return found


@contextmanager
def _names_part(module: Any, network: Any) -> Iterator[None]:
    """Where the whole module cannot be called with inputs, say that a part of it may be."""
    try:
        yield
    except ForwardError as e:
        known = [
            name for name, part in module.named_children() if any(True for _ in part.parameters())
        ]
        if network is not None or not known:
            raise
        raise InputError(
            f"{e}; where it takes batches of another form, name its part that takes inputs and gives "
            f"logits: network={known[0]!r}"
        ) from e


def _averaging(trainer: Any, recording: Any, averaged: bool) -> list[Any]:
    """Callbacks that will put averaged weights into the place of those in training.

    averaged: whether these are to be recorded; InputError where none keeps them, or too late.
    """
    there = list(trainer.callbacks)
    found = [c for c in there if any(k.__name__ in _AVERAGING for k in type(c).__mro__)]
    if not averaged:
        return found
    keeps = [c for c in found if isinstance(getattr(c, _AVERAGE, None), AveragedModel)]
    if len(keeps) != 1:
        got = ", ".join(type(c).__name__ for c in found) or "no callback that averages"
        raise InputError(
            f"averaged: expected one WeightAveraging among the trainer's callbacks, got {got}; record "
            "the weights in training (averaged=False) and audit the averaged ones with seepage.audit"
        )
    if there.index(keeps[0]) > there.index(recording):
        raise InputError(
            f"averaged: expected {type(keeps[0]).__name__} before the callback that records, got it "
            "after; change their order in Trainer(callbacks=...)"
        )
    return keeps


@functools.cache
def _kind(library: str) -> type[Any]:
    base: Any = importlib.import_module(library).Callback

    class Recording(base):  # type: ignore[misc]
        """Made by `seepage.lightning.callback`."""

        def __init__(
            self,
            loop: AnotherLoop,
            network: str | Callable[[Any], nn.Module] | None,
            facts: dict[str, Any],
            accuracy: str | None,
            log: bool,
            averaged: bool,
        ) -> None:
            self.loop, self.network, self.facts = loop, network, facts
            self.accuracy, self.log, self.averaged = accuracy, log, averaged
            self.process = os.getpid()

        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            if os.getpid() != self.process:
                raise InputError(
                    "strategy: expected processes that run the script themselves, got some that were "
                    "forked or spawned and whose records would be lost; use strategy='ddp'"
                )

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.is_global_zero:
                return
            batches, epochs = trainer.num_training_batches, trainer.max_epochs
            averaging = _averaging(trainer, self, self.averaged)
            module, facts = pl_module, dict(self.facts)
            if self.averaged:
                module = getattr(averaging[0], _AVERAGE).module
                facts["check_inputs"] = False  # batches go through the network in training
            with _names_part(module, self.network):
                self.loop.start(
                    _part(module, self.network),
                    epoch=float(trainer.current_epoch),
                    epochs=epochs if epochs is not None and epochs > 0 else None,
                    steps_per_epoch=int(batches) if batches != float("inf") else 0,
                    **facts,
                )
            for each in () if self.averaged else averaging:
                self.loop.recorder.facts.setdefault("notes", []).append(
                    f"figures are of the network as it is trained: {type(each).__name__} puts averaged "
                    "weights into its place afterwards, which were not recorded (averaged=True does)"
                )
            if self.loop.seen is not None:
                self.loop.seen.watch(_part(pl_module, self.network))
            self.tell(trainer)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *batch: Any) -> None:
            if trainer.is_global_zero:
                self.loop.recorder.step_end()
                self.tell(trainer)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            # Where max_steps ends within an epoch, that epoch is not over.
            if not (trainer.is_global_zero and trainer.is_last_batch):
                return
            if self.loop.seen is not None:
                self.loop.seen.compare(whole=trainer.world_size == 1)
            seen = None
            if self.accuracy is not None:
                if self.accuracy not in trainer.callback_metrics:
                    raise InputError(
                        f"accuracy: expected a metric that the module logs, got {self.accuracy!r}; it "
                        f"logs {', '.join(map(str, trainer.callback_metrics)) or 'none'}"
                    )
                seen = float(trainer.callback_metrics[self.accuracy])
            self.loop.recorder.checkpoint(float(trainer.current_epoch + 1), accuracy=seen)
            self.tell(trainer)

        def tell(self, trainer: Any) -> None:
            """New figures to the trainer's loggers."""
            figures = self.loop.figures() if self.log else {}
            for logger in trainer.loggers if figures else ():
                logger.log_metrics(figures, step=trainer.global_step)

        def state_dict(self) -> dict[str, Any]:
            return self.loop.state()

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.loop.restore(state_dict)

    return Recording
