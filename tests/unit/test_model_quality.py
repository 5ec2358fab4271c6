"""Pixel rules: each code reached, real films and phantoms pass."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from support.shared_data import FILMS, needs_films

from model.domain import InstanceReference, Radiograph, Reason
from model.phantom.cohort import sample
from model.phantom.render import render
from model.phantom.scenario import draw_acquisition
from model.quality import check_pixels

REFERENCE = InstanceReference(study_uid="1", series_uid="2", sop_instance_uid="3", sop_class_uid="4")


def _check(pixels, minimum_short_side=120):
    film = Radiograph(reference=REFERENCE, pixels=np.array(pixels, np.float32))
    return check_pixels(film, minimum_short_side=minimum_short_side)


def _phantom(seed=1):
    return render(sample(1, seed)[0].subject, draw_acquisition(np.random.default_rng(seed)), seed, size=(192, 192))


@pytest.mark.parametrize("seed", range(4))
def test_phantoms_pass(seed):
    quality = _check(_phantom(seed))
    assert quality.reasons == ()
    assert [name for name, _ in quality.measurements] == [
        "short_side_px",
        "contrast",
        "entropy_bits",
        "neighbour_correlation",
        "clipped_share",
    ]


@needs_films
def test_real_films_pass():
    with (FILMS / "manifest.csv").open(encoding="utf-8") as lines:
        names = [row["file"] for row in csv.DictReader(lines)][::12]
    grey = [cv2.imread(str(FILMS / name), cv2.IMREAD_GRAYSCALE) for name in names]
    assert {_check(g / np.float32(255), 400).reasons for g in grey} == {()}


def test_a_440_px_film_passes_at_320_and_not_at_512():
    film = np.tile(np.linspace(0, 1, 440, dtype=np.float32), (440, 1))
    assert _check(film, 400).reasons == ()
    assert _check(film, 640).reasons == (Reason.TOO_SMALL,)


def test_too_small_says_how_small():
    assert _check(np.zeros((16, 900))).measurements == (("short_side_px", 16.0),)


def test_blank_noise_and_a_nearly_empty_field():
    rng = np.random.default_rng(0)
    portal = np.zeros((256, 256))
    portal[120:126] = 1
    for pixels in (np.zeros((256, 256)), np.full((256, 256), 0.5), rng.random((256, 256)), portal):
        assert _check(pixels).reasons == (Reason.NOISE_OR_BLANK,)


def test_low_contrast():
    assert _check(0.4 + 0.15 * _phantom()).reasons == (Reason.LOW_CONTRAST,)


def test_a_field_clipped_at_either_end():
    film = _phantom()
    for clipped in (np.minimum(film, np.quantile(film[48:144, 48:144], 0.8)), np.maximum(film, np.quantile(film, 0.5))):
        assert Reason.SATURATED in _check(clipped).reasons


def test_a_clipped_border_is_no_fault():
    film = np.zeros((320, 320), np.float32)
    film[64:256, 64:256] = _phantom()
    assert _check(film).reasons == ()


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.floats(0, 1, width=32)))
@example(np.array([[0, 1]], np.float32))
@example(np.array([[0], [1]], np.float32))
def test_any_picture_gives_finite_measurements(pixels):
    quality = _check(pixels, minimum_short_side=1)
    assert all(np.isfinite(value) for _, value in quality.measurements)
