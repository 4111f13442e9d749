"""Tables of an evaluation by age group, for the terminal and as Markdown for a model card."""

from __future__ import annotations

from rich.console import RenderableType

from cilf.evaluation.layout import Record, document, ends, markdown_table, percent, shown, with_ends

_COLUMNS = ("accuracy\n%", "95 %", "1-off\n%", "95 %", "in\n90 %", "accepted", "width\nyears")
_HEADINGS = ("accuracy, %", "1-off, %", "in 90 % interval", "accepted", "interval width, years")


def terminal(record: Record) -> RenderableType:
    """Accuracy and 1-off of all rows and by age group, gender and race within 80 columns, with notes below."""
    everyone = record["all"]
    first = everyone["accuracy_before_correction"]
    lines = [
        f"{_known(record)} There is no MAE.",
        f"First estimate: accuracy {with_ends(first, digits=1)} %; corrected {everyone['corrected']['value']:.1%} of "
        "rows.",
    ]
    for by, gap in record["gaps"].items():
        pair = f"{gap['lowest']} against {gap['highest']}"
        lines.append(f"Largest gap by {by}: {pair}, {with_ends(gap, digits=1)} points of accuracy.")
    return shown(record, _COLUMNS, _cells, lines)


def _known(record: Record) -> str:
    names = ", ".join(group["name"] for group in record["age_groups"])
    return (
        f"The data has age groups instead of ages: {names}. An estimate counts for the group nearest to it; coverage "
        "is the share of a group's years that lie inside the interval."
    )


def _cells(row: Record) -> list[str]:
    return [
        f"{row['accuracy']['value']:.1f}",
        ends(row["accuracy"], digits=1),
        f"{row['one_off']['value']:.1f}",
        ends(row["one_off"], digits=1),
        f"{row['coverage']['value']:.1%}",
        f"{row['accepted']['value']:.1%}",
        f"{row['width']['value']:.1f}",
    ]


def markdown(record: Record) -> str:
    """All tables as Markdown. Every figure of a group of rows has its interval."""
    everyone = record["all"]
    facts = [["Accuracy of the first estimate", with_ends(everyone["accuracy_before_correction"], "%", 1)]]
    for by, gap in record["gaps"].items():
        pair = f"{gap['lowest']} against {gap['highest']}"
        facts.append([f"Largest gap by {by}: {pair}", with_ends(gap, "points of accuracy", 1)])
    facts += [["Rows corrected", percent(everyone["corrected"])], ["Rows accepted", percent(everyone["accepted"])]]
    names = [group["name"] for group in record["age_groups"]]
    rows = [
        [name, *(f"{count:,}" for count in counts)] for name, counts in zip(names, record["confusion"], strict=True)
    ]
    confusion = ["## Confusion: true groups in rows, estimated groups in columns", markdown_table(["", *names], rows)]
    return document(record, _known(record), _HEADINGS, _full, facts, confusion)


def _full(row: Record) -> list[str]:
    return [
        with_ends(row["accuracy"], digits=1),
        with_ends(row["one_off"], digits=1),
        percent(row["coverage"]),
        percent(row["accepted"]),
        with_ends(row["width"], digits=1),
    ]
