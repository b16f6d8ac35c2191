"""What a language model answers to rows of tokens that nobody recorded: changed texts, texts after others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn

from seepage.array_types import Float64Array
from seepage.curvature.measured_model import Network, network
from seepage.errors import InputError
from seepage.models.outputs import try_outputs
from seepage.models.token_outputs import check_token_answers
from seepage.signals.tasks import token_logp

__all__ = ["check_texts", "mean_over", "rows_at_once", "token_answers"]

# Bytes of logits (B, L, V) in float32 of one forward pass: what is made of them stays near caches.
_LOGITS = 2**25


def rows_at_once(length: int, pieces: int) -> int:
    """How many rows of `length` tokens go through a network together: at most 32 MiB of logits.

    >>> rows_at_once(128, 256), rows_at_once(1024, 50257)
    (256, 1)
    """
    return max(1, _LOGITS // (4 * length * pieces))


def check_texts(inputs: torch.Tensor) -> torch.Tensor:
    """Rows of token numbers (N, L), −1 after the end, as int64. Raises InputError for others."""
    if inputs.ndim != 2 or len(inputs) == 0:
        raise InputError(
            f"inputs: expected rows of token numbers (texts, length), got shape {tuple(inputs.shape)}; "
            "this is measured on language models alone"
        )
    rows = inputs.long()
    there = rows >= 0
    if not torch.equal(rows.to(inputs.dtype), inputs) or bool((rows < -1).any()):
        raise InputError(
            "inputs: expected whole token numbers and −1 after the end of a text, got others; pass "
            "them as they are recorded"
        )
    if bool((there[:, 1:] & ~there[:, :-1]).any()) or not bool(there[:, :2].all()):
        raise InputError(
            "inputs: expected texts of at least two tokens with −1 behind them alone, got others; "
            "make rows with seepage.data.from_tokens"
        )
    return rows


def token_answers(
    model: nn.Module, batches: Iterable[torch.Tensor]
) -> Iterator[tuple[torch.Tensor, Float64Array]]:
    """Rows (B, L) and log p of every next token in them (B, L − 1) float64, in nats, a batch at a time.

    batches: token numbers int64, −1 after the end, where values mean nothing. The network is given them as
    float32, as in training; evaluation is without autocast. Raises InputError for a network in training
    mode, of another vocabulary, or whose answers are not finite.

    >>> class Even(nn.Module):
    ...     def forward(self, x):
    ...         return torch.zeros(*x.shape, 4)
    >>> (_, logp), = token_answers(Even().eval(), [torch.tensor([[1, 2, 3]])])
    >>> logp.round(3).tolist()
    [[-1.386, -1.386]]
    """
    own = network(model, None)
    # No derivatives are taken: attention may be one kernel, half the time of plain products.
    with own.unchanged(), torch.no_grad(), torch.autocast(own.device.type, enabled=False):
        for rows in batches:
            yield rows, _answers(own, rows)


def _answers(own: Network, rows: torch.Tensor) -> Float64Array:
    x = rows.to(own.device)
    with try_outputs(x):
        answers = own.logits(x.to(own.dtype))
    logits = check_token_answers(answers, x, int(rows.max()) + 1)
    found = token_logp(logits, x)
    if not bool(found.where(x[:, 1:] >= 0, 0.0).isfinite().all()):
        raise InputError(
            "model: expected finite logits, got NaN or infinity; leave out the run that diverged"
        )
    return np.asarray(found.cpu().numpy(), dtype=np.float64)


def mean_over(logp: Float64Array, there: torch.Tensor, first: int = 0) -> Float64Array:
    """Mean of log p over a text's own predicted tokens: (B, L − 1), rows' tokens (B, L) -> (B,).

    there: token numbers, −1 after the end. first: how many tokens before the text its row begins with.

    >>> mean_over(np.array([[-1.0, -3.0, 0.0]]), torch.tensor([[5, 6, 7, -1]])).tolist()
    [-2.0]
    """
    counted = (there[:, 1:] >= 0).numpy()
    counted[:, :first] = False
    return np.asarray(np.where(counted, logp, 0.0).sum(axis=1) / counted.sum(axis=1))
