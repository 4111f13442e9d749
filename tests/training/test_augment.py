"""Views of a face differ as photographs do; a third of them hardly differ."""

import cv2
import numpy as np
import pytest

from cilf.training.augment import augment


def views_of(image, size=64, count=300):
    return np.stack([augment(image, size, np.random.default_rng(seed)) for seed in range(count)])


@pytest.fixture(scope="module")
def flat_views():
    """Views of a plain grey image: the variation within a view is noise, and its mean is the light."""
    return views_of(np.full((74, 74, 3), 128, np.uint8)).astype(float)


def test_views_differ_and_repeat_with_their_seed():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    views = views_of(image, 32, 16)
    assert (views.shape, views.dtype) == ((16, 32, 32, 3), np.uint8)
    assert len({view.tobytes() for view in views}) == 16
    assert (views == views_of(image, 32, 16)).all()


def test_the_image_itself_is_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    before = image.copy()
    views_of(image, 64, 60)
    assert (image == before).all()


def test_the_face_stays_in_view():
    # A white middle on black: no view may lose it outside the frame, in the dark or in noise.
    image = np.zeros((96, 96, 3), np.uint8)
    image[32:64, 32:64] = 255
    centres = []
    for view in views_of(image, 64, 200):
        smooth = cv2.GaussianBlur(view.mean(axis=2), (0, 0), 4)
        assert smooth.max() > 25
        centres.append(np.argwhere(smooth > 0.6 * smooth.max()).mean(axis=0))
    assert np.abs(np.mean(centres, axis=0) - 31.5).max() < 2
    assert np.abs(np.array(centres) - 31.5).max() < 20


def test_a_third_of_the_views_is_nearly_clean(flat_views):
    still = flat_views.std(axis=(1, 2, 3)) == 0
    light = flat_views.mean(axis=(1, 2, 3)) / 128
    assert 0.33 < (still & (np.abs(light - 1) < 0.12)).mean() < 0.6


def test_light_and_noise_span_what_cameras_make(flat_views):
    light = flat_views.mean(axis=(1, 2, 3)) / 128
    noise = flat_views.std(axis=(1, 2)).max(axis=1)
    assert 0.15 < light.min() < 0.4
    assert 1.3 < light.max() < 2
    assert 8 < np.quantile(noise, 0.98) < 30
    assert 0.15 < (noise > 1).mean() < 0.4


def test_detail_is_lost_in_some_views_and_sharpened_in_others():
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (74, 74, 3), np.uint8), (0, 0), 1)
    image = cv2.normalize(image, None, 64, 192, cv2.NORM_MINMAX)
    views = views_of(image).astype(float)
    detail = np.abs(np.diff(views, axis=2)).mean(axis=(1, 2, 3)) / views.mean(axis=(1, 2, 3))
    middle = np.median(detail)
    assert np.quantile(detail, 0.1) < 0.5 * middle
    assert np.quantile(detail, 0.97) > 1.4 * middle


def test_files_keep_the_order_of_colours():
    image = np.tile(np.array([210, 90, 40], np.uint8), (74, 74, 1))
    red, _, blue = views_of(image).mean(axis=(1, 2)).T
    assert (red >= blue - 1).all()
    assert (red > 2 * blue).mean() > 0.7
