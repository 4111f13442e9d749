"""The configuration of a night: one YAML file, checked before anything starts.

Its sections `list`, `label` and `report` hold options of these commands by name, and are checked like a command line.
"""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

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
"""Options that the night sets itself, or that make no sense in it."""

_SECTIONS: dict[str, type[ListOptions | LabelOptions | ReportOptions]] = {
    "list": ListOptions,
    "label": LabelOptions,
    "report": ReportOptions,
}

_TAKEN = ("labels", "runs", "nights", "leases", "manifests", "review")
"""Folders of OUTPUT that hold files other than a listing."""
_APART = "choose another folder for the listing, such as the default, OUTPUT/listing"

_Section = dict[str, Any]
_Place = Annotated[str, Field(min_length=1)]
_Places = Annotated[tuple[_Place, ...], BeforeValidator(lambda found: [found] if isinstance(found, str) else found)]


class Config(BaseModel):
    """One corpus, every night."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: _Places = Field(min_length=1)
    """The place or places to list, see `cilf list`. Paths here and below are relative to the folder in which the
    command is started."""
    output: _Place
    """Folder or URL for the labels, the report and the records of the nights."""
    manifest: _Place | None = None
    """Folder or URL for the listing. Default: OUTPUT/listing."""
    listing: _Section = Field(default={}, alias="list")
    """Options of `cilf list`."""
    label: _Section = {}
    """Options of `cilf label`."""
    report: _Section = {}
    """Options of `cilf report`."""
    keep_runs: int = Field(default=400, ge=RUNS)
    """Number of newest nights whose records are kept, and of newest runs whose records and manifests are kept; at least
    as many as the report shows. Labels are never deleted."""
    fail_on_drift: bool = False
    """Exit code 3 instead of 0 after a night whose ages have drifted."""

    def list_options(self) -> ListOptions:
        """Options of the step that lists."""
        found: ListOptions = cli.options("list", [*self.inputs, self.manifest_folder], self.listing, "list")
        return found

    def label_options(self) -> LabelOptions:
        """Options of the step that labels what has been listed."""
        found: LabelOptions = cli.options("label", [self.manifest_folder, self.output], self.label, "label")
        return found

    def report_options(self, since: str) -> ReportOptions:
        """Options of the step that reports on the runs from `since` on."""
        found: ReportOptions = cli.options("report", [self.output], {**self.report, "since": since}, "report")
        return found

    @property
    def manifest_folder(self) -> str:
        return self.manifest or f"{self.output.rstrip('/')}/listing"


class _Loader(yaml.SafeLoader):
    """A loader that keeps YAML values as they are written, as on a command line: a folder 2026-11-01 is not a date, 007
    is not 7, and `no` means what the option takes it for. Duplicate keys are errors."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key {twice[0]}", node.start_mark)
        return super().construct_mapping(node, deep)


def _as_written(loader: _Loader, node: yaml.ScalarNode) -> Any:
    return loader.construct_scalar(node)


for _kind in ("bool", "int", "float", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _as_written)


def read_config(url: str) -> Config:
    """Read the configuration from a YAML file.

    Raises:
        UsageError: the file does not exist, is not YAML, or has wrong names or values, each of which is named.
    """
    place = locate(url, CHECKING)
    with told("cannot read CONFIG", place):
        text = read(place)
        if text is None:
            raise UsageError(f"CONFIG {place.url} does not exist")
    try:
        found = yaml.load(text, _Loader)
        if not isinstance(found, dict):
            raise UsageError("expected a valid dictionary, with keys and values like those in configs/nightly.yaml")
        config = Config.model_validate({name: value for name, value in found.items() if value is not None})
        _check(config)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        advice = "; put globs such as '*.jpg' in quotes" if "alias" in str(error) else ""
        raise UsageError(f"{place.url} is not YAML: {' '.join(str(error).split())}{advice}") from error
    except ValidationError as error:
        problems = {each["loc"][0]: _problem(each) for each in reversed(error.errors())}  # the first one of each key
        raise UsageError(f"{place.url}: {'; '.join(reversed(problems.values()))}") from error
    except UsageError as error:
        raise UsageError(f"{place.url}: {error}") from error
    return config


def _problem(error: ErrorDetails) -> str:
    """A message about one validation error."""
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{name}: {error['msg']}{_advice(name)}"
    return f"{name}: {error['msg']}" + f", found {error['input']!r}" * (error["type"] != "missing")


def _advice(name: str) -> str:
    """A suggestion for an unknown key."""
    known = [field.alias or key for key, field in Config.model_fields.items()]
    if near := get_close_matches(name.lower().replace("-", "_"), known, 1):
        return f"; did you mean {near[0]}?"
    if owners := [section for section in _SECTIONS if name.replace("-", "_") in _options_of(section)]:
        return f"; it is an option of the section {' or '.join(owners)}"
    return f" (keys: {', '.join(known)})"


def _options_of(section: str) -> list[str]:
    return [field.name for field in fields(_SECTIONS[section]) if field.name != "_"]


def _check(config: Config) -> None:
    """Refuse now what the steps would refuse in the middle of the night.

    Raises:
        UsageError: an option is unknown, wrong or set by the night, or one place lies inside another where it must not.
    """
    for name, section in (("list", config.listing), ("label", config.label), ("report", config.report)):
        if refused := _ITS_OWN[name] & {key.replace("-", "_") for key in section}:
            raise UsageError(
                f"{name}: {', '.join(sorted(refused))}: a night sets this itself or does not use it; remove it"
            )
        for key in section:
            _check_option(name, key)
    config.list_options()
    config.label_options()
    config.report_options("")
    _check_places(config)


def _check_places(config: Config) -> None:
    output, manifest = locate(config.output), locate(config.manifest_folder)
    for place in config.inputs:
        if lies_inside(output, locate(place)):
            raise UsageError(
                f"output {config.output} lies inside input {place}: the next night would label its files; choose a "
                "place outside"
            )
        if lies_inside(manifest, locate(place)) or lies_inside(locate(place), manifest):
            both = f"manifest {config.manifest_folder} and input {place}"
            raise UsageError(f"{both}: one lies inside the other; {_APART}")
    if lies_inside(output, manifest):
        raise UsageError(f"output {config.output} lies inside manifest {config.manifest_folder}; {_APART}")
    for folder in _TAKEN:
        if lies_inside(manifest, output / folder):
            raise UsageError(f"manifest {config.manifest_folder} lies inside {folder} of output; {_APART}")


def _check_option(section: str, key: str) -> None:
    known, plain = _options_of(section), key.replace("-", "_")
    if plain not in known:
        near = get_close_matches(plain.lower(), known, 1)
        advice = f" Did you mean {near[0]}?" if near else f" Its options: {', '.join(known)}."
        raise UsageError(f'Unknown option: "[{key}]" from {section}.{advice}')
