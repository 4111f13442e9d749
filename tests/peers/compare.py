"""Compare the speed of CILF with its peers: the same model on the same files, alternately, in separate processes.

    pip install --target runs/peers/daft --requirement tests/peers/requirements.txt
    python tests/peers/compare.py --images 5000 --kinds crops,photographs,s3

Images per second are marginal, computed from runs of two sizes, so that the start of Ray and the loading of libraries
do not count. Their time is the fixed cost in the next column. Nothing else should run on the machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from cyclopts import App
from rich.console import Console

from cilf.bench.machine import Machine, this_machine
from cilf.bench.objects import Corpus, Kind, corpus
from cilf.bench.processes import ALL, sampled
from cilf.bench.tables import Grid, caution, heading
from cilf.bench.timing import Slope, slope
from cilf.config import DEFAULT_MODEL

HERE = Path(__file__).parent
DAFT = HERE.parents[1] / "runs" / "peers" / "daft"
LATENCY_MS = 30


@dataclass(frozen=True)
class Peer:
    """A program that labels a listing, and the kinds of objects that it is measured on."""

    name: str
    command: tuple[str, ...]
    """Arguments of Python, with {listing}, {output} and {model}."""
    kinds: tuple[str, ...]
    rows: str = "."
    """Folder in the output that holds the rows: uri, and age or faces."""
    libraries: Path | None = None
    """Folder of packages that only this peer sees."""


_SCRIPT = ("{listing}", "{output}", "{model}")
_DAFT = (str(HERE / "daft_labelling.py"), *_SCRIPT)

_LABEL = ("-m", "cilf.cli", "label", *_SCRIPT[:2], "--model", "{model}", "--faces", "none")
CILF = Peer("CILF", _LABEL, get_args(Kind), "labels")
PEERS = (
    CILF,
    Peer("Daft", (*_DAFT, "1"), get_args(Kind), libraries=DAFT),
    Peer("Daft, a replica per core", (*_DAFT, str(len(os.sched_getaffinity(0)))), get_args(Kind), libraries=DAFT),
    Peer("Ray Data", (str(HERE / "documented_ray.py"), *_SCRIPT), ("crops", "photographs")),
)


@dataclass(frozen=True)
class Run:
    """One run of one peer."""

    seconds: float
    """Wall time from command to exit."""
    peak_mb: float
    """Peak memory of all its processes together, MB (10⁶ bytes)."""
    ages: dict[str, float]
    """Ages in years by file name."""


@dataclass(frozen=True)
class Measured:
    """Measurements of one peer on one kind of objects."""

    kind: str
    peer: str
    few: int
    many: int
    few_seconds: list[float]
    many_seconds: list[float]
    cost: Slope
    peak_mb: float
    """Median of the larger runs."""
    age_difference: float
    """Median difference from CILF's ages, years; ages differ because decoders give slightly different pixels."""


def main(
    *,
    images: int = 5000,
    kinds: str = "crops,photographs,s3",
    repeats: int = 3,
    output: Path = Path("runs/peers"),
) -> int:
    """Compare CILF with its peers.

    Args:
        images: number of crops in the larger runs; runs on photographs have a fifth, the smaller runs an eighth.
        kinds: kinds of objects, separated by commas: crops (200 x 200 pixels), photographs (12 megapixels), s3
            (crops from a local store that answers after 30 ms).
        repeats: number of runs of each size; results are medians.
        output: folder for peers.json and peers.md.
    """
    asked = kinds.split(",")
    if unknown := set(asked) - set(get_args(Kind)):
        print(f"--kinds {','.join(unknown)}: choose from {', '.join(get_args(Kind))}", file=sys.stderr)
        return 2
    machine = this_machine()
    measured: list[Measured] = []
    for kind in (kind for kind in get_args(Kind) if kind in asked):
        many = images // 5 if kind == "photographs" else images
        with (
            tempfile.TemporaryDirectory(prefix="cilf-peers-") as folder,
            corpus(kind, Path(folder) / "objects", many // 8, many, LATENCY_MS) as made,
        ):
            measured += compare(made, Path(folder), repeats)
    tell(machine, measured, output)
    return 0


def compare(made: Corpus, folder: Path, repeats: int, model: str = DEFAULT_MODEL) -> list[Measured]:
    """Measure all peers on one kind of objects.

    Raises:
        RuntimeError: a peer failed or left out objects.
    """
    peers = [peer for peer in PEERS if made.kind in peer.kinds]
    runs: dict[tuple[str, str], list[Run]] = {}
    for _ in range(repeats):
        for size in ("few", "many"):
            listing = folder / f"{size}.parquet"
            pq.write_table(_listing(made, size), listing)
            for peer in peers:
                Console(stderr=True).print(f"{made.kind}: {peer.name}, {size}", highlight=False)
                runs.setdefault((peer.name, size), []).append(label(peer, listing, made, model))
    reference = runs[CILF.name, "many"][0].ages
    return [_measured(peer, made, runs[peer.name, "few"], runs[peer.name, "many"], reference) for peer in peers]


def _listing(made: Corpus, size: Literal["few", "many"]) -> pa.Table:
    """Listing of the objects to label, with their sizes."""
    files = sorted((made.folder / size).iterdir())
    return pa.table({"uri": made.uris(size), "bytes": [file.stat().st_size for file in files]})


def label(peer: Peer, listing: Path, made: Corpus, model: str) -> Run:
    """Run one peer once.

    Raises:
        RuntimeError: the peer failed or left out objects.
    """
    variables = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | dict(made.environment)
    if peer.libraries:
        variables["PYTHONPATH"] = str(peer.libraries.resolve())
    with tempfile.TemporaryDirectory(dir=listing.parent) as output, tempfile.TemporaryFile("w+") as said:
        command = [part.format(listing=listing, output=output, model=model) for part in peer.command]
        start = time.perf_counter()
        with subprocess.Popen([sys.executable, *command], env=variables, stdout=said, stderr=said) as process:
            with sampled(process.pid) as sampler:
                code = process.wait()
            seconds = time.perf_counter() - start
        if code:
            said.seek(0)
            raise RuntimeError(f"{peer.name} failed:\n{said.read()}")
        ages = _ages(Path(output) / peer.rows)
    missing = pq.read_metadata(listing).num_rows - len(ages)
    if missing:
        raise RuntimeError(f"{peer.name} left out {missing} objects")
    return Run(seconds, sampler.usage()[ALL].peak_mb, ages)


def _ages(folder: Path) -> dict[str, float]:
    """Ages in years by file name, which is the same for all peers."""
    rows = pads.dataset(folder, format="parquet", partitioning=None).to_table()
    if "faces" in rows.column_names:
        rows = rows.append_column("age", pc.struct_field(pc.list_element(rows["faces"], 0), "age"))
    uris, ages = rows["uri"].to_pylist(), rows["age"].to_pylist()
    return {uri.rpartition("/")[2]: age for uri, age in zip(uris, ages, strict=True)}


def _measured(peer: Peer, made: Corpus, few: list[Run], many: list[Run], reference: dict[str, float]) -> Measured:
    few_seconds, many_seconds = [run.seconds for run in few], [run.seconds for run in many]
    return Measured(
        kind=made.kind,
        peer=peer.name,
        few=made.few_count,
        many=made.many_count,
        few_seconds=few_seconds,
        many_seconds=many_seconds,
        cost=slope(made.few_count, made.many_count, few_seconds, many_seconds),
        peak_mb=statistics.median(run.peak_mb for run in many),
        age_difference=float(np.median([abs(many[0].ages[name] - age) for name, age in reference.items()])),
    )


def grid(measured: Iterable[Measured]) -> Grid:
    """Table with a row for each peer and kind of objects."""
    measured = list(measured)
    own = {row.kind: row.cost.images_per_s for row in measured if row.peer == CILF.name}
    rows = [
        (
            row.kind,
            row.peer,
            f"{row.cost.images_per_s:.1f}",
            f"{own[row.kind] / row.cost.images_per_s:.2f}",
            f"{row.cost.fixed_seconds:.1f}",
            f"{row.cost.spread:.0%}",
            f"{row.peak_mb:,.0f}",
            f"{row.age_difference:.2f}",
            f"{row.few:,} and {row.many:,}",
        )
        for row in measured
    ]
    columns = ("objects", "", "images/s", "CILF's ratio", "fixed s", "spread", "peak MB", "age difference", "runs of")
    return Grid("CILF and its peers", columns, rows)


def tell(machine: Machine, measured: list[Measured], output: Path) -> None:
    """Print the table, and write it and all measurements."""
    output.mkdir(parents=True, exist_ok=True)
    lines = [heading(machine), *filter(None, [caution(machine)])]
    table = grid(measured)
    record = {"machine": asdict(machine), "measured": [asdict(row) for row in measured]}
    (output / "peers.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (output / "peers.md").write_text("\n".join([*lines, "", table.markdown()]), encoding="utf-8")
    console = Console(highlight=False, width=160)
    for line in lines:
        console.print(line, markup=False)
    console.print(table.shown())


if __name__ == "__main__":
    app = App(result_action="return_value")
    app.default(main)
    sys.exit(app())
