"""In the Trainer of Transformers: the same bits with and without, and the network's own float32 answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

import seepage
from seepage.errors import InputError
from seepage.fleet.rebuild import rebuild
from seepage.layers import DegreesOfFreedom
from seepage.record import Memory, Recorder, Resident
from seepage.transformers import ROW, Logits, pool, rows, tokens, watch

N, PAD = 60, 0
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % 3
# Ragged, and of every class other words more often.
TEXTS = [
    [1, *(RNG.integers(3, 20, size=RNG.integers(4, 17)) + 10 * y * RNG.integers(0, 2)).tolist()]
    for y in LABELS
]
DATA = pool(TEXTS, LABELS)
MEMBERS = np.flatnonzero(seepage.half_split(N, models=2, seed=0).member[0])
MEMBER = np.isin(np.arange(N), MEMBERS)


def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {"[PAD]": PAD, "[CLS]": 1, "[UNK]": 2}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="[UNK]")), pad_token="[PAD]"
    )


def model() -> BertForSequenceClassification:
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=48, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=32, num_labels=3, pad_token_id=PAD,
            initializer_range=0.4,
        )
    )  # fmt: skip


def trainer(folder: Path, members: Any = MEMBERS, **options: Any) -> Trainer:
    args = TrainingArguments(
        str(folder), per_device_train_batch_size=8, disable_tqdm=True, use_cpu=True,
        **{
            "num_train_epochs": 3, "learning_rate": 5e-3, "save_strategy": "no", "seed": 5,
            "logging_strategy": "no", "report_to": "none", **options,
        },
    )  # fmt: skip
    set_seed(5)
    given = rows(DATA, members) if isinstance(members, np.ndarray) else members
    return Trainer(
        model(), args, train_dataset=given, eval_dataset=given,
        data_collator=DataCollatorWithPadding(tokenizer()),
    )  # fmt: skip


def recorder(times: list[float], data: seepage.Dataset = DATA) -> tuple[Recorder, Memory]:
    memory = Memory()
    return Recorder(Resident.of(data), times, memory, logits=True), memory


def by_hand(network: torch.nn.Module, padding: int) -> np.ndarray[Any, Any]:
    """phi in float64 of float32 logits, every text padded to `padding` tokens."""
    found = []
    network.eval()
    for text, y in zip(TEXTS, LABELS, strict=True):
        ids = torch.full((1, padding), PAD)
        ids[0, : len(text)] = torch.tensor(text)
        mask = (torch.arange(padding) < len(text)).long()[None]
        with torch.no_grad():
            p = network(input_ids=ids, attention_mask=mask).logits.double().softmax(1)[0, y]
        found.append(float(p.log() - torch.log1p(-p)))
    return np.array(found)


CASES: list[dict[str, Any]] = [
    {},
    {"bf16": True},
    {"gradient_accumulation_steps": 3},
    {"remove_unused_columns": False},
    {"eval_strategy": "epoch", "dataloader_num_workers": 1},
]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_the_run_ends_in_the_same_bits(tmp_path: Path, options: dict[str, Any]) -> None:
    looks = [recorder([0.0, 0.5, 1.0, 3.0])[0], None]
    ended = []
    for look in looks:
        made = trainer(tmp_path, without(look, options), **options)
        if look is not None:
            watch(made, look, member=MEMBER)
        made.train()
        ended.append((made.model.state_dict(), torch.get_rng_state()))
    (watched, stream_after), (alone, stream) = ended
    assert all(torch.equal(alone[k], watched[k]) for k in alone)
    assert torch.equal(stream, stream_after)
    look = looks[0]
    assert look is not None
    look.finish()
    assert look.facts["seen"] == len(MEMBERS)
    values = look.sink.into.into.values  # type: ignore[attr-defined]
    network = model()
    network.load_state_dict(watched)
    for padding in (20, 32):
        np.testing.assert_allclose(
            values[3]["phi"], by_hand(network, padding), rtol=1e-5, atol=1e-5
        )
    assert np.abs(values[3]["phi"] - values[0]["phi"]).max() > 0.5


def without(look: Recorder | None, options: dict[str, Any]) -> Any:
    """Where unused columns stay, a Trainer without a Recorder must not get the column."""
    if look is not None or options.get("remove_unused_columns", True):
        return MEMBERS
    return [{k: v for k, v in row.items() if k != ROW} for row in rows(DATA, MEMBERS)]  # type: ignore[attr-defined]


def test_halves_are_recorded_in_single_precision(tmp_path: Path) -> None:
    look, memory = recorder([0.0, 3.0])
    made = trainer(tmp_path)
    made.model.to(torch.bfloat16)
    watch(made, look, member=MEMBER)
    made.train()
    assert {p.dtype for p in made.model.parameters()} == {torch.bfloat16}
    np.testing.assert_allclose(
        memory.values[1]["phi"], by_hand(made.model.float(), 20), rtol=1e-5, atol=1e-5
    )


def test_a_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    times = [0.0, 1.0, 1.5, 2.0, 3.0]
    options = {"save_strategy": "steps", "save_steps": 6}
    whole, memory = recorder(times)
    made = trainer(tmp_path / "a", **options)
    watch(made, whole, member=MEMBER)
    made.train()
    again, resumed = recorder(times)
    made = trainer(tmp_path / "a", **options)
    watch(made, again, member=MEMBER)
    made.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-6"))
    again.finish()
    for t in range(len(times)):
        np.testing.assert_array_equal(resumed.values[t]["phi"], memory.values[t]["phi"])
    changed, _ = recorder(times[:-1])
    made = trainer(tmp_path / "a", **options)
    watch(made, changed, member=MEMBER)
    with pytest.raises(InputError, match="the epochs that this training began with, 0, 1, 1"):
        made.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-6"))
    made = trainer(tmp_path / "b", **options)
    made.train()
    late, _ = recorder(times)
    made = trainer(tmp_path / "b", **options)
    watch(made, late, member=MEMBER)
    with pytest.raises(InputError, match="expected what was recorded at epoch 0 in the checkpoint"):
        made.train(resume_from_checkpoint=str(tmp_path / "b" / "checkpoint-6"))


def test_a_dataset_of_hugging_face_keeps_its_rows(tmp_path: Path) -> None:
    """With a column of text that the network does not take, and evaluation after training."""
    split = datasets.Dataset.from_dict(
        {
            "input_ids": [TEXTS[i] for i in MEMBERS],
            "label": LABELS[MEMBERS].tolist(),
            "text": ["left out"] * len(MEMBERS),
            ROW: MEMBERS.tolist(),
        }
    )
    look, memory = recorder([0.0, 3.0])
    made = trainer(tmp_path, split)
    watch(made, look, member=MEMBER)
    made.train()
    assert look.facts["seen"] == len(MEMBERS)
    assert "eval_loss" in made.evaluate()
    same, other = recorder([0.0, 3.0])
    plain = trainer(tmp_path)
    watch(plain, same, member=MEMBER)
    plain.train()
    np.testing.assert_array_equal(memory.values[1]["phi"], other.values[1]["phi"])


def test_a_fleet_of_text_classifiers(tmp_path: Path) -> None:
    def train(members: np.ndarray, seed: int, recorder: Recorder) -> torch.nn.Module:
        made = trainer(tmp_path / "trainer", members, seed=seed % 2**32)
        watch(made, recorder)
        made.train()
        return made.model

    run = seepage.train(
        DATA, seepage.half_split(N, models=2, seed=0), out=tmp_path / "run", keep="final",
        function=train, executor="inline", device="cpu",
    )  # fmt: skip
    assert run.checkpoints.tolist() == [0.0, 1.0, 2.0, 3.0]
    weights = run.weights(0)
    assert weights is not None
    assert set(weights) == set(model().state_dict())
    held = rebuild(run, 0, model=lambda: Logits(model()), data=DATA)
    table = seepage.layers.probe(
        held.model, held.inputs.repeat(2, 1), indicators=(DegreesOfFreedom(),)
    )
    assert any("encoder.layer.1" in layer.name for layer in table.layers)
    with pytest.raises(InputError, match="expected logits differentiable in the inputs"):
        seepage.curvature.curvature(held.model, held.inputs, held.labels)


def test_members_that_were_never_taken_are_noted(tmp_path: Path) -> None:
    look, _ = recorder([0.0])
    made = trainer(tmp_path, MEMBERS[:12])
    watch(made, look, member=MEMBER)
    made.train()
    assert look.facts["notes"] == [
        "the Trainer took 12 of 30 members: the others look like non-members"
    ]


def test_a_dataset_without_rows_is_noted(tmp_path: Path) -> None:
    split = datasets.Dataset.from_dict(
        {"input_ids": [TEXTS[i] for i in MEMBERS], "label": LABELS[MEMBERS].tolist()}
    )
    look, _ = recorder([0.0])
    made = trainer(tmp_path, split, max_steps=1)
    watch(made, look, member=MEMBER)
    made.train()
    assert [n[:22] for n in look.facts["notes"]] == ["rows were not compared"]
    assert "seen" not in look.facts


def test_what_is_refused(tmp_path: Path) -> None:
    made = trainer(tmp_path, np.arange(N))
    watch(made, recorder([0.0])[0], member=MEMBER)
    with pytest.raises(InputError, match="expected the Trainer to take members alone, got sample"):
        made.train()
    other = pool([t[::-1] for t in TEXTS], LABELS)
    made = trainer(tmp_path)
    watch(made, recorder([0.0], other)[0], member=MEMBER)
    with pytest.raises(
        InputError, match="tokens: expected those of the pool, got others for sample"
    ):
        made.train()
    other = pool(TEXTS, np.roll(LABELS, 1))
    made = trainer(tmp_path)
    watch(made, recorder([0.0], other)[0], member=MEMBER)
    with pytest.raises(
        InputError, match="labels: expected those of the pool, got others for sample"
    ):
        made.train()
    with pytest.raises(InputError, match="input_ids: expected token numbers in 0"):
        pool([[1, -100]], [0])
    with pytest.raises(InputError, match="expected a list of token numbers for every text"):
        pool([[]], [0])
    assert tokens(DATA.inputs[:1], 7)["input_ids"].min() >= 1


SCRIPT = """
import sys
import os
import subprocess
import sys
from pathlib import Path
import numpy as np, torch
from tests.adapters import test_transformers as t
from seepage.transformers import watch
torch.set_num_threads(1)
out, which = Path(sys.argv[1]), sys.argv[2]
look, memory = t.recorder([0.0, 1.0, 3.0])
made = t.trainer(out / which, ddp_backend="gloo")
if which == "watched":
    watch(made, look, member=t.MEMBER)
made.train()
if made.is_world_process_zero():
    torch.save(made.model.state_dict(), out / (which + ".pt"))
    if which == "watched":
        look.finish()
        np.save(out / "phi.npy", memory.values[2]["phi"])
else:
    assert not memory.values
assert made.args.world_size == 2
# Threads of gloo that are left at the end may end the process by a signal.
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_two_processes_end_in_the_same_bits_and_the_first_records(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    root = Path(__file__).parents[2]
    for which in ("alone", "watched"):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
                *(str(tmp_path / "script.py"), str(tmp_path), which),
            ],
            capture_output=True, text=True, check=False, cwd=root,
            env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    alone, watched = (
        torch.load(tmp_path / f"{w}.pt", weights_only=True) for w in ("alone", "watched")
    )
    assert set(alone) == set(model().state_dict())
    assert all(torch.equal(alone[k], watched[k]) for k in alone)
    network = model()
    network.load_state_dict(watched)
    np.testing.assert_allclose(
        np.load(tmp_path / "phi.npy"), by_hand(network, 20), rtol=1e-5, atol=1e-5
    )


def test_low_rank_adapters_are_recorded_inside_of_a_peft_model(tmp_path: Path) -> None:
    import peft

    def adapted() -> peft.PeftModel:
        config = peft.LoraConfig(
            task_type="SEQ_CLS",
            r=2,
            target_modules=["query", "value"],
            modules_to_save=["classifier"],
        )
        return peft.get_peft_model(model(), config)

    kept: dict[int, Any] = {}

    class Keeping(Memory):
        def keep(self, t: int, network: torch.nn.Module) -> None:
            kept[t] = {k: v.clone() for k, v in network.state_dict().items()}

    memory = Keeping()
    look = Recorder(Resident.of(DATA), [0.0, 3.0], memory, logits=True)
    made = trainer(tmp_path)
    set_seed(5)
    args = made.args
    args.learning_rate = 0.05
    made = Trainer(
        adapted(), args, train_dataset=rows(DATA, MEMBERS),
        data_collator=DataCollatorWithPadding(tokenizer()),
    )  # fmt: skip
    watch(made, look, member=MEMBER)
    made.train()
    look.finish()
    values = memory.values[1]["phi"]
    assert np.abs(values - memory.values[0]["phi"]).max() > 0.1
    np.testing.assert_allclose(values, by_hand(made.model, 20), rtol=1e-4, atol=1e-5)
    # Kept under the names of the network inside, which a factory with adapters has.
    again = Logits(adapted())
    again.load_state_dict(kept[1])
    np.testing.assert_allclose(by_hand(again.model, 20), values, rtol=1e-4, atol=1e-5)
    alone = made.model.merge_and_unload()
    np.testing.assert_allclose(by_hand(alone, 20), values, rtol=1e-4, atol=1e-5)


def test_a_trainer_without_a_tokenizer_has_its_batches_padded(tmp_path: Path) -> None:
    """By the configuration's padding token, in the same bits; without one it is said what to pass."""
    weights = []
    for own in (True, False):
        made = trainer(tmp_path / str(own), num_train_epochs=1)
        if not own:
            made = Trainer(made.model, made.args, train_dataset=rows(DATA, MEMBERS))
        watch(made, recorder([0.0, 1.0])[0])
        made.train()
        weights.append(made.model.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
    network = model()
    network.config.pad_token_id = None
    made = Trainer(network, made.args, train_dataset=rows(DATA, MEMBERS))
    watch(made, recorder([0.0, 1.0])[0])
    with pytest.raises(InputError, match=r"got neither, .*rows\(\.\.\., padding=0\)"):
        made.train()
