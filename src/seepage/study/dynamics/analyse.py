"""Everything that a dynamics study measures of one fleet, as plain numbers small enough to keep in git."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage import attacks, plane
from seepage.array_types import FloatArray, Int64Array
from seepage.attacks import Attack
from seepage.attacks.binding import bind, unrecorded
from seepage.errors import InputError
from seepage.metrics import operating_points, over_targets
from seepage.plan import tuples
from seepage.plane import GlobalFPR, NaturalThreshold, Rule, Trajectories
from seepage.scoring import score
from seepage.store import Run
from seepage.store.keys import is_beside

__all__ = ["JUDGES", "Judge", "analyse", "provenance"]


@dataclass(frozen=True)
class Judge:
    """An attack and the rule that turns its scores into decisions."""

    attack: Attack
    rule: Rule


JUDGES: dict[str, Judge] = {
    "lira": Judge(attacks.LiRA(), NaturalThreshold()),
    "rmia": Judge(attacks.RMIA(), GlobalFPR(0.1)),
    "shadow-classifier": Judge(attacks.ShadowClassifier(), NaturalThreshold()),
}
"""The attack that a study is about, first, and those that check it."""
MAIN = "lira"


def analyse(
    run: Run,
    *,
    judges: Sequence[str] = tuple(JUDGES),
    aside: float = 0.25,
    draws: int = 2,
    seed: int = 0,
) -> dict[str, Any]:
    """Population metrics, early determination and difficulty of a fleet, under every judge.

    judges: names from `JUDGES`; those whose signals were not recorded are left out.

    Population metrics and recall use all models. The correlations with difficulty use two disjoint
    parts: a share `aside` of the pairs gives difficulty, the others vulnerability. draws: permuted
    memberships behind every null. Everything is a pure function of the run folder and the seed.
    """
    began = time.perf_counter()
    found = {
        name: _judged(run, JUDGES[name], aside, draws if name == MAIN else 1, seed)
        for name in judges
        if not unrecorded(bind(JUDGES[name].attack, run), run)
    }
    accuracy = [run.records[int(r)].get("accuracy") or [] for r in run.models]
    return {
        "models": len(run.models),
        "failed": {str(k): v for k, v in run.failed.items()},
        "samples": int(run.member.shape[1]),
        "checkpoints": run.checkpoints.tolist(),
        "accuracy": np.mean(accuracy, axis=0).tolist() if all(accuracy) else [],
        "aside": aside,
        "null_draws": draws,
        "attacks": found,
        "provenance": provenance(run),
        "analysis_seconds": round(time.perf_counter() - began, 2),
    }


def _judged(run: Run, judge: Judge, aside: float, draws: int, seed: int) -> dict[str, Any]:
    main = judge is JUDGES[MAIN]
    null = plane.Permuted(draws, seed)
    paths = plane.trajectories(run, attack=judge.attack, rule=judge.rule, null=null)
    population = paths.population()
    out: dict[str, Any] = {
        "rule": repr(judge.rule),
        "regions": list(population.regions),
        "population": {
            **{k: _estimate(e) for k, e in population.estimates().items()},
            "intervals": np.diff(run.checkpoints).tolist(),
        },
        # The checks' curves are the trajectories' own; what they cost is spared.
        "roc": _roc(run, judge.attack, range(len(run.checkpoints)) if main else [-1]),
        "early": {
            name: _early(plane.early_determination(paths, vulnerable=v))
            for name, v in (("high", plane.HighRegion()), ("top 5 %", plane.TopShare(0.05)))
        },
    }
    if main:
        out["clusters"] = _clusters(paths, seed)
    out["halves"] = _halves(run, judge, seed)
    return out | _difficulty(run, judge, aside, seed)


def _estimate(e: Any) -> dict[str, Any]:
    names = ("value", "low", "high", "null", "null_low", "null_high")
    return {n: _rounded(getattr(e, n)) for n in names}


def _rounded(values: Any) -> Any:
    """Six significant digits as plain lists; what does not exist becomes None."""
    if isinstance(values, list):
        return [_rounded(v) for v in values]
    if isinstance(values, np.ndarray):
        return _rounded(values.tolist())
    number = float(values)
    return float(f"{number:.6g}") if np.isfinite(number) else None


def _roc(run: Run, attack: Attack, at: Iterable[int]) -> dict[str, Any]:
    """AUC and TPR at 1 % and 0.1 % FPR at checkpoints `at`, with intervals over targets.

    null and fpr stand beside each TPR: what noise reads, and the realised rate, means over targets.
    """
    fprs = (0.01, 0.001)
    rows: dict[str, dict[str, list[float]]] = {}

    def add(name: str, **values: float) -> None:
        for key, value in values.items():
            rows.setdefault(name, {}).setdefault(key, []).append(value)

    n_out = 0
    for t in at:
        points = operating_points(score(run, attack, t), run.member, fprs)
        n_out = int(points.n_out.min())
        e = over_targets(points.auc, run.member)
        add("auc", value=e.mean, low=e.low, high=e.high)
        for k, fpr in enumerate(fprs):
            e = over_targets(points.tpr[:, k], run.member)
            null, realised = points.null[:, k].mean(), points.fpr[:, k].mean()
            add(f"tpr at {fpr:g}", value=e.mean, low=e.low, high=e.high, null=null, fpr=realised)
    return {"non-members": n_out} | {name: _each(v) for name, v in rows.items()}


def _each(columns: Mapping[str, list[float]]) -> dict[str, Any]:
    return {key: _rounded(values) for key, values in columns.items()}


def _early(early: plane.EarlyDetermination) -> dict[str, Any]:
    return {
        "fraction": early.fraction.tolist(),
        "size": int(early.final.sum()),
        "recall_now": _estimate(early.recall_now),
        "recall_ever": _estimate(early.recall_ever),
        "precision": _estimate(early.precision),
        "jaccard": _estimate(early.jaccard),
        "chance": _estimate(early.chance),
        "known": [
            {"share": k.share, "epoch": _rounded(k.epoch), "low": _rounded(k.low), "high": _rounded(k.high)}
            for k in early.known
        ],
    }  # fmt: skip


def _halves(run: Run, judge: Judge, seed: int) -> dict[str, Any] | None:
    """What disjoint halves of the fleet agree on; None with fewer than 8 complete tuples."""
    if int(tuples(run.member).max()) < 7:
        return None
    found = plane.split_half(run, attack=judge.attack, rule=judge.rule, seed=seed)
    names = ("squared_speed", "mean_squared_speed", "recall", "known", "chance")
    return {
        "models": found.models,
        "splits": found.splits,
        "fraction": found.fraction.tolist(),
        **{name: _estimate(getattr(found, name)) for name in names},
    }


def _clusters(paths: Trajectories, seed: int) -> dict[str, Any]:
    """Cluster indices at the end, with those of permuted membership."""
    out: dict[str, Any] = {}
    methods = {
        "k-means 3": plane.KMeans(3),
        "k-means 5": plane.KMeans(5),
        "HDBSCAN": plane.HDBSCAN(),
    }
    for name, method in methods.items():
        for where, of in (("value", paths), ("null", paths.null[0])):
            c = plane.find_clusters(of.points(-1), np.random.default_rng(seed), method=method)
            out.setdefault(name, {})[where] = {
                "clusters": len(c.shares),
                "shares": _rounded(c.shares),
                "noise": _rounded(c.noise),
                "silhouette": _rounded(c.silhouette),
                "davies_bouldin": _rounded(c.davies_bouldin),
            }
    return out


def _difficulty(run: Run, judge: Judge, aside: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    rows, apart = plane.split_models(run.member, aside, rng)
    paths = plane.trajectories(
        run, attack=judge.attack, rule=judge.rule, models=rows, null=plane.Permuted(1, seed),
        keep_decisions=False,
    )  # fmt: skip
    measures = plane.learning_difficulty(run, apart).as_dict()
    found: dict[str, Any] = {}
    for name, column in measures.items():
        found[name] = {}
        for what, value, null in (
            ("advantage", paths.advantage[-1], paths.null[0].advantage[-1]),
            ("epsilon", paths.epsilon[-1], paths.null[0].epsilon[-1]),
            ("first epoch in high", _first_high(paths), _first_high(paths.null[0])),
        ):
            found[name][what] = _correlated(column, value, null, rng)
    return {
        "difficulty": found,
        "proxies": _proxies(run, apart, paths),
        "models_for_vulnerability": len(rows),
        "models_for_difficulty": len(apart),
    }


def _first_high(paths: Trajectories) -> FloatArray:
    """Epoch of the first visit to the high region, one past the end where there was none."""
    regions = plane.ByAdvantage()
    high = paths.states(regions) == len(regions) - 1
    epochs = np.append(paths.checkpoints, paths.checkpoints[-1] + 1)
    first = np.where(high.any(axis=0), high.argmax(axis=0), len(paths.checkpoints))
    return np.asarray(epochs[first], dtype=np.float64)


def _correlated(
    difficulty: FloatArray, value: FloatArray, null: FloatArray, rng: np.random.Generator
) -> dict[str, float | None]:
    out: dict[str, float | None] = {}
    for prefix, y in (("", value), ("null_", null)):
        try:
            c = plane.spearman(difficulty, y, rng, replicates=200)
        except InputError:
            # A constant column, such as no visit at all to the high region, has no rank order.
            out |= {f"{prefix}rho": None, f"{prefix}low": None, f"{prefix}high": None}
            continue
        out |= {
            f"{prefix}rho": _rounded(c.rho),
            f"{prefix}low": _rounded(c.low),
            f"{prefix}high": _rounded(c.high),
        }
    return out


def _proxies(run: Run, apart: Int64Array, paths: Trajectories) -> dict[str, Any] | None:
    """How well traces of the runs set aside, up to each checkpoint, predict the top 5 %."""
    final = plane.TopShare(0.05).select(paths.fpr[-1], paths.tpr[-1], paths.n_out, paths.n_in)
    if final.all():
        return None
    loss = np.stack([run.signal_at("loss", t)[apart] for t in range(len(run.checkpoints))], axis=1)
    loss = loss.mean(axis=-1) if loss.ndim == 4 else loss
    member = run.member[apart]
    counts = member.sum(axis=0)

    def over_members(trace: FloatArray) -> FloatArray:
        total = np.where(member, trace, 0).sum(axis=0)
        return np.asarray(
            np.divide(total, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
        )

    steps = range(1, len(run.checkpoints))
    scores = {
        name: [over_members(f(loss[:, : t + 1], run.checkpoints[: t + 1])) for t in steps]
        for name, f in (("LT-IQR", plane.loss_iqr), ("mean loss", plane.mean_loss))
    }
    out: dict[str, Any] = {"checkpoints": run.checkpoints[1:].tolist()}
    for name, values in scores.items():
        judged = plane.evaluate_predictor(np.stack(values), final)
        out[name] = {"recall": _rounded(judged.recall), "auc": _rounded(judged.auc)}
        out["chance"] = _rounded(judged.chance)
    return out


def provenance(run: Run) -> dict[str, Any]:
    """Digests, versions, hardware and training time, as the run folder holds them."""
    sessions = [run.storage.get_json(k) for k in run.storage.keys("sessions/") if is_beside(k)]
    kept: Mapping[str, Any] = {
        k: v for k, v in run.manifest.items() if k not in ("descriptions", "signals", "data")
    }
    data = {
        k: v for k, v in run.manifest["data"].items() if k in ("name", "digest", "samples", "shape")
    }
    return {
        **kept,
        "data": data,
        "training_seconds": round(sum(s["seconds"] for s in sessions if s), 1),
        "training_hardware": sessions[0]["hardware"] if sessions and sessions[0] else None,
    }
