"""How far a sample is from the decision boundary, by answers of the network alone: HopSkipJump."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from seepage.array_types import Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Access
from seepage.curvature.measured_model import Network, network
from seepage.errors import InputError
from seepage.probes.base import Asked, Probe

__all__ = ["BoundaryDistance", "boundary_distance"]

_NEEDS = (
    "boundary: expected the Adversarial Robustness Toolbox, whose HopSkipJump it runs, found none; "
    "pip install 'seepage[boundary]'"
)
_CANDIDATES = 2000  # samples of another answer among which the nearest is looked for
_FIRST = 50  # questions about the first direction; later ones take more


class _Spent(Exception):
    """As many questions were asked about a sample as may be."""


def boundary_distance(
    model: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    most_queries: int = 1000,
    *,
    generator: np.random.Generator,
) -> tuple[Float64Array, Int64Array]:
    """Distance to the nearest input that HopSkipJump found answered otherwise, and queries: (N,), (N,).

    Only the class that the network answers is read. 0, after one query, where x is answered with
    another class than its label. The search begins at the nearest of the other inputs that are
    answered otherwise (of 2,000 of them), and ends when `most_queries` questions were asked about
    the sample: the distance is the smallest over all of them, ‖x' − x‖₂ in units of what the network
    reads, so that more queries never give a larger one. Inputs that are asked about stay between
    the least and the largest number in `inputs`. What is asked about the pool itself, once each, is
    not counted a second time.

    Where no input is answered otherwise, the distance to the farthest input. One number is drawn
    from the generator for each sample. Raises InputError where the toolbox is not installed.
    """
    _check(most_queries)
    own = network(model, None)
    with own.unchanged(), own.exact_evaluation(), torch.no_grad():
        own.check(inputs[:32].to(own.device, own.dtype), differentiable=False)
        return _all(own, inputs, labels, most_queries, generator)


def _all(
    own: Network,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    most: int,
    generator: np.random.Generator,
) -> tuple[Float64Array, Int64Array]:
    x = inputs.float().numpy()
    answered = np.concatenate(
        [_classes(own, part.numpy()) for part in torch.split(inputs.float(), 1024)]
    )
    y = labels.numpy()
    distance, spent = np.zeros(len(x)), np.ones(len(x), dtype=np.int64)
    seeds = generator.integers(0, 2**32, len(x))
    pool = generator.permutation(len(x))
    for i in np.flatnonzero(answered == y):
        other = pool[answered[pool] != y[i]][:_CANDIDATES]
        gaps = np.linalg.norm(
            (x[other if len(other) else pool] - x[i]).reshape(-1, x[i].size), axis=1
        )
        if not len(other):
            distance[i] = gaps.max()
            continue
        search = _Search(own, x[i], int(y[i]), most, float(gaps.min()))
        with _legacy_stream(int(seeds[i])):
            search.run(x[other[gaps.argmin()]], float(x.min()), float(x.max()))
        distance[i], spent[i] = search.best, search.asked
    return distance, spent


def _classes(own: Network, x: FloatArray) -> Int64Array:
    given = torch.from_numpy(np.asarray(x, dtype=np.float32)).to(own.device, own.dtype)
    return np.asarray(own.logits(given).argmax(dim=1).cpu().numpy(), dtype=np.int64)


@dataclass
class _Search:
    """One sample's HopSkipJump: counts what it asks and remembers the nearest other answer."""

    own: Network
    x: FloatArray
    label: int
    most: int
    best: float
    asked: int = 1

    def answer(self, given: FloatArray) -> FloatArray:
        """One-hot answers (B, 2): whether it is the sample's label, and whether it is not."""
        left = self.most - self.asked
        if left <= 0:
            raise _Spent
        part = np.asarray(given[:left])
        other = _classes(self.own, part) != self.label
        self.asked += len(part)
        if other.any():
            away = np.linalg.norm((part[other] - self.x).reshape(int(other.sum()), -1), axis=1)
            self.best = min(self.best, float(away.min()))
        if len(part) < len(given):
            raise _Spent
        one_hot: FloatArray = np.eye(2, dtype=np.float32)[other.astype(np.int64)]
        return one_hot

    def run(self, start: FloatArray, low: float, high: float) -> None:
        """From an input that is answered otherwise until the questions are spent."""
        attack = _hop_skip_jump(self.answer, self.x.shape, (low, high), self.most)
        try:
            attack.generate(self.x[None], np.zeros(1, dtype=np.int64), x_adv_init=start[None])
        except _Spent:
            return


def _hop_skip_jump(
    answer: Any, shape: tuple[int, ...], limits: tuple[float, float], most: int
) -> Any:
    try:
        from art.attacks.evasion import HopSkipJump
        from art.estimators.classification import BlackBoxClassifier
    except ImportError as error:
        raise InputError(_NEEDS) from error
    asked = BlackBoxClassifier(answer, shape, 2, clip_values=limits)
    # More rounds than the questions last.
    rounds = 1 + most // _FIRST
    return HopSkipJump(
        asked, batch_size=4096, targeted=False, norm=2, max_iter=rounds, max_eval=most,
        init_eval=_FIRST, verbose=False,
    )  # fmt: skip


def _check(most_queries: int) -> None:
    if most_queries < 50:
        raise InputError(f"most_queries: expected at least 50, got {most_queries}")


@contextmanager
def _legacy_stream(seed: int) -> Iterator[None]:
    """The stream of NumPy's global functions, which the toolbox draws from, as it was afterwards."""
    before = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(seed)  # noqa: NPY002
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


@dataclass(frozen=True)
class BoundaryDistance(Probe):
    """`boundary_distance` of every sample: "boundary_distance" and "boundary_queries".

    >>> BoundaryDistance(most_queries=500).queries
    500
    """

    most_queries: int = 1000

    name: ClassVar[str] = "boundary"
    access: ClassVar[Access] = "label"

    def __post_init__(self) -> None:
        _check(self.most_queries)

    @property
    def signals(self) -> tuple[str, ...]:
        return ("boundary_distance", "boundary_queries")

    @property
    def queries(self) -> int:
        """At most; samples that are answered wrongly take one."""
        return self.most_queries

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        distance, queries = boundary_distance(
            asked.network,
            asked.inputs,
            asked.labels,
            self.most_queries,
            generator=asked.generator(),
        )
        return {"boundary_distance": distance, "boundary_queries": queries.astype(np.float32)}
