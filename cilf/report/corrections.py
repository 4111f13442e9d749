"""Conversion of the ages that reviewers have filled in to training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from cilf import schema
from cilf.errors import UsageError
from cilf.labelling.database import Row
from cilf.report.answers import ABOUT, AS_ID, ROUNDED, Answers, read_answers
from cilf.report.queries import OLDEST, Labels
from cilf.storage import Location

_NAMED = 5  # wrong lines that a message names

_GIVEN = f"""
CREATE TABLE given AS
SELECT file, "row", face::INTEGER AS face, model, uri, replace(true_age, ',', '.')::FLOAT AS true_age,
       {AS_ID} AS id, {ABOUT} AS about,
       TRY_CAST(replace("left", ',', '.') AS FLOAT) AS "left", TRY_CAST(replace(top, ',', '.') AS FLOAT) AS top,
       TRY_CAST(replace("right", ',', '.') AS FLOAT) AS "right", TRY_CAST(replace(bottom, ',', '.') AS FLOAT) AS bottom
FROM texts
"""

_LABELLED = """
CREATE TABLE labelled AS
SELECT id, uri, model, run, faces FROM labels
WHERE id IN (SELECT id FROM given) OR uri IN (SELECT uri FROM given WHERE uri IS NOT NULL)
"""

_TOLD = f"""
CREATE TABLE told AS WITH hits AS (
  SELECT given.*, 0 AS apart, l.id AS labelled_id, l.uri AS place, l.model AS of_model, l.run,
         l.faces[given.face] AS found
  FROM given JOIN labelled AS l ON l.id = given.id
  UNION ALL
  SELECT given.*, abs(l.id - given.about), l.id, l.uri, l.model, l.run, l.faces[given.face]
  FROM given JOIN labelled AS l ON l.uri = given.uri AND abs(l.id - given.about) <= {ROUNDED} * abs(given.about)),
one AS (
  SELECT *, ((model IS NULL OR model = of_model) AND found IS NOT NULL) AS same FROM hits
  QUALIFY row_number() OVER (PARTITION BY file, "row" ORDER BY apart, same DESC, run DESC) = 1)
-- If the model's rows are gone, the box in the file identifies the face.
SELECT file, "row", true_age, labelled_id AS id, place AS uri, if(same, found."left", "left") AS "left",
       if(same, found.top, top) AS top, if(same, found."right", "right") AS "right",
       if(same, found.bottom, bottom) AS bottom
FROM one
"""

_OVERLAP = """
CREATE MACRO shared(a1, a2, b1, b2) AS greatest(0, least(a2, b2) - greatest(a1, b1))
"""

# Two answers are about one face if their boxes overlap by at least half of their union.
_LATER = """
CREATE TABLE later AS
SELECT a.file, a."row", b.file AS instead, a.uri, a.true_age AS old, b.true_age AS new
FROM told AS a JOIN told AS b ON a.id = b.id AND (b.file, b."row") > (a.file, a."row")
WHERE 3 * shared(a."left", a."right", b."left", b."right") * shared(a.top, a.bottom, b.top, b.bottom)
  >= (a."right" - a."left") * (a.bottom - a.top) + (b."right" - b."left") * (b.bottom - b.top)
"""

_ROWS = """
SELECT uri, true_age AS age, NULL::VARCHAR AS subject, 'train' AS split, "left", top, "right", bottom
FROM told WHERE isfinite("left" + top + "right" + bottom) AND (file, "row") NOT IN (SELECT (file, "row") FROM later)
ORDER BY uri, "left", top
"""


@dataclass(frozen=True)
class Corrected:
    """The result of converting reviewers' files."""

    rows: pa.Table
    """schema.CORRECTED."""
    without_label: int
    """Number of answers about faces that the labels do not have."""
    conflicts: Sequence[str]
    """Messages about faces whose ages differ between files. The file that was changed last counts."""
    unread: Sequence[str]
    """Spreadsheets next to the files, which have to be saved as CSV first."""


def training_rows(labels: Labels, places: Sequence[Location]) -> Corrected:
    """Convert reviewers' files to training rows.

    Args:
        places: CSV or Parquet files, or folders of them, with the columns `id` and `true_age` (years; empty: not
            reviewed), and optionally `face` (default: 1, the biggest), `model` (default: the model that labelled the
            photograph last), `uri` (identifies the photograph if the id is rounded) and the face's box, `left, top,
            right, bottom` in pixels (identifies the face once the rows of `model` are gone).

    Raises:
        UsageError: a place is not such a file, some of its lines are wrong, which are named, or no age is filled in.
    """
    answers, unread = read_answers(places)
    for each in answers:
        _check(labels, each)
    named = ", ".join(place.url for place in places)
    if not any(len(each.rows) for each in answers):
        raise UsageError(f"--corrections {named}: no true_age is filled in")
    labels.give("texts", pa.concat_tables(_numbered(number, each) for number, each in enumerate(answers)))
    for statement in (_GIVEN, _LABELLED, _TOLD, _OVERLAP, _LATER):
        labels.run(statement)
    rows = schema.conform(labels.table(_ROWS), schema.CORRECTED)
    return Corrected(rows, _without_label(labels), _conflicts(labels, answers), unread)


def _numbered(number: int, answers: Answers) -> pa.Table:
    """The table `texts` of one file. Without a column `face`, its answers are about the biggest faces."""
    table = answers.rows.append_column("file", pa.repeat(pa.scalar(number, pa.int64()), len(answers.rows)))
    if "face" in answers.columns:
        return table
    return table.set_column(table.column_names.index("face"), "face", pa.repeat("1", len(table)))


def _check(labels: Labels, answers: Answers) -> None:
    """Refuse rows that are not valid answers.

    Raises:
        UsageError: a row is wrong, or a face has two ages.
    """
    labels.give("texts", _numbered(0, answers))
    wrong = labels.rows(
        f"""SELECT "row", id, face, true_age, id_fits, face_fits FROM (
          SELECT *, {AS_ID} IS NOT NULL
            OR (uri IS NOT NULL AND {ABOUT} IS NOT NULL) AS id_fits,
            coalesce(TRY_CAST(face AS INTEGER) >= 1, false) AS face_fits,
            coalesce(TRY_CAST(replace(true_age, ',', '.') AS FLOAT) BETWEEN 0 AND {OLDEST}, false) AS age_fits
          FROM texts)
        WHERE NOT (id_fits AND face_fits AND age_fits) ORDER BY "row" """
    )
    if wrong:
        named = "; ".join(_problem(row) for row in wrong[:_NAMED])
        more = f"; and {len(wrong) - _NAMED:,} more" if len(wrong) > _NAMED else ""
        raise UsageError(f"--corrections {answers.file.url}: {named}{more}")
    twice = labels.rows(
        """SELECT id, face, list(DISTINCT age ORDER BY age) AS ages
        FROM (SELECT id, face, model, uri, replace(true_age, ',', '.')::FLOAT AS age FROM texts)
        GROUP BY id, face, model, uri HAVING len(ages) > 1 LIMIT 1"""
    )
    if twice:
        ages = " and ".join(f"{age:g}" for age in twice[0]["ages"][:2])
        raise UsageError(
            f"--corrections {answers.file.url}: face {twice[0]['face']} of id {twice[0]['id']} has two ages, {ages}"
        )


def _problem(row: Row) -> str:
    line = f"row {row['row']}"
    if not row["id_fits"]:
        advice = "a spreadsheet may have rounded it; import the column id as text"
        return f"{line}: id {_cut(row['id'])!r} is not a 64-bit integer ({advice})"
    if not row["face_fits"]:
        return f"{line}: face {_cut(row['face'])!r} is not a number from 1"
    return f"{line}: true_age {_cut(row['true_age'])!r} is not an age between 0 and {OLDEST} years"


def _cut(text: str | None) -> str:
    return (text or "")[:40]


def _without_label(labels: Labels) -> int:
    found = labels.rows(
        """SELECT count(*) AS n FROM (SELECT DISTINCT id, about, face, uri FROM given WHERE (file, "row") NOT IN (
          SELECT (file, "row") FROM told WHERE isfinite("left" + top + "right" + bottom)))"""
    )
    return int(found[0]["n"])


def _conflicts(labels: Labels, answers: Sequence[Answers]) -> list[str]:
    found = labels.rows(
        """SELECT file, uri, old, new, max(instead) AS instead FROM later WHERE old <> new
        GROUP BY ALL ORDER BY uri, file"""
    )
    return [
        f"{row['uri']}: {row['old']:g} in {answers[row['file']].file.url}, {row['new']:g} in {_later(row, answers)}"
        for row in found
    ]


def _later(row: Row, answers: Sequence[Answers]) -> str:
    if row["instead"] == row["file"]:
        return "a later row"
    return f"{answers[row['instead']].file.url}, which was changed last"
