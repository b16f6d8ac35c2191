"""The report of one run as one HTML file that needs no network, and its sections.

Adding a section: a template under `templates/sections/`, a function here from findings to what the
template reads, a row in `SECTIONS`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from seepage.array_types import Float64Array
from seepage.attacks import Attack
from seepage.errors import InputError
from seepage.findings import Findings, ReportSource, collect
from seepage.findings.label_inference import label_rows
from seepage.findings.variant_result import read_variants
from seepage.metrics import PRIORS
from seepage.report import figures, words
from seepage.report.agreement import together
from seepage.report.canaries import canary_values
from seepage.report.payload import ASKED, Exhibit, asked_of, blocks, exhibits
from seepage.report.single import single_values
from seepage.report.subjects import subjects_values
from seepage.report.tables import beside, write_tables
from seepage.report.token_map import token_values
from seepage.report.variants import variants_values
from seepage.single import SingleAudit
from seepage.store.files import replacing

if TYPE_CHECKING:
    from seepage.data import Dataset

__all__ = ["SECTIONS", "Section", "page", "render", "section_bodies", "write_report"]

SHOWN = 24
ENDS = 6
CLASSES_SHOWN = 30
# Provenance that is shown at once; the rest of the manifest is folded.
FIRST = ("data.name", "data.digest", "plan.kind", "plan.seed", "plan.digest", "created",
         "hardware", "versions.seepage", "versions.torch", "wall", "key.model.name",
         "key.function.name")  # fmt: skip

Values = Mapping[str, Any]


@cache
def _environment() -> Environment:
    env = Environment(
        loader=PackageLoader("seepage.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        num=words.number,
        percent=words.percent,
        thousands=words.thousands,
        interval=words.interval,
        interval_percent=words.interval_percent,
        code=_code,
    )
    return env


def _code(text: str) -> Markup:
    """Text whose `commands` are set as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _static(name: str) -> str:
    return resources.files("seepage.report").joinpath("static", name).read_text("utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _version() -> str:
    try:
        return metadata.version("seepage")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def page(template: str, *, script: str | None = None, refresh: int = 0, **values: Any) -> str:
    """A whole page. Its content policy admits our style sheet and script by hash, nothing else."""
    style = _static("report.css")
    code = "" if script is None else _static(script)
    return _environment().get_template(template).render(
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(code),
        script_hash=_hash(code),
        refresh=refresh,
        version=_version(),
        **values,
    )  # fmt: skip


@dataclass(frozen=True)
class Section:
    """One section: its anchor, title, the question it answers, and what its template reads.

    `values` gets the findings and the data (None when absent or withheld) and returns None where
    the section does not apply; a `heading` among them, (title, question), stands in the place of
    those here. The template is `sections/<key>.html.j2`; `f` is always there.
    """

    key: str
    title: str
    question: str
    values: Callable[[Findings, Dataset | None], Values | None]


def _utility(f: Findings, data: Dataset | None) -> Values | None:
    u = f.utility
    if u is None:
        return None
    chart = figures.utility(f.checkpoints, u, f.clock)
    said = words.how_accurate(f, u)
    return {"u": u, "chart": chart, "said": said, "heading": words.UTILITY[u.measure]}


def _blind(f: Findings, data: Dataset | None) -> Values:
    b = f.blind.auc
    if b is None:
        verdict = "Without it this report cannot rule out that members and non-members differ by themselves."
    elif np.isnan(b.low):
        verdict = "One pair of runs gives no interval, so this figure is only a rough one."
    elif f.blind.shifted:
        verdict = "Its whole interval lies above chance: members and non-members differ by themselves, and there is no verdict. Draw members and non-members at random again before relying on any figure below."  # fmt: skip
    else:
        verdict = "Its interval reaches chance: there is no sign that members and non-members differ by themselves."  # fmt: skip
    return {"b": f.blind, "verdict": verdict}


def _attacks(f: Findings, data: Dataset | None) -> Values:
    return {
        "chart": figures.roc(f),
        "left_out": words.left_out(f),
        "priors": PRIORS,
        "together": together(f),
    }


def _risk(f: Findings, data: Dataset | None) -> Values:
    r, t = f.risk, f.checkpoints
    if f.onset is None:
        text = "At the end the attack does no better than under permuted membership: no leakage was measured over this training."
    else:
        text = f"{'At' if len(t) == 1 else 'From'} {f.clock(t[f.onset])}{'' if len(t) == 1 else ' on'}, the attack does better than under permuted membership, with its whole interval above chance."
        if f.halfway is not None and len(t) > 1:
            half = words.halfway(f)
            text += f" {half[0].upper()}{half[1:]}."
        if f.peak < len(t) - 1 and r.auc[f.peak] > r.high[-1]:
            text += f" The risk was highest at {f.clock(t[f.peak])} and fell afterwards."
    e = f.exposure
    high = (
        f"A {f.unit} with an advantage of at least 0.5 was called a member at least 50 percentage "
        f"points more often when it was one than when it was not. At the end "
        f"{words.thousands(int(e.high_count[-1]))} {f.units} have one; under permuted membership "
        f"{words.thousands(float(e.null_high_count[-1]))}."
    )
    return {
        "chart": figures.risk(f),
        "chart_high": figures.high(f),
        "words": text,
        "words_high": high,
    }


def _plane(f: Findings, data: Dataset | None) -> Values:
    known = bool(np.isfinite(f.accuracy_out).any())
    return {
        "n_in": f.judged_in,
        "asked": ASKED.get(f.task, "class"),
        "accuracy": known,
        "limit": words.accountant(f),
    }


def _dynamics(f: Findings, data: Dataset | None) -> Values | None:
    p = f.population
    if p is None:
        return None
    shown = (
        ("Encoding speed", f"speed per {f.clock.unit}", p.speed, f"How far a {f.unit} moves on the plane per {f.clock.unit}, on average. Counting noise alone moves points, as each rate comes from few models: compare with the grey line."),
        ("Spatial entropy", "entropy, bits", p.entropy, f"How widely the {f.units} are spread over the plane: low when all behave alike."),
        ("Into the high region", "probability per interval", p.to_high, f"The probability that a {f.unit} outside the high region (advantage of at least 0.5) is in it at the next checkpoint."),
        ("Displacement", "from the start", p.displacement, "How far the mean of all points is from where it began, in units of the square."),
        ("Mean advantage", "TPR − FPR", p.advantage, f"Mean over {f.units}: how far above the diagonal they lie."),
    )  # fmt: skip
    charts = [
        {"title": title, "text": text, "chart": figures.metric(f.checkpoints, e, label, f.clock)}
        for title, label, e, text in shown
    ]
    if f.early is not None:
        charts.append(
            {
                "title": "Early determination",
                "text": f"Recall: the share of the {f.units} high at the end that are high already. Dashed: as many {f.units} drawn at random.",
                "chart": figures.early(f.checkpoints, f.early, f.clock),
            }
        )
    names = {
        "displacement_net": "Displacement of the centre, net",
        "displacement_path": "Displacement of the centre, along its path",
        "mean_speed": f"Mean speed per {f.clock.unit}",
        "peak_to_high": "Largest probability of moving into the high region",
        "entropy_change": "Change of entropy, bits",
    }
    rows = [
        {"name": text, "e": e, "outside": bool(e.outside_null)}
        for key, text in names.items()
        if (e := p.summary().get(key)) is not None
    ]
    return {"charts": charts, "rows": rows, "regions": p.regions}


def _spark(tpr: Float64Array, fpr: Float64Array) -> Markup:
    """A sample's two rates over checkpoints, the area between them filled."""
    n = max(len(tpr) - 1, 1)
    up = [f"{100 * k / n:.1f},{40 * (1 - v) + 2:.1f}" for k, v in enumerate(np.nan_to_num(tpr))]
    low = [f"{100 * k / n:.1f},{40 * (1 - v) + 2:.1f}" for k, v in enumerate(np.nan_to_num(fpr))]
    return Markup(
        '<svg class="spark" viewBox="0 0 100 44" preserveAspectRatio="none" aria-hidden="true">'
        '<polygon class="area" points="{} {}"/><polyline class="b" points="{}"/>'
        '<polyline class="a" points="{}"/></svg>'
    ).format(" ".join(up), " ".join(low[::-1]), " ".join(low), " ".join(up))


def _exposed(f: Findings, data: Dataset | None) -> Values:
    e, p = f.exposure, f.paths
    fpr, tpr = p.rates()
    cards = []
    first = e.order[:SHOWN]
    held = exhibits(data, first) if data is not None else [Exhibit(None)] * len(first)
    asked = asked_of(f, data, first)
    if f.task == "soft-labels":
        asked = [f"likeliest: {name}" for name in asked]
    for i, shown, klass in zip(first.tolist(), held, asked, strict=True):
        cards.append(
            {
                "row": i,
                "id": str(f.ids[i]),
                "klass": klass,
                "picture": shown.picture,
                "cells": shown.cells,
                "spark": _spark(tpr[:, i], fpr[:, i]),
                "tp": int(p.tp[-1, i]),
                "fp": int(p.fp[-1, i]),
                "n_in": int(p.n_in[i]),
                "n_out": int(p.n_out[i]),
                "q": f"{e.q[i]:.2g}",
                "auc": words.interval_of(e.auc[i], e.auc_low[i], e.auc_high[i]),
                "exposed": bool(e.exposed[i]),
                "records": 1 if f.subjects is None else int(f.subjects.sizes[i]),
                "since": f.clock(f.checkpoints[e.since[i]]) if e.since[i] >= 0 else "",
            }
        )
    exposed = int(e.exposed.sum())
    if exposed:
        text = f"{exposed:,} of {f.exposure.tested:,} {f.units} are exposed at the last checkpoint. Shown are {len(cards)}: exposed ones first, then by advantage."
        middle = int(np.median(e.since[e.exposed]))
        text += f" Half of the exposed ones have been so since {f.clock(f.checkpoints[middle])} or earlier."
    else:
        text = f"No {f.unit} is shown to be exposed at an expected share of {words.percent(e.level)} false names. The {len(cards)} with the largest advantage are listed so that you can look for a pattern; each may be chance."
    groups = sorted(f.groups, key=lambda g: -np.nan_to_num(g.advantage))
    return {
        "cards": cards,
        "content": "" if data is None else "picture" if data.kind == "image" else "row",
        "words": text,
        "naming": words.naming(f),
        "groups": groups[:CLASSES_SHOWN],
        "asked": ASKED.get(f.task, "class"),
        "accuracy": any(np.isfinite(g.accuracy_out) for g in groups),
        "more": max(0, len(groups) - CLASSES_SHOWN),
        "top": max([g.advantage for g in groups if np.isfinite(g.advantage)] + [0.01]),
    }


def _curvature(f: Findings, data: Dataset | None) -> Values | None:
    c = f.curvature
    if c is None:
        return None
    count = min(ENDS, c.measured // 2)
    ends = {
        "Highest curvature": c.order[:count],
        "Lowest curvature": c.order[c.measured - count : c.measured][::-1].copy(),
    }
    rows = []
    for title, chosen in ends.items():
        held = exhibits(data, chosen) if data is not None else [Exhibit(None)] * len(chosen)
        cards = [
            {
                "row": i,
                "id": str(f.ids[i]),
                "klass": f.classes[int(f.labels[i])],
                "picture": e.picture,
                "cells": e.cells,
                "mean": f"{c.mean[i]:.3g}",
                "inside": f"{c.last_in[i]:.3g}",
                "outside": f"{c.last_out[i]:.3g}",
            }
            for i, e in zip(chosen.tolist(), held, strict=True)
        ]
        rows.append({"title": title, "cards": cards})
    return {
        "c": c,
        "chart": figures.curvature(c, f.clock),
        "chart_auc": figures.curvature_auc(c, f.clock),
        "rows": rows,
        "share": c.measured < len(c.mean),
    }


LAYER_WORDS = {
    "k95": "Degrees of freedom (k95)",
    "erank": "Effective rank",
    "pooled_k95": "Degrees of freedom, pooled",
    "jac_rank_1e2": "Jacobian rank at 1 % (wide layers: at least)",
    "jac_participation": "Jacobian participation",
    "stable_rank": "Stable rank of the Jacobian",
}


def _layers(f: Findings, data: Dataset | None) -> Values | None:
    x = f.layers
    if x is None:
        return None
    maps = []
    if x.attack.size:
        title = f"AUC of the attack per layer ({x.attack_models} kept models)"
        maps.append(
            {"title": title, "chart": figures.layer_map(x.layers, x.attack_epochs, x.attack, True)}
        )
    maps += [
        {
            "title": LAYER_WORDS.get(name, name),
            "chart": figures.layer_map(x.layers, x.epochs, values, False),
        }
        for name, values in x.indicators.items()
    ]
    return {"x": x, "chain": figures.layer_chain(x.layers, x.risk, x.measured), "maps": maps}


def _evidence(f: Findings, data: Dataset | None) -> Values:
    text = (
        "Figures of the whole pool rest on all models together and are reliable; figures of a single "
        f"{f.unit} rest on a few runs and are not. Read a {f.unit} on the list as a reason to look at it, "
        "not as a verdict."
    )
    kept = {k: v for k, v in f.provenance.items() if k not in ("descriptions", "checkpoints")}
    rows = words.provenance(kept)
    return {
        "words": text,
        "n_in": f.judged_in,
        "n_out": f.judged_out,
        "left_out": words.left_out(f),
        "adversary": words.adversary(f),
        "calibration": words.calibration(f),
        "provenance": [r for r in rows if r[0].startswith(FIRST)],
        "rest": [r for r in rows if not r[0].startswith(FIRST)],
    }


def _subjects(f: Findings, data: Dataset | None) -> Values | None:
    return None if f.subjects is None else subjects_values(f.subjects)


def _slices(f: Findings, data: Dataset | None) -> Values | None:
    return {"title": f.main_attack.title} if f.slices else None


def _variants(f: Findings, data: Dataset | None) -> Values | None:
    return None if f.variants is None else variants_values(read_variants(f.path, f.variants))


def _labels(f: Findings, data: Dataset | None) -> Values | None:
    told = f.label_inference
    if told is None:
        return None
    return {"rows": label_rows(told), "refuted": told["refutes_the_defence"]}


def _canaries(f: Findings, data: Dataset | None) -> Values | None:
    return None if f.canaries is None else canary_values(f.canaries, f.clock)


SECTIONS: tuple[Section, ...] = (
    Section("utility", "Accuracy", "How accurate are the models?", _utility),
    Section("blind", "The blind baseline", "Are members and non-members alike?", _blind),
    Section("attacks", "Attacks", "How much leaks?", _attacks),
    Section("variants", "What ships", "How much leaks of what is released?", _variants),
    Section("canaries", "Canaries", "What do texts show that were planted?", _canaries),
    Section("labels", "Labels", "How much leaks of labels?", _labels),
    Section("subjects", "Subjects", "What do several records of one person tell?", _subjects),
    Section("slices", "Parts of the pool", "For whom does it leak?", _slices),
    Section("risk", "Risk over training", "When does it leak?", _risk),
    Section("plane", "The FPR-TPR plane", "When, and for which samples?", _plane),
    Section("dynamics", "Dynamics", "How does the leak develop?", _dynamics),
    Section("exposed", "The most exposed samples", "Who is exposed?", _exposed),
    Section("tokens", "Tokens of the most exposed documents", "Which words leak?", token_values),
    Section("curvature", "Input curvature", "Which samples have high curvature?", _curvature),
    Section("layers", "Layers", "Where does it leak?", _layers),
    Section("evidence", "Evidence and provenance", "How sure are we?", _evidence),
)


def section_bodies(
    findings: Findings,
    data: Dataset | None,
    sections: Iterable[Section],
    beside: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Key, title, question and body of every section that applies."""
    shown = []
    for section in sections:
        values = section.values(findings, data)
        if values is not None:
            template = _environment().get_template(f"sections/{section.key}.html.j2")
            body = Markup(template.render(f=findings, beside=beside, **values))
            title, question = values.get("heading", (section.title, section.question))
            shown.append(
                {
                    "key": section.key,
                    "title": title.replace("samples", findings.units),
                    "question": question,
                    "body": body,
                }
            )
    return shown


def render(
    findings: Findings,
    data: Dataset | None = None,
    *,
    sections: Iterable[Section] = SECTIONS,
    beside: Iterable[str] = (),
) -> str:
    """The report as one string. `data` None leaves every picture and row out."""
    return page(
        "report.html.j2",
        script="plane.js",
        f=findings,
        first=words.first_screen(findings),
        sections=section_bodies(findings, data, sections, tuple(beside)),
        blocks=blocks(findings, data),
        records=data is not None,
    )


def shown_data(f: Findings, data: Dataset) -> Dataset:
    """The record that stands for each sample or subject of the findings, in their order."""
    if f.subjects is None and len(f.ids) == len(data):
        return data
    return data.take(np.flatnonzero(np.isin(data.ids, f.records))[f.shown])


def write_report(
    run: ReportSource | SingleAudit,
    path: str | os.PathLike[str],
    *,
    attacks: Iterable[Attack] | None = None,
    data: Dataset | None = None,
    records: bool = True,
    findings: Findings | None = None,
    progress: Callable[[str, int, int], object] | None = None,
    **options: Any,
) -> Path:
    """Write the report of a run: one HTML file, and its numbers as Parquet and JSON next to it.

    path: `report.html`; next to it come `report.json`, `report.samples.parquet` (a row per sample)
    and `report.paths.parquet` (a row per checkpoint and sample). Each file is written whole or not
    at all, the HTML last. attacks, data, progress and further `options` as in
    `seepage.findings.collect`. records: whether pictures and rows of samples go into the file; it
    is then as confidential as the data. findings: those of `collect`, if they were computed before.
    Of what `seepage.audit` found, the page and `report.json` are written; no further options.

    Raises InputError when the place cannot be written or no attack can be run.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"path: expected a name that ends in .html, got {target.name!r}")
    if target.is_dir() or not target.parent.is_dir():
        raise InputError(f"{target}: expected a file name in a folder that exists")
    if isinstance(run, SingleAudit):
        text = page("single.html.j2", **single_values(run))
        run.write_json(target.with_suffix(".json"))
        with replacing(target) as draft:
            draft.write_text(text, encoding="utf-8")
        return target
    data = run.data() if data is None else data
    if findings is None:
        findings = collect(run, attacks=attacks, data=data, progress=progress, **options)
    if data is not None:
        data = shown_data(findings, data)
    names = [p.name for p in beside(target)]
    text = render(findings, data if records else None, beside=names)
    write_tables(findings, target)
    with replacing(target) as draft:
        draft.write_text(text, encoding="utf-8")
    return target
