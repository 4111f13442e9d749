"""The page in headless Chromium, as wide as a laptop and as narrow as a phone, light, dark and on paper."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from made_up_labels import face

from cilf import cli, schema

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
EVERYWHERE = pytest.mark.parametrize("size", [WIDE, NARROW], ids=["laptop", "phone"])
LIGHT_AND_DARK = pytest.mark.parametrize("scheme", ["light", "dark"])
PLOTS = ["Objects by run", "Ages", "Accepted and corrected", "Expected error and interval", "Speed", "Ages by model"]
LONG = "s3://a-bucket/a folder with words/" + "no_break_in_" * 20 + ".jpg"

TOLD = """head => [[...head.closest("tr").cells].map(other => other.ariaSort).filter(sorting => sorting !== "none"),
  getComputedStyle(head.querySelector("button")).outlineStyle,
  [...head.closest("table").tBodies[0].rows].map(row => row.cells[head.cellIndex])
    .map(cell => cell.dataset.sort ?? cell.textContent).filter(text => text !== "–")]"""
"""JavaScript for a column's head: how its table is sorted, how the head shows its focus, and the column's cells."""

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def report(tmp_path_factory, write_run, photograph: Callable[..., bytes]) -> str:
    """The URL of a page with all sections, tables, plots and warnings."""
    from made_up_labels import photograph as row

    output = tmp_path_factory.mktemp("browser")
    random = np.random.default_rng(0)
    own = [schema.THUMBNAILS, pa.field("camera", pa.string())]
    for night in range(9):
        nodes = [
            row(n, status="missing", uri=LONG, reason=f"{LONG} {n}") for n in range(1000 * night, 1000 * night + 3)
        ]
        for n in range(1000 * night + 3, 1000 * night + 200):
            faces = [face(float(age), corrections=n % 2, accepted=n % 5 > 0) for age in random.uniform(1, 90, n % 3)]
            crops = [photograph(n, width=80, height=80) for _ in faces]
            nodes.append(row(n, faces, thumbnails=crops, camera="old" if n % 2 else LONG))
        error = "JobError: the disk is full" if night == 8 else None
        model = "0123456789ab" if night % 4 else "fedcba987654"
        write_run(
            str(output),
            f"202611{night + 1:02d}T010000Z-aaaaaa",
            nodes,
            *own,
            model=model,
            error=error,
            counts={"ok": 1500},
        )
    assert cli.main(["report", str(output), "--slice", "camera", "--price", "2", "--review", "30"]) == 0
    return (output / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The machine's Chromium."""
    driver = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium on PATH (apt-get install chromium), and no $CHROMIUM")
    with driver.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found)
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, report: str) -> Iterator[Open]:
    """Open the page, and make sure at the end that it has requested no other file and reported no errors."""
    complaints: list[str] = []
    contexts = []

    def open_page(size: dict[str, int] = WIDE, scheme: str = "light") -> Any:
        context = browser.new_context(viewport=size, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
        page.on("request", lambda asked: asked.url in (report,) or complaints.append(f"asks for {asked.url[:80]}"))
        page.goto(report)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [said for said in complaints if not said.startswith("asks for data:image/jpeg")]


@EVERYWHERE
@LIGHT_AND_DARK
def test_every_plot_is_drawn(opened: Open, size, scheme):
    page = opened(size, scheme)
    drawn = page.evaluate(
        """() => [...document.querySelectorAll("figure")].map(figure => {
          const svg = figure.querySelector("svg.plot"), box = svg.getBoundingClientRect();
          const inside = shape => { const at = shape.getBoundingClientRect();
            return at.width + at.height > 0 && at.left >= box.left - 1 && at.right <= box.right + 1
              && at.top >= box.top - 1 && at.bottom <= box.bottom + 1; };
          const paint = shape => { const style = getComputedStyle(shape);
            return shape.matches(".line") ? style.stroke : style.fill; };
          const shapes = [...svg.querySelectorAll(".line, .bar, .dot")];
          return { title: svg.querySelector("title").textContent, width: box.width, height: box.height,
            shapes: shapes.length, outside: shapes.filter(shape => !inside(shape)).length,
            paints: [...new Set(shapes.map(paint))], paper: getComputedStyle(document.body).backgroundColor,
            words: [...svg.querySelectorAll("text")].every(text => text.getBoundingClientRect().width > 0) };
        })"""
    )
    assert [plot["title"] for plot in drawn] == PLOTS
    for plot in drawn:
        assert plot["width"] > 250
        assert plot["height"] > 130
        assert plot["shapes"] > 0
        assert plot["outside"] == 0
        assert plot["words"]
        assert not {"none", plot["paper"], "rgba(0, 0, 0, 0)"} & set(plot["paints"])
    paper = [int(part) for part in re.findall(r"\d+", drawn[0]["paper"])[:3]]
    assert (sum(paper) < 200) == (scheme == "dark")
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("document.images.length") > 10


@EVERYWHERE
def test_nothing_is_wider_than_the_window(opened: Open, size):
    page = opened(size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    wider = """() => [...document.querySelectorAll("h1, h2, p, figure, .tiles > *, .scroll")]
      .filter(part => part.getBoundingClientRect().right > innerWidth + 0.5).map(part => part.outerHTML.slice(0, 80))"""
    assert page.evaluate(wider) == []


def test_tables_are_sorted_by_keyboard(opened: Open):
    page = opened()
    reached = []
    for _ in range(200):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.closest('th')?.cellIndex ?? document.activeElement.tagName")
        )
        if reached[-1] == "BODY":
            break
    else:
        pytest.fail("the keyboard never gets to the end of the page")
    heads = page.locator("th")
    assert len([place for place in reached if isinstance(place, int)]) == heads.count() > 40
    for number in range(heads.count()):
        head = heads.nth(number)
        head.locator("button").focus()
        _, outline, before = head.evaluate(TOLD)
        assert outline == "solid"
        page.keyboard.press("Enter")
        sorting, _, upwards = head.evaluate(TOLD)
        assert sorting == ["ascending"]
        assert sorted(upwards) == sorted(before)
        if all(re.fullmatch(r"-?[\d.]+(e-?\d+)?", cell) for cell in upwards):
            assert [float(cell) for cell in upwards] == sorted(map(float, before))
        page.keyboard.press("Space")
        sorting, _, downwards = head.evaluate(TOLD)
        assert sorting == ["descending"]
        assert len(set(upwards)) < 2 or downwards != upwards


@EVERYWHERE
@LIGHT_AND_DARK
def test_nobody_is_shut_out(opened: Open, size, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(opened(size, scheme)).response["violations"]
    grave = [rule for rule in found if rule["impact"] in ("serious", "critical")]
    assert not [(rule["id"], rule["nodes"][0]["html"][:200], rule["nodes"][0]["failureSummary"]) for rule in grave]


@LIGHT_AND_DARK
def test_it_reads_on_paper(opened: Open, scheme, tmp_path):
    paper = {"width": 718, "height": 1000}  # A4 less margins of 1 cm
    page = opened(paper, scheme)
    page.emulate_media(media="print", color_scheme=scheme)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('th button'), '::after').content") == '""'
    cut = """() => [...document.querySelectorAll("table, figure")]
      .filter(part => part.getBoundingClientRect().right > innerWidth + 1).map(part => part.textContent.slice(0, 60))"""
    assert page.evaluate(cut) == []
    assert page.pdf(path=tmp_path / "report.pdf").startswith(b"%PDF")
    assert Path(tmp_path / "report.pdf").stat().st_size > 20_000
