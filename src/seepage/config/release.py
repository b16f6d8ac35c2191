"""Variants by name: how outputs and weights of a model are released.

>>> as_variant("int8+top-1")
Variant(weights=(Int8(),), outputs=(TopK(k=1),))
>>> as_variant("as-trained").name
'as-trained'
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from seepage.errors import InputError, nearest
from seepage.models.released import BF16, Int8, Pruned, WeightVariant
from seepage.signals.released import LabelOnly, OutputVariant, Rounded, Temperature, TopK

__all__ = ["AS_TRAINED", "FORMS", "Variant", "as_variant", "as_variants"]

AS_TRAINED = "as-trained"
FORMS = (
    AS_TRAINED,
    "label-only",
    "top-K",
    "rounded-DECIMALS",
    "temperature-T",
    "int8",
    "bf16",
    "pruned-SHARE",
)
"""The names of variants; several are joined by +."""


@dataclass(frozen=True)
class Variant:
    """How a model is released: first its weights, then its outputs; neither is the model as trained.

    weights: applied in this order, quantisation last: it replaces the layers that others change.
    outputs: applied as a service does, temperature before top-k before rounding before the label
    alone. Each kind of step comes once.
    """

    weights: tuple[WeightVariant, ...] = ()
    outputs: tuple[OutputVariant, ...] = ()

    def __post_init__(self) -> None:
        for what, steps in (("change of weights", self.weights), ("output", self.outputs)):
            kinds = [type(s) for s in steps]
            if len(set(kinds)) < len(kinds):
                raise InputError(
                    f"variant: expected each kind of {what} once, got {_shown(self.name)}; leave all "
                    "but one out"
                )
        if any(isinstance(w, Int8) for w in self.weights[:-1]):
            last = tuple(sorted(self.weights, key=lambda w: isinstance(w, Int8)))
            raise InputError(
                f"variant: expected int8 after the other changes of weights, got {self.name}; write "
                f"{replace(self, weights=last).name}"
            )

    @property
    def name(self) -> str:
        """Names of its steps, joined by +."""
        outputs = sorted(self.outputs, key=lambda o: o.order)
        names = [w.name for w in self.weights] + [o.name for o in outputs]
        return "+".join(names) or AS_TRAINED


def _shown(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:77]}..."


_PLAIN: dict[str, Callable[[], OutputVariant | WeightVariant]] = {
    "label-only": LabelOnly,
    "int8": Int8,
    "bf16": BF16,
}
_WITH: dict[str, Callable[[str], OutputVariant | WeightVariant]] = {
    "top": lambda v: TopK(_whole(v)),
    "rounded": lambda v: Rounded(_whole(v)),
    "temperature": lambda v: Temperature(float(v)),
    "pruned": lambda v: Pruned(float(v)),
}


def _whole(text: str) -> int:
    if not text.isdigit():
        raise ValueError
    return int(text)


def as_variant(given: Any, field: str = "variant") -> Variant:
    """The variant that a name, one of its steps, or a `Variant` says.

    Raises InputError for an unknown name, or a value that its step does not take.
    """
    if isinstance(given, Variant):
        return given
    if isinstance(given, WeightVariant):
        return Variant(weights=(given,))
    if isinstance(given, OutputVariant):
        return Variant(outputs=(given,))
    if not isinstance(given, str):
        raise InputError(
            f"{field}: expected a name such as 'top-1', or a variant, got {type(given).__name__}"
        )
    if given == AS_TRAINED:
        return Variant()
    steps = [_step(part, given, field) for part in given.split("+")]
    return Variant(
        tuple(s for s in steps if isinstance(s, WeightVariant)),
        tuple(s for s in steps if isinstance(s, OutputVariant)),
    )


def as_variants(given: Any, field: str = "variants") -> tuple[Variant, ...]:
    """Several, each once. Raises InputError for none, and for one that comes twice."""
    if isinstance(given, (str, Variant, OutputVariant, WeightVariant)):
        given = [given]
    found = tuple(as_variant(g, field) for g in given)
    if not found:
        raise InputError(f"{field}: expected at least one, got none; name one such as 'top-1'")
    names = [v.name for v in found]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise InputError(f"{field}: expected every variant once, got {twice} twice; leave one out")
    return found


def _step(part: str, whole: str, field: str) -> OutputVariant | WeightVariant:
    if part in _PLAIN:
        return _PLAIN[part]()
    kind, _, value = part.partition("-")
    if kind in _WITH and re.fullmatch(r"[0-9.]{1,20}", value):
        try:
            return _WITH[kind](value)
        except InputError as error:
            raise InputError(f"{field}: {whole!r}: {error}") from None
        except ValueError:
            pass
    raise InputError(
        f"{field}: expected one of {', '.join(FORMS)}, joined by + where several apply, got "
        f"{whole!r}; {nearest(part, [*_PLAIN, AS_TRAINED, 'top-1', 'rounded-2', 'temperature-2', 'pruned-0.5'])}"
    )
