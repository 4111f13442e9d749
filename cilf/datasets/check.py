"""The command `cilf data check`: summarises a public data set's folder, lists its problems, and writes its table."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cilf.config import DataCheckOptions
from cilf.datasets.age_groups import AgeGroup
from cilf.datasets.labels import TABLE, Labelled, Problem, Reason, reader
from cilf.errors import UsageError
from cilf.evaluation.metrics import BANDS
from cilf.own_files import columns_of
from cilf.storage import CHECKING, Location, check_output, locate, problem, read, write
from cilf.urls import split

_PROBLEM_COLUMNS = ("path", "reason", "detail", "kept")
_EXAMPLES = 3
_BAR = 30


def check(options: DataCheckOptions) -> int:
    """Read a data set, show its content and its problems, and write its table to `output` if given.

    Returns:
        0: the folder could be read, whatever problems its files have.

    Raises:
        UsageError: the folder is not that data set, or `output` cannot be written.
    """
    scheme, path = split(options.folder)
    if scheme != "file":
        raise UsageError(f"FOLDER {options.folder} is not a local folder: copy the data set to this machine")
    folder = Path(path).expanduser().absolute()
    output = _output(options.output) if options.output else None
    labelled = reader(options.name)(folder)
    Console(highlight=False).print(_report(options.name, labelled))
    if output:
        _write(labelled, folder, output)
    return 0


def _output(url: str) -> Location:
    """The location of the table, checked for write access before anything is read."""
    if not url.endswith(".parquet"):
        raise UsageError(f"--output {url} does not end in .parquet")
    output = locate(url, CHECKING)
    check_output(output.parent)
    _check_is_ours(output)
    return output


def _check_is_ours(output: Location) -> None:
    """Make sure that only files of this command are overwritten."""
    if output.fs.exists(output.path) and not {*TABLE.names, "uri"} <= set(columns_of(output)):
        raise UsageError(f"--output {output.url} exists but is not a table of `cilf data check`: choose another file")
    beside = _beside(output)
    if beside.fs.exists(beside.path) and not _lists_problems(beside):
        raise UsageError(
            f"--output {output.url}: the problems would overwrite {beside.url}, which is not of this command: choose "
            "another file"
        )


def _lists_problems(file: Location) -> bool:
    try:
        return (read(file) or b"").splitlines()[:1] == [",".join(_PROBLEM_COLUMNS).encode()]
    except OSError:
        return False


def _beside(output: Location) -> Location:
    return output.parent / f"{output.path.rpartition('/')[2].removesuffix('.parquet')}.problems.csv"


def _write(labelled: Labelled, folder: Path, output: Location) -> None:
    """Write the problems, and the table with a column `uri`, by which `cilf train` and `cilf label` find the images."""
    uris = pa.array([f"{folder}/{path}" for path in labelled.table["path"].to_pylist()], pa.string())
    parquet, problems = io.BytesIO(), io.StringIO(newline="")
    pq.write_table(labelled.table.append_column("uri", uris), parquet)
    lines = csv.writer(problems)
    lines.writerow(_PROBLEM_COLUMNS)
    lines.writerows([p.path, p.reason.words, p.detail, str(p.reason.kept).lower()] for p in labelled.problems)
    beside = _beside(output)
    try:
        write(output, parquet.getvalue())
        write(beside, problems.getvalue().encode())
    except Exception as error:
        raise UsageError(f"cannot write the table: {problem(error, output.url)}") from error
    print(f"{output.url} has {len(labelled.table):,} rows; {beside.url} has {len(labelled.problems):,} problems")


def _report(name: str, labelled: Labelled) -> RenderableType:
    table = labelled.table
    parts: list[RenderableType] = [Text(_found(name, labelled))]
    if labelled.ranks:
        parts.append(_bars("rank", _by_rank(labelled)))
    elif len(table):
        parts.append(_bars("age", _by_age(table)))
    parts += [
        _bars(column, dict(sorted(Counter(value or "unknown" for value in table[column].to_pylist()).items())))
        for column in ("split", "sex", "race")
        if table[column].null_count < len(table)
    ]
    if labelled.ranks:
        parts.append(Text(f"For a recipe, under `model`:\n    {_for_recipe(labelled.ranks)}"))
    return Group(*parts, *_problems(labelled.problems))


def _found(name: str, labelled: Labelled) -> str:
    table = labelled.table
    subjects = pc.count_distinct(table["subject"]).as_py()
    who = f"{subjects:,} subjects" if subjects else "subjects unknown"
    if labelled.ranks:
        return f"{name}: {len(table):,} rows, {who}, {len(labelled.ranks)} ranks"
    oldest, youngest = _year(pc.max(table["age"])), _year(pc.min(table["age"]))
    ages = "age groups instead of ages" if oldest is None and len(table) else f"ages {youngest} to {oldest}"
    return f"{name}: {len(table):,} rows, {who}" + (f", {ages}" if len(table) else "")


def _by_rank(labelled: Labelled) -> dict[str, int]:
    """Number of rows by the number and name of the rank."""
    counts = Counter(labelled.table["age"].to_pylist())
    return {f"{number} {name}": counts[number] for number, name in enumerate(labelled.ranks)}


def _for_recipe(ranks: tuple[str, ...]) -> str:
    """The recipe's `ages` for these ranks, as YAML."""
    ages = {"youngest": 0, "oldest": len(ranks) - 1, "names": list(ranks)}
    flow = yaml.safe_dump(ages, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return f"ages: {flow.strip()}"


def _year(age: pa.Scalar) -> str | None:
    return f"{age.as_py():g}" if age.is_valid else None


def _by_age(table: pa.Table) -> dict[str, int]:
    """Number of rows by age band, or by age group for rows without an age."""
    found: Counter[tuple[float, str]] = Counter()
    for age, low, high in zip(*(table[name].to_pylist() for name in ("age", "age_low", "age_high")), strict=True):
        if age is None:
            found[low, AgeGroup(low, high).name] += 1
        else:
            band = next(band for band, (first, end) in BANDS.items() if first <= age < end)
            found[BANDS[band][0], band] += 1
    return {label: found[first, label] for first, label in sorted(found)}


def _bars(title: str, counts: Mapping[str, int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column(title, min_width=12)
    table.add_column("rows", justify="right", min_width=8)
    table.add_column("")
    most = max(counts.values())
    for label, count in counts.items():
        table.add_row(Text(label), f"{count:,}", "█" * max(1, round(_BAR * count / most)))
    return table


def _problems(problems: list[Problem]) -> list[RenderableType]:
    """A table of the problems by reason, those whose rows are left out first, with a few different examples each."""
    if not problems:
        return [Text("No problems found.")]
    by_reason: dict[Reason, list[Problem]] = defaultdict(list)
    for one in problems:
        by_reason[one.reason].append(one)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("problem", ratio=2)
    table.add_column("files", justify="right", no_wrap=True)
    table.add_column("row", no_wrap=True)
    table.add_column("examples", ratio=3, overflow="fold")
    for reason, found in sorted(by_reason.items(), key=lambda pair: (pair[0].kept, -len(pair[1]))):
        told = list({p.detail or p.path: f"{p.path}: {p.detail}" if p.detail else p.path for p in found}.values())
        kept = "kept" if reason.kept else "left out"
        table.add_row(reason.words, f"{len(found):,}", kept, Text("\n".join(told[:_EXAMPLES])))
    return [table]
