"""Each degradation has the effect that its name says, and the same effect for the same photograph and seed."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from cilf.evaluation.degradations import DEGRADATIONS

KNOWN = {degradation.name: degradation for degradation in DEGRADATIONS}
FLAT = np.full((200, 160, 3), 100, np.uint8)


def done(name, image, side=160.0, seed=0):
    return KNOWN[name].pixels(image, side, seed)


def box_on_black():
    """A white box of 80 x 40 in the middle of black."""
    image = np.zeros((200, 200, 3), np.uint8)
    image[80:120, 60:140] = 255
    return image


def test_names_are_unique_and_kinds_are_those_of_the_tables():
    assert len(KNOWN) == len(DEGRADATIONS) == 22
    assert {degradation.kind for degradation in DEGRADATIONS} == {"file", "detail", "light", "framing"}


@pytest.mark.parametrize("sigma", [8, 16])
def test_noise_has_its_deviation_in_each_channel(sigma):
    noisy = done(f"noise σ {sigma}", FLAT).astype(float)
    assert noisy.mean() == pytest.approx(100, abs=0.5)
    assert noisy.std(axis=(0, 1)) == pytest.approx([sigma] * 3, rel=0.05)
    assert abs(np.corrcoef(noisy[..., 0].ravel(), noisy[..., 1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("sigma", [1, 2])
def test_blur_spreads_a_point(sigma):
    image = np.zeros((41, 41, 3), np.uint8)
    image[20] = 255
    down = done(f"blur σ {sigma}", image)[:, 20, 0].astype(float)
    spread = np.sqrt(np.average((np.arange(41) - 20) ** 2, weights=down))
    assert spread == pytest.approx(sigma, rel=0.1)


def test_a_face_is_shrunk_and_never_enlarged():
    assert done("32 pixels", FLAT, side=80.0).shape == (80, 64, 3)
    assert done("64 pixels", FLAT, side=64.0).shape == FLAT.shape
    assert done("64 pixels", FLAT, side=20.0).shape == FLAT.shape


def test_light_and_colour():
    colour = np.tile(np.array([200, 100, 50], np.uint8), (8, 8, 1))
    assert done("light × 0.5", colour)[0, 0].tolist() == [100, 50, 25]
    assert done("light × 0.25", colour)[0, 0].tolist() == [50, 25, 12]
    assert done("light × 1.4", colour)[0, 0].tolist() == [255, 140, 70]
    red, green, blue = done("grey", colour)[0, 0].tolist()
    assert red == green == blue == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


def test_a_shift_goes_in_any_direction():
    moves = []
    for seed in range(20):
        moved = done("shift 3 %", box_on_black(), seed=seed)[..., 0].astype(float)
        rows, columns = np.indices(moved.shape)
        moves.append((np.average(rows, weights=moved) - 99.5, np.average(columns, weights=moved) - 99.5))
    assert np.hypot(*np.transpose(moves)) == pytest.approx([6] * 20, abs=0.1)
    assert np.abs(np.mean(moves, axis=0)).max() < 3
    assert done("shift 3 %", FLAT).tobytes() == FLAT.tobytes()  # the border is replicated, not filled with black


@pytest.mark.parametrize(("name", "zoom"), [("zoom + 10 %", 1.1), ("zoom − 10 %", 0.9)])
def test_zoom_is_about_the_middle(name, zoom):
    zoomed = done(name, box_on_black())[..., 0].astype(float)
    assert zoomed.sum() / box_on_black()[..., 0].sum() == pytest.approx(zoom**2, rel=0.02)
    assert np.average(np.indices(zoomed.shape)[0], weights=zoomed) == pytest.approx(99.5, abs=0.1)


def test_turns_go_to_either_side():
    angles = []
    for seed in range(12):
        turned = done("turn 8°", box_on_black(), seed=seed)[..., 0]
        moments = cv2.moments(turned)
        angles.append(np.degrees(0.5 * np.arctan2(2 * moments["mu11"], moments["mu20"] - moments["mu02"])))
    assert np.abs(angles) == pytest.approx([8] * 12, abs=0.3)
    assert min(angles) < 0 < max(angles)


def test_files_are_of_their_format_and_smaller_with_less_quality():
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (200, 160, 3), np.uint8), (0, 0), 2)
    files = {name: known.saved(image) for name, known in KNOWN.items() if known.kind == "file"}
    formats = {name: Image.open(io.BytesIO(data)).format for name, data in files.items()}
    assert {name: found.upper() for name, found in formats.items()} == {name: name.split()[0].upper() for name in files}
    assert (np.asarray(Image.open(io.BytesIO(files["PNG"]))) == image).all()
    assert len(files["JPEG 95"]) > len(files["JPEG 75"]) > len(files["JPEG 50"])
    assert len(files["WebP 85"]) > len(files["WebP 50"])


@pytest.mark.parametrize("name", [known.name for known in DEGRADATIONS if known.kind != "file"])
def test_degradations_are_deterministic(name):
    image = np.random.default_rng(1).integers(0, 256, (60, 50, 3), np.uint8)
    before = image.copy()
    assert done(name, image, 50.0, 7).tobytes() == done(name, image, 50.0, 7).tobytes()
    assert (image == before).all()
