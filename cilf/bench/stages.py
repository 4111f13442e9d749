"""Fetching and decoding, each alone on all of this machine's cores. Their processes never import torch."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TYPE_CHECKING

from cilf.config import LabelOptions
from cilf.errors import JobError
from cilf.images.decode import decode
from cilf.images.fetch import FetchError, fetch
from cilf.labelling.runtime import block_rows

if TYPE_CHECKING:
    from cilf.bench.objects import Corpus

CORES = len(os.sched_getaffinity(0))

_START_S = 600  # until all processes are there, on a machine that does something else as well


def fetch_alone(corpus: Corpus, repeats: int) -> float:
    """Objects per second, in blocks like those of labelling, in one process per core."""
    block = block_rows(corpus.many_count, LabelOptions.batch_size)
    return _on_all_cores(partial(_fetch_seconds, block=block), corpus.uris("few"), corpus.environment, repeats)


def decode_alone(corpus: Corpus, size: int, repeats: int) -> float:
    """Images per second, from bytes in memory to crops of `size` pixels, in one process per core."""
    return _on_all_cores(partial(_decode_seconds, size=size), list(map(str, corpus.sample())), {}, repeats)


_all_ready: Barrier


def _on_all_cores(
    seconds_of: Callable[[list[str]], float], items: list[str], environment: Mapping[str, str], repeats: int
) -> float:
    """Items per second of a function that tells its own seconds; every round starts in all processes at once."""
    context = get_context("forkserver")  # a fork of this process may hang in what torch's threads held
    setting = (context.Barrier(CORES), environment)
    with ProcessPoolExecutor(CORES, context, initializer=_prepare, initargs=setting) as pool:
        shares = [items[core::CORES] for core in range(CORES)]
        by_process = list(pool.map(partial(_rounds, seconds_of, repeats=repeats), shares))
    return len(items) / statistics.median(max(seconds) for seconds in zip(*by_process, strict=True))


def _prepare(barrier: Barrier, environment: Mapping[str, str]) -> None:
    global _all_ready
    _all_ready = barrier
    os.environ.update(environment)


def _rounds(seconds_of: Callable[[list[str]], float], items: list[str], repeats: int) -> list[float]:
    """Seconds of each round, but for a first that opens connections and fills caches."""
    seconds = []
    for _ in range(repeats + 1):
        _all_ready.wait(_START_S)
        seconds.append(seconds_of(items))
    return seconds[1:]


def _fetch_seconds(uris: list[str], block: int) -> float:
    start = time.perf_counter()
    for first in range(0, len(uris), block):
        part = uris[first : first + block]
        for answer in fetch(part, [None] * len(part), LabelOptions.max_bytes):
            if isinstance(answer, FetchError):
                raise JobError(f"the bench cannot fetch what it made: {answer.reason}")
    return time.perf_counter() - start


def _decode_seconds(paths: list[str], size: int) -> float:
    encoded = [Path(path).read_bytes() for path in paths]
    start = time.perf_counter()
    for data in encoded:
        decode(data, size, LabelOptions.max_pixels)
    return time.perf_counter() - start
