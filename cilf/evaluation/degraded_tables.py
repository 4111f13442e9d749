"""The table of degradations, for the terminal and as Markdown for a model card."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cilf.evaluation.bootstrap import RESAMPLES
from cilf.evaluation.layout import Record, ends, markdown_table, percent, plain, title, with_ends

KINDS = {"": "as it is", "file": "saved as", "detail": "less detail", "light": "light", "framing": "framing"}
"""Headings of the kinds of degradation."""


def terminal(record: Record) -> RenderableType:
    """All degradations within 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    measure, unit = record["measure"].replace(", ", "\n"), record["unit"]
    for heading in ("rows", measure, "worse\nby", "95 %", f"moved\n{unit}", "in\n90 %", "accepted"):
        table.add_column(heading, justify="right")
    for kind in KINDS:
        for row in of_kind(record, kind):
            table.add_row(Text(row["name"]), f"{row['rows']:,}", *(_cells(row) if row["rows"] else ["–"] * 6))
        table.add_section()
    return Group(Text(title(record)), table, *(Text(line) for line in notes(record)))


def of_kind(record: Record, kind: str) -> list[Record]:
    """The degradations of one kind."""
    return [row for row in record["degradations"] if row["kind"] == kind]


def _cells(row: Record) -> list[str]:
    return [
        f"{row['error']['value']:.2f}",
        f"{row['above_clean']['value']:+.2f}",
        ends(row["above_clean"]),
        f"{row['moved']['value']:.2f}",
        f"{row['covered']['value']:.1%}",
        f"{row['accepted']['value']:.1%}",
    ]


def notes(record: Record) -> list[str]:
    """Explanations below the table, one line each."""
    data = record["data"]
    drawn = f"{data['sampled']:,} of {data['rows']:,} faces, drawn at random"
    faces = f"All {data['rows']:,} faces" if data["sampled"] == data["rows"] else drawn
    lines = [
        f"{faces}; 95 % bootstrap, {RESAMPLES:,} resamples, differences paired by face.",
        "Each degradation is applied to the file, before it is decoded. worse by: increase over the file as it is; "
        "moved: mean absolute change of the estimate.",
    ]
    if record["age_groups"]:
        lines.append("in 90 %: share of the years of the true age group that lie inside the interval.")
    lost = [f"{row['name']}: {row['lost']:,}" for row in record["degradations"] if row["lost"]]
    return [*lines, f"Faces that could not be estimated: {'; '.join(lost)}."] if lost else lines


def markdown(record: Record) -> str:
    """All degradations with their intervals, as Markdown."""
    headings = (
        *("", "rows", record["measure"], "worse by", f"estimate moved, {record['unit']}"),
        *("in 90 % interval", f"interval width, {record['unit']}", "accepted"),
    )
    lines = [
        [row["name"], f"{row['rows']:,}", *(_full(row) if row["rows"] else ["–"] * 6)] for row in record["degradations"]
    ]
    parts = [
        f"# {plain(title(record))}: degraded photographs",
        " ".join(map(plain, notes(record))) + f" CILF {record['versions']['cilf']}, {record['evaluated_at']}.",
        markdown_table(headings, lines),
    ]
    return "\n\n".join(parts) + "\n"


def _full(row: Record) -> list[str]:
    return [
        with_ends(row["error"]),
        with_ends(row["above_clean"], sign="+"),
        with_ends(row["moved"]),
        percent(row["covered"]),
        with_ends(row["width"], digits=1),
        percent(row["accepted"]),
    ]
