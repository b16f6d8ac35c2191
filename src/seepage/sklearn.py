"""Fleets of scikit-learn style classifiers: an estimator as a training function.

forest = seepage.sklearn.fit(RandomForestClassifier(100))
run = seepage.train(data, plan, function=forest, out="runs/forest")
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any, Literal, final

import numpy as np
from scipy.special import softmax
from sklearn.base import clone, is_regressor
from sklearn.utils import get_tags
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from seepage.array_types import AnyArray, Int64Array
from seepage.data import Dataset
from seepage.data.frame import encode_frame
from seepage.errors import InputError, SeepageError
from seepage.extensions import FROM_FILE
from seepage.frames import is_frame, own_frame, rows_of_frame
from seepage.given_arrays import given_array
from seepage.record import Recorder

__all__ = ["FittedEstimator", "fit"]

_SEEDS = ("random_state", "random_seed")
_WORKERS = ("n_jobs", "thread_count")


def fit(
    estimator: Any,
    *,
    stages: Sequence[int] | None = None,
    least: float | None = None,
    dtype: Literal["float64", "float32"] = "float64",
    inputs: Any = None,
) -> FittedEstimator:
    """A training function that fits a copy of `estimator` on the members of each run.

    estimator: a regressor with `fit` and `predict`, for data of the task "regression", or a classifier with `fit`, `predict_proba` and `get_params` (scikit-learn, a Pipeline,
    a search over options; objects of XGBoost, LightGBM and CatBoost have the same methods). It is
    not changed. Every parameter `random_state`, of nested estimators too, is drawn from the run's
    seed, whatever was set; `n_jobs` is 1, since runs are what is parallel and sums in another order
    round otherwise. Inputs are the values that the data holds, (N, D) in `dtype`, images flattened,
    without scaling: put a scaler into a Pipeline. Labels are 0 to K − 1.

    stages: rounds of boosting after which all samples are asked about, ascending, for estimators
    with `staged_predict_proba`, XGBoost and LightGBM; epochs of the run are then rounds. By default there is one
    checkpoint, epoch 1: fitted. Rounds after an estimator ended by itself have its last answer.

    least: probabilities below it and above 1 − least tie there (`seepage.Recorder.answers`). By
    default what the estimator can tell apart: half of one vote, 1/(2T), for forests and bagging of
    T trees that are grown without a bound of depth or leaves, half of the smallest share of one
    vote, 1/(2 T n), for those of bounded trees on n members, half of one neighbour, 1/(2k), for k
    neighbours with equal weights; else 1e-12, or 1.2e-7 for probabilities in float32. Where every
    fourth answer of a forest is exactly 0 or 1, values far outside the others hide them from an
    attack that fits Gaussians.

    inputs: what the estimator is fitted on and asked about instead of the data's values: a DataFrame
    of pandas or polars, for a Pipeline whose ColumnTransformer names columns, or an array or list,
    such as texts; one row for every sample of the data, in the same order. Its index is ignored. The
    content is part of a run's identity; `dtype` is of no effect. The data remain what copies, the
    blind baseline and the report read.

    Of XGBoost the margins are taken, in float64, where their softmax is what it gives.

    Assumes that the estimator is fitted to all of its members alike. What it does otherwise
    (internal validation, bootstraps, subsampling) is noted in the run's records and warned of.

    Raises InputError for an estimator without `predict_proba`; for stages that it does not have;
    before a run, for inputs of another number of rows than the data, or of the data's rows in another
    order; in a run, for answers that are no probabilities of all samples.

    >>> from sklearn.linear_model import LogisticRegression
    >>> fit(LogisticRegression()).checkpoints
    (1.0,)
    """
    return FittedEstimator(estimator, stages=stages, least=least, dtype=dtype, inputs=inputs)


@final
class FittedEstimator:
    """`train(members, seed, recorder)` of an estimator; made by `fit`, where it is described.

    checkpoints: the epochs at which it can be asked. travels: whether worker processes can be
    fresh interpreters, which its parts must then be importable in.
    """

    network = False

    def __init__(
        self,
        estimator: Any,
        *,
        stages: Sequence[int] | None = None,
        least: float | None = None,
        dtype: Literal["float64", "float32"] = "float64",
        inputs: Any = None,
    ) -> None:
        _check(estimator)
        self.estimator = clone(estimator, safe=False)
        _one_worker(self.estimator)
        # Drawn anew in every run: what stands there is no part of what is trained.
        _set(self.estimator, _ends_in(_params(self.estimator), _SEEDS), None)
        self.stages = None if stages is None else _stages(self.estimator, stages)
        if least is not None and not 0 < least < 0.5:
            raise InputError(f"least: expected a probability above 0 and below 0.5, got {least!r}")
        if dtype not in ("float64", "float32"):
            raise InputError(f"dtype: expected 'float64' or 'float32', got {dtype!r}")
        self.least = least
        self.dtype = dtype
        self.inputs = None if inputs is None else _own_rows(inputs)
        self.__qualname__ = f"fit({type(_last(self.estimator)).__name__})"

    @property
    def checkpoints(self) -> tuple[float, ...]:
        """Epochs at which the estimator can be asked: rounds of boosting, or 1 where it is fitted."""
        return (1.0,) if self.stages is None else tuple(float(s) for s in self.stages)

    @property
    def travels(self) -> bool:
        """Whether another interpreter can make the same object: no lambdas, nothing of a script."""
        try:
            sent = bytes(ForkingPickler.dumps(self))
        except Exception:  # whatever an estimator's own parts raise
            return False
        return b"__main__" not in sent and FROM_FILE.encode() not in sent

    @property
    def takes_missing(self) -> bool:
        """Whether it takes NaN, as far as it says so; a Pipeline shows it when it is fitted."""
        if self.inputs is not None or getattr(self.estimator, "steps", None):
            return True
        try:
            return bool(get_tags(self.estimator).input_tags.allow_nan)
        except Exception:  # of other libraries: it says nothing of itself
            return True

    def check_data(self, data: Dataset) -> None:
        """Raise InputError where `inputs` are not the rows of these data, as far as that is seen."""
        if self.inputs is not None:
            _check_length(self.inputs, len(data))
            _check_order(self.inputs, data)

    def __call__(self, members: Int64Array, seed: int, recorder: Recorder) -> Any:
        """Fit on `members` and hand the probabilities of all samples to the recorder."""
        pool = recorder.pool
        real = pool.task.name == "regression"
        if real == _classifies(self.estimator):
            raise InputError(
                f"estimator: expected {'a regressor' if real else 'a classifier'} for the task "
                f"{pool.task.name}, got {type(_last(self.estimator)).__name__}; pass another"
            )
        labels = pool.targets.cpu().numpy() if real else pool.labels_host
        least = None
        inputs = self._rows(recorder, len(labels))
        fresh = clone(self.estimator, safe=False)
        _seed(fresh, seed)
        name = type(_last(fresh)).__name__
        with _alone(seed):
            with self._told(fresh, "fit"):
                fresh.fit(_taken(inputs, members), labels[members])
            if real:
                self._predictions(fresh, inputs, recorder)
            for epoch, answer in () if real else self._answers(fresh, inputs):
                p = _aligned(answer, fresh, len(labels), max(int(labels.max()) + 1, 2), name)
                least = _resolution(fresh, len(members)) if self.least is None else self.least
                recorder.answers(p, epoch=epoch, least=least)
                if p.dtype == np.float32:
                    _note(recorder, f"{name} gives probabilities in float32: 1.2e-7 near 1")
        for note in _notes(fresh, len(members)):
            _note(recorder, note)
        if self.inputs is not None:
            recorder.facts["inputs"] = "as the rows passed as inputs= are"
        if real:
            recorder.facts["clipped"] = {}
        else:
            recorder.facts |= {"least": least, "classes": len(np.unique(labels[members]))}
        return fresh

    def _rows(self, recorder: Recorder, samples: int) -> Any:
        """What the estimator gets of all samples, which it may change."""
        if self.inputs is not None:
            _check_length(self.inputs, samples)
            return own_frame(self.inputs) if is_frame(self.inputs) else self.inputs.copy()
        x = recorder.inputs(np.arange(samples))
        return x.reshape(samples, -1).cpu().numpy().astype(self.dtype)

    @contextlib.contextmanager
    def _told(self, estimator: Any, method: str) -> Iterator[None]:
        """What an estimator raises, in one line that names the part which raised it."""
        try:
            yield
        except (SeepageError, MemoryError, Warning):
            raise
        except Exception as e:
            essence = " ".join(str(e).split())[:200]
            if self.inputs is not None:
                remedy = "correct the estimator, or inputs="
            elif _names_columns(estimator):
                remedy = (
                    "it names columns and got the numbers that the data hold: pass the rows as they "
                    "are, seepage.sklearn.fit(…, inputs=frame)"
                )
            else:
                remedy = (
                    "correct the estimator, or what the data gives it; inputs= of seepage.sklearn.fit "
                    "passes rows as they are"
                )
            raise InputError(
                f"estimator: {_raising(estimator, method, e)} raised {type(e).__name__}: {essence}; "
                f"{remedy}"
            ) from e

    def _predictions(self, fitted: Any, inputs: Any, recorder: Recorder) -> None:
        """Hands what a regressor predicts of all samples to the recorder."""
        with self._told(fitted, "predict"):
            answer = np.asarray(fitted.predict(inputs))
        recorder.answers(answer, epoch=1.0)

    def _answers(self, fitted: Any, inputs: Any) -> Iterator[tuple[float, Any]]:
        last, inside = _last(fitted), inputs
        if last is not fitted and (self.stages is not None or hasattr(last, "get_booster")):
            with self._told(fitted, "transform"):
                inside = _before_last(fitted, inputs)
        if self.stages is None:
            with self._told(fitted, "predict_proba"):
                answer = fitted.predict_proba(inputs)
                if hasattr(last, "get_booster"):
                    answer = _of_margins(last, inside, np.asarray(answer))
            yield 1.0, answer
            return
        if _by_rounds(last):
            for stage in self.stages:
                with self._told(fitted, "predict_proba"):
                    upto = _up_to(last, stage)
                    answer = np.asarray(last.predict_proba(inside, **upto))
                    if hasattr(last, "get_booster"):
                        answer = _of_margins(last, inside, answer, **upto)
                yield float(stage), answer
            return
        reached, answer = 0, None
        for reached, answer in enumerate(last.staged_predict_proba(inside), 1):
            if reached in self.stages:
                yield float(reached), answer
        for stage in self.stages:
            if stage > reached:  # it ended by itself
                yield float(stage), answer


def _check(estimator: Any) -> None:
    name = getattr(estimator, "__name__", type(estimator).__name__)
    if isinstance(estimator, type):
        raise InputError(f"estimator: expected an object, got the class {name}; call it, {name}()")
    if not callable(getattr(estimator, "fit", None)):
        raise InputError(
            f"estimator: expected a classifier with fit and predict_proba, got {name}; pass a "
            "scikit-learn style classifier"
        )
    if not _classifies(estimator) and callable(getattr(estimator, "predict", None)):
        return
    if not callable(getattr(estimator, "predict_proba", None)):
        remedy = (
            "wrap it in sklearn.calibration.CalibratedClassifierCV"
            if hasattr(estimator, "decision_function") or hasattr(estimator, "classes_")
            else "pass a classifier that has it"
        )
        raise InputError(
            f"estimator: expected probabilities, got {name} without predict_proba; {remedy}"
        )


def _classifies(estimator: Any) -> bool:
    """Whether it answers classes; False only of what says of itself that it is a regressor."""
    if hasattr(estimator, "predict_proba"):
        return True
    try:
        return not is_regressor(estimator)
    except AttributeError:  # it says nothing of itself
        return True


def _params(estimator: Any) -> dict[str, Any]:
    told = getattr(estimator, "get_params", None)
    return dict(told(deep=True)) if callable(told) else {}


def _ends_in(params: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    return sorted(key for key in params if key.rpartition("__")[2] in names)


def _set(estimator: Any, keys: list[str], value: Any) -> None:
    if keys:
        estimator.set_params(**dict.fromkeys(keys, value))


def _one_worker(estimator: Any) -> None:
    """Runs are what is parallel: one worker in each, which for scikit-learn itself None says."""
    params = _params(estimator)
    for key in _ends_in(params, _WORKERS):
        owner = params.get(key.rpartition("__")[0], estimator)
        ours = type(owner).__module__.partition(".")[0] == "sklearn"
        # A parameter that was left alone may have no effect, and warn when it is set.
        if not ours or params[key] is not None:
            _set(estimator, [key], None if ours else 1)


def _seed(estimator: Any, seed: int) -> None:
    """A seed of its own for every parameter that is one, drawn from the run's."""
    keys = _ends_in(_params(estimator), _SEEDS)
    if not keys and type(estimator).__module__.partition(".")[0] == "catboost":
        keys = ["random_seed"]  # CatBoost tells only what was set, and would take 0 in every run
    if not keys:
        return
    drawn = np.random.SeedSequence(int(seed)).generate_state(len(keys)) % 2**31
    estimator.set_params(**{key: int(v) for key, v in zip(keys, drawn, strict=True)})


@contextlib.contextmanager
def _alone(seed: int) -> Iterator[None]:
    """One thread, and NumPy's global stream from the run's seed; it goes on afterwards as it was."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(np.random.SeedSequence([int(seed), 1]).generate_state(1))  # noqa: NPY002
    try:
        with threadpool_limits(1):
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _own_rows(inputs: Any) -> Any:
    """The caller's rows as they are now: a frame with its rows numbered, or an array."""
    if is_frame(inputs):
        return own_frame(inputs)
    rows = given_array(inputs, "inputs")
    if not rows.ndim:
        raise InputError(
            "inputs: expected a data frame, an array or a list, one row for every sample, got "
            f"{type(inputs).__name__}; make it one"
        )
    return rows.copy()


def _check_length(inputs: Any, samples: int) -> None:
    if len(inputs) != samples:
        raise InputError(
            f"inputs: expected one row for every sample of the data ({samples:,}), got "
            f"{len(inputs):,}; pass those that the data were made of, in the same order"
        )


def _check_order(inputs: Any, data: Dataset) -> None:
    """Refuse a frame that holds the data's rows in another order: labels would be those of others."""
    if not is_frame(inputs) or data.kind != "table" or data.file is not None:
        return
    try:
        rows, names, _ = encode_frame("inputs", inputs, "keep")
    except InputError:  # not all that an estimator takes can be encoded
        return
    shared = [(j, data.columns.index(n)) for j, n in enumerate(names) if n in data.columns]
    if not shared:
        return
    here = rows[:, [j for j, _ in shared]] + np.float32(0)
    there = data.inputs.numpy()[:, [k for _, k in shared]] + np.float32(0)
    moved = (here != there) & ~(np.isnan(here) & np.isnan(there))
    if not moved.any():
        return
    a, b = (
        np.sort(np.ascontiguousarray(x).view(f"V{4 * x.shape[1]}"), axis=0) for x in (here, there)
    )
    if np.array_equal(a, b):
        row = int(moved.any(axis=1).argmax())
        raise InputError(
            f"inputs: expected the rows of the data in their order, got the same rows in another, first "
            f"at row {row}; reorder the frame as the data are"
        )


def _taken(inputs: Any, rows: Int64Array) -> Any:
    return rows_of_frame(inputs, rows) if is_frame(inputs) else inputs[rows]


def _raising(estimator: Any, method: str, error: BaseException) -> str:
    """The innermost part of the estimator that was at work, and its method; else what was called."""
    parts = {type(estimator), *(type(v) for v in _params(estimator).values() if hasattr(v, "fit"))}
    found = f"{type(_last(estimator)).__name__}.{method}"
    owner, trace = None, error.__traceback__
    while trace is not None:
        code, at_work = trace.tb_frame.f_code, trace.tb_frame.f_locals.get("self")
        name = code.co_name
        public = not name.startswith("_") and callable(getattr(type(at_work), name, None))
        if type(at_work) in parts and at_work is not owner and public:
            owner, found = at_work, f"{type(at_work).__name__}.{name}"
        trace = trace.tb_next
    return found


def _names_columns(estimator: Any) -> bool:
    """Whether a part of it names columns, which an array has not."""
    for part in (estimator, *_params(estimator).values()):
        asked = [c for *_, c in getattr(part, "transformers", None) or [] if not isinstance(c, int)]
        asked.append(getattr(part, "categorical_features", None))
        for columns in asked:
            if callable(columns) or (isinstance(columns, str) and columns != "from_dtype"):
                return True
            if isinstance(columns, list | tuple | np.ndarray) and any(
                isinstance(c, str) for c in columns
            ):
                return True
    return False


def _stages(estimator: Any, stages: Sequence[int]) -> tuple[int, ...]:
    last = _last(estimator)
    if not callable(getattr(last, "staged_predict_proba", None)) and not _by_rounds(last):
        raise InputError(
            f"stages: expected an estimator with staged_predict_proba, XGBoost or LightGBM, got "
            f"{type(last).__name__} without it; leave stages out"
        )
    given = tuple(stages)
    whole = all(isinstance(s, int | np.integer) and s >= 1 for s in given)
    if not given or not whole or list(given) != sorted(set(given)):
        raise InputError(f"stages: expected ascending rounds from 1, got {list(given)}")
    held = _params(last)
    rounds = held.get("n_estimators", held.get("max_iter"))
    if isinstance(rounds, int) and given[-1] > rounds:
        raise InputError(
            f"stages: expected rounds up to the estimator's {rounds}, got {given[-1]}; train more "
            "rounds, or ask earlier"
        )
    return tuple(int(s) for s in given)


def _last(estimator: Any) -> Any:
    """What answers at the end of a Pipeline, or the estimator itself."""
    while getattr(estimator, "steps", None):
        estimator = estimator.steps[-1][1]
    return estimator


def _before_last(pipeline: Any, inputs: Any) -> Any:
    """What the last step of a Pipeline gets of these inputs."""
    while getattr(pipeline, "steps", None):
        inputs = pipeline[:-1].transform(inputs) if len(pipeline.steps) > 1 else inputs
        pipeline = pipeline.steps[-1][1]
    return inputs


def _by_rounds(last: Any) -> bool:
    """Whether it is XGBoost or LightGBM, which take the number of rounds that answer."""
    return hasattr(type(last), "get_booster") or hasattr(type(last), "booster_")


def _up_to(last: Any, rounds: int) -> dict[str, Any]:
    """What they take for it; XGBoost no more rounds than it has."""
    if hasattr(last, "get_booster"):
        return {"iteration_range": (0, min(rounds, last.get_booster().num_boosted_rounds()))}
    return {"num_iteration": rounds}


def _of_margins(booster: Any, inputs: Any, given: AnyArray, **upto: Any) -> AnyArray:
    """Probabilities in float64 from the margins of XGBoost, whose own are rounded to float32.

    Taken where they are those that it gives, to 1e-5: not for every objective margins are logits.
    """
    margins = np.asarray(booster.predict(inputs, output_margin=True, **upto), dtype=np.float64)
    if margins.ndim == 1:
        margins = np.stack([np.zeros(len(margins)), margins], axis=1)
    if margins.shape != given.shape:
        return given
    found: AnyArray = softmax(margins, axis=1)
    return found if np.abs(found - given).max(initial=0.0) < 1e-5 else given


def _aligned(answer: Any, fitted: Any, samples: int, classes: int, name: str) -> AnyArray:
    """Probabilities (N, K) with the columns of all classes, those a run has not seen at 0."""
    p = np.asarray(answer) if not isinstance(answer, list) else np.empty((0, 0, 0))
    if p.ndim != 2 or len(p) != samples or p.dtype.kind != "f":
        raise InputError(
            f"estimator: expected {name}.predict_proba to return ({samples}, classes), one row per "
            f"sample, got {type(answer).__name__} of shape {p.shape}; pass a classifier of one label"
        )
    p = p if p.dtype == np.float32 else p.astype(np.float64)
    known = getattr(fitted, "classes_", None)
    known = np.arange(p.shape[1]) if known is None else np.asarray(known)
    if known.dtype.kind not in "iub" or len(known) != p.shape[1] or known.max() >= classes:
        raise InputError(
            f"estimator: expected a column for each of {name}.classes_, got {p.shape[1]} columns for "
            f"{known.tolist()[:8]}; classes are 0 to {classes - 1}"
        )
    whole = np.zeros((samples, classes), dtype=p.dtype)
    whole[:, known.astype(np.int64)] = p
    return whole


def _resolution(fitted: Any, members: int) -> float | None:
    """The probability below which votes are not told apart; None where numbers are the bound."""
    last = _last(fitted)
    held, name = _params(last), type(last).__name__
    votes, neighbours = held.get("n_estimators"), held.get("n_neighbors")
    if "Neighbors" in name and isinstance(neighbours, int) and held.get("weights") == "uniform":
        return 0.5 / neighbours
    if not isinstance(votes, int) or not ("bootstrap" in held or name == "BaggingClassifier"):
        return None
    tree = held if "max_depth" in held else _params(getattr(last, "estimator_", None))
    if "max_depth" not in tree:
        return None
    bounded = any(tree.get(key) is not None for key in ("max_depth", "max_leaf_nodes"))
    if not bounded:
        return 0.5 / votes
    # Weighted leaves hold shares of any size.
    weighted = any(p.get("class_weight") is not None for p in (held, tree))
    return None if weighted else 0.5 / (votes * members)


def _note(recorder: Recorder, text: str) -> None:
    notes = recorder.facts.setdefault("notes", [])
    if text not in notes:
        notes.append(text)


def _notes(fitted: Any, members: int) -> list[str]:
    """What makes a member less than one: validation that is held out, bootstraps, subsamples."""
    held = _params(fitted)
    parts = [fitted, *(v for _, v in sorted(held.items()) if hasattr(v, "fit"))]
    return list(dict.fromkeys(note for part in parts for note in _of_one(part, members)))


def _of_one(part: Any, members: int) -> Iterator[str]:
    name, held = type(part).__name__, {k: v for k, v in _params(part).items() if "__" not in k}
    if callable(getattr(part, "get_all_params", None)):
        held |= part.get_all_params()  # CatBoost tells what it chose by itself once it is fitted
    share = held.get("validation_fraction")
    stops = held.get("early_stopping")
    stops = stops is True or (stops == "auto" and members > 10_000)
    stops = stops or ("subsample" in held and held.get("n_iter_no_change") is not None)
    if stops and share is not None:
        told = f"{share:.0%}" if isinstance(share, float) else f"{share} samples"
        yield (
            f"{name} holds out {told} of its members to decide when to stop: it is not fitted to "
            "these, and they look like others "
            f"({'early_stopping=False' if 'early_stopping' in held else 'n_iter_no_change=None'})"
        )
    if held.get("bootstrap") is True or (name == "BaggingClassifier" and _drawn(held, members) < 1):
        drawn = _drawn(held, members)
        count = max(1, round(drawn * members))
        seen = 1 - (1 - 1 / members) ** count if held.get("bootstrap") else drawn
        kind = "a bootstrap" if held.get("bootstrap") else "a part"
        yield (
            f"each part of {name} is fitted to {kind} of its members and sees about {seen:.0%} of "
            "them: it leaks less of each than one that sees all"
        )
    apart = held.get("eval_fraction")
    if apart:
        yield (
            f"{name} holds out {apart:.0%} of its members to decide when to stop: it is not fitted to "
            "these, and they look like others (eval_fraction=None)"
        )
    rate = _round(held)
    if rate < 1:
        yield f"each round of {name} is fitted to {rate:.0%} of its members, drawn anew"
    if held.get("bootstrap_type") == "Bayesian" and held.get("bagging_temperature"):
        yield f"each round of {name} weighs its members at random (bootstrap_type='No')"
    if "goss" in (held.get("boosting_type"), held.get("data_sample_strategy")):
        yield (
            f"each round of {name} is fitted to the members of the largest gradients and a random part "
            "of the others"
        )
    if name == "CalibratedClassifierCV":
        yield (
            f"{name} fits its classifier and its calibration to different parts of its members: "
            "they do not all count alike"
        )


def _round(held: dict[str, Any]) -> float:
    """The share of the members that a round of boosting is fitted to."""
    names = ("bagging_fraction", "sub_row", "bagging", "subsample")  # LightGBM takes its own first
    rate = next((held[n] for n in names if isinstance(held.get(n), float)), 1.0)
    every = next((held[n] for n in ("bagging_freq", "subsample_freq") if n in held), None)
    # Without a frequency LightGBM draws nothing, without a bootstrap CatBoost.
    idle = (every is not None and every <= 0) or held.get("bootstrap_type") in ("No", "Bayesian")
    return 1.0 if idle else float(rate)


def _drawn(held: dict[str, Any], members: int) -> float:
    """Draws of one bootstrap or part, as a share of the members."""
    most = held.get("max_samples")
    if most is None:
        return 1.0
    return float(most) if isinstance(most, float) else min(1.0, most / members)
