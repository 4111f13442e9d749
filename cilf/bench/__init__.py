"""Benchmarks that compare this machine's speed with its limits. Each prints its table and writes it to files."""

from __future__ import annotations

from cilf.config import BenchOptions


def bench(options: BenchOptions = BenchOptions()) -> int:
    """Run one bench: `label` (the default), `train` or `mixers`."""
    if options.what == "mixers":
        from cilf.bench.mixers import run
    elif options.what == "train":
        from cilf.bench.train import run
    else:
        from cilf.bench.label import run
    return run(options)
