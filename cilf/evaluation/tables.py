"""An evaluation's record for readers: a compact table for the terminal, Markdown for a model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Record = Mapping[str, Any]

_TITLES = {
    "age": "By age",
    "gender": "By gender",
    "race": "By race",
    "judgement": "By the model's own judgement",
    "decade": "By decade",
}
"""Sections of the Markdown; the terminal shows all but decades."""
_COLUMNS = ("rows", "MAE\nyears", "95 %", "CS(5)\n%", "median\nyears", "bias\nyears", "in 90 %", "width\nyears")
_SHOWN_SKIPS = 3


def title(record: Record) -> str:
    """What was measured on what, in one line."""
    data = record["data"]
    name = data["path"].rstrip("/").rpartition("/")[2]
    return f"{record['model']} on {name}, split={data['split']}"


def drawn(record: Record) -> str:
    """What the intervals mean, in one line."""
    bootstrap = record["bootstrap"]
    over = f"{bootstrap['units']:,} {bootstrap['over']}"
    return f"95 % bootstrap intervals over {over} ({bootstrap['resamples']:,} resamples)"


def terminal(record: Record) -> RenderableType:
    """Figures of all rows, age bands, gender and race within 80 columns, and what else a user must know."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True, max_width=14)
    for heading in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    shown = [record["all"], *(row for row in record["groups"] if row["by"] != "decade")]
    for _, section in groupby(shown, key=lambda row: row["by"]):
        for row in section:
            style = "bold" if row["by"] == "all" else "dim" if row["hidden"] else ""
            table.add_row(Text(row["group"]), f"{row['rows']:,}", *_cells(row), style=style)
        table.add_section()
    return Group(Text(title(record)), table, *(Text(line) for line in _notes(record)))


def _cells(row: Record) -> list[str]:
    if row["hidden"]:
        return ["–"] * 7
    mae = row["mae"]
    return [
        f"{mae['value']:.2f}",
        _range(mae),
        f"{row['cs5']['value']:.1f}",
        f"{row['median_absolute_error']['value']:.2f}",
        f"{row['bias']['value']:+.2f}",
        f"{row['coverage']['value']:.1%}",
        f"{row['width']['value']:.1f}",
    ]


def _notes(record: Record) -> list[str]:
    """What the table leaves out, a line each."""
    everyone, speed, data = record["all"], record["speed"], record["data"]
    risk, figures = record["risk_coverage"], record["figures"]
    bootstrap = record["bootstrap"]
    over = f"{bootstrap['units']:,} {bootstrap['over']}"
    lines = [f"{data['evaluated']:,} faces, {record['skipped']['total']:,} skipped; 95 % bootstrap over {over}."]
    if any(row["hidden"] for row in record["groups"]):
        lines.append(f"Figures of groups of fewer than {record['smallest_group']} rows are not shown (–).")
    first = everyone["mae_before_correction"]
    lines.append(f"First estimate: MAE {_with(first)}; corrected {everyone['corrected']['value']:.1%} of rows.")
    if (exact := figures.get("rank_accuracy")) is not None:
        lines.append(f"Accuracy, by the rank nearest to the estimate: {exact:.1%}.")
    if record["macro_mae"]:
        lines.append(f"Mean over decades, each counting the same: MAE {_with(record['macro_mae'])}.")
    for by, gap in record["gaps"].items():
        pair = f"{gap['highest']} against {gap['lowest']}"
        lines.append(f"Largest gap by {by}: {pair}, {_with(gap)} years of MAE.")
    accepted, left = everyone["accepted"]["value"], figures["mae_accepted"]
    lines.append(f"Accepted by the model: {accepted:.1%} of rows" + (f", MAE {left:.2f}." if left is not None else "."))
    lines.append(
        f"Risk-coverage: AURC {risk['aurc']:.2f} years (random order {everyone['mae']['value']:.2f}, "
        f"oracle {risk['aurc_oracle']:.2f})."
    )
    lines.append(f"Expected error is off by {record['reliability']['calibration_error']:.2f} years (ECE, 10 bins).")
    lines.append(
        f"{speed['estimation_images_per_second']:,.0f} images/s of estimation on {speed['device']}; "
        f"{speed['images_per_second']:,.0f} with reading and decoding."
    )
    skipped = record["skipped"]
    lines += [f"Skipped {row['id']}: {row['reason']}" for row in skipped["rows"][:_SHOWN_SKIPS]]
    if skipped["total"] > _SHOWN_SKIPS:
        lines.append(f"and {skipped['total'] - _SHOWN_SKIPS:,} more (evaluation.json)")
    return lines


def markdown(record: Record) -> str:
    """All tables, for a model card or a ticket. Every figure of a group has its interval."""
    data, accepted = record["data"], record["risk_coverage"]["accepted"]
    parts = [
        f"# {_plain(title(record))}",
        f"{data['evaluated']:,} faces, {record['skipped']['total']:,} skipped. {_sentence(drawn(record))} "
        f"Errors in years. Groups of fewer than {record['smallest_group']} rows are named without figures. "
        f"CILF {record['versions']['cilf']}, {record['evaluated_at']}.",
        _groups([record["all"]]),
    ]
    for by, heading in _TITLES.items():
        rows = [row for row in record["groups"] if row["by"] == by]
        if rows:
            parts += [f"## {heading}", _groups(rows)]
    risk, speed = record["risk_coverage"], record["speed"]
    facts = [["MAE of the first estimate", _with(record["all"]["mae_before_correction"], "years")]]
    if (exact := record["figures"].get("rank_accuracy")) is not None:
        facts.append(["Accuracy, by the rank nearest to the estimate", f"{exact:.1%}"])
    if record["macro_mae"]:
        facts.append(["MAE, mean over decades", _with(record["macro_mae"], "years")])
    for by, gap in record["gaps"].items():
        facts.append([f"Largest gap by {by}: {gap['highest']} against {gap['lowest']}", _with(gap, "years of MAE")])
    facts += [
        ["Rows corrected", _percent(record["all"]["corrected"])],
        ["Rows accepted", _percent(record["all"]["accepted"])],
    ]
    if accepted and accepted["mae"]:
        facts.append(["MAE of accepted rows", _with(accepted["mae"], "years")])
    facts += [
        ["AURC, area under the risk-coverage curve", f"{risk['aurc']:.2f} years"],
        ["AURC of an oracle that knows every error", f"{risk['aurc_oracle']:.2f} years"],
        ["Expected calibration error", f"{record['reliability']['calibration_error']:.2f} years"],
        ["Estimation", f"{speed['estimation_images_per_second']:,.0f} images/s on {speed['device']}"],
    ]
    parts += ["## Judgement and speed", _table(["", "value"], facts)]
    bins = [
        [str(b["rows"]), f"{b['expected_error']['value']:.2f}", _with(b["mae"])] for b in record["reliability"]["bins"]
    ]
    parts += ["## Reliability of the expected error", _table(["rows", "expected error", "MAE"], bins)]
    if record["skipped"]["rows"]:
        named = [[_plain(row["id"]), _plain(row["reason"])] for row in record["skipped"]["rows"]]
        parts += [f"## Skipped: {record['skipped']['total']:,}", _table(["id", "reason"], named)]
    return "\n\n".join(parts) + "\n"


def _groups(rows: Sequence[Record]) -> str:
    headings = ["", "rows", "MAE", "CS(5), %", "median error", "bias", "in 90 % interval", "interval width"]
    return _table(headings, [[_plain(row["group"]), f"{row['rows']:,}", *_full(row)] for row in rows])


def _full(row: Record) -> list[str]:
    if row["hidden"]:
        return ["–"] * 6
    return [
        _with(row["mae"]),
        _with(row["cs5"], digits=1),
        _with(row["median_absolute_error"]),
        _with(row["bias"], sign="+"),
        _percent(row["coverage"]),
        _with(row["width"], digits=1),
    ]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _range(figure: Record, digits: int = 2, sign: str = "") -> str:
    if figure["low"] is None:
        return "–"
    return f"{figure['low']:{sign}.{digits}f}–{figure['high']:{sign}.{digits}f}"


def _with(figure: Record, unit: str = "", digits: int = 2, sign: str = "") -> str:
    value = f"{figure['value']:{sign}.{digits}f}" + (f" {unit}" if unit else "")
    if figure["low"] is None:
        return value
    return f"{value} [{figure['low']:{sign}.{digits}f}, {figure['high']:{sign}.{digits}f}]"


def _percent(figure: Record) -> str:
    return _with({name: None if value is None else 100 * value for name, value in figure.items()}, "%", 1)


def _plain(text: str) -> str:
    """Text that no Markdown table takes for its own."""
    return " ".join(text.split()).replace("|", r"\|")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
