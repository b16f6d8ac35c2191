"""Where training starts from: given weights, parts that are made anew, parts that are frozen."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import nn

from seepage.config.low_rank import LowRank
from seepage.errors import InputError, nearest
from seepage.local_paths import local_path
from seepage.models.low_rank import with_low_rank
from seepage.store.weight_files import load_weights, put_weights, without_prefixes

__all__ = ["start_from", "trainable", "weights_digest"]


def start_from(
    network: nn.Module,
    weights: str | None,
    frozen: Sequence[str],
    reset: Sequence[str],
    expected: str | None = None,
    adapter: LowRank | None = None,
) -> nn.Module:
    """The network, given its starting point; it is changed in place and returned.

    weights: a .safetensors or .pt file of weights alone. reset: patterns of names that keep what the
    network was made with, such as a head for other classes; what the file has for them is passed
    over. frozen: patterns of parameters that do not train. expected: the file's digest when the
    fleet began. adapter: low-rank matrices; they train, and what `reset` matches, and nothing else.

    Buffers of frozen parts, such as running statistics, go on following the batches.

    Raises InputError for a pattern that matches nothing, for a network of which nothing trains, for
    a file that changed, and for weights that do not fit, by the first key.
    """
    if weights is not None:
        path = local_path(weights, "model.weights")
        if expected is not None and weights_digest(weights) != expected:
            raise InputError(
                f"model.weights: expected {weights} as it was when the fleet began, its content is "
                "another; put the file back"
            )
        _put(network, path, reset)
    elif reset and adapter is None:
        raise InputError(
            f"model.reset: expected with model.weights, got {', '.join(reset)} alone; what is not "
            "loaded is made anew anyway"
        )
    if adapter is not None:
        if frozen:
            raise InputError(
                f"model.frozen: expected none with model.adapter, which freezes all but its matrices "
                f"and what model.reset matches, got {', '.join(frozen)}; leave it out"
            )
        if weights is None:
            _matched(reset, list(network.state_dict()), "model.reset")
        return with_low_rank(network, adapter.rank, adapter.alpha, adapter.targets, reset)
    for name in _matched(frozen, [n for n, _ in network.named_parameters()], "model.frozen"):
        network.get_parameter(name).requires_grad_(False)
    if frozen and not trainable(network):
        raise InputError(
            f"model.frozen: expected a part that trains, got patterns that match all parameters "
            f"({', '.join(frozen)}); leave one out"
        )
    return network


def trainable(network: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def weights_digest(weights: str) -> str:
    """SHA-256 of the file's bytes. Raises InputError where it cannot be read."""
    path = local_path(weights, "model.weights")
    try:
        stat = path.stat()
        return _digest(str(path), stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise InputError(
            f"model.weights: expected a file that can be read at {weights}, got "
            f"{error.strerror or error}; correct the path"
        ) from None


@functools.lru_cache(maxsize=4)
def _digest(path: str, changed: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.lru_cache(maxsize=1)
def _loaded(path: str, digest: str) -> dict[str, torch.Tensor]:
    return load_weights(Path(path))


def _put(network: nn.Module, path: Path, reset: Sequence[str]) -> None:
    own = {k: v for k, v in network.state_dict().items() if isinstance(v, torch.Tensor)}
    given = _loaded(str(path), weights_digest(str(path)))
    if not all(k in own for k in given):
        bare = without_prefixes(given)[0]
        given = bare if any(k in own for k in bare) else given
    anew = _matched(reset, list(own), "model.reset")
    held = {k: v for k, v in given.items() if not _any(reset, k)}
    other = next((k for k in held if k in own and held[k].shape != own[k].shape), None)
    if other is not None:
        part = other.rpartition(".")[0] or other
        raise InputError(
            f"{path}: expected {other!r} of shape {tuple(own[other].shape)}, got "
            f"{tuple(held[other].shape)}; where it is a part for other classes, model.reset = "
            f'["{part}*"] makes it anew'
        )
    put_weights(network, {**{k: own[k].clone() for k in anew}, **held}, path)


def _any(patterns: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, p) for p in patterns)


def _matched(patterns: Sequence[str], names: list[str], field: str) -> set[str]:
    """Names that some pattern matches; every pattern must match one."""
    for pattern in patterns:
        if not any(fnmatchcase(n, pattern) for n in names):
            raise InputError(
                f"{field}: expected patterns of names such as {names[0] if names else 'none'!r}, got "
                f"{pattern!r}, which matches nothing; {nearest(pattern, names)}"
            )
    return {n for n in names if _any(patterns, n)}
