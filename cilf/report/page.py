"""The figures -> one HTML file that asks nothing of any other place."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from cilf.report.plots import Plot

_TEMPLATE = Path(__file__).parent / "page.html"
_LONGEST = 160
"""Characters of a text that somebody else wrote."""

# Control characters, and those that turn the direction of what comes after them.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb]+")


@dataclass(frozen=True)
class Cell:
    """One field of a table."""

    text: str
    sort: float | str | None = None
    """What it is sorted by, where that is not its text."""
    kind: str = "text"
    """text, number, code (as somebody else wrote it) or image (`text` is a data: URL)."""


@dataclass(frozen=True)
class Table:
    """Columns that can be sorted."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and what is under it, in this order."""

    title: str
    words: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Page:
    """All that is shown."""

    title: str
    made: str
    """When, UTC."""
    notes: Sequence[str] = ()
    """What the figures are of."""
    warnings: Sequence[str] = ()
    """What cannot wait."""
    tiles: Sequence[tuple[str, str]] = ()
    """Figures at a glance: name and value."""
    sections: Sequence[Section] = field(default_factory=list)

    def html(self) -> str:
        """The file's text. All text from elsewhere is escaped; the only script is the page's own, which its hash lets
        run."""
        script = _script()
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        return _template().render(page=self, script_hash=digest)


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def _script() -> str:
    found = re.search(r"<script>(.*?)</script>", _TEMPLATE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, "the template has a script"
    return found[1]


def cut(text: str, longest: int = _LONGEST) -> str:
    """A text that somebody else wrote, in one line of at most so many characters: its middle goes."""
    text = _UNSEEN.sub(" ", text)
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def words(text: str | None) -> Cell:
    """A text of ours."""
    return Cell(text or "–")


def code(text: str | None, longest: int = _LONGEST) -> Cell:
    """A text that somebody else wrote."""
    return Cell("–") if text is None else Cell(cut(text, longest), kind="code")


def image(jpeg: bytes) -> Cell:
    """A stored crop."""
    return Cell(f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}", kind="image")


def count(number: float | None) -> Cell:
    """A whole number."""
    return _number(number, "{:,.0f}")


def years(number: float | None) -> Cell:
    """Years to a tenth."""
    return _number(number, "{:.1f}")


def share(part: float | None) -> Cell:
    """0..1 as per cent."""
    return _number(part, "{:.1%}")


def amount(number: float | None) -> Cell:
    """Two places behind the point."""
    return _number(number, "{:,.2f}")


def statistic(number: float | None) -> Cell:
    """Three places behind the point."""
    return _number(number, "{:.3f}")


def _number(number: float | None, form: str) -> Cell:
    if number is None or not math.isfinite(number):
        return Cell("–", kind="number")
    return Cell(form.format(number), number, "number")
