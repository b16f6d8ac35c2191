"""When runs are evaluated, and what is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pydantic
from pydantic import Field

from seepage.config.base import Part
from seepage.errors import InputError, nearest
from seepage.extensions import resolve
from seepage.record import DEFAULT_SIGNALS, EARLIER_SIGNALS, ExtraSignal, checkpoints
from seepage.record.tokens import TOKEN_SIGNALS
from seepage.signals import SignalRule, named
from seepage.signals.tasks import task

__all__ = ["Record"]

EstimatorName = Literal["exact", "zeroth-order", "hutchinson", "finite-difference"]
_LAYER_OPTIONS = ("samples", "columns", "spectrum", "seed", "batch", "jacobian")


class Record(Part):
    """[record]: when runs are evaluated and what is recorded.

    >>> Record(checkpoints=[0, 0.5, 2]).times(2)
    (0.0, 0.5, 2.0)
    """

    checkpoints: Literal["log", "every"] | int | tuple[float, ...] = Field(
        "log",
        description="Epochs at which every sample is evaluated: log-spaced, every one, a number "
        "of log-spaced ones, or a list; 0 is the initialisation.",
    )
    signals: tuple[str | Callable[..., Any], ...] = Field(
        DEFAULT_SIGNALS,
        description="Signals computed from the outputs, one value per sample, by name or "
        "'package.module:name' of a function (logits, labels) -> values.",
    )
    views: tuple[str, ...] = Field(
        ("identity",),
        description="Fixed transforms under which images are evaluated: 'identity' first, then "
        "'flip', 'shift:DY,DX' or 'flip+shift:DY,DX'.",
    )
    logits: bool = Field(False, description="Whether the whole outputs are kept.")
    keep: Literal["none", "final", "all"] = Field(
        "final", description="Checkpoints whose weights are kept."
    )
    curvature: EstimatorName | None = Field(
        None,
        description="Estimator of the curvature of the loss around each sample, measured at "
        "checkpoints; it costs time at each.",
    )
    curvature_options: dict[str, Any] = Field({}, description="Options of that estimator.")
    curvature_checkpoints: tuple[float, ...] | None = Field(
        None, description="Epochs at which curvature is measured; all checkpoints by default."
    )
    layers: bool | tuple[str, ...] = Field(
        False,
        description="Whether layers are probed at checkpoints: every block, or patterns of names.",
    )
    layer_options: dict[str, Any] = Field(
        {},
        description="Options of the layer probe: samples, columns, spectrum, seed, batch, jacobian.",
    )
    noise: float | None = Field(
        None,
        gt=0,
        le=1e30,
        allow_inf_nan=False,
        description="Of a regression, the standard deviation of the noise that its likelihood assumes, "
        "in units of the target; by default that of the residuals of samples that a run was not "
        "trained on.",
    )
    tokens: bool = Field(
        True,
        description="Of the task language, whether the signals of every token are kept beside those of "
        "its document.",
    )
    extra: tuple[Any, ...] = Field(
        (), exclude=True, description="Further signals that need the model; from Python alone."
    )

    _task: str = pydantic.PrivateAttr(default="classification")

    def for_task(self, name: str) -> Record:
        """The same with the signals that a task has where none were chosen.

        Raises InputError for chosen ones that it refuses, and for `noise` of another task than
        regression.
        """
        kind = task(name)
        if self.noise is not None and name != "regression":
            raise InputError(f"record.noise: expected with the task regression alone, got {name}")
        if name == "language":
            if self.logits or len(self.views) > 1:
                field, got = ("logits", "true") if self.logits else ("views", list(self.views))
                raise InputError(
                    f"record.{field}: expected not to be set with the task language, whose answers are "
                    f"kept token by token, got {got}; leave it out"
                )
        elif not self.tokens:
            raise InputError(f"record.tokens: expected with the task language alone, got {name}")
        chosen = self.signals
        if chosen in (DEFAULT_SIGNALS, EARLIER_SIGNALS):
            chosen = kind.defined(chosen)
        for signal in chosen:
            if isinstance(signal, str):
                kind.refuse(signal)
        other: Record = self.model_copy(update={"signals": chosen})
        other._task = name
        return other

    @pydantic.field_validator("signals", "views")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("expected at least one, each once")
        return value

    @pydantic.field_validator("extra")
    @classmethod
    def _measures(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not all(callable(getattr(e, "measure", None)) for e in value):
            raise ValueError("expected signals with a method `measure`; they are set from Python")
        return value

    def times(self, epochs: int) -> tuple[float, ...]:
        """The checkpoints of a training of so many epochs, ascending."""
        return checkpoints(self.checkpoints, epochs)

    def measured(self, times: Sequence[float]) -> tuple[ExtraSignal, ...]:
        """The signals that need the model itself: curvature, layers, and those of `extra`.

        times: the checkpoints (epochs), of which `curvature_checkpoints` must be some.
        """
        for switch, options, name in (
            (self.curvature, self.curvature_options, "curvature"),
            (self.curvature, self.curvature_checkpoints, "curvature"),
            (self.layers, self.layer_options, "layers"),
        ):
            if options and not switch:
                raise InputError(
                    f"record.{name}: expected to be set when its options are, got none"
                )
        own = [self._curvature(times)] if self.curvature is not None else []
        probes = [self._layers()] if self.layers else []
        made = [_made(kind) for kind in self._resolved().values() if _measures(kind)]
        return (*own, *probes, *made, *self.extra)

    def rules(self) -> dict[str, SignalRule]:
        """The signals of the outputs: the name that each is stored under -> its rule."""
        return dict(named(s, task(self._task).rules) for s in self.of_outputs())

    def of_tokens(self) -> dict[str, str]:
        """The signals of tokens that are kept, by the type in which they are."""
        return dict(TOKEN_SIGNALS) if self._task == "language" and self.tokens else {}

    def of_outputs(self) -> tuple[str | Callable[..., Any], ...]:
        """The entries of `signals` that read outputs alone, as a Recorder takes them."""
        return tuple(s for s, found in self._resolved().items() if not _measures(found))

    def as_begun(self, there: Sequence[Any] | None, task_name: str) -> Record:
        """The same for a folder whose runs were begun with the signals `there`, as its key names them.

        Where none were chosen, a folder that was begun with the defaults of before keeps those: its
        runs all hold the same.

        >>> Record().as_begun(["loss"], "soft-labels").for_task("soft-labels").signals
        ('loss',)
        >>> Record().as_begun(None, "soft-labels").for_task("soft-labels").signals
        ('loss', 'entropy')
        """
        earlier = list(task(task_name).defined(EARLIER_SIGNALS))
        if "signals" in self.model_fields_set or there is None or list(there) != earlier:
            return self
        kept: Record = self.changed(signals=EARLIER_SIGNALS)
        return kept

    def _resolved(self) -> dict[str | Callable[..., Any], Any]:
        """What every entry of `signals` names: a rule, or a class that measures the model."""
        found: dict[str | Callable[..., Any], Any] = {}
        known = task(self._task).rules
        for s in self.signals:
            found[s] = (
                resolve(
                    "signal",
                    s,
                    known,
                    accepts=callable,
                    field="record.signals",
                    expected="a function of logits and labels, or a class that measures a model",
                )
                if isinstance(s, str)
                else s
            )
        return found

    def _curvature(self, times: Sequence[float]) -> ExtraSignal:
        from seepage.curvature import CurvatureSignal
        from seepage.curvature.estimate import estimator

        assert self.curvature is not None
        wanted = self.curvature_checkpoints
        for epoch in wanted or ():
            if not any(abs(epoch - t) < 1e-9 for t in times):
                raise InputError(
                    f"record.curvature_checkpoints: expected some of the checkpoints "
                    f"({', '.join(f'{t:g}' for t in times)}), got {epoch:g}"
                )
        return CurvatureSignal(
            estimator(self.curvature, self.curvature_options), checkpoints=wanted
        )

    def _layers(self) -> ExtraSignal:
        from seepage.layers import DegreesOfFreedom, LayerSignal

        options = dict(self.layer_options)
        for option in options:
            if option not in _LAYER_OPTIONS:
                raise InputError(
                    f"record.layer_options.{option}: {nearest(option, _LAYER_OPTIONS)}"
                )
        if not options.pop("jacobian", True):
            # Without it a probe costs one forward pass.
            options["indicators"] = (DegreesOfFreedom(),)
            options.setdefault(
                "columns", ("k95", "k99", "erank", "participation", "ridge_df", "pooled_k95")
            )
        patterns = None if self.layers is True else list(self.layers)  # type: ignore[arg-type]
        try:
            return LayerSignal(patterns, **options)
        except TypeError as error:
            raise InputError(f"record.layer_options: {error}") from None


def _measures(found: Any) -> bool:
    return isinstance(found, type) and callable(getattr(found, "measure", None))


def _made(kind: type) -> ExtraSignal:
    try:
        made: ExtraSignal = kind()
    except Exception as e:
        raise InputError(
            f"record.signals: expected {kind.__name__} to be made without arguments, got "
            f"{type(e).__name__}: {e}; give it defaults, or pass it as `extra` in Python"
        ) from None
    return made
