"""`cilf demo`: label real photographs with a local Ray, and show the ages as a table and a picture."""

from __future__ import annotations

from cilf.config import DemoOptions


def demo(options: DemoOptions = DemoOptions()) -> int:
    """Write the photographs, label them as `cilf label` does, and show the estimated ages next to the known ones.

    Nothing is deleted: photographs that exist already stay as they are and are labelled again.

    Raises:
        UsageError: the folder holds files but was not made by a demo, or it cannot be written.
    """
    from cilf.demo.job import run

    return run(options)
