"""Removal of old records of nights and runs. Labels are never removed."""

from __future__ import annotations

import re

from cilf.labelling.lease import holder
from cilf.nightly.record import records
from cilf.storage import Location, files, folders, remove, remove_folder

_RUN = re.compile(r"(\d{8}T\d{6}Z-[0-9a-f]{6})(\.json|\.\d+)?")
"""Names of the records of runs, and of their manifests: of the first pass and, with a number, of further passes."""


def remove_old(output: Location, keep: int) -> int:
    """Remove the records and manifests of all runs except the newest `keep`, and the records of all nights except the
    newest `keep`.

    Runs that hold a lease are kept as well: they may be reading their manifest. Files that are not named like those of
    a run are left alone.

    Returns:
        Number of files and folders that were removed.
    """
    summaries = {file: _run(file) for file in files(output / "runs", ".json")}
    manifests = {folder: _run(folder) for folder in folders(output / "manifests")}
    known = sorted({run for run in [*summaries.values(), *manifests.values()] if run is not None})
    old = set(known[:-keep]) - {holder(lease) for lease in files(output / "leases", ".json")}
    unread = [file for file, run in summaries.items() if run in old] + records(output)[:-keep]
    for file in unread:
        remove(file)
    unlabelled = [folder for folder, run in manifests.items() if run in old]
    for folder in unlabelled:
        remove_folder(folder)
    return len(unread) + len(unlabelled)


def _run(place: Location) -> str | None:
    found = _RUN.fullmatch(place.path.rpartition("/")[2])
    return found and found[1]
