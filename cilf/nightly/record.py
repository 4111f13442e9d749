"""OUTPUT/nights/<date>.json: the progress and the result of a night.

A night is named after the UTC date of its first start. A further start on the same date belongs to the same night, and
so does a start after midnight if the night is unfinished, up to 20 hours after its first start: less than the day from
one night to the next. Another night with the same date, which has to be requested, has a number after the date:
2026-11-01-2.
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
    """The last attempt at one step of a night."""

    state: Literal["running", "done", "failed"] = "running"
    """A step whose process was killed stays `running`."""
    seconds: float = 0.0
    error: str | None = None
    """Why it failed."""
    found: dict[str, Any] = {}
    """Figures of the step."""


class Record(BaseModel):
    """The record of one night."""

    night: str
    started: str
    """Time of the first start, in the form in which run ids begin."""
    since: str
    """The same time, or that of an earlier night if no night since has reached its report: what was labelled from then
    on is new to the reader."""
    config: dict[str, Any]
    """The contents of CONFIG."""
    steps: dict[str, Step] = {}
    """By name, the steps that have been started."""
    rows: dict[str, int] = {}
    """Objects that got a label row since `since`, by status."""
    drift: bool | None = None
    """Whether their ages have drifted; null before the report."""
    verdict: str | None = None
    """The same in words."""
    ended: str | None = None
    """When all steps were done; null before."""

    def place(self, output: Location) -> Location:
        """The file of the record."""
        return output / "nights" / f"{self.night}.json"

    def save(self, output: Location) -> None:
        """Write the record below `output`."""
        write(self.place(output), (self.model_dump_json(indent=2) + "\n").encode())


def records(output: Location) -> list[Location]:
    """The files of all nights' records, oldest first."""
    found = {file: _NAME.fullmatch(file.path.rpartition("/")[2]) for file in files(output / "nights", ".json")}
    order = {file: (name[1], int(name[2] or 1)) for file, name in found.items() if name}
    return sorted(order, key=lambda file: order[file])


def tonight(output: Location, config: Config, now: str, again: bool = False) -> Record:
    """The record of the night to which a start at `now` belongs. `now` has the form in which run ids begin.

    If CONFIG has changed since the last start, all steps run again; they skip work that is done. With `again`, a night
    that is done is followed by another one with the same date.

    Raises:
        UsageError: the newest record is not valid, or is that of a night in the future.
    """
    name, said = f"{_moment(now):%Y-%m-%d}", config.model_dump(mode="json", by_alias=True)
    last = _newest(output)
    if last is not None and _moment(last.started) - _moment(now) > _CLOCKS_APART:
        raise UsageError(
            f"{last.place(output).url} is the record of a night in the future: a clock was wrong, then or now; remove "
            "it, or no night before it will be labelled"
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
        where = ".".join(map(str, reason["loc"])) or "the whole file"
        raise UsageError(
            f"{found[-1].url} is not a record of a night that this version of CILF understands ({where}: "
            f"{reason['msg']}): remove it to start the night again"
        ) from error


def _goes_on(last: Record, now: str) -> bool:
    return last.ended is None and _moment(now) - _moment(last.started) < _GOES_ON


def _moment(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
