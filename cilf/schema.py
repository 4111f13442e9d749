"""The Arrow schemas of everything CILF reads and writes. Every stage casts to one of them.

Explicit types are necessary: a block whose rows all failed would otherwise have columns of type null, which do not
unify with those of other blocks.
"""

from __future__ import annotations

import pyarrow as pa

VERSION = 2
"""Bump this when a column changes its meaning or type; stored in the metadata of every label file."""

STATUSES = ("ok", "no_face", "unreadable", "too_large", "missing", "unavailable", "crashed")

BROKEN = "broken"
"""Status, between the stages, of rows whose stage itself failed. They are never written: the run stops with their
reason. An exception in our own code or from the machine would recur for every object; only the death of a process is
blamed on an object."""

MANIFEST = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
    ]
)
"""One row per version of an object: what is to be labelled."""

BOX = pa.struct([(name, pa.float32()) for name in ("left", "top", "right", "bottom", "detection")])
"""Bounding box of a face, pixels of the upright image, and the confidence of its detection, 0..1."""

FACE = pa.struct(
    [
        *BOX,
        pa.field("age", pa.float32()),
        pa.field("age_low", pa.float32()),
        pa.field("age_high", pa.float32()),
        pa.field("first_age", pa.float32()),
        pa.field("expected_error", pa.float32()),
        pa.field("corrections", pa.int32()),
        pa.field("accepted", pa.bool_()),
    ]
)
"""A bounding box and the model's estimates for it, in years."""

_IDENTITY = [MANIFEST.field(name) for name in ("id", "uri", "etag", "bytes")]
_OUTCOME = [
    pa.field("reason", pa.string()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("face_count", pa.int32()),
]
_STATUS = pa.field("status", pa.string(), nullable=False)

_SECONDS = [pa.field(f"{stage}_s", pa.float32()) for stage in ("fetch", "decode", "model")]

FETCHED = pa.schema(
    [
        *_IDENTITY,
        _STATUS,
        *_OUTCOME,
        pa.field("boxes", pa.list_(BOX)),
        # The faces of one image, concatenated, each S*S*C uint8 (RGB, row-major); empty without faces.
        pa.field("crops", pa.large_binary()),
        *_SECONDS[:2],
    ]
)
"""Rows between the fetch stage and the model."""

_BATCH_SIZE = pa.field("batch_size", pa.int32())

JUDGED = pa.schema([*_IDENTITY, _STATUS, *_OUTCOME, pa.field("faces", pa.list_(FACE)), *_SECONDS, _BATCH_SIZE])
"""Rows between the model and the sink, with the seconds that each stage spent on the row, and the number of crops per
batch of the model."""

LABELS = pa.schema(
    [
        *_IDENTITY,
        pa.field("status", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        *_OUTCOME,
        pa.field("faces", pa.list_(FACE)),
        pa.field("run", pa.string(), nullable=False),
        pa.field("labelled_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ],
    metadata={"cilf_schema": str(VERSION)},
)
"""One row per labelled object. The model's fingerprint is the partition, `model=…`, not a column of the file."""

THUMBNAILS = pa.field("thumbnails", pa.list_(pa.binary()))
"""An optional column of the labels: the crops of a row's faces as JPEG files, in the order of `faces`."""

CORRECTED = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("age", pa.float32(), nullable=False),
        pa.field("subject", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        *(field for field in BOX if field.name != "detection"),
    ]
)
"""Training rows: faces whose age a reviewer has given, with the box in pixels of the upright image."""

COUNTS = pa.schema(
    [
        ("status", pa.string()),
        ("objects", pa.int64()),
        ("bytes", pa.int64()),
        *((field.name, pa.float64()) for field in _SECONDS),
        _BATCH_SIZE,
        ("reason", pa.string()),
    ]
)
"""The sink's report on each block that it has committed: sums by status, and one reason of the BROKEN rows."""

FILE = "cilf_file"
"""The column that names the file of a row, in cilf.labelling.database's view of the labels."""

RESERVED = frozenset(
    {*LABELS.names, *FETCHED.names, *JUDGED.names, "model", THUMBNAILS.name, FILE} - set(MANIFEST.names)
)
"""Names, in lower case, that a column carried through from a user's manifest may not have, whatever its case."""


def carried(table_schema: pa.Schema) -> list[pa.Field]:
    """The user's own fields of a manifest, which are carried through to the labels."""
    return [field for field in table_schema if field.name not in MANIFEST.names]


def extend(schema: pa.Schema, fields: list[pa.Field]) -> pa.Schema:
    """`schema` followed by the user's own fields."""
    return pa.schema([*schema, *fields], metadata=schema.metadata)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with exactly the columns of `schema`, in its order and types.

    Raises:
        KeyError: a column is missing.
        pyarrow.ArrowInvalid: a value does not fit its type.
    """
    return table.select(schema.names).cast(schema)
