"""The batch size is the smallest that is about as fast as the fastest one that fits into memory."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from cilf.card import Images
from cilf.labelling.batch_size import fastest


class Scripted:
    """A model that takes the given milliseconds for each batch size; None: the batch does not fit into memory."""

    images = Images(size=16)

    def __init__(self, milliseconds: dict[int, float | None]) -> None:
        self.milliseconds = milliseconds
        self.seen: list[int] = []

    def __call__(self, images_NHWC: np.ndarray) -> None:
        assert images_NHWC.shape[1:] == (16, 16, 3)
        assert images_NHWC.dtype == np.uint8
        taken = self.milliseconds[len(images_NHWC)]
        if taken is None:
            raise torch.OutOfMemoryError
        slower = 0 if len(images_NHWC) in self.seen else 30  # the first call selects kernels
        self.seen.append(len(images_NHWC))
        time.sleep((taken + slower) / 1000)


@pytest.mark.parametrize(
    ("milliseconds", "size"),
    [
        ({64: 20, 128: 20, 256: 20}, 256),  # the larger the better
        ({64: 10, 128: 20, 256: 40}, 64),  # all the same: the smallest
        ({64: 20, 128: 20, 256: 60}, 128),
        ({64: 20, 128: 20, 256: None}, 128),  # and no further
        ({64: 20, 128: None, 256: 20}, 64),
    ],
)
def test_the_smallest_that_is_fast_is_taken(milliseconds, size):
    model = Scripted(milliseconds)
    assert fastest(model, sorted(milliseconds)) == size
    assert model.seen.count(64) == 4


def test_a_model_that_never_fits_says_so():
    with pytest.raises(torch.OutOfMemoryError):
        fastest(Scripted({64: None}), (64,))
