"""All protocols, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from cilf.errors import UsageError
from cilf.protocols import adience, cacd, clap, fgnet, morph2, random_splits, utkface
from cilf.protocols.folds import Split
from cilf.protocols.lists import Lists


@dataclass(frozen=True)
class Protocol:
    """How to make the folds of a protocol."""

    make: Callable[..., Split]
    """Makes the folds from a table and a seed, and if `listed` also from published lists."""
    datasets: tuple[str, ...] = ()
    """The data sets that the protocol is for; empty: any."""
    listed: bool = False


PROTOCOLS = {
    "adience": Protocol(adience.adience, ("adience",)),
    "cacd": Protocol(cacd.cacd, ("cacd",)),
    "clap": Protocol(clap.clap, ("clap2015", "clap2016")),
    "fgnet-lopo": Protocol(fgnet.fgnet_lopo, ("fgnet",)),
    "morph2-i": Protocol(morph2.setting_i, ("morph2",), listed=True),
    "morph2-ii": Protocol(morph2.setting_ii, ("morph2",), listed=True),
    "morph2-iii": Protocol(morph2.setting_iii, ("morph2",), listed=True),
    "morph2-iv": Protocol(morph2.setting_iv, ("morph2",), listed=True),
    "random-80-20": Protocol(random_splits.random_80_20),
    "subjects-80-20": Protocol(random_splits.subjects_80_20),
    "utkface-21-60": Protocol(utkface.adults, ("utkface",), listed=True),
    "utkface-all": Protocol(utkface.everybody, ("utkface",)),
}


def make_split(name: str, table: pa.Table, seed: int, lists: Lists | None = None) -> Split:
    """Makes the folds of a protocol.

    Args:
        name: one of PROTOCOLS.
        table: rows with the schema cilf.datasets.labels.TABLE.
        seed: seed for every random draw.
        lists: published lists to use instead of a random draw.

    Raises:
        UsageError: the table is of another data set, too small, or lacks a column that the protocol needs; or the
            protocol does not use lists.
    """
    protocol = PROTOCOLS[name]
    datasets = sorted({str(dataset) for dataset in table["dataset"].to_pylist()})
    if len(datasets) != 1 or (protocol.datasets and datasets[0] not in protocol.datasets):
        wanted = " or ".join(protocol.datasets) or "one data set"
        raise UsageError(f"{name} is a protocol of {wanted}, but the table contains {', '.join(datasets) or 'no rows'}")
    if lists is None:
        return protocol.make(table, seed)
    if not protocol.listed:
        raise UsageError(f"{name} does not use lists: omit --lists")
    return protocol.make(table, seed, lists)
