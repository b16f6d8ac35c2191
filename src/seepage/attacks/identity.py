"""What an attack is, for a key: its name where its options are usual, else a digest of them as well."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from seepage.attacks.base import Attack

__all__ = ["known_as", "options_of"]


def options_of(value: Any) -> Any:
    """Options as JSON values, classes by name, arrays by the digest of their content.

    >>> from seepage.attacks import RMIAOffline
    >>> options_of(RMIAOffline(a=0.5))
    ['RMIAOffline', {'population': None, 'gamma': 1.0, 'a': 0.5}]
    """
    if is_dataclass(value) and not isinstance(value, type):
        told = {f.name: options_of(getattr(value, f.name)) for f in fields(value) if f.init}
        return [type(value).__qualname__, told]
    if isinstance(value, np.ndarray):
        raw = np.ascontiguousarray(value)
        # Of objects the bytes are addresses.
        held = repr(raw.tolist()).encode() if raw.dtype.hasobject else raw.tobytes()
        return [raw.dtype.str, list(raw.shape), hashlib.sha256(held).hexdigest()]
    if isinstance(value, np.generic):
        return options_of(value.item())
    if isinstance(value, dict):
        return {str(k): options_of(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [options_of(v) for v in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else repr(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)


def known_as(attack: Attack, usual: Attack | None) -> str:
    """The attack's name, and unless its class and options are those of `usual` a digest of them.

    >>> from seepage.attacks import RMIAOffline
    >>> known_as(RMIAOffline(), RMIAOffline())
    'rmia-offline'
    >>> known_as(RMIAOffline(a=0.5), RMIAOffline()).startswith("rmia-offline:")
    True
    """
    own = options_of(attack)
    if usual is not None and type(attack) is type(usual) and own == options_of(usual):
        return attack.name
    text = json.dumps([type(attack).__module__, own], sort_keys=True)
    return f"{attack.name}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
