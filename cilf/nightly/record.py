"""OUTPUT/nights/<date>.json: how far a night is, and what came of it.

A night is named by the UTC date of its first start. A start on the same date is the same night; and one that was not
finished goes on past midnight, up to 20 hours after its first start: less than the day from one night to the next. A
further night of the same date, which has to be asked for, has its number behind the date: 2026-11-01-2.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from cilf.errors import UsageError
from cilf.nightly.config import Config
from cilf.storage import Location, files, read, write

_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})(?:-(\d+))?\.json")
_GOES_ON = timedelta(hours=20)
_CLOCKS_APART = timedelta(days=1)


class Step(BaseModel):
    """One step of a night, in its last attempt."""

    state: Literal["running", "done", "failed"] = "running"
    """A step that was killed stays `running`."""
    seconds: float = 0.0
    error: str | None = None
    """Why it failed."""
    found: dict[str, Any] = {}
    """Its own figures."""


class Record(BaseModel):
    """One night."""

    night: str
    started: str
    """At first, as run ids begin."""
    since: str
    """The same moment, or that of an earlier night where none since has come to its report: what was labelled from
    then on is new to the reader."""
    config: dict[str, Any]
    """What CONFIG said."""
    steps: dict[str, Step] = {}
    """By name, as far as the night is."""
    rows: dict[str, int] = {}
    """Objects that got their rows since `since`, by status."""
    drift: bool | None = None
    """Whether their ages have drifted; null before the report."""
    verdict: str | None = None
    """The same in words."""
    ended: str | None = None
    """When everything was done; null before."""

    def place(self, output: Location) -> Location:
        """Where it is kept."""
        return output / "nights" / f"{self.night}.json"

    def save(self, output: Location) -> None:
        """Write it below `output`."""
        write(self.place(output), (self.model_dump_json(indent=2) + "\n").encode())


def records(output: Location) -> list[Location]:
    """Of all nights, oldest first."""
    found = {file: _NAME.fullmatch(file.path.rpartition("/")[2]) for file in files(output / "nights", ".json")}
    order = {file: (name[1], int(name[2] or 1)) for file, name in found.items() if name}
    return sorted(order, key=lambda file: order[file])


def tonight(output: Location, config: Config, now: str, again: bool = False) -> Record:
    """The night that a start at `now`, as run ids begin, belongs to, as far as it is.

    With another CONFIG than before, its steps begin anew; they find done what is. With `again`, a night that is done is
    followed by another one of its date.

    Raises:
        UsageError: the newest record is none, or of a night that is yet to come.
    """
    name, said = f"{_moment(now):%Y-%m-%d}", config.model_dump(mode="json", by_alias=True)
    last = _newest(output)
    if last is not None and _moment(last.started) - _moment(now) > _CLOCKS_APART:
        raise UsageError(
            f"{last.place(output).url} is of a night that is yet to come: a clock was wrong, then or now; remove it, "
            "or no night before it would be labelled"
        )
    if last is not None and (last.night >= name or _goes_on(last, now)):
        if again and last.ended is not None:
            return Record(night=_next(last.night), started=now, since=now, config=said)
        if last.config == said:
            return last
        return Record(night=last.night, started=last.started, since=last.since, config=said)
    unread = last is not None and last.drift is None
    return Record(night=name, started=now, since=last.since if last and unread else now, config=said)


def _next(night: str) -> str:
    date, number = night[:10], int(night[11:] or 1)
    return f"{date}-{number + 1}"


def _newest(output: Location) -> Record | None:
    found = records(output)
    if not found:
        return None
    try:
        return Record.model_validate_json(read(found[-1]) or b"")
    except ValidationError as error:
        reason = error.errors()[0]
        where = ".".join(map(str, reason["loc"])) or "the whole"
        raise UsageError(
            f"{found[-1].url} is no record of a night that this version of CILF understands ({where}: "
            f"{reason['msg']}): remove it, and the night begins anew"
        ) from error


def _goes_on(last: Record, now: str) -> bool:
    return last.ended is None and _moment(now) - _moment(last.started) < _GOES_ON


def _moment(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
