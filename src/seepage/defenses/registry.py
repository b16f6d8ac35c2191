"""Defences by name, and from configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from seepage.defenses.adversary import AdversarialRegularisation
from seepage.defenses.base import Defense, Undefended
from seepage.defenses.ccl import CCEL, CCQL
from seepage.defenses.chain import Chain
from seepage.defenses.critical import CWRF
from seepage.defenses.crl import CRL
from seepage.defenses.distillation import DMP, SELENA
from seepage.defenses.dp import DPSGD, LayerDPSGD
from seepage.defenses.hamp import HAMP
from seepage.defenses.label_dp import LabelDP
from seepage.defenses.memguard import MemGuard
from seepage.defenses.mmd import MixupMMD
from seepage.defenses.pptp import PPTP, VARIANTS, Variant
from seepage.defenses.relaxloss import RelaxLoss
from seepage.defenses.smoothing import ConfidencePenalty, LabelSmoothing
from seepage.defenses.stopping import EarlyStopping
from seepage.errors import InputError, nearest

__all__ = ["DEFENSES", "make"]

DEFENSES: dict[str, type[Defense]] = {
    kind.name: kind
    for kind in (
        Undefended,
        LabelSmoothing,
        ConfidencePenalty,
        EarlyStopping,
        MixupMMD,
        AdversarialRegularisation,
        RelaxLoss,
        CCEL,
        CCQL,
        HAMP,
        MemGuard,
        SELENA,
        DMP,
        CRL,
        CWRF,
        DPSGD,
        LayerDPSGD,
        LabelDP,
        PPTP,
        Chain,
    )
}


def make(name: str, **options: Any) -> Defense:
    """A defence from its name and options, as a configuration file gives them.

    A nested defence (`base`, or one of a chain's `parts`) is a name or a mapping with "name" and
    its options. Raises InputError for unknown names and options.

    >>> make("pptp", base={"name": "ccel", "alpha": 0.7}, regions=["head"]).base
    CCEL(alpha=0.7, beta=1.0)
    """
    if name not in DEFENSES:
        raise InputError(f"defense: expected a known name, got {name!r}; {nearest(name, DEFENSES)}")
    kind = DEFENSES[name]
    known = [f.name for f in fields(kind)]
    for key in options:
        if key not in known:
            remedy = nearest(key, known) if known else "it has no options"
            raise InputError(f"{key}: unknown option of {name!r}; {remedy}")
    if "base" in options:
        options["base"] = _nested("base", options["base"])
    if "parts" in options:
        options["parts"] = tuple(_nested("parts", p) for p in options["parts"])
    if "variant" in options:
        options["variant"] = _variant(options["variant"])
    if name == "chain" and "parts" not in options:
        raise InputError("parts: a chain needs its defences, got none; list at least one")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})


def _variant(value: Any) -> Variant:
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        built: Variant = value
        return built
    name = table.get("name")
    if name not in VARIANTS:
        raise InputError(
            f"variant: expected a known name, got {name!r}; {nearest(str(name), VARIANTS)}"
        )
    rest = {str(k): v for k, v in table.items() if k != "name"}
    known = [f.name for f in fields(VARIANTS[name])]
    for key in rest:
        if key not in known:
            raise InputError(f"{key}: unknown option of variant {name!r}; it has {known}")
    made: Variant = VARIANTS[name](**rest)
    return made


def _nested(where: str, value: Any) -> Defense:
    if isinstance(value, Defense):
        return value
    if isinstance(value, str):
        return make(value)
    if isinstance(value, Mapping) and "name" in value:
        rest = {str(k): v for k, v in value.items() if k != "name"}
        return make(str(value["name"]), **rest)
    raise InputError(
        f"{where}: expected the name of a defence or a table with 'name', got {value!r}"
    )
