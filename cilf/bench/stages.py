"""Speed of fetching, decoding and finding faces, each alone on all cores, in processes that do not import torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import TYPE_CHECKING, Any

from cilf.card import Images
from cilf.config import LabelOptions
from cilf.cores import cores
from cilf.errors import JobError
from cilf.images.decode import decode
from cilf.images.faces import find
from cilf.images.fetch import FetchError, fetch
from cilf.labelling.runtime import BATCH_SIZES, block_rows
from cilf.own_process import prepare

if TYPE_CHECKING:
    from cilf.bench.objects import Corpus

CORES = cores()

_START_S = 600  # time limit for the start of all processes, long enough for a busy machine
_WORK_S = 2.0


def fetch_alone(corpus: Corpus) -> float:
    """Objects per second, in blocks like those of labelling, in one process per core."""
    uris = corpus.uris("few")
    sizes = [path.stat().st_size for path in corpus.sample()]
    block = block_rows(corpus.many_count, sum(sizes) / len(sizes), max(BATCH_SIZES), corpus.faces)
    share = min(block, -(-len(uris) // CORES))
    return _on_all_cores(_fetch, [uris[first : first + share] for first in range(0, len(uris), share)], corpus)


def decode_alone(corpus: Corpus, size: int) -> float:
    """Images per second, from bytes in memory to crops of `size` pixels, in one process per core."""
    return _on_all_cores(partial(_decode, size=size), [[path.read_bytes()] for path in corpus.sample()], corpus)


def faces_alone(corpus: Corpus, images: Images) -> float:
    """Images per second, from bytes in memory to the crops of their faces, in one process per core."""
    parts = [[path.read_bytes()] for path in corpus.sample()]
    return _on_all_cores(partial(_find, images=images), parts, corpus)


_all_ready: Barrier


def _on_all_cores(work: Callable[[list[Any]], None], parts: list[list[Any]], corpus: Corpus) -> float:
    """Items per second of all processes, each of which processes its share of the parts repeatedly."""
    context = get_context("forkserver")  # a fork of this process can deadlock on a lock held by a torch thread
    setting = (context.Barrier(CORES), corpus.environment)
    with ProcessPoolExecutor(CORES, context, initializer=_prepare, initargs=setting) as pool:
        # With fewer parts than cores, several processes get the same part, so that none is idle.
        return sum(pool.map(partial(_rate, work), [parts[core % len(parts) :: CORES] for core in range(CORES)]))


def _prepare(barrier: Barrier, environment: Mapping[str, str]) -> None:
    global _all_ready
    _all_ready = barrier
    prepare()
    os.environ.update(environment)


def _rate(work: Callable[[list[Any]], None], parts: list[list[Any]]) -> float:
    """Items per second. The first round is not timed: it opens connections and fills caches."""
    for part in parts:
        work(part)
    _all_ready.wait(_START_S)
    done, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < _WORK_S:
        for part in parts:
            work(part)
            done += len(part)
    return done / seconds


def _fetch(uris: list[str]) -> None:
    for answer in fetch(uris, [None] * len(uris), LabelOptions.max_bytes):
        if isinstance(answer, FetchError):
            raise JobError(f"the bench cannot fetch an object that it made: {answer.reason}")


def _find(encoded: list[bytes], images: Images) -> None:
    for data in encoded:
        find(data, images, LabelOptions.max_pixels)


def _decode(encoded: list[bytes], size: int) -> None:
    for data in encoded:
        decode(data, size, LabelOptions.max_pixels)
