"""What the fetch stage holds in memory, and what it passes to a model that also sees bodies."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from skimage import data

from cilf import schema
from cilf.card import Images
from cilf.images.fetch import fetch
from cilf.labelling import fetch_stage
from cilf.labelling.age_actor import crops
from cilf.labelling.fetch_stage import Sight, fetch_decode


def test_bodies_go_with_their_faces_and_not_into_thumbnails(tmp_path):
    two = Image.new("RGB", (900, 900), (120, 130, 140))
    portrait = Image.fromarray(data.astronaut()).crop((130, 20, 310, 230))
    for left in (150, 550):
        two.paste(portrait, (left, 60))
    two.save(tmp_path / "two.png")
    (tmp_path / "none.png").write_bytes(b"")
    uris = [str(tmp_path / name) for name in ("none.png", "two.png")]
    columns = {"id": [1, 2], "uri": uris, "etag": ["a", "b"], "bytes": [0, None], "modified": [None, None]}
    images = Images(size=48, body=True)
    sight = Sight(images, faces="detect", thumbnails=True, max_bytes=10**7, max_pixels=10**7)
    fetched = fetch_decode(pa.table(columns, schema=schema.MANIFEST), sight)
    assert fetched["status"].to_pylist() == ["unreadable", "ok"]
    crops_NHWC = crops(fetched["crops"], images.shape)
    assert crops_NHWC.shape == (2, 48, 48, 6)
    below = crops_NHWC[:, 36:, 16:32, 3:].reshape(-1, 3)
    np.testing.assert_allclose(below.mean(axis=0), [120, 130, 140], atol=2)
    none, thumbnails = fetched["thumbnails"].to_pylist()
    assert none == []
    for thumbnail, crop_HWC in zip(thumbnails, crops_NHWC, strict=True):
        with Image.open(io.BytesIO(thumbnail)) as face:
            assert face.size == (48, 48)
            assert np.abs(np.asarray(face, float) - crop_HWC[..., :3]).mean() < 6


@pytest.mark.parametrize("told", [True, False])
def test_encoded_bytes_fit_into_memory(told, tmp_path, monkeypatch):
    asked: list[int] = []

    def watched(uris, sizes, max_bytes, etags):
        asked.append(len(uris))
        return fetch(uris, sizes, max_bytes, etags)

    monkeypatch.setattr(fetch_stage, "fetch", watched)
    monkeypatch.setattr(fetch_stage, "_BYTES_AT_ONCE", 2560)
    monkeypatch.setattr(fetch_stage, "_GUESS", 320)
    for number in range(30):
        (tmp_path / f"{number}.jpg").write_bytes(bytes(500))
    rows = {
        "id": range(30),
        "uri": [str(tmp_path / f"{number}.jpg") for number in range(30)],
        "etag": ["a"] * 30,
        "bytes": [500 if told else None] * 30,
        "modified": [None] * 30,
    }
    sight = Sight(Images(size=48), faces="none", thumbnails=False, max_bytes=10**7, max_pixels=10**7)
    fetched = fetch_decode(pa.table(rows, schema=schema.MANIFEST), sight)
    assert fetched["status"].to_pylist() == ["unreadable"] * 30
    assert asked == ([5] * 6 if told else [8, 5, 5, 5, 5, 2])


def test_the_size_of_a_row_is_that_of_what_was_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(bytes(500))
    uris = [f"{tmp_path}/a.jpg", f"{tmp_path}/a.jpg", f"{tmp_path}/gone.jpg"]
    rows = {"id": [1, 2, 3], "uri": uris, "etag": [None] * 3, "bytes": [7, None, 9], "modified": [None] * 3}
    sight = Sight(Images(size=48), faces="none", thumbnails=False, max_bytes=10**7, max_pixels=10**7)
    assert fetch_decode(pa.table(rows, schema=schema.MANIFEST), sight)["bytes"].to_pylist() == [500, 500, 9]
