"""Rendering of the figures as one HTML file that loads nothing from elsewhere."""

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
"""Most characters shown of a text that was not written by CILF."""

# Control characters, and characters that change the direction of the text after them.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb]+")


@dataclass(frozen=True)
class Cell:
    """One field of a table."""

    text: str
    sort: float | str | None = None
    """The sort key, if it differs from the text."""
    kind: str = "text"
    """text, number, code (a text that was not written by CILF) or image (`text` is a data: URL)."""


@dataclass(frozen=True)
class Table:
    """A table with sortable columns."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and its contents, in this order."""

    title: str
    words: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Page:
    """The contents of the page."""

    title: str
    made: str
    """A line with the time of creation, UTC."""
    notes: Sequence[str] = ()
    """Notes on what the figures cover."""
    warnings: Sequence[str] = ()
    """Urgent messages."""
    tiles: Sequence[tuple[str, str]] = ()
    """Figures at a glance: name and value."""
    sections: Sequence[Section] = field(default_factory=list)

    def html(self) -> str:
        """The text of the HTML file. All text from elsewhere is escaped; only the page's own script can run, as the
        content security policy has its hash."""
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
    """A text that was not written by CILF, as one line of at most `longest` characters; the middle is left out."""
    text = _UNSEEN.sub(" ", text)
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def words(text: str | None) -> Cell:
    """A cell with a text of CILF's own."""
    return Cell(text or "–")


def code(text: str | None, longest: int = _LONGEST) -> Cell:
    """A cell with a text that was not written by CILF."""
    return Cell("–") if text is None else Cell(cut(text, longest), kind="code")


def image(jpeg: bytes) -> Cell:
    """A cell with a stored crop."""
    return Cell(f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}", kind="image")


def count(number: float | None) -> Cell:
    """A cell with a whole number."""
    return _number(number, "{:,.0f}")


def years(number: float | None) -> Cell:
    """A cell with years to a tenth."""
    return _number(number, "{:.1f}")


def share(part: float | None) -> Cell:
    """A cell with a share, 0..1, as a percentage."""
    return _number(part, "{:.1%}")


def amount(number: float | None) -> Cell:
    """A cell with a number to two decimal places."""
    return _number(number, "{:,.2f}")


def statistic(number: float | None) -> Cell:
    """A cell with a number to three decimal places."""
    return _number(number, "{:.3f}")


def _number(number: float | None, form: str) -> Cell:
    if number is None or not math.isfinite(number):
        return Cell("–", kind="number")
    return Cell(form.format(number), number, "number")
