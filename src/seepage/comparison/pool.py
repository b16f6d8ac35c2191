"""Defences on one pool: where their fleets are stored, how each is trained and evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

from torch import nn

from seepage.array_types import AnyArray, Int64Array
from seepage.attacks import ATTACKS, Attack
from seepage.attacks import get as attack_by_name
from seepage.attacks.identity import known_as
from seepage.comparison.config import NONE, Candidate, ComparisonConfig, FGSMConfig, PPTPConfig
from seepage.comparison.evaluate import canaries, evaluate
from seepage.comparison.results import Row, read_rows
from seepage.comparison.robustness import of_run
from seepage.config.execution import Execution
from seepage.config.model import Model, as_model
from seepage.config.prepare import check_defense, prepare
from seepage.config.recipe import Recipe
from seepage.config.record import Record
from seepage.data import Dataset
from seepage.defenses import Defense, Undefended, as_config
from seepage.defenses import make as make_defense
from seepage.errors import InputError
from seepage.fleet import Watcher, train
from seepage.fleet.rebuild import rebuild
from seepage.plan import SubsetPlan
from seepage.store import Run, open_run
from seepage.store.files import replacing
from seepage.store.result_files import read_result, write_result
from seepage.study.runner import Progress, Quiet, key_of

__all__ = ["Options", "PoolComparison", "Setting", "from_config"]

FORMAT = 5
"""Raised when an evaluation says something else of the same fleets."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What all fleets of one plan share: data, plan, network, recipe, what is recorded, where.

    reference: samples set apart for defences and for locating regions. name: the data's, as the
    page calls it.
    """

    name: str
    data: Dataset
    plan: SubsetPlan
    recipe: Recipe
    model: Model
    record: Record
    execution: Execution
    reference: Dataset | None = None

    def network(self) -> nn.Module:
        """A fresh network from torch's current random stream."""
        model = self.model.for_task(self.data.task)
        return model.make(self.data.shape, len(self.data.classes))

    def check(self, candidate: Candidate) -> None:
        """Raise InputError where a defence cannot act on this network, data or recipe."""
        check_defense(
            candidate.defense,
            self.data,
            self.reference,
            self.model,
            candidate.changed(self.recipe),
        )

    def train(self, defense: Defense, out: Path, watcher: Watcher) -> Run:
        """The fleet under a defence, from where it was."""
        return train(
            self.data,
            self.plan,
            out=out,
            model=self.model,
            recipe=self.recipe,
            record=self.record,
            execution=self.execution,
            defense=defense,
            reference=self.reference,
            watcher=watcher,
        )


@dataclass(frozen=True)
class Options:
    """How the fleets of a comparison are judged, and which are trained at which seeds.

    attacks: the main one first; fprs of its TPRs; fgsm: robustness. bases, pptp: base defences
    whose risky regions are located and protected. seeds, top, again, fleets: as `ComparisonConfig`
    has them.
    """

    attacks: tuple[Attack, ...]
    fprs: tuple[float, ...] = (0.01, 0.001)
    fgsm: FGSMConfig = field(default_factory=FGSMConfig)
    seeds: tuple[int, ...] = (0,)
    top: int | None = None
    again: tuple[str, ...] = ()
    fleets: tuple[str, ...] = ()
    pptp: PPTPConfig | None = None
    bases: tuple[Candidate, ...] = ()

    @property
    def main(self) -> str:
        """The name of the attack that ranks defences."""
        return self.attacks[0].name


def _named(attack: Attack) -> str:
    """What a key calls an attack: by its name alone where its options are those of the table (`known_as`)."""
    known = ATTACKS.get(attack.name)
    return known_as(attack, None if known is None else known())


@dataclass
class PoolComparison:
    """All fleets of one pool.

    runs, results: folders of this pool's own. setting: what the fleets of a seed share. candidates:
    the undefended one first. alone: whether others train at the same time as this process, which
    then trains its fleets itself and draws no bar.
    """

    name: str
    runs: Path
    results: Path
    setting: Callable[[int], Setting]
    candidates: list[Candidate]
    options: Options
    progress: Progress = field(default_factory=Quiet)
    alone: bool = False

    def folder(self, candidate: Candidate, seed: int) -> Path:
        """Run folder of a fleet."""
        return self.runs / f"{candidate.slug}-s{seed}"

    def result(self, candidate: Candidate, seed: int) -> Path:
        """Evaluation of a fleet."""
        return self.results / f"{candidate.slug}-s{seed}.json"

    @cached_property
    def first(self) -> Setting:
        """What fleets share at the first seed."""
        return self._given(self.options.seeds[0])

    def at(self, seed: int) -> Setting:
        """What fleets share at a seed; precision as the first undefended fleet chose."""
        setting = self.first if seed == self.options.seeds[0] else self._given(seed)
        place = self.folder(self.undefended, self.options.seeds[0])
        if (place / "manifest.json").exists():
            # Measured afresh for each fleet, "auto" could give fleets different precisions.
            chosen = open_run(place).manifest["chosen"]["precision"]
            recipe = setting.recipe.changed(precision=chosen)
            setting = replace(setting, recipe=recipe)
        return setting

    def _given(self, seed: int) -> Setting:
        setting = self.setting(seed)
        if not self.alone:
            return setting
        inline = setting.execution.model_copy(update={"executor": "inline", "workers": 1})
        return replace(setting, execution=inline)

    @property
    def undefended(self) -> Candidate:
        """What all others are compared with."""
        return Candidate(NONE, Undefended())

    def check(self, jobs: int = 1) -> None:
        """Every defence against network, data and recipe, before anything is trained."""
        first, pptp = self.first, self.options.pptp
        if jobs > 1 and first.recipe.precision == "auto":
            raise InputError(
                "jobs: expected recipe.precision to be set for fleets side by side, got 'auto', "
                "which each would measure for itself; use 'fp32' or 'bf16'"
            )
        if jobs > 1 and not first.model.travels():
            raise InputError(
                f"jobs: expected a model that other processes can import, got {first.model.name!r}; "
                "define it in a module of its own or train one fleet at a time"
            )
        candidates = list(self.candidates)
        if pptp is not None:
            if not pptp.regions and first.reference is None:
                raise InputError(
                    "pptp.regions: measuring them needs non-members set apart, got none; "
                    "set base.defense.reference or name the regions"
                )
            for base, variant in product(self.options.bases, pptp.variants):
                regions = pptp.regions or ["head"]
                defense = make_defense("pptp", base=base.defense, regions=regions, variant=variant)
                if pptp.regions:
                    candidates.append(Candidate("pptp", defense))
        for candidate in candidates:
            first.check(candidate)

    def train(self, candidate: Candidate, seed: int) -> Run:
        """The fleet, from where it was."""
        baseline = isinstance(candidate.defense, Undefended) and seed == self.options.seeds[0]
        setting = self.first if baseline else self.at(seed)
        recipe, record = candidate.changed(setting.recipe), setting.record
        listed = record.checkpoints
        if isinstance(listed, tuple) and recipe.epochs < setting.recipe.epochs:
            # A shorter training is evaluated as often as it lasts, and at its end.
            kept = [e for e in listed if e < recipe.epochs]
            record = record.changed(checkpoints=(*kept, float(recipe.epochs)))
        if not self.alone:
            self.progress.say(f"{self.name}, seed {seed}: {candidate.label}")
        watcher = Quiet().watcher() if self.alone else self.progress.watcher()
        setting = replace(setting, recipe=recipe, record=record)
        return setting.train(candidate.defense, self.folder(candidate, seed), watcher)

    def done(self, candidate: Candidate, seed: int) -> tuple[int, int]:
        """(finished or failed runs, planned runs)."""
        planned = self.first.plan.models
        place = self.folder(candidate, seed)
        if not (place / "manifest.json").exists():
            return 0, planned
        run = open_run(place)
        return len(run.models) + len(run.failed), planned

    def attempt(self, candidate: Candidate, seed: int, work: Callable[[], object]) -> bool:
        """Do work on a fleet; what cannot be is written down with its reason. Whether it could."""
        try:
            work()
        except InputError as e:
            if isinstance(candidate.defense, Undefended):
                raise
            self.progress.say(f"{candidate.label}: left out: {e}")
            head = self._head(candidate, seed)
            write_result(self.result(candidate, seed), head | {"failed": str(e)})
            return False
        return True

    def _head(self, candidate: Candidate, seed: int) -> dict[str, Any]:
        return {
            "pool": self.name,
            "label": candidate.label,
            "slug": candidate.slug,
            "seed": seed,
            "defense": as_config(candidate.defense),
        }

    def evaluate(self, candidate: Candidate, seed: int) -> None:
        """Evaluate a finished fleet unless the same was evaluated before."""
        run = open_run(self.folder(candidate, seed))
        undefended = open_run(self.folder(self.undefended, seed))
        options = self.options
        key = key_of(
            {
                "format": FORMAT,
                "run": run.manifest["key"],
                "undefended": undefended.manifest["key"],
                "attacks": [_named(a) for a in options.attacks],
                "fprs": options.fprs,
                "fgsm": options.fgsm.model_dump(),
                "ended": sorted(run.records) + sorted(run.failed),
            }
        )
        place = self.result(candidate, seed)
        if place.exists() and read_result(place).get("key") == key:
            return
        setting = self.at(seed)

        def robustness(fleet: Run, at: Int64Array) -> dict[str, list[float]]:
            fgsm = options.fgsm
            some = [int(i) for i in at[::2]][: fgsm.models]
            if not some or fleet.weights(some[0]) is None:
                return {}
            skip = canaries(fleet)
            kept = (rebuild(fleet, i, data=setting.data, model=setting.model) for i in some)
            return {"fgsm": [of_run(k, skip, fgsm.epsilon, fgsm.samples) for k in kept]}

        with self.progress.status(f"scoring {candidate.label}"):
            found = evaluate(
                run, undefended, attacks=options.attacks, fprs=options.fprs, extra=robustness
            )
        content = {
            "key": key,
            **self._head(candidate, seed),
            "reconstruction": candidate.defense.reconstruction,
            "data": {
                "name": setting.name,
                "samples": len(setting.data),
                "reference": 0 if setting.reference is None else len(setting.reference),
                "classes": list(run.classes),
            },
            "model": setting.model.name,
            "epochs": candidate.changed(setting.recipe).epochs,
            "hardware": run.manifest["hardware"],
            "values": found.values,
            "realised": found.realised,
            "null": found.null,
            "non_members": found.non_members,
            "by_class": found.by_class,
            "paths": found.paths,
            "facts": found.facts,
        }
        write_result(place, content)
        # A machine that only trains and evaluates may do without.
        if find_spec("pyarrow") is not None:
            folder = self.folder(candidate, seed)
            place = folder.with_name(f"{folder.name}.samples.parquet")
            _write_samples(run, found.samples, place)

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


@dataclass(frozen=True)
class _Configured:
    """The settings of one pool of a configuration, by seed."""

    config: ComparisonConfig
    pool: str

    def __call__(self, seed: int) -> Setting:
        made = prepare(self.config.audit(self.pool, seed))
        c = made.config
        return Setting(
            c.data.name,
            made.data,
            made.plan,
            c.recipe,
            as_model(c.model),
            c.record,
            c.execution,
            made.reference,
        )


def from_config(
    config: ComparisonConfig, pool: str, progress: Progress | None = None
) -> PoolComparison:
    """One pool of a configuration."""
    options = Options(
        attacks=tuple(attack_by_name(name) for name in config.attacks),
        fprs=config.fprs,
        fgsm=config.fgsm,
        seeds=config.seeds,
        top=config.top,
        again=config.again,
        fleets=config.fleets,
        pptp=config.pptp,
        bases=tuple(config.bases()),
    )
    return PoolComparison(
        name=pool,
        runs=Path(config.runs) / pool,
        results=Path(config.results) / pool,
        setting=_Configured(config, pool),
        candidates=config.candidates(pool),
        options=options,
        progress=progress if progress is not None else Quiet(),
    )
