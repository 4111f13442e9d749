"""Figures of a card, taken from results of `cilf evaluate`, and their Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cilf.evaluation.layout import markdown_table, plain

Figures = Mapping[str, Any]

FILES = ("evaluation.json", "degraded.json", "parts.json")
"""Files that `cilf evaluate` writes: the usual result, and those of --degraded and --parts."""

DEGRADED, PARTS = ", degraded", ", parts"
"""Suffixes of the names of these results on a card."""

_OF_DEGRADATIONS = ("error", "above_clean", "moved", "covered", "accepted")


def figures_of(file: str, record: Figures) -> tuple[str, Figures]:
    """Name of a result on a card, such as `utkface, split=val, degraded`, and its figures without intervals."""
    data = record["data"]
    name = f"{data['path'].rstrip('/').rpartition('/')[2]}, split={data['split']}"
    if file == "degraded.json":
        return name + DEGRADED, _degraded(record)
    if file == "parts.json":
        return name + PARTS, _parts(record)
    return name, {**record["figures"], "gaps": record["gaps"]}


def _degraded(record: Figures) -> Figures:
    rows = {
        row["name"]: {"rows": row["rows"], **{name: row[name]["value"] for name in _OF_DEGRADATIONS if name in row}}
        for row in record["degradations"]
    }
    return {"rows": record["data"]["sampled"], "measure": record["measure"], "unit": record["unit"], "of": rows}


def _parts(record: Figures) -> Figures:
    names = ("measure", "whole", "correction")
    worth = {part["name"]: part["above_whole"] for part in record["parts"]}
    return {"rows": record["data"]["evaluated"], **{name: record[name] for name in names}, "above_whole": worth}


def percent(share: float) -> str:
    """Text of a share in 0..1, in per cent."""
    return f"{100 * share:.0f} %"


def sections(figures: Figures) -> Iterator[str]:
    """A heading and a table for each result, except those of parts, which are in the table of the method."""
    for name, result in figures.items():
        if name.endswith(PARTS):
            continue
        yield f"### {plain(name)}"
        yield _degradations(result) if name.endswith(DEGRADED) else _table(result)


def _table(result: Figures) -> str:
    return _by_group(result) if "one_off" in result else _by_age(result)


def _by_age(result: Figures) -> str:
    """Table of MAE and coverage by band, with the other figures in a line below."""
    coverage = result["interval_coverage"]
    bands = [name for name in coverage if name != "all"]
    unit = "ranks" if "rank_accuracy" in result else "years"
    table = markdown_table(
        ["", "all", *bands],
        [
            [f"MAE, {unit}", f"{result['mae']:.2f}", *(f"{result[f'mae {band}']:.1f}" for band in bands)],
            ["coverage of the 90 % interval", *(percent(coverage[band]) for band in ("all", *bands))],
        ],
    )
    return f"{table}\n\n{' '.join(_more(result, unit))}"


def _more(result: Figures, unit: str) -> Iterator[str]:
    share = f"CS(5) {result['cs5']:.1f} %, " if unit == "years" else ""
    yield (
        f"{result['rows']:,} faces; {share}bias {result['bias']:+.1f}, median error "
        f"{result['median_absolute_error']:.1f}, mean interval width {result['interval_width']:.0f} {unit}."
    )
    accepted = result["mae_accepted"]
    if accepted is not None:
        yield f"{percent(result['accepted'])} of the estimates are accepted; their MAE is {accepted:.2f}."
    for by, gap in result.get("gaps", {}).items():
        yield (
            f"The largest gap by {by} is {gap['value']:.1f} {unit} of MAE ({gap['highest']} against {gap['lowest']})."
        )


def _by_group(result: Figures) -> str:
    table = markdown_table(
        ["faces", "right group", "at most one group off", "accepted"],
        [
            [
                f"{result['rows']:,}",
                *(f"{result[name]:.1f} %" for name in ("accuracy", "one_off")),
                percent(result["accepted"]),
            ]
        ],
    )
    return table + "\n\nThe faces have age groups instead of ages."


def _degradations(result: Figures) -> str:
    """Table with one row per degradation; all rows have the same faces."""
    unit = result["unit"]

    def line(name: str, row: Figures) -> list[str]:
        if "error" not in row:
            return [plain(name), str(row["rows"]), *["–"] * 4]
        shares = (percent(row[column]) for column in ("covered", "accepted"))
        return [plain(name), str(row["rows"]), f"{row['error']:.2f}", f"{row['moved']:.2f}", *shares]

    headings = ["", "faces", result["measure"], f"estimate moved, {unit}", "coverage of the 90 % interval", "accepted"]
    return markdown_table(headings, [line(name, row) for name, row in result["of"].items()])
