"""Networks by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from seepage.errors import InputError, nearest
from seepage.models.base import Network
from seepage.models.causal import gpt
from seepage.models.names import RESNET, WRN
from seepage.models.plain import cnn, mlp, vgg11
from seepage.models.residual import resnet9, resnet18, wrn

__all__ = ["MODELS", "build"]

Factory = Callable[..., Network]

MODELS: dict[str, Factory] = {
    "mlp": mlp,
    "cnn": cnn,
    "cnn-1": partial(cnn, blocks=1),
    "cnn-2": partial(cnn, blocks=2),
    "cnn-3": partial(cnn, blocks=3),
    "cnn-4": partial(cnn, blocks=4),
    "wrn-16-1": partial(wrn, depth=16, k=1),
    "wrn-16-2": partial(wrn, depth=16, k=2),
    "wrn-28-2": partial(wrn, depth=28, k=2),
    "resnet9": resnet9,
    "resnet18": resnet18,
    "vgg11": vgg11,
    "gpt": gpt,
}


def _found(name: str) -> Factory | None:
    if name in MODELS:
        return MODELS[name]
    parsed = re.fullmatch(WRN, name)
    if parsed:
        return partial(wrn, depth=int(parsed[1]), k=int(parsed[2]))
    parsed = re.fullmatch(RESNET, name)
    if parsed:
        return partial(resnet18, width=int(parsed[1]))
    return None


def _factory(name: str) -> Factory:
    found = _found(name)
    if found is not None:
        return found
    raise InputError(
        f"model: expected a known name, 'wrn-<depth>-<k>' or 'resnet18-w<width>', got {name!r}; "
        f"{nearest(name, MODELS)}"
    )


def build(name: str, in_shape: tuple[int, ...], classes: int, **options: Any) -> Network:
    """A freshly initialised network: name, shape of one input, number of classes, its options.

    Besides the names in `MODELS`, "wrn-<depth>-<k>" is understood for every depth of 6n + 4, and
    "resnet18-w<width>" for ResNet-18 with so many channels in its first stage instead of 64.
    Weights are drawn from torch's global generator during this call and nowhere else; for a
    reproducible network fork and seed it around the call. Raises InputError for an
    unknown name or option, or for images that the network cannot take.

    >>> build("mlp", (64,), 10, hidden=(32,)).head
    Linear(in_features=32, out_features=10, bias=True)
    """
    factory = _factory(name)
    fixed = set(factory.keywords) if isinstance(factory, partial) else set()
    known = [p for p in inspect.signature(factory).parameters if p not in ("in_shape", "classes")]
    free = [p for p in known if p not in fixed]
    for option in options:
        if option in fixed:
            raise InputError(f"{option}: {name!r} already fixes it; choose another model name")
        if option not in free:
            remedy = nearest(option, free) if free else "it has no options"
            raise InputError(f"{option}: unknown option of {name!r}; {remedy}")
    return factory(tuple(in_shape), classes, **options)
