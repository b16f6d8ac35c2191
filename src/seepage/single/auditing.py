"""`seepage.audit`: one model, its members and others, with or without reference models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.attacks import ATTACKS, Attack, usual
from seepage.config.release import Variant, as_variants
from seepage.errors import InputError
from seepage.findings.attacks import FPRS
from seepage.findings.judging import Judging
from seepage.findings.result import AtFpr, Blind, Naming
from seepage.findings.tail import RATE, TailFinding
from seepage.metrics import (
    Estimate,
    Within,
    clopper_pearson,
    name_members,
    tail_estimate,
)
from seepage.metrics.unit import Subjects
from seepage.plan import Groups
from seepage.short_repr import short_repr
from seepage.signals.tasks import Task
from seepage.signals.tasks import task as task_named
from seepage.single import words
from seepage.single.asking import Answers, Service, kind_of
from seepage.single.blind import blind_of
from seepage.single.by_task import Question, target_rows
from seepage.single.fitting import answers_fit, copies_in_words, references_fit, references_know
from seepage.single.likeness import (
    found_prepared,
    prepared_doubted,
    prepared_noted,
    rather_exchanged,
    scale_doubted,
    unlearnt,
    unlike_references,
)
from seepage.single.observing import Observing
from seepage.single.outputs import Observed
from seepage.single.parts import Sliced, parts_found, parts_of
from seepage.single.pool import Pool, Side, class_numbers, no_texts, pooled, side_of
from seepage.single.quantile import quantile_features
from seepage.single.reference_free import TITLES, Scored, reference_free_scores
from seepage.single.references import Measured, balance, measured, referenced_scores
from seepage.single.released import Seen, check_release, check_task, found_variants
from seepage.single.result import OneAttack, SingleAudit
from seepage.single.subjects import scores_of_units, subjects_found

__all__ = ["Recorded", "audit"]

Progress = Callable[[str, int, int], object]

# Whose scores name members: the first that ran, so that the choice does not depend on figures.
# Of few references RMIA makes more than LiRA, which estimates a law for each sample.
_MAIN = ("rmia", "lira", "quantile", "mentr", "loss", "entropy", "gap")
_MANY = 32
_POINTS = 160


@short_repr
@dataclass(frozen=True, eq=False)
class Recorded:
    """Outputs of the model at members and others, in the place of the model.

    members, others: arrays of logits (n, K) if `logits`, else of probabilities, of a regression of
    predictions (n,); or mappings of signals {name: (n,)} as of `seepage.single.from_signals`, such as
    {"loss": …}, of a regression {"residual": …}.
    """

    members: AnyArray | Mapping[str, AnyArray]
    others: AnyArray | Mapping[str, AnyArray]
    logits: bool = True

    def observed(self, observing: Observing, kept: Int64Array, outside: BoolArray) -> Seen:
        """What is seen at the pool's samples, which are those at positions `kept`."""
        if isinstance(self.members, Mapping) and isinstance(self.others, Mapping):
            if set(self.members) != set(self.others):
                raise InputError(
                    f"model: expected the same signals of members and others, got "
                    f"{sorted(self.members)} and {sorted(self.others)}; pass both alike"
                )
            both = {k: _concatenated(self.members[k], self.others[k], k) for k in self.members}
            return observing.of_signals({k: _of(v, kept, k) for k, v in both.items()}, outside)
        if isinstance(self.members, Mapping) or isinstance(self.others, Mapping):
            raise InputError("model: expected outputs of one kind for members and others")
        values = _of(_concatenated(self.members, self.others, "model"), kept, "model")
        if observing.question.task.name == "regression":
            return observing.of_outputs(values, "predictions", outside)
        return observing.of_outputs(values, "logits" if self.logits else "probabilities", outside)

    def sizes(self) -> tuple[int, int]:
        """Samples of members and of others."""
        found = []
        for side, what in ((self.members, "members"), (self.others, "others")):
            values = list(side.values()) if isinstance(side, Mapping) else [side]
            shapes = {np.shape(v)[:1] for v in values}
            if len(shapes) != 1 or not all(shapes):
                raise InputError(
                    f"model: expected recorded outputs of {what} with one axis of samples, all alike, "
                    f"got {[np.shape(v) for v in values]}; record one row per sample"
                )
            found.append(int(next(iter(shapes))[0]))
        return found[0], found[1]


def _concatenated(a: Any, b: Any, what: str) -> AnyArray:
    x, y = (np.asarray(v.detach().cpu() if hasattr(v, "detach") else v) for v in (a, b))
    if x.shape[1:] != y.shape[1:]:
        raise InputError(
            f"{what}: expected one shape for members and others, got {x.shape} and {y.shape}"
        )
    return np.concatenate([x, y])


def _of(values: AnyArray, kept: Int64Array, what: str) -> AnyArray:
    if len(values) <= int(kept.max(initial=-1)):
        raise InputError(
            f"{what}: expected an output for every sample, got {len(values)}; record them all"
        )
    return values[kept]


def audit(
    model: Any,
    members: Any,
    others: Any,
    *,
    task: str | None = None,
    logits: bool | None = None,
    noise: float | None = None,
    groups: tuple[Groups, Groups] | None = None,
    references: Any = None,
    attacks: Iterable[Attack] | None = None,
    service: Service | None = None,
    quantile: float = 0.5,
    q: float = 0.05,
    drop_copies: bool = False,
    accept_changes: bool = False,
    blind: bool = True,
    curvature: bool = False,
    release: Any = (),
    by: Sequence[str] = (),
    slices: Sliced | None = None,
    name: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SingleAudit:
    """How much one trained model tells of who was in its training data.

    model: a `torch.nn.Module`; an estimator with `predict_proba`, or a regressor with `predict`; a
    function from a batch of inputs to probabilities (predictions), such as a service; or `Recorded`
    outputs. members, others: what it was trained
    on and what it was not, drawn alike, some hundreds each: pairs (inputs, labels), a
    `seepage.data.Dataset` or a PyTorch one, or the path of an .npz (`inputs` or `x`, `labels` or `y`, `groups`). With
    recorded outputs labels alone (N,) will do, or None with recorded signals.

    task: one of `seepage.signals.tasks.TASKS`, what labels are: by default that of a
    `seepage.data.Dataset`, regression of an estimator that says it is a regressor, else
    classification. It states which signals there are; attacks that read others are in `skipped`.
    logits: whether the model's outputs are logits; by default those of a network are and those of
    others are not. noise: of a regression the standard deviation of the noise, by default the root
    mean square of the residuals of the samples that a model was not trained on. groups: (of members, of others), whose each sample is; figures are then of
    subjects. service: how a function is asked (batches, repetitions, cache), and the batch of a
    network. references: pairs (model, mask over members and then others), `RecordedReferences` or
    `TrainedReferences`; then every attack of `seepage.attacks.usual()` that can be bound is run,
    or those of `attacks`. quantile: of quantile regression. q: false share among those named.
    drop_copies: others that are exact copies of members are taken out instead of refused.
    accept_changes: judge a model that answers differently each time, by one answer. blind: whether
    the attack without a model is run. curvature: measure the input loss curvature of networks, 41
    queries a sample and reference, for the attacks that read it. release: how the model is released,
    names such as "label-only", "top-1", "int8" or "int8+top-1" (`seepage.variants`): each is judged as
    the model itself, and the result's `release` has the worst; weights are those of a network, and
    references are released alike. by, slices: parts within which the attack that names members is looked
    at too (`seepage.single.parts`): "class", with references "correctness" and "difficulty", columns of a data
    frame; and {name: (values of members, values of others)}. seed: of folds and of the half of others that calibrates.
    progress: called with (what, done, all).

    Inputs reach the model as they are given; nothing is standardised. A network is asked in eval
    mode without gradients and given back in its own mode. Intervals are over samples, or subjects:
    `seepage.metrics.auc_interval`, `joint_rates`, and of the strongest attack one that pays for the
    choice. Chance is ½; there is no verdict where an attack without the model finds members too, nor
    where members are right far more often on inputs that are prepared otherwise, standardised for example
    (`seepage.models.preparations`; of networks and estimators, of which some hundred members are asked
    about again).

    Raises InputError in one line for what cannot be used; an attack that cannot run is named in
    `skipped` and stops nothing.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 600)
    >>> z = np.stack([np.zeros(600), (2 * y - 1) * rng.normal(1.5, 1.0, 600)], axis=1)
    >>> z[:300, 1] += 0.8 * (2 * y[:300] - 1)
    >>> one = audit(Recorded(z[:300], z[300:]), y[:300], y[300:])
    >>> one.said, 0.6 < one.strongest.estimate.mean < 0.8, one.skipped["lira"]
    ('leaks', True, 'needs reference models')
    """
    say: Progress = progress if progress is not None else lambda what, done, total: None
    asking = service if service is not None else Service()
    wanted = as_variants(release, "release") if release else ()
    if task == "language":
        raise no_texts()
    axes = 2 if task is not None and task_named(task).name in ("multi-label", "soft-labels") else 1
    sides = [side_of(s, w, axes=axes) for s, w in ((members, "members"), (others, "others"))]
    if groups is not None:
        if not isinstance(groups, tuple) or len(groups) != 2:
            raise InputError("groups: expected a pair (of members, of others); pass both")
        sides = [replace(s, groups=_names(g)) for s, g in zip(sides, groups, strict=True)]
    kind = _task_of(task, sides, model)
    if noise is not None and (kind.name != "regression" or not noise > 0):
        raise InputError(
            f"noise: expected a standard deviation above 0 with the task regression, got {noise:g} with "
            f"{kind.name}; leave it out"
        )
    model = _recorded_in(model, sides, kind)
    if isinstance(model, Recorded):
        names = zip(sides, model.sizes(), ("member", "other"), strict=True)
        sides = [_with_ids(side, n, what) for side, n, what in names]
        asked = "recorded outputs"
    else:
        asked = kind_of(model, kind)
    check_task(wanted, kind)
    recorded = isinstance(model, Recorded) and isinstance(model.members, Mapping)
    check_release(wanted, model, references, tuple(model.members) if recorded else None)
    pool, kept = pooled(
        sides[0],
        sides[1],
        drop_copies=drop_copies,
        missing=asked != "network",
        by_class=kind.classes,
    )
    given = _all(sides)
    divisions = parts_of(by, slices, pool, kept, given, kind, references is not None)
    question, classes = _question(model, pool, kind, noise)
    labels = question.labels

    observing = Observing(
        question,
        len(pool.member),
        getattr(model, "classes_", None),
        logits,
        asking,
        accept_changes,
        curvature,
        seed,
        tuple(v for v in wanted if v != Variant()),
    )
    if isinstance(model, Recorded):
        seen = model.observed(observing, kept, ~pool.member)
        answers: Answers | None = None
    else:
        seen, answers = observing.target(model, pool.inputs, ~pool.member, say)
    observed = seen.plain

    def observe(one: Any, outside: BoolArray) -> Seen:
        if isinstance(one, Recorded):
            return one.observed(observing, kept, outside)
        return observing.reference(one, pool.inputs, outside, say)

    better = None
    if answers is not None and labels is not None:
        say("inputs prepared otherwise", 0, 1)
        better = found_prepared(model, pool, question, observed, answers)
    exchanged = rather_exchanged(better, observed, pool.member)
    better = None if exchanged else better
    doubts = answers_fit(observed, labels, pool.member, better) + prepared_doubted(better)
    if answers is not None and better is None and not exchanged:
        doubts += scale_doubted(model, pool, labels, answers.form == "logits")
    unit = pool.unit
    inputs = pool.features
    say("attacks", 0, 1)
    features = quantile_features(inputs, labels, targets=question.targets, seed=seed)

    def scored_of(observed: Observed, found: Measured | None) -> Scored:
        own = reference_free_scores(
            observed, pool.member, features, unit, quantile=quantile, seed=seed
        )
        if found is None:
            lacking = {
                a.name: words.NEEDS_CHECKPOINTS if a.trajectory else words.NEEDS_REFERENCES
                for a in usual()
                if a.name not in TITLES
            }
            return Scored(own.scores, dict(own.skipped) | lacking)
        more = referenced_scores(observed, found, pool.member, question, attacks, unit)
        # The same attack without references judges every sample by others that it is not one of.
        scores = {**more.scores, **own.scores}
        skipped = {n: w for n, w in {**more.skipped, **own.skipped}.items() if n not in scores}
        return Scored(scores, skipped, more.within)

    notes = prepared_noted(better) + observed.notes + (() if answers is None else answers.notes)
    notes = (*notes, *copies_in_words(pool))
    if len(kept) < given:
        notes += (f"others: {given - len(kept):,} exact copies of members were taken out",)
    models, balanced, found = 0, None, None
    if references is not None:
        found = measured(references, pool, kept, given, observed, observing, observe, say)
        references_fit(
            found, observed, pool, prepared_noted(better) + tuple(d.note for d in doubts)
        )
        doubts += references_know(found, observed, pool)
        models, notes = len(found.member), notes + found.notes
        notes += unlike_references(observed, found, pool.member)
        balanced = balance(found.member, pool.member, unit)
    scored = scored_of(observed, found)
    if not scored.scores:
        reasons = "; ".join(f"{k}: {v}" for k, v in scored.skipped.items())
        raise InputError(f"attacks: expected at least one that can be run, got none ({reasons})")
    titles = {n: cls.title for n, cls in ATTACKS.items()} | TITLES
    titles |= {a.name: a.title for a in attacks or ()}
    scores, alone, within = scores_of_units(scored.scores, scored.within, pool.member, unit)
    member = np.asarray(unit.member(pool.member))
    judged = _judged(scores, titles, member)[0]
    order = ("lira", *_MAIN) if models >= _MANY else _MAIN
    main = next((n for n in order if n in scored.scores), next(iter(scored.scores)))
    say("naming", 0, 1)
    naming, p, named = _naming(scores[main], member, q, seed)
    say("blind baseline", 0, 1)
    whose = subjects_found(
        titles.get(main, main),
        alone[main],
        scores[main],
        within.get(main, Within.unknown()),
        main in scored.within,
        pool.member,
        unit,
    )
    measure = _MEASURES.get(kind.name, "accuracy")
    one = SingleAudit(
        title=name or _called(model),
        asked=asked,
        ids=np.asarray(unit.ids(pool.ids.tolist())),
        member=member,
        samples=(int(pool.member.sum()), int((~pool.member).sum())),
        subjects=isinstance(unit, Subjects),
        whose=whose,
        classes=observed.classes or classes,
        accuracy=_accuracy(observed, pool.member, measure),
        blind=blind_of(pool, question) if blind else Blind(None, "it was left out"),
        attacks=judged,
        skipped=scored.skipped,
        main=main,
        naming=naming,
        p=p,
        named=named,
        references=models,
        balanced=balanced,
        queries=0 if answers is None else answers.queries,
        cached=0 if answers is None else answers.cached,
        notes=(*(d.note for d in doubts), *notes),
        task=kind.name,
        measure=measure,
        doubts=tuple(d.clause for d in doubts),
        prepared="" if better is None or not better.far else better.headline,
        tail=_tail(observed, pool, judged),
        slices=parts_found(divisions, found, scores[main], member, titles.get(main, main), pool),
        unlearnt=better is not None and unlearnt(better, observed, labels, pool.member),
    )
    if wanted:
        say("what is released", 0, 1)
        as_seen = {Variant().name: (scores, scored.skipped, observed)}
        for variant, told in seen.released.items():
            alike = None if found is None else replace(found, signals=found.released[variant])
            shown = scored_of(told, alike)
            values = scores_of_units(shown.scores, shown.within, pool.member, unit)[0]
            as_seen[variant] = values, shown.skipped, told
        release_found = found_variants(
            one.title,
            one.subjects,
            as_seen,
            [v.name for v in wanted],
            pool.member,
            lambda values, level: _judged(values, titles, member, level),
        )
        one = replace(one, release=release_found)
    if exchanged and not one.reversed:
        clauses, said = (d.clause for d in exchanged), (d.note for d in exchanged)
        one = replace(one, doubts=(*clauses, *one.doubts), notes=(*said, *one.notes))
    one = replace(one, limits=words.limits(one), steps=words.steps(one))
    return replace(one, headline=words.headline(one))


def _task_of(given: str | None, sides: list[Side], model: Any) -> Task:
    """The task that is named, that of data sets, or what an estimator says of itself."""
    told = {s.task for s in sides} - {None}
    if len(told) > 1 or (given is not None and told - {given}):
        names = sorted(str(t) for t in told | ({given} - {None}))
        raise InputError(
            f"task: expected one for members, others and the model, got {', '.join(names)}; pass data "
            "of one task"
        )
    if given is not None or told:
        return task_named(given if given is not None else str(told.pop()))
    regressor = hasattr(model, "fit") and not hasattr(model, "predict_proba") and _regresses(model)
    return task_named("regression" if regressor else "classification")


def _regresses(model: Any) -> bool:
    """Whether an estimator says of itself that it is a regressor."""
    from sklearn.base import is_regressor

    try:
        return bool(is_regressor(model))
    except (AttributeError, TypeError):  # it says nothing of itself
        return False


def _recorded_in(model: Any, sides: list[Side], kind: Task) -> Any:
    """The recorded outputs that files of members and others hold, where no model was passed."""
    if model is not None:
        return model
    a, b = (s.recorded for s in sides)
    whole = ("predictions",) if kind.name == "regression" else ("logits", "probabilities")
    for what in whole:
        if what in a and what in b:
            return Recorded(a[what], b[what], logits=what == "logits")
    if a and set(a) == set(b):
        return Recorded(dict(a), dict(b))
    raise InputError(
        "model: expected a model, or recorded outputs (logits, probabilities, phi or loss; of a "
        "regression predictions or residual) of "
        f"members and others alike, got {sorted(a) or 'none'} and {sorted(b) or 'none'}; pass one"
    )


def _with_ids(side: Side, outputs: int, what: str) -> Side:
    """Names for samples of which only outputs may be known."""
    known = [v for v in (side.inputs, side.labels) if v is not None and hasattr(v, "__len__")]
    given = next((len(v) for v in known if np.ndim(v) or not isinstance(v, np.ndarray)), outputs)
    if given != outputs:
        raise InputError(
            f"model: expected a recorded output for each of the {given:,} {what}s, got {outputs:,}; "
            "record them all, in the same order"
        )
    if side.ids is not None:
        return side
    return replace(side, ids=np.asarray([f"{what}/{i}" for i in range(outputs)]))


def _all(sides: list[Side]) -> int:
    """Samples that were given, copies among them."""
    return sum(len(next(v for v in (s.inputs, s.labels, s.ids) if v is not None)) for s in sides)


def _names(groups: Groups) -> AnyArray:
    return np.asarray([str(g) for g in np.asarray(groups).tolist()])


def _question(model: Any, pool: Pool, kind: Task, noise: float | None) -> tuple[Question, int]:
    """What the pool asks, and how many classes the model says there are, 0 where it does not."""
    if pool.labels is None:
        return Question(kind, noise=noise), 0
    if not kind.classes:
        return Question(kind, targets=target_rows(pool.labels, kind), noise=noise), 0
    classes = getattr(model, "classes_", None)
    labels = class_numbers(pool.labels, classes)
    soft = None if pool.soft is None else np.asarray(pool.soft, dtype=np.float64)
    return Question(kind, labels, soft), 0 if classes is None else len(classes)


def _called(model: Any) -> str:
    if isinstance(model, Recorded):
        return "recorded outputs"
    return str(getattr(model, "__name__", type(model).__name__))


def _judged(
    scores: Mapping[str, Float64Array],
    titles: Mapping[str, str],
    member: BoolArray,
    level: float = 0.95,
) -> tuple[tuple[OneAttack, ...], dict[str, Estimate]]:
    """AUC and rates of every attack, as of a fixed target; scores and member of what is judged.

    And the AUC of each with its interval at `level`.
    """
    # Every sample is OUT of its complement, so that all of them are judged.
    judging = Judging(np.stack([member, ~member]), 0)
    wide = 1 - 0.05 / len(scores)
    out, widest = [], {}
    for name, values in scores.items():
        auc, auc_wide, widest[name] = judging.auc(values[None], 0.95, wide, level)
        near, far = (_resolved(judging.rates(values[None], FPRS, at)) for at in (0.95, wide))
        curve = judging.curve(values[None], _POINTS)
        out.append(
            OneAttack(
                name, titles.get(name, name), auc, auc_wide, near, far, curve.fpr, curve.tpr, values
            )
        )  # fmt: skip
    return tuple(out), widest


def _resolved(rates: Iterable[AtFpr]) -> tuple[AtFpr, ...]:
    """Scores that tie at a rate cannot show it: correctness knows two values."""
    return tuple(
        replace(r, resolved=False)
        if r.resolved and 2 * r.realised * r.negatives < round(r.null * (r.negatives + 1)) - 1
        else r
        for r in rates
    )


def _naming(
    one: Float64Array, truth: BoolArray, q: float, seed: int
) -> tuple[Naming | None, Float64Array, BoolArray]:
    """Whom these scores name: p (U,), NaN for the half of the others that calibrates; named (U,)."""
    others = np.random.default_rng(seed).permutation(np.flatnonzero(~truth))
    calibration, rest = np.split(others, [(len(others) + 1) // 2])
    p, named = np.full(len(one), np.nan), np.zeros(len(one), dtype=np.bool_)
    if not rest.size:
        return None, p, named
    tested = np.concatenate([np.flatnonzero(truth), rest])
    found = name_members(one[tested], one[calibration], q=q, member=truth[tested])
    p[tested], named[tested] = found.p, found.named
    nan = float("nan")
    false = Estimate(float(found.false_share or 0.0), nan, nan, 0.95, len(tested))
    members = int(truth.sum())
    return Naming(q, found.count, members, len(calibration), found.fewest, false), p, named


# What stands in the place of accuracy, as in reports of fleets.
_MEASURES = {"multi-label": "label-vectors", "regression": "rmse", "soft-labels": "divergence"}


def _errors(values: Float64Array, member: BoolArray, root: Any) -> tuple[Estimate, Estimate]:
    """root of the means of both sides, with normal intervals of the means over samples."""
    out = []
    for side in (member, ~member):
        own = values[side]
        half = 1.96 * own.std(ddof=1) / np.sqrt(len(own))
        low, high = max(own.mean() - half, 0.0), own.mean() + half
        ends = float(root(own.mean())), float(root(low)), float(root(high))
        out.append(Estimate(*ends, 0.95, len(own)))
    return out[0], out[1]


def _accuracy(
    observed: Observed, member: BoolArray, measure: str
) -> tuple[Estimate, Estimate] | None:
    """Accuracy of members and of others, or the task's error; None where it is not known."""
    if measure == "rmse" and "residual" in observed.signals:
        return _errors(observed.signals["residual"] ** 2, member, np.sqrt)
    if measure == "divergence" and "loss" in observed.signals:
        return _errors(observed.signals["loss"], member, float)
    if "correct" not in observed.signals:
        return None
    right = observed.signals["correct"]
    out = []
    for side in (member, ~member):
        hits, n = float(right[side].sum()), int(side.sum())
        low, high = clopper_pearson(hits, n)
        out.append(Estimate(hits / n, float(low), float(high), 0.95, n))
    return out[0], out[1]


def _tail(observed: Observed, pool: Pool, judged: Iterable[OneAttack]) -> TailFinding | None:
    """The tail of losses, or of the size of residuals, and LiRA's TPR where references were passed."""
    loss = observed.signals.get("loss")
    if loss is None and "residual" in observed.signals:
        loss = np.abs(observed.signals["residual"])
    if loss is None:
        return None
    unit = pool.unit
    if isinstance(unit, Subjects):
        loss = np.asarray(unit.scores(loss)) / unit.sizes
    found = tail_estimate(loss, np.asarray(unit.member(pool.member)), RATE)
    if not np.isfinite(found.mean):
        return None
    rates = next((a.rates for a in judged if a.name == "lira"), ())
    lira = next((r.tpr for r in rates if r.resolved and r.fpr == RATE), None)
    return TailFinding(RATE, found, lira)
