"""Tables of a leave-one-person-out evaluation: a compact one for the terminal, and Markdown for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Record = Mapping[str, Any]

NAMES = {
    "as_it_is": "the model as it is",
    "cilf_ciae": "CILF-CIAE",
    "cilf_ciae, corrected": "CILF-CIAE, corrected",
    "regression": "Regression (L1)",
    "dex": "DEX",
    "label_distribution": "DEX, label distribution",
    "mean_variance": "Mean-variance",
    "mean_residue": "Mean-residue (AMR)",
    "coral": "CORAL",
    "corn": "CORN",
    "regression_forest": "Regression forest",
}


def terminal(record: Record) -> RenderableType:
    """The figures of every system within 80 columns, and the notes."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True)
    for heading in ("MAE\nyears", "95 %", "CS(5)\n%", "per person\nmean ± std", "bias\nyears", "to CILF-\nCIAE"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in record["systems"]:
        mae, against = row["mae"], row.get("against")
        table.add_row(
            Text(NAMES[row["system"]]),
            f"{mae['value']:.2f}",
            _range(mae),
            f"{row['cs5']['value']:.1f}",
            _by_person(row),
            f"{row['bias']['value']:+.2f}",
            "" if against is None else f"{against['value']:+.2f}",
        )
    return Group(Text(_title(record)), table, *(Text(line) for line in _notes(record)))


def markdown(record: Record) -> str:
    """All figures, with notes and an explanation of how they were computed."""
    parts = [f"# Leave one person out: heads on frozen features of {record['model']}", *_notes(record)]
    headings = ["system", "MAE, years", "CS(5), %", "per person, mean ± std", "bias", "MAE against CILF-CIAE"]
    rows = [
        [
            NAMES[row["system"]],
            _with(row["mae"]),
            _with(row["cs5"], 1),
            _by_person(row),
            f"{row['bias']['value']:+.2f}",
            _with(row["against"], sign="+") if "against" in row else "",
        ]
        for row in record["systems"]
    ]
    parts.append(_table(headings, rows))
    judged = [row for row in record["systems"] if "coverage" in row]
    corrected = any(row["system"] != "as_it_is" for row in judged)
    parts.append(_EXPLAINED.format(correction=" and the correction" if corrected else ""))
    bands = record["systems"][0]["by_age"]
    by_age = [
        [NAMES[row["system"]], *(f"{row['by_age'][band]['mae']:.2f}" for band in bands)] for row in record["systems"]
    ]
    sizes = [f"{band} ({found['photographs']:,})" for band, found in bands.items()]
    parts += ["## MAE by age (photographs)", _table(["system", *sizes], by_age)]
    if judged:
        cells = [
            [NAMES[row["system"]], *(_with(row[name], 1) for name in ("coverage", "width", "accepted"))]
            for row in judged
        ]
        heads = ["system", "truth inside the 90 % interval, %", "width, years", "accepted, %"]
        parts += ["## Intervals and acceptance", _table(heads, cells)]
    if corrected:
        parts.append(_JUDGED)
    rates = list(record["rates"][0]["mae_by_rate"])
    cells = [
        [f"{NAMES[tried['system']]}, half {tried['half']}", *(_mae(mae) for mae in tried["mae_by_rate"].values())]
        for tried in record["rates"]
    ]
    parts += ["## MAE in the other half by learning rate (lowest used)", _table(["tested half", *rates], cells)]
    return "\n\n".join(parts) + "\n"


_EXPLAINED = (
    "The image tower, the prompts' vectors, the score map and the FourierFormer are frozen; all systems get the same "
    "numbers for each face: the FourierFormer's pooled output and the mean of the score map. The layers after them are "
    "fitted for each left-out person on all others: for CILF-CIAE the matching layer, the age posterior{correction}, "
    "for the other systems one hidden layer of the same width and their head. All have the same epochs, optimiser, "
    "batches and augmented views. The learning rate for each half of the people is chosen by cross-validation within "
    "the other half, so never by a tested person. So the table compares heads and losses, not whole systems. "
    "CORAL's biases start at the log-odds of the training ages. Nothing was fitted for the model as it is."
)

_JUDGED = (
    "CILF-CIAE's correction is fitted on out-of-fold predictions for the people in the training set. As these are few, "
    "each photograph counts as a separate person in the fit; this table shows how far the correction's guarantees hold "
    "for strangers."
)


def _mae(mae: float | None) -> str:
    return "diverged" if mae is None else f"{mae:.2f}"


def _title(record: Record) -> str:
    return f"Leave one person out: {record['photographs']:,} photographs of {record['people']:,} people"


def _notes(record: Record) -> list[str]:
    """Notes for the reader, a paragraph each."""
    boot, run = record["bootstrap"], record["run"]
    return [
        record["leakage"]["told"],
        f"95 % bootstrap intervals over people ({boot['resamples']:,} resamples). MAE and CS(5) are pooled over all "
        f"{record['photographs']:,} photographs of {record['people']:,} people, without rounding the estimates.",
        f"In {record['without_a_face']:,} photographs no face was found, and the whole image was used; in "
        f"{record['with_several_faces']:,} there were several faces, and the biggest one was used.",
        f"The model was trained on: {record['learned_from']} The leakage above does not count left-out people who may "
        "be among those faces.",
        f"{run['seconds'] / 60:.1f} minutes on {run['cpus']:g} CPUs for {run['fits_done']:,} of "
        f"{run['fits_done'] + run['fits_found']:,} fits, one for each system and left-out person"
        + ("; the other fits are from earlier runs." if run["fits_found"] else "."),
    ]


def _by_person(row: Record) -> str:
    return f"{row['by_person']['mean']:.2f} ± {row['by_person']['std']:.2f}"


def _range(figure: Record, digits: int = 2, sign: str = "") -> str:
    if figure["low"] is None:
        return "–"
    return f"{figure['low']:{sign}.{digits}f}–{figure['high']:{sign}.{digits}f}"


def _with(figure: Record, digits: int = 2, sign: str = "") -> str:
    value = f"{figure['value']:{sign}.{digits}f}"
    if figure["low"] is None:
        return value
    return f"{value} [{figure['low']:{sign}.{digits}f}, {figure['high']:{sign}.{digits}f}]"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
