"""Plots as inline SVG: lines and stacked bars over a few positions, for paper, phones, light and dark mode.

Colours are CSS variables of the page, and no series is identified by its colour alone: lines differ in their dashes,
bars in their order, and the page's tables hold the same numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, tostring

_WIDTH, _HEIGHT = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 8, 8, 22
_PLACES = _WIDTH - _LEFT - _RIGHT
_RISE = _HEIGHT - _TOP - _BOTTOM
_WIDEST = 40  # width of a bar
_MARKED = 40  # most points of a line that get dots; more would only look like a thicker line


@dataclass(frozen=True)
class Series:
    """One line, or one layer of the bars."""

    name: str
    values: Sequence[float | None]
    """Values by position; None is a gap."""


@dataclass(frozen=True)
class Plot:
    """A plot, with a description for readers who cannot see it."""

    title: str
    description: str
    unit: str
    """Unit of the values."""
    places: Sequence[str]
    """Labels of the positions on the horizontal axis. As many are drawn as there is room for; empty ones never are."""
    series: Sequence[Series]
    stacked: bool = False
    """Stacked bars instead of lines."""

    @property
    def svg(self) -> str:
        """An <svg> element."""
        svg = Element("svg", {"viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "role": "img", "class": "plot"})
        SubElement(svg, "title").text = self.title
        SubElement(svg, "desc").text = self.description
        ticks = _ticks(self._highest())
        for tick in ticks:
            y = _y(tick, ticks[-1])
            SubElement(svg, "line", _ends(_LEFT, y, _WIDTH - _RIGHT, y) | {"class": "grid"})
            _text(svg, _LEFT - 5, y + 4, _short(tick), "end")
        self._name_places(svg)
        (self._bars if self.stacked else self._lines)(svg, ticks[-1])
        return tostring(svg, encoding="unicode")

    def _highest(self) -> float:
        columns = zip(*(series.values for series in self.series), strict=True)
        combine = sum if self.stacked else max
        return max((combine([value or 0 for value in column]) for column in columns), default=0)

    def _x(self, place: int) -> float:
        return _LEFT + (place + 0.5) * _PLACES / max(1, len(self.places))

    def _name_places(self, svg: Element) -> None:
        named = [place for place, name in enumerate(self.places) if name]
        every = math.ceil(len(named) * max((len(self.places[n]) for n in named), default=1) / 40)
        for place in named[:: max(1, every)]:
            _text(svg, self._x(place), _HEIGHT - 6, self.places[place], "middle")

    def _bars(self, svg: Element, highest: float) -> None:
        width = min(_WIDEST, 0.8 * _PLACES / max(1, len(self.places)))
        for place in range(len(self.places)):
            below = 0.0
            for number, series in enumerate(self.series):
                value = series.values[place] or 0
                if value:
                    top, bottom = _y(below + value, highest), _y(below, highest)
                    box = {"x": self._x(place) - width / 2, "y": top, "width": width, "height": bottom - top}
                    SubElement(svg, "rect", _rounded(box) | {"class": f"bar c{number}"})
                    below += value

    def _lines(self, svg: Element, highest: float) -> None:
        for number, series in enumerate(self.series):
            points = [
                None if value is None else (self._x(place), _y(value, highest))
                for place, value in enumerate(series.values)
            ]
            for there, run in groupby(points, key=lambda point: point is not None):
                if there:
                    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in filter(None, run))
                    SubElement(svg, "polyline", {"points": drawn, "class": f"line c{number}"})
            if len(points) <= _MARKED:
                for x, y in filter(None, points):
                    SubElement(svg, "circle", _rounded({"cx": x, "cy": y, "r": 2.2}) | {"class": f"dot c{number}"})


def dates(runs: Sequence[str]) -> list[str]:
    """Axis labels for runs: month and day if a run's id starts with its date."""
    found = [re.match(r"\d{4}(\d\d)(\d\d)T", run) for run in runs]
    return [f"{date[1]}-{date[2]}" if date else run[:8] for run, date in zip(runs, found, strict=True)]


def _y(value: float, highest: float) -> float:
    return _TOP + _RISE * (1 - value / highest)


def _text(svg: Element, x: float, y: float, text: str, anchor: str) -> None:
    SubElement(svg, "text", _rounded({"x": x, "y": y}) | {"text-anchor": anchor}).text = text


def _ends(x1: float, y1: float, x2: float, y2: float) -> dict[str, str]:
    return _rounded({"x1": x1, "y1": y1, "x2": x2, "y2": y2})


def _rounded(numbers: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.1f}" for name, value in numbers.items()}


def _ticks(highest: float) -> list[float]:
    """Ticks from 0 to at least `highest` in steps of 1, 2 or 5 times a power of ten; at most six."""
    if not highest > 0:
        return [0, 1]
    power = 10 ** math.floor(math.log10(highest / 5))
    step = next(s * power for s in (1, 2, 5, 10) if highest <= 5 * s * power * (1 + 1e-9))
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.3g}"
