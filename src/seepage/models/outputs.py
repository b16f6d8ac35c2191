"""What a network must return: logits, one row per sample and one column per class.

Signals are read from logits, so everything else is told apart here and refused in one line: another
kind of object, another shape, values that are not finite before anything was trained, and
probabilities, whose softmax is another distribution than the one that the network states.

Log-probabilities are logits: the softmax of log p is p. More outputs than classes are accepted: the
softmax runs over all of them, labels take the first, and −∞ for the others masks them.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seepage.errors import InputError, SeepageError
from seepage.models.token_outputs import check_token_answers
from seepage.short_repr import of_type
from seepage.signals.tasks import Classification, Task, two_logits

__all__ = [
    "Beyond",
    "ForwardError",
    "Simplex",
    "bounded",
    "check_answers",
    "check_finite",
    "check_logits",
    "check_trained",
    "moved",
    "not_logits",
    "one_unit",
    "refuse_sigmoid",
    "try_network",
    "try_outputs",
]

_LOOK = 32
_BY_CLASS = Classification()
_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parents[1])


def check_logits(
    outputs: object, inputs: torch.Tensor, classes: int | None = None, what: str = "model"
) -> torch.Tensor:
    """`outputs` if they can be logits of `inputs` (B, ...) for at least `classes` classes: (B, K).

    Kind and shape alone, so that it may be asked of every batch. classes: at least two where they
    are not known. what: who returned them, in messages. Of two classes one unit is taken
    as the logit z of the second, and (0, z) returned. Raises InputError that names what came and the
    remedy.

    >>> check_logits((torch.zeros(2, 3), None), torch.zeros(2, 5), 3)
    Traceback (most recent call last):
        ...
    seepage.errors.InputError: model: expected logits of shape (2, 3), one per sample and class, \
got a tuple of (2, 3) and NoneType; return the logits alone, a wrapper whose forward returns \
net(x)[0] does
    """
    count = len(inputs)
    least = 2 if classes is None else max(classes, 2)
    shown = "classes" if classes is None else classes
    expected = f"{what}: expected logits of shape ({count}, {shown}), one per sample and class"
    if not isinstance(outputs, torch.Tensor):
        raise InputError(f"{expected}, got {_kind(outputs)}; {_remedy(outputs)}")
    shape = tuple(outputs.shape)
    if not outputs.is_floating_point() or outputs.layout != torch.strided:
        layout = "" if outputs.layout == torch.strided else f" in layout {outputs.layout}"
        raise InputError(
            f"{expected}, got {outputs.dtype}{layout} of shape {shape}; return dense floating-point "
            "logits, not the number of a class"
        )
    if one_unit(outputs, count):
        if classes == 2:
            outputs, shape = two_logits(outputs), (count, 2)
        elif count > 1:
            raise InputError(
                f"{expected}, got shape {shape}, one output unit; one logit is enough for two classes "
                "alone, and for two return (0, z), torch.nn.functional.pad(z.reshape(-1, 1), (1, 0))"
            )
    if len(shape) != 2:
        raise InputError(
            f"{expected}, got shape {shape}; return one row per sample: take one token or the mean "
            "over positions, or flatten axes of length one"
        )
    if shape[0] != count:
        raise InputError(
            f"{expected}, got shape {shape}: the samples of a batch are not kept; return one row "
            "per sample"
        )
    if shape[1] < least:
        raise InputError(
            f"{expected}, got shape {shape}; give the network an output for each of the {least} "
            "classes"
        )
    if outputs.device != inputs.device and "meta" not in (outputs.device.type, inputs.device.type):
        raise InputError(
            f"{expected}, got them on {outputs.device} for inputs on {inputs.device}; return them "
            "where the inputs are"
        )
    return outputs


def check_answers(
    outputs: object, inputs: torch.Tensor, classes: int, task: Task, what: str = "model"
) -> torch.Tensor:
    """`outputs` if a task can read them: logits as of `check_logits`, or answers of its own.

    "multi-label": logits (B, L), one per label. "regression": one number per sample, (B,). "language":
    logits (B, L, V) of every token.
    """
    if task.name == "language":
        return check_token_answers(outputs, inputs, classes)
    if task.name not in ("multi-label", "regression"):
        return check_logits(outputs, inputs, classes, what)
    n = len(inputs)
    one = task.name == "regression" or classes == 1
    expected = f"{what}: expected answers of shape ({n}, {classes}) for the task {task.name}"
    if not isinstance(outputs, torch.Tensor):
        raise InputError(f"{expected}, got {_kind(outputs)}; {_remedy(outputs)}")
    shape = tuple(outputs.shape)
    if not outputs.is_floating_point():
        raise InputError(f"{expected}, got {outputs.dtype}; return floating-point numbers")
    if shape != (n, classes) and not (one and shape == (n,)):
        raise InputError(
            f"{expected}, got shape {shape}; return one row per sample and one column for each "
            + ("target" if one else "label")
        )
    return outputs.reshape(n) if task.name == "regression" else outputs.reshape(n, classes)


def one_unit(outputs: torch.Tensor, samples: int) -> bool:
    """Whether these are answers of a single output unit: (B,) or (B, 1)."""
    shape = tuple(outputs.shape)
    return shape in ((samples, 1), (samples,))


def check_finite(logits: torch.Tensor, classes: int, what: str = "model") -> None:
    """Raises InputError unless logits (B, K) are finite; −∞ may mask outputs beyond the classes."""
    fine = logits.isfinite()
    fine[:, classes:] |= logits[:, classes:] == -torch.inf
    if not bool(fine.all()):
        row, column = (int(v) for v in (~fine).nonzero()[0])
        raise InputError(
            f"{what}: expected finite logits before training, got {float(logits[row, column]):g} in "
            f"output {column} of {int((~fine.all(1)).sum())} of {len(logits)} samples; correct the "
            "initialisation or how inputs are scaled"
        )


class Beyond:
    """How many answers name an output that stands for no class, as features mistaken for logits do.

    classes K: outputs from K on stand for none. More of them are accepted, and before training the
    largest may be any; a network that has learnt the K classes answers one of them.

    >>> beyond = Beyond(2)
    >>> beyond.see(torch.tensor([[0.0, 1.0, 4.0], [3.0, 1.0, 4.0]]), torch.tensor([1, 0]))
    >>> beyond.share, beyond.right
    (1.0, 0)
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.beyond = self.right = self.seen = self.outputs = 0

    def see(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """One more batch (B, O) of answers, and their labels (B,)."""
        if logits.ndim != 2 or logits.shape[1] <= max(self.classes, 2) or not len(logits):
            return
        answers = logits.detach().argmax(1)
        self.outputs = logits.shape[1]
        self.seen += len(answers)
        self.beyond += int((answers >= self.classes).sum())
        self.right += int((answers == labels).sum())

    @property
    def share(self) -> float:
        """Of answers beyond the classes; 0 where there are no more outputs than classes."""
        return self.beyond / self.seen if self.seen else 0.0

    def check(self, epoch: float) -> None:
        """Raises InputError where most answers of a trained network are no class."""
        if self.share > 0.5:
            raise InputError(
                f"model, at epoch {epoch:g}: expected logits of {self.classes} classes, got {self.outputs} "
                f"outputs of which the largest is none of the first {self.classes} for {self.share:.1%} of "
                "the samples that were asked about, as of features; record the part that gives logits "
                "(network= in Lightning, what recorder.start gets elsewhere), or mask outputs that are no "
                "class with −∞"
            )


class Simplex:
    """Whether everything that a network returned is probabilities: rows in [0, 1] that sum to one.

    A sum of one is one equation per row. Logits, whose head is linear in features that vary, meet
    it at each of several unlike rows only by an accident of probability zero, to rounding about
    1e-3 per row; so one row beside it settles that they are logits, and rows that meet it and are
    not all alike settle that they are probabilities. Rows that are all alike (a head that starts
    from zero, say) settle nothing: `found` is then False and a later look decides.

    >>> probabilities = Simplex()
    >>> probabilities.see(torch.tensor([[0.2, 0.8], [0.6, 0.4]]))
    >>> probabilities.found
    True
    """

    def __init__(self) -> None:
        self._possible = True
        self._first: torch.Tensor | None = None
        self._varied = False

    def see(self, logits: torch.Tensor) -> None:
        """One more batch (B, K) of what the network returned."""
        if not self._possible or not len(logits):
            return
        within = _within(logits)
        p = logits.detach().double()
        inside = (p >= -within) & (p <= 1 + within)
        self._possible = bool((inside.all(1) & ((p.sum(1) - 1).abs() <= within)).all())
        if self._possible:
            first = p[:1] if self._first is None else self._first
            self._first = first
            self._varied = self._varied or bool(((p - first).abs() > within).any())

    @property
    def possible(self) -> bool:
        """Whether no row was seen that cannot be probabilities."""
        return self._possible and self._first is not None

    @property
    def found(self) -> bool:
        """Whether it is settled that they are probabilities."""
        return self.possible and self._varied


def not_logits(count: int, what: str = "model") -> InputError:
    """What to say of probabilities in `count` rows."""
    return InputError(
        f"{what}: expected logits, got probabilities: all {count} rows that were looked at lie in "
        "[0, 1] and sum to one; return what enters the softmax, or its logarithm"
    )


class ForwardError(InputError):
    """A network raised on inputs of the pool's shape."""


@contextmanager
def try_outputs(
    inputs: torch.Tensor, what: str = "model", remedy: str | None = None
) -> Iterator[None]:
    """Within it, what a network raises on `inputs` is told in one line that names their shape.

    remedy: what else may help, before what always does.
    """
    try:
        yield
    except (SeepageError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as e:
        essence = " ".join(str(e).split())
        essence = essence if len(essence) <= 200 else f"{essence[:199]}…"
        raise ForwardError(
            f"{what}: expected a forward pass on inputs of shape {tuple(inputs.shape)}, "
            f"{inputs.dtype}, got {type(e).__name__}: {essence}{_place(e)}; make it for inputs of "
            f"shape {tuple(inputs.shape[1:])}, or correct its forward"
        ) from e


def try_network(
    make: Callable[[], nn.Module],
    inputs: torch.Tensor,
    classes: int,
    *,
    batch: int = _LOOK,
    exact: bool = False,
    task: Task = _BY_CLASS,
    what: str = "model",
) -> int:
    """One look at a network before it is trained; returns the number of its outputs.

    make: builds a network of the kind, from torch's current stream. inputs (B, ...): a few, as it
    will be given them; the first `batch` are also passed in training mode, where some networks
    return something else. exact: whether outputs beyond the classes are refused too. task: what answers are. Torch's
    streams are what they were afterwards, and so are weights, buffers and modes of the network,
    should `make` hand out the same one each time.

    Where all outputs lie in [0, 1], the weights are moved at random and inputs drawn that are ten
    times as large: what a softmax or a sigmoid returns stays there, logits do not.

    Raises InputError as `check_logits` and `check_finite` do; for probabilities, which sum to one
    (a softmax) or not (sigmoids); for a forward pass that raises; and for one that no gradient
    passes through.

    >>> try_network(lambda: nn.Linear(4, 3), torch.randn(8, 4), 3)
    3
    """
    cuda = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(0)
        network = make()
        if inputs.ndim == 4:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network = network.to(inputs.device)
        with _restored(network):
            network.eval()
            with torch.no_grad():
                logits = _forward(network, inputs, classes, what, task)
            check_finite(logits.reshape(len(inputs), -1), classes, what)
            if exact and logits.shape[-1] != classes:
                raise InputError(
                    f"{what}: expected one output for each of the {classes} classes, got "
                    f"{logits.shape[-1]}; defences are defined on the classes alone"
                )
            if task.name not in ("regression", "language"):
                _refuse_probabilities(network, inputs, logits, classes, what, task)
            network.train()
            part = inputs[: max(1, min(batch, len(inputs)))]
            trained = _forward(network, part, classes, f"{what}, in training mode", task)
            if not trained.requires_grad:
                raise InputError(
                    f"{what}: expected logits that a gradient passes through, got none in training "
                    "mode; unfreeze parameters, take detach() and no_grad() out of forward"
                )
            return int(logits.shape[-1]) if logits.ndim > 1 else 1


def check_trained(
    network: nn.Module, inputs: torch.Tensor, classes: int, task: Task = _BY_CLASS
) -> None:
    """Raises InputError unless a trained network, in eval mode as it is, returns logits.

    inputs (B, ...): a few, as it was trained on. task: what answers are; probabilities are told from
    logits of classes alone. Torch's streams are what they were afterwards.
    """
    cuda = [inputs.device] if inputs.device.type == "cuda" else []
    seen = Simplex()
    with torch.random.fork_rng(devices=cuda), torch.no_grad(), _restored(network):
        logits = _forward(network, inputs[:_LOOK], classes, "model", task)
    if task.classes:
        seen.see(logits)
    if seen.found:
        raise not_logits(len(inputs[:_LOOK]))


def refuse_sigmoid(
    network: nn.Module, inputs: torch.Tensor, logits: torch.Tensor, what: str = "model"
) -> None:
    """Raises InputError where one unit answers probabilities: [0, 1] whatever the weights.

    logits (B, 2): its answers to `inputs`, (0, z). Looked at in a copy of the network, in eval mode;
    streams are what they were. A network that cannot be copied is taken as it is.
    """
    if not bounded([logits]):
        return
    try:
        copied = copy.deepcopy(network)
    except Exception:  # whatever parts of a user's own raise
        return
    cuda = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(0)
        _refuse_probabilities(copied.eval(), inputs, logits, 2, what)


def _forward(
    network: nn.Module,
    inputs: torch.Tensor,
    classes: int,
    what: str,
    task: Task = _BY_CLASS,
) -> torch.Tensor:
    with try_outputs(inputs, what):
        # A copy: a network may write into its inputs.
        outputs = network(inputs.clone())
    return check_answers(outputs, inputs, classes, task, what)


def moved(network: nn.Module) -> None:
    """Move every weight at random, by about its layer's size, from torch's current stream."""
    with torch.no_grad():
        for p in network.parameters():
            if p.is_floating_point():
                p.add_(torch.randn_like(p) * (p.abs().mean() + 0.1))


def _refuse_probabilities(
    network: nn.Module,
    inputs: torch.Tensor,
    logits: torch.Tensor,
    classes: int,
    what: str,
    task: Task = _BY_CLASS,
) -> None:
    rows = [logits]
    if not bounded(rows):
        return
    with torch.no_grad():
        moved(network)
        others = (inputs, 10 * torch.randn_like(inputs))
        rows += [_forward(network, x, classes, what, task) for x in others]
    seen = Simplex()
    for batch in rows:
        seen.see(batch)
    if seen.found:
        raise not_logits(sum(map(len, rows)), what)
    if bounded(rows) and any(bool((r != r[:1]).any()) for r in rows):
        raise InputError(
            f"{what}: expected logits, got outputs that lie in [0, 1] whatever the weights, as those "
            "of a sigmoid do; return what enters the sigmoid"
        )


def bounded(rows: Sequence[torch.Tensor]) -> bool:
    """Whether all of these answers lie in [0, 1], to rounding."""
    return all(bool(((r >= -_within(r)) & (r <= 1 + _within(r))).all()) for r in rows)


def _within(rows: torch.Tensor) -> float:
    """How far probabilities may lie beside what they should be: coarse where numbers are."""
    return max(1e-3, 4 * torch.finfo(rows.dtype).eps)


@contextmanager
def _restored(network: nn.Module) -> Iterator[None]:
    held = [(t, t.detach().clone()) for t in (*network.parameters(), *network.buffers())]
    modes = [(m, m.training) for m in network.modules()]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, before in held:
                if not torch.equal(tensor, before):
                    tensor.copy_(before)
        for module, training in modes:
            module.training = training


def _kind(outputs: object) -> str:
    if isinstance(outputs, torch.Tensor):
        return f"{tuple(outputs.shape)}"
    if isinstance(outputs, tuple | list) and type(outputs) in (tuple, list):
        parts = [_kind(o) for o in outputs[:3]]
        more = "" if len(outputs) <= 3 else f" and {len(outputs) - 3} more"
        return f"{of_type(outputs)} of {' and '.join(parts) or 'nothing'}{more}"
    if isinstance(outputs, Mapping):
        keys = ", ".join(repr(k) for k in list(outputs)[:4])
        return f"{of_type(outputs)} with {keys or 'nothing'}"
    return type(outputs).__name__


def _remedy(outputs: Any) -> str:
    if outputs is None:
        return "forward returns nothing: end it with `return` and the logits"
    if isinstance(getattr(outputs, "logits", None), torch.Tensor):
        return "return the logits alone, a wrapper whose forward returns net(x).logits does"
    if isinstance(outputs, Mapping):
        held = [k for k, v in outputs.items() if isinstance(v, torch.Tensor)]
        key = "logits" if "logits" in held or not held else held[0]
        return f"return the logits alone, a wrapper whose forward returns net(x)[{key!r}] does"
    if isinstance(outputs, tuple | list):
        return "return the logits alone, a wrapper whose forward returns net(x)[0] does"
    return "return a torch.Tensor of logits"


def _place(e: BaseException) -> str:
    """Where in the user's own code it was raised; nothing where only libraries' code ran."""
    own = [
        f
        for f in traceback.extract_tb(e.__traceback__)
        if not f.filename.startswith((_TORCH, _HERE)) and "site-packages" not in f.filename
    ]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
