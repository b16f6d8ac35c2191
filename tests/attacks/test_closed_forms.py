"""Every attack against its definition, written out sample by sample. One without a row here fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from oracles import leaking_signals, read_by
from seepage import attacks
from seepage.attacks import ATTACKS, Attack
from seepage.plan import subsets

F = np.ndarray
Rule = Callable[[Mapping[str, F], Mapping[str, F], F], F]
"""Target {name: (N,)}, references {name: (R, N)} and members (R, N) -> scores (N,)."""


def each(rule: Callable[[Mapping[str, F], Mapping[str, F], F], float]) -> Rule:
    """A rule of single samples: its values in the target, its OUT and its IN references."""

    def whole(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
        found = []
        for i in range(m.shape[1]):
            here = {k: v[i] for k, v in t.items()}
            out = {k: v[~m[:, i], i] for k, v in r.items()}
            found.append(rule(here, out, {k: v[m[:, i], i] for k, v in r.items()}))
        return np.array(found)

    return whole


def cdf(x: float, sample: F, low: float, high: float) -> float:
    """Interpolated, the n values at ranks 1 to n of n + 1, anchors at 0 and n + 1."""
    at = np.concatenate([[low], np.sort(sample), [high]])
    return float(np.interp(x, at, np.linspace(0, 1, len(at))))


def attack_p(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    return -np.log([cdf(x, t["loss"], 0, 1000) for x in t["loss"]])


def attack_s(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    found = []
    for x, c in zip(t["loss"], t["labels"], strict=True):
        mine = (r["labels"] == c) & ~m
        found.append(-np.log(cdf(x, r["loss"][mine], 0, 1000)))
    return np.array(found)


def camia(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    outside = r["loss_shape"][~m]
    p = [
        [(1 + (outside[:, f] >= x).sum()) / (1 + len(outside)) for f, x in enumerate(row)]
        for row in t["loss_shape"]
    ]
    return -np.mean(p, axis=1)


def risk_score(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """With the histogram of NumPy, as in the released code."""
    found = []
    for x, c in zip(t["mentr"], t["labels"], strict=True):
        mine = r["labels"] == c
        inside, out = (np.log10(r["mentr"][mine & k]) for k in (m, ~m))
        both = np.concatenate([inside, out])
        edges = np.linspace(both.min(), both.max(), 6)
        h_in, h_out = (np.histogram(v, edges)[0] / len(v) for v in (inside, out))
        at = int(np.clip(np.searchsorted(edges, np.log10(x), "right") - 1, 0, 4))
        near = [k for d in range(5) for k in (at - d, at + d) if 0 <= k < 5 and h_in[k] + h_out[k]]
        found.append(h_in[near[0]] / (h_in[near[0]] + h_out[near[0]]))
    return np.array(found)


def isotonic(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """scikit-learn's, on the values themselves and not on cells of them."""
    found = np.empty(m.shape[1])
    for c in np.unique(t["labels"]):
        mine = r["labels"] == c
        weight = np.where(m[mine], 1 / m[mine].sum(), 1 / (~m[mine]).sum())
        fit = IsotonicRegression(increasing=False, out_of_bounds="clip")
        fit.fit(np.log(r["mentr"][mine]), m[mine], sample_weight=weight)
        at = t["labels"] == c
        found[at] = fit.predict(np.log(t["mentr"][at]))
    return found


def base(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    return -t["loss"] - np.log(np.exp(-r["loss"]).mean(axis=0))


def against_population(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """InfoRMIA's mean over z of log [(p(x|θ)/p(x)) / (p(z|θ)/p(z))], pair by pair."""
    ratio = np.exp(-t["loss"]) / np.exp(-r["loss"]).mean(axis=0)
    return np.log(ratio[:, None] / ratio[None, :]).mean(axis=1)


def rmia(p: Callable[[F, F], F]) -> Rule:
    def whole(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
        at = [
            float(p(np.exp(-r["loss"][~m[:, i], i]), np.exp(-r["loss"][m[:, i], i])))
            for i in range(m.shape[1])
        ]
        ratio = np.exp(-t["loss"]) / np.array(at)
        return (ratio[:, None] >= ratio[None, :]).mean(axis=1)

    return whole


def tuned(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """a by the mean AUC of the references of pairs (0, 1), (2, 3), … under each other."""
    best = []
    for a in np.arange(11) / 10:
        areas = []
        for s in range(len(m)):
            others = np.arange(len(m)) // 2 != s // 2
            prob = np.exp(-r["loss"][others])
            mean = np.where(m[others], 0, prob).sum(axis=0) / (~m[others]).sum(axis=0)
            ratio = np.exp(-r["loss"][s]) / (0.5 * ((1 + a) * mean + 1 - a))
            areas.append(stats.mannwhitneyu(ratio[m[s]], ratio[~m[s]]).statistic)
        best.append(np.mean(areas))
    a = np.argmax(np.round(best, 9)) / 10
    return rmia(lambda out, inside: 0.5 * ((1 + a) * out.mean() + 1 - a))(t, r, m)


def pmia(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """The released code: medians, standard deviations of divisor n."""
    found = []
    for i, c in enumerate(t["labels"]):
        own = r["phi"][~m[:, i], i]
        proxies = r["phi"][m & (r["labels"] == c)]
        found.append(
            stats.norm.logpdf(t["phi"][i], np.median(proxies), proxies.std())
            - stats.norm.logpdf(t["phi"][i], np.median(own), own.std())
        )
    return np.array(found)


def normal(name: str) -> Rule:
    return each(
        lambda t, out, inside: float(
            stats.norm.logpdf(t[name], inside[name].mean(), inside[name].std())
            - stats.norm.logpdf(t[name], out[name].mean(), out[name].std())
        )
    )


def shrunken(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """s₀² is what a common variance reads as where α₀ is vast; weights 2α₀ = 6 and n."""
    vast = attacks.LiRA(variance=attacks.Shrunken(alpha=1e12))
    ours = attacks.Shrunken(alpha=3.0)
    found = np.zeros(m.shape[1])
    for sign, mask in ((1, m), (-1, ~m)):
        common = common_variance(r["phi"], mask, ours.alpha)
        for i in range(m.shape[1]):
            x = r["phi"][mask[:, i], i]
            variance = (6 * common + len(x) * x.var()) / (6 + len(x))
            found[i] += sign * stats.norm.logpdf(t["phi"][i], x.mean(), np.sqrt(variance))
    assert np.isfinite(vast.score(t["phi"], r["phi"], m)).all()
    return found


def common_variance(phi: F, mask: F, alpha: float) -> float:
    """s₀² = β₀/α₀ as the prior has it, whose fit has tests of its own."""
    from seepage.attacks.variance import Group, Totals, prior

    law = prior(Totals.of(Group.of(phi[..., None], mask)), attacks.StudentT(alpha=alpha))
    return float(law[0, 3] / law[0, 2])


def joint(name: str) -> Rule:
    """Normal laws of φ and the logarithm of another signal."""

    def one(t: Mapping[str, F], out: Mapping[str, F], inside: Mapping[str, F]) -> float:
        x = np.array([t["phi"], np.log(t[name])])
        total = 0.0
        for sign, group in ((1, inside), (-1, out)):
            both = np.stack([group["phi"], np.log(group[name])])
            law = stats.multivariate_normal(both.mean(axis=1), np.cov(both, ddof=0))
            total += sign * float(law.logpdf(x))
        return total

    return each(one)


def shadow(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """The same features, not counted in cells, by a general minimiser."""
    from seepage.attacks.shadow import _features

    read = ("phi", "correct", "mentr")
    x, y = _features(*(r[k].ravel() for k in read)), m.ravel()
    weight = np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum())
    penalty = np.full(x.shape[1], 1e-2)
    penalty[0] = 1e-12

    def value(w: F) -> tuple[float, F]:
        odds = x @ w
        p = 1 / (1 + np.exp(-odds))
        loss = weight @ np.where(y, np.logaddexp(0, -odds), np.logaddexp(0, odds))
        return float(loss + 0.5 * penalty @ w**2), x.T @ (weight * (p - y)) + penalty * w

    fit = minimize(value, np.zeros(x.shape[1]), jac=True, options={"gtol": 1e-9})
    return np.asarray(_features(*(t[k] for k in read)) @ fit.x)


def share_below(scores: F) -> F:
    """Ranks from 0 to 1, by comparing all pairs."""
    less = (scores[None, :] < scores[:, None]).mean(axis=1)
    return np.asarray(less + (scores[None, :] == scores[:, None]).mean(axis=1) / 2)


def vote(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """The mean rank under two attacks that have closed forms of their own."""
    each = (base(t, r, m), ROWS["calibrated"][1](t, r, m))
    return np.asarray(np.mean([share_below(s) for s in each], axis=0))


def stacked(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """Reference by reference, of pairs (0, 1), (2, 3), …; scikit-learn's logistic regression."""

    def deviates(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
        each = (ROWS["calibrated"][1](t, r, m), -t["loss"])
        return np.stack([stats.norm.ppf(share_below(s)) for s in each], axis=1)

    learnt = []
    for s in range(len(m)):
        others = np.arange(len(m)) // 2 != s // 2
        target = {k: v[s] for k, v in r.items()}
        learnt.append(deviates(target, {k: v[others] for k, v in r.items()}, m[others]))
    x, y = np.concatenate(learnt), m.ravel()
    weight = np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum())
    spread = x.std(axis=0) if y.mean() == 0.5 else np.sqrt(weight @ (x - weight @ x) ** 2)
    centre = weight @ x
    # Its C is 1 over the penalty where weights are not normed.
    fit = LogisticRegression(C=1e4, tol=1e-12, max_iter=10_000)
    fit.fit((x - centre) / spread, y, sample_weight=weight)
    return np.asarray(fit.decision_function((deviates(t, r, m) - centre) / spread))


def outputs(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """scikit-learn's boosting on rows in order, each class's answers in one loop."""

    def rows(z: F, labels: F) -> F:
        p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
        return np.array(
            [
                np.log([row[c], *sorted(np.delete(row, c), reverse=True)])
                for row, c in zip(p.reshape(-1, 4), labels.ravel().astype(int), strict=True)
            ]
        ).round(9)

    return boosted(rows(r["logits"], r["labels"]), m, rows(t["logits"], t["labels"]))


def white_box(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """The same on loss, norms of layers, those of outputs with the true class first, and the class."""

    def rows(s: Mapping[str, F]) -> F:
        labels = s["labels"].ravel().astype(int)
        layers, last = (s[k].reshape(len(labels), -1) for k in ("grad_layers", "grad_last"))
        found = []
        for loss, own, outs, c in zip(s["loss"].ravel(), layers, last, labels, strict=True):
            others = sorted(np.delete(outs, c), reverse=True)
            found.append([loss, *np.log(own), np.log(outs[c]), *np.log(others), *(np.eye(4)[c])])
        return np.array(found)

    return boosted(rows(r), m, rows(t))


def boosted(x: F, member: F, new: F) -> F:
    """scikit-learn's boosting of 8 trees, on rows in order of their last feature, the one before, …"""
    y, x = member.ravel(), x.round(9)
    order = sorted(range(len(y)), key=lambda k: (*x[k][::-1], y[k]))
    weight = np.where(y, 0.5 / y.mean(), 0.5 / (~y).mean())
    fit = HistGradientBoostingClassifier(
        max_iter=8, max_leaf_nodes=8, early_stopping=False, random_state=0
    )
    fit.fit(x[order], y[order], sample_weight=weight[order])
    return np.asarray(fit.decision_function(new.round(9)))


def rapid(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    def both(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
        return np.stack([-t["loss"], ROWS["calibrated"][1](t, r, m)], axis=1)

    learnt = []
    for s in range(len(m)):
        others = np.arange(len(m)) // 2 != s // 2
        target = {k: v[s] for k, v in r.items()}
        learnt.append(both(target, {k: v[others] for k, v in r.items()}, m[others]))
    return boosted(np.concatenate(learnt), m, both(t, r, m))


def trajectory(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    return boosted(r["loss"].reshape(-1, 5), m, t["loss"])


def sequence(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """Three recorded figures, two of the definition, and their steps."""

    def rows(s: Mapping[str, F]) -> F:
        p = np.exp(s["logits"]) / np.exp(s["logits"]).sum(axis=-1, keepdims=True)
        figures = [s["loss"], s["entropy"], s["mentr"], p.max(axis=-1), p.std(axis=-1)]
        flat = [f.reshape(-1, f.shape[-1]) for f in figures]
        return np.hstack([*flat, *(np.diff(f, axis=1) for f in flat)])

    return boosted(rows(r), m, rows(t))


def morgan(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """Every band between two levels of the OUT losses is counted out."""
    out, inside = r["loss"][~m], r["loss"][m]
    edges = [-np.inf, *(np.quantile(out, k / 20) for k in range(1, 20)), np.inf]
    best, band = -1.0, (0.0, 0.0)
    for k, low in enumerate(edges):
        for high in edges[k + 1 :]:
            gain = np.subtract(*(((low <= v) & (v <= high)).mean() for v in (inside, out)))
            if gain > best + 1e-9:
                best, band = float(gain), (float(low), float(high))
    within = (band[0] <= t["loss"]) & (t["loss"] <= band[1])
    assert 0 < within.sum() < len(within)
    return np.asarray(t["noise_share"] - 2 * ~within)


def less_out(name: str) -> Rule:
    """A number less its mean over the OUT references."""
    return each(lambda t, out, inside: float((t[name] - out[name].mean(axis=0)).mean()))


def odds_of_copies(t: Mapping[str, F], r: Mapping[str, F], m: F) -> F:
    """LiRA of the log-odds of a count out of four."""

    def odds(right: F) -> F:
        k = right.sum(axis=-1)
        return np.asarray(np.log((k + 0.5) / (4.5 - k)))

    s, others = odds(t["augmented_correct"]), odds(r["augmented_correct"])
    return attacks.LiRA(variance=attacks.Pooled()).score(s, others, m)


own = attacks.PerSample()
log = np.log

# The attack with the options that its closed form has, the form, and how near the two must be.
ROWS: dict[str, tuple[Attack, Rule, float]] = {
    "loss": (attacks.LOSS(), lambda t, r, m: -t["loss"], 1e-12),
    "gap": (attacks.Gap(), lambda t, r, m: t["correct"], 1e-12),
    "entropy": (attacks.Entropy(), lambda t, r, m: -t["entropy"], 1e-12),
    "mentr": (attacks.ModifiedEntropy(), lambda t, r, m: -t["mentr"], 1e-12),
    "attack-p": (attacks.AttackP(), attack_p, 1e-9),
    "lt-iqr": (
        attacks.LossTraceIQR(),
        lambda t, r, m: np.subtract(*np.percentile(t["loss"], [75, 25], axis=1)),
        1e-9,
    ),
    "attack-s": (attacks.AttackS(), attack_s, 1e-9),
    "risk-score": (attacks.PrivacyRiskScore(), risk_score, 1e-9),
    "attack-r": (
        attacks.AttackR(),
        each(lambda t, out, inside: -float(log(cdf(t["loss"], out["loss"], 0, 1000)))),
        1e-9,
    ),
    "calibrated": (
        attacks.Calibrated(),
        each(lambda t, out, inside: float(out["loss"].mean() - t["loss"])),
        1e-9,
    ),
    "lira": (attacks.LiRA(variance=own), normal("phi"), 1e-9),
    "lira-offline-one-sided": (
        attacks.LiRAOfflineOneSided(variance=own),
        each(lambda t, out, inside: float((t["phi"] - out["phi"].mean()) / out["phi"].std())),
        1e-9,
    ),
    "lira-offline-two-sided": (
        attacks.LiRAOfflineTwoSided(variance=own),
        each(
            lambda t, out, inside: -float(
                stats.norm.logpdf(t["phi"], out["phi"].mean(), out["phi"].std())
            )
        ),
        1e-9,
    ),
    "bavaria-n": (attacks.BaVarIANormal(variance=attacks.Shrunken(alpha=3.0)), shrunken, 1e-9),
    "pmia": (attacks.PMIA(centre=attacks.Median(), variance=own), pmia, 1e-9),
    "rmia": (attacks.RMIA(), rmia(lambda out, inside: (out.mean() + inside.mean()) / 2), 1e-12),
    "rmia-offline": (
        attacks.RMIAOffline(),
        rmia(lambda out, inside: 0.5 * (1.3 * out.mean() + 0.7)),
        1e-12,
    ),
    "rmia-tuned": (attacks.RMIATuned(), tuned, 1e-12),
    "base": (attacks.BASE(), base, 1e-9),
    "base-offline": (
        attacks.BASEOffline(),
        each(
            lambda t, out, inside: float(-t["loss"] - 0.33 * log(np.exp(-out["loss"]).mean()))
        ),
        1e-9,
    ),
    "shadow-classifier": (attacks.ShadowClassifier(ridge=1e-2), shadow, 0.05),
    "curvature": (attacks.CurvatureThreshold(), lambda t, r, m: -log(t["curvature_zo"]), 1e-9),
    "curvature-calibrated": (
        attacks.CurvatureCalibrated(),
        each(
            lambda t, out, inside: float(
                log(out["curvature_zo"]).mean() - log(t["curvature_zo"])
            )
        ),
        1e-9,
    ),
    "curvature-attack-r": (
        attacks.CurvatureAttackR(),
        each(
            lambda t, out, inside: -float(
                log(cdf(log(t["curvature_zo"]), log(out["curvature_zo"]), -60, 60))
            )
        ),
        1e-9,
    ),
    "curvature-mast": (
        attacks.CurvatureMAST(),
        each(
            lambda t, out, inside: float(
                (log(out["curvature_zo"]).mean() + log(inside["curvature_zo"]).mean()) / 2
                - log(t["curvature_zo"])
            )
        ),
        1e-9,
    ),
    "curvature-lr": (
        attacks.CurvatureLR(form=attacks.Corrected(own)),
        lambda t, r, m: normal("s")(
            {"s": log(t["curvature_zo"])}, {"s": log(r["curvature_zo"])}, m
        ),
        1e-7,
    ),
    "curvature-nll": (
        attacks.CurvatureNLL(),
        each(
            lambda t, out, inside: float(
                (log(inside["curvature_zo"]).mean() - log(out["curvature_zo"]).mean())
                * (
                    log(t["curvature_zo"])
                    - (log(inside["curvature_zo"]).mean() + log(out["curvature_zo"]).mean()) / 2
                )
                / (
                    sum(len(g["phi"]) * log(g["curvature_zo"]).var() for g in (out, inside))
                    / (len(out["phi"]) + len(inside["phi"]) - 2)
                )
            )
        ),
        1e-7,
    ),
    "curvature-and-confidence": (
        attacks.CurvatureAndConfidence(covariance=own),
        joint("curvature_zo"),
        1e-7,
    ),
    "lira-two-signals": (attacks.LiRATwoSignals(covariance=own), joint("entropy"), 1e-5),
    "rapid": (attacks.RAPID(learner=attacks.Boosting(8)), rapid, 1e-6),
    "loss-trajectory": (attacks.LossTrajectory(learner=attacks.Boosting(8)), trajectory, 1e-6),
    "seqmia": (attacks.SeqMIA(learner=attacks.Boosting(8)), sequence, 1e-6),
    "shadow-outputs": (attacks.ShadowOutputs(learner=attacks.Boosting(8)), outputs, 1e-6),
    **{
        name: (kind(), lambda t, r, m, s=kind.requires[0]: t[s], 1e-12)
        for name, kind in ATTACKS.items()
        if kind.of_texts and name not in ("info-rmia-tokens", "camia")
    },
    "info-rmia-tokens": (
        attacks.InfoRMIATokens(),
        lambda t, r, m: t["others_ratio"] - t["others_ratio"].mean(),
        1e-12,
    ),
    "camia": (attacks.CAMIA(), camia, 1e-12),
    "neighbourhood": (attacks.Neighbourhood(), lambda t, r, m: t["neighbour_gap"], 1e-12),
    "neighbourhood-calibrated": (
        attacks.NeighbourhoodCalibrated(),
        less_out("neighbour_gap"),
        1e-12,
    ),
    "neighbourhood-lr": (
        attacks.NeighbourhoodLR(variance=own),
        normal("neighbour_gap"),
        1e-7,
    ),
    "recall": (attacks.ReCaLL(), lambda t, r, m: t["prefix_ratio"], 1e-12),
    "recall-calibrated": (
        attacks.ReCaLLCalibrated(),
        each(lambda t, out, inside: log(t["prefix_ratio"]) - log(out["prefix_ratio"]).mean()),
        1e-9,
    ),
    "recall-lr": (
        attacks.ReCaLLLR(variance=own),
        lambda t, r, m: normal("s")(
            {"s": log(t["prefix_ratio"])}, {"s": log(r["prefix_ratio"])}, m
        ),
        1e-7,
    ),
    "grad-norm": (attacks.GradientNorm(), lambda t, r, m: -log(t["grad_norm"]), 1e-9),
    "grad-norm-calibrated": (
        attacks.GradientNormCalibrated(),
        each(lambda t, out, inside: log(out["grad_norm"]).mean() - log(t["grad_norm"])),
        1e-9,
    ),
    "grad-norm-lr": (
        attacks.GradientNormLR(variance=own),
        lambda t, r, m: normal("s")(
            {"s": -log(t["grad_norm"])}, {"s": -log(r["grad_norm"])}, m
        ),
        1e-7,
    ),
    "white-box": (attacks.WhiteBox(learner=attacks.Boosting(8)), white_box, 1e-6),
    "checkpoint-sequence": (
        attacks.CheckpointSequence(),
        lambda t, r, m: t["checkpoint_step"].sum(axis=1),
        1e-12,
    ),
    "checkpoint-sequence-lr": (
        attacks.CheckpointSequenceLR(variance=own),
        lambda t, r, m: normal("s")(
            {"s": t["checkpoint_step"].sum(axis=1)}, {"s": r["checkpoint_step"].sum(axis=2)}, m
        ),
        1e-7,
    ),
    "leverage": (attacks.Leverage(), lambda t, r, m: t["leverage_ratio"], 1e-12),
    "quantile": (attacks.InputQuantile(), lambda t, r, m: t["phi_given_input"], 1e-12),
    "iha": (attacks.IHA(), lambda t, r, m: t["inverse_hessian"], 1e-12),
    "merlin": (attacks.Merlin(), lambda t, r, m: t["noise_share"], 1e-12),
    "morgan": (attacks.Morgan(), morgan, 1e-12),
    "label-augment": (
        attacks.LabelAugment(),
        lambda t, r, m: t["augmented_correct"].mean(axis=1),
        1e-12,
    ),
    "label-augment-calibrated": (
        attacks.LabelAugmentCalibrated(),
        less_out("augmented_correct"),
        1e-12,
    ),
    "label-augment-lr": (
        attacks.LabelAugmentLR(variance=attacks.Pooled()),
        odds_of_copies,
        1e-9,
    ),
    "adversarial-distance": (
        attacks.AdversarialDistance(),
        lambda t, r, m: t["adversarial_distance"],
        1e-12,
    ),
    "adversarial-distance-calibrated": (
        attacks.AdversarialDistanceCalibrated(),
        less_out("adversarial_distance"),
        1e-12,
    ),
    "adversarial-distance-lr": (
        attacks.AdversarialDistanceLR(variance=own),
        lambda t, r, m: normal("s")(
            {"s": log(t["adversarial_distance"] + 0.01)},
            {"s": log(r["adversarial_distance"] + 0.01)},
            m,
        ),
        1e-7,
    ),
    "boundary": (attacks.Boundary(), lambda t, r, m: t["boundary_distance"], 1e-12),
    "boundary-calibrated": (attacks.BoundaryCalibrated(), less_out("boundary_distance"), 1e-12),
    "imitation": (
        attacks.Imitation(),
        each(
            lambda t, out, inside: float(
                ((t["imitation_phi"] - t["phi"]) ** 2 - (inside["phi"].mean() - t["phi"]) ** 2)
                * (inside["phi"].mean() >= t["imitation_phi"])
            )
        ),
        1e-9,
    ),
    "ensemble": (attacks.Ensemble((attacks.BASE(), attacks.Calibrated())), vote, 1e-9),
    "combined": (attacks.Combined((attacks.Calibrated(), attacks.LOSS())), stacked, 1e-4),
}  # fmt: skip
OTHERS = [
    (attacks.PrivacyRiskScore(rule=attacks.Isotonic()), isotonic, 0.05),
    (attacks.BASE(attacks.AgainstPopulation()), against_population, 1e-9),
]


def given(attack: Attack) -> tuple[dict[str, F], dict[str, F], F]:
    """Target, references and members of 12 pairs and a target apart, 60 samples."""
    member = subsets(60, models=26, parts=2, seed=4).member
    signals = leaking_signals(np.random.default_rng(5), member)
    every = {k: v[..., 0] for k, v in signals.items()}
    every["labels"] = np.broadcast_to(np.arange(60) % 2.0, member.shape)
    read = {**every, **read_by(attack, every, 5)}
    return {k: v[0] for k, v in read.items()}, {k: v[2:] for k, v in read.items()}, member[2:]


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_what_its_definition_says(name: str) -> None:
    assert name in ROWS, f"give {name} a closed form here"
    attack, form, tolerance = ROWS[name]
    assert type(attack) is ATTACKS[name]
    check(attack, form, tolerance)


@pytest.mark.parametrize(("attack", "form", "tolerance"), OTHERS)
def test_options_are_what_their_definitions_say(
    attack: Attack, form: Rule, tolerance: float
) -> None:
    check(attack, form, tolerance)


def check(attack: Attack, form: Rule, tolerance: float) -> None:
    target, references, member = given(attack)
    got = attack.score(target, references, member)
    want = form(target, references, member)
    assert np.ptp(want) > 0
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
