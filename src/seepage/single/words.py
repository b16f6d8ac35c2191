"""What an audit of one model says in words: its headline, what it cannot say, what to do next."""

from __future__ import annotations

import numpy as np

from seepage.metrics import Estimate
from seepage.single.result import SingleAudit

__all__ = ["accuracy", "headline", "limits", "named", "not_run", "released", "steps"]

NEEDS_REFERENCES = "needs reference models"
# Of the distance from the AUC to the low end of its 95 % interval: some 3.3 standard errors, beyond which
# one honest draw in 2,000 comes.
_HONEST = 1.7
NEEDS_CHECKPOINTS = "needs several checkpoints of its training"


def _auc(e: Estimate) -> str:
    return f"{e.mean:.3f} [{e.low:.3f}, {e.high:.3f}]"


def _by(one: SingleAudit) -> str:
    """Which classifier that is, and of how many."""
    b = one.blind
    return f" (strongest of {len(b.each)}: {b.by})" if b.each else ""


def _shares(one: SingleAudit) -> str:
    """How often members and others are right, where that is what accuracy is."""
    if one.accuracy is None or one.measure != "accuracy":
        return ""
    members, others = one.accuracy
    return f", {others.mean:.1%} and {members.mean:.1%}"


def _drawn(one: SingleAudit, blind: Estimate) -> str:
    """What to do about members that differ, and how often honest ones do where they differ little."""
    grouped = (
        "" if one.subjects else ", or pass groups (groups=) where people may have several records"
    )
    again = f"Draw members and others again at random{grouped}"
    if blind.mean - 0.5 < _HONEST * (blind.mean - blind.low):
        return f"{again}: 1 honest draw in 40 comes to such an interval."
    return f"{again}."


def headline(one: SingleAudit) -> str:
    """The verdict in a sentence or two, and why its figures may be of something else."""
    where = "the first note" if len(one.doubts) == 1 else "the first notes"
    return _verdict(one) + (f" But {', and '.join(one.doubts)}: see {where}." if one.doubts else "")


def _verdict(one: SingleAudit) -> str:
    best = one.strongest
    title = one.attack(best.attack).title
    if one.said == "refused":
        blind = one.blind.auc
        if one.prepared:
            return (
                "No verdict: inputs seem to be prepared otherwise than in training: "
                f"{one.prepared}."
            )
        if blind is not None and one.blind.shifted:
            return (
                f"No verdict: members and others differ without the model. An attack that never sees "
                f"it tells them apart with AUC {_auc(blind)}{_by(one)}. {_drawn(one, blind)}"
            )
        if one.reversed and best.estimate.high >= 0.5:
            gap = one.attack("gap").auc_wide
            return (
                f"No verdict: others are right more often than members{_shares(one)}, so that correctness tells "
                f"members with AUC {_auc(gap)}. Probably members and others are exchanged."
            )
        if one.reversed:
            return (
                "No verdict: others look more like members than the members do, AUC "
                f"{_auc(best.estimate)} (strongest of {best.compared} attacks: {title}). Probably "
                "members and others are exchanged."
            )
        assert one.balanced is not None
        return (
            "No verdict: the references give the members away. How many of them were trained on a "
            f"sample tells who is a member with AUC {_auc(one.balanced)}."
        )
    of = f"strongest of {best.compared} attacks: {title}"
    if one.said == "leaks":
        return f"It leaks: members are told from others with AUC {_auc(best.estimate)} ({of})."
    return (
        f"No leak was shown: AUC {_auc(best.estimate)} ({of}), and chance lies in the interval. "
        f"These attacks leave room for an AUC of up to {best.estimate.high:.3f}."
    )


def released(one: SingleAudit) -> str:
    """The verdict on the model as it is released, in a sentence or two; empty where it is not asked."""
    if one.release is None:
        return ""
    worst, figure = one.release.worst
    judged = sum(v.judged for v in one.release.found)
    which = f"the worst of {judged} variants is {worst.name}" if judged > 1 else worst.name
    told = f"As released ({which}) "
    by = f"AUC {_auc(figure.estimate)} by {figure.attack}"
    if figure.compared > 1:
        by += f", strongest of {figure.compared} pairs of an attack and a variant"
    if one.released_said == "refused":
        return f"{told}there is no verdict either: {by}."
    if one.released_said == "leaks":
        return f"{told}it leaks: {by}."
    return (
        f"{told}no leak was shown: {by}. These attacks leave room for an AUC of up to "
        f"{figure.estimate.high:.3f}."
    )


def limits(one: SingleAudit) -> tuple[str, ...]:
    """What these figures do not say, the strongest limit first."""
    out = []
    if not one.references:
        out.append(
            "Without reference models the difficulty of each sample is not removed: LiRA, RMIA and "
            "other attacks that have some would find more. A low figure here is no proof that "
            "little leaks."
        )
    below = [a for a in one.attacks if a.auc_wide.high < 0.5]
    if below and not one.reversed:
        out.append(
            f"{', '.join(a.title for a in below)}: below chance with the whole interval. An attack that "
            "calls others members tells of something wrong: members of the references that are not "
            "theirs, labels in another order, or other inputs than the model was trained on."
        )
    out.append(
        "Figures are about leakage only if members and others were drawn alike, at random from one "
        "source. "
        + (
            f"The blind baselines ({', '.join(one.blind.each) or 'one'}) look for differences; one that "
            "none of them sees passes unseen."
            if one.blind.auc is not None
            else f"The blind baseline that would look for differences was not run: {one.blind.note}."
        )
    )
    out.append(
        f"Intervals are over {one.unit} of this one model: they say nothing of another training of "
        "it, nor of records that were not given."
    )
    if one.release is not None:
        out.append(
            "Of what is released, a low figure says that these attacks find little in it: what is hidden "
            "may be asked for in other ways, such as many queries around a sample. Names and p-values "
            "are of the model as trained."
        )
    n = one.naming
    if n is not None and n.count < 1:
        out.append(
            f"That nobody is named is a limit too: with {n.calibration:,} others that calibrate a name "
            f"is possible only where {n.fewest:,} stand out at once"
            + (", more than there are members." if n.fewest > n.members else ".")
        )
    elif n is not None:
        out.append(
            f"Of the named, a share of at most {100 * n.q:g} % is false in expectation; in one list it may "
            "be more."
        )
    unresolved = [
        r for r in one.attacks[0].rates if not r.resolved and r.fpr * (r.negatives + 1) < 1 - 1e-9
    ]
    if unresolved:
        rate = unresolved[0].fpr
        out.append(
            f"Rates at {100 * rate:g} % false positives and below need {int(np.ceil(1 / rate)) - 1:,} "
            f"others, and there are {one.others:,}."
        )
    if one.asked == "recorded outputs":
        out.append(
            "Outputs were taken as recorded: whether they are this model's was not looked at."
        )
    return tuple(out)


def steps(one: SingleAudit) -> tuple[str, ...]:
    """What to do next."""
    best = one.strongest.estimate
    if one.said == "refused":
        blind = one.blind.auc
        if one.prepared:
            return (
                "Pass inputs as the model took them in training, prepared alike, and audit again: "
                f"{one.prepared}.",
            )
        if blind is not None and one.blind.shifted:
            return (
                "Draw others from the source, time and classes of the members, or split one source "
                "at random before training, and audit again.",
            )
        if one.reversed:
            return (
                "Exchange members and others if that is what happened; else look at the accuracies: "
                "on members it should be what the training saw.",
            )
        return (
            "Draw the members of each reference model at random from members and others together, "
            "without looking at who is a member (seepage.half_split), and audit again.",
        )
    out = []
    if one.said == "leaks":
        out.append(
            "Compare defences on your data: `seepage defend`; the cheapest are fewer epochs and "
            "stronger regularisation, the one with a guarantee is DP-SGD (docs/defences.md)."
        )
    if not one.references:
        out.append(
            "Pass reference models, or a function that trains some (references=), for the attacks "
            "that remove the difficulty of samples (docs/one-model.md)."
        )
    width = best.high - best.low
    if one.said == "not shown" and np.isfinite(width) and width > 0.04:
        more = int(np.ceil((width / 0.04) ** 2 * min(one.members, one.others) / 100) * 100)
        out.append(
            f"For an interval of ± 0.02 judge some {more:,} members and as many others "
            f"(now {one.members:,} and {one.others:,})."
        )
    out.append(
        "To know what the recipe leaks, when in training, and for which samples, audit a fleet: "
        "`seepage audit audit.toml`."
    )
    return tuple(out)


def accuracy(one: SingleAudit) -> str:
    """Accuracy, or the task's error, of both sides in a sentence; empty where it is not known."""
    return one.accuracy_said


def named(one: SingleAudit) -> str:
    """Whom the main attack names, in a sentence; empty where nobody could be tested."""
    n = one.naming
    if n is None:
        return ""
    tested = int(np.isfinite(one.p[~one.member]).sum())
    wrong = int(one.named[~one.member].sum())
    return (
        f"Named at an expected false share of {100 * n.q:g} % by {one.attack(one.main).title}: "
        f"{int(one.named[one.member].sum()):,} of {n.members:,} members and {wrong:,} of {tested:,} "
        f"others, calibrated on the remaining {n.calibration:,} others."
    )


def not_run(one: SingleAudit) -> tuple[str, ...]:
    """The attacks that did not run, by reason."""
    reasons: dict[str, list[str]] = {}
    for name, why in one.skipped.items():
        reasons.setdefault(why, []).append(name)
    return tuple(
        f"{len(names)} attacks need reference models (LiRA, RMIA and their kin)"
        if why == NEEDS_REFERENCES
        else f"{', '.join(names)} ({why})"
        for why, names in reasons.items()
    )
