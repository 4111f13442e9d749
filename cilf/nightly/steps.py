"""The steps of a night, in order: each follows CONFIG and returns its figures for the record."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from cilf.errors import BusyError
from cilf.labelling.compaction import compact_model, small_files
from cilf.labelling.current import Prefix
from cilf.labelling.job import label_new
from cilf.manifest import list_objects
from cilf.manifest.folder import read_record
from cilf.manifest.listing import is_manifest
from cilf.nightly.config import Config
from cilf.nightly.record import Record
from cilf.nightly.retention import remove_old
from cilf.report.job import said, write_page
from cilf.storage import folders, locate

MANY = 100
"""Number of small label files of a model above which merging them pays. A night with few objects writes few files."""


def _list(config: Config, _: Record) -> dict[str, Any]:
    list_objects(config.list_options())
    listed = read_record(locate(config.manifest_folder)) or {}
    return {name: listed[name] for name in ("listing", "objects", "bytes", "duplicates", "left_out")}


def _label(config: Config, _: Record) -> dict[str, Any]:
    summary = label_new(config.label_options(), _listed(config))
    print(summary.closing())
    return {"run": summary.run, "objects": summary.objects, "counts": dict(sorted(summary.counts.items()))}


def _listed(config: Config) -> list[Prefix]:
    """The prefixes all of whose objects are in the listing."""
    if config.label_options().include:
        return []
    places = [place for place in map(locate, config.inputs) if not is_manifest(place)]
    return [Prefix(place.url, config.list_options().include) for place in places]


def _compact(config: Config, _: Record) -> dict[str, Any]:
    output, merged = locate(config.output), []
    for labels in folders(output / "labels"):
        if len(small_files(labels)) <= MANY:
            continue
        try:
            merged.append(compact_model(output, labels))
        except BusyError as error:
            print(f"not compacted, which can wait for the next night: {error}", file=sys.stderr)
        else:
            print(merged[-1])
    return {"merged": merged}


def _report(config: Config, record: Record) -> dict[str, Any]:
    output, options = locate(config.output), config.report_options(record.since)
    night = write_page(output, options)
    for line in said(night, output, options):
        print(line)
    record.rows = {row["status"]: row["objects"] for row in night.new}
    record.drift, record.verdict = night.drifted, night.verdict
    return {}


def _tidy_up(config: Config, _: Record) -> dict[str, Any]:
    return {"removed": remove_old(locate(config.output), config.keep_runs)}


STEPS: dict[str, Callable[[Config, Record], dict[str, Any]]] = {
    "list": _list,
    "label": _label,
    "compact": _compact,
    "report": _report,
    "tidy up": _tidy_up,
}
