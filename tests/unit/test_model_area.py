"""The fast area average is OpenCV's INTER_AREA."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.area import shrink
from model.preprocess import prepare


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_resizer_parity_the_same_numbers_as_opencv_to_rounding(rows, columns, data):
    target = data.draw(st.integers(1, rows)), data.draw(st.integers(1, columns))
    pixels = np.random.default_rng(rows * 1000 + columns).random((rows, columns), dtype=np.float32)
    expected = cv2.resize(pixels, target[::-1], interpolation=cv2.INTER_AREA).reshape(target)
    assert np.allclose(shrink(pixels, (0, 0, rows, columns), *target), expected, atol=1e-6)


def test_resizer_parity_of_a_region_inside_a_detector_image():
    pixels = np.random.default_rng(0).random((2500, 2048), dtype=np.float32)
    expected = cv2.resize(pixels[40:2400, 13:2000], (269, 320), interpolation=cv2.INTER_AREA)
    assert np.abs(shrink(pixels, (40, 13, 2400, 2000), 320, 269) - expected).max() < 1e-6


def test_a_flat_picture_stays_flat_and_its_mean_is_kept():
    pixels = np.full((437, 391), 0.25, np.float32)
    assert np.allclose(shrink(pixels, (0, 0, 437, 391), 128, 120), 0.25, atol=1e-6)


def test_growing_is_refused():
    with pytest.raises(ValueError, match="cannot average 10 lines to 11"):
        shrink(np.zeros((10, 10), np.float32), (0, 0, 10, 10), 11, 5)


def test_the_same_bits_twice():
    pixels = np.random.default_rng(1).random((900, 700), dtype=np.float32)
    assert np.array_equal(prepare(pixels, 320).image, prepare(pixels.copy(), 320).image)
