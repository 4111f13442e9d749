"""The pages of the documentation: their links resolve, and the list of guides is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "docs" / "README.md",
    ROOT / "cluster" / "README.md",
    *GUIDES,
    *sorted((ROOT / "docs" / "results").rglob("*.md")),
]


def text(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", found) for found in re.findall(r"^#+ (.*)$", text(page), re.M))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("index", ["README.md", "docs/README.md"])
def test_every_guide_is_listed(index):
    assert [guide.name for guide in GUIDES if f"guides/{guide.name})" not in text(ROOT / index)] == []


def test_pages_named_in_the_code_exist():
    """Messages, help texts and model cards name pages of the documentation."""
    files = [*(ROOT / "cilf").rglob("*.py"), *(ROOT / "cilf").rglob("*.md")]
    named = {name for file in files for name in re.findall(r"docs/[\w./-]+\.md", file.read_text(encoding="utf-8"))}
    assert "docs/guides/upgrade-the-model.md" in named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
