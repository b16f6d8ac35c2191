"""Low-rank adapters on a network: put beside its layers by `peft`, and added to their weights again.

Adapters of a network are known by their marks; `peft` is imported only to put them there.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from seepage.errors import InputError, nearest

__all__ = ["adapted", "merged", "passes_by", "slow_encoders", "with_low_rank"]

NEEDS_PEFT = (
    "model.adapter: expected peft to be installed, which low-rank adapters are made by, found none; "
    "pip install 'seepage[peft]'"
)
_ACTIVATION = "activation_relu_or_gelu"


def with_low_rank(
    network: nn.Module,
    rank: int,
    alpha: float,
    targets: Sequence[str],
    whole: Sequence[str] = (),
) -> nn.Module:
    """The network with adapters that train, and all else frozen; changed in place and returned.

    Of each layer that a pattern of `targets` matches, y = Wx + b becomes y = Wx + b + (α/r)·BAx with
    A (r, in) drawn from torch's stream and B (out, r) zero: at the start it answers as before. Layers
    are linear or convolutions (1 to 3 axes), of whatever depth. whole: patterns of parameters that
    train wholly, such as a new head; their layers get no adapter. Source: Hu et al., arXiv 2106.09685.

    Layers whose weights `torch.nn.MultiheadAttention` reads itself are left out, since an adapter
    beside them would have no effect.

    Raises InputError where peft is not installed, for a pattern that matches no layer and for layers
    that take no adapter of this rank.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise InputError(NEEDS_PEFT) from None
    layers = _layers(network, whole)
    for pattern in targets:
        if not any(fnmatchcase(n, pattern) for n in layers):
            raise InputError(
                f"model.adapter.targets: expected patterns of linear or convolution layers such as "
                f"{next(iter(layers), 'none')!r}, got {pattern!r}, which matches none; "
                f"{nearest(pattern, layers)}"
            )
    chosen = [n for n in layers if any(fnmatchcase(n, p) for p in targets)]
    training = [n for n, _ in network.named_parameters() if _any(whole, n)]
    scale: Any = alpha  # peft divides by it, whatever number it is
    config = LoraConfig(
        r=rank,
        lora_alpha=scale,
        # As text it is a pattern of the whole name; as a list, of its end.
        target_modules="|".join(re.escape(n) for n in chosen),
        lora_dropout=0.0,
        bias="none",
    )
    try:
        inject_adapter_in_model(config, network)
    except Exception as error:
        text = " ".join(str(error).split())[:160]
        raise InputError(
            f"model.adapter: expected layers that take an adapter of rank {rank}, got "
            f"{type(error).__name__}: {text}; name others in model.adapter.targets"
        ) from None
    for name in training:
        network.get_parameter(name).requires_grad_(True)
    for part in _encoders(network):
        setattr(part, _ACTIVATION, 0)
    return network


def _layers(network: nn.Module, whole: Sequence[str]) -> dict[str, nn.Module]:
    """Layers that can have an adapter, by name."""
    reads = {
        id(part)
        for m in network.modules()
        if isinstance(m, nn.MultiheadAttention)
        for part in m.modules()
    }
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return {
        name: m
        for name, m in network.named_modules()
        if name
        and isinstance(m, kinds)
        and id(m) not in reads
        and not any(_any(whole, f"{name}.{p}") for p, _ in m.named_parameters())
    }


def _any(patterns: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, p) for p in patterns)


def _of_peft(module: nn.Module, kind: str) -> bool:
    return any(
        c.__name__ == kind and c.__module__.partition(".")[0] == "peft"
        for c in type(module).__mro__
    )


def adapted(network: nn.Module) -> str | None:
    """The name of the first layer that has an adapter of `peft` beside it, or None.

    >>> adapted(nn.Sequential(nn.Linear(2, 2))) is None
    True
    """
    return next((n for n, m in network.named_modules() if _of_peft(m, "BaseTunerLayer")), None)


def merged(network: nn.Module) -> nn.Module:
    """The network with its adapters added to the weights, W + (α/r)·BA; itself where it has none.

    It is a copy; names, and what layers there are, are those of the network before it was adapted.
    Adapters that are switched off are left out, as they are when the network answers. Outputs are
    those of the network up to rounding.

    Raises InputError for adapters that cannot be added, such as prompts.
    """
    if adapted(network) is None:
        return network
    made = copy.deepcopy(network)
    for parent in list(made.modules()):
        for name, child in list(parent._modules.items()):
            if child is None:
                continue
            if _of_peft(child, "BaseTunerLayer"):
                setattr(parent, name, _added(child, name))
            elif _of_peft(child, "AuxiliaryTrainingWrapper") and hasattr(child, "modules_to_save"):
                setattr(parent, name, _saved(child))
    left = adapted(made)
    if left is not None:
        raise InputError(
            f"model: expected adapters that can be added to the weights, got {left!r}; merge them "
            "yourself (model.merge_and_unload()) and pass the network"
        )
    return made


def _added(layer: Any, name: str) -> nn.Module:
    if not layer.merged:
        # A layer that stands elsewhere too, or shares its weights, has no adapter there.
        layer.base_layer = copy.deepcopy(layer.base_layer)
    try:
        if layer.disable_adapters:
            if layer.merged:
                layer.unmerge()
        elif not set(layer.active_adapters) <= set(layer.merged_adapters):
            layer.merge()
    except Exception as error:
        text = " ".join(str(error).split())[:160]
        raise InputError(
            f"model: expected an adapter that can be added to the weights, got {type(layer).__name__} "
            f"at {name!r} ({type(error).__name__}: {text}); pass the network without it"
        ) from None
    base: nn.Module = layer.get_base_layer()
    return base


def _saved(wrapper: Any) -> nn.Module:
    """The part that answers: the copy that trained, or the original where adapters are off."""
    active = wrapper.active_adapters
    if wrapper.disable_adapters or not active:
        original: nn.Module = wrapper.original_module
        return original
    trained: nn.Module = wrapper.modules_to_save[active[0]]
    return trained


def _encoders(network: nn.Module) -> list[nn.TransformerEncoderLayer]:
    """Layers of torch that read the weights of their parts themselves, past an adapter."""
    return [
        m
        for m in network.modules()
        if isinstance(m, nn.TransformerEncoderLayer) and adapted(m) is not None
    ]


def passes_by(network: nn.Module) -> tuple[str, ...]:
    """A note where torch, in eval mode, would read weights past their adapters and answer without."""
    if not any(getattr(m, _ACTIVATION, 0) for m in _encoders(network)):
        return ()
    return (
        "model: torch.nn.TransformerEncoderLayer passes the adapters of its layers by in eval mode, so "
        "that it answers as without them; figures are of the model with them, as it is trained and merged",
    )


@contextlib.contextmanager
def slow_encoders(network: nn.Module) -> Iterator[None]:
    """Within it, adapters in a `torch.nn.TransformerEncoderLayer` count in eval mode too.

    Its fast path takes the weights of its linear layers, and not what these layers compute.
    """
    found = [(m, getattr(m, _ACTIVATION, 0)) for m in _encoders(network)]
    try:
        for m, _ in found:
            setattr(m, _ACTIVATION, 0)
        yield
    finally:
        for m, before in found:
            setattr(m, _ACTIVATION, before)
