"""The configuration of an audit: TOML in, checked values out, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field

from seepage.config.base import Part
from seepage.config.execution import Execution
from seepage.config.function import Function
from seepage.config.model import Model
from seepage.config.reading import checked, override, read_toml
from seepage.config.recipe import Recipe
from seepage.config.record import Record
from seepage.config.start import Start
from seepage.errors import InputError

__all__ = ["AuditConfig", "read_config"]


class DataConfig(Part):
    """[data]: which pool."""

    name: str = Field(
        "digits",
        description="A data set's name, a path, or a reader 'package.module:name'; docs/data.md.",
    )
    root: str | None = Field(None, min_length=1, description="Folder of a named data set's files.")
    part: Literal["train", "val", "test", "both", "all"] = Field(
        "train", description="Part taken; both are train and test, all every part there is."
    )
    limit: int | None = Field(None, ge=2, description="Only so many samples, drawn by the seed.")
    seed: int = Field(0, ge=0, description="Seed of the limit, of label noise and of set-aside.")
    download: bool = Field(False, description="Whether a named data set may be fetched.")
    task: Literal[
        "classification", "binary", "multi-label", "regression", "soft-labels", "language"
    ] = Field(
        "classification",
        description="What labels are: a class by K logits or, 'binary', by one; several labels of 0 "
        "and 1; a real number; a distribution of classes; the next token of a text. docs/tasks.md.",
    )
    context: int | None = Field(
        None, ge=2, description="Most tokens of a text, 128 if unset; docs/language-models.md."
    )
    long: Literal["window", "split", "cut", "refuse"] | None = Field(
        None,
        description="What becomes of longer texts: windows of one subject (the default), windows of "
        "their own, the beginning alone, or a refusal.",
    )
    vocabulary: str | None = Field(
        None, min_length=1, description="Of texts: 'bytes' (the default) or a tokenizer.json."
    )
    documents: Literal["lines", "paragraphs", "files"] | None = Field(
        None, description="What in a text file is one text; lines if unset."
    )
    text: str | None = Field(None, min_length=1, description="Column of a table that holds texts.")
    label: str | list[str] | None = Field(
        None, description="Column of a table that holds the class or the target, or several."
    )
    group: str | None = Field(
        None,
        description="Whose sample each is: a column of a table, or 'folder' for images in "
        "CLASS/SUBJECT/.",
    )
    test: str | None = Field(None, description="A second file of a table, joined to the pool.")
    columns: list[str] | None = Field(None, description="Names of the columns without a header.")
    header: bool | None = Field(
        None,
        description="Whether a text table has a line of column names; without, they are 0, 1 and so on.",
    )
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="What separates columns of a text table."
    )
    id_column: str | None = Field(None, description="Column of a table that identifies a row.")
    drop: list[str] = Field(
        [], description="Columns of a table, or arrays of an .npz, that are left out."
    )
    categorical: list[str] = Field([], description="Columns of a table taken as categories.")
    missing: Literal["refuse", "indicator", "keep"] | None = Field(
        None,
        description="What becomes of missing values: refused, a column that marks them, or kept as NaN "
        "for estimators that take them.",
    )
    size: int | tuple[int, int] | None = Field(
        None, description="Side or (height, width) to which images of a folder are resized."
    )
    mapped: bool | None = Field(
        None,
        description="Whether inputs in .npy files, or in an .npz that is not compressed, stay in their "
        "file; by default where they take more than a quarter of the free memory.",
    )
    copies: Literal["keep", "group", "drop"] = Field(
        "keep",
        description="What becomes of exact copies: kept, kept together by the plan, or dropped but "
        "for the first.",
    )
    repeats: list[int] | None = Field(
        None,
        min_length=1,
        description="Of texts: how often each is held, number after number over the shuffled pool; "
        "all copies in or out of a run together.",
    )
    label_noise: float = Field(
        0.0, ge=0, le=1, description="Share of the samples whose label is replaced by a random one."
    )


class CanaryConfig(Part):
    """[plan.canaries]: samples planted to be found."""

    mislabelled: int = Field(0, ge=0, description="Samples that train under a wrong label.")
    blank: int = Field(0, ge=0, description="Samples whose input is set to zero.")
    duplicated: int = Field(0, ge=0, description="Samples that become copies of others.")
    random: int = Field(
        0, ge=0, description="Texts of uniformly drawn tokens, added to a pool of texts."
    )
    rare: int = Field(
        0, ge=0, description="Texts that end in tokens rare in the pool, added to a pool of texts."
    )
    repeats: list[int] = Field(
        [1],
        min_length=1,
        description="How often a run that holds an added text is shown it in each epoch; taken in turn.",
    )
    candidates: int = Field(
        255,
        ge=1,
        description="Texts of each kind, drawn alike, that no run holds: exposure is a rank among them.",
    )
    length: int = Field(32, ge=2, description="Tokens of an added text.")

    def planted(self) -> dict[str, int]:
        """How many samples of the pool are changed, by kind."""
        return self.model_dump(include={"mislabelled", "blank", "duplicated"})

    def inserted(self) -> dict[str, Any]:
        """What `seepage.data.insert_texts` is asked for; empty where no texts are added.

        Raises InputError for options of added texts without any.
        """
        names = ("random", "rare", "repeats", "candidates", "length")
        if self.random or self.rare:
            return {n: getattr(self, n) for n in names}
        stray = sorted(self.model_fields_set.intersection(names) - {"random", "rare"})
        if stray:
            raise InputError(
                f"plan.canaries.{stray[0]}: expected with plan.canaries.random or rare, got neither; set one"
            )
        return {}


class PlanConfig(Part):
    """[plan]: who trains on what."""

    kind: Literal["half_split", "subsets", "fresh_draws", "leave_out"] = Field(
        "half_split",
        description="Pairs of complementary halves, complementary tuples of `parts` runs that train "
        "on a part each, runs that each draw `members` samples of the pool anew, or runs that leave "
        "out a part each.",
    )
    models: int = Field(32, ge=2, le=100_000, description="Number of runs.")
    parts: int | None = Field(
        None, ge=2, description="Parts into which a tuple of 'subsets' splits the pool; 4 if unset."
    )
    members: int | None = Field(
        None, ge=1, description="Samples that each run of 'fresh_draws' trains on; required there."
    )
    seed: int = Field(0, ge=0, description="Seed of the splits and of every run.")
    canaries: CanaryConfig = Field(
        CanaryConfig(), description="Samples planted as the most exposed case."
    )


class AttackConfig(Part):
    """[attacks]: which attacks are run."""

    names: list[str] | None = Field(
        None,
        min_length=1,
        description="Attacks by name or 'package.module:Name'; all that apply by default.",
    )
    main: str = Field("lira", description="The attack that is followed over training.")


class DefenseConfig(Part):
    """[defense]: what acts on training."""

    name: str = Field("none", description="A defence by name or 'package.module:Name'.")
    options: dict[str, Any] = Field({}, description="Options of the defence.")
    reference: int = Field(
        0, ge=0, description="Samples set apart from the pool for a defence that needs them."
    )


class LabelGameConfig(Part):
    """[label_game]: canaries whose labels coins choose, to judge how much models tell of labels."""

    canaries: int = Field(
        0,
        ge=0,
        description="Samples that train under that of two labels which a coin chose; 0 for no game.",
    )
    law: list[float] | None = Field(
        None,
        min_length=2,
        description="Law of the two labels, a number for every class; uniform if unset.",
    )
    seed: int = Field(
        0,
        ge=0,
        description="Seed of canaries, labels and coins; keep it from whoever guesses.",
    )


class AuditConfig(Part):
    """One audit: data, plan, model, recipe, what is recorded, who attacks, where it goes."""

    out: str = Field("runs/audit", min_length=1, description="Run folder, or an s3:// address.")
    report: str | None = Field(
        None, description="Where the HTML report goes; by default report.html in the run folder."
    )
    release: list[str] = Field(
        [],
        description="How the models are released, judged after training: 'label-only', 'top-1', "
        "'rounded-2', 'temperature-2', 'int8', 'bf16', 'pruned-0.5', several joined by +.",
    )
    data: DataConfig = Field(DataConfig(), description="Which pool.")
    plan: PlanConfig = Field(PlanConfig(), description="Who trains on what.")
    model: Model = Field(Model(), description="The network that every run trains.")
    start: Start = Field(Start(), description="A start that is trained once, before the runs.")
    train: Function = Field(Function(), description="Your own training loop.")
    recipe: Recipe = Field(Recipe(), description="How every run is trained.")
    record: Record = Field(Record(), description="When runs are evaluated and what is recorded.")
    execution: Execution = Field(Execution(), description="How runs are spread over machines.")
    attacks: AttackConfig = Field(AttackConfig(), description="Which attacks are run.")
    defense: DefenseConfig = Field(DefenseConfig(), description="What acts on training.")
    label_game: LabelGameConfig = Field(
        LabelGameConfig(), description="Canaries that tell what models show of labels."
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _renamed(cls, content: Any) -> Any:
        """Files of version 0.1.0 call [execution] [fleet]; they are still read."""
        if isinstance(content, dict) and "fleet" in content and "execution" not in content:
            content = {k if k != "fleet" else "execution": v for k, v in content.items()}
        return content


def read_config(path: Path | None, overrides: Sequence[str] = ()) -> AuditConfig:
    """Read and check a configuration; `overrides` are "table.field=value".

    Raises InputError naming the file, the field, what was expected and what came.
    """
    content = {} if path is None else read_toml(path, "a configuration file")
    if "fleet" in content:
        content.setdefault("execution", content.pop("fleet"))
    override(content, [_renamed(text) for text in overrides])
    return checked(AuditConfig, content, str(path or "configuration"))


def _renamed(text: str) -> str:
    return f"execution.{text.removeprefix('fleet.')}" if text.startswith("fleet.") else text
