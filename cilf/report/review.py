"""Selection of the faces that a person should review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from cilf.labelling.database import Row
from cilf.report.answers import ABOUT, AS_ID, ROUNDED
from cilf.report.queries import Labels

POOL = 50
"""The queue is drawn from the newest runs that together hold this many faces for each one in the queue."""


@dataclass(frozen=True)
class Rule:
    """A rule by which faces get into the queue."""

    name: str
    meaning: str
    share: float
    """Share of the queue. If a rule finds fewer faces, the other rules fill the rest."""
    applies: str
    """SQL condition over `face`."""
    score: str
    """SQL expression over `face`, `id` and `number`; the highest scores come first."""


RULES = (
    Rule("unsure", "not accepted, largest expected error first", 0.4, "NOT face.accepted", "face.expected_error"),
    Rule("moved", "changed most by correction", 0.2, "face.corrections > 0", "abs(face.age - face.first_age)"),
    Rule("doubtful", "detection score below 0.6: it may not be a face", 0.2, "face.detection < 0.6", "-face.detection"),
    Rule("random", "drawn at random from accepted faces, to find unexpected mistakes", 0.2, "face.accepted",
         "hash(id, number)"),
)  # fmt: skip

_QUEUED = """
SELECT queue.rule, queue.id, queue.number AS face, l.uri, face.age, face.age_low, face.age_high, face.first_age,
       face.expected_error, face.detection, face."left", face.top, face."right", face.bottom, model, l.run,
       NULL::FLOAT AS true_age
FROM (SELECT id, uri, model, run, unnest(faces) AS face, generate_subscripts(faces, 1) AS number
      FROM labels WHERE model = ? AND run >= ? AND id IN (SELECT id FROM queue)) AS l
JOIN queue ON queue.id = l.id AND queue.number = l.number
-- While a compaction replaces files, there may be two copies of a row.
QUALIFY row_number() OVER (PARTITION BY l.id, l.number ORDER BY l.run DESC) = 1
ORDER BY queue.place, queue.rule, face.age
"""


# Faces are found as in cilf.report.corrections: by the id, or by the photograph if a spreadsheet has rounded the id.
_ANSWERED = f"""
CREATE TABLE answered AS
WITH given AS (
  SELECT {AS_ID} AS id, {ABOUT} AS about, coalesce(TRY_CAST(face AS INTEGER), if(face IS NULL, 1, NULL)) AS number, uri
  FROM answers),
newest AS (SELECT id, uri FROM labels WHERE model = ? AND run >= ?)
SELECT id, number FROM given
UNION
SELECT newest.id, number FROM (SELECT * FROM given ANTI JOIN newest USING (id)) AS given
JOIN newest ON newest.uri = given.uri AND abs(newest.id - about) <= {ROUNDED} * abs(about)
"""


def queue(labels: Labels, model: str, length: int, answers: pa.Table) -> pa.Table:
    """The faces of a model most worth a look: `rule` (the one of RULES that found the face), `id`, `face` (its number
    among the row's faces, from 1), its columns in the labels, and an empty `true_age`. Faces in `answers`, see
    cilf.report.answers.answered, are left out."""
    labels.give("answers", answers)
    since = _since(labels, model, length)
    labels.run(_ANSWERED, model, since)
    found = ", ".join(
        f"max_by({{'id': id, 'number': number}}, {rule.score}, {length}) FILTER ({rule.applies}) AS {rule.name}"
        for rule in RULES
    )
    labels.run(
        f"""CREATE TABLE candidates AS SELECT {found} FROM
        (SELECT id, unnest(faces) AS face, generate_subscripts(faces, 1) AS number
         FROM labels WHERE model = ? AND run >= ?)
        ANTI JOIN answered USING (id, number)""",
        model,
        since,
    )
    # A face counts for the first rule that finds it. Dividing places by shares interleaves the rules.
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
    """The oldest of the newest runs that together have enough faces to choose from."""
    found = labels.rows(
        """SELECT run FROM (SELECT run, sum(faces) AS faces FROM faces WHERE model = ? GROUP BY run)
        QUALIFY coalesce(sum(faces) OVER (ORDER BY run DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) < ?
        ORDER BY run LIMIT 1""",
        model,
        POOL * length,
    )
    return found[0]["run"] if found else ""


def thumbnails(labels: Labels, faces: Sequence[Row], model: str) -> dict[tuple[int, int], bytes]:
    """The stored crops of some faces of the queue: JPEG files by id and number; empty if none are stored."""
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
