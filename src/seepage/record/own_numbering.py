"""Whether the answers of a network to its own members ask for another numbering of the classes."""

from __future__ import annotations

import numpy as np
import torch

from seepage.array_types import AnyArray
from seepage.errors import InputError
from seepage.metrics.own_labels import renumbered

__all__ = ["OwnNumbering"]

# An assignment of K labels to K columns takes K² numbers.
_CLASSES = 2048


class OwnNumbering:
    """The classes that a trained network answers, beside the numbers that the pool has for them.

    A loop that numbers classes by itself, where the pool sorted their names, trains on other numbers than
    its answers are compared with. See `seepage.metrics.own_labels.renumbered`.

    >>> numbering = OwnNumbering(2)
    >>> numbering.see(torch.eye(2).repeat(40, 1), torch.tensor([1, 0]).repeat(40))
    >>> numbering.check("function: ")
    Traceback (most recent call last):
    seepage.errors.InputError: function: labels: expected the numbers of classes that the model has, ...
    """

    def __init__(self, classes: int) -> None:
        self.classes = max(classes, 2)
        self._answers: list[AnyArray] = []
        self._labels: list[AnyArray] = []

    def see(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """One more batch of logits or probabilities (B, K), or one logit (B,), and labels (B,)."""
        if not len(labels) or self.classes > _CLASSES:
            return
        rows = logits.detach().reshape(len(labels), -1)
        answers = (rows[:, 0] > 0) if rows.shape[1] == 1 else rows.argmax(1)
        self._answers.append(answers.long().cpu().numpy())
        self._labels.append(labels.cpu().numpy())

    def check(self, where: str, remedy: str = "") -> None:
        """Raises InputError, of `where` and with a further remedy, where another numbering makes most right."""
        if not self._labels:
            return
        found = renumbered(
            np.concatenate(self._answers), np.concatenate(self._labels), self.classes
        )
        if found is not None and found.likely:
            raise InputError(
                f"{where}labels: {found.words}, or train on the numbers of the data{remedy}"
            )
