"""When to look: the epochs at which a run is evaluated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seepage.errors import InputError

__all__ = ["checkpoints", "log_spaced"]


def log_spaced(epochs: int, count: int = 8) -> tuple[float, ...]:
    """Initialisation, the first epochs densely, the last epoch always.

    Membership is encoded fastest early, so equal ratios of epochs tell more than equal steps.

    >>> log_spaced(40, 8)
    (0.0, 1.0, 2.0, 3.0, 6.0, 12.0, 22.0, 40.0)
    """
    if count < 2:
        raise InputError(f"checkpoints: expected at least 2, got {count}")
    wanted = min(count - 1, epochs)
    # Rounding may merge early points: ask for more until enough distinct ones remain.
    for ask in range(wanted, 8 * wanted + 1):
        found = np.unique(np.rint(np.geomspace(1, epochs, ask)).astype(int))
        if len(found) >= wanted:
            break
    return (0.0, *(float(e) for e in found[: wanted - 1]), float(epochs))


def checkpoints(spec: str | int | Sequence[float], epochs: int) -> tuple[float, ...]:
    """Checkpoints from what a user says: "log", "every", a count of log-spaced ones, or a list.

    Fractions of epochs are allowed; 0 is the initialisation.

    >>> checkpoints([0, 0.5, 2], 2)
    (0.0, 0.5, 2.0)
    """
    if isinstance(spec, str):
        if spec == "log":
            return log_spaced(epochs)
        if spec == "every":
            return tuple(float(e) for e in range(epochs + 1))
        raise InputError(
            f"checkpoints: expected 'log', 'every', a count or a list of epochs, got {spec!r}"
        )
    if isinstance(spec, int):
        return log_spaced(epochs, spec)
    values = tuple(float(e) for e in spec)
    if not values or list(values) != sorted(set(values)) or values[0] < 0 or values[-1] > epochs:
        raise InputError(
            f"checkpoints: expected ascending epochs in 0..{epochs}, got {list(values)}"
        )
    return values
