"""What a loop of the user's own gives its network, compared with what the Recorder gives it.

A network that is trained on one scale and looked at on another answers nonsense that looks like an
answer. The Recorder of a training function therefore watches the first batches of the loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.array_types import Float64Array
from seepage.errors import InputError

__all__ = ["SeenInputs"]

_BATCHES = 8
# Fewer values tell little of a distribution.
_LEAST = 64
_LEVELS = np.linspace(0.1, 0.9, 9)
# Of the range of the middle four fifths. Crops, flips and noise of augmentation stay far below;
# another normalisation, bytes instead of fractions or missing standardisation far above.
_FAR = 0.5
# Values about 0 on another scale: their deciles lie apart by less than half of the wider range,
# whatever the factor. Of values from 0 on, half of the range is a factor of 2.
_WIDER = 2.0


class SeenInputs:
    """The first batches that a network was trained on: their shape and their quantiles.

    A hook before the forward pass in training mode; it reads, changes nothing and removes itself
    after a few batches.
    """

    def __init__(self) -> None:
        self.batches: list[torch.Tensor] = []
        self._hook: Any = None

    def watch(self, model: nn.Module) -> None:
        """Watch the next batches of `model`, in place of one that was watched before."""
        self.close()
        self.batches = []
        self._hook = model.register_forward_pre_hook(self._see)

    def _see(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        if not model.training:
            return
        if args and isinstance(args[0], torch.Tensor):
            self.batches.append(args[0].detach().cpu().clone())
        if len(self.batches) >= _BATCHES:
            self.close()

    def close(self) -> None:
        """Watch no longer."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def check(self, evaluated: torch.Tensor) -> None:
        """Compare what was seen with members as the Recorder evaluates them; once.

        Raises InputError when the shapes of a sample differ, or some decile of all values by more
        than half of what lies between the lowest and the highest decile, or when that is more than
        twice as wide on one side; of values that are nearly all 0, when the median of the others is.
        """
        seen, self.batches = self.batches, []
        self.close()
        if not seen:
            return
        here, there = tuple(evaluated.shape[1:]), tuple(seen[0].shape[1:])
        # A loop that flattens what its network flattens again gives the same.
        flat = 1 in (len(here), len(there)) and np.prod(here) == np.prod(there)
        if here != there and not flat:
            raise InputError(
                f"function: expected a loop that gives its network samples of shape {here}, as the "
                f"Recorder does, got {there}; {_REMEDY}"
            )
        theirs, ours = _deciles(seen), _deciles([evaluated.cpu()])
        if theirs is None or ours is None:
            return
        room = max(float(np.ptp(theirs)), float(np.ptp(ours)))
        scales = float(np.ptp(theirs)), float(np.ptp(ours))
        if room == 0:
            scales = _size(seen), _size([evaluated.cpu()])
        if np.abs(theirs - ours).max() > _FAR * room or _apart(*scales):
            raise InputError(
                "function: expected a loop that gives its network what the Recorder evaluates, got "
                f"inputs of deciles {_shown(theirs)} in training and {_shown(ours)} in evaluation"
                f"{', ' + _times(*scales) if _apart(*scales) else ''}; "
                f"{_REMEDY}"
            )


_REMEDY = (
    "pass how your loop prepares inputs, preprocess= of recorder.start (of the callback in Lightning), take batches "
    "from recorder.inputs(rows), or standardise = true where your loop standardises by its members"
)


def _deciles(batches: list[torch.Tensor]) -> Float64Array | None:
    values = torch.cat([b.flatten().double() for b in batches]).numpy()
    values = values[np.isfinite(values)]
    return None if len(values) < _LEAST else np.quantile(values, _LEVELS)


def _size(batches: list[torch.Tensor]) -> float:
    """The median size of the values that are not 0; 0 where hardly any are."""
    values = torch.cat([b.flatten().double() for b in batches]).abs().numpy()
    values = values[np.isfinite(values) & (values > 0)]
    return 0.0 if len(values) < _LEAST else float(np.median(values))


def _apart(theirs: float, ours: float) -> bool:
    """Whether two scales, where both are known, differ by more than a factor of `_WIDER`."""
    return min(theirs, ours) > 0 and max(theirs / ours, ours / theirs) > _WIDER


def _times(theirs: float, ours: float) -> str:
    """By what factor the evaluation differs."""
    ratio = ours / theirs
    return f"{ratio:.3g} times as large" if ratio > 1 else f"{1 / ratio:.3g} times smaller"


def _shown(deciles: Float64Array) -> str:
    return " … ".join(f"{deciles[k]:.3g}" for k in (0, 4, 8))
