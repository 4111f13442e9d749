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
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import data

from cilf.card import read_card
from cilf.config import BenchOptions, LabelOptions
from cilf.estimator import Estimator
from cilf.images.decode import decode
from cilf.models.evidence import decode_age
from cilf.storage import model_folder

_BATCH = LabelOptions.batch_size
_ROUNDS = 5


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
        size = read_card(model_folder(options.model)).model.images.size
        status.update("decoding alone")
        decoded = decode_alone(sorted(small.iterdir()), size, cores)
        status.update("the model alone")
        modelled = model_alone(options.model, sorted(large.iterdir())[: 8 * _BATCH], cores)
        status.update("the whole pipeline")
        few = label_seconds(small, folder / "few", options.model)
        many = label_seconds(large, folder / "many", options.model)
    counted = options.images - options.images // 8
    marginal = counted / (many - few)
    limit = 1 / (1 / decoded + 1 / modelled["model_alone_images_per_s"])
    result = {
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "cores": cores,
        "decode_alone_images_per_s": decoded,
        **modelled,
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


def decode_alone(paths: list[Path], size: int, cores: int) -> float:
    """Images per second of reading and decoding in as many processes as there are cores; median of rounds."""
    with ProcessPoolExecutor(cores) as pool:
        chunks = [paths[core::cores] for core in range(cores)]
        (seconds,) = _median_seconds(lambda: list(pool.map(partial(_decode_all, size=size), chunks)))
    return len(paths) / seconds


def _decode_all(paths: list[Path], size: int) -> np.ndarray:
    return np.stack([decode(path.read_bytes(), size, max_pixels=10**8).crop for path in paths])


def model_alone(model: str, paths: list[Path], cores: int) -> dict[str, float]:
    """Images per second of the model on batches that are already decoded, and what correction takes of that.

    How many rows ask for further views depends on the images. So correction is measured on batches that ask for as
    many as the rows it was calibrated on; the pipeline's limit, on the photographs as they are.
    """
    torch.set_num_threads(cores)
    estimator = Estimator(model_folder(model))
    images = _decode_all(paths, estimator.image_size)
    fired = np.concatenate([estimator(batch).corrections for batch in _batches(images)])
    usual = images[usual_rows(fired, estimator.corrector.constants.measured.get("views_per_row") or 1.0)]
    asked = np.concatenate([estimator(batch).corrections for batch in _batches(usual)])
    # Batch by batch in turns, as a machine's speed drifts by more than the difference.
    batches = _batches(usual)
    turns = [partial(work, estimator, batch) for batch in batches for work in (estimate_only, Estimator.__call__)]
    seconds = _median_seconds(*turns)
    plain, corrected = sum(seconds[0::2]), sum(seconds[1::2])
    whole = sum(_median_seconds(*(partial(estimator, batch) for batch in _batches(images)[: len(batches)])))
    return {
        "model_alone_images_per_s": len(usual) / whole,
        "model_alone_views_per_row": _views_per_row(fired),
        "uncorrected_images_per_s": len(usual) / plain,
        "corrected_images_per_s": len(usual) / corrected,
        "correction_cost": 1 - plain / corrected,
        "correction_fired": float((asked > 0).mean()),
        "correction_views_per_row": _views_per_row(asked),
    }


def usual_rows(corrections_N: np.ndarray, views_per_row: float) -> np.ndarray:
    """Half of the rows, in full batches, with as many further views as rows on average have in calibration.

    Args:
        corrections_N: rounds of further views that each row asked for.
        views_per_row: mean number of views to come near, from below.
    """
    shuffled = np.random.default_rng(0).permutation(len(corrections_N))
    count = max(1, len(corrections_N) // 2 // _BATCH) * _BATCH
    asking = shuffled[corrections_N[shuffled] > 0]
    further = np.cumsum(2 ** corrections_N[asking] - 1)
    some = int(np.searchsorted(further, (views_per_row - 1) * count, side="right"))
    content = shuffled[corrections_N[shuffled] == 0]
    rows = np.concatenate([asking[:some], content, asking[some:]])[:count]
    return np.random.default_rng(1).permutation(rows)


@torch.inference_mode()
def estimate_only(estimator: Estimator, images_NHWC: np.ndarray) -> np.ndarray:
    """Ages by the posterior of the plain view alone, [N] years: what there would be without a corrector."""
    pixels = estimator.normalise(torch.from_numpy(images_NHWC).to(estimator.device))
    posterior = estimator.model(pixels).posterior_BK
    return decode_age(posterior, estimator.model.ages, estimator.corrector.constants.decode).cpu().numpy()


def _batches(images: np.ndarray) -> list[np.ndarray]:
    return [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]


def _views_per_row(corrections_N: np.ndarray) -> float:
    return float((2.0**corrections_N).mean())


def _median_seconds(*works: Callable[[], object]) -> list[float]:
    """Median seconds of each, taken in turns after a first round that counts for nothing."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(_ROUNDS + 1):
        for taken, work in zip(seconds, works, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[1:]) for taken in seconds]


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
        "decoding alone": (f"{result['decode_alone_images_per_s']:.0f}", "images/s"),
        "the model alone": (
            f"{result['model_alone_images_per_s']:.0f}",
            f"images/s, {result['model_alone_views_per_row']:.2f} views per row",
        ),
        "limit, both on the same cores": (f"{result['limit_images_per_s']:.0f}", "images/s"),
        "whole pipeline, per further image": (f"{result['pipeline_images_per_s']:.0f}", "images/s"),
        "share of the limit": (f"{result['share_of_limit']:.2f}", ""),
        "fixed cost of a run": (f"{result['fixed_seconds']:.2f}", "s"),
        "the model without correction": (f"{result['uncorrected_images_per_s']:.0f}", "images/s"),
        "with it, on rows like those of calibration": (
            f"{result['corrected_images_per_s']:.0f}",
            f"images/s, {result['correction_fired']:.1%} of rows fired, "
            f"{result['correction_views_per_row']:.2f} views per row",
        ),
        "cost of correction": (f"{result['correction_cost']:.1%}", "of images/s"),
    }
    for heading, (value, unit) in rows.items():
        out.add_row(heading, value, unit)
    return out
