"""Groups of runs that belong together: a run that ended early, and those that resumed it until one succeeded.

The runs of a group labelled parts of one listing, in its order, and their ages differ for that reason alone. So a group
is compared with other groups as a whole, and its runs are never compared with one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cilf.labelling.records import Record


def attempts(runs: Iterable[tuple[str, str]], records: Mapping[str, Record], at_most: int) -> list[list[str]]:
    """Group runs by attempts: each group oldest first, the groups in the order of their newest run.

    Args:
        runs: name and model of the runs that have rows or a record.
        records: records of the newest `at_most` runs, or of all runs if there are fewer. A newer run without a record
            was killed, or is still running.
    """
    oldest_known = min(records) if len(records) >= at_most else ""
    groups: list[list[str]] = []
    unfinished: dict[tuple[str, Any], list[str]] = {}
    for name, model in sorted(runs):
        record = records.get(name)
        group = _taken_up(unfinished, model, record)
        groups[:] = [other for other in groups if other is not group]
        group.append(name)
        groups.append(group)
        if (name >= oldest_known) if record is None else record.error is not None:
            unfinished[model, _what(record)] = group
    return groups


def _taken_up(unfinished: dict[tuple[str, Any], list[str]], model: str, record: Record | None) -> list[str]:
    """The group that a run resumes, which is then no longer unfinished; a new group if it resumes none. It is not known
    what a run without a record was to label, so it may resume any group of its model."""
    what = _what(record)
    keys = [key for key in unfinished if key[0] == model and (what is None or key[1] in (what, None))]
    return unfinished.pop(keys[-1]) if keys else []


def _what(record: Record | None) -> Any:
    """A key for what a run was to label, independent of how its command spelled it."""
    if record is None:
        return None
    return str([record.input or record.options.get("input"), sorted(set(record.options.get("include") or []))])
