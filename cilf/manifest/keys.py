"""Keys of objects as S3 writes them in its answers and inventories, and the globs that choose among them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from urllib.parse import unquote_plus

import numpy as np
import pyarrow as pa


def decoded(keys: list[str]) -> list[str]:
    """URL-encoded keys as they are in the bucket. Most hold nothing to decode, and looking is much faster."""
    return [unquote_plus(key) if "%" in key or "+" in key else key for key in keys]


def fitting(table: pa.Table, globs: Sequence[str], below: int) -> pa.Table:
    """The rows whose `uri` fits one of the globs from character `below` on; all of them where there is no glob."""
    if not globs:
        return table
    fits = re.compile("|".join(translate(glob) for glob in globs)).match
    return table.filter(pa.array(np.array([fits(uri, below) is not None for uri in table["uri"].to_pylist()], bool)))
