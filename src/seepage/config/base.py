"""What every object of the configuration shares: frozen, checked, every problem one line."""

from __future__ import annotations

import reprlib
from typing import Any, Literal, get_args, get_origin

import pydantic
from pydantic import BaseModel, ConfigDict

from seepage.errors import InputError, nearest

__all__ = ["Part", "problem", "table_of"]

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 120
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12


class Part(BaseModel):
    """A table of the configuration: unknown fields are errors, values never change.

    The same object is read from TOML, made in Python and sent to workers. Made in Python, a wrong
    value raises InputError with the name of the field; read from a file, the file's name stands
    before it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except pydantic.ValidationError as e:
            table = type(self).__name__.removesuffix("Config").lower()
            raise problem(e, type(self), f"{table}.") from None

    # Read as a table of another, pydantic validates without this constructor and adds its path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _exact(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Numbers, switches and text are never taken for one another: `true` is not 1."""
        field = cls.model_fields[str(info.field_name)]
        kinds = _kinds(field.annotation)
        for part in value if isinstance(value, list | tuple) else (value,):
            if isinstance(part, bool) and kinds & {int, float} and bool not in kinds:
                raise ValueError("expected a number")
            if isinstance(part, str) and kinds <= {int, float, type(None)}:
                raise ValueError("expected a number")
            number = isinstance(part, int | float) and not isinstance(part, bool)
            if (number or isinstance(part, str)) and kinds <= {bool, type(None)}:
                raise ValueError("expected true or false")
            if number and bool in kinds and not kinds & {int, float, Any}:
                raise ValueError("expected true, false or text")
        return value

    def changed(self, **values: Any) -> Any:
        """The same with other values, checked again; what was not stated is not stated now.

        >>> class Size(Part):
        ...     width: int = 1
        >>> Size().changed(width=2).width
        2
        """
        held = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**(held | values))


def _kinds(annotation: Any) -> set[Any]:
    """The plain types that an annotation holds; of literals the types of their values."""
    if get_origin(annotation) is Literal:
        return {type(v) for v in get_args(annotation)}
    inner = [a for a in get_args(annotation) if a is not ...]
    return set().union(*(_kinds(a) for a in inner)) if inner else {annotation}


def problem(e: pydantic.ValidationError, kind: type[BaseModel], prefix: str = "") -> InputError:
    """A pydantic report as one line: the field, what was expected, what came, the remedy.

    An unknown field is answered with the nearest one that its table knows.
    """
    first = e.errors(include_url=False)[0]
    name = ".".join(str(p) for p in first["loc"]) or "value"
    fields = _table(kind, first["loc"][:-1])
    if first["type"] == "extra_forbidden" and fields is not None:
        remedy = nearest(str(first["loc"][-1]), fields.model_fields)
        return InputError(f"{prefix}{name}: unknown field; {remedy}")
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return InputError(f"{prefix}{name}: {message}, got {_SHORT.repr(first['input'])}; correct it")


def _table(kind: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The kind of table at `path`; None inside a list or a map of tables."""
    for part in path:
        inner = (
            table_of(kind.model_fields[str(part)].annotation) if part in kind.model_fields else None
        )
        if inner is None:
            return None
        kind = inner
    return kind


def table_of(annotation: Any) -> type[BaseModel] | None:
    """The table that a field is, or may be where it has none by default."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
