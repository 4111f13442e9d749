"""What a night is to do: one YAML file, checked before anything starts.

Its sections `list`, `label` and `report` hold options of these commands by name, and are checked as a command line is.
"""

from __future__ import annotations

from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cilf import cli
from cilf.config import LabelOptions, ListOptions, ReportOptions
from cilf.errors import UsageError
from cilf.manifest.failures import told
from cilf.report.night import RUNS
from cilf.storage import CHECKING, lies_inside, locate, read

_ITS_OWN = {
    "list": {"places"},
    "label": {"input", "output", "relabel", "dry_run", "price"},
    "report": {"output", "since", "corrections", "training_rows"},
}
"""Options that follow from the night itself, or make no sense in it."""

_Section = Annotated[dict[str, Any], BeforeValidator(lambda found: {} if found is None else found)]


class Config(BaseModel):
    """One corpus, every night."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[str, ...] = Field(min_length=1)
    """What to list: see `cilf list`."""
    output: str
    """Folder or URL for labels, report and everything about the nights."""
    manifest: str | None = None
    """Folder or URL for the listing. Default: OUTPUT/listing."""
    listing: _Section = Field(default={}, alias="list")
    """Options of `cilf list`."""
    label: _Section = {}
    """Options of `cilf label`."""
    report: _Section = {}
    """Options of `cilf report`."""
    keep_runs: int = Field(default=400, ge=RUNS)
    """Nights, and runs with their manifests, whose records are kept, the newest; at least what the report shows. Labels
    are never deleted."""
    fail_on_drift: bool = False
    """Exit code 3 instead of 0 after a night whose ages have drifted."""

    def list_options(self) -> ListOptions:
        """Of the step that lists."""
        found: ListOptions = cli.options("list", [*self.inputs, self.manifest_folder], self.listing, "list")
        return found

    def label_options(self) -> LabelOptions:
        """Of the step that labels what has been listed."""
        found: LabelOptions = cli.options("label", [self.manifest_folder, self.output], self.label, "label")
        return found

    def report_options(self, since: str) -> ReportOptions:
        """Of the step that reports, about the runs from `since` on."""
        found: ReportOptions = cli.options("report", [self.output], {**self.report, "since": since}, "report")
        return found

    @property
    def manifest_folder(self) -> str:
        return self.manifest or f"{self.output.rstrip('/')}/listing"


def read_config(url: str) -> Config:
    """The configuration in a YAML file.

    Raises:
        UsageError: no such file, not YAML, or wrong names or values, each named.
    """
    place = locate(url, CHECKING)
    with told("cannot read CONFIG", place):
        text = read(place)
        if text is None:
            raise UsageError(f"CONFIG {place.url} does not exist")
    try:
        config = Config.model_validate(yaml.safe_load(text))
        _check(config)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{place.url} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}".lstrip(": ") for e in error.errors())
        raise UsageError(f"{place.url}: {problems}") from error
    except UsageError as error:
        raise UsageError(f"{place.url}: {error}") from error
    return config


def _check(config: Config) -> None:
    """Refuse what the steps would refuse in the middle of the night.

    Raises:
        UsageError: an option is unknown, wrong or the night's own, or OUTPUT lies inside an input.
    """
    for name, section in (("list", config.listing), ("label", config.label), ("report", config.report)):
        if refused := _ITS_OWN[name] & {key.replace("-", "_") for key in section}:
            raise UsageError(f"{name}: {', '.join(sorted(refused))}: a night sets this itself, or has no use for it")
    config.list_options()
    config.label_options()
    config.report_options("")
    for place in config.inputs:
        if lies_inside(locate(config.output), locate(place)):
            raise UsageError(
                f"output {config.output} lies inside input {place}: its own files would be labelled the next time; "
                "choose a place outside"
            )
