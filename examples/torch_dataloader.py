"""Label the images of a torch DataLoader, for example to add ages to a data set for training.

python examples/torch_dataloader.py PHOTOGRAPHS
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from torch.utils.data import DataLoader, Dataset

import cilf


class Photographs(Dataset[tuple[str, bytes]]):
    """The files of a folder."""

    def __init__(self, folder: str) -> None:
        self.files = sorted(file for file in Path(folder).iterdir() if file.is_file())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[str, bytes]:
        return self.files[index].name, self.files[index].read_bytes()


def labelled(folder: str, batch_size: int = 64) -> Iterator[tuple[str, float]]:
    """The name of each photograph with a face, and the age of its largest face, years."""
    labeller = cilf.AgeLabeller()
    loader = DataLoader(Photographs(folder), batch_size, collate_fn=lambda rows: tuple(zip(*rows, strict=True)))
    for names, data in loader:
        found = labeller({"bytes": list(data)})
        for name, faces in zip(names, found["faces"], strict=True):
            if faces:
                yield name, float(faces[0]["age"])


if __name__ == "__main__":
    for name, age in labelled(sys.argv[1]):
        print(f"{name}: {age:.1f} years")
