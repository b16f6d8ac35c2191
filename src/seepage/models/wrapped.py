"""The network inside of wrappers, and what these leave on it: known by their marks, never imported.

Opacus (`GradSampleModule`), `torch.compile`, DataParallel, DistributedDataParallel, `AveragedModel` and
`PeftModel` put a module around a network; Opacus puts hooks on its parts, Accelerate another `forward`,
mixed precision halves, peft adapters beside its layers.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from seepage.errors import InputError
from seepage.models.low_rank import merged, slow_encoders

__all__ = [
    "check_whole",
    "in_single_precision",
    "merged_network",
    "plain_forward",
    "unwrapped",
    "without_sample_hooks",
]

_HALF = (torch.float16, torch.bfloat16)
_AROUND = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def unwrapped(model: nn.Module) -> nn.Module:
    """The network behind `torch.compile`, data-parallel wrappers, Opacus, `AveragedModel` and
    `PeftModel`, however they are nested.

    It shares parameters and buffers with what is around it, under its own names: without `module.`,
    `_orig_mod.`, `_module.` or `base_model.model.`. Behind `AveragedModel` are the averaged weights.
    Adapters stay beside the layers of the network inside; a `PeftModel` that puts prompts before its
    inputs stays as it is, since they are not in there.

    >>> net = nn.Linear(2, 2)
    >>> unwrapped(nn.DataParallel(net)) is net
    True
    """
    while True:
        inner: Any = getattr(model, "_orig_mod", None)
        if isinstance(model, _AROUND):
            inner = model.module
        elif _of_peft(model):
            inner = model.get_base_model()  # type: ignore[operator]
        elif _of_opacus(model):
            inner = model._module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def merged_network(model: nn.Module) -> nn.Module:
    """The network inside, adapters added to the weights of its layers (`merged`): a copy if it has some."""
    return merged(unwrapped(model))


def _of_opacus(model: nn.Module) -> bool:
    return any(
        c.__name__.endswith("GradSampleModule") and c.__module__.partition(".")[0] == "opacus"
        for c in type(model).__mro__
    )


def _of_peft(model: nn.Module) -> bool:
    """A `PeftModel` whose adapters lie within its network."""
    known = any(
        c.__name__ == "PeftModel" and c.__module__.partition(".")[0] == "peft"
        for c in type(model).__mro__
    )
    config: Any = getattr(model, "active_peft_config", None) if known else None
    return known and not getattr(config, "is_prompt_learning", True)


def check_whole(model: nn.Module) -> None:
    """Raises InputError for a network whose parameters lie in shards on several processes."""
    sharded = any("FullySharded" in type(m).__name__ for m in model.modules())
    if sharded or any(type(p).__name__ == "DTensor" for p in model.parameters()):
        raise InputError(
            "model: expected whole parameters in this process, got shards of them; train by "
            "DistributedDataParallel, or gather them (get_model_state_dict with full_state_dict=True, "
            "torch.distributed.checkpoint.state_dict), load a plain network, and audit that"
        )


@contextlib.contextmanager
def without_sample_hooks(model: nn.Module) -> Iterator[None]:
    """Hooks that Opacus left on the parts of a network rest within; they count samples, and a second
    derivative, or a first one in eval mode, ends in their error. Adapters are never passed by."""
    found: dict[int, Any] = {}
    for part in model.modules():
        for hook in (*part._forward_hooks.values(), *part._backward_hooks.values()):
            inner = hook.func if isinstance(hook, functools.partial) else hook
            owner: Any = getattr(inner, "__self__", None)
            if getattr(owner, "hooks_enabled", None) is True:
                found[id(owner)] = owner
    try:
        for owner in found.values():
            owner.hooks_enabled = False
        with slow_encoders(model):
            yield
    finally:
        for owner in found.values():
            owner.hooks_enabled = True


def plain_forward(model: nn.Module) -> Callable[..., Any]:
    """How a network answers without the autocast that Accelerate puts around its `forward`."""
    original: Callable[..., Any] | None = vars(model).get("_original_forward")
    return model if original is None else original


def in_single_precision(model: nn.Module) -> nn.Module:
    """The network, or a float32 copy of one whose weights are halves: the same weights, exactly."""
    tensors = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model).float() if any(t.dtype in _HALF for t in tensors) else model
