"""Tables of an evaluation by age or by rank, for the terminal and as Markdown for a model card."""

from __future__ import annotations

from rich.console import RenderableType

from cilf.evaluation.layout import SHARES, Record, document, ends, markdown_table, percent, shown, with_ends


def terminal(record: Record) -> RenderableType:
    """Figures of all rows and by band, gender and race within 80 columns, with notes below."""
    unit, share = record["unit"], SHARES[record["unit"]]
    columns = (
        f"MAE\n{unit}",
        "95 %",
        f"{share.heading}\n%",
        f"median\n{unit}",
        f"bias\n{unit}",
        "in 90 %",
        f"width\n{unit}",
    )
    return shown(record, columns, lambda row: _cells(row, share.name), _notes(record))


def _cells(row: Record, share: str) -> list[str]:
    return [
        f"{row['mae']['value']:.2f}",
        ends(row["mae"]),
        f"{row[share]['value']:.1f}",
        f"{row['median_absolute_error']['value']:.2f}",
        f"{row['bias']['value']:+.2f}",
        f"{row['coverage']['value']:.1%}",
        f"{row['width']['value']:.1f}",
    ]


def _notes(record: Record) -> list[str]:
    """Notes below the table, one line each."""
    everyone, risk, figures, unit = (record[name] for name in ("all", "risk_coverage", "figures", "unit"))
    first = everyone["mae_before_correction"]
    lines = [f"First estimate: MAE {with_ends(first)}; corrected {everyone['corrected']['value']:.1%} of rows."]
    if meaning := SHARES[unit].meaning:
        lines.append(meaning)
    if record["epsilon_error"]:
        lines.append(f"ε-error {with_ends(record['epsilon_error'], digits=3)} {_over(record)}.")
    if record["macro_mae"]:
        lines.append(f"Mean over {over_groups(record)}: MAE {with_ends(record['macro_mae'])}.")
    for by, gap in record["gaps"].items():
        pair = f"{gap['highest']} against {gap['lowest']}"
        lines.append(f"Largest gap by {by}: {pair}, {with_ends(gap)} {unit} of MAE.")
    accepted, left = everyone["accepted"]["value"], figures["mae_accepted"]
    lines.append(f"Accepted by the model: {accepted:.1%} of rows" + (f", MAE {left:.2f}." if left is not None else "."))
    lines.append(
        f"Risk-coverage: AURC {risk['aurc']:.2f} {unit} (random order {everyone['mae']['value']:.2f}, "
        f"oracle {risk['aurc_oracle']:.2f})."
    )
    lines.append(f"Expected error is off by {record['reliability']['calibration_error']:.2f} {unit} (ECE, 10 bins).")
    return lines


def _over(record: Record) -> str:
    """The rows that an ε-error is measured on."""
    epsilon = record["epsilon_error"]
    return f"over {epsilon['rows']:,} rows, {epsilon['unsure']:,} of which have a deviation below half a year"


def markdown(record: Record) -> str:
    """All tables as Markdown. Every figure of a group has its interval."""
    everyone, risk, unit = record["all"], record["risk_coverage"], record["unit"]
    accepted, share = risk["accepted"], SHARES[unit]
    facts = [["MAE of the first estimate", with_ends(everyone["mae_before_correction"], unit)]]
    if record["epsilon_error"]:
        facts.append([f"ε-error, {_over(record)}", with_ends(record["epsilon_error"], digits=3)])
    if record["macro_mae"]:
        facts.append([f"MAE, mean over {over_groups(record)}", with_ends(record["macro_mae"], unit)])
    for by, gap in record["gaps"].items():
        facts.append(
            [f"Largest gap by {by}: {gap['highest']} against {gap['lowest']}", with_ends(gap, f"{unit} of MAE")]
        )
    facts += [["Rows corrected", percent(everyone["corrected"])], ["Rows accepted", percent(everyone["accepted"])]]
    if accepted and accepted["mae"]:
        facts.append(["MAE of accepted rows", with_ends(accepted["mae"], unit)])
    facts += [
        ["AURC, area under the risk-coverage curve", f"{risk['aurc']:.2f} {unit}"],
        ["AURC of an oracle that knows every error", f"{risk['aurc_oracle']:.2f} {unit}"],
        ["Expected calibration error", f"{record['reliability']['calibration_error']:.2f} {unit}"],
    ]
    bins = [
        [str(b["rows"]), f"{b['expected_error']['value']:.2f}", with_ends(b["mae"])]
        for b in record["reliability"]["bins"]
    ]
    reliability = ["## Reliability of the expected error", markdown_table(["rows", "expected error", "MAE"], bins)]
    headings = ("MAE", f"{share.heading}, %", "median error", "bias", "in 90 % interval", "interval width")
    errors = f"Errors in {unit}. {share.meaning}".strip()
    return document(record, errors, headings, lambda row: _full(row, share.name), facts, reliability)


def over_groups(record: Record) -> str:
    """The groups that the macro MAE is a mean over."""
    macro = record["macro_mae"]
    name = "decades" if "decades" in macro else "ranks"
    shown, there = len(macro[name]), macro["of"]
    few = f" (the others have fewer than {record['smallest_group']} rows)" * (shown < there)
    return f"{shown} of {there} {name}{few}, with equal weights"


def _full(row: Record, share: str) -> list[str]:
    return [
        with_ends(row["mae"]),
        with_ends(row[share], digits=1),
        with_ends(row["median_absolute_error"]),
        with_ends(row["bias"], sign="+"),
        percent(row["coverage"]),
        with_ends(row["width"], digits=1),
    ]
