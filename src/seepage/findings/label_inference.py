"""Label inference on a run: every model's guesses about the canaries it was trained on, and ε of labels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from seepage.array_types import Float64Array
from seepage.epsilon import (
    Analysis,
    Guesses,
    LabelGame,
    LabelInference,
    fair_accuracy,
    label_inference,
)
from seepage.epsilon.multi_run import check_level
from seepage.epsilon.one_run import joint_epsilon
from seepage.errors import InputError
from seepage.local_paths import local_path
from seepage.metrics.blind_inputs import with_missing_marked
from seepage.store.result_files import read_result, write_result

if TYPE_CHECKING:
    from seepage.data import Dataset
    from seepage.fleet.rebuild import Factory

__all__ = ["RunLabels", "label_inference_of_run", "label_rows", "read_game", "write_game"]

_FITTED = 5000
_COMPONENTS = 64


def write_game(game: LabelGame, path: str | PathLike[str]) -> None:
    """Keep a game as JSON with its digest. It holds the coins: keep it from whoever guesses."""
    place = local_path(path, "game")
    if place.is_dir() or not place.parent.is_dir():
        raise InputError(f"game: expected a file in a folder that is there, got {place}")
    write_result(place, game.content(), indent=None)


def read_game(path: str | PathLike[str]) -> LabelGame:
    """The game that `write_game` kept. Raises InputError where it was changed since, or is none."""
    place = local_path(path, "game")
    if not place.is_file():
        raise InputError(f"game: expected a file that write_game wrote, found none at {place}")
    return LabelGame.from_content(read_result(place, "draw another game and train on it"))


@dataclass(frozen=True)
class RunLabels:
    """What the models of a run tell of the labels that they were trained on.

    epsilon: a lower bound on ε-label-DP at `delta`, of natural games an estimate: of one model, or joint
    over several, each alone at half the error. models: what each tells, in the run's order.
    accuracy, blind, outside: means over models, of guesses about canaries that the model was trained
    on; of a guesser who sees inputs and law alone; and of the model itself about canaries that it was
    *not* trained on, None where there are none. The same coins serve every model, so that intervals
    are those of one. fitted: whether the blind guesser is a classifier fitted to the other samples, or
    prefers what the law does. promised: the ε that the defence claims for labels, None without one.
    """

    epsilon: float
    level: float
    delta: float
    models: tuple[LabelInference, ...]
    accuracy: Guesses
    blind: Guesses
    outside: Guesses | None
    fitted: bool
    natural: bool
    promised: float | None

    @property
    def fair(self) -> bool:
        """Whether the blind guesser is no better than chance at 99.9 %, as fair coins make it."""
        return self.blind.is_chance()

    @property
    def holds(self) -> bool:
        """Whether `epsilon` is a bound and not an estimate."""
        return self.fair and not self.natural

    @property
    def at_ceiling(self) -> bool:
        """Whether so many guesses could not have given more, in the model that decides."""
        return any(m.bound.epsilon == self.epsilon > 0 and m.bound.at_ceiling for m in self.models)

    def summary(self) -> dict[str, Any]:
        """JSON types: what commands and reports show."""
        return {
            "epsilon": self.epsilon,
            "is_bound": self.holds,
            "natural": self.natural,
            "level": self.level,
            "delta": self.delta,
            "models": len(self.models),
            "each": [m.bound.epsilon for m in self.models],
            "at_ceiling": self.at_ceiling,
            "promised": self.promised,
            "refutes_the_defence": self.refutes_the_defence,
            "blind_guesser_is_fitted": self.fitted,
            "guesses": _told(self.accuracy),
            "blind": _told(self.blind),
            "left_out": None if self.outside is None else _told(self.outside),
        }

    @property
    def refutes_the_defence(self) -> bool:
        """Whether the bound lies above what the defence promises."""
        return self.holds and self.promised is not None and self.epsilon > self.promised


def _told(guesses: Guesses) -> dict[str, float]:
    if not guesses.count:
        return {"count": 0.0}
    ends = {"low": guesses.low, "high": guesses.high}
    return {"count": guesses.count, "share": guesses.share, **ends}


def label_rows(told: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Figure, value, 95 % interval and what it is, from what `RunLabels.summary` gave."""
    joint = ", joint over the models" if told["models"] > 1 else ""
    most = "; the most that so many guesses can show" if told["at_ceiling"] else ""
    what = f"{100 * told['level']:g} % bound at δ = {told['delta']:g}{joint}{most}"
    if not told["is_bound"]:
        why = (
            "nobody's coin chose the labels" if told["natural"] else "the blind guesser is no coin"
        )
        what = f"an estimate and no bound: {why}"
    name = "ε of labels " + ("at least" if told["is_bound"] else "about")
    rows = [(name, f"{told['epsilon']:.3f}", "", what)]
    if told["promised"] is not None:
        most_right = fair_accuracy(told["promised"]).item()
        promise = f"what it promises for labels: at most {most_right:.3f} of guesses right"
        rows.append(("ε of the defence", f"{told['promised']:g}", "", promise))
    fitted = told["blind_guesser_is_fitted"]
    seen = "a classifier of the other samples" if fitted else "prefers what the law does"
    for figure, key, about in (
        ("guesses right", "guesses", "of the two labels, of canaries that trained the model"),
        ("blind guesser", "blind", f"sees no model: {seen}; ½ by the coins"),
        ("left-out canaries", "left_out", "the model, of canaries that it was not trained on; ½"),
    ):
        g = told[key]
        if g is None:
            continue
        if not g["count"]:
            rows.append((figure, "–", "", "has no preference: the law is uniform"))
            continue
        rows.append((figure, f"{g['share']:.3f}", f"[{g['low']:.3f}, {g['high']:.3f}]", about))
    return rows


def label_inference_of_run(
    run: Any,
    game: LabelGame,
    *,
    checkpoint: int = -1,
    target: int | None = None,
    delta: float = 0.0,
    level: float = 0.95,
    guesses: int | Sequence[int] | None = None,
    analysis: Analysis | None = None,
    model: Factory | None = None,
    data: Dataset | None = None,
) -> RunLabels:
    """Judge every model of a run, or usable run `target` alone, by `label_inference`.

    run: trained on the dataset that `label_game` gave with this game, by any recipe, defence or
    function; in a plan of halves about half of the canaries train each model. Read are recorded
    logits (record.logits) or kept networks, which model and data rebuild. guesses, if given, counts
    of canaries of a model. Every model guesses by itself: the others of the run were trained on the same coins, so
    that a guess that read them too would be bounded by the ε of all together.

    The blind guesser is a logistic regression on inputs and true labels of samples that are no canaries,
    where the run's data can be found; else it prefers the candidate that is likelier under the law.

    Raises InputError where the run's labels are not those that the coins chose, for runs that hold neither
    logits nor weights, and for models without canaries.
    """
    check_level(level, delta)
    if target is not None and not 0 <= target < len(run.models):
        raise InputError(
            f"target: expected a usable run from 0 to {len(run.models) - 1}, got {target}"
        )
    _of_this_game(run, game)
    rows = list(range(len(run.models))) if target is None else [target]
    member = np.asarray(run.member)[:, game.positions]
    empty = [r for r in rows if not member[r].any()]
    if empty:
        raise InputError(
            f"game: expected canaries among the members of every model, got none in run "
            f"{int(run.models[empty[0]])}; draw more canaries"
        )
    from seepage.fleet.released import logits_of_run

    outputs = logits_of_run(run, checkpoint, target=target, model=model, data=data)
    blind = _fitted(data if data is not None else run.data(), game)
    each = level if len(rows) == 1 else 1 - (1 - level) / 2
    found, outside = [], []
    for r, z in zip(rows, outputs, strict=True):
        own = z[game.positions, : game.classes]
        inside = member[r]
        found.append(
            label_inference(
                own[inside],
                game.take(inside),
                blind=None if blind is None else blind[inside],
                delta=delta,
                level=each,
                guesses=guesses,
                analysis=analysis,
            )
        )
        if not inside.all():
            at = game.take(~inside)
            rows_at = np.arange(len(at))
            a, b = (own[~inside][rows_at, at.candidates[:, k]] for k in (0, 1))
            outside.append(Guesses.of(a.astype(np.float64) - b, at.first))
    records = getattr(run, "records", {})
    facts = [records[int(run.models[r])].get("facts") or {} for r in rows]
    told = [float(f["label_epsilon"]) for f in facts if f.get("label_epsilon") is not None]
    return RunLabels(
        joint_epsilon([f.bound.epsilon for f in found]),
        level,
        delta,
        tuple(found),
        _mean([f.accuracy for f in found]),
        _mean([f.blind for f in found]),
        _mean(outside) if outside else None,
        blind is not None,
        game.natural,
        max(told) if len(told) == len(rows) else None,
    )


def _mean(given: Sequence[Guesses]) -> Guesses:
    """Right guesses and their number, of a model on average."""
    count = float(np.mean([g.count for g in given]))
    return Guesses(min(float(np.mean([g.right for g in given])), count), count)


def _of_this_game(run: Any, game: LabelGame) -> None:
    labels = np.asarray(run.labels)
    if len(labels) != game.samples:
        raise InputError(
            f"game: expected one of the run's pool of {len(labels)} samples, got one of {game.samples}; "
            "name the game that was drawn with its data"
        )
    other = int((labels[game.positions] != game.labels).sum())
    if other:
        raise InputError(
            f"game: expected a run trained on the labels that its coins chose, got others for {other} of "
            f"{len(game)} canaries; train on the dataset that label_game returned with this game"
        )
    if len(run.classes) != game.classes:
        raise InputError(
            f"game: expected {len(run.classes)} classes as the run has, got {game.classes}"
        )


def _fitted(data: Dataset | None, game: LabelGame) -> Float64Array | None:
    """Log-probabilities of the canaries, (m, K), of a classifier that no coin's label has touched.

    None where there is nothing to fit. It stands beside the bound alone, so that no convergence is asked.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression

    if data is None or len(data) != game.samples:
        return None
    rest = np.setdiff1d(np.arange(len(data)), game.positions)
    rest = np.random.default_rng(0).permutation(rest)[:_FITTED]
    y = data.labels.numpy()[rest]
    if len(np.unique(y)) < 2:
        return None
    both = np.concatenate([rest, game.positions])
    x = data.rows(both).numpy().reshape(len(both), -1).astype(np.float64)
    x = with_missing_marked(x)
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    if x.shape[1] > _COMPONENTS:
        x = PCA(min(_COMPONENTS, len(x)), svd_solver="randomized", random_state=0).fit_transform(x)
        x /= max(x.std(axis=0).max(), np.finfo(np.float64).tiny)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = LogisticRegression(max_iter=100).fit(x[: len(rest)], y)
        told = fit.predict_log_proba(x[len(rest) :])
    # A class that the others lack is the least likely of all.
    out = np.full((len(game), game.classes), min(-100.0, float(told.min())))
    out[:, fit.classes_] = np.maximum(told, out[:, fit.classes_])
    return out
