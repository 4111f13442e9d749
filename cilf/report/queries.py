"""SQL queries of the page over the labels. Rows stay in the database; Python only gets sums.

The labels are read twice, once by object and once by face, into two small tables of sums. All figures over time, by
model or by age come from these; failures, slices and the review queue each read the labels once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from cilf import schema
from cilf.errors import UsageError
from cilf.labelling.database import Database, Row, open_database
from cilf.storage import Location

BINS_PER_YEAR = 2
OLDEST = 125
"""Oldest age in years; older estimates count in the last bin."""

_EXAMPLES = 3
_SHORT = 300  # most characters of a text that was not written by CILF

_OBJECTS = """
CREATE TABLE objects AS
SELECT model, run, status, count(*) AS objects, coalesce(sum(bytes), 0)::DOUBLE AS bytes
FROM labels GROUP BY ALL
"""

_FACES = f"""
CREATE TABLE faces AS
SELECT model, run, least(greatest(floor(face.age * {BINS_PER_YEAR}), 0), {BINS_PER_YEAR * OLDEST - 1})::SMALLINT AS bin,
       count(*) AS faces, sum(face.age) AS age, count(*) FILTER (face.accepted) AS accepted,
       count(*) FILTER (face.corrections > 0) AS corrected, sum(face.expected_error) AS expected_error,
       sum(face.age_high - face.age_low) AS width
FROM (SELECT model, run, unnest(faces) AS face FROM labels)
WHERE isfinite(face.age + face.age_low + face.age_high + face.expected_error)
GROUP BY ALL
"""

_MEANS = """
sum(faces)::BIGINT AS faces, sum(age) / sum(faces) AS age, sum(accepted) / sum(faces) AS accepted,
sum(corrected) / sum(faces) AS corrected, sum(expected_error) / sum(faces) AS expected_error,
sum(width) / sum(faces) AS width
"""

_COUNTS = """
sum(objects)::BIGINT AS objects, coalesce(sum(objects) FILTER (status = 'ok'), 0)::BIGINT AS ok,
coalesce(sum(objects) FILTER (status = 'no_face'), 0)::BIGINT AS no_face,
coalesce(sum(objects) FILTER (status NOT IN ('ok', 'no_face')), 0)::BIGINT AS failed,
sum(bytes) AS bytes
"""


class Labels(Database):
    """The labels of one OUTPUT as the table `labels`, with a column `model`, and their sums."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        super().__init__(connection)
        found = self.rows("DESCRIBE labels")
        columns = [row["column_name"] for row in found]
        missing = [name for name in schema.LABELS.names if name not in columns]
        if missing:
            raise UsageError(
                f"the files under OUTPUT/labels have no column {', '.join(missing)} (columns: {', '.join(columns)}): "
                "they are not labels, or were written by another version of CILF"
            )
        self.has_thumbnails = schema.THUMBNAILS.name in columns
        known = {*schema.LABELS.names, schema.THUMBNAILS.name, schema.FILE, "model"}
        self.own = [name for name in columns if name not in known]
        """Columns carried through from the user's manifest."""

    def sum_up(self) -> None:
        """Create the tables of sums, in the two passes over the labels."""
        self.run(_OBJECTS)
        self.run(_FACES)

    def statuses(self, model: str | None = None, since: str = "") -> list[Row]:
        """`status` and `objects` of one model or of all, in the runs from `since` on; most frequent first."""
        return self.rows(
            """SELECT status, sum(objects)::BIGINT AS objects FROM objects
            WHERE run >= ? AND model = coalesce(?, model) GROUP BY 1 ORDER BY 2 DESC, 1""",
            since,
            model,
        )

    def by(self, key: str) -> list[Row]:
        """Counts and means per `run` or `model`, in the order of the newest run of each; means are null if there are no
        faces."""
        return self.rows(
            f"""SELECT * FROM
            (SELECT {key}, max(run) AS newest, max(model) AS of_model, {_COUNTS} FROM objects GROUP BY {key})
            LEFT JOIN (SELECT {key}, {_MEANS} FROM faces GROUP BY {key}) USING ({key}) ORDER BY newest, {key}"""
        )

    def ages(self, model: str, runs: Sequence[str] | None = None) -> list[int]:
        """Number of faces per age bin, BINS_PER_YEAR per year from 0 to OLDEST, in some or all runs of a model."""
        wanted = "" if runs is None else "AND run IN (SELECT unnest(?::VARCHAR[]))"
        found = self.rows(
            f"SELECT bin, sum(faces)::BIGINT AS faces FROM faces WHERE model = ? {wanted} GROUP BY 1",
            *([model] if runs is None else [model, list(runs)]),
        )
        counts = [0] * (BINS_PER_YEAR * OLDEST)
        for row in found:
            counts[row["bin"]] = row["faces"]
        return counts

    def failures(self, model: str, newest: Sequence[str], at_most: int) -> list[Row]:
        """The objects without an age from a model, by `status` and `reason`, whose numbers are left out: the number of
        `objects`, how many of them are in the runs `newest`, and `examples`, a few URIs. Most frequent first."""
        return self.rows(
            f"""SELECT status, regexp_replace(left(reason, {_SHORT}), '[0-9]+', '…', 'g') AS reason,
            count(*) AS objects, count(*) FILTER (list_contains(?::VARCHAR[], run)) AS newest,
            min(uri, {_EXAMPLES}) AS examples
            FROM labels WHERE status <> 'ok' AND model = ? GROUP BY 1, 2 ORDER BY objects DESC, 1, 2 LIMIT ?""",
            list(newest),
            model,
            at_most,
        )

    def check_own(self, column: str) -> None:
        """Make sure that a column is a user column.

        Raises:
            UsageError: there is no such column.
        """
        if column not in self.own:
            carried = ", ".join(self.own) or "none"
            raise UsageError(f"--slice {column}: the labels have no such column (columns of your own: {carried})")

    def slices(self, column: str, model: str, at_most: int) -> tuple[list[Row], int]:
        """Counts and means of a model for those values of a user column that have the most objects, and the number of
        all values."""
        value = f"""left(CAST("{column.replace('"', '""')}" AS VARCHAR), {_SHORT})"""
        self.run(
            f"""CREATE OR REPLACE TABLE slices AS SELECT {value} AS value, status, count(*) AS objects,
            coalesce(sum(bytes), 0)::DOUBLE AS bytes
            FROM labels WHERE model = ? GROUP BY 1, 2""",
            model,
        )
        largest = f"SELECT value, {_COUNTS} FROM slices GROUP BY 1 ORDER BY objects DESC, value LIMIT {at_most}"
        found = self.rows(
            f"""WITH largest AS ({largest}), means AS (
              SELECT value, count(*) AS faces, avg(face.age) AS age, avg(face.accepted::INT) AS accepted,
                     avg(face.expected_error) AS expected_error, avg(face.age_high - face.age_low) AS width
              FROM (SELECT {value} AS value, unnest(faces) AS face FROM labels WHERE model = ?)
              WHERE isfinite(face.age + face.age_low + face.age_high + face.expected_error)
                AND (value IN (SELECT value FROM largest) OR value IS NULL)
              GROUP BY 1)
            SELECT largest.*, means.* EXCLUDE value
            FROM largest LEFT JOIN means ON largest.value IS NOT DISTINCT FROM means.value
            ORDER BY objects DESC, largest.value""",
            model,
        )
        return found, self.rows("SELECT count(*) AS n FROM (SELECT DISTINCT value FROM slices)")[0]["n"]


@contextmanager
def open_labels(output: Location) -> Iterator[Labels]:
    """Open the labels below `output` for the duration of the context. At first, only their columns are read.

    Raises:
        UsageError: there are no labels.
        JobError: a file is not a Parquet file.
    """
    with open_database(output) as database:
        yield Labels(database.connection)
