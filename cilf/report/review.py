"""Which faces a person should look at, and what becomes of the ages that the person fills in."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from cilf import schema
from cilf.errors import JobError, UsageError
from cilf.report.queries import OLDEST, Labels, Row
from cilf.storage import Location, write

POOL = 50
"""The queue is drawn from the newest runs that together hold this many faces for each one in the queue."""

_NAMED = 5  # of the lines that are wrong


@dataclass(frozen=True)
class Rule:
    """One way for a face to get into the queue."""

    name: str
    meaning: str
    share: float
    """Of the queue. Where a rule finds fewer, the others fill up."""
    applies: str
    """SQL over `face`."""
    score: str
    """SQL over `face`, `id` and `number`; the highest come first."""


RULES = (
    Rule("unsure", "not accepted, largest expected error first", 0.4, "NOT face.accepted", "face.expected_error"),
    Rule("moved", "moved furthest by correction", 0.2, "face.corrections > 0", "abs(face.age - face.first_age)"),
    Rule("doubtful", "detected with less than 0.6: it may be no face", 0.2, "face.detection < 0.6", "-face.detection"),
    Rule("random", "drawn by lot among accepted faces, for mistakes that nobody suspects", 0.2, "face.accepted",
         "hash(id, number)"),
)  # fmt: skip

_QUEUED = """
SELECT queue.rule, queue.id, queue.number AS face, l.uri, face.age, face.age_low, face.age_high, face.first_age,
       face.expected_error, face.detection, face."left", face.top, face."right", face.bottom, model, l.run,
       NULL::FLOAT AS true_age
FROM (SELECT id, uri, model, run, unnest(faces) AS face, generate_subscripts(faces, 1) AS number
      FROM labels WHERE model = ? AND run >= ? AND id IN (SELECT id FROM queue)) AS l
JOIN queue ON queue.id = l.id AND queue.number = l.number
-- While a compaction replaces files, a row may be there twice.
QUALIFY row_number() OVER (PARTITION BY l.id, l.number ORDER BY l.run DESC) = 1
ORDER BY queue.place, queue.rule, face.age
"""


def queue(labels: Labels, model: str, length: int) -> pa.Table:
    """The faces of a model most worth a look: `rule`, which of RULES has found it, `id`, `face` (its number in the
    row's faces, from 1), what the labels say about it, and an empty `true_age`."""
    since = _since(labels, model, length)
    found = ", ".join(
        f"max_by({{'id': id, 'number': number}}, {rule.score}, {length}) FILTER ({rule.applies}) AS {rule.name}"
        for rule in RULES
    )
    labels.run(
        f"""CREATE TABLE candidates AS SELECT {found} FROM
        (SELECT id, unnest(faces) AS face, generate_subscripts(faces, 1) AS number
         FROM labels WHERE model = ? AND run >= ?)""",
        model,
        since,
    )
    # A face counts for the first rule that finds it. Places divided by shares are what interleaves the rules.
    ranked = " UNION ALL ".join(
        f"""SELECT '{rule.name}' AS rule, {order} AS "order", {rule.share} AS share,
        unnest({rule.name}) AS face, generate_subscripts({rule.name}, 1) AS place FROM candidates"""
        for order, rule in enumerate(RULES)
    )
    labels.run(
        f"""CREATE TABLE queue AS WITH once AS (
          SELECT * FROM ({ranked}) QUALIFY row_number() OVER (PARTITION BY face ORDER BY "order") = 1)
        SELECT rule, face.id AS id, face.number AS number,
               row_number() OVER (PARTITION BY rule ORDER BY place) / share AS place
        FROM once ORDER BY place, rule LIMIT {length}"""
    )
    return labels.table(_QUEUED, model, since)


def _since(labels: Labels, model: str, length: int) -> str:
    """The first of the newest runs that together have faces enough to choose from."""
    found = labels.rows(
        """SELECT run FROM (SELECT run, sum(faces) AS faces FROM faces WHERE model = ? GROUP BY run)
        QUALIFY coalesce(sum(faces) OVER (ORDER BY run DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) < ?
        ORDER BY run LIMIT 1""",
        model,
        POOL * length,
    )
    return found[0]["run"] if found else ""


def thumbnails(labels: Labels, faces: Sequence[Row], model: str) -> dict[tuple[int, int], bytes]:
    """The stored crops of some faces of the queue, JPEG files by id and number; none where none are stored."""
    if not labels.has_thumbnails or not faces:
        return {}
    ids = ", ".join(str(int(face["id"])) for face in faces)
    found = labels.rows(
        f"SELECT id, thumbnails FROM labels WHERE id IN ({ids}) AND model = ? AND run >= ? ORDER BY run",
        model,
        min(face["run"] for face in faces),
    )
    stored = {row["id"]: row["thumbnails"] or [] for row in found}
    there = [(face["id"], face["face"]) for face in faces if len(stored.get(face["id"], ())) >= face["face"]]
    return {(row_id, number): stored[row_id][number - 1] for row_id, number in there}


def export(queued: pa.Table, output: Location) -> None:
    """Write OUTPUT/review.csv and OUTPUT/review.parquet."""
    csv = io.BytesIO()
    pa_csv.write_csv(queued, csv)
    write(output / "review.csv", csv.getvalue())
    write(output / "review.parquet", _parquet(queued))


@dataclass(frozen=True)
class Corrected:
    """What a reviewer's file has come to."""

    rows: pa.Table
    """schema.CORRECTED."""
    without_label: int
    """Ages for faces that the labels do not have."""


def training_rows(labels: Labels, file: Location) -> Corrected:
    """A reviewer's file -> rows to learn from.

    Args:
        file: CSV or Parquet with the columns `id` and `true_age` (years; empty: not looked at), and, where they are
            there, `face` (default: 1, the biggest) and `model` (default: whoever labelled it last).

    Raises:
        UsageError: it is no such file, or some of its lines are wrong; they are named.
    """
    _read(labels, file)
    _check(labels, file)
    found = labels.table(
        """
        SELECT uri, true_age AS age, NULL::VARCHAR AS subject, 'train' AS split,
               face."left", face.top, face."right", face.bottom
        FROM (SELECT l.uri, l.faces[given.face] AS face, given.true_age, given.id, given.face AS number, l.run
              FROM (SELECT DISTINCT id, face, model, true_age FROM given) AS given
              JOIN labels AS l ON l.id = given.id AND l.model = coalesce(given.model, l.model)
              WHERE l.id IN (SELECT id FROM given))
        WHERE face IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY id, number ORDER BY run DESC) = 1
        ORDER BY uri, number
        """
    )
    asked = labels.rows("SELECT count(*) AS n FROM (SELECT DISTINCT id, face FROM given)")[0]["n"]
    return Corrected(schema.conform(found, schema.CORRECTED), asked - len(found))


def save(corrected: Corrected, target: Location) -> None:
    """Write the rows as a Parquet file."""
    write(target, _parquet(corrected.rows))


def _read(labels: Labels, file: Location) -> None:
    """The table `given`, as text, of all lines with an age."""
    kind = file.path.rpartition(".")[2].lower()
    readers = {"csv": "read_csv(?, all_varchar = true, header = true)", "parquet": "read_parquet(?)"}
    if kind not in readers:
        raise UsageError(f"--corrections {file.url}: expected a .csv or .parquet file")
    if not file.fs.exists(file.path):
        raise UsageError(f"--corrections {file.url}: there is no such file")
    try:
        labels.run(f"CREATE TABLE answers AS SELECT * FROM {readers[kind]}", file.url)
    except JobError as error:
        raise UsageError(f"--corrections {file.url} cannot be read: {error.__cause__}") from error
    columns = [row["column_name"] for row in labels.rows("DESCRIBE answers")]
    missing = [name for name in ("id", "true_age") if name not in columns]
    if missing:
        raise UsageError(
            f"--corrections {file.url} has no column {', '.join(missing)} (its columns: {', '.join(columns)}); "
            "expected those of review.csv with true_age filled in"
        )
    face, model = ("face" if "face" in columns else "'1'"), ("model" if "model" in columns else "NULL")
    labels.run(
        f"""CREATE TABLE texts AS SELECT * FROM (
          SELECT row_number() OVER () AS line, trim(CAST(id AS VARCHAR)) AS id, trim(CAST({face} AS VARCHAR)) AS face,
                 nullif(trim(CAST({model} AS VARCHAR)), '') AS model,
                 replace(trim(CAST(true_age AS VARCHAR)), ',', '.') AS true_age FROM answers)
        WHERE true_age <> ''"""
    )


def _check(labels: Labels, file: Location) -> None:
    """The table `given`: id BIGINT, face INT, model, true_age FLOAT, each of them as it may be."""
    wrong = labels.rows(
        f"""SELECT line, id, face, true_age,
          coalesce(regexp_full_match(id, '-?[0-9]+') AND TRY_CAST(id AS BIGINT) IS NOT NULL, false) AS id_fits,
          coalesce(TRY_CAST(face AS INTEGER) >= 1, false) AS face_fits
        FROM texts WHERE NOT id_fits OR NOT face_fits
          OR NOT coalesce(TRY_CAST(true_age AS FLOAT) BETWEEN 0 AND {OLDEST}, false) ORDER BY line"""
    )
    if wrong:
        named = "; ".join(_problem(row) for row in wrong[:_NAMED])
        more = f"; and {len(wrong) - _NAMED:,} more" if len(wrong) > _NAMED else ""
        raise UsageError(f"--corrections {file.url}: {named}{more}")
    labels.run(
        """CREATE TABLE given AS
        SELECT id::BIGINT AS id, face::INTEGER AS face, model, true_age::FLOAT AS true_age FROM texts"""
    )
    if not labels.rows("SELECT 1 FROM given LIMIT 1"):
        raise UsageError(f"--corrections {file.url}: no true_age is filled in")
    twice = labels.rows(
        """SELECT id, face, list(DISTINCT true_age ORDER BY true_age) AS ages FROM given
        GROUP BY ALL HAVING len(ages) > 1 LIMIT 1"""
    )
    if twice:
        ages = " and ".join(f"{age:g}" for age in twice[0]["ages"][:2])
        raise UsageError(
            f"--corrections {file.url}: face {twice[0]['face']} of id {twice[0]['id']} has two ages, {ages}"
        )


def _problem(row: Row) -> str:
    line = f"row {row['line']}"
    if not row["id_fits"]:
        advice = "a spreadsheet may have rounded it; import the column id as text"
        return f"{line}: id {_cut(row['id'])!r} is no 64-bit whole number ({advice})"
    if not row["face_fits"]:
        return f"{line}: face {_cut(row['face'])!r} is no number from 1 on"
    return f"{line}: true_age {_cut(row['true_age'])!r} is no age between 0 and {OLDEST} years"


def _cut(text: str | None) -> str:
    return (text or "")[:40]


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
