"""Kept causal models as they generate: log p of every token of a pool under a way of drawing the next one."""

from __future__ import annotations

import numpy as np
import torch

from seepage.array_types import Float64Array, Int64Array
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet.rebuild import Factory, loaded, pool_of
from seepage.models.outputs import try_outputs
from seepage.record.tokens import documents_at_once, offsets_of
from seepage.store.run import Run
from seepage.tokens import Sampling, sampled_logp

__all__ = ["sampled_tokens"]


def sampled_tokens(
    run: Run,
    target: int,
    t: int,
    how: Sampling,
    *,
    rows: Int64Array | None = None,
    model: Factory | None = None,
    data: Dataset | None = None,
) -> tuple[Int64Array, Float64Array]:
    """Offsets (C + 1,) and log p (S,) of the predicted tokens of some documents, drawn as `how` says.

    run: of texts, with kept weights of usable run `target` at checkpoint index `t`. rows (C,): documents, all by
    default. model, data: the factory and the pool again where they cannot be found (`seepage.fleet.rebuild`).

    Raises InputError where weights were not kept, and for what does not fit.
    """
    if str(run.manifest["data"].get("task")) != "language":
        raise InputError(
            f"{run.path}: expected a run of texts, got another task; train one of texts"
        )
    weights = run.weights(target, t)
    if weights is None:
        raise InputError(
            f"{run.path}: expected kept weights of run {int(run.models[target])} at epoch "
            f"{float(run.checkpoints[t]):g}, got none; train with record.keep = 'final' or 'all', or "
            "draw at temperature 1 from all tokens, which recorded ones are enough for"
        )
    pool = pool_of(run, data)
    network = loaded(run, target, weights, model)
    chosen = np.arange(len(pool)) if rows is None else np.asarray(rows, dtype=np.int64)
    table = pool.rows(chosen)
    each = documents_at_once(int(table.shape[1]), len(pool.classes))
    found = []
    with torch.no_grad():
        for part in torch.split(table, each):
            with try_outputs(part, "kept weights"):
                logits = network(part.float())
            ids = part[:, 1:].long()
            there = ids >= 0
            found.append(sampled_logp(logits[:, :-1][there], ids[there], how).numpy())
    return offsets_of(table.numpy()), np.concatenate(found)
