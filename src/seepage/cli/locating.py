"""PPTP in a comparison: where risk lies on a pool's own fleets, and the fleets that follow from it."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from seepage.cli.defend_config import NONE, Entry
from seepage.comparison.evaluate import canaries
from seepage.config.prepare import Prepared
from seepage.defenses import (
    PPTP,
    Localisation,
    Undefended,
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
from seepage.models.reference import user_model
from seepage.record import Resident
from seepage.store import open_run
from seepage.store.files import write_json

if TYPE_CHECKING:
    from seepage.cli.campaign import Campaign

__all__ = ["Kind", "guarded", "indicator", "initial_weights", "locate"]

FORMAT = 3
Kind = Literal["everywhere", "regions", "complement", "random"]


def locate(campaign: Campaign, base: Entry, seed: int) -> dict[str, Any]:
    """Regions by swapping and rewinding between the undefended and the defended twins."""
    assert campaign.study.pptp is not None
    p = campaign.study.pptp
    place = campaign.results / f"regions-{base.slug}-s{seed}.json"
    plain = open_run(campaign.folder(Entry(NONE, Undefended()), seed))
    guarded = open_run(campaign.folder(base, seed))
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
    audit = campaign.at(seed)
    if audit.reference is None:
        return {"chosen": list(p.regions), "why": None}
    found: dict[str, list[Localisation]] = {"swap": [], "rewind": []}
    watched: list[list[float] | None] = []
    skip = canaries(plain)
    both = sorted(set(plain.models.tolist()) & set(guarded.models.tolist()))
    # One run of each pair: its twin trains on the other half and is no independent draw.
    rows = [r for r in both if r % 2 == 0][: p.models]
    with campaign.status(f"locating regions with {base.label}"):
        for row in rows:
            ours = rebuild(plain, plain.models.tolist().index(row), data=audit.data)
            theirs = rebuild(guarded, guarded.models.tolist().index(row), data=audit.data)
            members, apart = _sides(ours, skip, audit)
            found["swap"].append(
                by_swapping(ours.model, theirs.model, members, apart, regions=p.regions, tau=p.tau)
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
        "pool": campaign.pool,
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


def guarded(
    campaign: Campaign, base: Entry, located: Mapping[str, Any]
) -> Iterator[tuple[Entry, Kind, str]]:
    """PPTP and its controls: (fleet, its part, the variant's name)."""
    p = campaign.study.pptp
    assert p is not None
    config = campaign.first.config
    ref = user_model(config.model.name, config.model.options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ref.make(campaign.first.data.shape, len(campaign.first.data.classes))
    for variant in p.variants:
        pptp = make_defense("pptp", base=base.defense, regions=located["chosen"], variant=variant)
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


def initial_weights(audit: Prepared, row: int) -> dict[str, torch.Tensor]:
    """Weights that plan row `row` began with: a function of its seed alone."""
    ref = user_model(audit.config.model.name, audit.config.model.options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(audit.plan.seeds[row]) % 2**63)
        return snapshot(ref.make(audit.data.shape, len(audit.data.classes)))


def _sides(kept: Rebuilt, skip: Any, audit: Prepared) -> tuple[Samples, Samples]:
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
