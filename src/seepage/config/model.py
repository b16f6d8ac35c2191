"""The network that every run trains: a reference network by name, or the user's own factory."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pydantic
from pydantic import Field
from torch import nn

from seepage.config.base import Part
from seepage.config.low_rank import LowRank
from seepage.config.starting_point import start_from
from seepage.errors import InputError, SeepageError
from seepage.extensions import FROM_FILE, outside, resolve
from seepage.models import MODELS, build, known
from seepage.models.answers import answering
from seepage.short_repr import of_type
from seepage.signals.tasks import task

__all__ = ["Factory", "Model", "as_model", "importable"]

Factory = Callable[[], nn.Module]


class Model(Part):
    """[model]: the network that every run trains.

    >>> Model(name="mlp", options={"hidden": (8,)}).make((4,), 3).head
    Linear(in_features=8, out_features=3, bias=True)
    """

    name: str = Field(
        "mlp",
        description="A reference network, a factory 'package.module:name' that takes nothing and "
        "returns a torch.nn.Module, or the entry point of an installed package.",
    )
    options: dict[str, Any] = Field({}, description="Options of a reference network.")
    version: str | None = Field(
        None,
        min_length=1,
        description="Your own version of the factory: with it, this text and not the factory's "
        "code says whether the network is the same.",
    )
    files: tuple[str, ...] = Field(
        (), description="Files that the factory reads; their bytes are part of what was trained."
    )
    weights: str | None = Field(
        None,
        min_length=1,
        description="Weights that every run starts from: a .safetensors or .pt file of weights alone; "
        "docs/starting-point.md.",
    )
    frozen: tuple[str, ...] = Field(
        (), description="Patterns of parameters that do not train, such as 'features.*'."
    )
    reset: tuple[str, ...] = Field(
        (),
        description="Patterns of names that are made anew instead of loaded, such as 'head.*' for "
        "other classes.",
    )
    adapter: LowRank | None = Field(
        None,
        description="Low-rank matrices that train beside frozen layers; needs the extra `peft`.",
    )
    expected: str | None = Field(None, exclude=True, repr=False, description="Set by a fleet.")
    factory: Any = Field(None, exclude=True, repr=False, description="Set from Python alone.")

    _task: str = pydantic.PrivateAttr(default="classification")

    def for_task(self, name: str) -> Model:
        """The same, its networks answering as a task reads; the data says which task it is."""
        other = self.model_copy()
        other._task = name
        return other

    def changed(self, **values: Any) -> Model:
        """The same with other values, of the same task."""
        other: Model = super().changed(**values)
        return other.for_task(self._task)

    @property
    def task(self) -> str:
        """The task that networks answer."""
        return self._task

    @pydantic.field_validator("factory")
    @classmethod
    def _callable(cls, value: Any) -> Any:
        if value is not None and not callable(value):
            raise ValueError("a factory is set from Python; a file names it as model.name")
        return value

    @property
    def starts(self) -> bool:
        """Whether it starts from anything else than a fresh draw of all that trains."""
        return any((self.weights, self.frozen, self.reset, self.adapter is not None))

    def make(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        """A freshly initialised network from torch's current random stream.

        It answers as the task reads: of two classes one logit z is (0, z), of a real target the
        answer is in its units (`seepage.models.answers`).
        """
        own = self.factory is not None or not known(self.name)
        return answering(self.bare(in_shape, classes), task(self.task), classes, own=own)

    def bare(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network alone at its start, which answers as it was built to."""
        made = self.fresh(in_shape, classes)
        if not self.starts:
            return made
        return start_from(made, self.weights, self.frozen, self.reset, self.expected, self.adapter)

    def fresh(self, in_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network alone from torch's current random stream, whatever it starts from."""
        model = self if self.factory is not None or known(self.name) else as_model(self)
        if model.factory is None:
            try:
                outputs = task(self.task).outputs(classes)
                return build(model.name, in_shape, outputs, **model.options)
            except SeepageError:
                raise
            except (RuntimeError, MemoryError, OverflowError) as e:
                raise InputError(
                    f"model.options: expected a network that fits into memory, got {model.options} "
                    f"({' '.join(str(e).split())[:100]}); make it smaller"
                ) from None
        try:
            made = model.factory()
        except SeepageError:
            raise
        except Exception as e:
            text = " ".join(str(e).split())[:200]
            raise InputError(
                f"model: {model.name} raised {type(e).__name__}: {text}; a factory takes no "
                "arguments and returns a torch.nn.Module"
            ) from e
        if not isinstance(made, nn.Module):
            raise InputError(
                f"model: expected {model.name} to return a torch.nn.Module, got "
                f"{type(made).__name__}"
            )
        return made

    def check_adapter(self) -> None:
        """Raises InputError for an adapter beside layers that would be frozen as they are drawn."""
        own = self.factory is not None or not known(self.name)
        if self.adapter is not None and self.weights is None and not own:
            raise InputError(
                f"model.adapter: expected with model.weights for {self.name!r}, whose layers would be "
                "frozen as they are drawn, got none; name the weights to start from"
            )

    def travels(self) -> bool:
        """Whether another interpreter can find the factory by its import path."""
        return self.factory is None or importable(self.factory)


def importable(fn: Any) -> bool:
    """Whether `module:qualname` of `fn` leads back to it in a fresh interpreter."""
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", "<")
    if not module or module == "__main__" or module.startswith(FROM_FILE) or "<" in name:
        return False
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return False
    return found is fn


def as_model(model: str | Factory | Model) -> Model:
    """A `Model`, its factory resolved, from what the user passes.

    Raises InputError for a name that is neither a reference network nor one that can be imported,
    and for options of a factory, which takes none.
    """
    if not isinstance(model, Model):
        if isinstance(model, nn.Module):
            raise InputError(
                f"model: expected a function that makes a new network, got {of_type(model)}; pass "
                "the function that made it: every run starts from a network of its own, and a trained "
                "one is audited by seepage.audit(model, members, others)"
            )
        if callable(getattr(model, "fit", None)):
            raise InputError(
                "model: expected a name or a function that returns a torch.nn.Module, got an estimator; "
                "pass function=seepage.sklearn.fit(estimator)"
            )
        if isinstance(model, str):
            model = Model(name=model)
        elif callable(model):
            return Model(name=_called(model), factory=model)
        else:
            raise InputError(
                f"model: expected a name or a function that returns a torch.nn.Module, got "
                f"{model!r}"
            )
    if model.factory is not None or known(model.name):
        return model
    if outside(model.name) and model.options:
        raise InputError(
            f"model.options: expected none for {model.name!r}, a factory takes no arguments; "
            "name a factory that has them set"
        )
    found = resolve(
        "model",
        model.name,
        MODELS,
        accepts=_is_factory,
        expected="a function that takes nothing and returns a torch.nn.Module",
    )
    kept: Model = model.changed(factory=found)
    return kept


def _is_factory(found: Any) -> bool:
    """Whether it can be called without arguments; what it returns is seen when it is."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return False  # no function, or one of a compiled module
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in free for p in parameters)


def _called(fn: Any) -> str:
    inner = getattr(fn, "func", fn)  # of a partial
    return str(getattr(inner, "__qualname__", type(fn).__qualname__))
