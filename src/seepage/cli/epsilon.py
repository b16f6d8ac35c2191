"""`epsilon`: lower bounds from a run, what they need, and what an accountant's numbers allow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from seepage.cli.app import app
from seepage.cli.arguments import (
    AttackName,
    Factory,
    RunFolder,
    UnitName,
    about,
    judged_run,
    judged_unit,
    keep,
)
from seepage.cli.console import console, errors
from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.attacks import Attack
    from seepage.epsilon import LabelGame, Needed


class _RunFirst(TyperGroup):
    """`epsilon RUN` is `epsilon bound RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["bound", *args]
        return list(super().parse_args(ctx, args))


commands = typer.Typer(
    cls=_RunFirst,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Lower bounds on ε from a run, and the way from an accountant to rates: `seepage epsilon RUN`.",
)
app.add_typer(commands, name="epsilon")

Delta = Annotated[float, typer.Option(help="δ at which ε is meant.")]
Level = Annotated[float, typer.Option(help="Confidence of lower bounds.")]
Noise = Annotated[float, typer.Option(help="Noise multiplier σ of DP-SGD.")]
Rate = Annotated[float, typer.Option(help="Sampling rate q: batch size over members.")]
Steps = Annotated[int, typer.Option(help="Steps T.")]
# Of Gaussian mechanisms that are assumed, the largest μ.
_MU = 60.0
AT = (1e-5, 1e-4, 1e-3, 1e-2, 0.1)


@commands.command()
def bound(
    run: RunFolder,
    attack: AttackName = "lira",
    target: Annotated[
        int | None, typer.Option(min=0, help="One usable run alone, as one model.")
    ] = None,
    sample: Annotated[
        str | None, typer.Option(help="One sample by its id, over all models, by its signal.")
    ] = None,
    delta: Delta = 1e-5,
    level: Level = 0.95,
    unit: UnitName = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of trials drawn of pairs, and of the null.")
    ] = 0,
) -> None:
    """How large the run shows ε to be at least: of its recipe, one model, one sample, a subject.

    A bound refutes smaller ε and never shows that a model is private. What is an estimate is called
    one.

    Examples:

        seepage epsilon runs/digits

        seepage epsilon bound runs/digits --sample 17 --delta 0
    """
    import numpy as np

    from seepage.config.chosen_attacks import chosen_attacks
    from seepage.findings.epsilon import epsilon_of_run, epsilon_of_sample
    from seepage.findings.unjudged import unjudged

    opened = judged_run(run)
    if sample is not None:
        at = np.flatnonzero(opened.ids == sample)
        if not at.size:
            raise InputError(
                f"--sample: expected an id of the run such as {str(opened.ids[0])!r}, got {sample!r}"
            )
        name, shown = "phi", "φ"
        if name not in opened.signals:
            raise InputError(
                f"--sample: expected a run that recorded {name}, got {', '.join(opened.signals)}"
            )
        found = epsilon_of_sample(opened, int(at[0]), delta=delta, level=level, seed=seed)
        console.print(
            f"sample {sample} by its {shown}, {found.trials} independent models, δ = {delta:g}, "
            f"{100 * level:g} %: {found}",
            markup=False,
            soft_wrap=True,
        )
        return
    chosen: Sequence[Attack] = chosen_attacks([attack], attack)
    without = unjudged(opened, chosen)
    part, chosen = without.part(opened), without.attacks(chosen)
    who = judged_unit(part, unit)
    with errors.status("auditing"):
        r = epsilon_of_run(
            part, chosen[0], target=target, delta=delta, level=level,
            unit=who, seed=seed,
        )  # fmt: skip
    of = "every model of the recipe" if target is None else f"run {target}"
    table = Table(title=f"{escape(opened.path)}: ε of {of} at δ = {delta:g}{about(who)}")
    for column in ("figure", "value", "what it is"):
        table.add_column(column, justify="right" if column == "value" else "left")
    most = f"; the most that {r.guesses} guesses can show" if r.guesses else ""
    joint = f", joint over {r.models} models" if r.models > 1 else ""
    table.add_row(
        "ε at least", f"{r.bound:.3f}", f"{100 * level:g} % bound, one run each{joint}{most}"
    )
    table.add_row(
        "ε at least, if the mechanism is Gaussian", f"{r.gaussian:.3f}",
        f"{100 * level:g} % bound by f-DP in one run, extrapolated to this δ",
    )  # fmt: skip
    unlike = ", which these scores are not" if r.estimate.normal_p < 1e-3 else ""
    table.add_row(
        "ε about", f"{r.estimate.epsilon:.3f}",
        f"an estimate and no bound, of two Gaussians{unlike}; noise reads {r.estimate.noise:.3f}",
    )  # fmt: skip
    if r.spent is not None:
        held = "" if r.spent_holds else "; not a guarantee of this run"
        table.add_row("ε of the accountant", f"{r.spent:.3f}", f"an upper bound{held}")
    console.print(table)
    if r.refutes_the_accountant:
        console.print("The run refutes its accountant: the bound is larger than what was spent.")


@commands.command()
def labels(
    run: RunFolder,
    game: Annotated[
        Path | None, typer.Option("--game", "-g", help="The game's file, as write_game kept it.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="Instead of it, the TOML with [label_game] that the run was trained from.",
        ),
    ] = None,
    target: Annotated[
        int | None, typer.Option(min=0, help="One usable run alone, as one model.")
    ] = None,
    delta: Annotated[float, typer.Option(help="δ at which ε of labels is meant.")] = 0.0,
    level: Level = 0.95,
    factory: Factory = None,
) -> None:
    """How large ε of *labels* is at least: which of two labels was each canary trained on?

    Needs a run on the data of `seepage.epsilon.label_game`, or of a configuration with [label_game], with
    recorded logits or kept weights. Membership is another question: `seepage epsilon RUN`. Of all models
    together it is kept for the next report.

    Examples:

        seepage epsilon labels runs/labels --game game.json

        seepage epsilon labels runs/labels --config labels.toml
    """
    from seepage.cli.labels import print_labels
    from seepage.findings.label_inference import label_inference_of_run

    drawn = _game(game, config)
    opened = judged_run(run)
    with errors.status("guessing labels"):
        r = label_inference_of_run(
            opened, drawn, target=target, delta=delta, level=level, model=factory
        )
    print_labels(opened, r, target)
    if target is None:
        keep(opened, "labels", r.summary())


def _game(file: Path | None, config: Path | None) -> LabelGame:
    """The game of a file, or that which a configuration draws."""
    from seepage.config.audit import read_config
    from seepage.config.prepare import prepare
    from seepage.findings.label_inference import read_game

    if (file is None) == (config is None):
        raise InputError(
            "--game, --config: expected one of them, got "
            f"{'neither' if file is None else 'both'}; name the game's file or the configuration"
        )
    if file is not None:
        return read_game(file)
    found = prepare(read_config(config, ())).game
    if found is None:
        raise InputError(
            f"--config: expected [label_game] with canaries, got none in {config}; name the "
            "configuration that the run was trained from"
        )
    return found


@commands.command()
def plan(
    target: Annotated[float, typer.Option("--target", "-t", help="The ε that is to be shown.")],
    truth: Annotated[
        float | None, typer.Option(help="The ε that there is; without it the attack is perfect.")
    ] = None,
    delta: Delta = 1e-5,
    level: Level = 0.95,
    power: Annotated[float, typer.Option(help="Probability of success.")] = 0.8,
) -> None:
    """Before training: how many canaries of one run, or how many models, a bound of this size needs.

    With `--truth` a mechanism that leaks so much is assumed: of canaries every guess is right with
    probability e^ε/(1 + e^ε); of models the scores are as far apart as a Gaussian mechanism's.

    Example: `seepage epsilon plan --target 2 --truth 4`
    """
    from scipy import optimize

    from seepage.epsilon import canaries_needed, gdp_epsilon, models_needed

    mu = None
    if truth is not None:
        if not 0 < truth < math.inf:
            raise InputError(f"--truth: expected a finite number above 0, got {truth:g}")
        if not 0 <= delta < 1:
            raise InputError(f"--delta: expected a number in [0, 1), got {delta:g}; use 0 or 1e-5")
        at = max(delta, 1e-12)
        most = gdp_epsilon(_MU, at)
        if truth > most:
            raise InputError(
                f"--truth: expected at most {most:.0f}, beyond which an attack is perfect, got "
                f"{truth:g}; leave it out"
            )
        mu = float(optimize.brentq(lambda m: gdp_epsilon(m, at) - truth, 1e-6, _MU))
    table = Table(title=f"to show ε ≥ {target:g} at δ = {delta:g}, {100 * level:g} %")
    for column in ("audit", "needed", "shows then"):
        table.add_column(column, justify="left" if column == "audit" else "right")
    rows: tuple[tuple[str, Callable[[], Needed]], ...] = (
        ("canaries of one run, all guessed",
         lambda: canaries_needed(target, truth=truth, delta=delta, level=level, power=power)),
        ("models, half with the record",
         lambda: models_needed(target, mu=mu, delta=delta, level=level, power=power)),
    )  # fmt: skip
    for name, needed in rows:
        try:
            found = needed()
        except InputError as e:
            if "can show" not in str(e):
                raise
            table.add_row(name, "cannot be shown", "–")
            continue
        table.add_row(name, f"{found.count:,}", f"{found.reaches:.3f}")
    console.print(table)
    console.print(
        "With a perfect attack: fewer cannot show it, whatever leaks."
        if truth is None
        else f"With probability {100 * power:g} %, if the leak is ε = {truth:g}.",
        soft_wrap=True,
    )


@commands.command()
def curve(noise: Noise, rate: Rate, steps: Steps, delta: Delta = 1e-5) -> None:
    """What DP-SGD with this noise, rate and number of steps allows any attack: rates and advantage.

    Needs dp-accounting: `pip install 'seepage[accounting]'`.

    Example: `seepage epsilon curve --noise 1.0 --rate 0.01 --steps 1000`
    """
    from seepage.epsilon import dp_sgd

    found = dp_sgd(noise, rate, steps)
    table = Table(title=found.name)
    for column in ("figure", "at most"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for fpr, tpr in zip(AT, found.tpr(AT).tolist(), strict=True):
        table.add_row(f"TPR at {100 * fpr:g} % FPR", f"{tpr:.4g}")
    table.add_row("advantage", f"{found.advantage:.4g}")
    table.add_row(f"ε at δ = {delta:g}", f"{found.epsilon_at(delta):.4g}")
    console.print(table)
    console.print(
        "Of an attacker who sees every noisy gradient and knows all other samples; Poisson batches.",
        soft_wrap=True,
    )


@commands.command()
def personal(
    budget: Annotated[
        list[str],
        typer.Option(
            "--budget", "-b", help="ε:share of the people, repeatable: `-b 2:0.1 -b 8:0.9`."
        ),
    ],
    rate: Rate,
    steps: Steps,
    delta: Delta = 1e-3,
) -> None:
    """Personal sampling rates under one noise, and how much each person's risk owes to the others.

    Every group keeps its own (ε, δ); the noise is what makes the rates average to `--rate`. Δ: by how much
    the best attack's error is smaller than if everybody had the group's budget (arXiv 2601.12922).

    Example: `seepage epsilon personal -b 2:0.1 -b 8:0.9 --rate 0.1 --steps 40`
    """
    from seepage.epsilon import dp_sgd, excess_vulnerability, personal_rates

    groups = [_budget(text) for text in budget]
    with errors.status("solving for noise and rates"):
        found = personal_rates(groups, delta, steps, rate)
        alone = [personal_rates([(e, 1.0)], delta, steps, rate) for e, _ in groups]
    table = Table(title=f"σ = {found.noise:.3g}, {steps} steps, mean rate {rate:g}, δ = {delta:g}")
    for column in ("ε", "share", "rate", "TPR at 1 %", "TPR at 10 %", "advantage", "Δ"):
        table.add_column(column, justify="right")
    for (e, share), q, own in zip(groups, found.rates.tolist(), alone, strict=True):
        here = dp_sgd(found.noise, q, steps)
        excess = excess_vulnerability(here, dp_sgd(own.noise, float(own.rates[0]), steps))
        rates = (f"{v:.3f}" for v in here.tpr([0.01, 0.1]).tolist())
        table.add_row(
            f"{e:g}", f"{share:g}", f"{q:.4g}", *rates, f"{here.advantage:.3f}", f"{excess:.3f}"
        )
    console.print(table)


def _budget(text: str) -> tuple[float, float]:
    epsilon, colon, share = text.partition(":")
    try:
        return float(epsilon), float(share if colon else "1")
    except ValueError:
        raise InputError(f"--budget: expected ε:share as in 2:0.1, got {text!r}") from None
