"""`cilf demo`: real photographs from an installed package, labelled with local Ray and shown as table and picture."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

import pyarrow.dataset as pads
from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from skimage import data

from cilf.config import DemoOptions, LabelOptions
from cilf.labelling import label

# Where the face is in scikit-image's portrait of the astronaut Eileen Collins, framed like the faces that the
# bundled model was trained on: eyes at a third of the height, forehead and chin just inside. Pixels of the original.
_FACE = (169, 68, 275, 174)


def demo(options: DemoOptions = DemoOptions()) -> int:
    """Make the photographs, label them as `cilf label` would, and show what came out."""
    folder = Path(options.folder).resolve()
    photographs, output = folder / "photographs", folder / "output"
    for made in (photographs, output):
        shutil.rmtree(made, ignore_errors=True)
    make_photographs(photographs)
    code = label(LabelOptions(input=str(photographs), output=str(output), model=options.model))
    labels = pads.dataset(output / "labels", partitioning="hive").to_table().sort_by("uri").to_pylist()
    sheet = folder / "contact-sheet.png"
    contact_sheet(labels).save(sheet)
    Console().print(table(labels))
    files = f"{output}/labels/**/*.parquet"
    print(
        f"""
Labels   {output / "labels"}   (Parquet, one row per photograph)
Picture  {sheet}   (the photographs with their ages)

The bundled model knows crops framed like face.jpg; of portrait.jpg it sees mostly space suit, and its age means little.

Ask the labels anything, for example with DuckDB in Python:
    import duckdb
    duckdb.sql("SELECT uri, status, faces[1].age AS age, reason FROM '{files}'").show()"""
    )
    return code


def make_photographs(folder: Path) -> None:
    """The astronaut's portrait and what becomes of such pictures in a real corpus, as files in `folder`."""
    folder.mkdir(parents=True)
    portrait = Image.fromarray(data.astronaut())
    face = portrait.crop(_FACE).resize((200, 200), Image.Resampling.LANCZOS)
    portrait.save(folder / "portrait.jpg", quality=92)
    face.save(folder / "face.jpg", quality=92)
    face.save(folder / "face.png")
    face.save(folder / "face.webp", quality=85)
    face.convert("L").save(folder / "face-grey.jpg", quality=92)
    ImageOps.mirror(face).save(folder / "face-mirrored.jpg", quality=92)
    face.resize((48, 48)).save(folder / "face-tiny.jpg", quality=80)
    sideways = Image.Exif()
    sideways[0x0112] = 6  # stored turned to the left; a viewer turns it upright
    face.transpose(Image.Transpose.ROTATE_90).save(folder / "face-rotated-by-exif.jpg", exif=sideways, quality=92)
    whole = (folder / "face.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 3])
    (folder / "not-an-image.jpg").write_text("this is text with a photograph's name")


def table(labels: list[dict[str, Any]]) -> Table:
    """One line per photograph."""
    out = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("file", "status", "age", "90 % interval", "accepted", "why not"):
        justify: Literal["right", "left"] = "right" if heading in ("age", "90 % interval") else "left"
        out.add_column(heading, justify=justify, no_wrap=heading != "why not")
    for row in labels:
        colour = "green" if row["status"] == "ok" else "red"
        cells = [
            escape(Path(row["uri"]).name),
            f"[{colour}]{row['status']}[/]",
            "",
            "",
            "",
            escape(row["reason"] or ""),
        ]
        for face in row["faces"][:1]:
            interval = f"{face['age_low']:.0f} to {face['age_high']:.0f}"
            cells[2:5] = [f"{face['age']:.1f}", interval, "yes" if face["accepted"] else "no"]
        out.add_row(*cells)
    return out


def contact_sheet(labels: list[dict[str, Any]], side: int = 220, columns: int = 4) -> Image.Image:
    """All photographs in a grid, each with its age or with why it has none; `side` is a cell's width in pixels."""
    caption, gap = 46, 12
    rows = -(-len(labels) // columns)
    sheet = Image.new("RGB", (columns * (side + gap) + gap, rows * (side + caption + gap) + gap), "white")
    draw, large, small = ImageDraw.Draw(sheet), ImageFont.load_default(22), ImageFont.load_default(13)
    for index, row in enumerate(labels):
        left = gap + index % columns * (side + gap)
        top = gap + index // columns * (side + caption + gap)
        cell = (left, top, left + side, top + side)
        if row["status"] == "ok":
            with Image.open(row["uri"]) as image:
                picture = ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (side, side))
            sheet.paste(picture, (left, top))
            face = row["faces"][0]
            label = f"{face['age']:.0f} years  ({face['age_low']:.0f}-{face['age_high']:.0f})"
            colour = "#0b6e2e"
        else:
            draw.rectangle(cell, fill="#eeeeee", outline="#bbbbbb")
            label, colour = row["status"], "#b3261e"
        draw.text((left, top + side + 3), label, fill=colour, font=large)
        draw.text((left, top + side + 29), Path(row["uri"]).name, fill="#555555", font=small)
    return sheet
