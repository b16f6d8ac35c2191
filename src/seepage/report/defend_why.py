"""Why guarding some regions does or does not help: sentences from stored results, by stated rules.

A difference counts as *more* or *less* when its 95 % interval over pairs of runs excludes zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from seepage.comparison.results import UNDEFENDED, PoolResults, Row, figure_key
from seepage.comparison.verdicts import front
from seepage.metrics import Estimate

__all__ = ["beside_private", "machines", "other_machines", "why"]


def why(p: PoolResults) -> list[str]:
    """What the region tables, the bases and the shorter trainings say about PPTP, in sentences."""
    return [*_located(p), *_bases(p), *_parts(p), *_shorter(p)]


def machines(p: PoolResults) -> str:
    """Which fleets were trained on what, in one sentence; the rarer machines name theirs."""
    held: dict[str, list[str]] = {}
    for row in p.rows:
        held.setdefault(_on(row), []).append(row.label)
    ranked = sorted(held.items(), key=lambda item: -len(item[1]))
    told = [
        f"{name} ({len(labels)} row{'' if len(labels) == 1 else 's'}{'' if k == 0 else ': ' + ', '.join(labels)})"
        for k, (name, labels) in enumerate(ranked)
    ]
    return f"Trained on {'; '.join(told)}."


def other_machines(p: PoolResults) -> list[str]:
    """Fleets that were trained on two machines: whether the figures agree."""
    here = {r.label: r for r in p.rows}
    out = []
    for row in p.elsewhere:
        same = here.get(row.label)
        if same is None:
            continue
        accuracy, risk = _gap(row, same, "accuracy_out"), _gap(row, same, _auc(p))
        agree = accuracy.low <= 0 <= accuracy.high and risk.low <= 0 <= risk.high
        out.append(
            f"`{row.label}` trained again on {_on(row)} instead of {_on(same, row.seeds)}: accuracy "
            f"{_told(accuracy)}, AUC {_told(risk)}: "
            + ("no difference that the intervals tell." if agree else "**they differ**.")
        )
    return out


def beside_private(p: PoolResults) -> str | None:
    """Every row beside the DP-SGD of most accuracy, in one sentence; None without DP-SGD.

    *Beats*: credibly better in accuracy or AUC, credibly worse in neither; *beaten*: the reverse.
    """
    private = [r for r in p.rows if r.defense["name"] == "dp-sgd"]
    if not private:
        return None
    tuned = max(private, key=lambda r: r.estimate("accuracy_out").mean)
    found: dict[str, list[str]] = {"beat": [], "beaten": [], "trade": [], "level": []}
    for row in p.rows:
        if row in private:
            continue
        a, r = _gap(row, tuned, "accuracy_out"), _gap(row, tuned, _auc(p))
        better, worse = a.low > 0 or r.high < 0, a.high < 0 or r.low > 0
        key = {(True, False): "beat", (False, True): "beaten", (True, True): "trade"}
        found[key.get((better, worse), "level")].append(f"`{row.label}`")
    said = [
        f"{words} {', '.join(found[k])}"
        for k, words in (
            ("beat", "credibly better in accuracy or AUC and worse in neither:"),
            ("trade", "better in one, worse in the other:"),
            ("level", "not told apart:"),
        )
        if found[k]
    ]
    if found["beaten"]:
        said.append(f"worse in accuracy or AUC and better in neither: {len(found['beaten'])} more")
    return f"Beside `{tuned.label}`, the DP-SGD of most accuracy: {'; '.join(said)}."


def _on(row: Row, seeds: Sequence[int] = ()) -> str:
    """What its fleets of these seeds (of all) were trained on."""
    return " and ".join(
        sorted({name for seed, name in row.facts["machines"].items() if not seeds or seed in seeds})
    )


def _auc(p: PoolResults) -> str:
    return figure_key(p.main, "pool", "auc")


def _gap(a: Row, b: Row, metric: str) -> Estimate:
    return a.against(b, metric)


def _told(e: Estimate) -> str:
    return f"{e.mean:+.3f} [{e.low:+.3f}, {e.high:+.3f}]"


def _located(p: PoolResults) -> Iterator[str]:
    """Whether utility and risk lie apart, and how much of either what is guarded carries."""
    for f in p.regions:
        told = []
        for way in f["tables"]:
            t = f["tables"][way]
            utility = np.abs(np.array(t["utility"])).mean(axis=0)
            risk = np.maximum(0.0, -np.mean(t["privacy"], axis=0))
            same = f["regions"][int(utility.argmax())] == f["regions"][int(risk.argmax())]
            peak = f["regions"][int(utility.argmax())]
            where = (
                f"both peak in {peak}"
                if same
                else f"utility peaks in {peak}, risk in {f['regions'][int(risk.argmax())]}"
            )
            at = [f["regions"].index(r) for r in f["chosen"] if r in f["regions"]]
            part = ""
            if at and risk.sum() > 0 and utility.sum() > 0:
                part = (
                    f"; the guarded {', '.join(f['chosen'])} carries {risk[at].sum() / risk.sum():.0%} "
                    f"of the risk that lies in single regions and {utility[at].sum() / utility.sum():.0%} of "
                    "the utility"
                )
            order = "–" if t["separation"] is None else f"{t['separation']:.1f}"
            told.append(f"by {way} {where} (rank correlation of the profiles {order}){part}")
        yield f"Base {f['base']}, seed {f['seed']}: " + "; ".join(told) + "."


def _bases(p: PoolResults) -> Iterator[str]:
    """What the base does everywhere: beating a base that fails is no merit of the regions."""
    rows = {r.label: r for r in p.rows}
    for label in dict.fromkeys(r["label"] for r in p.roles if r["kind"] == "everywhere"):
        if label not in rows:
            continue
        accuracy = _gap(rows[label], p.undefended, "accuracy_out")
        risk = _gap(rows[label], p.undefended, _auc(p))
        said = (
            f"{label} everywhere against undefended: accuracy {_told(accuracy)}, AUC {_told(risk)}."
        )
        if risk.low > 0:
            said += (
                " Against this attacker it is no defence: to leak less than it does, it is enough to use "
                "less of it."
            )
        yield said


def _parts(p: PoolResults) -> Iterator[str]:
    """Of everywhere, regions, complement and random, which no other beats in both figures."""
    rows = {r.label: r for r in p.rows}
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for role in p.roles:
        if role["label"] in rows:
            found = groups.setdefault((role["base"], role["variant"]), {})
            found[role["kind"]] = rows[role["label"]]
    for (base, variant), parts in groups.items():
        if "regions" not in parts or len(parts) < 2:
            continue
        kinds = list(parts)
        accuracy = [parts[k].estimate("accuracy_out").mean for k in kinds]
        risk = [parts[k].estimate(_auc(p)).mean for k in kinds]
        best = front(accuracy, risk)
        figures = ", ".join(
            f"{'**' if on else ''}{k}{'**' if on else ''} {a:.3f} / {r:.3f}"
            for k, on, a, r in zip(kinds, best, accuracy, risk, strict=True)
        )
        unstable = [k for k in kinds if _spread(parts[k]) > 0.05]
        said = f"{base}, {variant} (accuracy / AUC, bold: on the front of these): {figures}."
        if unstable:
            said += (
                f" Training was unstable in {', '.join(unstable)}: accuracy of pairs of runs "
                "spreads by more than 0.05 (standard deviation)."
            )
        yield said


def _spread(row: Row) -> float:
    return float(np.std(list(row.values["accuracy_out"].values()), ddof=1))


def _shorter(p: PoolResults) -> Iterator[str]:
    """Fleets that differ from another in length alone, and where that leaves PPTP's parts."""
    rows = {r.label: r for r in p.rows}
    whole = p.undefended.setting["epochs"]
    for short in p.rows:
        if short.setting["epochs"] >= whole:
            continue
        long = next(
            (r for r in p.rows if r.defense == short.defense and r.setting["epochs"] == whole), None
        )
        if long is None:
            continue
        accuracy, risk = _gap(short, long, "accuracy_out"), _gap(short, long, _auc(p))
        same = [r.label for r in p.rows if r is not short and _equal(r, short)]
        idle = f" The very figures of `{same[0]}`: so early it changes nothing." if same else ""
        yield (
            f"`{short.label}` of {whole}: accuracy {short.estimate('accuracy_out').mean:.3f}, AUC "
            f"{short.estimate(_auc(p)).mean:.3f}; against its {whole} epochs {_told(accuracy)} and "
            f"{_told(risk)}.{idle if long.label != UNDEFENDED else ''}"
        )
        for role in p.roles:
            other = rows.get(role["label"])
            if other is None or not _comparable(role, short, long, whole):
                continue
            a, r = _gap(other, short, "accuracy_out"), _gap(other, short, _auc(p))
            better = [name for name, on in (("accuracy", a.low > 0), ("AUC", r.high < 0)) if on]
            worse = [name for name, on in (("accuracy", a.high < 0), ("AUC", r.low > 0)) if on]
            verdict = "; ".join(
                f"{how} in {' and '.join(names)}"
                for how, names in (("better", better), ("worse", worse))
                if names
            )
            yield (
                f"`{other.label}` against `{short.label}`: accuracy {_told(a)}, AUC {_told(r)}: "
                f"{verdict or 'no difference'}; {_REASON[role['variant']]}."
            )


def _equal(a: Row, b: Row) -> bool:
    """Whether two fleets trained to the very same networks, as far as figures show."""
    return a.values["accuracy_out"] == b.values["accuracy_out"]


_REASON = {
    "two-phase": "the complement is nearly the whole network and trains in the second phase only",
    "alternating": "alternating trains everything plainly in half of the epochs only",
}


def _comparable(role: Mapping[str, str], short: Row, long: Row, whole: int) -> bool:
    """Whether a shorter training is what this part of PPTP has to be more than."""
    if (role["variant"], role["kind"]) == ("two-phase", "complement"):
        return role["base"] == long.label
    plain = long.label == UNDEFENDED and 2 * short.setting["epochs"] == whole
    return (role["variant"], role["kind"]) == ("alternating", "regions") and plain
