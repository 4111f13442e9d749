"""`cilf bench mixers`: time and peak memory of each FourierFormer mixer against the number of tokens."""

from __future__ import annotations

import csv
import math
import resource
import statistics
import time
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from cilf.config import BenchOptions
from cilf.models.fourier import build_mixer

MIXERS = ("fpe", "amplitude_phase", "gfnet", "attention", "conv")
SIDES = (7, 14, 24, 32, 48, 64)
"""Grids of 49, 196, 576, 1,024, 2,304 and 4,096 tokens."""
CHANNELS, BATCH = 512, 8
"""Width of CLIP ViT-B's joint space; batch size that fills a device and still fits for attention at 4,096 tokens."""

Row = dict[str, str | int | float]
"""One line of `mixers.csv`."""


def run(options: BenchOptions) -> int:
    """Measure every mixer at every grid size on this machine's best device; write `mixers.csv` and `mixers.png`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with Console().status("measuring") as status:
        for side in SIDES:
            status.update(f"{side * side} tokens")
            peaks = peak_mb(side, device)
            for mixer, milliseconds in median_milliseconds(side, device, options.repeats).items():
                measured = {"milliseconds": round(milliseconds, 3), "peak_mb": round(peaks[mixer], 1)}
                rows.append({"mixer": mixer, "device": device, "tokens": side * side, **measured})
    rows.sort(key=lambda row: MIXERS.index(str(row["mixer"])))
    with (output / "mixers.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    plot(rows, output / "mixers.png")
    Console().print(table(rows))
    first = faster_from(rows, "fpe", "attention")
    print("\nfpe beats attention", f"from {first} tokens up" if first else "from no measured size up")
    print(f"{BATCH} images of {CHANNELS} channels, forward, float32, {device}. {output / 'mixers.csv'}, mixers.png")
    return 0


def build(name: str, side: int, device: str) -> tuple[nn.Module, Tensor]:
    """A mixer, and BATCH maps in the memory layout that it gets in its block: channels last, as after a LayerNorm2d."""
    torch.manual_seed(0)
    mixer = build_mixer(name, CHANNELS, (side, side)).to(device).eval()
    return mixer, torch.randn(BATCH, side, side, CHANNELS, device=device).permute(0, 3, 1, 2)


@torch.inference_mode()
def median_milliseconds(side: int, device: str, repeats: int) -> dict[str, float]:
    """Median milliseconds of a forward pass of each mixer. The mixers alternate, so that a busy machine slows down all
    of them."""
    built = {name: build(name, side, device) for name in MIXERS}
    times: dict[str, list[float]] = {name: [] for name in MIXERS}
    for _ in range(repeats + 1):
        for name, (mixer, u_BCHW) in built.items():
            _wait(device)
            start = time.perf_counter()
            mixer(u_BCHW)
            _wait(device)
            times[name].append(1e3 * (time.perf_counter() - start))
    # The first round is a warm-up.
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak_mb(side: int, device: str) -> dict[str, float]:
    """Peak memory that a forward pass of each mixer needs in addition to weights and input, MB (10⁶ bytes).

    On CUDA, this is the memory of tensors. On the CPU, it is the memory of a process; each mixer has its own process,
    because the peak of a process never falls.
    """
    if device == "cuda":
        return {name: added_mb(name, side, device) for name in MIXERS}
    # The processes are forked from a server that has imported this module already.
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with context.Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(added_mb, (name, side, device)) for name in MIXERS}


@torch.inference_mode()
def added_mb(name: str, side: int, device: str) -> float:
    """Peak memory that one forward pass adds, MB; on the CPU, this is correct only in a new process."""
    build(name, 1, device)[0](torch.zeros(1, CHANNELS, 2, 2, device=device))  # loads the kernels
    mixer, u_BCHW = build(name, side, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = _peak_bytes(device)
    mixer(u_BCHW)
    return (_peak_bytes(device) - before) / 1e6


def _peak_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def column(rows: Sequence[Mapping], mixer: str, name: str) -> list:
    """One column of a mixer's rows, ordered by number of tokens."""
    return [row[name] for row in sorted(rows, key=lambda row: row["tokens"]) if row["mixer"] == mixer]


def growth(rows: Sequence[Mapping], mixer: str) -> float:
    """Exponent b of milliseconds ~ tokens^b, fitted by least squares on logarithms."""
    tokens, milliseconds = (list(map(math.log, column(rows, mixer, name))) for name in ("tokens", "milliseconds"))
    return statistics.linear_regression(tokens, milliseconds).slope


def faster_from(rows: Sequence[Mapping], mixer: str, other: str) -> int | None:
    """Smallest number of tokens from which a mixer is faster than another at all larger measured sizes; None if there
    is none."""
    first = None
    pairs = zip(column(rows, mixer, "milliseconds"), column(rows, other, "milliseconds"), strict=True)
    for tokens, (own, others) in reversed(list(zip(column(rows, mixer, "tokens"), pairs, strict=True))):
        if own >= others:
            break
        first = tokens
    return first


def table(rows: Sequence[Mapping]) -> Table:
    """Milliseconds by mixer and tokens, the growth exponent, and peak memory at the largest grid."""
    out = Table(box=None, header_style="bold", title="milliseconds by tokens", title_justify="left")
    out.add_column("mixer")
    for side in SIDES:
        out.add_column(str(side * side), justify="right")
    out.add_column("growth", justify="right")
    out.add_column("peak MB", justify="right")
    for mixer in MIXERS:
        cells = [f"{milliseconds:.1f}" for milliseconds in column(rows, mixer, "milliseconds")]
        out.add_row(mixer, *cells, f"N^{growth(rows, mixer):.2f}", f"{column(rows, mixer, 'peak_mb')[-1]:.0f}")
    return out


def plot(rows: Sequence[Mapping], path: Path) -> None:
    """Plot time and memory against tokens, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    colours = {"fpe": "C0", "attention": "C3", "amplitude_phase": "C2", "gfnet": "C1", "conv": "0.5"}
    for axes, name in zip(figure.subplots(1, 2), ("milliseconds", "peak_mb"), strict=True):
        for mixer in MIXERS:
            leading = mixer in ("fpe", "attention")
            axes.loglog(
                column(rows, mixer, "tokens"),
                [max(value, 0.1) for value in column(rows, mixer, name)],
                color=colours[mixer],
                marker="o",
                markersize=5 if leading else 3,
                linewidth=2.2 if leading else 1,
                label=rf"{mixer}, $N^{{{growth(rows, mixer):.2f}}}$" if name == "milliseconds" else mixer,
            )
        axes.set_xticks([side * side for side in SIDES], [f"{side * side:,}" for side in SIDES])
        axes.yaxis.set_major_formatter("{x:,.4g}")
        axes.minorticks_off()
        axes.set(xlabel="tokens N", title="time, ms" if name == "milliseconds" else "peak memory added, MB")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.suptitle(f"Mixers: {BATCH} maps of {CHANNELS} channels, forward, float32, {rows[0]['device']}")
    figure.savefig(path, dpi=150)
