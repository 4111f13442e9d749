"""`cilf demo`, from its options to its output."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cilf.config import DemoOptions, LabelOptions
from cilf.demo.photographs import FORMATS, known, make, people
from cilf.demo.sheet import contact_sheet
from cilf.errors import UsageError
from cilf.labelling import label
from cilf.storage import check_output, locate, write

_MARKER = ".cilf-demo"
_MARKED = "`cilf demo` made this folder and may change its photographs, output and contact-sheet.png.\n"


def run(options: DemoOptions) -> int:
    """Run the demo; see cilf.demo.demo."""
    folder = Path(options.folder).expanduser().resolve()
    claim(folder)
    photographs, output = folder / "photographs", folder / "output"
    make(photographs)
    code = label(LabelOptions(input=str(photographs), output=str(output), model=options.model, relabel=True))
    labels = newest(output)
    sheet = folder / "contact-sheet.png"
    contact_sheet(labels).save(sheet)
    console = Console(highlight=False)
    console.print(table(labels))
    for line in summary(labels):
        console.print(line)
    files = f"{output}/labels/**/*.parquet"
    print(
        f"""
Picture  {sheet}
Labels   {output / "labels"}   (Parquet, one row per photograph)

Query the labels, for example with DuckDB in Python:
    import duckdb
    current = "(SELECT model FROM '{output}/current.json')"
    duckdb.sql(f"SELECT uri, unnest(faces).age AS age FROM '{files}' WHERE model = {{current}}").show()"""
    )
    return code


def claim(folder: Path) -> None:
    """Make the folder and mark it as the demo's, unless it has the mark already.

    Raises:
        UsageError: the folder holds files but no mark, or it cannot be written.
    """
    try:
        if not (folder / _MARKER).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise UsageError(
                    f"{folder} is not empty and was not made by this version of `cilf demo`, which writes only into "
                    "folders that it has made: name a new or empty folder with --folder, or move this one away"
                )
        check_output(locate(str(folder)), "the demo's folder")
        write(locate(str(folder)) / _MARKER, _MARKED.encode())
    except OSError as error:
        raise UsageError(f"cannot use {folder} for the demo: {error.strerror or error}") from error


def newest(output: Path) -> list[dict[str, Any]]:
    """Rows of the newest run in OUTPUT, in the order of the table."""
    rows = pads.dataset(output / "labels", partitioning="hive").to_table().to_pylist()
    run = max(row["run"] for row in rows)
    return sorted((row for row in rows if row["run"] == run), key=_place)


def _place(row: dict[str, Any]) -> tuple[bool, int, Path]:
    """Sort key: people by age, the portrait in its formats, its other versions, and then all other files by name."""
    file, order = Path(row["uri"]), [*people(), *FORMATS]
    is_other = known(file) is None
    return is_other, len(order) if is_other or file.name not in order else order.index(file.name), file


def table(labels: list[dict[str, Any]]) -> Table:
    """Table with one line per face, and one line per photograph without a face."""
    out = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in (("file", "left"), ("known", "left"), ("age", "right"), ("90 % interval", "right")):
        out.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    out.add_column("result")
    for folder, rows in groupby(labels, key=lambda row: Path(row["uri"]).parent):
        out.add_row(f"[bold]{escape(folder.name)}[/]")
        for row in rows:
            for line in _lines(row):
                out.add_row(*line)
    return out


def _lines(row: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    file = Path(row["uri"])
    names = [f"  {escape(file.name)}", str(known(file) or "")]
    for face in row["faces"]:
        result = "[green]accepted[/]" if face["accepted"] else "[yellow]not accepted[/]"
        yield *names, f"{face['age']:.1f}", f"{face['age_low']:.0f} to {face['age_high']:.0f}", result
        names = ["", ""]
    if not row["faces"]:
        reason = f": {row['reason']}" if row["reason"] else ""
        yield names[0], "", "", "", f"[red]{row['status']}[/]{escape(reason)}"


def summary(labels: list[dict[str, Any]]) -> Iterator[str]:
    """Summary of the table, in a few lines."""
    faces = [face for row in labels for face in row["faces"]]
    yield f"\n{sum(face['accepted'] for face in faces)} of {len(faces)} estimates are accepted."
    by_name = {Path(row["uri"]).name: row["faces"] for row in labels if known(Path(row["uri"]))}
    ages = {name: by_name[name][0]["age"] for name in FORMATS if by_name.get(name)}
    if ages:
        listed = ", ".join(f"{age:.1f} ({Path(name).suffix[1:]})" for name, age in ages.items())
        apart = max(ages.values()) - min(ages.values())
        yield f"The same portrait in {len(ages)} formats: {listed}. The largest difference is {apart:.1f} years."
