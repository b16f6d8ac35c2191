"""A model is asked about every sample: a network, an estimator, or a function such as a service."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.array_types import AnyArray, Int64Array
from seepage.errors import InputError, SeepageError
from seepage.models.low_rank import passes_by, slow_encoders
from seepage.models.outputs import moved
from seepage.models.wrapped import check_whole, unwrapped
from seepage.remedies import is_pipeline, of_model, reads_tokens
from seepage.short_repr import short_repr
from seepage.signals.tasks import Classification, Task
from seepage.single.cache import AnswerCache
from seepage.single.outputs import Form
from seepage.single.pool import chosen_rows, keys_of

__all__ = ["Answers", "Service", "answers_of", "evaluating", "floating", "kind_of"]

Progress = Callable[[str, int, int], object]

# Probabilities that differ by more between two identical calls are said to differ.
_SAME = 1e-5
_TWICE = 8
_BY_CLASS = Classification()


@dataclass(frozen=True)
class Service:
    """How a function is asked.

    batch: samples per call. timeout: seconds after which an answer is late, None waits. retries:
    calls that are repeated after an exception or a late answer, with `wait` seconds before the
    first repetition and twice as many before each further one. cache: a file that keeps every
    answer by the content of its sample; with it an interrupted audit goes on where it ended.
    """

    batch: int = 64
    timeout: float | None = None
    retries: int = 2
    wait: float = 0.5
    cache: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.batch < 1 or self.retries < 0 or self.wait < 0:
            raise InputError(
                f"service: expected a batch from 1, retries and wait from 0, got {self.batch}, "
                f"{self.retries} and {self.wait:g}"
            )
        if self.timeout is not None and not self.timeout > 0:
            raise InputError(f"timeout: expected seconds above 0, got {self.timeout:g}")


@short_repr
@dataclass(frozen=True, eq=False)
class Answers:
    """Rows of outputs (N, K) as they came, and what they are; classes: the model's names.

    queries: samples that were asked about, repetitions among them; cached: answers from the cache.
    """

    values: AnyArray
    form: Form
    classes: AnyArray | None = None
    queries: int = 0
    cached: int = 0
    notes: tuple[str, ...] = ()


def kind_of(model: Any, task: Task = _BY_CLASS) -> str:
    """ "network", "estimator" or "function"; InputError for anything else."""
    if isinstance(model, type):
        raise InputError(
            f"model: expected a model, got the class {model.__name__}; {of_model(model)}"
        )
    if isinstance(model, nn.Module):
        if reads_tokens(model):
            raise InputError(
                f"model: expected a network of inputs alone, got {type(model).__name__} of Transformers, "
                "which takes tokens and a mask of what is padding; pass "
                "seepage.transformers.Logits(model), and texts as seepage.transformers.pool(input_ids, "
                "labels)"
            )
        return "network"
    if task.name == "regression" and hasattr(model, "fit") and hasattr(model, "predict"):
        if hasattr(model, "predict_proba"):
            raise InputError(
                f"model: expected a regressor with the task regression, got {type(model).__name__}, "
                "which has predict_proba; say task='classification'"
            )
        return "estimator"
    if hasattr(model, "predict_proba"):
        return "estimator"
    if hasattr(model, "fit") and hasattr(model, "predict"):
        raise InputError(
            f"model: expected an estimator with predict_proba with the task {task.name}, got "
            f"{type(model).__name__} without it; fit it with probability estimates, or wrap it in "
            "sklearn.calibration.CalibratedClassifierCV; of a regressor say task='regression'"
        )
    if is_pipeline(model):
        raise InputError(
            f"model: expected outputs as rows of numbers, got {type(model).__name__} of Transformers, which "
            "answers with names and one score; pass seepage.transformers.Logits(pipeline.model), and "
            "texts as seepage.transformers.pool(pipeline.tokenizer(texts)['input_ids'], labels)"
        )
    if callable(model):
        return "function"
    raise InputError(
        "model: expected a torch.nn.Module, an estimator with predict_proba, a function from inputs "
        f"to probabilities, or recorded outputs, got {type(model).__name__}; {of_model(model)}"
    )


def answers_of(
    model: Any,
    inputs: Any,
    samples: int,
    *,
    logits: bool | None = None,
    task: Task = _BY_CLASS,
    service: Service = Service(),
    accept_changes: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Answers:
    """Ask the model about all `samples` inputs, in batches, and the first few twice.

    logits: whether outputs are logits; by default those of a network are, those of others are not.
    task: what is asked; of a regression outputs are predictions, and an estimator's `predict` is. A network is asked in eval mode without gradients and is given back in the mode it was in.
    accept_changes: judge a model whose outputs change between two identical calls, by the first.

    Raises InputError for outputs that change, a wrong number of rows, non-finite outputs, and, of a
    function, exceptions and late answers after the last repetition.
    """
    kind = kind_of(model, task)
    if task.name == "regression" and logits is not None:
        raise InputError(
            "logits: expected with the tasks of classes, labels and distributions alone, got it with "
            "regression; leave it out"
        )
    if inputs is None:
        raise InputError(
            "members, others: expected pairs (inputs, labels), got no inputs to ask the model "
            "about; pass them, or recorded outputs in the place of the model"
        )
    if kind == "network":
        call, notes = _network(model)
        with evaluating(model) as changed:
            values = _asked(call, inputs, samples, service.batch, progress)
            again = _rows_of(call(chosen_rows(inputs, _first(samples))), min(_TWICE, samples))
        if changed:
            notes += (
                "model: was in training mode; it was asked in eval mode and is in training mode again",
            )
        form, notes = _network_outputs(model, inputs, values, logits, task, notes)
        notes += _stable(values[: len(again)], again, form, task, accept_changes)
        return Answers(values, form, None, samples + len(again), 0, notes)
    if kind == "estimator":
        method = "predict" if task.name == "regression" else "predict_proba"
        ask = getattr(model, method)
        if task.name == "multi-label":
            ask = _of_each_label(model)
        try:
            values = _asked(ask, inputs, samples, 1 << 20, progress)
        except SeepageError:
            raise
        except Exception as error:
            raise InputError(
                f"model: {type(model).__name__}.{method} raised {_said(error)}; fit it on "
                "inputs of this kind first"
            ) from error
        again = _rows_of(ask(chosen_rows(inputs, _first(samples))), None)
        notes = _held_out(model)
        form = "predictions" if task.name == "regression" else "probabilities"
        notes += _stable(values[: len(again)], again, form, task, accept_changes)
        classes = getattr(model, "classes_", None) if task.classes else None
        return Answers(values, form, classes, samples + len(again), 0, notes)
    form = "logits" if logits else "probabilities"
    form = "predictions" if task.name == "regression" else form
    return _of_service(model, inputs, samples, form, task, service, accept_changes, progress)


def _of_each_label(model: Any) -> Callable[[Any], Any]:
    """Probabilities that each label is 1, (n, L), of estimators that give them in either form.

    Forests and neighbours of scikit-learn answer one array of two columns for each label.
    """

    def ask(batch: Any) -> Any:
        answer = model.predict_proba(batch)
        if not isinstance(answer, list):
            return answer
        columns = []
        for p, known in zip(answer, model.classes_, strict=True):
            at = np.flatnonzero(np.asarray(known) == 1)
            columns.append(np.asarray(p)[:, at[0]] if at.size else np.zeros(len(p)))
        return np.stack(columns, axis=1)

    return ask


def _held_out(model: Any) -> tuple[str, ...]:
    """A note where the estimator kept part of what it was given to itself."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    stops = getattr(last, "do_early_stopping_", None)
    if stops is None:
        stops = getattr(last, "early_stopping", None) is True
    share = getattr(last, "validation_fraction", None)
    told = getattr(last, "get_all_params", None)  # of CatBoost
    apart = told().get("eval_fraction") if callable(told) else None
    stops, share = (True, float(apart)) if apart else (stops, share)
    if not stops or not share:
        return _watched(last)
    held = f"{share:.0%}" if isinstance(share, float) and share < 1 else f"{share}"
    return (
        f"model: {type(last).__name__} held out {held} of its samples for early stopping: it was not "
        "fitted to some of the members, which makes them look like others",
    )


def _watched(last: Any) -> tuple[str, ...]:
    """A note where samples that were passed to `fit` as eval_set decided when boosting ended."""
    try:
        held = getattr(last, "evals_result_", None) or getattr(last, "evals_result", None)
        held = held() if callable(held) else held
        best = getattr(last, "best_iteration", None)
        best = getattr(last, "best_iteration_", None) if best is None else best
    except Exception:  # what was fitted without one raises, each library its own
        return ()
    if not held or not best:
        return ()
    return (
        f"model: {type(last).__name__} stopped at round {best} by an eval_set that was passed to its fit: "
        "whoever was in it took part in the training and is neither a plain member nor an other; leave "
        "them out of both",
    )


def _of_service(
    model: Callable[[Any], Any],
    inputs: Any,
    samples: int,
    form: Form,
    task: Task,
    service: Service,
    accept_changes: bool,
    progress: Progress,
) -> Answers:
    cache = None if service.cache is None else AnswerCache(service.cache)
    keys = [] if cache is None else keys_of(inputs, samples)
    rows: list[AnyArray | None] = (
        [None] * samples if cache is None else [cache.get(k) for k in keys]
    )
    known = np.array([i for i, r in enumerate(rows) if r is not None], dtype=np.int64)
    wanted = np.array([i for i, r in enumerate(rows) if r is None], dtype=np.int64)
    # What is kept may be of a model that has changed since.
    checked = (known if known.size else wanted)[:_TWICE]
    queries = 0

    def ask(at: Int64Array) -> AnyArray:
        nonlocal queries
        batch = chosen_rows(inputs, at)
        queries += len(at)
        return _rows_of(_patiently(model, batch, service), len(at))

    if known.size:
        kept = np.stack([np.asarray(rows[i]) for i in checked.tolist()])
        fresh = ask(checked)
        away = np.inf if fresh.shape != kept.shape else _difference(kept, fresh, form, task)
        if away > _SAME and not accept_changes:
            raise InputError(
                f"{service.cache}: expected answers of this model, got ones that differ by up to "
                f"{away:.2g} from what it answers now; name another cache, or pass "
                "accept_changes=True (--accept-changes) where its answers are random"
            )
    done = samples - len(wanted)
    for start in range(0, len(wanted), service.batch):
        progress("asking the model", done, samples)
        at = wanted[start : start + service.batch]
        answers = ask(at)
        if cache is not None:
            cache.add([keys[i] for i in at.tolist()], answers)
        for i, answer in zip(at.tolist(), answers, strict=True):
            rows[i] = answer
        done += len(at)
    progress("asking the model", samples, samples)
    widths = {np.asarray(r).shape for r in rows}
    if len(widths) > 1:
        raise InputError(
            f"model: expected answers of one width, got {sorted(widths)}; return a value per class"
        )
    values = np.stack([np.asarray(r) for r in rows])
    notes: tuple[str, ...] = ()
    if not known.size:
        notes = _stable(values[checked], ask(checked), form, task, accept_changes)
    return Answers(values, form, None, queries, len(known), notes)


def _patiently(model: Callable[[Any], Any], batch: Any, service: Service) -> Any:
    """The model's answer to a batch, repeated where it raised or was late."""
    why = ""
    for attempt in range(service.retries + 1):
        if attempt:
            time.sleep(service.wait * 2 ** (attempt - 1))
        try:
            return _in_time(model, batch, service.timeout)
        except (KeyboardInterrupt, SeepageError):
            raise
        except _Late:
            why = f"no answer within {service.timeout:g} s"
        except Exception as error:
            why = _said(error)
    raise InputError(
        f"model: expected an answer to a batch of {len(batch):,}, got {why} at each of "
        f"{service.retries + 1} calls; raise timeout or retries, or lower batch"
        + ("" if service.cache is None else f"; answers so far are in {service.cache}")
    )


class _Late(Exception):
    """No answer in time."""


def _in_time(model: Callable[[Any], Any], batch: Any, timeout: float | None) -> Any:
    if timeout is None:
        return model(batch)
    got: list[Any] = []
    failed: list[BaseException] = []

    def call() -> None:
        try:
            got.append(model(batch))
        except BaseException as error:
            failed.append(error)

    # A thread that does not keep the process alive when its answer never comes.
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(min(timeout, threading.TIMEOUT_MAX))
    if failed:
        raise failed[0]
    if not got:
        raise _Late
    return got[0]


def _network(model: nn.Module) -> tuple[Callable[[Any], Any], tuple[str, ...]]:
    """The network as a function of a batch of inputs, on its own device."""
    check_whole(unwrapped(model))
    first = next((p for p in model.parameters()), None)
    device = torch.device("cpu") if first is None else first.device

    def call(batch: Any) -> Any:
        if isinstance(batch, list):
            raise InputError(
                "inputs: expected arrays or tensors for a network, got a list; pass a function from "
                "inputs to probabilities that prepares them"
            )
        x = floating(np.asarray(batch), model)
        try:
            with torch.no_grad():
                return model(x.to(device))
        except SeepageError:
            raise
        except NotImplementedError as error:
            raise InputError(
                f"model: {type(model).__name__} raised {_said(error)}; a module without a forward of its own, "
                "as some of Lightning are, is no network: pass the part that gives logits, such as "
                "module.net"
            ) from error
        except Exception as error:
            raise InputError(
                f"model: {type(model).__name__} raised {_said(error)} on inputs {tuple(x.shape)} of "
                f"{x.dtype}; pass inputs as it takes them in training, prepared alike"
            ) from error

    return call, passes_by(model)


def floating(inputs: AnyArray, model: nn.Module) -> torch.Tensor:
    """Inputs as the network takes numbers: in its own type; whole numbers with a sign as they are.

    Those may be tokens; whole numbers without one are pixels, 0 to 255 unchanged.
    """
    if inputs.dtype.kind not in "fiub":
        raise InputError(
            f"inputs: expected numbers for a network, got {inputs.dtype}; pass a function from inputs "
            "to probabilities that prepares them"
        )
    first = next((p for p in model.parameters()), None)
    wide = inputs.dtype.kind == "u" or inputs.dtype.itemsize > 8
    x = torch.as_tensor(inputs.astype(np.float64) if wide else inputs)
    if x.dtype.is_floating_point or x.dtype == torch.bool:
        x = x.to(torch.float32 if first is None else first.dtype)
    return x


@contextmanager
def evaluating(model: nn.Module) -> Iterator[bool]:
    """Eval mode throughout, adapters never passed by; every part has its own mode again afterwards.

    Yields whether a part was in training mode.
    """
    before = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with slow_encoders(model):
            yield any(mode for _, mode in before)
    finally:
        for m, mode in before:
            m.training = mode


def _network_outputs(
    model: nn.Module,
    inputs: Any,
    values: AnyArray,
    logits: bool | None,
    task: Task,
    notes: tuple[str, ...],
) -> tuple[Form, tuple[str, ...]]:
    """What a network's outputs are; those that cannot be logits are taken for what they are."""
    if task.name == "regression":
        return "predictions", notes
    each = task.name == "multi-label" or values.ndim == 1 or values.shape[1] == 1
    if logits is None and each and _ends_in_sigmoids(model, inputs, values):
        text = (
            "model: its outputs lie in [0, 1] whatever the weights, as a sigmoid's do, so they were "
            "taken as probabilities; what enters the sigmoid would be exact where these round to 1"
        )
        return "probabilities", (*notes, text)
    if task.name == "multi-label":
        return "logits" if logits is None or logits else "probabilities", notes
    wide = values.ndim == 2 and values.shape[1] > 1
    sums = values.astype(np.float64).sum(axis=-1) if wide else np.zeros(1)
    probable = bool(wide and (values >= 0).all() and (np.abs(sums - 1) < 1e-3).all())
    if logits is None and probable:
        text = (
            "model: every row of its outputs is from 0 and sums to 1, so they were taken as "
            "probabilities; its logits would be exact where these round to 1"
        )
        return "probabilities", (*notes, text)
    return "logits" if logits is None or logits else "probabilities", notes


def _ends_in_sigmoids(model: nn.Module, inputs: Any, values: AnyArray) -> bool:
    """Whether outputs lie in [0, 1] with other weights too, looked at in a copy of the network."""
    if not bool(((values >= 0) & (values <= 1)).all()):
        return False
    try:
        copied = copy.deepcopy(model)
    except Exception:  # whatever parts of a user's own raise
        return False
    devices = [p.device for p in copied.parameters() if p.device.type == "cuda"][:1]
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(0)
        call, _ = _network(copied.eval())
        first = chosen_rows(inputs, _first(len(values)))
        for _ in range(8):
            moved(copied)
            rows = _rows_of(call(first), None)
            if not bool(((rows >= 0) & (rows <= 1)).all()):
                return False
    return True


def _asked(
    call: Callable[[Any], Any], inputs: Any, samples: int, batch: int, progress: Progress
) -> AnyArray:
    parts = []
    for start in range(0, samples, batch):
        progress("asking the model", start, samples)
        at = np.arange(start, min(start + batch, samples))
        parts.append(_rows_of(call(chosen_rows(inputs, at)), len(at)))
    progress("asking the model", samples, samples)
    return np.concatenate(parts)


def _first(samples: int) -> Int64Array:
    return np.arange(min(_TWICE, samples), dtype=np.int64)


def _rows_of(answer: Any, expected: int | None) -> AnyArray:
    """Rows of outputs from whatever a model returns: (n, K), or (n,) for one value each."""
    if isinstance(answer, dict) and "logits" in answer:
        answer = answer["logits"]
    elif hasattr(answer, "logits"):
        answer = answer.logits
    elif isinstance(answer, tuple) and answer and not np.isscalar(answer[0]):
        answer = answer[0]
    if isinstance(answer, torch.Tensor):
        answer = answer.detach().cpu()
        answer = (answer.float() if answer.dtype == torch.bfloat16 else answer).numpy()
    try:
        rows = np.asarray(answer)
    except ValueError:
        rows = np.empty(0, dtype=object)
    if rows.dtype.kind not in "fiub" or rows.ndim not in (1, 2):
        raise InputError(
            f"model: expected an answer of numbers (samples, classes), got "
            f"{type(answer).__name__} of shape {rows.shape}; return one row per sample"
        )
    if expected is not None and len(rows) != expected:
        raise InputError(
            f"model: expected an answer of {expected} rows, one per sample, got {len(rows)}; return "
            "every row in the order of the inputs"
        )
    bad = ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
    if bad.any():
        raise InputError(
            f"model: expected finite outputs, got NaN or infinity for {int(bad.sum())} of {len(rows)} "
            f"samples of a batch, the first at its row {int(bad.argmax())}; mend the model or leave "
            "them out"
        )
    return rows


def _difference(a: AnyArray, b: AnyArray, form: Form, task: Task) -> float:
    """Largest difference of two answers, as probabilities; of predictions as a share of the largest."""
    x, y = (np.asarray(v, dtype=np.float64) for v in (a, b))
    if form == "predictions":
        largest = float(np.abs(x).max(initial=0.0))
        return float(np.abs(x - y).max(initial=0.0)) / (largest if largest > 0 else 1.0)
    if form == "logits" and x.ndim == 2 and x.shape[1] > 1 and task.name != "multi-label":
        from scipy.special import softmax

        x, y = softmax(x, axis=1), softmax(y, axis=1)
    elif form == "logits":
        from scipy.special import expit

        x, y = expit(x), expit(y)
    return float(np.abs(x - y).max(initial=0.0))


def _stable(
    first: AnyArray, again: AnyArray, form: Form, task: Task, accept: bool
) -> tuple[str, ...]:
    away = np.inf if first.shape != again.shape else _difference(first, again, form, task)
    if away <= _SAME:
        return ()
    measure = "of the largest answer" if form == "predictions" else "in probability"
    text = f"two identical calls differ by up to {away:.2g} {measure}"
    if not accept:
        raise InputError(
            f"model: expected the same outputs twice, but {text}; switch dropout and other chance "
            "off, or pass accept_changes=True (--accept-changes) to judge one answer per sample"
        )
    return (f"model: {text}: figures are of one answer per sample, more answers would tell more",)


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
