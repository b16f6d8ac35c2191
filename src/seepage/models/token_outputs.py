"""What a causal network must return: logits for every token and every piece of the vocabulary."""

from __future__ import annotations

from typing import Any

import torch

from seepage.errors import InputError

__all__ = ["check_token_answers"]


def check_token_answers(outputs: Any, inputs: torch.Tensor, pieces: int) -> torch.Tensor:
    """`outputs` if they can be answers (B, L, V) to rows of tokens (B, L) of a vocabulary of `pieces`.

    Raises InputError that names what came and the remedy.
    """
    expected = (
        f"model: expected logits of shape ({len(inputs)}, {inputs.shape[1]}, {pieces}), for every token "
        "and piece of the vocabulary"
    )
    if not isinstance(outputs, torch.Tensor):
        held = getattr(outputs, "logits", None)
        remedy = (
            "return the logits alone, a wrapper whose forward returns net(x).logits does"
            if isinstance(held, torch.Tensor)
            else "return a torch.Tensor of logits"
        )
        raise InputError(f"{expected}, got {type(outputs).__name__}; {remedy}")
    if not outputs.is_floating_point() or outputs.ndim != 3 or outputs.shape[:2] != inputs.shape:
        raise InputError(
            f"{expected}, got {outputs.dtype} of shape {tuple(outputs.shape)}; answer every token of "
            "every document, in a network such as 'gpt'"
        )
    if outputs.shape[2] < pieces:
        raise InputError(
            f"{expected}, got {outputs.shape[2]} pieces: the vocabulary of the data is another than the "
            "model's; make both by one tokenizer"
        )
    return outputs
