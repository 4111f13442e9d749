"""A suite: one YAML file, and the training runs that it describes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cilf.models.settings import MiVolo
from cilf.training.recipe import Recipe, Source, changed, checked, read_yaml

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9+_.-]*$")]
"""A name that is valid as a folder name."""


class Suite(BaseModel):
    """Suite of runs: systems x data sets (or their folds) x seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    """YAML file of the recipe that all systems share, relative to the suite's folder. Its data and seed are ignored."""
    systems: dict[Name, str | dict[str, Any]] = Field(min_length=1)
    """Systems by their name in the table: a file such as those in configs/models, relative to the suite's folder, or
    the contents of such a file."""
    data: dict[Name, Source | Annotated[tuple[Source, ...], Field(min_length=2)]] = Field(min_length=1)
    """Data sets by the name of their table: one source, as in a recipe; or a list of sources, the folds of a protocol,
    over which figures are averaged."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Seeds, one run for each. A seed determines initial weights, order, augmentation and held-out subjects."""


@dataclass(frozen=True)
class Run:
    """One training run."""

    data: str
    system: str
    seed: int
    recipe: Recipe
    fold: int | None = None
    """Position in the list of folds; None if the data set has no folds."""

    @property
    def place(self) -> str:
        """Folder of the run, relative to the suite's OUTPUT."""
        fold = "" if self.fold is None else f"fold-{self.fold}/"
        return f"{self.data}/{fold}{self.system}-{self.seed}"

    @property
    def own_backbone(self) -> bool:
        """True if the system does not use the image tower that the others share."""
        return isinstance(self.recipe.model.system, MiVolo)


def read_suite(path: Path) -> list[Run]:
    """The runs of a suite, ordered by seed, so that a table of all systems is complete after the first seed.

    Raises:
        UsageError: the file or a file that it names does not exist or is not YAML, or has wrong names or values; the
            message lists them.
    """
    suite = checked(Suite, read_yaml(path), str(path))
    base_path = path.parent / suite.recipe
    base = read_yaml(base_path)
    runs = []
    for name, system in suite.systems.items():
        where = f"systems.{name}" if isinstance(system, dict) else str(path.parent / system)
        changes = system if isinstance(system, dict) else read_yaml(path.parent / system)
        for data_name, given in suite.data.items():
            folds = dict(enumerate(given)) if isinstance(given, tuple) else {None: given}
            for fold, data in folds.items():
                for seed in suite.seeds:
                    of = data_name if fold is None else f"{data_name}-{fold}"
                    own = {"name": f"{name}-{of}-{seed}", "data": data.model_dump(), "seed": seed}
                    recipe = checked(Recipe, changed(base, changes) | own, f"{base_path} with {where}")
                    runs.append(Run(data_name, name, seed, recipe, fold))
    return sorted(runs, key=lambda run: suite.seeds.index(run.seed))
