"""`cilf demo`: real photographs from an installed package, labelled with local Ray and shown as table and picture."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pyarrow.dataset as pads
from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from skimage import data

from cilf.config import DemoOptions, LabelOptions
from cilf.errors import UsageError
from cilf.labelling import label
from cilf.storage import check_output, locate, write

_MARKER = ".cilf-demo"
_MARKED = "`cilf demo` made this folder and may change its photographs, output and contact-sheet.png.\n"


def demo(options: DemoOptions = DemoOptions()) -> int:
    """Make the photographs, label them as `cilf label` would, and show what came out.

    Nothing is deleted: photographs that are there already stay as they are, and are labelled again.

    Raises:
        UsageError: the folder holds files that no demo has made, or cannot be written.
    """
    folder = Path(options.folder).expanduser().resolve()
    claim(folder)
    photographs, output = folder / "photographs", folder / "output"
    make_photographs(photographs)
    code = label(LabelOptions(input=str(photographs), output=str(output), model=options.model, relabel=True))
    labels = newest(output)
    sheet = folder / "contact-sheet.png"
    contact_sheet(labels).save(sheet)
    Console().print(table(labels))
    files = f"{output}/labels/**/*.parquet"
    print(
        f"""
Labels   {output / "labels"}   (Parquet, one row per photograph)
Picture  {sheet}   (the photographs with their ages)

Ask the labels anything, for example with DuckDB in Python:
    import duckdb
    current = "(SELECT model FROM '{output}/current.json')"
    duckdb.sql(f"SELECT uri, unnest(faces).age AS age FROM '{files}' WHERE model = {{current}}").show()"""
    )
    return code


def claim(folder: Path) -> None:
    """Make the folder and mark it as the demo's, or find that mark.

    Raises:
        UsageError: the folder holds files that no demo has made, or cannot be written.
    """
    try:
        if not (folder / _MARKER).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise UsageError(
                    f"{folder} is not empty and was not made by this version of `cilf demo`, which only writes into a "
                    "folder of its own: name a new or empty one with --folder, or move this one away"
                )
        check_output(locate(str(folder)), "the demo's folder")
        write(locate(str(folder)) / _MARKER, _MARKED.encode())
    except OSError as error:
        raise UsageError(f"cannot use {folder} for the demo: {error.strerror or error}") from error


def newest(output: Path) -> list[dict[str, Any]]:
    """The rows of the newest run in OUTPUT, by uri."""
    rows = pads.dataset(output / "labels", partitioning="hive").to_table().sort_by("uri").to_pylist()
    run = max(row["run"] for row in rows)
    return [row for row in rows if row["run"] == run]


def make_photographs(folder: Path) -> None:
    """The astronaut's portrait, an album of its prints, and what else a real corpus holds, as files in `folder`.

    Files that are there already are left as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".making-", dir=folder.parent) as unfinished:
        _draw(Path(unfinished))
        for file in sorted(Path(unfinished).iterdir()):
            if not (folder / file.name).exists():
                file.rename(folder / file.name)


def _draw(folder: Path) -> None:
    portrait = Image.fromarray(data.astronaut())
    portrait.save(folder / "portrait.jpg", quality=92)
    portrait.save(folder / "portrait.png")
    portrait.save(folder / "portrait.webp", quality=85)
    portrait.convert("L").save(folder / "portrait-grey.jpg", quality=92)
    portrait.point(lambda level: level // 4).save(folder / "portrait-at-night.jpg", quality=92)
    portrait.resize((128, 128), Image.Resampling.LANCZOS).save(folder / "portrait-small.jpg", quality=85)
    sideways = Image.Exif()
    sideways[0x0112] = 6  # stored turned to the left; a viewer turns it upright
    portrait.transpose(Image.Transpose.ROTATE_90).save(folder / "portrait-by-exif.jpg", exif=sideways, quality=92)
    _album(portrait).save(folder / "album.jpg", quality=92)
    for name, picture in (("cat.jpg", data.chelsea()), ("coffee.jpg", data.coffee())):
        Image.fromarray(picture).save(folder / name, quality=92)
    whole = (folder / "portrait.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 3])
    (folder / "not-an-image.jpg").write_text("this is text with a photograph's name")


def _album(portrait: Image.Image) -> Image.Image:
    """Prints of several sizes, one of them mirrored and two askew, on a dark page."""
    page = Image.new("RGB", (1200, 900), (58, 52, 46))
    for side, left, top, degrees, mirrored in (
        (420, 60, 60, 0, False),
        (300, 560, 90, 12, True),
        (220, 900, 60, 0, False),
        (260, 620, 500, -15, False),
        (150, 960, 560, 0, True),
        (320, 160, 530, 0, True),
    ):
        picture = portrait.resize((side, side), Image.Resampling.LANCZOS)
        picture = ImageOps.expand(ImageOps.mirror(picture) if mirrored else picture, side // 25, "white")
        askew = picture.convert("RGBA").rotate(degrees, Image.Resampling.BICUBIC, expand=True)
        page.paste(askew, (left, top), askew)
    return page


def table(labels: list[dict[str, Any]]) -> Table:
    """One line per face, and one per photograph without."""
    out = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("file", "status", "age", "90 % interval", "accepted", "why not"):
        justify: Literal["right", "left"] = "right" if heading in ("age", "90 % interval") else "left"
        out.add_column(heading, justify=justify, no_wrap=heading != "why not")
    for row in labels:
        colour = "green" if row["status"] == "ok" else "red"
        name, status = escape(Path(row["uri"]).name), f"[{colour}]{row['status']}[/]"
        for number, face in enumerate(row["faces"]):
            interval = f"{face['age_low']:.0f} to {face['age_high']:.0f}"
            estimate = (f"{face['age']:.1f}", interval, "yes" if face["accepted"] else "no")
            out.add_row(*(("", "") if number else (name, status)), *estimate)
        if not row["faces"]:
            out.add_row(name, status, "", "", "", escape(row["reason"] or ""))
    return out


def contact_sheet(labels: list[dict[str, Any]], side: int = 300, columns: int = 4) -> Image.Image:
    """All photographs in a grid, each face with its age; `side` is a cell's width in pixels."""
    caption, gap = 30, 12
    rows = -(-len(labels) // columns)
    sheet = Image.new("RGB", (columns * (side + gap) + gap, rows * (side + caption + gap) + gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for index, row in enumerate(labels):
        left = gap + index % columns * (side + gap)
        top = gap + index // columns * (side + caption + gap)
        if row["width"]:
            sheet.paste(_with_ages(row, side), (left, top))
        else:
            draw.rectangle((left, top, left + side, top + side), fill="#eeeeee", outline="#bbbbbb")
        words = Path(row["uri"]).name if row["faces"] else f"{Path(row['uri']).name}: {row['status']}"
        draw.text((left, top + side + 5), words, fill="#222222" if row["faces"] else "#b3261e", font=font)
    return sheet


def _with_ages(row: dict[str, Any], side: int) -> Image.Image:
    """A photograph, fitted into a square, with its faces' boxes and ages."""
    with Image.open(row["uri"]) as image:
        picture = ImageOps.pad(ImageOps.exif_transpose(image).convert("RGB"), (side, side), color="white")
    factor = side / max(row["width"], row["height"])
    across, down = ((side - row[length] * factor) / 2 for length in ("width", "height"))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(17)
    for face in row["faces"]:
        left, top, right, bottom = (
            face[name] * factor + shift
            for name, shift in (("left", across), ("top", down), ("right", across), ("bottom", down))
        )
        draw.rectangle((left, top, right, bottom), outline="#ffb000", width=2)
        text = f"{face['age']:.0f}"
        box = draw.textbbox((left, bottom + 2), text, font=font)
        draw.rectangle((box[0] - 3, box[1] - 2, box[2] + 3, box[3] + 2), fill="#ffb000")
        draw.text((left, bottom + 2), text, fill="black", font=font)
    return picture
