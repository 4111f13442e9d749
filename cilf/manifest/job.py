"""`cilf list` from its options to its exit code: check the plan, list the objects into a draft, publish the draft."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from cilf import schema
from cilf.config import ListOptions
from cilf.errors import JobError, StoreError, UsageError
from cilf.labelling.lease import Lease, check_lease
from cilf.manifest import walking, walking_s3
from cilf.manifest.columns import check_own
from cilf.manifest.draft import Draft, State, read_state
from cilf.manifest.failures import tell, told
from cilf.manifest.folder import RECORD, read_record
from cilf.manifest.ids import Seen
from cilf.manifest.keys import Include
from cilf.manifest.listing import Input, check_input, identified, open_input, read
from cilf.provenance import new_run_id
from cilf.storage import CHECKING, Location, check_output, lies_inside, locate, problem, write
from cilf.words import counted

_THREADS = 32
_TELL_EVERY_S = 30


def run(options: ListOptions) -> int:
    """See cilf.manifest.list_objects."""
    if len(options.places) < 2:
        only = f"only {options.places[0]} is given" if options.places else "none is given"
        raise UsageError(
            f"expected at least two places: INPUT... MANIFEST, what to list and the folder for the listing; {only}"
        )
    with told("cannot write to MANIFEST", locate(options.manifest)):
        begun = read_state(locate(options.manifest, CHECKING))
    inputs = _inputs(options, begun)
    wanted = _columns(inputs)
    _check_target(locate(options.manifest, CHECKING))
    target, name, include = locate(options.manifest), new_run_id(), Include(options.include)
    with Lease(target / "_lease.json", name, tell):
        draft = _draft(target, _command(options, inputs), lambda: check_lease(target / "_lease.json", name))
        try:
            if not draft.state.listed:
                _list(inputs, include, wanted, draft)
            draft.publish(_record(options, draft.state))
        except Exception as error:
            done = f"listing stopped after {counted(draft.state.objects, 'object')}"
            if isinstance(error, UsageError) and not isinstance(error, StoreError):
                raise UsageError(f"{done}: {error}") from error
            cause = error if isinstance(error, StoreError | JobError) else problem(error, target.url)
            advice = "once that is fixed, run the same command again to resume"
            raise JobError(f"{done}: {cause} ({advice})") from error
    state = draft.state
    dropped = f", {counted(state.repeats, 'duplicate')} left out" if state.repeats else ""
    if not state.objects and (remark := include.remark()):
        tell(remark)
        dropped += f", {remark}"
    what = f"{counted(state.objects, 'object')} of {counted(state.bytes, 'byte')}"
    print(f"listed {what} in {state.seconds:.1f} s{dropped}: {target.url}")
    return 0


def _inputs(options: ListOptions, begun: State | None) -> list[Input]:
    """The INPUTs, opened, each once. Prefixes whose listing has been started are not checked again."""
    known = begun.command["inputs"] if begun else {}
    walked = {url for url in (begun.left if begun else ()) if known.get(url, "") is None}

    def opened(url: str) -> Input:
        source = locate(url)
        if source.url in walked:
            return Input(source, None)
        check_input(locate(url, CHECKING))
        return open_input(source)

    with ThreadPoolExecutor(_THREADS) as threads:
        inputs = {found.source.url: found for found in threads.map(opened, dict.fromkeys(options.inputs))}
    prefixes = [source for source, manifest in inputs.values() if manifest is None]
    target = locate(options.manifest)
    for prefix in prefixes:
        if lies_inside(target, prefix):
            raise UsageError(f"MANIFEST {target.url} lies inside INPUT {prefix.url}: its own files would be listed too")
    if options.include:  # Globs are relative to each prefix, so they may match below one but not from above it.
        return list(inputs.values())

    above = tuple(f"{prefix.url.rstrip('/')}/" for prefix in prefixes)

    def is_covered(found: Input) -> bool:
        # A walk from above passes local folders that are links; what it does find twice is left out as a duplicate.
        below = found.source.url.startswith(above)
        return below and found.manifest is None and found.source.scheme != "file"

    return [found for found in inputs.values() if not is_covered(found)]


def _columns(inputs: Iterable[Input]) -> pa.Schema:
    """The columns of the listing: schema.MANIFEST and all columns that any of the INPUTs carries.

    Raises:
        UsageError: two INPUTs carry different columns of the same name, or of names that differ only by case.
    """
    carried: dict[str, pa.Field] = {}
    for source, manifest in inputs:
        for field in manifest.carried if manifest else ():
            if carried.setdefault(field.name, field).type != field.type:
                types = f"{carried[field.name].type} and {field.type}"
                raise UsageError(f"column {field.name} of {source.url} differs from that of another INPUT: {types}")
    check_own(list(carried.values()), "the list of all INPUTs")
    return schema.extend(schema.MANIFEST, list(carried.values()))


def _check_target(target: Location) -> None:
    """Make sure that MANIFEST holds a listing or nothing, and can be written to.

    Raises:
        UsageError: it holds something else, or cannot be written to.
    """
    with told("cannot write to MANIFEST", target):
        is_listing = read_record(target) is not None
        if not is_listing and (walking_s3 if target.scheme == "s3" else walking).holds_objects(target):
            raise UsageError(f"MANIFEST {target.url} is not empty and holds no listing: choose another folder")
        check_output(target, "MANIFEST")
        if not is_listing:
            unfinished: dict[str, Any] = {"complete": False, "schema": schema.VERSION, "listing": None, "parts": []}
            write(target / RECORD, json.dumps(unfinished).encode())


def _command(options: ListOptions, inputs: Iterable[Input]) -> dict[str, Any]:
    """The parts of a command that decide whether it resumes a listing or starts a new one."""
    versions = {source.url: manifest.version if manifest else None for source, manifest in inputs}
    return {"inputs": versions, "include": list(options.include)}


def _draft(target: Location, command: dict[str, Any], may_write: Callable[[], None]) -> Draft:
    """The existing draft for this command, or a new one."""
    state = read_state(target)
    if state is None or state.command != command:
        if state is not None:
            tell("starting again: the unfinished listing here has other inputs, or they have changed")
        return Draft(target, State(command), may_write)
    tell(f"resuming the unfinished listing after {counted(state.objects, 'object')}")
    return Draft(target, state, may_write)


def _list(inputs: Sequence[Input], include: Include, wanted: pa.Schema, draft: Draft) -> None:
    seen = Seen(draft.ids())
    seen.repeats = draft.state.repeats
    told_at = time.monotonic()

    def leave_out(line: str) -> None:
        draft.state.left_out.append(line)
        tell(line)

    for table in map(identified, read(inputs, include, draft.state.left, leave_out, draft.folder)):
        new = table.filter(pa.array(seen.new(table["id"].to_numpy())))
        draft.state.repeats = seen.repeats
        draft.add(_widened(new, wanted))
        if time.monotonic() - told_at > _TELL_EVERY_S:
            told_at = time.monotonic()
            tell(f"{counted(draft.objects, 'object')}, {draft.objects / draft.seconds:,.0f}/s")
    draft.state.listed = True
    draft.save()


def _widened(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """Add the columns that only other INPUTs have, as null."""
    columns = [
        table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type) for field in wanted
    ]
    return pa.table(columns, schema=wanted)


def _record(options: ListOptions, state: State) -> dict[str, Any]:
    return {
        "complete": True,
        "schema": schema.VERSION,
        "listing": state.listing,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": list(options.inputs),
        "include": list(options.include),
        "objects": state.objects,
        "bytes": state.bytes,
        "duplicates": state.repeats,
        "left_out": state.left_out,
        "seconds": state.seconds,
        "parts": state.parts,
    }
