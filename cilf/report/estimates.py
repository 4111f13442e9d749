"""The sections of the page about ages: now and before, how sure the model is, models and slices side by side."""

from __future__ import annotations

from collections.abc import Sequence

from cilf.labelling.database import Row
from cilf.report.drift import RULE
from cilf.report.night import RUNS, Night
from cilf.report.page import Cell, Section, Table, code, count, cut, share, statistic, words, years
from cilf.report.plots import Plot, Series, dates
from cilf.report.queries import BINS_PER_YEAR

_PLOTTED = 90
"""Oldest age in plots, in years; hardly anybody is older."""
_STEP = 2
"""Years between two points of a plot."""
_MODELS = 4
"""Most models in one plot: so many lines can be distinguished."""

_MEANS = ("faces", "mean age", "accepted", "expected error, years", "interval width, years")


def ages(night: Night) -> Section:
    """The section that compares the newest ages with those before."""
    compared = night.compared
    if compared is None:
        return Section("Ages, now and before", [night.verdict])
    drift, before, newest = compared.drift, len(compared.before), _runs(len(compared.runs))
    lines = [Series(f"newest {newest}, {drift.now:,} faces", _shares(compared.ages))]
    text = [night.verdict]
    tables = []
    if before:
        pooled = [sum(faces) for faces in zip(*compared.before, strict=True)]
        lines.append(Series(f"{_runs(before)} before, {drift.before:,} faces", _shares(pooled)))
        text.append(RULE)
        limit = "chance alone stays below"
        tables.append(
            Table(
                f"{newest.capitalize()} from {cut(compared.runs[0][0])} on against the {_runs(before)} before, "
                f"model {cut(compared.model)}",
                ("statistic", "value", limit),
                [
                    (words("PSI"), statistic(drift.psi), statistic(drift.psi_by_chance)),
                    (words("KS"), statistic(drift.ks), statistic(drift.ks_by_chance)),
                    (words("mean age now minus before, years"), years(drift.shift), years(None)),
                ],
            )
        )
    return Section("Ages, now and before", text, [_histogram("Ages", night.verdict, lines)], tables)


def _runs(number: int) -> str:
    return "run" if number == 1 else f"{number} runs"


def _histogram(title: str, description: str, lines: Sequence[Series]) -> Plot:
    places = [str(age) if age % 10 == 0 else "" for age in range(0, _PLOTTED, _STEP)]
    return Plot(title, description, f"share of faces per {_STEP} years of age, %", places, lines)


def _shares(ages: Sequence[int]) -> list[float]:
    width, total = _STEP * BINS_PER_YEAR, sum(ages) or 1
    return [100 * sum(ages[start : start + width]) / total for start in range(0, _PLOTTED * BINS_PER_YEAR, width)]


def judgement(night: Night) -> Section:
    """The section about acceptance, expected error and intervals over time."""
    shown = [row for row in night.runs if row["faces"]][-RUNS:]
    if not shown:
        return Section("How sure the model is", ["There are no ages."])
    newest, places = shown[-1], dates([row["run"] for row in shown])
    accepted = Plot(
        "Accepted and corrected",
        f"In the newest run {newest['accepted']:.1%} of the faces are accepted and {newest['corrected']:.1%} were "
        "corrected.",
        "share of faces, %",
        places,
        [
            Series("accepted", [100 * row["accepted"] for row in shown]),
            Series("corrected", [100 * row["corrected"] for row in shown]),
        ],
    )
    error = Plot(
        "Expected error and interval",
        f"In the newest run the mean expected error is {newest['expected_error']:.1f} years, and the 90 % interval is "
        f"{newest['width']:.1f} years wide on average.",
        "years, means over faces",
        places,
        [
            Series("width of the 90 % interval", [row["width"] for row in shown]),
            Series("expected error", [row["expected_error"] for row in shown]),
        ],
    )
    table = Table(
        "Estimates by run",
        ("run", "faces", "mean age", "accepted", "corrected", "expected error, years", "interval width, years"),
        [
            (
                code(row["run"]),
                count(row["faces"]),
                years(row["age"]),
                share(row["accepted"]),
                share(row["corrected"]),
                years(row["expected_error"]),
                years(row["width"]),
            )
            for row in reversed(shown)
        ],
    )
    return Section("How sure the model is", plots=[accepted, error], tables=[table])


def models(night: Night) -> Section:
    """The section that compares models, by fingerprint."""
    table = Table(
        "By model, newest first",
        ("fingerprint", "name", "objects", "with ages", *_MEANS, "newest run", "current"),
        [
            (
                code(row["model"]),
                code(night.model_names.get(row["model"])),
                count(row["objects"]),
                share(row["ok"] / row["objects"]),
                *_means(row),
                code(row["newest"]),
                words("yes" if row["model"] == night.current.model else None),
            )
            for row in reversed(night.models)
        ],
        "An object that several models have labelled has one row per model. Readers use those of the current model.",
    )
    plotted = [row["model"] for row in reversed(night.models) if row["faces"]][:_MODELS]
    lines = [Series(cut(model, 24), _shares(night.model_ages[model])) for model in plotted]
    words_of_plot = f"Distributions of the ages that the {len(lines)} newest models gave, side by side."
    plots = [_histogram("Ages by model", words_of_plot, lines)] if len(lines) > 1 else []
    return Section("Models side by side", plots=plots, tables=[table])


def _means(row: Row) -> tuple[Cell, ...]:
    means = (years(row["age"]), share(row["accepted"]), years(row["expected_error"]), years(row["width"]))
    return count(row["faces"] or 0), *means


def by_value(column: str, rows: Sequence[Row], values: int) -> Section:
    """The section with figures by the values of one user column."""
    table = Table(
        f"By {cut(column, 60)}",
        (cut(column, 60), "objects", "with ages", "failed", *_MEANS),
        [
            (
                code(row["value"]),
                count(row["objects"]),
                share(row["ok"] / row["objects"]),
                share(row["failed"] / row["objects"]),
                *_means(row),
            )
            for row in rows
        ],
        f"The {len(rows)} of {values:,} values that have the most objects.",
    )
    return Section(f"By {cut(column, 60)}", tables=[table])
