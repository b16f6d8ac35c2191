"""Options of probes as a person writes them: names and values, checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

import pydantic

from seepage.curvature.estimate import ESTIMATORS, estimator
from seepage.errors import InputError, nearest
from seepage.probes.base import Probe
from seepage.probes.input_curvature import InputCurvature

__all__ = ["option_names", "with_options", "written"]


def written(probe: Probe) -> str:
    """The probe's name as a person writes it, without spaces and capitals; of curvature the estimator's.

    >>> from seepage.probes.inverse_hessian import InverseHessian
    >>> written(InverseHessian())
    'inverse-hessian'
    """
    name = _kind(probe) if isinstance(probe, InputCurvature) else probe.name
    return name.replace(" ", "-").lower()


def option_names(probe: Probe) -> tuple[str, ...]:
    """What can be set of a probe; of curvature the options of its estimator.

    >>> from seepage.probes.copies import NoisyLoss
    >>> option_names(NoisyLoss())
    ('sigma', 'copies')
    """
    if isinstance(probe, InputCurvature):
        return tuple(ESTIMATORS[_kind(probe)][1])
    return tuple(f.name for f in dataclasses.fields(probe))


def with_options(probes: Sequence[Probe], options: Mapping[str, Any]) -> tuple[Probe, ...]:
    """Those of the probes that an option is of, with it.

    options: "option" of the probe that has it, or "probe.option" where several have; values as JSON has them. Raises InputError
    for a name that no probe has, or that several have, and for a value that is none of that option.

    >>> from seepage.probes.copies import Augmented, NoisyLoss
    >>> with_options([NoisyLoss(), Augmented()], {"copies": 20})
    (NoisyLoss(sigma=0.3, copies=20),)
    >>> with_options([Augmented()], {"augmented.noise": [0.1, 0.2]})[0].noise
    (0.1, 0.2)
    """
    known = [f"{written(p)}.{o}" for p in probes for o in option_names(p)]
    wanted: dict[int, dict[str, Any]] = {}
    for name, value in options.items():
        of, _, option = name.rpartition(".")
        found = [
            k for k, p in enumerate(probes) if option in option_names(p) and of in ("", written(p))
        ]
        if not found:
            told = (
                nearest(name, known) if known else "these attacks measure nothing that has options"
            )
            raise InputError(f"{name}: expected an option of what is measured, got none; {told}")
        if len(found) > 1:
            told = " or ".join(f"{written(probes[k])}.{option}" for k in found)
            raise InputError(
                f"{name}: expected an option of one probe, got one of {len(found)}; write {told}"
            )
        wanted.setdefault(found[0], {})[option] = value
    return tuple(_changed(p, wanted[k]) for k, p in enumerate(probes) if k in wanted)


def _kind(probe: InputCurvature) -> str:
    """The name of its estimator."""
    return next(k for k in ESTIMATORS if type(estimator(k)) is type(probe.estimator))


def _changed(probe: Probe, options: Mapping[str, Any]) -> Probe:
    if isinstance(probe, InputCurvature):
        return InputCurvature(estimator(_kind(probe), options))
    hints = get_type_hints(type(probe))
    return dataclasses.replace(probe, **{o: _value(o, hints[o], v) for o, v in options.items()})


def _value(option: str, kind: Any, value: Any) -> Any:
    """Of the type of the field, finite; lists are tuples."""
    checks = pydantic.TypeAdapter(kind, config=pydantic.ConfigDict(allow_inf_nan=False))
    try:
        return checks.validate_json(json.dumps(value), strict=True)
    except ValueError:
        told = getattr(kind, "__name__", str(kind)) if isinstance(kind, type) else str(kind)
        raise InputError(f"{option}: expected {told}, got {value!r}") from None
