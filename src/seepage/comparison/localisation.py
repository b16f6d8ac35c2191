"""PPTP in a comparison: the risky regions of a pool's own networks, and what protects them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from seepage.array_types import BoolArray
from seepage.comparison.config import Candidate
from seepage.comparison.evaluate import canaries
from seepage.comparison.pool import PoolComparison, Setting
from seepage.data import Dataset
from seepage.defenses import (
    PPTP,
    Localisation,
    agreement,
    by_rewinding,
    by_swapping,
    controls,
    risky_regions,
)
from seepage.defenses import make as make_defense
from seepage.defenses.networks import Samples, snapshot
from seepage.defenses.regions import partition
from seepage.errors import InputError
from seepage.fleet.rebuild import Rebuilt, rebuild
from seepage.layers import DegreesOfFreedom, change_values, probe
from seepage.record import Resident
from seepage.store import open_run
from seepage.store.result_files import read_result, write_result
from seepage.study.runner import key_of

__all__ = ["Kind", "initial_weights", "layer_indicator", "locate", "pptp_candidates"]

FORMAT = 3
"""Raised when locating gives other regions for the same fleets."""
Kind = Literal["everywhere", "regions", "complement", "random"]
KINDS: tuple[Kind, ...] = ("regions", "complement", "random")


def locate(pool: PoolComparison, base: Candidate, seed: int) -> dict[str, Any]:
    """Regions by swapping and rewinding between undefended and defended networks of one seed.

    The result is kept with the evaluations, and read again when the settings are the same.
    """
    p = pool.options.pptp
    if p is None:
        raise ValueError("pptp: expected options for locating regions, got none")
    place = pool.results / f"regions-{base.slug}-s{seed}.json"
    plain = open_run(pool.folder(pool.undefended, seed))
    defended = open_run(pool.folder(base, seed))
    key = key_of(
        {
            "format": FORMAT,
            "runs": [plain.manifest["key"], defended.manifest["key"]],
            "pptp": p.model_dump(exclude={"variants", "bases", "controls"}),
        }
    )
    if place.exists():
        before = read_result(place)
        if before.get("key") == key:
            return before
    setting = pool.at(seed)
    reference = setting.reference
    if reference is None:
        return {"chosen": list(p.regions), "why": None}
    found: dict[str, list[Localisation]] = {"swap": [], "rewind": []}
    watched: list[list[float] | None] = []
    skip = canaries(plain)
    both = sorted(set(plain.models.tolist()) & set(defended.models.tolist()))
    # One run of each pair: the other trains on the other half and is no independent draw.
    rows = [r for r in both if r % 2 == 0][: p.models]
    with pool.progress.status(f"locating regions with {base.label}"):
        for row in rows:
            at = [fleet.models.tolist().index(row) for fleet in (plain, defended)]
            ours = rebuild(plain, at[0], data=setting.data, model=setting.model)
            theirs = rebuild(defended, at[1], data=setting.data, model=setting.model)
            begun = initial_weights(setting, row)
            members, apart = _sides(ours, skip, reference)
            found["swap"].append(
                by_swapping(ours.model, theirs.model, members, apart, regions=p.regions, tau=p.tau)
            )
            found["rewind"].append(
                by_rewinding(ours.model, begun, members, apart, regions=p.regions, tau=p.tau)
            )
            watched.append(layer_indicator(ours, begun, members, p.regions))
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
        "pool": pool.name,
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
    write_result(place, content)
    return content


def pptp_candidates(
    pool: PoolComparison, base: Candidate, regions: Sequence[str]
) -> Iterator[tuple[Candidate, Kind, str]]:
    """PPTP on these regions and its controls: (what is trained, its part, the variant's name)."""
    p = pool.options.pptp
    if p is None:
        raise ValueError("pptp: expected options for its controls, got none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = pool.first.network()
    for variant in p.variants:
        pptp = make_defense("pptp", base=base.defense, regions=list(regions), variant=variant)
        if not isinstance(pptp, PPTP):
            raise TypeError(f"pptp: expected PPTP by that name, got {type(pptp).__name__}")
        name = pptp.variant.name
        parts = controls(pptp, network, torch.Generator().manual_seed(0))
        if not p.controls:
            parts = {k: parts[k] for k in ("everywhere", "regions")}
        yield base, "everywhere", name
        for kind in KINDS:
            defense = parts.get(kind)
            if isinstance(defense, PPTP):
                what = "" if kind == "regions" else f" {kind}"
                where = "+".join(defense.regions)
                label = f"pptp({base.label}) {name}{what} [{where}]"
                yield Candidate(label, defense), kind, name


def initial_weights(setting: Setting, row: int) -> dict[str, torch.Tensor]:
    """Weights that plan row `row` began with: a function of its seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(setting.plan.seeds[row]) % 2**63)
        return snapshot(setting.network())


def _sides(kept: Rebuilt, skip: BoolArray, reference: Dataset) -> tuple[Samples, Samples]:
    """Members of a run and the reference set, as its network takes them."""
    members = torch.from_numpy(np.flatnonzero(kept.member & ~skip))
    scale = kept.data.member_scale(np.flatnonzero(kept.member))
    apart = Resident.of(reference).batch(np.arange(len(reference)), *scale)
    return (
        Samples(kept.inputs[members], kept.labels[members]),
        Samples(apart, reference.labels),
    )


def layer_indicator(
    kept: Rebuilt,
    earlier: Mapping[str, torch.Tensor],
    members: Samples,
    regions: Sequence[str],
) -> list[float] | None:
    """A sign of risk that needs no attack: MCR of every region's effective rank since the start.

    Per layer output MCR = (m(end) − m(start)) / max of both, m the effective rank over up to 2,000
    members; a region's is the mean over its layers. Claim A4 of arXiv 2412.00696 (whose formulas
    were not available: a reconstruction) is that layers of higher MCR are more vulnerable. None
    where a region has no layer of its own or the members are too few to tell ranks.
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
