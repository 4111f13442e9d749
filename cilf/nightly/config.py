"""What a night is to do: one YAML file, checked before anything starts.

Its sections `list`, `label` and `report` hold options of these commands by name, and are checked as a command line is.
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
"""Options that follow from the night itself, or make no sense in it."""

_SECTIONS: dict[str, type[ListOptions | LabelOptions | ReportOptions]] = {
    "list": ListOptions,
    "label": LabelOptions,
    "report": ReportOptions,
}

_TAKEN = ("labels", "runs", "nights", "leases", "manifests", "review")
"""Folders of OUTPUT that hold other files than a listing."""
_APART = "choose another folder for the listing, such as the default, OUTPUT/listing"

_Section = dict[str, Any]
_Place = Annotated[str, Field(min_length=1)]
_Places = Annotated[tuple[_Place, ...], BeforeValidator(lambda found: [found] if isinstance(found, str) else found)]


class Config(BaseModel):
    """One corpus, every night."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: _Places = Field(min_length=1)
    """What to list, one place or several: see `cilf list`. Paths here and below are relative to the folder in which the
    command is started."""
    output: _Place
    """Folder or URL for labels, report and everything about the nights."""
    manifest: _Place | None = None
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


class _Loader(yaml.SafeLoader):
    """YAML whose values stay as they are written, as on a command line: a folder 2026-11-01 is no date, 007 no 7, and
    `no` is what the option takes it for. No key may stand twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice[0]} stands there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _as_written(loader: _Loader, node: yaml.ScalarNode) -> Any:
    return loader.construct_scalar(node)


for _kind in ("bool", "int", "float", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _as_written)


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
        found = yaml.load(text, _Loader)
        if not isinstance(found, dict):
            raise UsageError("expected a valid dictionary, keys and values such as those of configs/nightly.yaml")
        config = Config.model_validate({name: value for name, value in found.items() if value is not None})
        _check(config)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        advice = "; put globs such as '*.jpg' in quotes" if "alias" in str(error) else ""
        raise UsageError(f"{place.url} is not YAML: {' '.join(str(error).split())}{advice}") from error
    except ValidationError as error:
        problems = {each["loc"][0]: _problem(each) for each in reversed(error.errors())}  # of each key the first
        raise UsageError(f"{place.url}: {'; '.join(reversed(problems.values()))}") from error
    except UsageError as error:
        raise UsageError(f"{place.url}: {error}") from error
    return config


def _problem(error: ErrorDetails) -> str:
    """One thing that is wrong, in words."""
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{name}: {error['msg']}{_advice(name)}"
    return f"{name}: {error['msg']}" + f", found {error['input']!r}" * (error["type"] != "missing")


def _advice(name: str) -> str:
    """What may have been meant by an unknown key."""
    known = [field.alias or key for key, field in Config.model_fields.items()]
    if near := get_close_matches(name.lower().replace("-", "_"), known, 1):
        return f"; did you mean {near[0]}?"
    if owners := [section for section in _SECTIONS if name.replace("-", "_") in _options_of(section)]:
        return f"; it is an option of the section {' or '.join(owners)}"
    return f" (keys: {', '.join(known)})"


def _options_of(section: str) -> list[str]:
    return [field.name for field in fields(_SECTIONS[section]) if field.name != "_"]


def _check(config: Config) -> None:
    """Refuse what the steps would refuse in the middle of the night.

    Raises:
        UsageError: an option is unknown, wrong or the night's own, or one place lies inside another that is not for it.
    """
    for name, section in (("list", config.listing), ("label", config.label), ("report", config.report)):
        if refused := _ITS_OWN[name] & {key.replace("-", "_") for key in section}:
            raise UsageError(f"{name}: {', '.join(sorted(refused))}: a night sets this itself, or has no use for it")
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
                f"output {config.output} lies inside input {place}: its own files would be labelled the next time; "
                "choose a place outside"
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
