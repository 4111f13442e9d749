"""The Arrow schemas of everything CILF reads and writes. Every stage casts to one of them.

Explicit types are not decoration: a block whose rows all failed would otherwise carry columns of type null,
which do not unify with those of its neighbours.
"""

from __future__ import annotations

import pyarrow as pa

VERSION = 2
"""Raised when a column changes its meaning or type; stored in the metadata of every label file."""

STATUSES = ("ok", "no_face", "unreadable", "too_large", "missing", "unavailable", "crashed")

BROKEN = "broken"
"""Status of rows between the stages whose stage itself failed. They are never written: the run stops with their reason.
An exception of our own code or of the machine would come back for every object; only a dead process is an object's
fault."""

MANIFEST = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
    ]
)
"""One row per object and object version: what there is to label."""

BOX = pa.struct([(name, pa.float32()) for name in ("left", "top", "right", "bottom", "detection")])
"""Where a face is, pixels of the upright image, and how sure its detection is, 0..1."""

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
"""A box and what the model says about it, in years."""

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
        # Faces of one image one after another, each S*S*C uint8 (RGB, rows first); empty without faces.
        pa.field("crops", pa.large_binary()),
        *_SECONDS[:2],
    ]
)
"""Between the fetch stage and the model."""

_BATCH_SIZE = pa.field("batch_size", pa.int32())

JUDGED = pa.schema([*_IDENTITY, _STATUS, *_OUTCOME, pa.field("faces", pa.list_(FACE)), *_SECONDS, _BATCH_SIZE])
"""Between the model and the sink, with the seconds that each stage spent on the row, and how many crops went through
the model at once."""

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
"""On request, beside the labels: the crops of a row's faces as JPEG files, in the order of `faces`."""

CORRECTED = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("age", pa.float32(), nullable=False),
        pa.field("subject", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        *(field for field in BOX if field.name != "detection"),
    ]
)
"""A face whose age a reviewer has given, as a row to learn from; its box in pixels of the upright image."""

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
"""What the sink reports for each block it has committed: sums by status, and of what is BROKEN one reason."""

FILE = "cilf_file"
"""The column of cilf.labelling.database's view of the labels that names the file of a row."""

RESERVED = frozenset(
    {*LABELS.names, *FETCHED.names, *JUDGED.names, "model", THUMBNAILS.name, FILE} - set(MANIFEST.names)
)
"""Names, in lower case, that a column carried through from a user's manifest may not have in any case."""


def carried(table_schema: pa.Schema) -> list[pa.Field]:
    """The fields of a manifest that are the user's own and go through to the labels."""
    return [field for field in table_schema if field.name not in MANIFEST.names]


def extend(schema: pa.Schema, fields: list[pa.Field]) -> pa.Schema:
    """`schema` with the user's own fields behind it."""
    return pa.schema([*schema, *fields], metadata=schema.metadata)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with exactly the columns of `schema`, in its order and types.

    Raises:
        KeyError: a column is missing.
        pyarrow.ArrowInvalid: a value does not fit its type.
    """
    return table.select(schema.names).cast(schema)
