"""Defences on one pool: where their fleets lie, how each is trained and evaluated."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

from seepage import attacks
from seepage.array_types import AnyArray
from seepage.cli.console import FleetBar, errors
from seepage.cli.defend_config import NONE, DefendConfig, Entry
from seepage.comparison.evaluate import canaries, evaluate
from seepage.comparison.results import Row, read_rows
from seepage.comparison.robustness import of_run
from seepage.config.prepare import Prepared, check_defense, prepare
from seepage.defenses import Undefended, as_config
from seepage.defenses import make as make_defense
from seepage.errors import InputError
from seepage.fleet import train_prepared
from seepage.fleet.rebuild import rebuild
from seepage.store import Run, open_run
from seepage.store.files import replacing, write_json

__all__ = ["Campaign"]

FORMAT = 4


@dataclass
class Campaign:
    """All fleets of one pool."""

    study: DefendConfig
    pool: str
    quiet: bool = False
    """Whether others draw on the terminal: no bars from here."""

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
    def first(self) -> Prepared:
        """Data, plan and recipe at the first seed."""
        return prepare(self.study.audit(self.pool, self.study.seeds[0]))

    def at(self, seed: int) -> Prepared:
        """Data, plan and recipe of one seed; precision as the first undefended fleet chose."""
        audit = self.first
        if seed != self.study.seeds[0]:
            audit = prepare(self.study.audit(self.pool, seed))
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
        entries = [(e.defense, e.changed(first.recipe)) for e in self.study.entries(self.pool)]
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
        recipe = entry.changed(audit.recipe)
        record = audit.config.record
        listed = record.checkpoints
        if isinstance(listed, list) and recipe.epochs < audit.recipe.epochs:
            # A shorter training is looked at as often as it lasts, and at its end.
            kept = [e for e in listed if e < recipe.epochs]
            record = record.model_copy(update={"checkpoints": [*kept, recipe.epochs]})
        config = audit.config.model_copy(update={"out": out, "record": record})
        audit = replace(audit, defense=entry.defense, recipe=recipe, config=config)
        if self.quiet:
            return train_prepared(audit)
        errors.print(f"{self.pool}, seed {seed}: {entry.label}", markup=False)
        return train_prepared(audit, FleetBar())

    def status(self, text: str) -> contextlib.AbstractContextManager[Any]:
        """A line on the terminal while something goes on."""
        return contextlib.nullcontext() if self.quiet else errors.status(text)

    def done(self, entry: Entry, seed: int) -> tuple[int, int]:
        """(finished or failed runs, planned runs)."""
        planned = self.study.audit(self.pool, seed).plan.models
        place = self.folder(entry, seed)
        if not (place / "manifest.json").exists():
            return 0, planned
        run = open_run(place)
        return len(run.models) + len(run.failed), planned

    def attempt(self, entry: Entry, seed: int) -> bool:
        """Train one fleet; one that cannot be is written down with its reason. Whether it could."""
        return self._told(entry, seed, lambda: self.train(entry, seed))

    def judge(self, entry: Entry, seed: int) -> bool:
        """Evaluate one fleet, or write down why it cannot be. Whether it could."""
        run = open_run(self.folder(entry, seed))
        return self._told(entry, seed, lambda: self.evaluate(entry, seed, run))

    def _told(self, entry: Entry, seed: int, work: Callable[[], object]) -> bool:
        try:
            work()
        except InputError as e:
            if isinstance(entry.defense, Undefended):
                raise
            errors.print(f"{entry.label}: left out: {e}", markup=False)
            write_json(
                self.result(entry, seed),
                {"pool": self.pool, "label": entry.label, "slug": entry.slug, "seed": seed,
                 "defense": as_config(entry.defense), "failed": str(e)},
            )  # fmt: skip
            return False
        return True

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

        with self.status(f"scoring {entry.label}"):
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
            "epochs": entry.changed(audit.recipe).epochs,
            "hardware": run.manifest["hardware"],
            "values": found.values,
            "realised": found.realised,
            "by_class": found.by_class,
            "paths": found.paths,
            "facts": found.facts,
        }
        write_json(place, content)
        # A machine that only trains and judges may do without.
        if find_spec("pyarrow") is not None:
            folder = self.folder(entry, seed)
            place = folder.with_name(f"{folder.name}.samples.parquet")
            _write_samples(run, found.samples, place)

    def usable(self, entry: Entry, seed: int) -> bool:
        """Whether this fleet was evaluated."""
        place = self.result(entry, seed)
        return place.exists() and "failed" not in json.loads(place.read_text())

    def rows(self, seed: int | None = None) -> list[Row]:
        """Results of this pool, joined over seeds or of one."""
        return read_rows(self.results, seed=seed)


def _write_samples(run: Run, samples: Mapping[str, AnyArray], place: Path) -> None:
    """One row per sample of one fleet: id, label, per-sample AUC over models, rates."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "id": pa.array(run.ids.tolist(), pa.string()),
            "label": run.labels,
            **{name: pa.array(values) for name, values in samples.items()},
        }
    )
    with replacing(place) as draft:
        pq.write_table(table, draft, compression="zstd")
