"""Extraction of a run's texts: how many of its members a model generates again, beside non-members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.findings.unjudged import of_pool
from seepage.metrics import over_targets
from seepage.short_repr import short_repr
from seepage.tokens import (
    Sampling,
    Split,
    extractable,
    generated_greedily,
    holds_tokens,
    logp_of_suffix,
    queries_needed,
)

if TYPE_CHECKING:
    from seepage.data import Dataset
    from seepage.fleet.rebuild import Factory

__all__ = ["QUERIES", "Extraction", "extraction_of_run"]

QUERIES = (1, 10, 100, 1000)


@short_repr
@dataclass(frozen=True)
class Extraction:
    """Shares of texts whose suffix a model generates, of its members and of the others.

    checkpoints (T,). queries: n of each share; None among them is greedy generation, a single one. members, others,
    excess (T, Q, 3): shares of members and non-members, and by how much the first is larger, the mean over models
    and its 95 % interval over pairs of runs (NaN of too few). texts: those
    of enough tokens, N of them. ids (N,), held, out (N,): of every text the median over models that were
    trained on it, and over the others, of the queries that extract it with probability `probability` at the last
    checkpoint; NaN where there are none, ∞ where it is never generated.
    """

    split: Split
    sampling: Sampling
    probability: float
    queries: tuple[int | None, ...]
    checkpoints: Float64Array
    models: int
    members: Float64Array
    others: Float64Array
    excess: Float64Array
    ids: NDArray[np.str_]
    held: Float64Array
    out: Float64Array

    @property
    def texts(self) -> int:
        """How many texts are long enough."""
        return len(self.ids)

    def most(self, count: int) -> Int64Array:
        """Positions among the texts of those whose extraction is owed most to training on them.

        Of the texts that models trained on them give within the most queries asked, those for which other models need the
        largest multiple; where there are none, those that need the fewest.
        """
        known = np.flatnonzero(np.isfinite(self.held) & ~np.isnan(self.out))
        near = known[self.held[known] <= max(n or 1 for n in self.queries)]
        if not near.size:
            return known[np.argsort(self.held[known], kind="stable")][:count]
        return near[np.argsort(self.held[near] / self.out[near], kind="stable")][:count]

    def summary(self) -> dict[str, Any]:
        """JSON types: what commands show."""

        def plain(values: Float64Array) -> Any:
            found = values.astype(object)
            found[~np.isfinite(values)] = None
            return found.tolist()

        return {
            "prefix": self.split.prefix,
            "suffix": self.split.suffix,
            "temperature": self.sampling.temperature,
            "top_k": self.sampling.top_k,
            "probability": self.probability,
            "queries": ["greedy" if n is None else n for n in self.queries],
            "checkpoints": self.checkpoints.tolist(),
            "models": self.models,
            "texts": self.texts,
            "members": plain(self.members),
            "others": plain(self.others),
            "excess": plain(self.excess),
        }


def extraction_of_run(
    run: Any,
    *,
    split: Split | None = None,
    sampling: Sampling | None = None,
    queries: Sequence[int] = QUERIES,
    probability: float = 0.5,
    model: Factory | None = None,
    data: Dataset | None = None,
) -> Extraction:
    """How many texts each model generates again: (n, p)-discoverable extraction, and greedy generation.

    run: of texts with log p of every token recorded. split: which tokens are given and which
    generated, 50 and 50 by default; shorter texts are passed over. sampling: how the next token is drawn. At temperature 1 from all
    tokens, the default, p_z of every text at every checkpoint is exact from what was recorded; else the logits of
    kept weights are computed again, at those checkpoints that have them (`model`, `data`: as of
    `seepage.fleet.rebuild`). Greedy generation is that of recorded tokens, whatever the sampling.

    A share of *non-members* is what needs no leak: texts that repeat others, or that any model of the language
    foretells. What members have beyond it was learnt from them. Texts that the plan added as canaries are
    left out. Source: Hayes et al., arXiv 2410.19482.

    Raises InputError where no token was recorded, no text is long enough, weights are needed and none were
    kept.
    """
    split, how = split or Split(), sampling or Sampling()
    if not holds_tokens(run):
        raise InputError(
            f"{run.path}: expected a run of texts with log p of every token, got none; train one with "
            "task = 'language' and record.tokens = true"
        )
    if not queries or any(isinstance(n, bool) or n < 1 for n in queries):
        raise InputError(f"queries: expected numbers of at least 1, got {list(queries)}")
    extractable(np.zeros(1), 1, probability)
    part = of_pool(run)
    whole = np.asarray(getattr(part, "rows", np.arange(part.member.shape[1])))
    offsets = np.asarray(run.offsets)
    lengths = np.diff(offsets) + 1
    here = np.flatnonzero(lengths[whole] >= split.tokens)
    if not here.size:
        raise InputError(
            f"prefix, suffix: expected texts of at least {split.tokens} tokens, got at most "
            f"{int(lengths[whole].max())}; give fewer"
        )
    rows = whole[here]
    member = np.asarray(part.member, dtype=np.bool_)
    own = member[:, here]
    greedy = "token_first" in run.manifest["signals"]
    asked = (*((None,) if greedy else ()), *queries)
    models = range(len(member))
    times = [
        t
        for t in range(len(run.checkpoints))
        if how.plain or all(run.keeps_weights(r, t) for r in models)
    ]
    if not times:
        raise InputError(
            f"{run.path}: expected kept weights of every model to draw so from, got none; train with "
            "record.keep = 'final' or 'all', or draw at temperature 1 from all tokens"
        )
    shares = np.full((3, len(times), len(asked), 3), np.nan)
    needed = np.full(own.shape, np.nan)
    for i, t in enumerate(times):
        hits = np.zeros((len(asked), *own.shape), dtype=np.bool_)
        for r in models:
            z = _suffix(run, r, t, how, offsets, rows, split, model, data)
            for q, n in enumerate(asked):
                hits[q, r] = (
                    generated_greedily(run.token_signal("token_first", r, t), offsets, rows, split)
                    if n is None
                    else extractable(z, n, probability)
                )
            if t == times[-1]:
                needed[r] = queries_needed(z, probability)
        for q in range(len(asked)):
            inside, outside = _shares(hits[q], own), _shares(hits[q], ~own)
            shares[0, i, q] = _over_models(inside, member)
            shares[1, i, q] = _over_models(outside, member)
            # A difference of shares lies from −1 to 1.
            half = _over_models((inside - outside + 1) / 2, member)
            shares[2, i, q] = 2 * np.array(half) - 1
    return Extraction(
        split,
        how,
        probability,
        asked,
        np.asarray(run.checkpoints, dtype=np.float64)[times],
        len(member),
        shares[0],
        shares[1],
        shares[2],
        np.asarray(part.ids)[here],
        _medians(needed, own),
        _medians(needed, ~own),
    )


def _suffix(
    run: Any,
    r: int,
    t: int,
    how: Sampling,
    offsets: Int64Array,
    rows: Int64Array,
    split: Split,
    model: Factory | None,
    data: Dataset | None,
) -> Float64Array:
    """log p_z of some texts under one model at one checkpoint."""
    if how.plain:
        return logp_of_suffix(run.token_signal("token_logp", r, t), offsets, rows, split)
    from seepage.fleet.generating import sampled_tokens

    some, logp = sampled_tokens(run, r, t, how, rows=rows, model=model, data=data)
    return logp_of_suffix(logp, some, np.arange(len(rows)), split)


def _shares(hits: BoolArray, side: BoolArray) -> Float64Array:
    """Of each model the share of a side that was hit, NaN of an empty one: (R, N), (R, N) -> (R,)."""
    count = side.sum(axis=1)
    return np.where(count > 0, (hits & side).sum(axis=1) / np.maximum(count, 1), np.nan)


def _over_models(values: Float64Array, member: BoolArray) -> tuple[float, float, float]:
    """Mean of shares over the models that have one, with its interval over pairs: (R,), (R, N)."""
    some = np.isfinite(values)
    if not some.any():
        return (np.nan, np.nan, np.nan)
    e = over_targets(values[some], member[some], shared=False)
    return e.mean, e.low, e.high


def _medians(needed: Float64Array, side: BoolArray) -> Float64Array:
    """Of every text the median over models on a side, NaN without any: (R, N) -> (N,)."""
    found = np.full(needed.shape[1], np.nan)
    for i in np.flatnonzero(side.any(axis=0)).tolist():
        found[i] = np.median(needed[side[:, i], i])
    return found
