"""OUTPUT/current.json: the model whose labels readers are to take, where OUTPUT holds those of several.

It names the first model until a run of another one has ended well and left nothing out, and this model has a row for
every photograph that the one before has, except for those that are gone. So neither a trial on a few objects nor an
upgrade that is half done changes what readers see. A file that was written by hand, which has no `run`, stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, Field, ValidationError

from cilf.claims import create, replace_if
from cilf.labelling.records import Record, read_records
from cilf.manifest.keys import without_braces
from cilf.storage import Location, files, folders, read

_NAME = "current.json"
_RECORDS = 60
"""Runs that are looked at, the newest."""


class Current(BaseModel):
    """What the file holds."""

    model: str = Field(min_length=1)
    """Fingerprint."""
    name: str | None = None
    run: str | None = None
    """The run that made it current. None: somebody has written the file by hand."""
    since: str | None = None
    """When, UTC."""

    def data(self) -> bytes:
        """As bytes of the file."""
        return f"{self.model_dump_json(indent=2)}\n".encode()


@dataclass(frozen=True)
class Prefix:
    """A place whose objects a run was given, all that there are."""

    url: str
    include: Sequence[str] = ()
    """Globs for the key below it; none: every object."""


@dataclass(frozen=True)
class Candidate:
    """The model of a run."""

    model: str
    name: str
    run: str

    def current(self) -> Current:
        return Current(model=self.model, name=self.name, run=self.run, since=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")


def read_current(output: Location) -> Current | None:
    """What the file says; None where there is none, or none that can be used."""
    return _parsed(read(output / _NAME))


def name_first(output: Location, current: Current) -> None:
    """Write the file where there is none."""
    create(output / _NAME, current.data())


def name_before(output: Location, candidate: Candidate) -> None:
    """Before a run: see to it that a model is named that has labels, or this one."""
    place, models = output / _NAME, _models(output)
    before = read(place)
    if before is None:
        older = chosen(models, read_records(output, _RECORDS)[0])
        create(place, (older or candidate.current()).data())
    elif (now := _parsed(before)) and now.run is not None and now.model not in models:
        replace_if(place, before, candidate.current().data())


def chosen(models: Sequence[str], records: Mapping[str, Record]) -> Current | None:
    """For an OUTPUT that names none: the model of the newest run that ended well and was not cut short by --limit.

    Args:
        models: those that have labels, the newest last.
        records: of runs, the newest last.
    """
    there = [record for record in records.values() if record.model in models]
    newest = [record for record in there if record.whole] or [record for record in there if record.model == models[-1]]
    if newest:
        return Candidate(newest[-1].model, newest[-1].model_name, newest[-1].run).current()
    return Candidate(models[-1], "", "").current() if models else None


def take_over(output: Location, candidate: Candidate, given: Sequence[Prefix]) -> str | None:
    """After a run that ended well and left nothing out: let readers have its model.

    Args:
        given: the places that the run was to label. Photographs of the model before that lie there and that the run did
            not find are gone.

    Returns:
        What the user should know; None where nothing changes.
    """
    place = output / _NAME
    before = read(place)
    now = _parsed(before)
    if now is not None and now.model == candidate.model:
        return None
    if before is not None and (now is None or now.run is None):
        return f"{place.url} was written by hand and stays as it is; this run's model is {candidate.model}"
    if candidate.model not in _models(output):
        return None
    missing = _missing(output, now.model, candidate.model, given) if now else 0
    if now is not None and missing:
        return (
            f"readers stay with model {now.model}: {candidate.model} has no rows for {missing:,} of its photographs "
            f"(see {place.url}, and 'Upgrade the model' in README)"
        )
    data = candidate.current().data()
    if create(place, data) if before is None else replace_if(place, before, data):
        return f"readers take model {candidate.model} ({candidate.name}) from now on: see {place.url}"
    return None  # another run was faster


def _parsed(data: bytes | None) -> Current | None:
    try:
        return None if data is None else Current.model_validate_json(data)
    except ValidationError:
        return None


def _models(output: Location) -> list[str]:
    found = [model for model in folders(output / "labels") if files(model, ".parquet")]
    return [model.path.rpartition("model=")[2] for model in found]


def _missing(output: Location, before: str, after: str, given: Sequence[Prefix]) -> int:
    """Photographs that one model has labelled and another has not, and that are not gone."""
    if before not in _models(output):
        return 0
    from cilf.labelling.database import open_database  # DuckDB, for an upgrade alone

    gone, values = _gone(given)
    with open_database(output) as labels:
        found = labels.rows(
            f"""SELECT count(DISTINCT uri) AS n FROM labels
            WHERE model = ? AND uri NOT IN (SELECT uri FROM labels WHERE model = ?) AND NOT ({gone})""",
            before,
            after,
            *values,
        )
    return int(found[0]["n"])


def _gone(given: Sequence[Prefix]) -> tuple[str, list[str | int]]:
    """SQL: whether a photograph would have been given to the run if it were still there."""
    conditions, values = ["false"], list[str | int]()
    for prefix in given:
        root = f"{prefix.url.rstrip('/')}/"
        globs = without_braces(prefix.include or ("*",))
        fits = " OR ".join(["substr(uri, ?) GLOB ?"] * len(globs))
        conditions.append(f"(starts_with(uri, ?) AND ({fits}))")
        values += [root, *(value for glob in globs for value in (len(root) + 1, glob))]
    return " OR ".join(conditions), values
