"""Defences on one pool: trains the fleets, locates regions, evaluates; goes on where it was."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
import torch
from pydantic import Field

from seepage import attacks
from seepage.cli.build import Audit, make, run_fleet
from seepage.cli.config import AuditConfig, Part
from seepage.cli.console import FleetBar, errors
from seepage.cli.guard import check_defense
from seepage.defenses import (
    PPTP,
    Defense,
    Localisation,
    Undefended,
    agreement,
    as_config,
    by_rewinding,
    by_swapping,
    controls,
    risky_regions,
)
from seepage.defenses import make as make_defense
from seepage.defenses.base import Samples, snapshot
from seepage.defenses.evaluate import canaries, evaluate
from seepage.defenses.regions import partition
from seepage.defenses.robustness import of_run
from seepage.errors import InputError
from seepage.fleet import Recipe
from seepage.fleet.rebuild import Rebuilt, rebuild
from seepage.fleet.recipe import first_problem
from seepage.fleet.spec import user_model
from seepage.layers import DegreesOfFreedom, change_values, probe
from seepage.record import Resident
from seepage.report.defend_results import Row, rank_rows, read_rows, samples_table, write_json
from seepage.report.tables import replacing
from seepage.store import Run, open_run

__all__ = ["Campaign", "DefendConfig", "Entry"]

FORMAT = 3
NONE = "none"


class DefenceConfig(Part):
    """[[defences]]: one defence; `grid` makes a fleet for every combination of its values.

    recipe: overrides of the base's recipe, for a defence that wants its own rate or batch.
    """

    name: str
    label: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    recipe: dict[str, Any] = Field(default_factory=dict)


class PPTPConfig(Part):
    """[pptp]: regions located on each pool, guarded with every base and variant, with controls.

    regions: named ones, else those measured by swapping and rewinding in `models` runs.
    """

    bases: list[str | dict[str, Any]] = Field(min_length=1)
    variants: tuple[str | dict[str, Any], ...] = ("two-phase",)
    regions: list[str] = Field(default_factory=list)
    controls: bool = True
    models: int = Field(4, ge=2)
    budget: float = Field(0.01, ge=0)
    tau: float = Field(0.005, gt=0)


class FGSMConfig(Part):
    """[fgsm]: robustness of so many kept networks on so many of their non-members each."""

    epsilon: float = Field(8 / 255, gt=0)
    models: int = Field(4, ge=0)
    samples: int = Field(500, ge=1)


class DefendConfig(Part):
    """A comparison of defences.

    runs: where run folders go; results: one small JSON per fleet; report: the HTML page, tables
    beside it; page: a Markdown page of the same. base: a configuration as `seepage audit` takes it;
    pools: overrides of it by name. seeds: of the plan. top: every defence is trained at the first
    seed, the best so many at the others too; None trains all at all.
    """

    runs: str = "runs/defences"
    results: str = "runs/defences/results"
    report: str = "defences.html"
    page: str | None = None
    base: dict[str, Any] = Field(default_factory=dict)
    pools: dict[str, dict[str, Any]] = Field(default_factory=dict)
    defences: list[DefenceConfig] = Field(default_factory=list)
    pptp: PPTPConfig | None = None
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    top: int | None = Field(None, ge=1)
    attacks: tuple[str, ...] = Field(("lira", "rmia"), min_length=1)
    fprs: tuple[float, ...] = Field((0.01, 0.001), min_length=1)
    fgsm: FGSMConfig = FGSMConfig()

    def audit(self, pool: str, seed: int, out: str = "") -> AuditConfig:
        """The configuration of the fleets of one pool and seed."""
        content = merge(self.base, self.pools.get(pool, {}))
        content = merge({"record": {"logits": True}}, content)
        content = merge(
            content, {"plan": {"seed": seed}, "out": out or str(Path(self.runs) / pool)}
        )
        content["attacks"] = {"names": list(self.attacks), "main": self.attacks[0]}
        try:
            config = AuditConfig(**content)
        except pydantic.ValidationError as e:
            raise first_problem(e, f"pools.{pool}: ") from None
        if config.defense.name != NONE:
            raise InputError(
                f"base.defense.name: expected none here, got {config.defense.name!r}; "
                "list defences under [[defences]]"
            )
        if config.plan.kind != "half_split":
            raise InputError(
                f"plan.kind: expected 'half_split', got {config.plan.kind!r}; "
                "defences are compared over complementary pairs of runs"
            )
        if config.plan.models < 4:
            raise InputError(
                f"plan.models: expected at least 4 to compare defences, got {config.plan.models}"
            )
        return config

    def entries(self) -> list[Entry]:
        """Undefended first, then every named defence and setting, each fleet once."""
        found = [Entry(NONE, Undefended())]
        for d in self.defences:
            keys = list(d.grid)
            for values in product(*d.grid.values()):
                chosen = dict(zip(keys, values, strict=True))
                shown = " ".join(f"{k}={v}" for k, v in chosen.items())
                label = f"{d.label or d.name} {shown}".strip()
                defense = make_defense(d.name, **(d.options | chosen))
                found.append(Entry(label, defense, tuple(sorted(d.recipe.items()))))
        found += self.bases()
        kept: dict[str, Entry] = {}
        labels: dict[str, str] = {}
        for entry in found:
            what = repr((entry.defense, entry.recipe))
            kept.setdefault(what, entry)
            if labels.setdefault(entry.slug, what) != what:
                raise InputError(
                    f"defences: two different ones are called {entry.label!r}; give each a label"
                )
        return list(kept.values())

    def bases(self) -> list[Entry]:
        """The base defences of [pptp], applied everywhere."""
        if self.pptp is None:
            return []
        out = []
        for given in self.pptp.bases:
            # The registry reads nested defences; PPTP itself says which cannot be a base.
            built = make_defense("pptp", base=given, regions=["head"])
            assert isinstance(built, PPTP)
            options = {k: v for k, v in as_config(built.base).items() if k != "name"}
            told = {} if isinstance(given, str) else {k: options[k] for k in given if k != "name"}
            shown = " ".join(f"{k}={v}" for k, v in told.items())
            out.append(Entry(f"{built.base.name} {shown}".strip(), built.base))
        return out


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables, the second's values first."""
    out = dict(base)
    for key, value in over.items():
        there = out.get(key)
        both = isinstance(value, Mapping) and isinstance(there, Mapping)
        out[key] = merge(there, value) if both else value  # type: ignore[arg-type]
    return out


Kind = Literal["everywhere", "regions", "complement", "random"]


@dataclass(frozen=True)
class Entry:
    """One fleet's defence, what people call it, and how its recipe differs from the base's."""

    label: str
    defense: Defense
    recipe: tuple[tuple[str, Any], ...] = ()

    @property
    def slug(self) -> str:
        """Name of its folder."""
        plain = re.sub(r"[^a-z0-9.]+", "-", self.label.lower()).strip("-")
        if len(plain) <= 72:
            return plain
        return f"{plain[:60]}-{hashlib.sha256(self.label.encode()).hexdigest()[:10]}"


@dataclass
class Campaign:
    """All fleets of one pool."""

    study: DefendConfig
    pool: str

    @property
    def results(self) -> Path:
        """Where this pool's results lie."""
        return Path(self.study.results) / self.pool

    def folder(self, entry: Entry, seed: int) -> Path:
        """Run folder of a fleet."""
        return Path(self.study.runs) / self.pool / f"{entry.slug}-s{seed}"

    def result(self, entry: Entry, seed: int) -> Path:
        """Evaluation of a fleet."""
        return self.results / f"{entry.slug}-s{seed}.json"

    @cached_property
    def first(self) -> Audit:
        """Data, plan and recipe at the first seed."""
        return make(self.study.audit(self.pool, self.study.seeds[0]))

    def at(self, seed: int) -> Audit:
        """Data, plan and recipe of one seed; precision as the first undefended fleet chose."""
        audit = self.first
        if seed != self.study.seeds[0]:
            audit = make(self.study.audit(self.pool, seed))
        place = self.folder(Entry(NONE, Undefended()), self.study.seeds[0])
        if (place / "manifest.json").exists():
            # Measured afresh for each fleet, "auto" could give twins different precisions.
            chosen = open_run(place).manifest["chosen"]["precision"]
            audit = replace(audit, recipe=audit.recipe.model_copy(update={"precision": chosen}))
        return audit

    def check(self) -> None:
        """Every defence against model, data and recipe, before anything is trained."""
        first = self.first
        model = first.config.model
        entries = [(e.defense, _recipe(first.recipe, e)) for e in self.study.entries()]
        pptp = self.study.pptp
        if pptp is not None:
            if not pptp.regions and first.reference is None:
                raise InputError(
                    "pptp.regions: measuring them needs non-members set apart, got none; "
                    "set base.defense.reference or name the regions"
                )
            for base, variant in product(self.study.bases(), pptp.variants):
                regions = pptp.regions or ["head"]
                guarded = make_defense("pptp", base=base.defense, regions=regions, variant=variant)
                if pptp.regions:
                    entries.append((guarded, first.recipe))
        for defense, recipe in entries:
            check_defense(defense, first.data, first.reference, model.name, model.options, recipe)

    def train(self, entry: Entry, seed: int) -> Run:
        """The fleet, from where it was."""
        baseline = isinstance(entry.defense, Undefended) and seed == self.study.seeds[0]
        audit = self.at(seed) if not baseline else self.first
        out = str(self.folder(entry, seed))
        audit = replace(
            audit,
            defense=entry.defense,
            recipe=_recipe(audit.recipe, entry),
            config=audit.config.model_copy(update={"out": out}),
        )
        errors.print(f"{self.pool}, seed {seed}: {entry.label}", markup=False)
        return run_fleet(audit, FleetBar())

    def done(self, entry: Entry, seed: int) -> tuple[int, int]:
        """(finished or failed runs, planned runs)."""
        planned = self.study.audit(self.pool, seed).plan.models
        place = self.folder(entry, seed)
        if not (place / "manifest.json").exists():
            return 0, planned
        run = open_run(place)
        return len(run.models) + len(run.failed), planned

    def both(self, entry: Entry, seed: int) -> None:
        """Train and evaluate one fleet; one that cannot be is written down with its reason."""
        try:
            run = self.train(entry, seed)
            self.evaluate(entry, seed, run)
        except InputError as e:
            if isinstance(entry.defense, Undefended):
                raise
            errors.print(f"{entry.label}: left out: {e}", markup=False)
            write_json(
                self.result(entry, seed),
                {"pool": self.pool, "label": entry.label, "slug": entry.slug, "seed": seed,
                 "defense": as_config(entry.defense), "failed": str(e)},
            )  # fmt: skip

    def evaluate(self, entry: Entry, seed: int, run: Run) -> None:
        """Evaluate a finished fleet unless the same was evaluated before."""
        undefended = open_run(self.folder(Entry(NONE, Undefended()), seed))
        study = self.study
        asked = {
            "format": FORMAT,
            "run": run.manifest["key"],
            "undefended": undefended.manifest["key"],
            "attacks": study.attacks,
            "fprs": study.fprs,
            "fgsm": study.fgsm.model_dump(),
            "ended": sorted(run.records) + sorted(run.failed),
        }
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        place = self.result(entry, seed)
        if place.exists() and json.loads(place.read_text()).get("key") == key:
            return
        audit = self.at(seed)

        def robustness(fleet: Run, at: Any) -> dict[str, list[float]]:
            first = [int(i) for i in at[::2]][: study.fgsm.models]
            if not first or fleet.weights(first[0]) is None:
                return {}
            skip = canaries(fleet)
            kept = (rebuild(fleet, i, data=audit.data) for i in first)
            return {"fgsm": [of_run(k, skip, study.fgsm.epsilon, study.fgsm.samples) for k in kept]}

        with errors.status(f"scoring {entry.label}"):
            found = evaluate(
                run,
                undefended,
                attacks=[attacks.get(name) for name in study.attacks],
                fprs=study.fprs,
                extra=robustness,
            )
        content = {
            "key": key,
            "pool": self.pool,
            "label": entry.label,
            "slug": entry.slug,
            "seed": seed,
            "defense": as_config(entry.defense),
            "reconstruction": entry.defense.reconstruction,
            "data": {
                "name": audit.config.data.name,
                "samples": len(audit.data),
                "reference": 0 if audit.reference is None else len(audit.reference),
                "classes": list(run.classes),
            },
            "model": audit.config.model.name,
            "epochs": audit.recipe.epochs,
            "hardware": run.manifest["hardware"],
            "values": found.values,
            "realised": found.realised,
            "by_class": found.by_class,
            "paths": found.paths,
            "facts": found.facts,
        }
        write_json(place, content)
        table = samples_table(run, found.samples)
        with replacing(self.folder(entry, seed).with_suffix(".samples.parquet")) as draft:
            import pyarrow.parquet as pq

            pq.write_table(table, draft, compression="zstd")

    def locate(self, base: Entry, seed: int) -> dict[str, Any]:
        """Regions by swapping and rewinding between the undefended and the defended twins."""
        assert self.study.pptp is not None
        p = self.study.pptp
        place = self.results / f"regions-{base.slug}-s{seed}.json"
        plain = open_run(self.folder(Entry(NONE, Undefended()), seed))
        guarded = open_run(self.folder(base, seed))
        asked = {
            "format": FORMAT,
            "runs": [plain.manifest["key"], guarded.manifest["key"]],
            "pptp": p.model_dump(exclude={"variants", "bases", "controls"}),
        }
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        if place.exists():
            before: dict[str, Any] = json.loads(place.read_text())
            if before.get("key") == key:
                return before
        audit = self.at(seed)
        if audit.reference is None:
            return {"chosen": list(p.regions), "why": None}
        found: dict[str, list[Localisation]] = {"swap": [], "rewind": []}
        watched: list[list[float] | None] = []
        skip = canaries(plain)
        both = sorted(set(plain.models.tolist()) & set(guarded.models.tolist()))
        # One run of each pair: its twin trains on the other half and is no independent draw.
        rows = [r for r in both if r % 2 == 0][: p.models]
        with errors.status(f"locating regions with {base.label}"):
            for row in rows:
                ours = rebuild(plain, plain.models.tolist().index(row), data=audit.data)
                theirs = rebuild(guarded, guarded.models.tolist().index(row), data=audit.data)
                members, apart = _sides(ours, skip, audit)
                found["swap"].append(
                    by_swapping(
                        ours.model, theirs.model, members, apart, regions=p.regions, tau=p.tau
                    )
                )
                found["rewind"].append(
                    by_rewinding(
                        ours.model,
                        initial_weights(audit, row),
                        members,
                        apart,
                        regions=p.regions,
                        tau=p.tau,
                    )
                )
                watched.append(indicator(ours, initial_weights(audit, row), members, p.regions))
        means = {how: _mean(each) for how, each in found.items()}
        told = means["swap"]
        ways = {how: m.score for how, m in means.items()}
        free = None
        if all(w is not None for w in watched):
            free = np.mean(np.array(watched, dtype=np.float64), axis=0)
            ways["layers"] = free
        why = None
        try:
            chosen = list(p.regions or risky_regions(told, budget=p.budget))
        except InputError as e:
            chosen, why = [], str(e)
        content = {
            "key": key,
            "pool": self.pool,
            "base": base.label,
            "seed": seed,
            "regions": list(told.regions),
            "parameters": list(told.parameters),
            "chosen": chosen,
            "why": why,
            "named": bool(p.regions),
            "tables": {
                how: {
                    "utility": [m.utility.tolist() for m in each],
                    "privacy": [m.privacy.tolist() for m in each],
                    "score": [m.score.tolist() for m in each],
                    "chosen_by": means[how].score.tolist(),
                    "accuracy": float(np.mean([m.base.accuracy for m in each])),
                    "auc": float(np.mean([m.base.auc for m in each])),
                    "separation": _finite(means[how].separation),
                }
                for how, each in found.items()
            },
            "layers": None if free is None else free.tolist(),
            "agreement": {k: _finite(v) for k, v in agreement(ways).items()},
        }
        write_json(place, content)
        return content

    def guarded(self, base: Entry, located: Mapping[str, Any]) -> Iterator[tuple[Entry, Kind, str]]:
        """PPTP and its controls: (fleet, its part, the variant's name)."""
        p = self.study.pptp
        assert p is not None
        config = self.first.config
        ref = user_model(config.model.name, config.model.options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = ref.make(self.first.data.shape, len(self.first.data.classes))
        for variant in p.variants:
            pptp = make_defense(
                "pptp", base=base.defense, regions=located["chosen"], variant=variant
            )
            assert isinstance(pptp, PPTP)
            name = pptp.variant.name
            generator = torch.Generator().manual_seed(0)
            parts = controls(pptp, network, generator)
            if not p.controls:
                parts = {k: parts[k] for k in ("everywhere", "regions")}
            for kind, defense in parts.items():
                if kind == "everywhere":
                    yield base, "everywhere", name
                    continue
                assert isinstance(defense, PPTP)
                what = "" if kind == "regions" else f" {kind}"
                where = "+".join(defense.regions)
                label = f"pptp({base.label}) {name}{what} [{where}]"
                yield Entry(label, defense), kind, name  # type: ignore[misc]

    def run(self) -> None:
        """Everything that is left to do on this pool."""
        self.check()
        study, seed = self.study, self.study.seeds[0]
        entries = study.entries()
        roles: list[dict[str, str]] = []
        # PPTP follows its last base at once: what stands behind it in the file is less urgent.
        bases = study.bases()
        last = max((_at(entries, base) for base in bases), default=-1)
        for k, entry in enumerate(list(entries)):
            self.both(entry, seed)
            if k == last:
                for base in bases:
                    roles += self.guard(base, entries)
                write_json(self.results / "roles.json", {"roles": roles})
        chosen = entries
        if study.top is not None and len(study.seeds) > 1:
            best = {r.label for r in rank_rows(self.rows(seed), study.attacks[0])[: study.top]}
            wanted = best | {p["label"] for p in roles if _tied(p, roles, best)} | {NONE}
            chosen = [e for e in entries if e.label in wanted]
        for later in study.seeds[1:]:
            for entry in chosen:
                self.both(entry, later)
            for base in study.bases():
                if base.label in {e.label for e in chosen} and self._usable(base, later):
                    self.locate(base, later)

    def guard(self, base: Entry, entries: list[Entry]) -> list[dict[str, str]]:
        """PPTP with one base at the first seed: locates, trains, evaluates; the parts fleets play.

        Fleets that are new join `entries`.
        """
        seed = self.study.seeds[0]
        if not self._usable(base, seed):
            return []
        located = self.locate(base, seed)
        if not located["chosen"]:
            errors.print(f"pptp with {base.label}: {located['why']}", markup=False)
            return []
        try:
            parts = list(self.guarded(base, located))
        except InputError as e:
            errors.print(f"pptp with {base.label}: {e}", markup=False)
            return []
        roles = []
        for entry, kind, variant in parts:
            part = {"base": base.label, "variant": variant, "kind": kind, "label": entry.label}
            same = next((e for e in entries if _same(e, entry)), None)
            if same is None:
                entries.append(entry)
                self.both(entry, seed)
            else:
                part["label"] = same.label
            roles.append(part)
        return roles

    def _usable(self, entry: Entry, seed: int) -> bool:
        place = self.result(entry, seed)
        return place.exists() and "failed" not in json.loads(place.read_text())

    def rows(self, seed: int | None = None) -> list[Row]:
        """Results of this pool, joined over seeds or of one."""
        return read_rows(self.results, seed=seed)


def _at(entries: Sequence[Entry], wanted: Entry) -> int:
    return next(k for k, e in enumerate(entries) if _same(e, wanted))


def _same(a: Entry, b: Entry) -> bool:
    return (repr(a.defense), a.recipe) == (repr(b.defense), b.recipe)


def _tied(part: Mapping[str, str], roles: list[dict[str, str]], best: set[str]) -> bool:
    """Whether a PPTP fleet among the best needs this one beside it as its control."""
    return any(
        other["label"] in best
        and other["kind"] == "regions"
        and (other["base"], other["variant"]) == (part["base"], part["variant"])
        for other in roles
    )


def _recipe(base: Recipe, entry: Entry) -> Recipe:
    """The base's recipe with what the entry changes, checked."""
    return Recipe(**(base.model_dump() | dict(entry.recipe)))


def initial_weights(audit: Audit, row: int) -> dict[str, torch.Tensor]:
    """Weights that plan row `row` began with: a function of its seed alone."""
    ref = user_model(audit.config.model.name, audit.config.model.options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(audit.plan.seeds[row]) % 2**63)
        return snapshot(ref.make(audit.data.shape, len(audit.data.classes)))


def _sides(kept: Rebuilt, skip: Any, audit: Audit) -> tuple[Samples, Samples]:
    """Members of a run and the reference set, as its network takes them."""
    assert audit.reference is not None
    members = torch.from_numpy(np.flatnonzero(kept.member & ~skip))
    scale = kept.data.member_scale(np.flatnonzero(kept.member))
    n = len(audit.reference)
    apart = Resident.of(audit.reference).batch(np.arange(n), *scale)
    return (
        Samples(kept.inputs[members], kept.labels[members]),
        Samples(apart, audit.reference.labels),
    )


def indicator(
    kept: Rebuilt,
    earlier: Mapping[str, torch.Tensor],
    members: Samples,
    regions: Sequence[str],
) -> list[float] | None:
    """A sign of risk that needs no attack: MCR of every region's effective rank since the start.

    Per layer output MCR = (m(end) − m(start)) / max of both, m the effective rank over up to 2,000
    members; a region's is the mean over its layers. Claim A4 of arXiv 2412.00696 (whose formulas
    were not at hand: a reconstruction) is that layers of higher MCR are more vulnerable. None where
    a region has no layer of its own or the members are too few to tell ranks.
    """
    begun = copy.deepcopy(kept.model)
    begun.load_state_dict(dict(earlier))
    inputs = members.inputs[:2000]
    try:
        start, end = (
            probe(model, inputs, indicators=(DegreesOfFreedom(),)) for model in (begun, kept.model)
        )
    except InputError:
        return None
    mcr = change_values(np.stack([start["erank"], end["erank"]]))["mcr"]
    out = []
    for names in partition(kept.model, tuple(regions)).values():
        mine = [
            float(value)
            for value, modules in zip(mcr, end.regions, strict=True)
            if any(n.startswith(tuple(f"{m}." for m in modules)) for n in names)
        ]
        if not mine:
            return None
        out.append(float(np.mean(mine)))
    return out


def _mean(each: list[Localisation]) -> Localisation:
    return replace(
        each[0],
        utility=np.mean([m.utility for m in each], axis=0),
        privacy=np.mean([m.privacy for m in each], axis=0),
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
