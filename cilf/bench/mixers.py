"""`cilf bench mixers`: time and peak memory of each FourierFormer mixer against the number of tokens."""

from __future__ import annotations

import csv
import math
import resource
import statistics
import time
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from cilf.config import BenchOptions
from cilf.models.fourier import build_mixer

MIXERS = ("fpe", "amplitude_phase", "gfnet", "attention", "conv")
SIDES = (7, 14, 24, 32, 48, 64)
"""Grids of 49, 196, 576, 1,024, 2,304 and 4,096 tokens."""
CHANNELS, BATCH = 512, 8
"""Width of CLIP ViT-B's joint space; enough rows to fill a device, few enough for attention at 4,096 tokens."""


def run(options: BenchOptions) -> int:
    """Measure every mixer at every grid on this machine's best device; write `mixers.csv` and `mixers.png`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    # A process of its own for each measurement: peak memory is a property of a process, and never falls.
    with Console().status("measuring") as status, get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for mixer in MIXERS:
            for side in SIDES:
                status.update(f"{mixer}, {side * side} tokens")
                milliseconds, peak = pool.apply(measure, (mixer, side, device, options.repeats))
                rows.append(
                    {
                        "mixer": mixer,
                        "device": device,
                        "tokens": side * side,
                        "milliseconds": round(milliseconds, 3),
                        "peak_mb": round(peak, 1),
                    }
                )
    with (output / "mixers.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    plot(rows, output / "mixers.png")
    Console().print(table(rows))
    print(f"\n{BATCH} images of {CHANNELS} channels, forward, float32, {device}. {output / 'mixers.csv'}, mixers.png")
    return 0


def measure(name: str, side: int, device: str, repeats: int) -> tuple[float, float]:
    """Median milliseconds of a forward pass over BATCH maps, and the peak memory it adds, MB (10⁶ bytes)."""
    torch.manual_seed(0)
    mixer = build_mixer(name, CHANNELS, (side, side)).to(device).eval()
    u = torch.randn(BATCH, CHANNELS, side, side, device=device)
    before = _peak(device)
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 1):  # the first warms caches up and is dropped
            start = time.perf_counter()
            mixer(u)
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[1:]), (_peak(device) - before) / 1e6


def _peak(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def growth(rows: list[dict], mixer: str) -> float:
    """Exponent b of milliseconds ~ tokens^b, least squares on logarithms from 196 tokens up."""
    points = [(math.log(r["tokens"]), math.log(r["milliseconds"])) for r in rows if r["mixer"] == mixer]
    xs, ys = zip(*[point for point in points if point[0] >= math.log(196)], strict=True)
    return statistics.linear_regression(xs, ys).slope


def table(rows: list[dict]) -> Table:
    """Milliseconds by mixer and tokens, the growth exponent, and peak memory at the largest grid."""
    out = Table(box=None, header_style="bold", title="milliseconds by tokens", title_justify="left")
    out.add_column("mixer")
    for side in SIDES:
        out.add_column(str(side * side), justify="right")
    out.add_column("growth", justify="right")
    out.add_column("peak MB", justify="right")
    for mixer in MIXERS:
        own = [row for row in rows if row["mixer"] == mixer]
        cells = [f"{row['milliseconds']:.1f}" for row in own]
        out.add_row(mixer, *cells, f"{growth(rows, mixer):.2f}", f"{own[-1]['peak_mb']:.0f}")
    return out


def plot(rows: list[dict], path: Path) -> None:
    """Time and memory against tokens, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, column, unit in zip(panels, ("milliseconds", "peak_mb"), ("milliseconds", "MB"), strict=True):
        for mixer in MIXERS:
            own = [row for row in rows if row["mixer"] == mixer]
            values = [max(row[column], 0.1) for row in own]
            axes.loglog([row["tokens"] for row in own], values, marker="o", markersize=4, label=mixer)
        axes.set_xticks([side * side for side in SIDES], [f"{side * side:,}" for side in SIDES])
        axes.minorticks_off()
        axes.set(xlabel="tokens", ylabel=unit, title="time" if column == "milliseconds" else "peak memory")
        axes.grid(alpha=0.3)
    panels[0].legend()
    figure.savefig(path, dpi=120)
