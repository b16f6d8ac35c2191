"""Weights in files of other tools: read without running anything, and put into a network."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from seepage.data.reading import check_regular, one_line, reading
from seepage.errors import InputError
from seepage.short_repr import of_type

__all__ = ["PREFIXES", "SUFFIXES", "load_weights", "put_weights", "without_prefixes"]

SUFFIXES = (".pt", ".pth", ".safetensors")
PREFIXES = ("module.", "_orig_mod.", "_module.")
"""What DataParallel, DDP and `AveragedModel`, `torch.compile` and Opacus put before every name."""

_INNER = ("state_dict", "model_state_dict", "model")
_EXPECTED = "weights, model.state_dict() saved by torch.save or safetensors"
_REMEDY = "save model.state_dict()"

Weights = dict[str, torch.Tensor]


def load_weights(path: Path) -> Weights:
    """Tensors by name from a .pt, .pth or .safetensors file, on the host.

    A .pt is read by torch's reader of weights alone, which runs no code that the file names. It may
    be a state dict, or a dictionary that holds one as `state_dict`, `model_state_dict` or `model`
    beside other things. Raises InputError for anything else.
    """
    with reading(path, _EXPECTED):
        check_regular(path, _EXPECTED)
        try:
            with warnings.catch_warnings():
                # Older files warn of how they were written.
                warnings.simplefilter("ignore")
                if path.suffix == ".safetensors":
                    found: Any = safetensors.torch.load_file(path)
                else:
                    found = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, MemoryError):
            raise
        except pickle.UnpicklingError as error:
            if "Unsupported" not in str(error) and "GLOBAL" not in str(error):
                raise _no_weights(path, error) from None
            raise InputError(
                f"{path}: expected {_EXPECTED}, got a file that names code "
                f"({_named(str(error))}), which is never run; {_REMEDY} alone"
            ) from None
        except Exception as error:  # whatever torch says of a damaged file
            raise _no_weights(path, error) from None
    for name in _INNER:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not found:
        raise InputError(f"{path}: expected {_EXPECTED}, got {_kind(found)}; {_REMEDY}")
    other = next((k for k, v in found.items() if not isinstance(v, torch.Tensor)), None)
    if other is not None:
        raise InputError(
            f"{path}: expected {_EXPECTED}, got {_kind(found[other])} under {str(other)[:60]!r}; "
            f"{_REMEDY}, alone or under 'state_dict'{_held(found)}"
        )
    odd = next((k for k, v in found.items() if v.layout != torch.strided or v.is_quantized), None)
    if odd is not None:
        raise InputError(
            f"{path}: expected dense weights, got sparse or quantised ones under {str(odd)[:60]!r}; save "
            "those of the network before it was quantised"
        )
    return {str(k): v for k, v in found.items()}


def _no_weights(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: expected {_EXPECTED}, got a corrupt file or other content ({one_line(error)}); "
        f"{_REMEDY} again"
    )


def _named(text: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", text)
    return found.group(1) if found else one_line(ValueError(text), 60)


def _held(found: Mapping[Any, Any]) -> str:
    """Where the one state dict among other things lies; empty where there is none, or several."""
    keys = [
        k
        for k, v in found.items()
        if isinstance(v, Mapping) and v and all(isinstance(w, torch.Tensor) for w in v.values())
    ]
    return f"; {str(keys[0])[:60]!r} holds one: save that" if len(keys) == 1 else ""


def _kind(found: object) -> str:
    if isinstance(found, Mapping):
        return "an empty dictionary" if not found else "a dictionary"
    return of_type(found)


def without_prefixes(weights: Weights) -> tuple[Weights, tuple[str, ...]]:
    """(weights, prefixes): those of wrappers that every name begins with removed, outermost first.

    The count of averages that `AveragedModel` saves beside its network goes with its prefix.

    >>> w = torch.zeros(1)
    >>> without_prefixes({"module._orig_mod.a": w, "module._orig_mod.b": w})[1]
    ('module.', '_orig_mod.')
    """
    removed: list[str] = []
    inside = {k: v for k, v in weights.items() if k != "n_averaged"}
    if len(inside) < len(weights) and all(k.startswith("module.") for k in inside):
        weights = inside
    while True:
        prefix = next((p for p in PREFIXES if all(k.startswith(p) for k in weights)), None)
        if prefix is None or not weights:
            return weights, tuple(removed)
        weights = {k.removeprefix(prefix): v for k, v in weights.items()}
        removed.append(prefix)


def put_weights(network: nn.Module, weights: Weights, where: object) -> tuple[str, ...]:
    """Load the weights into the network; returns the prefixes that were removed.

    Raises InputError that names the first key that is missing and the first that is not expected,
    or the first of another shape, and values that are not finite.
    """
    wanted = {k: v for k, v in network.state_dict().items() if isinstance(v, torch.Tensor)}
    removed: tuple[str, ...] = ()
    if not all(k in wanted for k in weights):
        weights, removed = without_prefixes(weights)
    # Files of safetensors hold tensors that a network uses under several names once.
    held = {wanted[k].data_ptr(): weights[k] for k in weights if k in wanted and wanted[k].numel()}
    weights = {
        **{
            k: held[v.data_ptr()]
            for k, v in wanted.items()
            if k not in weights and v.data_ptr() in held
        },
        **weights,
    }
    missing = [k for k in wanted if k not in weights]
    unexpected = [k for k in weights if k not in wanted]
    if missing or unexpected:
        told = [
            f"{len(keys)} {what}, the first {str(keys[0])[:80]!r}"
            for what, keys in (("missing", missing), ("unexpected", unexpected))
            if keys
        ]
        raise InputError(
            f"{where}: expected the weights of the network that the factory makes, got {' and '.join(told)}"
            "; name the factory whose networks were saved"
        )
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise InputError(
                f"{where}: expected {name!r} of shape {tuple(wanted[name].shape)} as the factory "
                f"makes it, got {tuple(tensor.shape)}; name the factory whose networks were saved"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(
                f"{where}: expected finite weights, got NaN or infinity in {name!r}; leave this "
                "checkpoint out"
            )
    try:
        network.load_state_dict(weights)
    except Exception as error:  # another kind of tensor, a network's own loading
        raise InputError(
            f"{where}: expected weights that the network loads, got {one_line(error)}; {_REMEDY} again"
        ) from None
    return removed
