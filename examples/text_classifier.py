"""A text classifier of Hugging Face Transformers, and which of its texts it gives away.

    python examples/text_classifier.py

Paragraphs of Python's own help, by topic; a small network made from its configuration and a vocabulary
counted on the spot, so that nothing is downloaded. Writes the run folder and a page of figures into the
folder that is named, or the working directory. Needs seepage[transformers].
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
import transformers as hf

import seepage
from seepage.data import drop_copies
from seepage.transformers import pool, rows, watch

OUT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(".")
LENGTH = 48
NAMES = ("specialnames", "compound", "typesmapping", "string-methods", "formatstrings", "debugger")
PARTS = [(k, p) for k, n in enumerate(NAMES) for p in topics[n].split("\n\n") if len(p) > 80]
WORDS = [re.findall(r"\w+|[^\w\s]", text.lower()) for _, text in PARTS]
KNOWN = {
    w: i + 3 for i, (w, _) in enumerate(Counter(w for t in WORDS for w in t).most_common(2000))
}
TOKENS = [[1, *(KNOWN.get(w, 2) for w in text)][:LENGTH] for text in WORDS]  # 0 pads, 1 starts
DATA = drop_copies(pool(TOKENS, [label for label, _ in PARTS], name="python-topics"))


def train(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> torch.nn.Module:
    hf.set_seed(seed % 2**32)
    shape = {"vocab_size": 2003, "dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 2}
    shape |= {"num_labels": len(NAMES)}
    model = hf.DistilBertForSequenceClassification(hf.DistilBertConfig(**shape))
    quiet = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True}
    args = hf.TrainingArguments(
        str(OUT / "trainer"), num_train_epochs=8, learning_rate=5e-3, seed=seed % 2**32, **quiet
    )
    trainer = hf.Trainer(model, args, train_dataset=rows(DATA, members, padding=0))
    watch(trainer, recorder, log=False)
    trainer.train()
    return model


if __name__ == "__main__":
    plan = seepage.half_split(len(DATA), models=8, seed=0)
    run = seepage.train(DATA, plan, function=train, out=OUT / "texts", executor="inline")
    scores = seepage.score(run, seepage.attacks.RMIA())
    auc = [seepage.metrics.auc(s, m) for s, m in zip(scores, run.member, strict=True)]
    print(f"{len(DATA)} paragraphs, RMIA AUC {np.mean(auc):.3f}")
    seepage.write_report(run, OUT / "texts.html")
