"""Which runs belong together: one that ended early, and those that went on with it until one ended well.

What they labelled is parts of one thing, in the order in which it was listed, and differs for that reason alone. So the
parts are compared with other runs together, and never with one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cilf.labelling.records import Record


def attempts(runs: Iterable[tuple[str, str]], records: Mapping[str, Record], at_most: int) -> list[list[str]]:
    """Runs in groups, each oldest first, in the order of their newest run.

    Args:
        runs: name and model of those that have rows, or a record.
        records: of the newest `at_most` runs, or of all where there are fewer. A newer run without one was killed, or
            is still going on.
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
    """The group that a run goes on with, which is no longer unfinished; a new one where there is none. What a run
    without a record was to label is not known: it may be any of its model's."""
    what = _what(record)
    keys = [key for key in unfinished if key[0] == model and (what is None or key[1] in (what, None))]
    return unfinished.pop(keys[-1]) if keys else []


def _what(record: Record | None) -> Any:
    """What a run was to label, however its command spelled that."""
    if record is None:
        return None
    return str([record.input or record.options.get("input"), sorted(set(record.options.get("include") or []))])
