"""`cilf bench label`: what decoding and the model reach alone, and what the whole pipeline makes of it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import data

from cilf.config import BenchOptions
from cilf.estimator import Estimator
from cilf.images.decode import decode
from cilf.storage import model_folder

_BATCH = 64
_ROUNDS = 3


def run(options: BenchOptions) -> int:
    """Measure on photographs made for it, print the table and write `label.json`."""
    cores = len(os.sched_getaffinity(0))
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cilf-bench-") as name, Console().status("making photographs") as status:
        folder = Path(name)
        small, large = folder / "small", folder / "large"
        make_photographs(small, options.images // 8)
        make_photographs(large, options.images)
        status.update("decoding alone")
        decoded = decode_alone(sorted(small.iterdir()), cores)
        status.update("the model alone")
        modelled = model_alone(options.model, cores)
        status.update("the whole pipeline")
        few = label_seconds(small, folder / "few", options.model)
        many = label_seconds(large, folder / "many", options.model)
    counted = options.images - options.images // 8
    marginal = counted / (many - few)
    limit = 1 / (1 / decoded + 1 / modelled)
    result = {
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "cores": cores,
        "decode_alone_images_per_s": decoded,
        "model_alone_images_per_s": modelled,
        "limit_images_per_s": limit,
        "pipeline_images_per_s": marginal,
        "share_of_limit": marginal / limit,
        "fixed_seconds": few - (options.images // 8) / marginal,
    }
    (output / "label.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    Console().print(table(result))
    print(f"\n200 x 200 JPEG crops from local files; details in {output / 'label.json'}")
    return 0


def make_photographs(folder: Path, count: int) -> None:
    """JPEG files of 200 x 200 pixels: places of a real portrait, no two alike."""
    folder.mkdir()
    portrait = Image.fromarray(data.astronaut())
    draw = np.random.default_rng(0)
    for number in range(count):
        left, top = draw.integers(0, 512 - 200, 2)
        portrait.crop((left, top, left + 200, top + 200)).save(folder / f"{number:06d}.jpg", quality=90)


def decode_alone(paths: list[Path], cores: int) -> float:
    """Images per second of reading and decoding in as many processes as there are cores; median of rounds."""
    with ProcessPoolExecutor(cores) as pool:
        chunks = [paths[core::cores] for core in range(cores)]
        return _median_rate(len(paths), lambda: list(pool.map(_decode_all, chunks)))


def _decode_all(paths: list[Path]) -> None:
    for path in paths:
        decode(path.read_bytes(), 128, max_pixels=10**8)


def model_alone(model: str, cores: int) -> float:
    """Images per second of estimating, judging and correcting batches that are already decoded."""
    torch.set_num_threads(cores)
    estimator = Estimator(model_folder(model))
    size = estimator.image_size
    face = Image.fromarray(data.astronaut()).crop((169, 68, 275, 174)).resize((size, size))
    noise = np.random.default_rng(0).integers(-20, 21, (_BATCH, size, size, 3))
    images = (np.asarray(face).astype(int) + noise).clip(0, 255).astype(np.uint8)
    return _median_rate(4 * _BATCH, lambda: [estimator(images) for _ in range(4)])


def _median_rate(images: int, work: Callable[[], object]) -> float:
    work()
    rates = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        work()
        rates.append(images / (time.perf_counter() - start))
    return statistics.median(rates)


def label_seconds(photographs: Path, output: Path, model: str) -> float:
    """Seconds of a whole `cilf label`, from command to exit, in a process of its own."""
    command = [sys.executable, "-m", "cilf.cli", "label", str(photographs), str(output), "--model", model]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def table(result: Mapping[str, object]) -> Table:
    """The result for a reader."""
    out = Table(box=None, show_header=False, title=f"{result['cores']} cores, {result['device']}", title_justify="left")
    rows = {
        "decoding alone": ("decode_alone_images_per_s", "images/s"),
        "the model alone": ("model_alone_images_per_s", "images/s"),
        "limit, both on the same cores": ("limit_images_per_s", "images/s"),
        "whole pipeline, per further image": ("pipeline_images_per_s", "images/s"),
        "share of the limit": ("share_of_limit", ""),
        "fixed cost of a run": ("fixed_seconds", "s"),
    }
    for heading, (key, unit) in rows.items():
        out.add_row(heading, f"{result[key]:.2f}" if unit in ("", "s") else f"{result[key]:.0f}", unit)
    return out
