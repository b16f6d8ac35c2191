"""One HTML file that needs no network: findings in, page out."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterable
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from seepage.attacks import Attack
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.report import words
from seepage.report.collect import ReportSource, collect
from seepage.report.figures import number
from seepage.report.findings import Findings
from seepage.report.payload import blocks
from seepage.report.sections import SECTIONS, Section
from seepage.report.tables import beside, replacing, write_tables

__all__ = ["page", "render", "section_bodies", "write_report"]


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
        num=number,
        percent=words.percent,
        thousands=words.thousands,
        interval=words.interval,
        interval_percent=words.interval_percent,
    )
    return env


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
            shown.append(
                {
                    "key": section.key,
                    "title": section.title,
                    "question": section.question,
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
        lead=words.lead(findings),
        sections=section_bodies(findings, data, sections, tuple(beside)),
        blocks=blocks(findings, data),
        records=data is not None,
    )


def write_report(
    run: ReportSource,
    path: str | os.PathLike[str],
    *,
    attacks: Iterable[Attack] | None = None,
    data: Dataset | None = None,
    records: bool = True,
    findings: Findings | None = None,
    progress: Callable[[str, int, int], object] | None = None,
    **options: Any,
) -> Path:
    """Write the report of a run: one HTML file, and its numbers as Parquet and JSON beside it.

    path: `report.html`; beside it come `report.json`, `report.samples.parquet` (a row per sample)
    and `report.paths.parquet` (a row per checkpoint and sample). Each file is written whole or not
    at all, the HTML last. attacks, data, progress and further `options` as in
    `seepage.report.collect`. records: whether pictures and rows of samples go into the file; it is
    then as confidential as the data. findings: those of `collect`, when already at hand.

    Raises InputError when the place cannot be written or no attack can be run.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"path: expected a name that ends in .html, got {target.name!r}")
    if target.is_dir() or not target.parent.is_dir():
        raise InputError(f"{target}: expected a file name in a folder that exists")
    data = run.data() if data is None else data
    if findings is None:
        findings = collect(run, attacks=attacks, data=data, progress=progress, **options)
    names = [p.name for p in beside(target)]
    text = render(findings, data if records else None, beside=names)
    write_tables(findings, target)
    with replacing(target) as draft:
        draft.write_text(text, encoding="utf-8")
    return target
