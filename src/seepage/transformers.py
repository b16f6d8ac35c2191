"""A Recorder in the Trainer of Hugging Face Transformers: classification of sequences, causal models.

data = seepage.transformers.pool(tokenizer(texts, truncation=True)["input_ids"], labels)
trainer = Trainer(model, args, train_dataset=seepage.transformers.rows(data, members), ...)
seepage.transformers.watch(trainer, recorder)
trainer.train()

Of a causal model the pool is one of `seepage.data.from_tokens(tokenizer(texts)["input_ids"], …)`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from seepage.array_types import BoolArray, Int64Array
from seepage.data import Dataset, from_arrays
from seepage.errors import InputError
from seepage.models.wrapped import plain_forward, unwrapped
from seepage.record import Recorder
from seepage.record.another_loop import AnotherLoop
from seepage.store.arrays import pack, unpack

__all__ = ["ROW", "Logits", "pool", "rows", "tokens", "watch"]

ROW = "seepage_row"
"""The column of a training set that says which sample of the pool a row is."""

_SAVED = "seepage.safetensors"
# Where sequences are shorter, in a pool of float32: no token has this number.
_NOTHING = -1
_LARGEST = 2**24
# A label that the losses of Transformers pass over.
_IGNORED = -100
_UNNUMBERED = (
    f"rows were not compared with the pool's: the training set has no column {ROW!r}, so that whom, which "
    "labels and which tokens the Trainer took is not known; make it by seepage.transformers.rows, or add the "
    "column with positions in the pool"
)


def pool(
    input_ids: Sequence[Sequence[int]],
    labels: ArrayLike,
    *,
    ids: ArrayLike | None = None,
    groups: Any = None,
    classes: tuple[str, ...] | None = None,
    name: str = "texts",
) -> Dataset:
    """A pool of tokenised texts: one row each, filled up to the longest.

    input_ids: token numbers of each text, `tokenizer(texts, truncation=True)["input_ids"]`, without
    padding. labels, ids, groups, classes: as in `seepage.data.from_arrays`. Inputs are float32 (N, L),
    −1 where a text has ended, so that every text is padded alike whenever it is evaluated.

    >>> pool([[5, 6], [7]], [0, 1]).inputs.tolist()
    [[5.0, 6.0], [7.0, -1.0]]
    """
    held = [np.asarray(row) for row in input_ids]
    for i, row in enumerate(held):
        if row.ndim != 1 or row.size == 0 or row.dtype.kind not in "iu":
            raise InputError(
                f"{name}: input_ids: expected a list of token numbers for every text, got "
                f"{row.dtype} of shape {row.shape} for text {i}; pass tokenizer(texts)['input_ids']"
            )
        if row.min() < 0 or row.max() >= _LARGEST:
            raise InputError(
                f"{name}: input_ids: expected token numbers in 0..{_LARGEST - 1}, got {row.min()} to "
                f"{row.max()} in text {i}; pass them without padding"
            )
    table = np.full((len(held), max(map(len, held), default=0)), _NOTHING, dtype=np.float32)
    for i, row in enumerate(held):
        table[i, : len(row)] = row
    return from_arrays(table, labels, ids=ids, groups=groups, classes=classes, name=name)


def rows(
    data: Dataset, members: Int64Array, *, padding: int | None = None
) -> torch.utils.data.Dataset[dict[str, Any]]:
    """The samples `members` of a `pool` as the Trainer takes them, each with its row in the pool.

    Of a pool of `seepage.data.from_tokens`, for a causal model, there are no labels: `watch` makes them of
    the tokens of each batch.

    padding: the token that fills all of them up, with their attention_mask, whoever collates; by default
    the Trainer's collator pads each batch, or `watch` where that has no tokenizer.

    >>> rows(pool([[5, 6], [7]], [0, 1]), [1], padding=0)[0]
    {'input_ids': [7, 0], 'attention_mask': [1, 0], 'labels': 1, 'seepage_row': 1}
    """
    return _Rows(data, np.asarray(members, dtype=np.int64), padding)


class _Rows(torch.utils.data.Dataset[dict[str, Any]]):
    def __init__(self, data: Dataset, members: Int64Array, padding: int | None) -> None:
        self.data, self.members, self.padding = data, members, padding

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, at: int) -> dict[str, Any]:
        row = int(self.members[at])
        held = self.data.inputs[row]
        if self.padding is None:
            given = {"input_ids": held[held != _NOTHING].long().tolist()}
        else:
            given = {k: v.tolist() for k, v in tokens(held, self.padding).items()}
        asked = {} if self.data.task == "language" else {"labels": int(self.data.labels[row])}
        return {**given, **asked, ROW: row}


def tokens(inputs: torch.Tensor, padding: int = 0) -> dict[str, torch.Tensor]:
    """Rows of a `pool` (B, L) as a network takes them: input_ids and attention_mask, int64.

    >>> tokens(torch.tensor([[7.0, -1.0]]), padding=3)["input_ids"].tolist()
    [[7, 3]]
    """
    there = inputs != _NOTHING
    ids = torch.where(there, inputs, torch.full_like(inputs, padding)).long()
    return {"input_ids": ids, "attention_mask": there.long()}


@final
class Logits(nn.Module):
    """A model of Transformers as a network that takes rows of a pool and returns logits alone.

    inputs: rows (B, ...) -> keyword arguments of the model, by default `tokens` with the padding token
    of the model's configuration. Weights have the model's own names. It is what a factory returns to
    `layers`; without autocast, in the precision of the model's weights.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Callable[[torch.Tensor], Mapping[str, torch.Tensor]] | None = None,
    ) -> None:
        super().__init__()
        self.model = unwrapped(model)
        self.inputs = inputs
        self.padding = _padding_of(model) or 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = tokens(x, self.padding) if self.inputs is None else self.inputs(x)
        answer = plain_forward(self.model)(**given)
        logits = getattr(answer, "logits", None)
        if not isinstance(logits, torch.Tensor):
            raise InputError(
                f"model: expected an answer with logits, got {type(answer).__name__}; pass a model "
                "for sequence classification, or a causal one"
            )
        return logits.float()

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Those of the model, under its own names."""
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Into the model."""
        return self.model.load_state_dict(*args, **kwargs)


def watch(
    trainer: Any,
    recorder: Recorder,
    *,
    inputs: Callable[[torch.Tensor], Mapping[str, torch.Tensor]] | None = None,
    member: BoolArray | None = None,
    log: bool = True,
) -> None:
    """Record at the recorder's checkpoints while this Trainer trains; call it before `trainer.train`.

    inputs: rows of the recorder's pool (B, ...) -> keyword arguments of the model; by default rows are
    the tokens of a `seepage.transformers.pool`. member (N,) bool: who trains the network; known within
    a training function. log: losses and accuracies of members and others, their gap and the AUC of
    the LOSS attack go through `trainer.log` to whatever it reports to.

    A callback is added, and the collator is wrapped so that a column `seepage_row` of the training set
    (`rows` has it; in one of your own the position in the pool) passes `remove_unused_columns`. The
    network never gets it. Where the Trainer has neither a tokenizer nor a collator, batches are filled
    up with the padding token of the model's configuration. Each sample that the Trainer takes is compared
    with the members, and the labels and the tokens of the first batches with the pool's; without that
    column nothing is, and a note says so.

    Networks are evaluated on the whole pool, padded alike, outside of autocast, and by a float32 copy
    where their weights are halves. Epochs are whole epochs of the loop, fractions are of its steps. With
    several processes the first one records. Checkpoints carry what was recorded;
    `train(resume_from_checkpoint=True)` goes on from there. `recorder.finish()` says what never came.

    Of a causal model (a pool with task "language") every token is recorded, labels are the tokens of each
    batch, and batches that are padded on the left are refused: the pool is evaluated padded on the right.
    Losses go to the store alone.

    Raises InputError where Transformers is not installed or the model does not classify by one label
    (`num_labels` of 1, which the Trainer fits as a regression, or several labels); in the loop, for a sample that is no member,
    other labels or tokens than the pool's, and what the Recorder refuses.
    """
    causal = recorder.pool.task.name == "language"
    (_check_causal if causal else _check_classifies)(unwrapped(trainer.model), recorder)
    loop = AnotherLoop(recorder, member)
    trainer.data_collator = _Collator(trainer, causal)
    # The Trainer would take the column away before the collator sees it; that does the rest.
    trainer.args.remove_unused_columns = False
    seen = _Seen(recorder, loop.member, check=inputs is None)

    def without_row(step: Callable[..., Any], look: bool) -> Callable[..., Any]:
        @functools.wraps(step)
        def stepped(model: Any, given: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            row = given.pop(ROW, None)
            if look and row is not None:
                seen.see(row.cpu().numpy(), given)
            elif look:
                seen.unnumbered = True
            return step(model, given, *args, **kwargs)

        return stepped

    trainer.training_step = without_row(trainer.training_step, True)
    trainer.prediction_step = without_row(trainer.prediction_step, False)
    trainer.add_callback(_kind()(trainer, loop, seen, inputs, log))


def _padding_of(model: Any) -> int | None:
    """The padding token that a model's configuration names."""
    held = getattr(getattr(model, "config", None), "pad_token_id", None)
    return held if isinstance(held, int) else None


def _check_causal(model: Any, recorder: Recorder) -> None:
    """A causal model answers each piece of its own vocabulary, which must hold the pool's."""
    config = getattr(model, "config", None)
    size, most = getattr(config, "vocab_size", None), recorder.pool.width - 1
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            "trainer: expected a causal model with a pool of the task language, got one of encoder and "
            "decoder; load it by AutoModelForCausalLM"
        )
    if isinstance(size, int) and most >= size:
        raise InputError(
            f"trainer: expected a model whose vocabulary holds the pool's tokens, got {size} pieces and "
            f"token {most}: another tokenizer made the pool; tokenise the texts by the model's own"
        )


def _check_classifies(model: Any, recorder: Recorder) -> None:
    """Logits of one unit are fitted by squared error: they are no log-odds, whatever their labels."""
    config = getattr(model, "config", None)
    labels, problem = getattr(config, "num_labels", None), getattr(config, "problem_type", None)
    if labels == 1 or problem in ("regression", "multi_label_classification"):
        got = f"num_labels {labels}" + (f" and problem_type {problem!r}" if problem else "")
        raise InputError(
            f"trainer: expected a model that classifies by one label of at least two, got {got}; "
            "set num_labels=2 for two classes"
        )


class _Collator:
    """The Trainer's collator; rows of the pool go past it into the batch."""

    def __init__(self, trainer: Any, causal: bool) -> None:
        self.inner, self.causal = trainer.data_collator, causal
        model = unwrapped(trainer.model)
        inside = getattr(model, "get_base_model", None)
        model = inside() if callable(inside) else model
        known = {*inspect.signature(model.forward).parameters, "label", "label_ids"}
        known |= set(trainer.label_names)
        self.known = known if trainer.args.remove_unused_columns else None
        # The Trainer's choice where it has neither a tokenizer nor a collator: it stacks what it gets.
        self.pads = getattr(self.inner, "__name__", "") == "default_data_collator"
        self.padding = _padding_of(model)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> Any:
        numbers = [f[ROW] for f in features if ROW in f]
        plain = [
            {k: v for k, v in f.items() if k != ROW and (self.known is None or k in self.known)}
            for f in features
        ]
        batch = self.inner(_filled(plain, self.padding) if self.pads else plain)
        if self.causal and "labels" not in batch:
            batch["labels"] = _next_tokens(batch)
        if len(numbers) == len(features):
            batch[ROW] = torch.as_tensor(numbers)
        return batch


def _next_tokens(batch: Any) -> torch.Tensor:
    """Labels of a causal model, which shifts them itself: its tokens, and −100 where padding is."""
    ids, mask = batch.get("input_ids"), batch.get("attention_mask")
    if not isinstance(ids, torch.Tensor):
        raise InputError(
            "trainer: expected a collator that keeps input_ids with the task language, got none in a batch; "
            "leave the collator out, or pass transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False)"
        )
    return ids.clone() if mask is None else ids.masked_fill(mask == 0, _IGNORED)


def _filled(features: list[dict[str, Any]], padding: int | None) -> list[dict[str, Any]]:
    """Rows of tokens filled up to the longest of a batch, where they have no mask and are ragged."""
    held = [f.get("input_ids") for f in features]
    if any(not isinstance(ids, list) for ids in held) or any(
        "attention_mask" in f for f in features
    ):
        return features
    lengths = [len(ids) for ids in held if ids is not None]
    most = max(lengths)
    if min(lengths) == most:
        return features
    if padding is None:
        raise InputError(
            "trainer: expected a tokenizer or a collator that pads texts of several lengths, got neither, and "
            "the model's configuration has no pad_token_id; pass processing_class=tokenizer, or "
            "rows(..., padding=0) with the number of the padding token"
        )
    return [
        {
            **f,
            "input_ids": f["input_ids"] + [padding] * (most - n),
            "attention_mask": [1] * n + [0] * (most - n),
        }
        for f, n in zip(features, lengths, strict=True)
    ]


class _Seen:
    """Which samples of the pool the Trainer took, compared with those that it should."""

    def __init__(self, recorder: Recorder, member: BoolArray | None, check: bool) -> None:
        self.recorder, self.member = recorder, member
        self.rows: set[int] = set()
        self.unnumbered = False
        self.left = 4 if check else 0

    def see(self, rows: Int64Array, given: Mapping[str, Any]) -> None:
        samples = len(self.recorder.pool)
        if rows.min() < 0 or rows.max() >= samples:
            raise InputError(
                f"{ROW}: expected positions in the pool, 0..{samples - 1}, got {rows.min()}.."
                f"{rows.max()}; number the training set by the pool"
            )
        if self.member is not None and not self.member[rows].all():
            row = int(rows[~self.member[rows]][0])
            raise InputError(
                f"members: expected the Trainer to take members alone, got sample {row} of the pool, "
                "which is none; make train_dataset of the members"
            )
        self.rows |= set(rows.tolist())
        labels = given.get("labels")
        if isinstance(labels, torch.Tensor) and labels.shape == rows.shape:
            wrong = labels.cpu().numpy() != self.recorder.pool.labels_host[rows]
            if not labels.is_floating_point() and wrong.any():
                raise InputError(
                    f"labels: expected those of the pool, got others for sample {int(rows[wrong][0])}; "
                    "number the classes of the training set as the pool does"
                )
        ids, mask = given.get("input_ids"), given.get("attention_mask")
        causal = self.recorder.pool.task.name == "language"
        if causal and isinstance(mask, torch.Tensor) and not bool(mask[:, 0].all()):
            raise InputError(
                "trainer: expected batches that are padded on the right with the task language, got padding "
                "on the left; set tokenizer.padding_side = 'right'"
            )
        if self.left and isinstance(ids, torch.Tensor) and isinstance(mask, torch.Tensor):
            self.left -= 1
            for row, own, there in zip(rows.tolist(), ids.cpu(), mask.cpu().bool(), strict=True):
                held = torch.as_tensor(np.asarray(self.recorder.pool.pixels[row]))
                if not torch.equal(own[there].long(), held[held != _NOTHING].long()):
                    raise InputError(
                        f"tokens: expected those of the pool, got others for sample {row}; make the pool "
                        "and the training set by one tokenizer with the same truncation"
                    )


@functools.cache
def _kind() -> type[Any]:
    try:
        base: Any = importlib.import_module("transformers").TrainerCallback
    except ImportError:
        raise InputError(
            "transformers: expected Transformers to be installed, found none; "
            "pip install 'seepage[transformers]'"
        ) from None

    class Recording(base):  # type: ignore[misc]
        """Made by `seepage.transformers.watch`."""

        def __init__(
            self, trainer: Any, loop: AnotherLoop, seen: _Seen, inputs: Any, log: bool
        ) -> None:
            self.trainer, self.loop, self.seen = trainer, loop, seen
            self.inputs, self.log = inputs, log
            self.began = 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
            self.began = state.global_step
            if not state.is_world_process_zero:
                return
            if state.global_step:
                saved = self.saved(args, state)
                if saved.is_file():
                    values, told = unpack(saved.read_bytes(), str(saved))
                    self.loop.restore({**told, "values": values})
            epochs = float(args.num_train_epochs) if args.max_steps <= 0 else 0.0
            batches = facts.get("train_dataloader")
            try:
                steps = -(-len(batches) // args.gradient_accumulation_steps)  # type: ignore[arg-type]
            except TypeError:  # a stream has no length
                steps = 0
            self.loop.start(
                Logits(self.trainer.model, self.inputs),
                epoch=float(state.epoch or 0.0),
                epochs=int(epochs) or None,
                steps_per_epoch=steps,
                check_inputs=False,
            )
            self.tell()

        def on_step_end(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
            if state.is_world_process_zero:
                self.loop.recorder.step_end()
                self.tell()

        def on_epoch_end(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
            # Where max_steps ends within an epoch, that epoch is not over.
            whole = round(float(state.epoch))
            if state.is_world_process_zero and abs(state.epoch - whole) < 1e-6:
                self.loop.recorder.checkpoint(float(whole))
                self.tell()

        def on_save(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
            if state.is_world_process_zero:
                held = self.loop.state()
                saved = self.saved(args, state)
                saved.parent.mkdir(parents=True, exist_ok=True)
                saved.write_bytes(pack(held.pop("values"), held))

        def on_train_end(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
            if self.seen.unnumbered and state.is_world_process_zero:
                self.loop.recorder.facts.setdefault("notes", []).append(_UNNUMBERED)
            taken, member = len(self.seen.rows), self.loop.member
            # Of other processes, and of what was trained before, it is not known here.
            if not taken or args.world_size > 1 or self.began:
                return
            self.loop.recorder.facts["seen"] = taken
            if member is not None and taken < member.sum():
                self.loop.recorder.facts.setdefault("notes", []).append(
                    f"the Trainer took {taken} of {int(member.sum())} members: the others look like "
                    "non-members"
                )

        def saved(self, args: Any, state: Any) -> Path:
            return Path(args.output_dir) / f"checkpoint-{state.global_step}" / _SAVED

        def tell(self) -> None:
            """New figures to whatever the Trainer reports to."""
            figures = self.loop.figures() if self.log else {}
            if figures:
                self.trainer.log(figures)

    return Recording
