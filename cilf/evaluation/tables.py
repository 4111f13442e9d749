"""An evaluation by age, in years, for readers: for the terminal, and as Markdown for a model card."""

from __future__ import annotations

from rich.console import RenderableType

from cilf.evaluation.layout import Record, document, ends, markdown_table, percent, shown, with_ends

_COLUMNS = ("MAE\nyears", "95 %", "CS(5)\n%", "median\nyears", "bias\nyears", "in 90 %", "width\nyears")
_HEADINGS = ("MAE", "CS(5), %", "median error", "bias", "in 90 % interval", "interval width")


def terminal(record: Record) -> RenderableType:
    """Figures of all rows, age bands, gender and race within 80 columns, and what else a user must know."""
    return shown(record, _COLUMNS, _cells, _notes(record))


def _cells(row: Record) -> list[str]:
    return [
        f"{row['mae']['value']:.2f}",
        ends(row["mae"]),
        f"{row['cs5']['value']:.1f}",
        f"{row['median_absolute_error']['value']:.2f}",
        f"{row['bias']['value']:+.2f}",
        f"{row['coverage']['value']:.1%}",
        f"{row['width']['value']:.1f}",
    ]


def _notes(record: Record) -> list[str]:
    """What the table leaves out, a line each."""
    everyone, risk, figures = record["all"], record["risk_coverage"], record["figures"]
    first = everyone["mae_before_correction"]
    lines = [f"First estimate: MAE {with_ends(first)}; corrected {everyone['corrected']['value']:.1%} of rows."]
    if (exact := figures.get("rank_accuracy")) is not None:
        lines.append(f"Accuracy, by the rank nearest to the estimate: {exact:.1%}.")
    if record["epsilon_error"]:
        lines.append(f"ε-error {with_ends(record['epsilon_error'], digits=3)} {_over(record)}.")
    if record["macro_mae"]:
        lines.append(f"Mean over decades, each counting the same: MAE {with_ends(record['macro_mae'])}.")
    for by, gap in record["gaps"].items():
        pair = f"{gap['highest']} against {gap['lowest']}"
        lines.append(f"Largest gap by {by}: {pair}, {with_ends(gap)} years of MAE.")
    accepted, left = everyone["accepted"]["value"], figures["mae_accepted"]
    lines.append(f"Accepted by the model: {accepted:.1%} of rows" + (f", MAE {left:.2f}." if left is not None else "."))
    lines.append(
        f"Risk-coverage: AURC {risk['aurc']:.2f} years (random order {everyone['mae']['value']:.2f}, "
        f"oracle {risk['aurc_oracle']:.2f})."
    )
    lines.append(f"Expected error is off by {record['reliability']['calibration_error']:.2f} years (ECE, 10 bins).")
    return lines


def _over(record: Record) -> str:
    """What an ε-error rests on."""
    epsilon = record["epsilon_error"]
    return f"over {epsilon['rows']:,} rows, {epsilon['unsure']:,} of which have a deviation below half a year"


def markdown(record: Record) -> str:
    """All tables, for a model card or a ticket. Every figure of a group has its interval."""
    everyone, risk, accepted = record["all"], record["risk_coverage"], record["risk_coverage"]["accepted"]
    facts = [["MAE of the first estimate", with_ends(everyone["mae_before_correction"], "years")]]
    if (exact := record["figures"].get("rank_accuracy")) is not None:
        facts.append(["Accuracy, by the rank nearest to the estimate", f"{exact:.1%}"])
    if record["epsilon_error"]:
        facts.append([f"ε-error, {_over(record)}", with_ends(record["epsilon_error"], digits=3)])
    if record["macro_mae"]:
        facts.append(["MAE, mean over decades", with_ends(record["macro_mae"], "years")])
    for by, gap in record["gaps"].items():
        facts.append([f"Largest gap by {by}: {gap['highest']} against {gap['lowest']}", with_ends(gap, "years of MAE")])
    facts += [["Rows corrected", percent(everyone["corrected"])], ["Rows accepted", percent(everyone["accepted"])]]
    if accepted and accepted["mae"]:
        facts.append(["MAE of accepted rows", with_ends(accepted["mae"], "years")])
    facts += [
        ["AURC, area under the risk-coverage curve", f"{risk['aurc']:.2f} years"],
        ["AURC of an oracle that knows every error", f"{risk['aurc_oracle']:.2f} years"],
        ["Expected calibration error", f"{record['reliability']['calibration_error']:.2f} years"],
    ]
    bins = [
        [str(b["rows"]), f"{b['expected_error']['value']:.2f}", with_ends(b["mae"])]
        for b in record["reliability"]["bins"]
    ]
    reliability = ["## Reliability of the expected error", markdown_table(["rows", "expected error", "MAE"], bins)]
    return document(record, "Errors in years.", _HEADINGS, _full, facts, reliability)


def _full(row: Record) -> list[str]:
    return [
        with_ends(row["mae"]),
        with_ends(row["cs5"], digits=1),
        with_ends(row["median_absolute_error"]),
        with_ends(row["bias"], sign="+"),
        percent(row["coverage"]),
        with_ends(row["width"], digits=1),
    ]
