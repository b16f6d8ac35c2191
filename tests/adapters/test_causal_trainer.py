"""Causal models in the Trainer of Transformers: every token recorded, whoever pads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

from seepage.data import Dataset, from_tokens
from seepage.errors import InputError
from seepage.record import Memory, Recorder, Resident
from seepage.record.tokens import offsets_of
from seepage.transformers import rows, watch

RNG = np.random.default_rng(0)
TEXTS = [RNG.integers(1, 24, size=RNG.integers(2, 10)).tolist() for _ in range(24)]
DATA = from_tokens(TEXTS, vocabulary=24)
MEMBERS = np.arange(12)


def model(pieces: int = 24) -> GPT2LMHeadModel:
    set_seed(3)
    config = GPT2Config(
        vocab_size=pieces, n_positions=16, n_embd=16, n_layer=1, n_head=2, pad_token_id=0,
        bos_token_id=0, eos_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def trainer(folder: Path, network: Any, data: Dataset = DATA, **options: Any) -> Trainer:
    args = TrainingArguments(
        str(folder), per_device_train_batch_size=4, disable_tqdm=True, use_cpu=True, seed=5,
        num_train_epochs=2, learning_rate=1e-2, save_strategy="no", logging_strategy="no",
        report_to="none",
    )  # fmt: skip
    return Trainer(network, args, train_dataset=rows(data, MEMBERS), **options)


def watched(folder: Path, network: Any, **options: Any) -> Memory:
    memory = Memory()
    recorder = Recorder(Resident.of(DATA), [0, 2], memory)
    made = trainer(folder, network, **options)
    watch(made, recorder, member=np.isin(np.arange(24), MEMBERS))
    made.train()
    recorder.finish()
    return memory


def by_hand(network: Any) -> np.ndarray:
    """log p of every token of every text alone, float64."""
    found = []
    with torch.no_grad():
        for text in TEXTS:
            ids = torch.tensor([text])
            logp = network.eval()(input_ids=ids).logits[0, :-1].double().log_softmax(1)
            found += logp.gather(1, ids[0, 1:, None])[:, 0].tolist()
    return np.array(found)


def test_every_token_is_recorded_and_members_are_learnt(tmp_path: Path) -> None:
    network = model()
    memory = watched(tmp_path, network)
    assert memory.values[0]["token_logp"] == pytest.approx(by_hand(model()), rel=1e-4, abs=1e-4)
    assert memory.values[1]["token_logp"] == pytest.approx(by_hand(network), rel=1e-4, abs=1e-4)
    gained = memory.values[1]["logp"] - memory.values[0]["logp"]
    assert gained[MEMBERS].mean() > gained[12:].mean()
    assert len(memory.values[1]["token_first"]) == offsets_of(DATA.inputs.numpy())[-1]


def test_low_rank_adapters_of_peft_are_recorded(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=2, target_modules=["c_attn"], fan_in_fan_out=True
    )
    network = peft.get_peft_model(model(), config)
    memory = watched(tmp_path, network)
    assert memory.values[1]["token_logp"] == pytest.approx(by_hand(network), rel=1e-4, abs=1e-4)
    assert not np.array_equal(memory.values[0]["logp"], memory.values[1]["logp"])


def left(features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    most = max(len(f["input_ids"]) for f in features)
    ids = [[0] * (most - len(f["input_ids"])) + f["input_ids"] for f in features]
    mask = [[0] * (most - len(f["input_ids"])) + [1] * len(f["input_ids"]) for f in features]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def dropping(features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {"attention_mask": torch.ones(len(features), 4, dtype=torch.int64)}


@pytest.mark.parametrize(
    ("network", "collator", "says"),
    [
        (model, left, "padded on the right with the task language, got padding on the left"),
        (model, dropping, "a collator that keeps input_ids"),
        (lambda: model(12), None, "got 12 pieces and token 23: another tokenizer made the pool"),
    ],
    ids=["left", "dropping", "vocabulary"],
)
def test_what_would_be_read_as_another_text_is_refused(
    tmp_path: Path, network: Any, collator: Any, says: str
) -> None:
    with pytest.raises(InputError) as told:
        watched(tmp_path, network(), data_collator=collator)
    assert says in str(told.value)
    assert "\n" not in str(told.value)
