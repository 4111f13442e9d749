"""Label a folder or a bucket, and print the ages of the accepted faces.

python examples/label_a_folder.py PHOTOGRAPHS OUTPUT
"""

from __future__ import annotations

import sys

import cilf


def main(photographs: str, output: str) -> None:
    """Label what has no label yet, then read all labels of the current model."""
    print(cilf.label(photographs, output))
    faces = cilf.read(output, per="face", columns=["uri"])
    for face in faces.to_pylist():
        if face["accepted"]:
            print(f"{face['uri']}: {face['age']:.0f} years ({face['age_low']:.0f} to {face['age_high']:.0f})")


if __name__ == "__main__":
    main(*sys.argv[1:])
