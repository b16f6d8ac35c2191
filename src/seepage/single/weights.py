"""A user's file of weights put into a user's network: safetensors, or torch files without code."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from seepage.data.reading import reading
from seepage.errors import InputError
from seepage.local_paths import local_path

__all__ = ["load_weights"]

_TORCH = (".pt", ".pth", ".bin", ".ckpt")
# Put before every name by wrappers: data parallel, compile, Opacus, Lightning.
_WRAPPED = re.compile(r"^(?:module|_orig_mod|_module|model|net|network)\.")


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """The network with the weights of a file; every name and shape must fit.

    path: .safetensors, or .pt, .pth, .bin or .ckpt, which are read without running anything that
    they hold (`weights_only`). A mapping under `state_dict` is taken, as Lightning writes it, and a
    prefix that a wrapper put before every name is dropped.

    Raises InputError for a pickle of other objects, a damaged file, and a file that does not fit,
    with the first missing and the first unexpected name.

    >>> import tempfile
    >>> net, other = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     safetensors.torch.save_file(net.state_dict(), f"{folder}/w.safetensors")
    ...     same = load_weights(other, f"{folder}/w.safetensors")
    >>> bool((same.weight == net.weight).all())
    True
    """
    at = Path(local_path(path, "weights"))
    if not isinstance(model, nn.Module):
        raise InputError(
            f"weights: expected a torch.nn.Module to put them into, got {type(model).__name__}; "
            "leave --weights out for models that hold their own"
        )
    state = _state(at)
    own = model.state_dict()
    if not set(state) & set(own) and state:
        # One prefix of all names, dropped as often as it takes.
        while all(_WRAPPED.match(k) for k in state) and not set(state) & set(own):
            state = {_WRAPPED.sub("", k): v for k, v in state.items()}
    missing = [k for k in own if k not in state]
    unexpected = [k for k in state if k not in own]
    if missing or unexpected:
        lacks = f"{len(missing)} missing, the first {missing[0]!r}" if missing else "none missing"
        extra = (
            f"{len(unexpected)} unexpected, the first {unexpected[0]!r}"
            if unexpected
            else "none unexpected"
        )
        raise InputError(
            f"{at}: expected the weights of {type(model).__name__}, got names of which {lacks}, and "
            f"{extra}; pass the factory that made them"
        )
    for name, value in own.items():
        if state[name].shape != value.shape:
            raise InputError(
                f"{at}: expected {name} of shape {tuple(value.shape)}, got "
                f"{tuple(state[name].shape)}; pass the factory that made these weights"
            )
    bad = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise InputError(f"{at}: expected finite weights, got NaN or infinity in {bad[0]!r}")
    model.load_state_dict(state)
    return model


def _state(at: Path) -> dict[str, torch.Tensor]:
    with reading(at, "a file of weights"), at.open("rb") as stream:
        start = stream.read(16)
    if at.suffix == ".safetensors":
        try:
            return dict(safetensors.torch.load_file(at))
        except (safetensors.SafetensorError, ValueError, OSError) as error:
            raise InputError(
                f"{at}: expected safetensors, got {' '.join(str(error).split())[:120]}; save them "
                "with safetensors.torch.save_file"
            ) from None
    if at.suffix not in _TORCH or not (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise InputError(
            f"{at}: expected .safetensors, or a torch file ({', '.join(_TORCH)}), got another; save "
            "them with safetensors.torch.save_file(model.state_dict(), path)"
        )
    try:
        held: Any = torch.load(at, map_location="cpu", weights_only=True)
    except Exception as error:
        text = " ".join(str(error).split())[:100]
        raise InputError(
            f"{at}: expected a file of tensors alone, got one that holds other objects or is damaged "
            f"({text}); nothing is unpickled: save model.state_dict() as safetensors"
        ) from None
    for key in ("state_dict", "model_state_dict"):
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    if not isinstance(held, Mapping) or not all(isinstance(v, torch.Tensor) for v in held.values()):
        raise InputError(
            f"{at}: expected names and tensors, got {type(held).__name__}; save model.state_dict()"
        )
    return {str(k): v for k, v in held.items()}
