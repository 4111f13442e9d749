"""`cilf demo`: real photographs, labelled with local Ray and shown as a table and a picture."""

from __future__ import annotations

from cilf.config import DemoOptions


def demo(options: DemoOptions = DemoOptions()) -> int:
    """Write the photographs, label them as `cilf label` does, and show the ages beside what is known of them.

    Nothing is deleted: photographs that are already there stay as they are and are labelled again.

    Raises:
        UsageError: the folder holds files that no demo has made, or cannot be written.
    """
    from cilf.demo.job import run

    return run(options)
