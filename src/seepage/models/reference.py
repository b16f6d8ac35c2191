"""Which network a run trains: a reference network by name, or the user's own factory."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from seepage.errors import InputError
from seepage.extensions import names, outside, resolve
from seepage.models.registry import build, known

__all__ = ["ModelRef", "importable", "user_model"]


@dataclass(frozen=True)
class ModelRef:
    """A reference network by name and options, or the user's own `() -> nn.Module`."""

    name: str = "mlp"
    options: dict[str, Any] = field(default_factory=dict)
    factory: Callable[[], nn.Module] | None = None

    def make(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        """A freshly initialised network from torch's current random stream."""
        if self.factory is None:
            return build(self.name, in_shape, classes, **self.options)
        made = self.factory()
        if not isinstance(made, nn.Module):
            raise InputError(
                f"model: expected {self.name} to return a torch.nn.Module, got "
                f"{type(made).__name__}"
            )
        return made

    def travels(self) -> bool:
        """Whether another interpreter can find the factory by its import path."""
        return self.factory is None or importable(self.factory)


def importable(fn: Any) -> bool:
    """Whether `module:qualname` of `fn` leads back to it in a fresh interpreter."""
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", "<")
    if not module or module == "__main__" or "<" in name:
        return False
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return False
    return found is fn


def user_model(model: str | Callable[[], nn.Module], options: dict[str, Any] | None) -> ModelRef:
    """A `ModelRef` from what the user passes: a name, "package.module:factory", or a callable.

    A name is that of a reference network, or of an installed package's entry point.
    """
    if isinstance(model, str):
        if known(model) or not (outside(model) or model in names("model", {})):
            return ModelRef(model, dict(options or {}))
        factory = resolve(
            "model", model, {}, accepts=callable, expected="a function that returns a network"
        )
        return ModelRef(model, {}, factory)
    if not callable(model):
        raise InputError(
            f"model: expected a name or a function that returns a torch.nn.Module, got {model!r}"
        )
    return ModelRef(getattr(model, "__qualname__", repr(model)), {}, model)
