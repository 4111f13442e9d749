"""Layout shared by all evaluations: a compact table for the terminal, and a Markdown document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Record = Mapping[str, Any]
Cells = Callable[[Record], Sequence[str]]
"""Function that returns the table cells of a group of rows, without its name and its number of rows."""


class Share(NamedTuple):
    """The share of good estimates that is shown next to the MAE."""

    name: str
    """Key in the record."""
    heading: str
    meaning: str
    """A sentence that explains the share, or empty if it needs no explanation."""


SHARES = {
    "years": Share("cs5", "CS(5)", ""),
    "ranks": Share("rank_accuracy", "accuracy", "Accuracy: the rank nearest to the estimate is the true one."),
}
"""Shares by the unit of a record."""

_TITLES = {
    "age": "By age",
    "rank": "By rank",
    "gender": "By gender",
    "race": "By race",
    "judgement": "By the model's own judgement",
    "decade": "By decade",
}
"""Section headings of the Markdown; the terminal shows all sections except decades."""
_SHOWN_SKIPS = 3


def title(record: Record) -> str:
    """Names of the model, the data and the split, in one line."""
    data = record["data"]
    name = data["path"].rstrip("/").rpartition("/")[2]
    return f"{record['model']} on {name}, split={data['split']}"


def drawn(record: Record) -> str:
    """Description of the intervals, in one line."""
    bootstrap = record["bootstrap"]
    over = f"{bootstrap['units']:,} {bootstrap['over']}"
    return f"95 % bootstrap intervals over {over} ({bootstrap['resamples']:,} resamples)"


def shown(record: Record, headings: Sequence[str], cells: Cells, own: Sequence[str]) -> RenderableType:
    """Table for a terminal of 80 columns: a row for each group except decades, with notes below.

    Args:
        headings: headings of the cells.
        cells: cells of a group.
        own: notes of this evaluation, to go between those that every evaluation has.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 0, 0, 1))
    table.add_column("", overflow="fold", max_width=14)
    for heading in ("rows", *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = [record["all"], *(row for row in record["groups"] if row["by"] != "decade")]
    for _, section in groupby(rows, key=lambda row: row["by"]):
        for row in section:
            style = "bold" if row["by"] == "all" else "dim" if row["hidden"] else ""
            table.add_row(Text(row["group"]), f"{row['rows']:,}", *_figures(row, headings, cells), style=style)
        table.add_section()
    return Group(Text(title(record)), table, *(Text(line) for line in _notes(record, own)))


def _figures(row: Record, headings: Sequence[str], cells: Cells) -> Sequence[str]:
    return ["–"] * len(headings) if row["hidden"] else cells(row)


def _notes(record: Record, own: Sequence[str]) -> list[str]:
    data, speed, skipped, bootstrap = (record[name] for name in ("data", "speed", "skipped", "bootstrap"))
    over = f"{bootstrap['units']:,} {bootstrap['over']}"
    lines = [f"{data['evaluated']:,} faces, {skipped['total']:,} skipped; 95 % bootstrap over {over}."]
    lines.append(record["leakage"]["told"])
    if any(row["hidden"] for row in record["groups"]):
        lines.append(f"Figures of groups of fewer than {record['smallest_group']} rows are not shown (–).")
    lines += own
    lines.append(
        f"{speed['estimation_images_per_second']:,.0f} images/s of estimation on {speed['device']}; "
        f"{speed['images_per_second']:,.0f} with reading and decoding."
    )
    lines += [f"Skipped {row['id']}: {row['reason']}" for row in skipped["rows"][:_SHOWN_SKIPS]]
    if skipped["total"] > _SHOWN_SKIPS:
        lines.append(f"and {skipped['total'] - _SHOWN_SKIPS:,} more (evaluation.json)")
    return lines


def document(
    record: Record,
    unit: str,
    headings: Sequence[str],
    cells: Cells,
    facts: Sequence[Sequence[str]],
    sections: Sequence[str] = (),
) -> str:
    """Markdown document with tables of all groups.

    Args:
        unit: a sentence that states the unit of the figures.
        headings: headings of the cells.
        cells: cells of a group.
        facts: names and values of figures that are not by group.
        sections: headings and tables that only some evaluations have.
    """
    data, skipped, speed = record["data"], record["skipped"], record["speed"]

    def groups(rows: Sequence[Record]) -> str:
        lines = [[plain(row["group"]), f"{row['rows']:,}", *_figures(row, headings, cells)] for row in rows]
        return markdown_table(["", "rows", *headings], lines)

    over = drawn(record)
    parts = [
        f"# {plain(title(record))}",
        f"{data['evaluated']:,} faces, {skipped['total']:,} skipped. {over[0].upper()}{over[1:]}. "
        f"{unit} Groups of fewer than {record['smallest_group']} rows are listed without figures. "
        f"CILF {record['versions']['cilf']}, {record['evaluated_at']}.",
        plain(record["leakage"]["told"]),
        groups([record["all"]]),
    ]
    for by, heading in _TITLES.items():
        rows = [row for row in record["groups"] if row["by"] == by]
        if rows:
            parts += [f"## {heading}", groups(rows)]
    rate = f"{speed['estimation_images_per_second']:,.0f} images/s on {speed['device']}"
    values = [[plain(cell) for cell in fact] for fact in (*facts, ["Estimation", rate])]
    parts += ["## Judgement and speed", markdown_table(["", "value"], values), *sections]
    if skipped["rows"]:
        named = [[plain(row["id"]), plain(row["reason"])] for row in skipped["rows"]]
        parts += [f"## Skipped: {skipped['total']:,}", markdown_table(["id", "reason"], named)]
    return "\n\n".join(parts) + "\n"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown table; all columns after the first are right-aligned, as they hold numbers."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ends(figure: Record, digits: int = 2) -> str:
    """Text of a figure's interval."""
    return "–" if figure["low"] is None else f"{figure['low']:.{digits}f}–{figure['high']:.{digits}f}"


def with_ends(figure: Record, unit: str = "", digits: int = 2, sign: str = "") -> str:
    """Text of a figure and its interval."""
    value = f"{figure['value']:{sign}.{digits}f}" + (f" {unit}" if unit else "")
    if figure["low"] is None:
        return value
    return f"{value} [{figure['low']:{sign}.{digits}f}, {figure['high']:{sign}.{digits}f}]"


def percent(share: Record) -> str:
    """Text of a share in 0..1 and its interval, in per cent."""
    return with_ends({name: None if value is None else 100 * value for name, value in share.items()}, "%", 1)


def plain(text: str) -> str:
    """Text on one line, with the characters escaped that would break a Markdown table."""
    return " ".join(text.split()).replace("|", r"\|")
