"""A CILF-CIAE small enough to build quickly, with every part of the real one."""

import pytest
import torch

from cilf.card import Clip, Fourier, Images, Model
from cilf.models.cilf import CILF

TINY_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def tiny_spec() -> Model:
    return Model(clip=Clip(architecture=TINY_CLIP), images=Images(size=32), fourier=Fourier(depth=1))


@pytest.fixture
def tiny_model(tiny_spec: Model) -> CILF:
    torch.manual_seed(0)
    model = CILF(tiny_spec)
    model.cache_text()
    return model.eval()
