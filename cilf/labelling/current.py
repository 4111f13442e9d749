"""OUTPUT/current.json: the model whose labels readers should use, if OUTPUT holds labels of several models.

It names the first model until a run of another one has succeeded and left nothing out, and that model has a row for
every photograph that the previous one has, except for deleted photographs. So neither a trial on a few objects nor an
unfinished upgrade changes what readers see. A file that was written by hand, which has no `run`, is left alone.
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
"""Number of newest runs that are considered."""


class Current(BaseModel):
    """The contents of current.json."""

    model: str = Field(min_length=1)
    """Fingerprint."""
    name: str | None = None
    run: str | None = None
    """The run that made the model current. None: the file was written by hand."""
    since: str | None = None
    """When the model became current, UTC."""

    def data(self) -> bytes:
        """The contents as bytes of the file."""
        return f"{self.model_dump_json(indent=2)}\n".encode()


@dataclass(frozen=True)
class Prefix:
    """A place all of whose objects were given to a run."""

    url: str
    include: Sequence[str] = ()
    """Globs for keys below the URL; empty: every object."""


@dataclass(frozen=True)
class Candidate:
    """The model of a run."""

    model: str
    name: str
    run: str

    def current(self) -> Current:
        return Current(model=self.model, name=self.name, run=self.run, since=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")


def read_current(output: Location) -> Current | None:
    """The contents of current.json; None if there is no such file, or if it cannot be parsed."""
    return _parsed(read(output / _NAME))


def current_model(output: Location) -> Current | None:
    """The model whose labels readers should use; None if there are no labels."""
    return named_or_chosen(output, _models(output), read_records(output, _RECORDS)[0])


def named_or_chosen(output: Location, models: Sequence[str], records: Mapping[str, Record]) -> Current | None:
    """The model of current.json, if it has labels; otherwise the one that `chosen` returns for these arguments."""
    named = read_current(output)
    return named if named is not None and named.model in models else chosen(models, records)


def name_first(output: Location, current: Current) -> None:
    """Write current.json if it does not exist."""
    create(output / _NAME, current.data())


def name_before(output: Location, candidate: Candidate) -> None:
    """Before a run, make sure that current.json names a model that has labels, or the run's own model."""
    place, models = output / _NAME, _models(output)
    before = read(place)
    if before is None:
        older = chosen(models, read_records(output, _RECORDS)[0])
        create(place, (older or candidate.current()).data())
    elif (now := _parsed(before)) and now.run is not None and now.model not in models:
        replace_if(place, before, candidate.current().data())


def chosen(models: Sequence[str], records: Mapping[str, Record]) -> Current | None:
    """The model for an OUTPUT without current.json: that of the newest run that succeeded and was not cut short by
    --limit.

    Args:
        models: the models that have labels, newest last.
        records: records of runs, newest last.
    """
    there = [record for record in records.values() if record.model in models]
    newest = [record for record in there if record.whole] or [record for record in there if record.model == models[-1]]
    if newest:
        return Candidate(newest[-1].model, newest[-1].model_name, newest[-1].run).current()
    return Candidate(models[-1], "", "").current() if models else None


def take_over(output: Location, candidate: Candidate, given: Sequence[Prefix]) -> str | None:
    """After a run that succeeded and left nothing out, make its model the current one.

    Args:
        given: the places that the run was to label. Photographs of the previous model that lie there and that the run
            did not find count as deleted.

    Returns:
        A message for the user; None if there is nothing to tell.
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
            f"model {now.model} stays the current one: {candidate.model} has no rows for {missing:,} of its "
            f"photographs (see {place.url}, and docs/guides/upgrade-the-model.md)"
        )
    data = candidate.current().data()
    if create(place, data) if before is None else replace_if(place, before, data):
        return f"model {candidate.model} ({candidate.name}) is now the current one: see {place.url}"
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
    """Number of photographs that the model `before` has labelled, `after` has not, and that have not been deleted."""
    if before not in _models(output):
        return 0
    from cilf.labelling.database import open_database  # imports DuckDB, which only an upgrade needs

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
    """SQL condition, with its values: the run would have been given the photograph if it still existed."""
    conditions, values = ["false"], list[str | int]()
    for prefix in given:
        root = f"{prefix.url.rstrip('/')}/"
        globs = without_braces(prefix.include or ("*",))
        fits = " OR ".join(["substr(uri, ?) GLOB ?"] * len(globs))
        conditions.append(f"(starts_with(uri, ?) AND ({fits}))")
        values += [root, *(value for glob in globs for value in (len(root) + 1, glob))]
    return " OR ".join(conditions), values
